//! What a running server does without being asked: events are forgotten in time, definitions of custom resources and
//! the accounts of namespaces looked after.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backstay_api::{Status, meta};
use backstay_store::{Operation, Range, StoreError};
use futures::{TryStreamExt, stream};
use jiff::Timestamp;
use serde_json::Value;

use crate::encode;
use crate::registry::store_failure;
use crate::server::Core;
use crate::{accounts, custom};

/// Between two looks for old events, or half of their time if that is shorter.
const EVERY: Duration = Duration::from_secs(60);
/// One after the other would wait for the disk each time, and fall behind where events come quickly.
const DELETED_AT_ONCE: usize = 64;

/// Runs until `stop`. No duty waits for another.
pub async fn run(core: &Arc<Core>, stop: impl Future<Output = ()>) {
    tokio::select! {
        biased;
        () = stop => {}
        () = custom::follow::run(core) => {}
        () = accounts::follow::run(core) => {}
        () = keep_forgetting(core) => {}
    }
}

async fn keep_forgetting(core: &Core) {
    let every = core.event_ttl.unsigned_abs().div_f64(2.0).min(EVERY);
    loop {
        tokio::time::sleep(every).await;
        if let Err(status) = forget_events(core).await {
            tracing::warn!(error = status.message(), "old events are not forgotten; will try again");
        }
    }
}

/// Deletes events whose time is over.
pub async fn forget_events(core: &Core) -> Result<(), Status> {
    let Some(served) = core.catalog.find("", "v1", "events") else { return Ok(()) };
    let before = core.clock.now() - core.event_ttl;
    let all = core.store.snapshot().list(&Range::all(served.storage()), None, 0);
    let deletions = all.into_iter().filter_map(|entry| {
        let event = encode::parse(&entry);
        last_seen(&event).filter(|seen| *seen <= before)?;
        let operation = Operation::Delete { last: served.encode(&event), expected: entry.revision };
        Some((entry.key.clone(), operation))
    });
    let deletions = stream::iter(deletions.map(Ok));
    let delete = |(key, operation)| async move {
        match core.store.commit(key, operation).await {
            Ok(_) | Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => Ok(()),
            Err(error) => Err(store_failure(&error)),
        }
    };
    deletions.try_for_each_concurrent(DELETED_AT_ONCE, delete).await
}

/// The newest time that an event carries.
fn last_seen(event: &Value) -> Option<Timestamp> {
    let times: [&[&str]; 4] =
        [&["metadata", "creationTimestamp"], &["lastTimestamp"], &["eventTime"], &["series", "lastObservedTime"]];
    times.iter().filter_map(|path| meta::str_at(event, path).parse().ok()).max()
}
