//! OpenAPI: which form is asked for, and how it is sent.

use axum::body::Body;
use http::header::{ACCEPT, ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{Response, StatusCode};

use super::json;
use crate::answer::send;
use crate::catalog::Contents;
use crate::openapi::{Document, Kind, V2_PROTOBUF, V2_PROTOBUF_ANSWER};
use crate::pipeline::Asked;

/// Serves `/openapi/v2`, `/openapi/v3` and what is below; `parts` are those of the path after `openapi`.
pub fn answer(asked: &Asked, parts: &[&str]) -> Response<Body> {
    let contents = asked.core.catalog.contents();
    let kinds = kinds(&contents);
    let openapi = &asked.core.openapi;
    match parts {
        ["v3"] => json(asked, &openapi.index(&kinds)),
        ["v3", path @ ..] => match openapi.v3(&kinds, &path.join("/")) {
            Some(document) => send_document(asked, &document, "application/json"),
            None => not_found(),
        },
        ["v2"] if [V2_PROTOBUF, V2_PROTOBUF_ANSWER].iter().any(|form| asked.header(ACCEPT).contains(form)) => {
            send_document(asked, &openapi.v2_protobuf(&kinds), V2_PROTOBUF_ANSWER)
        }
        ["v2"] => send_document(asked, &openapi.v2_json(&kinds), "application/json"),
        _ => not_found(),
    }
}

fn kinds(contents: &Contents) -> Vec<Kind<'_>> {
    let all = contents.all.iter();
    all.map(|served| Kind {
        resource: &served.resource,
        custom: served.custom.as_ref().map(|custom| custom.open_api()),
    })
    .collect()
}

fn not_found() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}

/// The address of a document holds its hash, so that clients may keep it for good.
fn send_document(asked: &Asked, document: &Document, content_type: &str) -> Response<Body> {
    let tag = format!("\"{}\"", document.hash());
    let mut response = if asked.header(IF_NONE_MATCH).contains(&tag) {
        let mut unchanged = Response::new(Body::empty());
        *unchanged.status_mut() = StatusCode::NOT_MODIFIED;
        unchanged
    } else if asked.header(ACCEPT_ENCODING).contains("gzip") {
        let mut packed = Response::new(Body::from(document.gzip()));
        send::set(packed.headers_mut(), CONTENT_ENCODING, "gzip");
        packed
    } else {
        Response::new(Body::from(document.plain()))
    };
    let headers = response.headers_mut();
    send::set(headers, CONTENT_TYPE, content_type);
    send::set(headers, ETAG, &tag);
    send::set(headers, VARY, "Accept, Accept-Encoding");
    if asked.query.text("hash") == document.hash() {
        send::set(headers, CACHE_CONTROL, "public, immutable");
    }
    response
}
