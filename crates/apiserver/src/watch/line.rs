//! The lines of a watch: `{"type":"ADDED","object":{...}}` and a newline.

use std::sync::Arc;

use backstay_api::{Status, canonical};
use backstay_store::{Entry, Event, EventKind, Revision};
use bytes::Bytes;
use serde_json::{Value, json};

use super::transition::Seen;
use crate::answer::table::{self, Include};
use crate::answer::{Payload, Shape, partial};
use crate::call::Call;
use crate::{convert, encode};

/// How a watcher's lines look.
pub enum Lines {
    /// The stored bytes, shared between watchers.
    Shared,
    /// Objects in another form than the stored one.
    Converted,
    Table {
        version: String,
        include: Include,
        columns_sent: bool,
    },
    Partial {
        version: String,
    },
}

impl Lines {
    pub fn new(call: &Call) -> Result<Self, Status> {
        Ok(match &call.media.shape {
            Shape::Table(version) => {
                Lines::Table { version: version.clone(), include: Include::of(call)?, columns_sent: false }
            }
            Shape::Partial(version) | Shape::PartialList(version) => Lines::Partial { version: version.clone() },
            Shape::Plain if convert::is_needed(&call.served) => Lines::Converted,
            Shape::Plain => Lines::Shared,
        })
    }

    /// The line of an event as the watcher sees it.
    pub fn event(&mut self, call: &Call, event: &Event, seen: Seen) -> Bytes {
        let entry = &event.entry;
        match (seen, &event.previous) {
            (Seen::Plain, _) => match self {
                Lines::Shared => event.line.get_or_init(|| line(event.kind, &entry.value)).clone(),
                _ => self.object(call, event.kind, entry, entry.revision),
            },
            (Seen::Left, Some(previous)) => self.object(call, EventKind::Deleted, previous, entry.revision),
            (Seen::Left, None) => self.object(call, EventKind::Deleted, entry, entry.revision),
            (Seen::Entered, _) => self.object(call, EventKind::Added, entry, entry.revision),
        }
    }

    /// The line of an object, under the given revision.
    pub fn object(&mut self, call: &Call, kind: EventKind, entry: &Arc<Entry>, revision: Revision) -> Bytes {
        let value = || match entry.revision == revision {
            true => entry.value.clone(),
            false => encode::with_revision(entry, revision),
        };
        match self {
            Lines::Shared => line(kind, &value()),
            Lines::Converted => line(kind, &encode::plain(&served(call, entry, revision))),
            Lines::Table { version, include, columns_sent } => {
                let with_columns = !std::mem::replace(columns_sent, true);
                let table = table::of_event(call, version, *include, served(call, entry, revision), with_columns);
                line(kind, &canonical::json(&table))
            }
            Lines::Partial { version } => match partial::of_object(version, &value()) {
                Ok(object) => line(kind, &object),
                Err(status) => failure(&status),
            },
        }
    }

    /// A bookmark: the client has seen everything up to this revision.
    pub fn bookmark(&self, call: &Call, revision: Revision, ends_initial: bool) -> Bytes {
        let (kind, api_version) = match self {
            Lines::Table { version, .. } => ("Table".to_string(), format!("meta.k8s.io/{version}")),
            Lines::Partial { version } => ("PartialObjectMetadata".to_string(), format!("meta.k8s.io/{version}")),
            _ => (call.served.resource.kind.clone(), call.served.resource.api_version()),
        };
        let mut metadata = json!({ "resourceVersion": revision.to_string() });
        if ends_initial {
            metadata["annotations"] = json!({ "k8s.io/initial-events-end": "true" });
        }
        let object = json!({ "kind": kind, "apiVersion": api_version, "metadata": metadata });
        typed("BOOKMARK", &encode::plain(&object))
    }
}

/// The object in the served form, under the given revision.
fn served(call: &Call, entry: &Arc<Entry>, revision: Revision) -> Value {
    let mut object = Payload::Entry(entry.clone()).into_value(call);
    backstay_api::meta::set_meta(&mut object, "resourceVersion", revision.to_string());
    object
}

/// The line that ends a watch in failure.
pub fn failure(status: &Status) -> Bytes {
    typed("ERROR", &canonical::json(&status.to_json()))
}

fn line(kind: EventKind, object: &[u8]) -> Bytes {
    let name = match kind {
        EventKind::Added => "ADDED",
        EventKind::Modified => "MODIFIED",
        EventKind::Deleted => "DELETED",
    };
    typed(name, object)
}

fn typed(name: &str, object: &[u8]) -> Bytes {
    let mut out = Vec::with_capacity(object.len() + 40);
    out.extend_from_slice(format!(r#"{{"type":"{name}","object":"#).as_bytes());
    out.extend_from_slice(object);
    out.extend_from_slice(b"}\n");
    out.into()
}
