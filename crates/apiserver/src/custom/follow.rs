//! Looks at all definitions whenever one has changed, and does what is still to be done for them.

use std::sync::Arc;
use std::time::Duration;

use backstay_api::{Status, meta};
use backstay_store::{Operation, Range, Revision, Store, StoreError, Watch};
use futures::future::select_all;

use super::{DEFINITIONS, clean_up, definitions, settle, written};
use crate::encode;
use crate::server::Core;

/// After a pass that failed, the next begins so much later.
const RETRY: Duration = Duration::from_secs(1);

/// Runs until it is dropped.
pub async fn run(core: &Arc<Core>) {
    loop {
        // A change after this revision asks for another pass, a change of our own included.
        let from = core.store.snapshot().revision();
        let result = match pass(core).await {
            Ok(waiting) => change(&*core.store, from, &waiting).await.map_err(|error| error.to_string()),
            Err(status) => Err(status.message().to_string()),
        };
        if let Err(error) = result {
            tracing::warn!(error, "cannot look after the definitions of custom resources; will try again");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Gives every definition its status and removes the objects of those that are being deleted, the oldest definition
/// first: names go to whoever came first. Gives the storages whose objects some of them wait for.
pub async fn pass(core: &Arc<Core>) -> Result<Vec<String>, Status> {
    let Some(served) = definitions(core) else { return Ok(Vec::new()) };
    let entries = core.store.snapshot().list(&Range::all(DEFINITIONS), None, 0).into_iter();
    let mut all: Vec<_> = entries.map(|entry| (encode::parse(&entry), entry)).collect();
    all.sort_by_key(|(definition, entry)| {
        let created = meta::str_at(definition, &["metadata", "creationTimestamp"]).to_string();
        (created, entry.key.name.clone())
    });
    let mut waiting = Vec::new();
    for (mut definition, entry) in all {
        if meta::is_being_deleted(&definition) {
            waiting.extend(clean_up(core, &entry.key.name).await?);
            continue;
        }
        let before = definition.get("status").cloned();
        let Some(names) = settle(core, &served, &mut definition).await else { continue };
        if definition.get("status") != before.as_ref() {
            let value = served.encode(&definition);
            let operation = Operation::Update { value, expected: entry.revision };
            written(core.store.commit_beside(entry.key.clone(), operation, names.seen).await)?;
        }
    }
    Ok(waiting)
}

/// Ends when a definition or an object of these storages changes.
async fn change(store: &dyn Store, from: Revision, waiting: &[String]) -> Result<(), StoreError> {
    let ranges = std::iter::once(Range::all(DEFINITIONS)).chain(waiting.iter().map(|storage| Range::all(storage)));
    let watches: Result<Vec<Box<dyn Watch>>, _> = ranges.map(|range| store.watch(range, from)).collect();
    let changed = match watches {
        Ok(mut watches) => select_all(watches.iter_mut().map(|watch| watch.next())).await.0.map(drop),
        Err(error) => Err(error),
    };
    match changed {
        // Too much has happened to be told one by one: a change, too.
        Err(StoreError::Compacted { .. }) => Ok(()),
        changed => changed,
    }
}
