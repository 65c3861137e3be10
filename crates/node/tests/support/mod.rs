//! A server in this process over a store in memory, and a client to talk to it with.
#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod link;
pub mod network;

use std::sync::Arc;
use std::time::Duration;

use backstay_api::{Clock, Entropy};
use backstay_apiserver::tunnel::Tunnels;
use backstay_apiserver::{ApiServer, Config, UserInfo, as_user};
use backstay_store::MemoryStore;
use http::{Method, Request};
use jiff::Timestamp;
use kube::Client;
use serde_json::{Value, json};

pub struct Server {
    pub client: Client,
    pub router: axum::Router,
    /// Without anybody's name on the requests.
    pub bare: axum::Router,
    pub tunnels: Arc<Tunnels>,
    pub clock: Clock,
    pub entropy: Entropy,
}

impl Server {
    /// Under `tokio`'s clock: real, or paused. Pods need no service account, and may name a RuntimeClass that is gone.
    pub async fn start() -> Self {
        Self::with_disabled(&["ServiceAccount", "RuntimeClass"]).await
    }

    pub async fn with_disabled(plugins: &[&str]) -> Self {
        let began = tokio::time::Instant::now();
        let epoch = Timestamp::now();
        let clock = Clock::new(move || epoch + began.elapsed());
        let counter = std::sync::atomic::AtomicU64::new(1);
        let entropy = Entropy::new(move || {
            counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        });
        let mut config = Config::new(Arc::new(MemoryStore::new()));
        (config.clock, config.entropy) = (clock.clone(), entropy.clone());
        config.disabled_admission_plugins = plugins.iter().map(|name| name.to_string()).collect();
        let tunnels = config.tunnels.clone();
        let server = ApiServer::new(config).unwrap();
        server.bootstrap().await.unwrap();
        let admin = UserInfo::new("admin", &["system:masters"]);
        let (bare, router) = (server.router(), as_user(server.router(), admin));
        let client = Client::new(router.clone(), "default");
        let server = Self { client, router, bare, tunnels, clock, entropy };
        for namespace in ["default", "kube-node-lease"] {
            let body = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
            let _ = server.send(Method::POST, "/api/v1/namespaces", &body).await;
        }
        server
    }

    pub async fn send(&self, method: Method, path: &str, body: &Value) -> Result<Value, kube::Error> {
        let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind).body(body).unwrap();
        self.client.request(request).await
    }

    pub async fn get(&self, path: &str) -> Value {
        self.send(Method::GET, path, &Value::Null).await.unwrap_or(Value::Null)
    }

    pub async fn post(&self, path: &str, body: Value) -> Value {
        self.send(Method::POST, path, &body).await.unwrap_or_else(|error| panic!("POST {path}: {error}"))
    }

    /// Makes a pod that is bound to the node from the start.
    pub async fn pod(&self, name: &str, node: &str, change: impl FnOnce(&mut Value)) -> Value {
        let container = json!({ "name": "main", "image": "app:v1", "command": ["sh", "-c", "sleep 1000"] });
        let mut pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": { "nodeName": node, "terminationGracePeriodSeconds": 5, "containers": [container] } });
        change(&mut pod);
        self.post("/api/v1/namespaces/default/pods", pod).await
    }

    pub async fn delete(&self, path: &str) {
        self.send(Method::DELETE, path, &Value::Null).await.unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
    }

    /// Polls until it holds; under a paused clock no time is lost.
    pub async fn wait(&self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let mut seen = Value::Null;
        for _ in 0..1500 {
            seen = self.get(path).await;
            if holds(&seen) {
                return seen;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{path}: {what}: did not come true in 30 s: {seen:#}");
    }
}

pub fn pod_path(name: &str) -> String {
    format!("/api/v1/namespaces/default/pods/{name}")
}

pub fn is_ready(object: &Value) -> bool {
    condition(object, "Ready") == "True"
}

pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    let conditions = object["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    conditions.iter().find(|it| it["type"] == kind).and_then(|it| it["status"].as_str()).unwrap_or("")
}
