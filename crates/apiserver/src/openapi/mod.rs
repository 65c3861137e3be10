//! OpenAPI documents: version 3 (an index, and one document per group and version), and version 2 for old clients.
//!
//! Schemas come from the facts about types, descriptions from `k8s-openapi`, paths from the served resources. A document
//! is made when it is first asked for and kept compressed: that is how clients want it, and it is a tenth of the size.

mod describe;
mod names;
mod operations;
mod parameters;
mod paths;
mod schemas;
mod v2;
mod v2_protobuf;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use backstay_api::resources::Resource;
use bytes::Bytes;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// One served kind.
#[derive(Clone, Copy, Debug)]
pub struct Kind<'a> {
    pub resource: &'a Resource,
    /// The `openAPIV3Schema` of a custom resource; `None` for built-in kinds.
    pub custom: Option<&'a Value>,
}

/// Makes and keeps the documents.
#[derive(Debug, Default)]
pub struct OpenApi {
    documents: Mutex<BTreeMap<String, Arc<Document>>>,
}

/// A finished document.
#[derive(Debug)]
pub struct Document {
    hash: String,
    gzip: Bytes,
}

impl Document {
    /// Changes when the document does; clients use it as part of the address, and as ETag.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    pub fn gzip(&self) -> Bytes {
        self.gzip.clone()
    }

    /// Unpacked, for the few clients that do not take it compressed.
    pub fn plain(&self) -> Bytes {
        let mut plain = Vec::new();
        let read = GzDecoder::new(&self.gzip[..]).read_to_end(&mut plain);
        read.expect("we have packed it ourselves, in memory");
        plain.into()
    }
}

impl OpenApi {
    /// `GET /openapi/v3`: where the documents are. Cheap: the documents need not be made for it.
    pub fn index(&self, kinds: &[Kind<'_>]) -> Value {
        let versions = group_versions(kinds).into_iter().map(|(path, kinds)| {
            let url = format!("/openapi/v3/{path}?hash={}", fingerprint(&path, &kinds));
            (path, json!({"serverRelativeURL": url}))
        });
        json!({"paths": versions.collect::<serde_json::Map<String, Value>>()})
    }

    /// `GET /openapi/v3/api/v1` and `GET /openapi/v3/apis/GROUP/VERSION`; `path` is what follows `/openapi/v3/`. `None`
    /// if nothing of it is served. Takes tens of milliseconds the first time.
    pub fn v3(&self, kinds: &[Kind<'_>], path: &str) -> Option<Arc<Document>> {
        let (path, kinds) = group_versions(kinds).into_iter().find(|(other, _)| other == path)?;
        Some(self.cached(&path, fingerprint(&path, &kinds), || v3_document(&kinds).to_string().into_bytes()))
    }

    /// `GET /openapi/v2` as JSON. Takes a second the first time.
    pub fn v2_json(&self, kinds: &[Kind<'_>]) -> Arc<Document> {
        self.cached("v2", fingerprint("v2", kinds), || v2::document(kinds).to_string().into_bytes())
    }

    /// `GET /openapi/v2` in the form that clients before kubectl 1.29 ask for, [`V2_PROTOBUF`].
    pub fn v2_protobuf(&self, kinds: &[Kind<'_>]) -> Arc<Document> {
        self.cached("v2pb", fingerprint("v2pb", kinds), || v2_protobuf::encode(&v2::document(kinds)))
    }

    fn cached(&self, name: &str, hash: String, make: impl FnOnce() -> Vec<u8>) -> Arc<Document> {
        let mut documents = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(document) = documents.get(name).filter(|document| document.hash == hash) {
            return document.clone();
        }
        let document = Arc::new(Document { hash, gzip: gzip(&make()) });
        documents.insert(name.to_string(), document.clone());
        document
    }
}

/// By this clients ask for the protobuf form of version 2. It is no legal media type, so answers say
/// [`V2_PROTOBUF_ANSWER`].
pub const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf";

pub const V2_PROTOBUF_ANSWER: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// The kinds by the address of their document: `api/v1`, `apis/apps/v1`.
fn group_versions<'a>(kinds: &[Kind<'a>]) -> BTreeMap<String, Vec<Kind<'a>>> {
    let mut versions: BTreeMap<String, Vec<Kind<'a>>> = BTreeMap::new();
    for kind in kinds {
        versions.entry(names::root(&kind.resource.group, &kind.resource.version)).or_default().push(*kind);
    }
    versions
}

/// Depends on everything the document is made of, not on the document: it need not be made to know its hash.
fn fingerprint(name: &str, kinds: &[Kind<'_>]) -> String {
    let mut hash = Sha256::new();
    hash.update(env!("CARGO_PKG_VERSION"));
    hash.update(name);
    for kind in kinds {
        hash.update(format!("{:?}", kind.resource));
        hash.update(kind.custom.map(Value::to_string).unwrap_or_default());
    }
    hash.finalize().iter().fold(String::new(), |text, byte| text + &format!("{byte:02X}"))
}

fn v3_document(kinds: &[Kind<'_>]) -> Value {
    json!({
        "openapi": "3.0.0", "info": info(), "paths": paths::all(kinds),
        "components": {"schemas": schemas::all(kinds), "securitySchemes": {"BearerToken": bearer_token()}},
    })
}

fn info() -> Value {
    json!({"title": "Kubernetes", "version": "v1.36.2"})
}

fn bearer_token() -> Value {
    json!({"type": "apiKey", "description": "Bearer Token authentication", "name": "authorization", "in": "header"})
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.expect("writing to memory does not fail").into()
}

#[cfg(test)]
mod tests;
