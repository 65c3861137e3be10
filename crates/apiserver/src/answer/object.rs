//! One object as an answer: plain, as a one-row Table, or its metadata only.

use std::sync::Arc;

use axum::body::Body;
use backstay_api::{Reason, Status};
use backstay_store::Entry;
use bytes::Bytes;
use http::Response;
use serde_json::Value;

use super::{Format, Shape, partial, protobuf, send, table};
use crate::call::Call;
use crate::{convert, encode};

/// An object to be sent.
#[derive(Clone, Debug)]
pub enum Payload {
    /// As committed, in the stored form.
    Entry(Arc<Entry>),
    /// Made for this answer, in the served form (dry runs, deletions in progress, reviews).
    Object(Value),
}

impl Payload {
    /// The object in the served form.
    pub fn into_value(self, call: &Call) -> Value {
        match self {
            Payload::Entry(entry) => convert::to_served(&call.served, encode::parse(&entry)),
            Payload::Object(object) => object,
        }
    }

    /// Final JSON in the served form.
    pub fn into_bytes(self, call: &Call) -> Bytes {
        match self {
            Payload::Entry(entry) if !convert::is_needed(&call.served) => entry.value.clone(),
            payload => encode::plain(&payload.into_value(call)).into(),
        }
    }
}

pub fn response(call: &Call, code: u16, payload: Payload) -> Result<Response<Body>, Status> {
    if call.media.format == Format::Protobuf && !matches!(call.media.shape, Shape::PartialList(_)) {
        let body = protobuf::object(call, payload)?;
        return Ok(send::bytes(code, protobuf::CONTENT_TYPE, body, call.accepts_gzip));
    }
    let body = match &call.media.shape {
        Shape::Plain => payload.into_bytes(call),
        Shape::Table(version) => table::of_object(call, version, payload.into_value(call))?,
        Shape::Partial(version) => partial::of_object(version, &payload.into_bytes(call))?,
        Shape::PartialList(_) => return Err(not_a_list(call)),
    };
    send::json(&call.media, code, body, call.accepts_gzip)
}

fn not_a_list(call: &Call) -> Status {
    let kind = &call.served.resource.kind;
    let message =
        format!("you requested PartialObjectMetadataList, but the requested object is not a list (*v1.{kind})");
    Status::new(Reason::NotAcceptable, message)
}
