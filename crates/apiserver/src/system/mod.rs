//! Everything that is no resource: discovery, OpenAPI, health, version, metrics, the keys of tokens.

pub mod discovery;
pub mod health;
pub mod metrics;
pub mod openapi;
pub mod tokens;
pub mod version;

use axum::body::Body;
use backstay_api::Status;
use http::Response;
use http::header::ACCEPT_ENCODING;

use crate::answer::{Format, Media, send};
use crate::pipeline::Asked;
use crate::problem;

/// Serves a request that is not about a resource.
pub fn answer(asked: &Asked, verb: &str) -> Result<Response<Body>, Status> {
    let path = asked.info.path.trim_end_matches('/');
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let is_api = matches!(parts.first(), Some(&("api" | "apis")));
    if verb != "get" && is_api {
        return Err(problem::method_not_allowed());
    }
    match parts.as_slice() {
        [] => Ok(json(asked, &discovery::root(&asked.core))),
        ["api" | "apis", ..] => discovery::answer(asked, &parts),
        ["openapi", parts @ ..] => Ok(openapi::answer(asked, parts)),
        ["version"] => Ok(json(asked, &version::info())),
        ["healthz" | "livez" | "readyz", checks @ ..] => Ok(health::answer(asked, parts[0], checks)),
        [".well-known", "openid-configuration"] => Ok(tokens::configuration(asked)),
        ["openid", "v1", "jwks"] => Ok(tokens::keys(asked)),
        ["metrics"] => Ok(metrics::answer(&asked.core)),
        _ => Ok(send::text(404, "404 page not found\n")),
    }
}

/// A small document in the form that the client wants. What has no kind comes as JSON, even to who prefers protobuf.
pub fn json(asked: &Asked, document: &serde_json::Value) -> Response<Body> {
    json_in(asked, asked.media().format, document)
}

/// The same in a form that has been chosen.
pub fn json_in(asked: &Asked, format: Format, document: &serde_json::Value) -> Response<Body> {
    let gzip = asked.header(ACCEPT_ENCODING).contains("gzip");
    let body = backstay_api::canonical::json(document);
    match send::json(&Media { format, ..asked.media() }, 200, body.clone().into(), gzip) {
        Ok(response) => response,
        Err(_) => send::bytes(200, "application/json", body.into(), gzip),
    }
}
