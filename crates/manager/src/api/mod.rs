//! The thin client: requests and answers as bytes, errors as `Status`.
//!
//! Everything goes through one [`kube::Client`], whether that speaks TLS to a cluster or calls our own router.

mod discovery;
mod error;
mod resource;

pub use backstay_api::causes::chain;
pub use discovery::{Discovered, Served, discover};
pub use error::ApiError;
pub use resource::{
    CERTIFICATE_REQUESTS, CLUSTER_ROLES, CONTROLLER_REVISIONS, DAEMON_SETS, EVENTS, LEASES, NAMESPACES, NODES, PODS,
    Resource, SECRETS, escape, pods_of_node,
};

use std::time::Duration;

use backstay_controllers::model::ObjectRef;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::BodyExt;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// A request that has no answer by then has failed.
const REQUEST_MAX: Duration = Duration::from_secs(30);

const METADATA: HeaderValue = HeaderValue::from_static("application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1");
const METADATA_LIST: HeaderValue =
    HeaderValue::from_static("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1");

/// That an object is still in the state that a decision was based on: for preconditions, and for the metadata of patches.
pub fn exactly(object: &ObjectRef) -> Value {
    json!({ "uid": object.uid, "resourceVersion": object.resource_version.to_string() })
}

/// The patch types that controllers use.
#[derive(Clone, Copy, Debug)]
pub enum Patch {
    Merge,
    Strategic,
    /// Server-side apply, by force.
    Apply,
}

/// What the answers are to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Parts {
    All,
    Metadata,
}

#[derive(Clone)]
pub struct Api {
    client: kube::Client,
    /// Whom `managedFields` names.
    field_manager: &'static str,
    parts: Parts,
}

impl Api {
    pub fn new(client: kube::Client, field_manager: &'static str) -> Self {
        Self { client, field_manager, parts: Parts::All }
    }

    /// The same connection, writing in another name.
    pub fn writing_as(&self, field_manager: &'static str) -> Self {
        Self { field_manager, ..self.clone() }
    }

    /// The same connection, for reading the metadata of objects only.
    pub fn metadata_only(&self) -> Self {
        Self { parts: Parts::Metadata, ..self.clone() }
    }

    pub async fn get(&self, path: &str) -> Result<Bytes, ApiError> {
        self.send(Method::GET, path.to_string(), "", Bytes::new()).await
    }

    /// Reads (a page of) a collection.
    pub async fn list(&self, path: &str) -> Result<Bytes, ApiError> {
        let mut request = self.request(Method::GET, path.to_string(), "", Bytes::new())?;
        if self.parts == Parts::Metadata {
            request.headers_mut().insert(header::ACCEPT, METADATA_LIST);
        }
        self.exchange(request, path).await
    }

    /// The objects of (a page of) a collection.
    pub async fn items<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, ApiError> {
        #[derive(Deserialize)]
        struct List<T> {
            items: Option<Vec<T>>,
        }
        let list: List<T> = serde_json::from_slice(&self.list(path).await?)?;
        Ok(list.items.unwrap_or_default())
    }

    pub async fn post(&self, path: &str, body: impl Into<Bytes>) -> Result<Bytes, ApiError> {
        self.send(Method::POST, self.written(path), "application/json", body.into()).await
    }

    pub async fn put(&self, path: &str, body: impl Into<Bytes>) -> Result<Bytes, ApiError> {
        self.send(Method::PUT, self.written(path), "application/json", body.into()).await
    }

    pub async fn patch(&self, path: &str, patch: Patch, body: &Value) -> Result<Bytes, ApiError> {
        let kind = match patch {
            Patch::Merge => "application/merge-patch+json",
            Patch::Strategic => "application/strategic-merge-patch+json",
            Patch::Apply => "application/apply-patch+yaml",
        };
        let force = if matches!(patch, Patch::Apply) { "&force=true" } else { "" };
        self.send(Method::PATCH, self.written(path) + force, kind, body.to_string().into()).await
    }

    /// Deletes with these options (`DeleteOptions`, without kind).
    pub async fn delete(&self, path: &str, options: &Value) -> Result<Bytes, ApiError> {
        self.send(Method::DELETE, path.to_string(), "application/json", options.to_string().into()).await
    }

    /// Deletes the object only in the state the decision was based on.
    pub async fn delete_exactly(&self, resource: &Resource, object: &ObjectRef) -> Result<Bytes, ApiError> {
        let path = resource.object(&object.namespace, &object.name);
        self.delete(&path, &json!({ "preconditions": exactly(object) })).await
    }

    /// Begins a watch; the answer's body is the stream.
    pub async fn stream(&self, path: &str) -> Result<Response<Body>, ApiError> {
        let request = self.request(Method::GET, path.to_string(), "", Bytes::new())?;
        let answer = tokio::time::timeout(REQUEST_MAX, self.client.send(request));
        let answer = answer.await.map_err(|_| ApiError::Timeout { path: path.to_string() })??;
        match answer.status().is_success() {
            true => Ok(answer),
            false => Err(refused(answer).await),
        }
    }

    fn written(&self, path: &str) -> String {
        let separator = if path.contains('?') { '&' } else { '?' };
        format!("{path}{separator}fieldManager={}", self.field_manager)
    }

    fn request(&self, method: Method, path: String, kind: &str, body: Bytes) -> Result<Request<Body>, ApiError> {
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, self.accepted());
        if !kind.is_empty() {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        Ok(request.body(Body::from(body))?)
    }

    async fn send(&self, method: Method, path: String, kind: &str, body: Bytes) -> Result<Bytes, ApiError> {
        let request = self.request(method, path.clone(), kind, body)?;
        self.exchange(request, &path).await
    }

    fn accepted(&self) -> HeaderValue {
        match self.parts {
            Parts::All => HeaderValue::from_static("application/json"),
            Parts::Metadata => METADATA,
        }
    }

    async fn exchange(&self, request: Request<Body>, path: &str) -> Result<Bytes, ApiError> {
        let exchange = async {
            let answer = self.client.send(request).await?;
            match answer.status().is_success() {
                true => Ok(answer.into_body().collect().await?.to_bytes()),
                false => Err(refused(answer).await),
            }
        };
        tokio::time::timeout(REQUEST_MAX, exchange).await.map_err(|_| ApiError::Timeout { path: path.to_string() })?
    }
}

/// The error that an answer is.
async fn refused(answer: Response<Body>) -> ApiError {
    let code = answer.status().as_u16();
    match answer.into_body().collect().await {
        Ok(body) => ApiError::from_status(code, &body.to_bytes()),
        Err(error) => error.into(),
    }
}
