//! Discovery over HTTP: which document a path and an Accept header ask for. The documents are `api::discovery`'s.

use axum::body::Body;
use backstay_api::Status;
use backstay_api::discovery::{self, Aggregated};
use backstay_api::resources::Resource;
use http::Response;
use http::header::{ACCEPT, ETAG, HOST, IF_NONE_MATCH, VARY};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{json, json_as};
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
    let form = match negotiate::aggregated_discovery(asked.header(ACCEPT)).as_deref() {
        Some("v2") => Aggregated::V2,
        Some("v2beta1") => Aggregated::V2Beta1,
        _ => return plain_root(asked, resources, core),
    };
    let document = discovery::aggregated(resources, form, core);
    let hash = Sha256::digest(document.to_string());
    let tag = format!("\"{}\"", hash.iter().map(|byte| format!("{byte:02X}")).collect::<String>());
    let mut response = match asked.header(IF_NONE_MATCH) == tag {
        true => send::bytes(304, form.content_type(), Default::default(), false),
        false => json_as(asked, &document, form.content_type()),
    };
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
