//! Where a watch begins: with the present objects, or after a resource version.

use std::sync::Arc;

use backstay_api::Status;
use backstay_store::{Entry, Range, Revision, Snapshot, StoreError, Watch};

use super::too_old;
use crate::call::Call;
use crate::registry::list::{Selection, not_older_than};
use crate::registry::{metadata, store_failure};
use crate::request::options::ListOptions;

/// A watch that is ready to run.
#[derive(Default)]
pub struct Start {
    pub initial: Vec<Arc<Entry>>,
    /// The client knows, or will know after the initial objects, the state at this revision.
    pub revision: Revision,
    /// The end of the initial objects is to be marked by a bookmark.
    pub mark_end: bool,
    pub events: Option<Box<dyn Watch>>,
    /// Why there are no events.
    pub failure: Option<Status>,
}

pub async fn start(call: &Call, options: &ListOptions) -> Result<Start, Status> {
    let wanted = metadata::parse_version(&options.resource_version)?;
    match (wanted, options.send_initial_events) {
        (Some(revision), Some(true)) => {
            not_older_than(call, revision).await?;
            from_present(call, options, true)
        }
        (None, Some(true)) => from_present(call, options, true),
        (None, None) => from_present(call, options, false),
        (None, Some(false)) => from_revision(call, options, call.core.store.snapshot().revision()),
        (Some(revision), _) => from_revision(call, options, revision),
    }
}

/// Begins with everything that is there.
fn from_present(call: &Call, options: &ListOptions, mark_end: bool) -> Result<Start, Status> {
    let selection = Selection::of(&call.served, options);
    let range = selection.range(call);
    let (snapshot, events) = present(call, &range)?;
    let revision = snapshot.revision();
    let initial = snapshot.select(&range, None, 0, &|entry| selection.matches(entry));
    Ok(Start { initial, revision, mark_end: mark_end && options.allow_bookmarks, events: Some(events), failure: None })
}

/// What is there, and what happens from then on.
type Present = (Arc<dyn Snapshot>, Box<dyn Watch>);

fn present(call: &Call, range: &Range) -> Result<Present, Status> {
    let store = &call.core.store;
    loop {
        let snapshot = store.snapshot();
        match store.watch(range.clone(), snapshot.revision()) {
            Ok(events) => return Ok((snapshot, events)),
            // A store that others write to as well has read all of it anew in between.
            Err(StoreError::Compacted { .. }) if store.snapshot().revision() > snapshot.revision() => {}
            Err(error) => return Err(store_failure(&error)),
        }
    }
}

/// Begins after a revision. One that is gone is told within the stream; for one of the future the watch waits.
fn from_revision(call: &Call, options: &ListOptions, revision: Revision) -> Result<Start, Status> {
    let range = Selection::of(&call.served, options).range(call);
    let mut start = Start { revision, ..Start::default() };
    match call.core.store.watch(range.clone(), revision) {
        Ok(events) => start.events = Some(events),
        Err(StoreError::Compacted { asked, oldest }) => start.failure = Some(too_old(asked, oldest)),
        Err(StoreError::Future { .. }) => {
            start.events = Some(present(call, &range)?.1);
        }
        Err(error) => return Err(store_failure(&error)),
    }
    Ok(start)
}
