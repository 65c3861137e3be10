//! What a watcher with a selector sees of a change: objects enter and leave its view.

use backstay_store::{Event, EventKind};

use crate::registry::list::Selection;

/// An event as one watcher sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// As it is.
    Plain,
    /// A change brought the object into view.
    Entered,
    /// A change, or the deletion of a changed object, took it out of view: its state before is sent.
    Left,
}

/// None: the watcher does not see this event.
pub fn seen(selection: &Selection, event: &Event) -> Option<Seen> {
    if selection.is_everything() {
        return Some(Seen::Plain);
    }
    let now = || selection.matches(&event.entry);
    let before = || event.previous.as_ref().is_some_and(|previous| selection.matches(previous));
    match event.kind {
        EventKind::Added => now().then_some(Seen::Plain),
        EventKind::Deleted if now() => Some(Seen::Plain),
        EventKind::Deleted => before().then_some(Seen::Left),
        EventKind::Modified => match (before(), now()) {
            (true, true) => Some(Seen::Plain),
            (false, true) => Some(Seen::Entered),
            (true, false) => Some(Seen::Left),
            (false, false) => None,
        },
    }
}
