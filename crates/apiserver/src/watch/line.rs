//! The lines of a watch: `{"type":"ADDED","object":{...}}` and a newline; or frames, in their place.

use std::sync::Arc;

use backstay_api::{Status, canonical};
use backstay_store::{Entry, Event, EventKind, Revision};
use serde_json::{Value, json};

use super::frame::{self, Frames};
use super::transition::Seen;
use crate::answer::table::{self, Include};
use crate::answer::{Format, Payload, Shape, partial};
use crate::call::Call;
use crate::{convert, encode};

const BOOKMARK: &str = "BOOKMARK";

/// How a watcher's lines look.
pub enum Lines {
    /// The stored bytes.
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
    /// No lines but frames.
    Protobuf(Frames),
}

impl Lines {
    pub fn new(call: &Call) -> Result<Self, Status> {
        Ok(match &call.media.shape {
            Shape::Partial(version) | Shape::PartialList(version) if call.media.format == Format::Protobuf => {
                Lines::Protobuf(Frames { metadata: Some(version.clone()) })
            }
            Shape::Plain if call.media.format == Format::Protobuf => Lines::Protobuf(Frames { metadata: None }),
            Shape::Table(version) => {
                Lines::Table { version: version.clone(), include: Include::of(call)?, columns_sent: false }
            }
            Shape::Partial(version) | Shape::PartialList(version) => Lines::Partial { version: version.clone() },
            Shape::Plain if convert::is_needed(&call.served) => Lines::Converted,
            Shape::Plain => Lines::Shared,
        })
    }

    pub fn content_type(&self) -> &'static str {
        match self {
            Lines::Protobuf(_) => "application/vnd.kubernetes.protobuf;stream=watch",
            _ => "application/json",
        }
    }

    /// Appends the line of an event as the watcher sees it.
    pub fn event(&mut self, out: &mut Vec<u8>, call: &Call, event: &Event, seen: Seen) {
        let entry = &event.entry;
        let (kind, shown) = match (seen, &event.previous) {
            (Seen::Plain, _) => (event.kind, entry),
            (Seen::Left, previous) => (EventKind::Deleted, previous.as_ref().unwrap_or(entry)),
            (Seen::Entered, _) => (EventKind::Added, entry),
        };
        self.object(out, call, kind, shown, entry.revision);
    }

    /// Appends the line of an object, under the given revision.
    pub fn object(&mut self, out: &mut Vec<u8>, call: &Call, kind: EventKind, entry: &Arc<Entry>, revision: Revision) {
        let value = || match entry.revision == revision {
            true => entry.value.clone(),
            false => encode::with_revision(entry, revision),
        };
        match self {
            Lines::Shared => line(out, kind, &value()),
            Lines::Converted => line(out, kind, &encode::plain(&served(call, entry, revision))),
            Lines::Table { version, include, columns_sent } => {
                let with_columns = !std::mem::replace(columns_sent, true);
                let table = table::of_event(call, version, *include, served(call, entry, revision), with_columns);
                line(out, kind, &canonical::json(&table));
            }
            Lines::Partial { version } => match partial::of_object(version, &value()) {
                Ok(object) => line(out, kind, &object),
                Err(status) => self.failure(out, &status),
            },
            Lines::Protobuf(frames) => frames.entry(out, call, name(kind), entry, revision),
        }
    }

    /// Appends a bookmark: the client has seen everything up to this revision.
    pub fn bookmark(&self, out: &mut Vec<u8>, call: &Call, revision: Revision, ends_initial: bool) {
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
        match self {
            Lines::Protobuf(frames) => frames.value(out, call, BOOKMARK, &object),
            _ => typed(out, BOOKMARK, &encode::plain(&object)),
        }
    }

    /// Appends what ends a watch in failure.
    pub fn failure(&self, out: &mut Vec<u8>, status: &Status) {
        match self {
            Lines::Protobuf(_) => frame::failure(out, status),
            _ => typed(out, "ERROR", &canonical::json(&status.to_json())),
        }
    }
}

/// The object in the served form, under the given revision.
pub fn served(call: &Call, entry: &Arc<Entry>, revision: Revision) -> Value {
    let mut object = Payload::Entry(entry.clone()).into_value(call);
    backstay_api::meta::set_meta(&mut object, "resourceVersion", revision.to_string());
    object
}

fn line(out: &mut Vec<u8>, kind: EventKind, object: &[u8]) {
    typed(out, name(kind), object);
}

fn name(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Added => "ADDED",
        EventKind::Modified => "MODIFIED",
        EventKind::Deleted => "DELETED",
    }
}

fn typed(out: &mut Vec<u8>, name: &str, object: &[u8]) {
    const TYPE: &[u8] = br#"{"type":""#;
    const OBJECT: &[u8] = br#"","object":"#;
    const END: &[u8] = b"}\n";
    let parts = [TYPE, name.as_bytes(), OBJECT, object, END];
    out.reserve(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| out.extend_from_slice(part));
}
