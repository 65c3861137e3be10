//! An API server small enough to be obviously right: objects in a map, one log of changes, faults on request.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use backstay_api::Clock;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt;
use kube::client::Body;
use serde_json::{Value, json};
use tokio::sync::Notify;

/// What a request meets instead of being carried out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    None,
    /// Refused with this code.
    Refuse(u16),
    /// Carried out, but the answer is lost.
    LoseAnswer,
}

type Faults = Box<dyn FnMut(&Method, &str) -> Fault + Send>;

pub struct Fake {
    state: Mutex<State>,
    changed: Notify,
    clock: Clock,
}

struct State {
    /// By path: `/api/v1/namespaces/ns/pods/name`.
    objects: BTreeMap<String, Value>,
    log: Vec<(u64, &'static str, String, Value)>,
    version: u64,
    faults: Faults,
    /// Watches end when this changes.
    epoch: u64,
    /// Changes before this are forgotten.
    compacted: u64,
    requests: BTreeMap<String, usize>,
    /// Watches of these resources are told nothing for now.
    held_back: Vec<&'static str>,
}

impl Fake {
    pub fn new(clock: Clock) -> Arc<Self> {
        let state = State {
            objects: BTreeMap::new(),
            log: Vec::new(),
            version: 1,
            faults: Box::new(|_, _| Fault::None),
            epoch: 0,
            compacted: 0,
            requests: BTreeMap::new(),
            held_back: Vec::new(),
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new(), clock })
    }

    pub fn client(self: &Arc<Self>) -> kube::Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let fake = fake.clone();
            async move { fake.serve(request).await }
        });
        kube::Client::new(service, "default")
    }

    pub fn set_faults(&self, faults: impl FnMut(&Method, &str) -> Fault + Send + 'static) {
        self.state.lock().unwrap().faults = Box::new(faults);
    }

    /// Ends all watches; with `forget`, nobody can resume.
    pub fn drop_watches(&self, forget: bool) {
        let mut state = self.state.lock().unwrap();
        state.epoch += 1;
        if forget {
            state.compacted = state.version;
        }
        drop(state);
        self.changed.notify_waiters();
    }

    /// From now on, watches of these resources are told nothing; what they missed comes once they are not in it.
    pub fn hold_back(&self, plurals: &[&'static str]) {
        self.state.lock().unwrap().held_back = plurals.to_vec();
        self.changed.notify_waiters();
    }

    /// Makes or replaces an object.
    pub fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        if object["metadata"]["uid"].is_null() {
            object["metadata"]["uid"] = json!(format!("uid-{}", state.version + 1));
            object["metadata"]["creationTimestamp"] = json!(self.clock.now().to_string());
        }
        state.write(path, object);
        drop(state);
        self.changed.notify_waiters();
    }

    pub fn edit(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let Some(mut object) = self.get(path) else { return };
        change(&mut object);
        self.put(path, object);
    }

    pub fn remove(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        state.remove(path);
        drop(state);
        self.changed.notify_waiters();
    }

    pub fn get(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    /// Objects of a plural, with their paths.
    pub fn list(&self, plural: &str) -> Vec<(String, Value)> {
        let state = self.state.lock().unwrap();
        let of = |path: &&String| path.rsplit('/').nth(1) == Some(plural);
        state.objects.keys().filter(of).map(|path| (path.clone(), state.objects[path].clone())).collect()
    }

    /// How often each method was called on each plural.
    pub fn requests(&self) -> BTreeMap<String, usize> {
        self.state.lock().unwrap().requests.clone()
    }

    /// Returns when something has changed since the call.
    pub async fn next_change(&self) {
        self.changed.notified().await;
    }

    async fn serve(self: &Arc<Self>, request: Request<Body>) -> Result<Response<Stream>, Infallible> {
        let (parts, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let path = parts.uri.path().to_string();
        let query = parts.uri.query().unwrap_or("").to_string();
        // A round trip takes a moment, so that writes overlap.
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        if query.contains("watch=true") {
            return Ok(self.watch(&path, &query));
        }
        let fault = (self.state.lock().unwrap().faults)(&parts.method, &path);
        let answer = match fault {
            Fault::Refuse(code) => Err((code, "Injected")),
            _ => self.carry_out(&parts.method, &path, &body),
        };
        self.changed.notify_waiters();
        // Every other answer comes after the news of what it did.
        if self.state.lock().unwrap().version.is_multiple_of(2) {
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        if fault == Fault::LoseAnswer {
            return Ok(status(500, "Injected"));
        }
        Ok(match answer {
            Ok((code, object)) => Response::builder().status(code).body(Stream::whole(object.to_string())).unwrap(),
            Err((code, reason)) => status(code, reason),
        })
    }

    fn carry_out(&self, method: &Method, path: &str, body: &[u8]) -> Result<(u16, Value), (u16, &'static str)> {
        let mut state = self.state.lock().unwrap();
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let plural = collection(path).rsplit('/').next().unwrap().to_string();
        let binding = if path.ends_with("/binding") { "/binding" } else { "" };
        *state.requests.entry(format!("{method} {plural}{binding}")).or_default() += 1;
        match *method {
            Method::GET if is_collection(path) => Ok((200, state.list(path))),
            Method::GET => state.objects.get(path).cloned().map(|object| (200, object)).ok_or((404, "NotFound")),
            Method::POST if path.ends_with("/binding") => state.bind(path.trim_end_matches("/binding"), &body),
            Method::POST => state.create(path, body, &self.clock),
            Method::PUT => state.put(path, body),
            Method::PATCH => state.patch(path.trim_end_matches("/status"), &body),
            Method::DELETE => state.delete(path, &body, &self.clock),
            _ => Err((405, "MethodNotAllowed")),
        }
    }

    fn watch(self: &Arc<Self>, path: &str, query: &str) -> Response<Stream> {
        let from = query.split('&').find_map(|pair| pair.strip_prefix("resourceVersion="));
        let from: u64 = from.and_then(|text| text.parse().ok()).unwrap_or(0);
        let state = self.state.lock().unwrap();
        if from < state.compacted {
            return status(410, "Expired");
        }
        let cursor = Cursor { fake: self.clone(), collection: path.to_string(), from, epoch: state.epoch, waits: None };
        Response::new(Stream::Watch(cursor))
    }
}

impl State {
    fn write(&mut self, path: &str, mut object: Value) -> Value {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let kind = if self.objects.contains_key(path) { "MODIFIED" } else { "ADDED" };
        self.log.push((self.version, kind, path.to_string(), object.clone()));
        self.objects.insert(path.to_string(), object.clone());
        object
    }

    fn remove(&mut self, path: &str) -> Option<Value> {
        let mut object = self.objects.remove(path)?;
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.log.push((self.version, "DELETED", path.to_string(), object.clone()));
        Some(object)
    }

    fn list(&self, path: &str) -> Value {
        let items: Vec<&Value> =
            self.objects.iter().filter(|(object, _)| belongs(object, path)).map(|(_, object)| object).collect();
        json!({ "kind": "List", "metadata": { "resourceVersion": self.version.to_string() }, "items": items })
    }

    fn create(&mut self, path: &str, mut object: Value, clock: &Clock) -> Result<(u16, Value), (u16, &'static str)> {
        if let Some(prefix) = object["metadata"]["generateName"].as_str() {
            object["metadata"]["name"] = json!(format!("{prefix}{:05}", self.version));
        }
        let path = format!("{path}/{}", object["metadata"]["name"].as_str().unwrap());
        if self.objects.contains_key(&path) {
            return Err((409, "AlreadyExists"));
        }
        object["metadata"]["uid"] = json!(format!("uid-{}", self.version + 1));
        object["metadata"]["creationTimestamp"] = json!(clock.now().to_string());
        if path.contains("/pods/") {
            object["spec"]["schedulerName"] = json!("default-scheduler");
        }
        Ok((201, self.write(&path, object)))
    }

    fn bind(&mut self, path: &str, body: &Value) -> Result<(u16, Value), (u16, &'static str)> {
        let mut object = self.objects.get(path).cloned().ok_or((404, "NotFound"))?;
        if object["spec"]["nodeName"].is_string() {
            return Err((409, "Conflict"));
        }
        assert!(self.objects.contains_key(&format!("/api/v1/nodes/{}", body["target"]["name"].as_str().unwrap())));
        object["spec"]["nodeName"] = body["target"]["name"].clone();
        self.write(path, object);
        Ok((201, json!({ "kind": "Status", "status": "Success" })))
    }

    fn put(&mut self, path: &str, body: Value) -> Result<(u16, Value), (u16, &'static str)> {
        let object = self.objects.get(path).ok_or((404, "NotFound"))?;
        if !holds(object, &body["metadata"]) {
            return Err((409, "Conflict"));
        }
        Ok((200, self.write(path, body)))
    }

    /// Merges, and knows of lists only what adoption and release need.
    fn patch(&mut self, path: &str, body: &Value) -> Result<(u16, Value), (u16, &'static str)> {
        let mut object = self.objects.get(path).cloned().ok_or((404, "NotFound"))?;
        if !holds(&object, &body["metadata"]) {
            return Err((409, "Conflict"));
        }
        if let Some(owner) = body.pointer("/metadata/ownerReferences/0") {
            let gone = owner["$patch"] == "delete";
            object["metadata"]["ownerReferences"] = if gone { json!([]) } else { json!([owner]) };
        }
        let mut body = body.clone();
        if let Some(metadata) = body["metadata"].as_object_mut() {
            metadata.remove("ownerReferences");
        }
        merge(&mut object, &body);
        Ok((200, self.write(path, object)))
    }

    fn delete(&mut self, path: &str, body: &Value, clock: &Clock) -> Result<(u16, Value), (u16, &'static str)> {
        let mut object = self.objects.get(path).cloned().ok_or((404, "NotFound"))?;
        if !holds(&object, &body["preconditions"]) {
            return Err((409, "Conflict"));
        }
        let ended = matches!(object["status"]["phase"].as_str(), Some("Failed" | "Succeeded"));
        if path.contains("/pods/") && object["spec"]["nodeName"].is_string() && !ended {
            let grace = object["spec"]["terminationGracePeriodSeconds"].as_i64().unwrap_or(30);
            object["metadata"]["deletionTimestamp"] = json!(clock.now().to_string());
            object["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            if grace == 0 {
                self.remove(path);
                return Ok((200, object));
            }
            return Ok((200, self.write(path, object)));
        }
        self.remove(path);
        Ok((200, json!({ "kind": "Status", "metadata": {}, "status": "Success" })))
    }
}

/// The preconditions of a write that are given hold.
fn holds(object: &Value, wanted: &Value) -> bool {
    ["uid", "resourceVersion"].iter().all(|field| wanted[field].is_null() || wanted[field] == object["metadata"][field])
}

fn merge(object: &mut Value, patch: &Value) {
    let Value::Object(fields) = patch else { return *object = patch.clone() };
    if !object.is_object() {
        *object = json!({});
    }
    for (field, value) in fields {
        match value {
            Value::Null => drop(object.as_object_mut().unwrap().remove(field)),
            value => merge(&mut object[field], value),
        }
    }
}

fn is_collection(path: &str) -> bool {
    collection(path) == path
}

/// The path without the object's name and subresource.
fn collection(path: &str) -> &str {
    const PLURALS: [&str; 6] = ["pods", "nodes", "daemonsets", "controllerrevisions", "events", "leases"];
    let end = PLURALS.iter().find_map(|plural| path.find(&format!("/{plural}")).map(|at| at + plural.len() + 1));
    &path[..end.unwrap_or(path.len())]
}

/// The object lies in the collection, which may be of all namespaces.
fn belongs(object: &str, wanted: &str) -> bool {
    let collection = collection(object);
    let plural = |path: &str| path.rsplit('/').next().unwrap().to_string();
    collection == wanted || (!wanted.contains("/namespaces/") && plural(collection) == plural(wanted))
}

fn status(code: u16, reason: &str) -> Response<Stream> {
    let body = json!({ "kind": "Status", "metadata": {}, "status": "Failure", "reason": reason, "message": reason, "code": code });
    Response::builder().status(StatusCode::from_u16(code).unwrap()).body(Stream::whole(body.to_string())).unwrap()
}

/// The body of an answer.
pub enum Stream {
    Whole(Option<Bytes>),
    Watch(Cursor),
}

pub struct Cursor {
    fake: Arc<Fake>,
    collection: String,
    from: u64,
    epoch: u64,
    waits: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Stream {
    fn whole(text: String) -> Self {
        Stream::Whole(Some(text.into()))
    }
}

impl Cursor {
    /// Lines that are there; `None` once the watch has been dropped.
    fn lines(&mut self) -> Option<String> {
        let state = self.fake.state.lock().unwrap();
        if state.epoch != self.epoch {
            return None;
        }
        if state.held_back.iter().any(|plural| self.collection.ends_with(plural)) {
            return Some(String::new());
        }
        let start = state.log.partition_point(|(version, ..)| *version <= self.from);
        let mut text = String::new();
        for (version, kind, path, object) in &state.log[start..] {
            self.from = *version;
            if belongs(path, &self.collection) {
                text.push_str(&format!("{}\n", json!({ "type": kind, "object": object })));
            }
        }
        Some(text)
    }
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let cursor = match self.get_mut() {
            Stream::Whole(bytes) => return Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Stream::Watch(cursor) => cursor,
        };
        loop {
            // Register first, then look: a change in between wakes us.
            if cursor.waits.is_none() {
                let fake = cursor.fake.clone();
                let mut waits: Pin<Box<dyn Future<Output = ()> + Send>> =
                    Box::pin(async move { fake.changed.notified().await });
                let _ = waits.as_mut().poll(cx);
                cursor.waits = Some(waits);
            }
            match cursor.lines() {
                None => return Poll::Ready(None),
                Some(text) if !text.is_empty() => return Poll::Ready(Some(Ok(Frame::data(text.into())))),
                Some(_) => {}
            }
            match cursor.waits.as_mut().unwrap().as_mut().poll(cx) {
                Poll::Ready(()) => cursor.waits = None,
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
