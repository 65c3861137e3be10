//! Requests to the API server, with objects as `serde_json::Value`: the few that a node needs.

use std::time::Duration;

use backstay_api::causes::chain;
use backstay_api::time;
use futures::Stream;
use http::{Method, Request};
use kube::Client;
use kube::core::WatchEvent;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::servers::Servers;

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Names us in `managedFields` and in the server's logs.
const USER_AGENT: &str = concat!("backstay-node/", env!("CARGO_PKG_VERSION"));

/// A request that is not answered in this time never will be: a network that is cut swallows it without a word.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Asks whichever server's turn it is. Here is where it shows that one does not serve: every request of a node, also the
/// opening of its watches, goes through [`Api::answered`], which knows the silent ones from the refused.
#[derive(Clone)]
pub(crate) struct Api {
    servers: Servers,
}

/// The little of an answer that a writer wants to know.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Written {
    #[serde(default)]
    metadata: WrittenMeta,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WrittenMeta {
    #[serde(default)]
    resource_version: String,
}

impl Written {
    pub(crate) fn resource_version(&self) -> &str {
        &self.metadata.resource_version
    }
}

impl Api {
    pub(crate) fn new(servers: Servers) -> Self {
        Self { servers }
    }

    /// See [`Servers::restored`].
    pub(crate) fn restored(&self) -> watch::Receiver<u64> {
        self.servers.restored()
    }

    /// See [`Servers::is_cut`].
    pub(crate) fn is_cut(&self) -> bool {
        self.servers.is_cut()
    }

    /// Where the server is that is asked at the moment.
    pub(crate) fn server_url(&self) -> Option<String> {
        self.servers.url()
    }

    /// Events of a watch, for as long as they come.
    pub(crate) async fn watch<T: DeserializeOwned + Clone + 'static>(
        &self,
        path: &str,
    ) -> Result<impl Stream<Item = Result<WatchEvent<T>, kube::Error>> + use<T>, kube::Error> {
        let request = request(Method::GET, path, "", Vec::new())?;
        self.answered(|client| async move { client.request_events::<T>(request).await }).await
    }

    /// Waits for an answer, but not for ever.
    async fn answered<T, F: Future<Output = Result<T, kube::Error>>>(
        &self,
        ask: impl FnOnce(Client) -> F,
    ) -> Result<T, kube::Error> {
        let (ticket, client) = self.servers.client();
        let answer = tokio::time::timeout(TIMEOUT, ask(client)).await.unwrap_or_else(|_| {
            Err(kube::Error::Service(format!("no answer from the server within {} s", TIMEOUT.as_secs()).into()))
        });
        self.servers.heard(ticket, answer.as_ref().map_or_else(code, |_| Some(200)));
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, kube::Error> {
        self.send(request(Method::GET, path, "", Vec::new())?).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, kube::Error> {
        self.send(request(Method::POST, path, "application/json", body.to_string().into_bytes())?).await
    }

    /// As [`Api::post`], for what may be made twice: goes to every server once until one serves.
    pub(crate) async fn post_anywhere(&self, path: &str, body: &Value) -> Result<Value, kube::Error> {
        let mut left = self.servers.all().len();
        loop {
            left -= 1;
            match self.post(path, body).await {
                Err(error) if left > 0 && matches!(code(&error), None | Some(503)) => {
                    tracing::warn!(error = told(&error), "a server does not serve; the next is asked");
                }
                other => return other,
            }
        }
    }

    pub(crate) async fn merge_patch(&self, path: &str, body: &Value) -> Result<Written, kube::Error> {
        let kind = "application/merge-patch+json";
        self.send(request(Method::PATCH, path, kind, body.to_string().into_bytes())?).await
    }

    pub(crate) async fn strategic_patch(&self, path: &str, body: &Value) -> Result<Written, kube::Error> {
        let kind = "application/strategic-merge-patch+json";
        self.send(request(Method::PATCH, path, kind, body.to_string().into_bytes())?).await
    }

    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Result<(), kube::Error> {
        let request = request(Method::DELETE, path, "application/json", options.to_string().into_bytes())?;
        self.answered(|client| async move { client.request_text(request).await }).await.map(drop)
    }

    async fn send<T: DeserializeOwned>(&self, request: Request<Vec<u8>>) -> Result<T, kube::Error> {
        self.answered(|client| async move { client.request(request).await }).await
    }
}

/// Deletes a pod's object for good, if it still is the one with this uid. Gone already is fine.
pub(crate) async fn delete_pod(api: &Api, namespace: &str, name: &str, uid: &str) -> Result<(), kube::Error> {
    let options = json!({
        "kind": "DeleteOptions", "apiVersion": "v1",
        "gracePeriodSeconds": 0, "preconditions": { "uid": uid },
    });
    match api.delete(&format!("/api/v1/namespaces/{namespace}/pods/{name}"), &options).await {
        Err(error) if matches!(code(&error), Some(404 | 409)) => Ok(()),
        other => other,
    }
}

/// Writes a pod's status, if the pod still is the one with this uid.
pub(crate) async fn patch_pod_status(
    api: &Api,
    namespace: &str,
    name: &str,
    uid: &str,
    status: &Value,
) -> Result<Written, kube::Error> {
    let body = json!({ "metadata": { "uid": uid }, "status": status });
    api.strategic_patch(&format!("/api/v1/namespaces/{namespace}/pods/{name}/status"), &body).await
}

/// Renews a node's lease, and makes it where there is none.
pub(crate) async fn renew_lease(
    api: &Api,
    node: &str,
    uid: &str,
    seconds: i64,
    now: jiff::Timestamp,
) -> Result<(), kube::Error> {
    let (owner, spec) = lease(node, uid, seconds, now);
    let patch = json!({ "metadata": { "ownerReferences": owner }, "spec": spec });
    match api.merge_patch(&format!("{LEASES}/{node}"), &patch).await {
        Err(error) if code(&error) == Some(404) => create_lease(api, node, uid, seconds, now).await,
        other => other.map(drop),
    }
}

/// Makes a node's lease; if there is one already, it is renewed.
pub(crate) async fn create_lease(
    api: &Api,
    node: &str,
    uid: &str,
    seconds: i64,
    now: jiff::Timestamp,
) -> Result<(), kube::Error> {
    let (owner, spec) = lease(node, uid, seconds, now);
    let metadata = json!({ "name": node, "namespace": "kube-node-lease", "ownerReferences": owner });
    let lease = json!({ "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": spec });
    match api.post(LEASES, &lease).await {
        Err(error) if code(&error) == Some(409) => {
            let patch = json!({ "metadata": { "ownerReferences": owner }, "spec": spec });
            api.merge_patch(&format!("{LEASES}/{node}"), &patch).await.map(drop)
        }
        other => other.map(drop),
    }
}

/// Owner references and spec of a node's lease. It goes with its node; that of an earlier node of the same name passes to
/// the new one.
fn lease(node: &str, uid: &str, seconds: i64, now: jiff::Timestamp) -> (Value, Value) {
    let spec = json!({ "holderIdentity": node, "leaseDurationSeconds": seconds, "renewTime": time::micros(now) });
    (json!([{ "apiVersion": "v1", "kind": "Node", "name": node, "uid": uid }]), spec)
}

/// What went wrong, in words: those of the server if it has answered.
pub(crate) fn told(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        error => chain(error),
    }
}

/// The status code of an answer that is an error; `None` if there was no answer of a server. Theirs always have one: what
/// has none is the word of somebody in between.
pub(crate) fn code(error: &kube::Error) -> Option<u16> {
    match error {
        kube::Error::Api(status) => Some(status.code).filter(|code| *code != 0),
        _ => None,
    }
}

pub(crate) fn request(method: Method, path: &str, kind: &str, body: Vec<u8>) -> Result<Request<Vec<u8>>, kube::Error> {
    let mut request = Request::builder().method(method).uri(path).header(http::header::USER_AGENT, USER_AGENT);
    request = request.header(http::header::ACCEPT, "application/json");
    if !kind.is_empty() {
        request = request.header(http::header::CONTENT_TYPE, kind);
    }
    request.body(body).map_err(kube::Error::HttpError)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use kube::client::Body;
    use tower::service_fn;

    use super::*;
    use crate::servers::Server;

    /// What the first of two servers answers, which of them is asked next, and whether they count as cut off.
    async fn check(status: u16, body: &'static str, next: &str, cut: bool) {
        let server = |url: &str| {
            let answer = move |_: Request<Body>| async move {
                Ok::<_, Infallible>(
                    http::Response::builder().status(status).body(Body::from(body.as_bytes().to_vec())).unwrap(),
                )
            };
            Server { url: Some(url.to_string()), client: Client::new(service_fn(answer), "default") }
        };
        let api = Api::new(Servers::in_order(vec![server("first"), server("second")]));
        let _ = api.get("/x").await;
        assert_eq!((api.server_url().as_deref(), api.is_cut()), (Some(next), cut), "{status} {body}");
    }

    #[tokio::test]
    async fn who_answers_serves() {
        check(200, "{}", "first", false).await;
        check(404, r#"{"kind":"Status","code":404}"#, "first", false).await;
        check(404, "no such page", "first", false).await;
        check(503, r#"{"kind":"Status","code":503}"#, "second", false).await;
        check(503, "no backend", "second", false).await;
        // Somebody in between, with words of his own.
        check(503, r#"{"error":"no backend"}"#, "second", true).await;
        check(502, r#"{"error":"no backend"}"#, "second", true).await;
    }
}
