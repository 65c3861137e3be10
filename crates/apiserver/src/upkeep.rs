//! What a running server does without being asked: events are forgotten in time, definitions of custom resources
//! looked after.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use backstay_api::{Status, meta};
use backstay_store::{Operation, Range, StoreError};
use jiff::Timestamp;
use serde_json::Value;

use crate::custom::follow;
use crate::encode;
use crate::registry::store_failure;
use crate::server::Core;

/// Between two looks for old events, or half of their time if that is shorter.
const EVERY: Duration = Duration::from_secs(60);

/// Runs until `stop`.
pub async fn run(core: &Arc<Core>, stop: impl Future<Output = ()>) {
    let (mut stop, mut definitions) = (std::pin::pin!(stop), std::pin::pin!(follow::run(core)));
    let every = core.event_ttl.unsigned_abs().div_f64(2.0).min(EVERY);
    loop {
        tokio::select! {
            biased;
            () = &mut stop => return,
            () = &mut definitions => return,
            () = tokio::time::sleep(every) => {}
        }
        if let Err(status) = forget_events(core).await {
            tracing::warn!(error = status.message(), "old events are not forgotten; will try again");
        }
    }
}

/// Deletes events whose time is over.
pub async fn forget_events(core: &Core) -> Result<(), Status> {
    let Some(served) = core.catalog.find("", "v1", "events") else { return Ok(()) };
    let before = core.clock.now() - core.event_ttl;
    for entry in core.store.snapshot().list(&Range::all(served.storage()), None, 0) {
        let event = encode::parse(&entry);
        if last_seen(&event).is_none_or(|seen| seen > before) {
            continue;
        }
        let operation = Operation::Delete { last: served.encode(&event), expected: entry.revision };
        match core.store.commit(entry.key.clone(), operation).await {
            Ok(_) | Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => {}
            Err(error) => return Err(store_failure(&error)),
        }
    }
    Ok(())
}

/// The newest time that an event carries.
fn last_seen(event: &Value) -> Option<Timestamp> {
    let times: [&[&str]; 4] =
        [&["metadata", "creationTimestamp"], &["lastTimestamp"], &["eventTime"], &["series", "lastObservedTime"]];
    times.iter().filter_map(|path| meta::str_at(event, path).parse().ok()).max()
}
