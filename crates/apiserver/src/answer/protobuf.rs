//! Answers in protobuf. The message of a stored object is made by the first who asks for it, and kept with its entry:
//! whoever comes later, for the object, in a list or through a watch, gets the same bytes.

use std::sync::Arc;

use backstay_api::{Reason, Status, protobuf};
use backstay_store::Entry;
use bytes::Bytes;
use serde_json::Value;

use super::list::Page;
use super::{Payload, Shape, partial};
use crate::call::Call;
use crate::catalog::Served;
use crate::{convert, encode};

/// The type of bodies.
pub const CONTENT_TYPE: &str = "application/vnd.kubernetes.protobuf";

/// The body of one object in the shape that the client wants.
pub fn object(call: &Call, payload: Payload) -> Result<Bytes, Status> {
    let resource = &call.served.resource;
    let body = match (&call.media.shape, payload) {
        (Shape::Partial(version), payload) => {
            let message = match payload {
                Payload::Entry(entry) => metadata(&entry)?,
                Payload::Object(object) => protobuf::metadata(&object).into(),
            };
            protobuf::body(&format!("meta.k8s.io/{version}"), "PartialObjectMetadata", &message)
        }
        (_, Payload::Entry(entry)) => {
            protobuf::body(&resource.api_version(), &resource.kind, &message(&call.served, &entry)?)
        }
        (_, Payload::Object(object)) => document(&object)?,
    };
    Ok(body.into())
}

/// The body of a list of whole objects.
pub fn list(call: &Call, page: &Page) -> Result<Bytes, Status> {
    let messages: Result<Vec<Bytes>, Status> = page.entries.iter().map(|entry| message(&call.served, entry)).collect();
    let api_version = call.served.resource.api_version();
    Ok(protobuf::list(&api_version, &call.served.list_kind(), &page.metadata(), &messages?).into())
}

/// The body of a list of metadata.
pub fn metadata_list(version: &str, page: &Page) -> Result<Bytes, Status> {
    let messages: Result<Vec<Bytes>, Status> = page.entries.iter().map(metadata).collect();
    let api_version = format!("meta.k8s.io/{version}");
    Ok(protobuf::list(&api_version, "PartialObjectMetadataList", &page.metadata(), &messages?).into())
}

/// The body of JSON text that says itself what it is.
pub fn of_json(text: &[u8]) -> Result<Bytes, Status> {
    let object: Value = serde_json::from_slice(text).map_err(Status::internal)?;
    document(&object).map(Bytes::from)
}

/// The message of an object in the served form.
pub fn message(served: &Served, entry: &Entry) -> Result<Bytes, Status> {
    if let Some(message) = entry.messages().whole.get() {
        return Ok(message.clone());
    }
    let is_kept_so = !convert::is_needed(served);
    let object = if is_kept_so { encode::parse(entry) } else { convert::to_served(served, encode::parse(entry)) };
    let message = of_value(served, &object)?;
    Ok(if is_kept_so { entry.messages().whole.get_or_init(|| message).clone() } else { message })
}

/// The message of an object that is in the served form already.
pub fn of_value(served: &Served, object: &Value) -> Result<Bytes, Status> {
    let message = protobuf::message(&served.schema, &served.ty, object).filter(|_| served.custom.is_none());
    message.map(Bytes::from).ok_or_else(|| no_such_form(&served.resource.kind))
}

/// The message of the metadata of an object, of whatever kind: it is the same in every version.
pub fn metadata(entry: &Arc<Entry>) -> Result<Bytes, Status> {
    let messages = entry.messages();
    if let Some(whole) = messages.whole.get()
        && let Some(length) = protobuf::metadata_length(whole)
    {
        return Ok(whole.slice(..length));
    }
    if let Some(metadata) = messages.metadata.get() {
        return Ok(metadata.clone());
    }
    let message = metadata_of_json(&entry.value)?;
    Ok(messages.metadata.get_or_init(|| message).clone())
}

/// The same, of an encoded object.
pub fn metadata_of_json(object: &[u8]) -> Result<Bytes, Status> {
    let metadata = partial::metadata(object).and_then(|metadata| serde_json::from_str::<Value>(metadata.get()));
    let metadata = metadata.map_err(Status::internal)?;
    Ok(protobuf::metadata(&serde_json::json!({ "metadata": metadata })).into())
}

fn document(object: &Value) -> Result<Vec<u8>, Status> {
    let kind = backstay_api::meta::str_at(object, &["kind"]);
    protobuf::document(object).ok_or_else(|| no_such_form(kind))
}

fn no_such_form(kind: &str) -> Status {
    Status::new(Reason::NotAcceptable, format!("{kind} has no protobuf form; ask for application/json"))
}
