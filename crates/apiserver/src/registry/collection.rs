//! Delete of all objects of a collection that match.

use backstay_api::Status;
use futures::future::try_join_all;

use super::{delete, list};
use crate::answer::list::Page;
use crate::call::Call;
use crate::request::options::{DeleteOptions, ListOptions};

/// Deletes on their way at once: enough to share one fsync, few enough to leave room for others.
const CONCURRENT_MAX: usize = 32;

/// Deletes what a list with these options shows, and answers with that list.
pub async fn delete_collection(call: &Call, options: &DeleteOptions, list: &ListOptions) -> Result<Page, Status> {
    let page = list::page(call, list).await?;
    for some in page.entries.chunks(CONCURRENT_MAX) {
        try_join_all(some.iter().map(|entry| delete_one(call, options, &entry.key.name))).await?;
    }
    Ok(page)
}

/// An object that went by itself meanwhile is no failure.
async fn delete_one(call: &Call, options: &DeleteOptions, name: &str) -> Result<(), Status> {
    match delete::delete(call, options, name).await {
        Err(status) if !delete::is_gone(&status) => Err(status),
        _ => Ok(()),
    }
}
