//! Failures, as the `Status` objects that clients understand.

use std::sync::LazyLock;

use axum::body::Body;
use backstay_api::status::Details;
use backstay_api::{Reason, Status, canonical};
use bytes::Bytes;
use http::Response;
use http::header::{HeaderName, RETRY_AFTER};

use super::{Media, Shape, send};

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// The answer of a failed request.
pub fn response(media: &Media, status: &Status) -> Response<Body> {
    said(media, status, canonical::json(&status.to_json()).into())
}

/// That of a server which has too much to do: refusing must cost little, and is always the same.
pub fn too_many(media: &Media) -> Response<Body> {
    static REFUSAL: LazyLock<(Status, Bytes)> = LazyLock::new(|| {
        let details = Details { retry_after_seconds: Some(1), ..Details::default() };
        let message = "Too many requests, please try again later.";
        let status = Status::new(Reason::TooManyRequests, message).details(details);
        let body = canonical::json(&status.to_json()).into();
        (status, body)
    });
    let (status, body) = &*REFUSAL;
    said(media, status, body.clone())
}

fn said(media: &Media, status: &Status, body: Bytes) -> Response<Body> {
    let media = Media { shape: Shape::Plain, ..media.clone() };
    let mut response = match send::json(&media, status.code(), body.clone(), false) {
        Ok(response) => response,
        Err(_) => send::bytes(status.code(), "application/json", body, false),
    };
    if let Some(seconds) = status.get_details().and_then(|details| details.retry_after_seconds) {
        send::set(response.headers_mut(), RETRY_AFTER, &seconds.to_string());
    }
    send::set(response.headers_mut(), NOSNIFF, "nosniff");
    response
}
