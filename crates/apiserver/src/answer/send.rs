//! The last step: bytes in the wanted format, compressed when that pays, with the headers of the call.

use std::convert::Infallible;
use std::io::Write;

use axum::body::Body;
use backstay_api::Status;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use futures::{Stream, StreamExt};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, VARY, WARNING};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::Value;

use super::{Format, Media, protobuf};
use crate::problem;

/// Smaller answers are not worth the time. Source: `defaultGzipThresholdBytes` of kube-apiserver.
const GZIP_BYTES_MIN: usize = 128 * 1024;

/// Sends JSON text (or, if the client wants that, what it says as YAML or protobuf).
///
/// # Errors
/// `NotAcceptable` if the client wants protobuf and the kind has no such form.
pub fn json(media: &Media, code: u16, body: Bytes, accepts_gzip: bool) -> Result<Response<Body>, Status> {
    let (content_type, body) = match media.format {
        Format::Json if media.pretty => ("application/json", pretty(&body)?),
        Format::Json => ("application/json", body),
        Format::Yaml => ("application/yaml", yaml(&body)?),
        Format::Protobuf => (protobuf::CONTENT_TYPE, protobuf::of_json(&body)?),
    };
    Ok(bytes(code, content_type, body, accepts_gzip))
}

pub fn bytes(code: u16, content_type: &str, body: Bytes, accepts_gzip: bool) -> Response<Body> {
    let worthwhile = accepts_gzip && body.len() >= GZIP_BYTES_MIN;
    let compressed = if worthwhile { gzip(&body) } else { None };
    let is_compressed = compressed.is_some();
    let mut response = Response::new(Body::from(compressed.unwrap_or(body)));
    *response.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    set(response.headers_mut(), CONTENT_TYPE, content_type);
    if is_compressed {
        set(response.headers_mut(), CONTENT_ENCODING, "gzip");
        set(response.headers_mut(), VARY, "Accept-Encoding");
    }
    response
}

/// A successful answer in parts.
pub fn stream(content_type: &str, parts: impl Stream<Item = Bytes> + Send + 'static) -> Response<Body> {
    let mut response = Response::new(Body::from_stream(parts.map(Ok::<Bytes, Infallible>)));
    set(response.headers_mut(), CONTENT_TYPE, content_type);
    response
}

pub fn text(code: u16, body: impl Into<String>) -> Response<Body> {
    bytes(code, "text/plain; charset=utf-8", body.into().into(), false)
}

/// Adds one `Warning` header per text: `299 - "text"`.
pub fn warn(headers: &mut HeaderMap, texts: Vec<String>) {
    for text in texts {
        let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            headers.append(WARNING, value);
        }
    }
}

pub fn set(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn gzip(body: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    encoder.write_all(body).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

fn pretty(body: &[u8]) -> Result<Bytes, Status> {
    let value: Value = serde_json::from_slice(body).map_err(Status::internal)?;
    let mut text = serde_json::to_vec_pretty(&value).map_err(Status::internal)?;
    text.push(b'\n');
    Ok(text.into())
}

fn yaml(body: &[u8]) -> Result<Bytes, Status> {
    let value: Value = serde_json::from_slice(body).map_err(Status::internal)?;
    let text = serde_saphyr::to_string(&value).map_err(|error| problem::unexpected(error.to_string()))?;
    Ok(text.into())
}
