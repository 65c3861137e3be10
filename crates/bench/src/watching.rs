//! Waits by watching: nothing is asked again and again.

use std::fmt::Debug;

use anyhow::{Context, Result, bail};
use futures::TryStreamExt;
use kube::api::{Api, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;

/// What happened to an object.
pub enum Happened<K> {
    Is(K),
    IsGone(K),
}

/// Hands every change after the revision `from` over, until one of them is what was waited for.
/// From revision 0, that begins with everything there is.
pub async fn until<K>(
    api: &Api<K>,
    params: &WatchParams,
    mut from: String,
    mut is_it: impl FnMut(Happened<K>) -> bool,
) -> Result<()>
where
    K: Resource + Clone + DeserializeOwned + Debug,
{
    // A watch ends after a while by itself: then the next one begins where it ended.
    loop {
        let mut events = std::pin::pin!(api.watch(params, &from).await.context("cannot watch")?);
        while let Some(event) = events.try_next().await.context("a watch broke")? {
            let happened = match event {
                WatchEvent::Added(object) | WatchEvent::Modified(object) => Happened::Is(object),
                WatchEvent::Deleted(object) => Happened::IsGone(object),
                WatchEvent::Bookmark(bookmark) => {
                    from = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(status) => bail!("a watch broke: {}", status.message),
            };
            let (Happened::Is(object) | Happened::IsGone(object)) = &happened;
            from = object.resource_version().context("an object without resourceVersion")?;
            if is_it(happened) {
                return Ok(());
            }
        }
    }
}
