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
use crate::convert;

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

fn plain(call: &Call, page: &Page) -> Bytes {
    let resource = &call.served.resource;
    let size: usize = page.entries.iter().map(|entry| entry.value.len() + 1).sum();
    let mut out = Vec::with_capacity(size + 256);
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

/// Items of built-in lists do not repeat their kind; those of custom resources do.
fn item(out: &mut Vec<u8>, call: &Call, entry: &Arc<Entry>) {
    let converted = convert::is_needed(&call.served).then(|| Payload::Entry(entry.clone()).into_bytes(call));
    let value = converted.as_ref().unwrap_or(&entry.value);
    match value.strip_prefix(call.served.prefix()) {
        Some(rest) if call.served.custom.is_none() => {
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
