//! A list that stays up to date: list, watch, and both again after any fault.

use std::time::Duration;

use backstay_api::url::escaped;
use backstay_api::{Entropy, meta};
use futures::StreamExt;
use kube::core::WatchEvent;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::client::{self, Api};

/// What happened to the watched objects.
#[derive(Debug)]
pub(crate) enum Change<T = Value> {
    /// These are all there are now: whatever is not among them is gone.
    Listed(Vec<Value>),
    Applied(T),
    Deleted(T),
}

/// The form in which an event's object is wanted.
pub(crate) trait Watched: DeserializeOwned + Clone + Send + 'static {
    fn version(&self) -> &str;
}

impl Watched for Value {
    fn version(&self) -> &str {
        meta::resource_version(self)
    }
}

/// An object of which only this has been read yet.
#[derive(Clone, Debug)]
pub(crate) struct Unread {
    pub(crate) uid: String,
    version: String,
    pub(crate) text: Box<RawValue>,
}

impl<'de> Deserialize<'de> for Unread {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Object {
            metadata: Metadata,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Metadata {
            uid: String,
            resource_version: String,
        }
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let Object { metadata } = serde_json::from_str(text.get()).map_err(D::Error::custom)?;
        Ok(Self { uid: metadata.uid, version: metadata.resource_version, text })
    }
}

impl Watched for Unread {
    fn version(&self) -> &str {
        &self.version
    }
}

/// Which objects: a path such as `/api/v1/pods`, and a query (`fieldSelector=...`) that may be empty.
#[derive(Clone, Debug)]
pub(crate) struct Selection {
    pub(crate) path: &'static str,
    pub(crate) query: String,
}

/// As many objects as a client of Kubernetes asks for in one page.
const PAGE_LIMIT: u32 = 500;
/// A server ends a watch after this, so that broken connections are noticed; clients of Kubernetes ask for 5 to 10 minutes.
const WATCH_SECONDS: u64 = 300;
/// A server that has nothing to tell says so every minute, with a bookmark; after such silence the connection is dead.
const SILENCE_MAX: Duration = Duration::from_secs(150);
/// First and longest pause after a fault.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Watches until the receiver is gone. Faults are logged and tried again after a pause that doubles.
pub(crate) async fn run<T: Watched>(
    api: Api,
    selection: Selection,
    entropy: Entropy,
    changes: mpsc::Sender<Change<T>>,
) {
    let mut pause = PAUSE_FIRST;
    let mut version: Option<String> = None;
    while !changes.is_closed() {
        let begun = tokio::time::Instant::now();
        match once(&api, &selection, &entropy, &changes, &mut version, &mut pause).await {
            // One that ends as soon as it is opened is a fault like others.
            Ok(()) if begun.elapsed() >= PAUSE_MAX => {
                pause = PAUSE_FIRST;
                continue;
            }
            Ok(()) => {}
            Err(fault) => {
                tracing::debug!(path = selection.path, error = %fault, "watch interrupted; will retry");
                if matches!(client::code(&fault), Some(410)) {
                    version = None;
                }
            }
        }
        tokio::time::sleep(entropy.jittered(pause)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

/// Lists if no version is known, then watches until the stream ends.
async fn once<T: Watched>(
    api: &Api,
    selection: &Selection,
    entropy: &Entropy,
    changes: &mpsc::Sender<Change<T>>,
    version: &mut Option<String>,
    pause: &mut Duration,
) -> Result<(), kube::Error> {
    let from = match version.clone() {
        Some(from) => from,
        None => {
            let (objects, from) = list(api, selection).await?;
            if changes.send(Change::Listed(objects)).await.is_err() {
                return Ok(());
            }
            version.insert(from).clone()
        }
    };
    let seconds = WATCH_SECONDS + entropy.next_u64() % WATCH_SECONDS;
    let query = joined(&selection.query);
    let path = selection.path;
    let path =
        format!("{path}?watch=true&allowWatchBookmarks=true&timeoutSeconds={seconds}&resourceVersion={from}{query}");
    let mut restored = api.restored();
    let mut events = std::pin::pin!(api.watch::<T>(&path).await?);
    loop {
        let event = tokio::select! {
            biased;
            event = events.next() => event,
            () = changes.closed() => return Ok(()),
            // The connection may be one that the fault has cut, on which nothing will ever come.
            Ok(()) = restored.changed() => {
                *pause = PAUSE_FIRST;
                return Ok(());
            }
            () = tokio::time::sleep(SILENCE_MAX) => return Ok(()),
        };
        let Some(event) = event else { return Ok(()) };
        let change = match event? {
            WatchEvent::Bookmark(bookmark) => {
                *version = Some(bookmark.metadata.resource_version);
                continue;
            }
            WatchEvent::Error(status) => {
                // Whatever it is, the next list repairs it.
                *version = None;
                return Err(kube::Error::Api(status));
            }
            WatchEvent::Added(object) | WatchEvent::Modified(object) => Change::Applied(object),
            WatchEvent::Deleted(object) => Change::Deleted(object),
        };
        let (Change::Applied(object) | Change::Deleted(object)) = &change else { continue };
        *version = Some(object.version().to_string());
        *pause = PAUSE_FIRST;
        if changes.send(change).await.is_err() {
            return Ok(());
        }
    }
}

/// All objects that there are, and the version of the list.
pub(crate) async fn list(api: &Api, selection: &Selection) -> Result<(Vec<Value>, String), kube::Error> {
    let mut objects = Vec::new();
    let mut page = String::new();
    loop {
        let (path, query) = (selection.path, joined(&selection.query));
        let mut answer = api.get(&format!("{path}?limit={PAGE_LIMIT}{query}{page}")).await?;
        if let Some(Value::Array(items)) = answer.get_mut("items").map(Value::take) {
            objects.extend(items);
        }
        match meta::str_at(&answer, &["metadata", "continue"]) {
            "" => return Ok((objects, meta::resource_version(&answer).to_string())),
            next => page = format!("&continue={}", escaped(next)),
        }
    }
}

fn joined(query: &str) -> String {
    if query.is_empty() { String::new() } else { format!("&{query}") }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use http::{Request, Response};
    use kube::Client;
    use kube::client::Body;
    use tower::service_fn;

    use super::*;

    /// A server of which each watch lasts so long, and then has this to say.
    fn server(lasts: Duration, status: u16, says: &'static str, watches: &Arc<AtomicU32>) -> Client {
        let watches = watches.clone();
        Client::new(
            service_fn(move |request: Request<Body>| {
                let watches = watches.clone();
                async move {
                    let answer = |status: u16, body: &'static str| {
                        Ok::<_, Infallible>(
                            Response::builder().status(status).body(Body::from(body.as_bytes().to_vec())).unwrap(),
                        )
                    };
                    if !request.uri().query().unwrap_or_default().contains("watch=true") {
                        return answer(200, r#"{"metadata":{"resourceVersion":"7"},"items":[]}"#);
                    }
                    // So many in a test's time are far too many.
                    if watches.fetch_add(1, Ordering::SeqCst) >= 5_000 {
                        std::future::pending::<()>().await;
                    }
                    if !lasts.is_zero() {
                        tokio::time::sleep(lasts).await;
                    }
                    answer(status, says)
                }
            }),
            "default",
        )
    }

    /// How many watches are opened in an hour.
    async fn check(lasts: Duration, status: u16, says: &'static str, expected: std::ops::Range<u32>) {
        let watches = Arc::new(AtomicU32::new(0));
        let api = Api::new(server(lasts, status, says, &watches).into());
        let (sender, mut changes) = mpsc::channel::<Change>(8);
        let selection = Selection { path: "/api/v1/pods", query: String::new() };
        let watching = tokio::spawn(run(api, selection, Entropy::new(|| 7), sender));
        let taking = tokio::spawn(async move { while changes.recv().await.is_some() {} });
        tokio::time::sleep(Duration::from_secs(3600)).await;
        watching.abort();
        taking.abort();
        let opened = watches.load(Ordering::SeqCst);
        assert!(expected.contains(&opened), "{lasts:?} {status} {says}: {opened}, not {expected:?}");
    }

    /// Whatever a server does, it is not asked again and again without a pause.
    #[tokio::test(start_paused = true)]
    async fn a_server_is_not_asked_without_a_pause() {
        const TOO_OLD: &str = r#"{"kind":"Status","status":"Failure","reason":"Expired","code":410}"#;
        const EVENT: &str = r#"{"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"","code":410}}"#;
        let at_once = Duration::ZERO;
        check(at_once, 200, "", 300..800).await;
        check(at_once, 410, TOO_OLD, 300..800).await;
        check(at_once, 200, EVENT, 300..800).await;
        check(at_once, 500, "broken", 300..800).await;
        // One that lasts is followed by the next.
        check(Duration::from_secs(15), 200, "", 235..242).await;
    }
}
