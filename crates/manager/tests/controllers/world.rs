//! An API server, the manager, and a client, on tokio's paused clock.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use backstay_api::{Clock, Entropy, meta, time};
use backstay_apiserver::catalog::Catalog;
use backstay_apiserver::{ApiServer, UserInfo, as_user};
use backstay_manager::Config;
use backstay_store::{Key, MemoryStore, Operation, Store};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use http::{Method, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use jiff::{SignedDuration, Timestamp};
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::BoxError;

/// Nothing here takes longer, unless it never happens.
const PATIENCE: Duration = Duration::from_secs(900);
const STEP: Duration = Duration::from_millis(50);

/// What becomes of the requests of a manager.
#[derive(Clone, Default)]
pub struct Line {
    /// Requests are carried out so late.
    pub asks_late: Duration,
    /// Their answers come so late.
    pub answers_late: Duration,
    /// Requests whose method and path these are meet this error.
    pub refused: Option<(Method, String, u16)>,
    /// Nothing is answered, and all watches have ended.
    pub is_cut: bool,
    /// Watches of these paths have been begun anew since the server forgot everything; those of others cannot be.
    pub forgotten: Option<BTreeSet<String>>,
}

async fn through(
    line: &watch::Sender<Line>,
    client: kube::Client,
    request: Request<Body>,
) -> Result<Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError> {
    let answer = |code| {
        let body = Full::new(Bytes::from_static(b"{}")).map_err(BoxError::from).boxed_unsync();
        Ok(Response::builder().status(code).body(body).expect("an answer"))
    };
    let seen = line.borrow().clone();
    tokio::time::sleep(seen.asks_late).await;
    let path = request.uri().path().to_string();
    let is_refused = |(method, wanted, _): &(Method, String, u16)| *request.method() == *method && path == *wanted;
    if let Some((_, _, code)) = seen.refused.filter(is_refused) {
        return answer(code);
    }
    if seen.is_cut {
        return answer(503);
    }
    let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    if is_watch && seen.forgotten.is_some_and(|begun| !begun.contains(&path)) {
        line.send_modify(|line| line.forgotten.get_or_insert_default().extend([path]));
        return answer(410);
    }
    let response = client.send(request).await?;
    tokio::time::sleep(seen.answers_late).await;
    let mut line = line.subscribe();
    let cut = async move { drop(line.wait_for(|line| line.is_cut).await) };
    let whole = |body: Body| TryStreamExt::map_err(BodyStream::new(body), BoxError::from).take_until(cut);
    Ok(response.map(|body| StreamBody::new(whole(body)).boxed_unsync()))
}

pub struct World {
    client: kube::Client,
    clock: Clock,
    /// By how many seconds the clock has been put forward (or back).
    put_forward: Arc<AtomicI64>,
    entropy: Entropy,
    store: Arc<MemoryStore>,
    manager: Option<JoinHandle<()>>,
}

impl World {
    /// A server and a running manager.
    pub async fn new() -> Self {
        let mut world = Self::without_manager().await;
        world.start_manager(|_| {});
        world
    }

    pub async fn without_manager() -> Self {
        let put_forward = Arc::new(AtomicI64::new(0));
        let (clock, entropy) = (clock(put_forward.clone()), entropy());
        let store = Arc::new(MemoryStore::new());
        let mut config = backstay_apiserver::Config::new(store.clone());
        (config.clock, config.entropy) = (clock.clone(), entropy.clone());
        config.disabled_admission_plugins = vec!["ServiceAccount".into()];
        let server = ApiServer::new(config).expect("the plugin exists");
        server.bootstrap().await.expect("the store is empty");
        let user = UserInfo::new("system:kube-controller-manager", &["system:masters"]);
        let client = kube::Client::new(as_user(server.router(), user), "default");
        Self { client, clock, put_forward, entropy, store, manager: None }
    }

    /// Puts an object into the store as it is, its uid and status included: as state of another cluster is taken over.
    pub async fn load(&self, object: &Value) {
        let gvk = meta::gvk(object).expect("apiVersion and kind");
        let contents = Catalog::new(self.store.clone()).contents();
        let served = contents.find_kind(&gvk.group, &gvk.version, &gvk.kind).expect("a served kind");
        let namespace = meta::namespace(object).unwrap_or_default();
        let key =
            Key { resource: served.storage().clone(), namespace: namespace.into(), name: meta::name(object).into() };
        let value = served.encode(object);
        self.store.commit(key, Operation::Create { value }).await.expect("the store has no such object yet");
    }

    pub fn start_manager(&mut self, change: impl FnOnce(&mut Config)) {
        self.start_manager_with(self.client.clone(), change);
    }

    /// Starts one that hears of what its requests have done so much later than whoever watches.
    pub fn start_late_manager(&mut self, late: Duration) {
        let line = Line { answers_late: late, ..Line::default() };
        self.start_manager_on(Arc::new(watch::Sender::new(line)), |_| {});
    }

    /// Starts one whose requests meet what stands in this line, which may change meanwhile.
    pub fn start_manager_on(&mut self, line: Arc<watch::Sender<Line>>, change: impl FnOnce(&mut Config)) {
        let client = self.client.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let (client, line) = (client.clone(), line.clone());
            async move { through(&line, client, request).await }
        });
        self.start_manager_with(kube::Client::new(service, "default"), change);
    }

    fn start_manager_with(&mut self, client: kube::Client, change: impl FnOnce(&mut Config)) {
        let mut config = Config::new(self.clock.clone(), self.entropy.clone());
        change(&mut config);
        self.manager = Some(tokio::spawn(backstay_manager::run(client, config, std::future::pending())));
    }

    pub fn stop_manager(&mut self) {
        if let Some(manager) = self.manager.take() {
            manager.abort();
        }
    }

    /// Somebody sets the clock.
    pub fn put_clock_forward(&self, seconds: i64) {
        self.put_forward.fetch_add(seconds, Ordering::Relaxed);
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Sends a request; the answer's code and body.
    pub async fn send(&self, method: Method, path: &str, kind: &str, body: &Value) -> (u16, Value) {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let request = Request::builder().method(method).uri(path).header("content-type", kind);
        let request = request.body(Body::from(body)).expect("a request");
        let answer = self.client.send(request).await.expect("an answer");
        let code = answer.status().as_u16();
        let body = answer.into_body().collect().await.expect("a body").to_bytes();
        (code, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The object, or null.
    pub async fn get(&self, path: &str) -> Value {
        match self.send(Method::GET, path, "", &Value::Null).await {
            (200, object) => object,
            (404, _) => Value::Null,
            (code, body) => panic!("GET {path}: {code} {body}"),
        }
    }

    pub async fn items(&self, path: &str) -> Vec<Value> {
        self.get(path).await["items"].as_array().cloned().unwrap_or_default()
    }

    pub async fn create(&self, path: &str, object: Value) -> Value {
        let (code, body) = self.send(Method::POST, path, "application/json", &object).await;
        assert_eq!(code, 201, "POST {path} {object}: {body}");
        body
    }

    pub async fn patch(&self, path: &str, patch: Value) -> Value {
        let (code, body) = self.send(Method::PATCH, path, "application/merge-patch+json", &patch).await;
        assert_eq!(code, 200, "PATCH {path} {patch}: {body}");
        body
    }

    pub async fn delete(&self, path: &str, policy: &str) {
        let options = json!({ "propagationPolicy": policy });
        let (code, body) = self.send(Method::DELETE, path, "application/json", &options).await;
        assert!(code < 300, "DELETE {path}: {body}");
    }

    pub async fn exists(&self, path: &str) -> bool {
        !self.get(path).await.is_null()
    }

    /// Waits until the object (null if there is none) is as it should be; returns it.
    pub async fn until(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let begun = tokio::time::Instant::now();
        loop {
            let object = self.get(path).await;
            if is_so(&object) {
                return object;
            }
            assert!(begun.elapsed() < PATIENCE, "{path} stays {object:#}");
            tokio::time::sleep(STEP).await;
        }
    }

    pub async fn until_gone(&self, path: &str) {
        self.until(path, Value::is_null).await;
    }

    /// Waits until the collection has so many objects.
    pub async fn until_count(&self, path: &str, count: usize) {
        let is_so = |list: &Value| list["items"].as_array().is_some_and(|items| items.len() == count);
        self.until(path, is_so).await;
    }

    /// Lets time pass, with everything that happens in it.
    pub async fn pass(&self, seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    pub async fn namespace(&self, name: &str) -> Value {
        self.create("/api/v1/namespaces", json!({ "metadata": { "name": name } })).await
    }

    pub async fn config_map(&self, namespace: &str, name: &str, metadata: Value) -> Value {
        let mut object = json!({ "metadata": metadata });
        object["metadata"]["name"] = json!(name);
        self.create(&format!("/api/v1/namespaces/{namespace}/configmaps"), object).await
    }

    /// The reasons and messages of all events, in order of time.
    pub async fn events(&self) -> Vec<String> {
        let events = self.items("/api/v1/events").await;
        let text = |event: &Value| {
            let field = |name: &str| event[name].as_str().unwrap_or_default().to_string();
            format!("{} {}", field("reason"), field("message"))
        };
        events.iter().map(text).collect()
    }

    /// A node that has reported itself ready just now.
    pub async fn node(&self, name: &str) {
        self.create(
            "/api/v1/nodes",
            json!({ "metadata": { "name": name, "labels": { "kubernetes.io/os": "linux" } } }),
        )
        .await;
        self.report(name, "True").await;
    }

    /// The node says how it is.
    pub async fn report(&self, name: &str, ready: &str) {
        let now = time::seconds(self.now());
        let ready = json!({ "type": "Ready", "status": ready, "lastHeartbeatTime": now, "lastTransitionTime": now });
        self.patch(&format!("/api/v1/nodes/{name}/status"), json!({ "status": { "conditions": [ready] } })).await;
    }

    /// A pod that runs on the node and is ready.
    pub async fn running_pod(&self, name: &str, node: &str, tolerations: Value) {
        let container = json!({ "name": "c", "image": "i" });
        let spec = json!({ "nodeName": node, "containers": [container], "tolerations": tolerations });
        let path = "/api/v1/namespaces/default/pods";
        self.create(path, json!({ "metadata": { "name": name }, "spec": spec })).await;
        let ready = json!({ "type": "Ready", "status": "True" });
        let status = json!({ "phase": "Running", "conditions": [ready] });
        self.patch(&format!("{path}/{name}/status"), json!({ "status": status })).await;
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_manager();
    }
}

/// A clock that follows tokio's paused one, but for so many seconds.
fn clock(put_forward: Arc<AtomicI64>) -> Clock {
    let begun = tokio::time::Instant::now();
    let beginning = Timestamp::from_second(1_767_225_600).expect("in range");
    Clock::new(move || {
        let elapsed = SignedDuration::try_from(begun.elapsed()).expect("tests do not last for ever");
        let elapsed = elapsed + SignedDuration::from_secs(put_forward.load(Ordering::Relaxed));
        beginning.saturating_add(elapsed).expect("a duration is never out of range when saturating")
    })
}

/// Numbers that look random and are the same in every run.
fn entropy() -> Entropy {
    let state = AtomicU64::new(1);
    Entropy::new(move || {
        let mut bits = state.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    })
}
