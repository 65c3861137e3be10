//! Requests for certificates: which are approved without anybody being asked, which are signed and for what, and when
//! they are cleared away.
//!
//! Source: the `csrapproving`, `csrsigning` and `csrcleaner` controllers of `kube-controller-manager` 1.36. Stricter in
//! one thing: who brings only a joining token does not become a node that is alive.

mod plan;

pub use plan::{Plan, Rights, Step, plan};

use backstay_api::meta;
use jiff::Timestamp;
use serde_json::Value;

pub const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
pub const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
pub const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";

/// What stands in a request (PKCS#10).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<String>,
    /// Names of other kinds: mail addresses, URIs.
    pub other_names: usize,
}

/// A CertificateSigningRequest, as far as it matters here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    pub name: String,
    pub uid: String,
    pub created: Option<Timestamp>,
    pub signer: String,
    /// Who asked.
    pub username: String,
    pub usages: Vec<String>,
    pub expiration_seconds: Option<i64>,
    /// The request itself, PEM.
    pub body: Vec<u8>,
    pub approved: Option<Timestamp>,
    pub denied: Option<Timestamp>,
    /// The reason of that, in a word.
    pub denied_for: String,
    pub failed: Option<Timestamp>,
    /// PEM; empty until it is issued.
    pub certificate: Vec<u8>,
}

impl Request {
    /// Reads an object of the API.
    pub fn read(object: &Value) -> Self {
        let text = |path: &[&str]| meta::str_at(object, path).to_string();
        let bytes = |path: &[&str]| backstay_api::decode::base64_bytes(meta::str_at(object, path)).unwrap_or_default();
        let held = |kind: &str| {
            let mut conditions = meta::list_at(object, &["status", "conditions"]).iter();
            conditions.find(|one| meta::str_at(one, &["type"]) == kind)
        };
        let at = |kind: &str| {
            held(kind).map(|one| meta::str_at(one, &["lastUpdateTime"]).parse().unwrap_or(Timestamp::UNIX_EPOCH))
        };
        let usages = meta::list_at(object, &["spec", "usages"]).iter();
        Self {
            name: meta::name(object).to_string(),
            uid: meta::uid(object).to_string(),
            created: text(&["metadata", "creationTimestamp"]).parse().ok(),
            signer: text(&["spec", "signerName"]),
            username: text(&["spec", "username"]),
            usages: usages.filter_map(|usage| Some(usage.as_str()?.to_string())).collect(),
            expiration_seconds: meta::int_at(object, &["spec", "expirationSeconds"]),
            body: bytes(&["spec", "request"]),
            approved: at("Approved"),
            denied: at("Denied"),
            denied_for: held("Denied").map(|one| meta::str_at(one, &["reason"]).to_string()).unwrap_or_default(),
            failed: at("Failed"),
            certificate: bytes(&["status", "certificate"]),
        }
    }

    /// Whether it has not been decided.
    pub fn is_open(&self) -> bool {
        self.approved.is_none() && self.denied.is_none() && self.failed.is_none()
    }
}
