//! Lists as answers. The bytes of the objects are copied, not encoded again.

use std::sync::Arc;

use axum::body::Body;
use backstay_api::{Reason, Status};
use backstay_store::{Entry, Revision};
use bytes::Bytes;
use http::Response;
use serde_json::{Map, Value, json};

use super::{Format, Payload, Shape, partial, protobuf, send, table};
use crate::call::Call;
use crate::catalog::Served;
use crate::convert;

/// Shorter lists are sent as a whole, with their length.
const STREAMED_BYTES_MIN: usize = 1 << 20;
const PART_BYTES: usize = 128 << 10;

/// One page of a list.
#[derive(Debug, Default)]
pub struct Page {
    pub entries: Vec<Arc<Entry>>,
    pub revision: Revision,
    /// Where the next page begins; empty if there is none.
    pub continue_token: String,
    pub remaining: Option<usize>,
}

impl Page {
    pub fn metadata(&self) -> Value {
        let mut metadata = Map::new();
        metadata.insert("resourceVersion".into(), json!(self.revision.to_string()));
        if !self.continue_token.is_empty() {
            metadata.insert("continue".into(), json!(self.continue_token));
        }
        if let Some(remaining) = self.remaining {
            metadata.insert("remainingItemCount".into(), json!(remaining));
        }
        Value::Object(metadata)
    }
}

pub fn response(call: &Call, page: &Page) -> Result<Response<Body>, Status> {
    if call.media.format == Format::Protobuf {
        let body = match &call.media.shape {
            Shape::PartialList(version) => protobuf::metadata_list(version, page)?,
            Shape::Partial(_) => return Err(is_a_list(call)),
            _ => protobuf::list(call, page)?,
        };
        return Ok(send::bytes(200, protobuf::CONTENT_TYPE, body, call.accepts_gzip));
    }
    if let Some(response) = in_parts(call, page) {
        return Ok(response);
    }
    let body = match &call.media.shape {
        Shape::Plain => plain(call, page),
        Shape::Table(version) => {
            let objects = page.entries.iter().map(|entry| Payload::Entry(entry.clone()).into_value(call));
            table::of_objects(call, version, page.metadata(), objects.collect())?
        }
        Shape::PartialList(version) => metadata_only(call, version, page)?,
        Shape::Partial(_) => return Err(is_a_list(call)),
    };
    send::json(&call.media, 200, body, call.accepts_gzip)
}

/// A long plain list, made while the client reads it: nobody holds it as a whole. Compressed ones are short.
fn in_parts(call: &Call, page: &Page) -> Option<Response<Body>> {
    let as_stored = call.media.shape == Shape::Plain && !convert::is_needed(&call.served);
    let as_encoded = call.media.format == Format::Json && !call.media.pretty && !call.accepts_gzip;
    if !(as_stored && as_encoded) || size(page) < STREAMED_BYTES_MIN {
        return None;
    }
    let mut begun = Vec::with_capacity(PART_BYTES);
    head(&mut begun, &call.served.list_kind(), &call.served.resource.api_version(), page);
    let (served, entries) = (call.served.clone(), page.entries.clone().into_iter());
    let parts = Parts { served, entries, begun: Some(begun), first: true };
    Some(send::stream("application/json", futures::stream::iter(parts)))
}

/// The parts of a list.
struct Parts {
    served: Arc<Served>,
    entries: std::vec::IntoIter<Arc<Entry>>,
    /// What is to be sent next; none after the end.
    begun: Option<Vec<u8>>,
    first: bool,
}

impl Iterator for Parts {
    type Item = Bytes;

    fn next(&mut self) -> Option<Bytes> {
        let mut out = self.begun.take()?;
        for entry in self.entries.by_ref() {
            if !std::mem::take(&mut self.first) {
                out.push(b',');
            }
            put_item(&mut out, &self.served, &entry.value);
            if out.len() >= PART_BYTES {
                self.begun = Some(Vec::with_capacity(PART_BYTES));
                return Some(out.into());
            }
        }
        out.extend_from_slice(b"]}");
        Some(out.into())
    }
}

fn size(page: &Page) -> usize {
    page.entries.iter().map(|entry| entry.value.len() + 1).sum()
}

fn plain(call: &Call, page: &Page) -> Bytes {
    let resource = &call.served.resource;
    let mut out = Vec::with_capacity(size(page) + 256);
    head(&mut out, &call.served.list_kind(), &resource.api_version(), page);
    for (at, entry) in page.entries.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        item(&mut out, call, entry);
    }
    out.extend_from_slice(b"]}");
    out.into()
}

fn metadata_only(call: &Call, version: &str, page: &Page) -> Result<Bytes, Status> {
    let mut out = Vec::with_capacity(page.entries.len() * 512 + 256);
    head(&mut out, "PartialObjectMetadataList", &format!("meta.k8s.io/{version}"), page);
    for (at, entry) in page.entries.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        partial::write(&mut out, version, &Payload::Entry(entry.clone()).into_bytes(call))?;
    }
    out.extend_from_slice(b"]}");
    Ok(out.into())
}

fn head(out: &mut Vec<u8>, kind: &str, api_version: &str, page: &Page) {
    let metadata = page.metadata();
    let text = format!(r#"{{"kind":"{kind}","apiVersion":"{api_version}","metadata":{metadata},"items":["#);
    out.extend_from_slice(text.as_bytes());
}

fn item(out: &mut Vec<u8>, call: &Call, entry: &Arc<Entry>) {
    let converted = convert::is_needed(&call.served).then(|| Payload::Entry(entry.clone()).into_bytes(call));
    put_item(out, &call.served, converted.as_ref().unwrap_or(&entry.value));
}

/// Items of built-in lists do not repeat their kind; those of custom resources do.
fn put_item(out: &mut Vec<u8>, served: &Served, value: &[u8]) {
    match value.strip_prefix(served.prefix()) {
        Some(rest) if served.custom.is_none() => {
            out.push(b'{');
            out.extend_from_slice(rest);
        }
        _ => out.extend_from_slice(value),
    }
}

fn is_a_list(call: &Call) -> Status {
    let kind = &call.served.resource.kind;
    let message = format!("you requested PartialObjectMetadata, but the requested object is a list (*v1.{kind}List)");
    Status::new(Reason::NotAcceptable, message)
}
