//! Makes up for what a write has left undone, because its server died, its client went away or the store refused.

use std::time::Duration;

use backstay_api::Status;
use backstay_store::{Event, EventKind, Range, Revision, StoreError, Watch};
use futures::future::select_all;

use super::{ROOT_CA, ensure_everywhere, secrets, settle};
use crate::registry::store_failure;
use crate::server::Core;

/// After a pass that failed, the next begins so much later.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub async fn run(core: &Core) {
    if core.accounts.is_none() {
        return std::future::pending().await;
    }
    loop {
        let from = core.store.snapshot().revision();
        let result = match ensure_everywhere(core).await {
            Ok(()) => changes(core, from).await,
            failed => failed,
        };
        if let Err(status) = result {
            tracing::warn!(error = status.message(), "cannot look after the accounts of namespaces; will try again");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Looks after what changes, until too much has happened to be told one by one.
async fn changes(core: &Core, from: Revision) -> Result<(), Status> {
    let root_ca = Range { name: Some(ROOT_CA.into()), ..Range::all("configmaps") };
    let ranges = [Range::all("namespaces"), Range::all("serviceaccounts"), root_ca, secrets::range()];
    let watches: Result<Vec<Box<dyn Watch>>, _> =
        ranges.into_iter().map(|range| core.store.watch(range, from)).collect();
    let mut watches = match watches {
        Ok(watches) => watches,
        Err(StoreError::Compacted { .. }) => return Ok(()),
        Err(error) => return Err(store_failure(&error)),
    };
    loop {
        match select_all(watches.iter_mut().map(|watch| watch.next())).await.0 {
            Ok(event) if is_due(&event) => {
                let key = &event.entry.key;
                settle(core, &key.resource, &key.namespace, &key.name).await?;
            }
            Ok(_) => {}
            Err(StoreError::Compacted { .. }) => return Ok(()),
            Err(error) => return Err(store_failure(&error)),
        }
    }
}

/// Whether something may be missing now. What is written again and again is not looked at each time: two servers that
/// do not agree on a certificate would change it for ever.
fn is_due(event: &Event) -> bool {
    match (&*event.entry.key.resource, event.kind) {
        (_, EventKind::Modified) => false,
        ("namespaces" | "secrets", kind) => kind == EventKind::Added,
        ("configmaps", kind) => kind == EventKind::Deleted,
        _ => true,
    }
}
