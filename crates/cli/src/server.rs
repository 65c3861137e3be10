//! Requests to the API server, and what comes back.

use std::sync::Once;
use std::time::{Duration, Instant};

use backstay_api::causes::chain;
use backstay_api::url::escaped;
use backstay_streams::BoxDuplex;
use bytes::Bytes;
use futures::{Stream, TryStreamExt};

use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, BodyStream};
use hyper_util::rt::TokioIo;
use kube::Client;
use kube::client::Body;
use serde_json::Value;

use crate::error::{ApiError, Failure, Outcome};
use crate::io::Io;
use crate::memory;

pub const JSON: &str = "application/json";
/// The server makes the columns; servers that cannot answer with the plain objects.
pub const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
pub const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub const MERGE: &str = "application/merge-patch+json";
pub const JSON_PATCH: &str = "application/json-patch+json";
pub const APPLY: &str = "application/apply-patch+yaml";

/// How many objects to ask for at a time.
const PAGE: usize = 500;

/// One API server.
#[derive(Clone)]
pub struct Server {
    client: Client,
    /// Host and port, for messages.
    address: String,
    timeout: Option<Duration>,
    verbosity: u8,
    io: Io,
}

/// A request in the making.
#[derive(Clone, Debug)]
pub struct Call {
    method: Method,
    path: String,
    query: Vec<(String, String)>,
    accept: &'static str,
    body: Option<(&'static str, Vec<u8>)>,
}

impl Call {
    fn new(method: Method, path: impl Into<String>) -> Self {
        Self { method, path: path.into(), query: Vec::new(), accept: JSON, body: None }
    }

    pub fn get(path: impl Into<String>) -> Self {
        Self::new(Method::GET, path)
    }

    pub fn post(path: impl Into<String>, body: &Value) -> Self {
        Self { body: Some((JSON, body.to_string().into_bytes())), ..Self::new(Method::POST, path) }
    }

    pub fn put(path: impl Into<String>, body: &Value) -> Self {
        Self { body: Some((JSON, body.to_string().into_bytes())), ..Self::new(Method::PUT, path) }
    }

    pub fn delete(path: impl Into<String>, body: &Value) -> Self {
        Self { body: Some((JSON, body.to_string().into_bytes())), ..Self::new(Method::DELETE, path) }
    }

    /// `kind` is one of the patch types above.
    pub fn patch(path: impl Into<String>, kind: &'static str, body: impl Into<Vec<u8>>) -> Self {
        Self { body: Some((kind, body.into())), ..Self::new(Method::PATCH, path) }
    }

    pub fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.into(), value.into()));
        self
    }

    /// Adds the parameter where there is something to say.
    pub fn maybe(self, name: &str, value: &str) -> Self {
        if value.is_empty() { self } else { self.query(name, value) }
    }

    pub fn accept(mut self, accept: &'static str) -> Self {
        self.accept = accept;
        self
    }

    fn uri(&self) -> String {
        let mut uri = self.path.clone();
        for (index, (name, value)) in self.query.iter().enumerate() {
            uri.push(if index == 0 { '?' } else { '&' });
            uri.push_str(name);
            uri.push('=');
            uri.push_str(&escaped(value));
        }
        uri
    }
}

impl Server {
    pub fn new(client: Client, address: String, timeout: Option<Duration>, verbosity: u8, io: Io) -> Self {
        Self { client, address, timeout, verbosity, io }
    }

    /// Sends and reads the whole answer.
    ///
    /// # Errors
    /// What the server refused, or why it could not be asked.
    pub async fn bytes(&self, call: &Call) -> Outcome<Bytes> {
        let whole = async {
            let response = self.start(call).await?;
            let body = response.into_body().collect().await;
            body.map(|body| body.to_bytes()).map_err(|error| self.unreachable(&error))
        };
        match self.timeout {
            None => whole.await,
            Some(limit) => tokio::time::timeout(limit, whole).await.unwrap_or_else(|_| Err(timed_out())),
        }
    }

    pub async fn text(&self, call: &Call) -> Outcome<String> {
        let bytes = self.bytes(call).await?;
        String::from_utf8(bytes.into()).map_err(|error| Failure::plain(error.to_string()))
    }

    pub async fn json(&self, call: &Call) -> Outcome<Value> {
        let bytes = self.bytes(call).await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Failure::plain(format!("couldn't read the server's answer to {}: {error}", call.path)))
    }

    /// A list, page by page; the pages are put together into the first.
    pub async fn list(&self, call: &Call) -> Outcome<Value> {
        let mut whole = self.json(&call.clone().query("limit", PAGE.to_string())).await?;
        loop {
            let token = whole.pointer("/metadata/continue").and_then(Value::as_str).unwrap_or("").to_string();
            if token.is_empty() {
                return Ok(whole);
            }
            let next = call.clone().query("limit", PAGE.to_string()).query("continue", token);
            append(&mut whole, self.json(&next).await?);
        }
    }

    /// Sends and hands over the answer as it comes.
    pub async fn stream(&self, call: &Call) -> Outcome<impl Stream<Item = Outcome<Bytes>> + Unpin + use<>> {
        let response = self.start(call).await?;
        let server = self.clone();
        let frames =
            TryStreamExt::map_err(BodyStream::new(response.into_body()), move |error| server.unreachable(&error));
        Ok(frames.try_filter_map(|frame| futures::future::ready(Ok(frame.into_data().ok()))))
    }

    /// Turns the connection of a request into something else. Returns what the server answers in the header `chosen`.
    ///
    /// # Errors
    /// What the server refused, or why it could not be asked.
    pub async fn upgrade(
        &self,
        call: &Call,
        headers: &[(HeaderName, String)],
        chosen: HeaderName,
    ) -> Outcome<(BoxDuplex, String)> {
        let response = self.start_with(call, headers).await?;
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return Err(Failure::plain(format!("the server does not upgrade the connection for {}", call.path)));
        }
        let chosen = response.headers().get(chosen).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let chosen = chosen.to_string();
        let upgraded = hyper::upgrade::on(response).await.map_err(|error| self.unreachable(&error))?;
        Ok((Box::new(TokioIo::new(upgraded)), chosen))
    }

    async fn start(&self, call: &Call) -> Outcome<Response<Body>> {
        self.start_with(call, &[]).await
    }

    async fn start_with(&self, call: &Call, headers: &[(HeaderName, String)]) -> Outcome<Response<Body>> {
        let uri = call.uri();
        let mut request = Request::builder().method(call.method.clone()).uri(&uri).header("accept", call.accept);
        if let Some((kind, _)) = &call.body {
            request = request.header("content-type", *kind);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let body = call.body.as_ref().map_or_else(Body::empty, |(_, body)| body.clone().into());
        let request = request.body(body).map_err(|error| Failure::plain(error.to_string()))?;
        let begun = Instant::now();
        let response = self.client.send(request).await.map_err(|error| self.unreachable(&error))?;
        static CONNECTED: Once = Once::new();
        CONNECTED.call_once(memory::let_go_of_the_program);
        self.note(call, &uri, response.status(), begun.elapsed());
        for warning in response.headers().get_all("warning") {
            if let Some(text) = warning.to_str().ok().and_then(warning_text) {
                self.io.err_line(&format!("Warning: {text}"));
            }
        }
        if response.status().is_success() || response.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = response.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
        Err(Failure::Api(Box::new(ApiError::from_answer(code, &body))))
    }

    fn note(&self, call: &Call, uri: &str, status: StatusCode, took: Duration) {
        if self.verbosity >= 6 {
            let address = &self.address;
            let millis = took.as_millis();
            self.io.err_line(&format!("{} {address}{uri} {status} in {millis} milliseconds", call.method));
        }
        if self.verbosity >= 8
            && let Some((_, body)) = &call.body
        {
            self.io.err_line(&format!("Request body: {}", String::from_utf8_lossy(body)));
        }
    }

    fn unreachable(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        let refused = |error: &(dyn std::error::Error + 'static)| {
            error.downcast_ref::<std::io::Error>().is_some_and(|io| io.kind() == std::io::ErrorKind::ConnectionRefused)
        };
        let mut source = Some(error);
        while let Some(cause) = source {
            if refused(cause) {
                return Failure::Text(format!(
                    "The connection to the server {} was refused - did you specify the right host or port?",
                    self.address
                ));
            }
            source = cause.source();
        }
        Failure::Text(format!("Unable to connect to the server: {}", chain(error)))
    }

    /// The client, for what goes beyond requests and answers.
    pub fn client(&self) -> &Client {
        &self.client
    }
}

fn timed_out() -> Failure {
    Failure::Text(
        "Unable to connect to the server: context deadline exceeded (Client.Timeout exceeded while awaiting headers)"
            .into(),
    )
}

/// The text of a `Warning` header: `299 - "text"`.
fn warning_text(header: &str) -> Option<String> {
    let quoted = header.split_once('"')?.1.rsplit_once('"')?.0;
    Some(quoted.replace("\\\"", "\"").replace("\\\\", "\\"))
}

/// Adds the items (or rows) of the next page, and takes over its `continue`.
fn append(whole: &mut Value, mut next: Value) {
    for list in ["items", "rows"] {
        let more = next.get_mut(list).and_then(Value::as_array_mut).map(std::mem::take).unwrap_or_default();
        if let Some(all) = whole.get_mut(list).and_then(Value::as_array_mut) {
            all.extend(more);
        }
    }
    let token = next.pointer("/metadata/continue").cloned().unwrap_or_else(|| "".into());
    if let Some(metadata) = whole.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("remainingItemCount");
        if token == "" {
            metadata.remove("continue")
        } else {
            metadata.insert("continue".into(), token)
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn queries_are_escaped() {
        let call = Call::get("/apis/apps/v1/daemonsets").query("labelSelector", "a in (b,c)").maybe("dryRun", "");
        assert_eq!(call.uri(), "/apis/apps/v1/daemonsets?labelSelector=a%20in%20%28b%2Cc%29");
    }

    #[test]
    fn pages_become_one_list() {
        let mut whole = json!({"metadata": {"continue": "x", "remainingItemCount": 1}, "items": [1]});
        append(&mut whole, json!({"metadata": {}, "items": [2]}));
        assert_eq!(whole, json!({"metadata": {}, "items": [1, 2]}));
    }

    #[test]
    fn warnings_come_out_of_their_quotes() {
        let text = warning_text(r#"299 - "unknown field \"spec.foo\"""#);
        assert_eq!(text.as_deref(), Some("unknown field \"spec.foo\""));
    }
}
