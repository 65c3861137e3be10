//! The language of the tests.
//!
//! ```text
//! > POST /api/v1/namespaces/default/configmaps {"metadata":{"name":"c"}}
//! < 201 metadata.name="c" metadata.uid:=u
//! > GET /api/v1/namespaces/default/configmaps?watch=1&timeoutSeconds=1
//! < 200 ADDED c
//! ```
//! A request line is method, path, and a body, of which the first word may be a content type in brackets: `[merge]`.
//! An answer line is the code and then checks: `path=json` (absent is `null`), `path~text` (contains), `path:=name`
//! (kept for later lines as `${name}`), or, for watches, the events as type and name
//! (or reason). `body~text` looks at the bytes of the answer.
//!
//! `@user` before a method sends the request as somebody other than the administrator, `@-` as nobody in particular
//! (credentials decide); `!name=value` adds a header, in which `%20` is a space. A name in brackets before them says
//! what the client accepts (see [`ACCEPTED`]); what comes back in protobuf is shown as JSON, and `type=text` checks the
//! content type.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use backstay_apiserver::{ApiServer, Config, UserInfo, as_user, identity};
use backstay_store::{MemoryStore, Store};
use http::{Method, Request};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::wire;

/// What clients accept, by the names that scripts use.
const ACCEPTED: [(&str, &str); 5] = [
    ("pb", "application/vnd.kubernetes.protobuf"),
    ("typed", "application/vnd.kubernetes.protobuf,application/json"),
    ("yaml", "application/yaml"),
    (
        "metadata",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
         application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
    ),
    (
        "metadatalist",
        "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,\
         application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json",
    ),
];

/// A server and what the script has learnt about it.
pub struct World {
    pub store: Arc<MemoryStore>,
    pub server: ApiServer,
    router: Router,
    kept: BTreeMap<String, String>,
}

/// What a request was answered.
pub struct Answer {
    pub code: u16,
    pub headers: http::HeaderMap,
    pub body: String,
}

/// Runs a script in a fresh world.
pub async fn check(script: &str) {
    World::new().await.run(script).await;
}

impl World {
    pub async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(configure: impl FnOnce(&mut Config)) -> Self {
        let store = Arc::new(MemoryStore::new());
        let mut config = Config::new(store.clone() as Arc<dyn Store>);
        config.disabled_admission_plugins = vec!["ServiceAccount".into()];
        configure(&mut config);
        let server = ApiServer::new(config).expect("known plugins");
        server.bootstrap().await.expect("an empty store takes everything");
        Self { store, router: server.router(), server, kept: BTreeMap::new() }
    }

    /// Another server over the same store, as after a restart; the first one is gone.
    pub async fn restart(self) -> Self {
        let Self { store, kept, .. } = self;
        let mut config = Config::new(store.clone() as Arc<dyn Store>);
        config.disabled_admission_plugins = vec!["ServiceAccount".into()];
        let server = ApiServer::new(config).expect("known plugins");
        server.bootstrap().await.expect("a store that has been in use takes everything");
        Self { store, router: server.router(), server, kept }
    }

    pub async fn run(&mut self, script: &str) {
        let mut answer = None;
        for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let line = self.fill(line);
            match (line.split_at(1), &answer) {
                ((">", request), _) => answer = Some((line.clone(), self.send(request.trim()).await)),
                (("<", checks), Some((request, answer))) => {
                    let kept = check_answer(request, answer, checks.trim());
                    self.kept.extend(kept);
                }
                _ => panic!("a line begins with > or <, answers follow requests: {line}"),
            }
        }
    }

    /// Sends one request line (without its `>`).
    pub async fn send(&self, line: &str) -> Answer {
        let (accept, line) = accepted(line);
        let mut user = Some(UserInfo::new("admin", &[identity::MASTERS]));
        let mut headers = Vec::new();
        let mut line = line;
        while let Some((word, rest)) = line.split_once(' ').filter(|(word, _)| word.starts_with(['@', '!'])) {
            match word.split_at(1) {
                ("@", "-") => user = None,
                ("@", name) => user = Some(UserInfo::new(name, &[])),
                (_, header) => headers.push(header.split_once('=').expect("name=value")),
            }
            line = rest;
        }
        let (method, rest) = line.split_once(' ').expect("method and path");
        let (path, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let (content_type, body) = content_type(body.trim());
        let mut request = Request::builder().method(method.parse::<Method>().expect("a method")).uri(path);
        request = request.header("content-type", content_type).header("user-agent", "script/1");
        if let Some(accept) = accept {
            request = request.header("accept", accept);
        }
        for (name, value) in headers {
            request = request.header(name, value.replace("%20", " "));
        }
        let body = match content_type {
            wire::PROTOBUF if body.starts_with('{') => {
                let object = serde_json::from_str(body).unwrap_or_else(|error| panic!("{error}: {body}"));
                backstay_api::protobuf::document(&object).unwrap_or_else(|| panic!("no protobuf form: {body}"))
            }
            _ => body.as_bytes().to_vec(),
        };
        let request = request.body(Body::from(body)).expect("a request");
        match user {
            Some(user) => self.call(request, user).await,
            None => answer(self.router.clone(), request).await,
        }
    }

    pub async fn call(&self, request: Request<Body>, user: UserInfo) -> Answer {
        answer(as_user(self.router.clone(), user), request).await
    }

    /// The body of an answer, to be read later.
    pub async fn stream(&self, request: Request<Body>, user: UserInfo) -> Body {
        let response = as_user(self.router.clone(), user).oneshot(request).await.expect("routers do not fail");
        assert_eq!(response.status().as_u16(), 200);
        response.into_body()
    }

    /// Lets these users read everything.
    pub async fn let_read(&self, users: &[&str]) {
        let subjects: Vec<String> = users
            .iter()
            .map(|user| format!(r#"{{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"{user}"}}"#))
            .collect();
        let binding = format!(
            r#"POST /apis/rbac.authorization.k8s.io/v1/clusterrolebindings {{"metadata":{{"name":"readers"}},"roleRef":{{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}},"subjects":[{}]}}"#,
            subjects.join(",")
        );
        assert_eq!(self.send(&binding).await.code, 201);
    }

    fn fill(&self, line: &str) -> String {
        let fill = |line: String, (name, value): (&String, &String)| line.replace(&format!("${{{name}}}"), value);
        self.kept.iter().fold(line.to_string(), fill)
    }
}

/// The Accept header that a line asks for, and the rest of the line.
fn accepted(line: &str) -> (Option<&'static str>, &str) {
    let Some((name, rest)) = line.strip_prefix('[').and_then(|line| line.split_once(']')) else { return (None, line) };
    let accepted = ACCEPTED.iter().find(|(other, _)| *other == name);
    let (_, accept) = accepted.unwrap_or_else(|| panic!("not among the known clients: {name}"));
    (Some(accept), rest.trim())
}

async fn answer(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.expect("routers do not fail");
    let (code, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.into_body().collect().await.expect("a whole body").to_bytes();
    let content_type = headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let body = wire::to_json(content_type, &body);
    Answer { code, body, headers }
}

fn content_type(body: &str) -> (&str, &str) {
    let Some((name, rest)) = body
        .strip_prefix('[')
        .and_then(|body| body.split_once(']'))
        .filter(|(name, _)| ["merge", "smp", "jsonpatch", "apply", "yaml", "pb"].contains(name))
    else {
        return ("application/json", body);
    };
    let content_type = match name {
        "merge" => "application/merge-patch+json",
        "smp" => "application/strategic-merge-patch+json",
        "jsonpatch" => "application/json-patch+json",
        "apply" => "application/apply-patch+yaml",
        "pb" => wire::PROTOBUF,
        _ => "application/yaml",
    };
    (content_type, rest.trim())
}

/// Holds the answer against the line; gives what is to be kept.
fn check_answer(request: &str, answer: &Answer, checks: &str) -> BTreeMap<String, String> {
    let (code, checks) = checks.split_once(' ').unwrap_or((checks, ""));
    let Answer { body, .. } = answer;
    assert_eq!(answer.code.to_string(), code, "{request}\n{body}");
    let mut kept = BTreeMap::new();
    let first = checks.split([' ', ',']).next().unwrap_or_default();
    if ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR", "NONE"].contains(&first) {
        assert_eq!(events(body), checks, "{request}\n{body}");
        return kept;
    }
    let object: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    for check in split(checks) {
        if let Some(text) = check.strip_prefix("body~") {
            assert!(body.contains(text), "{request}\nthe body should contain {text:?}\n{body}");
        } else if let Some((path, name)) = check.split_once(":=") {
            let value = find(&object, path);
            kept.insert(name.to_string(), value.as_str().map_or(value.to_string(), str::to_string));
        } else if let Some(expected) = check.strip_prefix("type=") {
            let seen = answer.headers.get("content-type").and_then(|value| value.to_str().ok()).unwrap_or_default();
            assert_eq!(seen.trim_start_matches("application/"), expected, "{request}");
        } else if let Some((path, text)) = check.split_once('~') {
            let seen = find(&object, path).to_string();
            assert!(seen.contains(text), "{request}\n{path} should contain {text:?}\n{body}");
        } else if let Some((path, value)) = check.split_once('=') {
            let expected: Value = serde_json::from_str(value).unwrap_or_else(|_| panic!("not JSON: {value}"));
            assert_eq!(find(&object, path), expected, "{request}\n{path}\n{body}");
        } else {
            panic!("not a check: {check}");
        }
    }
    kept
}

/// `TYPE name, TYPE name`, or `NONE`.
fn events(body: &str) -> String {
    let events: Vec<String> = body
        .lines()
        .map(|line| {
            let event: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            let object = &event["object"];
            let name = object["metadata"]["name"].as_str().or(object["reason"].as_str()).unwrap_or_default();
            format!("{} {name}", event["type"].as_str().unwrap_or_default()).trim_end().to_string()
        })
        .collect();
    if events.is_empty() { "NONE".into() } else { events.join(", ") }
}

/// Splits at spaces that are not within JSON strings.
fn split(checks: &str) -> Vec<String> {
    let (mut parts, mut in_string) = (vec![String::new()], false);
    for character in checks.chars() {
        match character {
            ' ' if !in_string => parts.push(String::new()),
            character => {
                in_string ^= character == '"';
                parts.last_mut().expect("begins with one").push(character);
            }
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The value at `a.b.0.c`; `items.*.metadata.name` gives a list.
fn find(value: &Value, path: &str) -> Value {
    let (step, rest) = path.split_once('.').map_or((path, None), |(step, rest)| (step, Some(rest)));
    if step == "*" {
        let each = value.as_array().into_iter().flatten();
        return each.map(|element| rest.map_or(element.clone(), |rest| find(element, rest))).collect();
    }
    let next = match step.parse::<usize>() {
        Ok(index) => &value[index],
        Err(_) => &value[step],
    };
    rest.map_or(next.clone(), |rest| find(next, rest))
}
