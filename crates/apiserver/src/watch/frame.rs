//! The frames of a watch in protobuf. Only the little around the object's message is made for each watcher.

use std::sync::Arc;

use backstay_api::{Status, protobuf as encoding};
use backstay_store::{Entry, Revision};
use bytes::Bytes;
use serde_json::Value;

use crate::answer::protobuf;
use crate::call::Call;
use crate::encode;

/// What the frames of a watch hold: objects, or (for a version of `meta.k8s.io`) their metadata.
pub struct Frames {
    pub metadata: Option<String>,
}

impl Frames {
    /// Appends the frame of an object as it is kept, or as it was but for the given revision.
    pub fn entry(&self, out: &mut Vec<u8>, call: &Call, event: &str, entry: &Arc<Entry>, revision: Revision) {
        let is_as_kept = entry.revision == revision;
        let message = match &self.metadata {
            Some(_) if is_as_kept => protobuf::metadata(entry),
            Some(_) => protobuf::metadata_of_json(&encode::with_revision(entry, revision)),
            None if is_as_kept => protobuf::message(&call.served, entry),
            None => protobuf::of_value(&call.served, &super::line::served(call, entry, revision)),
        };
        self.framed(out, call, event, message);
    }

    /// Appends the frame of an object that is in the served form.
    pub fn value(&self, out: &mut Vec<u8>, call: &Call, event: &str, object: &Value) {
        let message = match &self.metadata {
            Some(_) => Ok(encoding::metadata(object).into()),
            None => protobuf::of_value(&call.served, object),
        };
        self.framed(out, call, event, message);
    }

    fn framed(&self, out: &mut Vec<u8>, call: &Call, event: &str, message: Result<Bytes, Status>) {
        let resource = &call.served.resource;
        match (message, &self.metadata) {
            (Err(status), _) => failure(out, &status),
            (Ok(message), Some(version)) => {
                let api_version = format!("meta.k8s.io/{version}");
                encoding::watch_frame(out, event, &api_version, "PartialObjectMetadata", &message);
            }
            (Ok(message), None) => {
                encoding::watch_frame(out, event, &resource.api_version(), &resource.kind, &message);
            }
        }
    }
}

/// Appends the frame that ends a watch in failure.
pub fn failure(out: &mut Vec<u8>, status: &Status) {
    encoding::watch_frame(out, "ERROR", "v1", "Status", &encoding::status(&status.to_json()));
}
