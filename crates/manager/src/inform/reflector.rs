//! List once, then watch; resume where the watch ended; list again only when the server has forgotten that place.

use std::sync::Arc;
use std::time::Duration;

use backstay_api::Entropy;
use backstay_controllers::model::Object;
use http_body_util::BodyExt;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::time::{Instant, timeout_at};

use super::lines::{self, Lines};
use super::{Batch, Change};
use crate::api::{Api, ApiError, Resource, chain, escape};
use crate::metrics::Metrics;

/// Objects per page of a list.
const PAGE: usize = 500;
/// A watch is asked to end after this, plus up to as much again: then nobody waits for ever on a dead connection, and
/// not all watches begin anew together.
const WATCH_SECONDS: u64 = 300;
/// So long after that it has failed: not even its end has been heard.
const WATCH_LATE: Duration = Duration::from_secs(30);
/// One that ends sooner has failed: a server that is well does not end it before anything has happened.
const WATCH_MIN: Duration = Duration::from_secs(1);
/// Pauses after failures begin here and double.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Takes in batches; says whether anybody still listens.
pub trait Listener<T>: Send {
    fn tell(&mut self, batch: Batch<T>) -> impl Future<Output = bool> + Send;
}

pub struct Reflector {
    pub api: Api,
    pub resource: Resource,
    pub entropy: Entropy,
    pub metrics: Arc<Metrics>,
}

#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("the connection broke")]
    Connection(#[from] kube::Error),
    #[error(transparent)]
    Line(#[from] lines::LineTooLong),
    #[error("the watch ended as soon as it had begun")]
    Short,
    #[error("the watch has not ended when it should have")]
    Late,
    #[error("nobody listens")]
    Deserted,
}

impl Reflector {
    /// Runs until nobody listens, or it is dropped.
    pub async fn run<T: Object>(self, mut listener: impl Listener<T>) {
        let mut failures = 0;
        let mut from = None;
        loop {
            let begun = Instant::now();
            let ended = self.follow(&mut from, &mut failures, &mut listener).await;
            let lasted = begun.elapsed();
            if lasted >= PAUSE_MAX {
                failures = 0;
            }
            match ended {
                Ok(()) if lasted >= WATCH_MIN => continue,
                Ok(()) => self.note(&Broken::Short),
                Err(Broken::Deserted) => return,
                Err(Broken::Api(error)) if error.is_expired() => from = None,
                Err(error) => self.note(&error),
            }
            tokio::time::sleep(self.pause(failures)).await;
            failures += 1;
            self.metrics.watch_restarts.add(1);
        }
    }

    fn note(&self, broken: &Broken) {
        tracing::warn!(resource = %self.resource.plural, error = %chain(broken), "watch broken; will resume");
    }

    /// One list, if need be, and one watch.
    async fn follow<T: Object>(
        &self,
        from: &mut Option<u64>,
        failures: &mut u32,
        listener: &mut impl Listener<T>,
    ) -> Result<(), Broken> {
        let start = match *from {
            Some(version) => version,
            None => {
                let (objects, resource_version) = self.list::<T>().await?;
                self.tell(listener, vec![Change::Listed { objects, resource_version }]).await?;
                resource_version
            }
        };
        *from = Some(start);
        let seconds = WATCH_SECONDS + self.entropy.next_u64() % WATCH_SECONDS;
        let path = self.resource.all();
        let path =
            format!("{path}?watch=true&allowWatchBookmarks=true&resourceVersion={start}&timeoutSeconds={seconds}");
        let mut body = self.api.stream(&path).await?.into_body();
        let mut lines = Lines::default();
        let late = Instant::now() + Duration::from_secs(seconds) + WATCH_LATE;
        while let Some(frame) = timeout_at(late, body.frame()).await.map_err(|_| Broken::Late)? {
            let Ok(chunk) = frame?.into_data() else { continue };
            lines.push(&chunk)?;
            let (changes, ended) = self.read::<T>(&mut lines, from);
            if !changes.is_empty() {
                *failures = 0;
                self.tell(listener, changes).await?;
            }
            ended?;
        }
        Ok(())
    }

    /// All whole lines read so far. An error event ends the watch, after what came before it.
    fn read<T: Object>(&self, lines: &mut Lines, from: &mut Option<u64>) -> (Vec<Change<T>>, Result<(), ApiError>) {
        let mut changes = Vec::new();
        while let Some(line) = lines.next_line() {
            match self.event(line) {
                Ok(Event::Change(change, version)) => {
                    *from = Some(version);
                    changes.push(change);
                }
                Ok(Event::Progress(version)) => *from = Some(version),
                Ok(Event::Error(error)) => return (changes, Err(error)),
                // One unreadable object must not stop the others.
                Err(error) => {
                    self.metrics.undecodable.add(1);
                    tracing::error!(resource = %self.resource.plural, %error, "cannot read an event; skipped");
                }
            }
        }
        (changes, Ok(()))
    }

    fn event<T: Object>(&self, line: &[u8]) -> Result<Event<T>, serde_json::Error> {
        let (kind, object) = lines::split(line)?;
        if kind == "ERROR" {
            let code = serde_json::from_slice::<WireCode>(object)?.code;
            return Ok(Event::Error(ApiError::from_status(code, object)));
        }
        if kind == "BOOKMARK" {
            let bookmark: WireBookmark = serde_json::from_slice(object)?;
            return Ok(Event::Progress(bookmark.metadata.resource_version.parse().unwrap_or(0)));
        }
        let object = Arc::new(T::from_json(object)?);
        let version = object.meta().resource_version;
        let change = if kind == "DELETED" { Change::Gone(object) } else { Change::Set(object) };
        Ok(Event::Change(change, version))
    }

    async fn list<T: Object>(&self) -> Result<(Vec<Arc<T>>, u64), ApiError> {
        let mut objects = Vec::new();
        let mut next = String::new();
        loop {
            let path = format!("{}?limit={PAGE}{next}", self.resource.all());
            let body = self.api.list(&path).await?;
            let page: WireList<'_> = serde_json::from_slice(&body)?;
            for item in page.items.unwrap_or_default() {
                match T::from_json(item.get().as_bytes()) {
                    Ok(object) => objects.push(Arc::new(object)),
                    Err(error) => {
                        self.metrics.undecodable.add(1);
                        tracing::error!(resource = %self.resource.plural, %error, "cannot read an object; skipped");
                    }
                }
            }
            let token = page.metadata.next.unwrap_or_default();
            if token.is_empty() {
                return Ok((objects, page.metadata.resource_version.parse().unwrap_or(0)));
            }
            next = format!("&continue={}", escape(&token));
        }
    }

    async fn tell<T>(&self, listener: &mut impl Listener<T>, changes: Vec<Change<T>>) -> Result<(), Broken> {
        match listener.tell(Arc::new(changes)).await {
            true => Ok(()),
            false => Err(Broken::Deserted),
        }
    }

    /// The longest doubles with each failure.
    fn pause(&self, failures: u32) -> Duration {
        let longest = PAUSE_FIRST.saturating_mul(1 << failures.min(16)).min(PAUSE_MAX);
        self.entropy.jittered(longest)
    }
}

enum Event<T> {
    /// With the resource version from which to go on.
    Change(Change<T>, u64),
    Progress(u64),
    Error(ApiError),
}

#[derive(Deserialize)]
struct WireList<'a> {
    metadata: WireListMeta,
    #[serde(borrow)]
    items: Option<Vec<&'a RawValue>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireListMeta {
    #[serde(default)]
    resource_version: String,
    #[serde(default, rename = "continue")]
    next: Option<String>,
}

#[derive(Deserialize)]
struct WireBookmark {
    metadata: WireListMeta,
}

#[derive(Deserialize)]
struct WireCode {
    #[serde(default)]
    code: u16,
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use bytes::Bytes;
    use futures::{StreamExt, TryStreamExt};
    use http::{Request, Response};
    use http_body::Frame;
    use http_body_util::StreamBody;
    use kube::client::Body;

    use super::*;
    use backstay_controllers::model::Node;

    struct Everyone;

    impl Listener<Node> for Everyone {
        async fn tell(&mut self, _batch: Batch<Node>) -> bool {
            true
        }
    }

    const NEWS: &str = r#"{"type":"ADDED","object":{"metadata":{"name":"n","resourceVersion":"8"}}}"#;

    /// A server whose watches tell this, last so long, and then end (or break); 0: it says that the version is expired.
    /// Returns how many lists and watches it is asked for in an hour.
    async fn requests(lines: &'static str, lasts: Duration, breaks: bool) -> [usize; 2] {
        let counts = Arc::new(Mutex::new([0, 0]));
        let counted = counts.clone();
        let server = tower::service_fn(move |request: Request<Body>| {
            let is_watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            counted.lock().unwrap()[usize::from(is_watch)] += 1;
            async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                let (begun, list) = (Instant::now(), r#"{"metadata":{"resourceVersion":"7"},"items":[]}"#);
                let (code, text) = match is_watch {
                    true if lasts.is_zero() => (410, "{}".to_string()),
                    true => (200, format!("{lines}\n")),
                    false => (200, list.to_string()),
                };
                let end = futures::stream::once(async move {
                    let lasts = if is_watch { lasts } else { Duration::ZERO };
                    tokio::time::sleep_until(begun + lasts).await;
                    if is_watch && breaks { Err(std::io::Error::other("broken")) } else { Ok(String::new()) }
                });
                let texts = futures::stream::iter([Ok(text)]).chain(end);
                let body = StreamBody::new(texts.map_ok(|text| Frame::data(Bytes::from(text)))).boxed_unsync();
                Ok::<_, std::convert::Infallible>(Response::builder().status(code).body(body).unwrap())
            }
        });
        let api = Api::new(kube::Client::new(server, "default"), "test");
        let (entropy, metrics) = (Entropy::new(|| u64::MAX / 2), Arc::default());
        let reflector = Reflector { api, resource: crate::api::NODES, entropy, metrics };
        let run = reflector.run(Everyone);
        assert!(tokio::time::timeout(Duration::from_secs(3600), run).await.is_err(), "it never ends");
        *counts.lock().unwrap()
    }

    async fn check(lines: &'static str, lasts: Duration, breaks: bool, watches: std::ops::RangeInclusive<usize>) {
        let [lists, watched] = requests(lines, lasts, breaks).await;
        assert!(watches.contains(&watched), "{watched} watches, {lists} lists");
        let lists_max = if lasts.is_zero() { watched } else { 1 };
        assert_eq!(lists, lists_max, "{watched} watches");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_is_asked_as_often_as_makes_sense() {
        let seconds = Duration::from_secs;
        check("", seconds(300), false, 12..=12).await;
        // Broken as often by something that has passed each time: nobody waits longer and longer.
        check("", seconds(120), true, 29..=30).await;
        check(NEWS, seconds(10), true, 300..=360).await;
        // Whatever is wrong there, it does not get better by haste.
        check("", Duration::from_millis(1), true, 100..=200).await;
        check("", Duration::from_millis(1), false, 100..=200).await;
        check("", seconds(0), false, 100..=200).await;
        // Nothing is heard any more, not even the end that was asked for.
        check("", seconds(1_000_000), false, 6..=12).await;
    }
}
