//! Failures, as the `Status` objects that clients understand.

use axum::body::Body;
use backstay_api::{Status, canonical};
use http::Response;
use http::header::{HeaderName, RETRY_AFTER};

use super::{Media, Shape, send};

const NOSNIFF: HeaderName = HeaderName::from_static("x-content-type-options");

/// The answer of a failed request.
pub fn response(media: &Media, status: &Status) -> Response<Body> {
    let body = canonical::json(&status.to_json());
    let media = Media { shape: Shape::Plain, ..media.clone() };
    let mut response = match send::json(&media, status.code(), body.clone().into(), false) {
        Ok(response) => response,
        Err(_) => send::bytes(status.code(), "application/json", body.into(), false),
    };
    if let Some(seconds) = status.get_details().and_then(|details| details.retry_after_seconds) {
        send::set(response.headers_mut(), RETRY_AFTER, &seconds.to_string());
    }
    send::set(response.headers_mut(), NOSNIFF, "nosniff");
    response
}
