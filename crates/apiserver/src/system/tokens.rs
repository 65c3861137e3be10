//! How others can check our tokens: the discovery document of the issuer, and its keys.
//! Source: `k8s.io/kubernetes/pkg/serviceaccount` `openidmetadata`.

use axum::body::Body;
use backstay_api::canonical;
use http::Response;
use http::header::{CACHE_CONTROL, HOST};
use serde_json::{Value, json};

use crate::answer::send;
use crate::pipeline::Asked;
use crate::tokens::{ISSUER, Signer};

/// Keys are kept for good, so that an hour is short. Source: `cacheControl` of the handlers.
const CACHED: &str = "public, max-age=3600";

pub fn configuration(asked: &Asked) -> Response<Body> {
    let host = asked.head.uri.authority().map_or(asked.header(HOST), |authority| authority.as_str());
    let document = json!({
        "issuer": ISSUER,
        "jwks_uri": format!("https://{host}/openid/v1/jwks"),
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    answer(asked, "application/json", |_| document)
}

pub fn keys(asked: &Asked) -> Response<Body> {
    answer(asked, "application/jwk-set+json", Signer::key_set)
}

fn answer(asked: &Asked, content_type: &str, document: impl FnOnce(&Signer) -> Value) -> Response<Body> {
    let Some(signer) = &asked.core.tokens else { return send::text(404, "404 page not found\n") };
    let mut response = send::bytes(200, content_type, canonical::json(&document(signer)).into(), false);
    send::set(response.headers_mut(), CACHE_CONTROL, CACHED);
    response
}
