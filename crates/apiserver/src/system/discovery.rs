//! Discovery over HTTP: which document a path and an Accept header ask for. The documents are `api::discovery`'s.

use axum::body::Body;
use backstay_api::Status;
use backstay_api::discovery::{self, Aggregated};
use backstay_api::resources::Resource;
use http::Response;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, HOST, IF_NONE_MATCH, VARY};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{json, json_in};
use crate::answer::{negotiate, send};
use crate::catalog::Contents;
use crate::pipeline::Asked;
use crate::server::Core;

/// Serves `/api`, `/apis` and what is right below; `parts` are those of the path.
pub fn answer(asked: &Asked, parts: &[&str]) -> Result<Response<Body>, Status> {
    let contents = asked.core.catalog.contents();
    let resources = resources(&contents);
    let document = match parts {
        [root @ ("api" | "apis")] => return Ok(at_root(asked, &resources, *root == "api")),
        ["api", version] => discovery::resource_list(&resources, "", version),
        ["apis", group] => discovery::group(&resources, group),
        ["apis", group, version] => discovery::resource_list(&resources, group, version),
        _ => None,
    };
    match document {
        Some(document) => Ok(json(asked, &document)),
        None if parts[0] == "api" => Err(Status::unknown_path()),
        None => Ok(send::text(404, "404 page not found\n")),
    }
}

/// The document at `/`.
pub fn root(core: &Core) -> Value {
    json!({ "paths": discovery::paths(&resources(&core.catalog.contents())) })
}

fn resources(contents: &Contents) -> Vec<&Resource> {
    contents.all.iter().map(|served| &served.resource).collect()
}

fn at_root(asked: &Asked, resources: &[&Resource], core: bool) -> Response<Body> {
    let Some((format, version)) = negotiate::aggregated_discovery(asked.header(ACCEPT)) else {
        return plain_root(asked, resources, core);
    };
    let form = if version == "v2" { Aggregated::V2 } else { Aggregated::V2Beta1 };
    let document = discovery::aggregated(resources, form, core);
    let hash = Sha256::digest(document.to_string());
    let tag = format!("\"{}\"", hash.iter().map(|byte| format!("{byte:02X}")).collect::<String>());
    let mut response = match asked.header(IF_NONE_MATCH) == tag {
        true => send::bytes(304, "application/json", Default::default(), false),
        false => json_in(asked, format, &document),
    };
    let plain = response.headers().get(CONTENT_TYPE).and_then(|plain| plain.to_str().ok()).unwrap_or_default();
    let content_type = format!("{plain};{}", form.parameters());
    send::set(response.headers_mut(), CONTENT_TYPE, &content_type);
    send::set(response.headers_mut(), ETAG, &tag);
    send::set(response.headers_mut(), VARY, "Accept");
    response
}

fn plain_root(asked: &Asked, resources: &[&Resource], core: bool) -> Response<Body> {
    let document = match core {
        true => discovery::api_versions(resources, asked.header(HOST)),
        false => discovery::group_list(resources),
    };
    let mut response = json(asked, &document);
    send::set(response.headers_mut(), VARY, "Accept");
    response
}
