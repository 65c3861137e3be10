//! Discovery: what a server says it serves, in the old form (one document per group and version) and in the
//! aggregated one (`APIGroupDiscoveryList`).
//!
//! Pure functions over the served resources, built-in and custom alike. The same resources give the same bytes, so that
//! a hash of them can be an ETag. Groups come in the order in which they are first met, versions by their age and
//! stability (`v2`, `v1`, `v1beta1`), resources by name.

mod aggregated;
mod legacy;
mod order;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::GroupVersionKind;
use crate::resources::Resource;

pub use aggregated::{Aggregated, aggregated};
pub use legacy::{api_versions, group, group_list, resource_list};

/// What `GET /` lists.
pub fn paths(resources: &[&Resource]) -> Vec<String> {
    const OTHERS: [&str; 12] = [
        "/api",
        "/apis",
        "/healthz",
        "/healthz/ping",
        "/livez",
        "/livez/ping",
        "/metrics",
        "/openapi/v2",
        "/openapi/v3",
        "/readyz",
        "/readyz/ping",
        "/version",
    ];
    let mut paths: Vec<String> = OTHERS.iter().map(ToString::to_string).collect();
    for (name, versions) in order::groups(resources) {
        let group = if name.is_empty() { "/api".to_string() } else { format!("/apis/{name}") };
        paths.extend(versions.iter().map(|(version, _)| format!("{group}/{version}")));
        paths.push(group);
    }
    paths.sort();
    paths.dedup();
    paths
}

/// Names the form in which objects are kept, so that clients see when it changes: the first eight bytes of a hash.
fn storage_version_hash(stored_as: &GroupVersionKind) -> String {
    let GroupVersionKind { group, version, kind } = stored_as;
    let hash = Sha256::digest(format!("{group}/{version}/{kind}"));
    STANDARD.encode(&hash[..8])
}

#[cfg(test)]
mod tests;
