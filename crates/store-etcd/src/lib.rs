//! The engine that keeps everything in etcd, for several servers at once.
//!
//! Like the embedded engine it holds a copy of everything in memory, from which it answers reads and feeds watches; the
//! copy follows etcd's own watch. A commit is one transaction of etcd, conditional on the revision that its decision was
//! based on, and answered once it has come back through the watch, so that whoever has written can read.
//! [`Store::catch_up`] asks etcd how far it is, so that reads see what other servers have acknowledged.

mod feed;
mod keys;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use backstay_api::Entropy;
use backstay_store::front::{Front, LogLimits};
use backstay_store::{Encoded, Entry, Key, Operation, Range, Revision, Snapshot, Store, StoreError, Watch};
use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use feed::{Follower, committed, number};
use keys::{Keys, Stored, last_words};
use wire::{
    Client, CompactionRequest, Compare, DeleteRangeRequest, PutRequest, RangeRequest, RangeResponse, TxnRequest,
};

/// Where everything of ours lies.
const PREFIX: &str = "/backstay";
/// How long etcd may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often to look for what became of a commit whose answer was lost.
const OUTCOME_EVERY: Duration = Duration::from_millis(100);
/// How long a server may take to hear of what has been committed.
const HEAR_PATIENCE: Duration = Duration::from_secs(10);
/// What has happened longer ago than this is forgotten, as in Kubernetes (`--etcd-compaction-interval`).
const COMPACT_EVERY: Duration = Duration::from_secs(300);
/// etcd cuts off those who ask more often.
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEP_ALIVE_PATIENCE: Duration = Duration::from_secs(5);

/// Its members agree on how far it is; if that is less than we have heard, it was put back to an older state, and what is
/// in memory, and what clients know, is of another history.
const WENT_BACK: &str = "etcd has lost what it told before (was it restored from a copy?): restart this server";

/// Where an etcd is, and who we are to it.
#[derive(Clone, Debug, Default)]
pub struct EtcdConfig {
    /// `http://HOST:PORT` or `https://HOST:PORT` of each of its members.
    pub endpoints: Vec<String>,
    /// In PEM form: the authority of its certificates; `None`: only over plain HTTP.
    pub ca: Option<Vec<u8>>,
    /// In PEM form: our certificate, and its key.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

#[derive(Debug, thiserror::Error)]
pub enum EtcdError {
    #[error("no address of etcd was given")]
    NoEndpoints,
    #[error("{endpoint:?} is not an address of etcd: write it as https://HOST:2379")]
    Endpoint { endpoint: String, source: tonic::transport::Error },
    #[error("{endpoint} is reached without TLS, so that certificates are of no use: write it with https://")]
    NotSecure { endpoint: String },
    #[error("{endpoint} is reached by TLS: say which authority vouches for it (--etcd-ca)")]
    NoAuthority { endpoint: String },
    #[error("the certificates for etcd cannot be used")]
    Tls { source: tonic::transport::Error },
    #[error("cannot read from etcd at {}: {}", .endpoints.join(", "), explain(.status))]
    Read { endpoints: Vec<String>, status: Box<Status> },
}

/// A durable store that servers share.
pub struct EtcdStore {
    client: Client,
    keys: Keys,
    front: Arc<Front>,
    applied: watch::Receiver<Revision>,
    /// Told when somebody has waited in vain for what etcd has committed.
    silence: Arc<Notify>,
    went_back: Arc<AtomicBool>,
    entropy: Entropy,
    /// The question that is under way, and the one that follows it.
    asking: Mutex<Asking>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

type Answer = Shared<BoxFuture<'static, Result<Revision, String>>>;

/// Questions how far etcd is. Whoever asks must get the answer to a question that begins after that; so those who come
/// while one is under way share the next.
#[derive(Default)]
struct Asking {
    current: Option<Answer>,
    next: Option<Answer>,
}

impl EtcdStore {
    /// Connects, and reads everything.
    ///
    /// # Errors
    /// If the configuration cannot be used, or no member answers.
    pub async fn open(config: &EtcdConfig, entropy: Entropy) -> Result<Self, EtcdError> {
        Self::open_at(config, PREFIX, LogLimits::default(), entropy).await
    }

    /// As [`EtcdStore::open`], somewhere else in the same etcd.
    pub async fn open_at(
        config: &EtcdConfig,
        prefix: &str,
        limits: LogLimits,
        entropy: Entropy,
    ) -> Result<Self, EtcdError> {
        let (client, keys) = (Client::new(members(config)?), Keys::new(prefix));
        let state = feed::load(&client, &keys)
            .await
            .map_err(|status| EtcdError::Read { endpoints: config.endpoints.clone(), status: Box::new(status) })?;
        let (sender, applied) = watch::channel(state.revision());
        let front = Arc::new(Front::new(state, limits));
        let (silence, went_back) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let follower = Follower {
            client: client.clone(),
            keys: keys.clone(),
            front: front.clone(),
            applied: sender,
            silence: silence.clone(),
            went_back: went_back.clone(),
        };
        let following = tokio::spawn(follower.follow());
        let compacting = tokio::spawn(compact(client.clone(), front.clone()));
        let tasks = Mutex::new(vec![following, compacting]);
        Ok(Self { client, keys, front, applied, silence, went_back, entropy, asking: Mutex::default(), tasks })
    }

    /// What all servers share under a name: what the first of them has put there.
    ///
    /// # Errors
    /// If etcd does not answer.
    pub async fn share(&self, name: &str, ours: Bytes) -> Result<Bytes, StoreError> {
        let key = self.keys.private(name);
        let range = RangeRequest { key: key.clone(), ..RangeRequest::default() };
        let request = TxnRequest {
            compare: vec![Compare::is_absent(&key)],
            success: vec![wire::Operation::RequestPut(PutRequest { key, value: ours.clone() }).into()],
            failure: vec![wire::Operation::RequestRange(range).into()],
        };
        let answer = self.client.txn(request, PATIENCE).await.map_err(|status| unavailable(&status))?;
        if answer.succeeded {
            return Ok(ours);
        }
        let held = answer.responses.into_iter().find_map(|one| one.response_range?.kvs.into_iter().next());
        held.map(|kv| kv.value).ok_or_else(|| StoreError::Unavailable { reason: format!("etcd has lost {name}") })
    }

    /// # Errors
    /// It is closed, or was ended.
    fn check_open(&self) -> Result<(), StoreError> {
        if self.applied.has_changed().is_err() { Err(self.closed()) } else { Ok(()) }
    }

    fn closed(&self) -> StoreError {
        let reason = if self.went_back.load(Ordering::Relaxed) { WENT_BACK } else { "the store is closed" };
        StoreError::Unavailable { reason: reason.into() }
    }

    /// Waits until the copy in memory is at least of this revision.
    async fn heard(&self, revision: Revision) -> Result<(), StoreError> {
        let mut applied = self.applied.clone();
        let heard = applied.wait_for(|applied| *applied >= revision);
        match tokio::time::timeout(HEAR_PATIENCE, heard).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(self.closed()),
            Err(_) => {
                self.silence.notify_waiters();
                let reason = format!("etcd is at revision {revision}, and its watch does not tell what happened");
                Err(StoreError::Unavailable { reason })
            }
        }
    }

    /// The revision of the newest commit, for certain: all who wait share one question.
    async fn newest(&self) -> Result<Revision, StoreError> {
        let answer = {
            let mut asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
            asking.join(|| {
                let (client, keys, front) = (self.client.clone(), self.keys.clone(), self.front.clone());
                async move {
                    let seen = front.state().revision();
                    let answer = feed::head(&client, &keys).await.map_err(|status| explain(&status))?;
                    match feed::went_back(&answer, seen) {
                        true => Err(WENT_BACK.into()),
                        false => Ok(answer.kvs.first().map_or(0, |kv| number(kv.mod_revision))),
                    }
                }
                .boxed()
            })
        };
        answer.await.map_err(|reason| StoreError::Unavailable { reason })
    }

    /// Finds out whether a commit has happened whose answer was lost.
    async fn outcome(&self, key: &Key, written: &Written, lost: &Status) -> Result<Revision, StoreError> {
        let unknown = |why: &str| StoreError::Uncertain {
            reason: format!("{}, {why}; read {key:?} before you go on", explain(lost)),
        };
        let place = match written {
            Written::Object(_) => self.keys.object(key),
            Written::Last(_) => self.keys.head(),
        };
        let request = RangeRequest { key: place, ..RangeRequest::default() };
        let answer = self.read_at_last(request).await.map_err(|_| unknown("and did not answer later"))?;
        let held = answer.kvs.first().ok_or_else(|| unknown("and has nothing of it so far"))?;
        let tag = match written {
            Written::Object(_) => Stored::parse(&held.value).map(|stored| stored.tag),
            Written::Last(_) => keys::parse_last_words(&held.value).map(|(_, stored)| stored.tag),
        };
        let (Written::Object(stored) | Written::Last(stored)) = written;
        match tag {
            Some(tag) if tag == stored.tag => Ok(number(held.mod_revision)),
            _ => Err(unknown("and has something else by now")),
        }
    }

    /// Reads once etcd answers again, if that is soon.
    async fn read_at_last(&self, request: RangeRequest) -> Result<RangeResponse, Status> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.client.range(request.clone(), PATIENCE).await {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(OUTCOME_EVERY).await,
                answer => return answer,
            }
        }
    }
}

/// What a commit leaves: an object, or the last state of one.
enum Written {
    Object(Stored),
    Last(Stored),
}

impl Asking {
    /// The answer to a question that has not begun yet.
    fn join(&mut self, ask: impl FnOnce() -> BoxFuture<'static, Result<Revision, String>>) -> Answer {
        let is_done = |answer: &Answer| answer.peek().is_some();
        if self.current.as_ref().is_none_or(is_done) {
            self.current = self.next.take().filter(|next| !is_done(next));
        }
        match (&self.current, &self.next) {
            // Nobody asks now. What was to be next has perhaps been asked already: a new one is certain.
            (None, _) => {
                let answer = ask().shared();
                self.current = Some(answer.clone());
                answer
            }
            (Some(_), Some(next)) => next.clone(),
            (Some(current), None) => {
                let (current, question) = (current.clone(), ask());
                let answer = async move {
                    let _ = current.await;
                    question.await
                };
                let answer = answer.boxed().shared();
                self.next = Some(answer.clone());
                answer
            }
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn commit(&self, key: Key, operation: Operation) -> Result<Arc<Entry>, StoreError> {
        self.commit_if(key, operation, None).await
    }

    async fn commit_beside(&self, key: Key, operation: Operation, seen: Revision) -> Result<Arc<Entry>, StoreError> {
        self.commit_if(key, operation, Some(seen)).await
    }

    fn snapshot(&self) -> Arc<dyn Snapshot> {
        self.front.state()
    }

    fn is_shared(&self) -> bool {
        true
    }

    async fn catch_up(&self) -> Result<(), StoreError> {
        self.check_open()?;
        let newest = self.newest().await?;
        self.heard(newest).await
    }

    async fn consistent_snapshot(&self) -> Result<Arc<dyn Snapshot>, StoreError> {
        self.catch_up().await?;
        Ok(self.front.state())
    }

    fn snapshot_at(&self, revision: Revision) -> Result<Arc<dyn Snapshot>, StoreError> {
        self.front.snapshot_at(revision)
    }

    fn keep(&self, snapshot: Arc<dyn Snapshot>) {
        self.front.keep(snapshot);
    }

    fn watch(&self, range: Range, from: Revision) -> Result<Box<dyn Watch>, StoreError> {
        self.front.watch(range, from)
    }

    fn oldest(&self) -> Revision {
        self.front.oldest()
    }

    async fn compact(&self, revision: Revision) -> Result<(), StoreError> {
        self.front.compact(revision);
        let revision = signed(revision.min(self.front.state().revision()));
        match self.client.compact(CompactionRequest { revision }, PATIENCE).await {
            // Compacted already, by another server.
            Err(status) if status.code() == Code::OutOfRange => Ok(()),
            Err(status) => Err(unavailable(&status)),
            Ok(_) => Ok(()),
        }
    }

    async fn close(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            task.abort();
            let _ = task.await;
        }
        self.front.stop();
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        let tasks = self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().for_each(JoinHandle::abort);
        self.front.stop();
    }
}

impl EtcdStore {
    /// `beside`: nothing of this resource may have been written after that revision.
    async fn commit_if(
        &self,
        key: Key,
        operation: Operation,
        beside: Option<Revision>,
    ) -> Result<Arc<Entry>, StoreError> {
        self.check_open()?;
        let (place, head) = (self.keys.object(&key), self.keys.head());
        let tag = self.entropy.next_u64();
        let stored = |encoded: Encoded| Stored { tag, encoded };
        let (mut compare, written, expected) = match operation {
            Operation::Create { value } => (vec![Compare::is_absent(&place)], Written::Object(stored(value)), None),
            Operation::Update { value, expected } => {
                (at(&place, expected), Written::Object(stored(value)), Some(expected))
            }
            Operation::Delete { last, expected } => (at(&place, expected), Written::Last(stored(last)), Some(expected)),
        };
        if let Some(seen) = beside {
            compare.push(Compare::is_unwritten_since(&self.keys.resource(&key.resource), signed(seen)));
        }
        let success = match &written {
            Written::Object(stored) => [
                wire::Operation::RequestPut(PutRequest { key: head, value: Bytes::new() }),
                wire::Operation::RequestPut(PutRequest { key: place.clone(), value: stored.to_bytes() }),
            ],
            Written::Last(stored) => [
                wire::Operation::RequestPut(PutRequest { key: head, value: last_words(&place, stored) }),
                wire::Operation::RequestDeleteRange(DeleteRangeRequest { key: place.clone() }),
            ],
        };
        let failure =
            vec![wire::Operation::RequestRange(RangeRequest { key: place, ..RangeRequest::default() }).into()];
        let request = TxnRequest { compare, success: success.map(Into::into).to_vec(), failure };
        let revision = match self.client.txn(request, PATIENCE).await {
            Ok(answer) if answer.succeeded => answer.header.map_or(0, |header| number(header.revision)),
            Ok(answer) => {
                let current = answer.responses.into_iter().find_map(|one| one.response_range?.kvs.into_iter().next());
                return Err(self.refusal(key, current, expected).await);
            }
            Err(status) if is_certain(&status) || wire::is_unsent(&status) => return Err(unavailable(&status)),
            Err(status) => self.outcome(&key, &written, &status).await?,
        };
        // It is durable: that this server is slow to hear of it takes nothing away. Readers ask how far etcd is.
        if let Err(error) = self.heard(revision).await {
            tracing::warn!(%error, "committed, but not heard of yet");
        }
        let (Written::Object(stored) | Written::Last(stored)) = &written;
        Ok(Arc::new(committed(key, revision, stored)))
    }

    /// Why a commit whose condition does not hold is refused. Whoever reads next sees what stood in the way.
    /// `expected`: the revision that it was to replace; `None` for a new one.
    async fn refusal(&self, key: Key, current: Option<wire::KeyValue>, expected: Option<Revision>) -> StoreError {
        let Some(kv) = current else {
            return match (expected, self.catch_up().await) {
                (_, Err(error)) => error,
                (Some(_), Ok(())) => StoreError::NotFound { key },
                (None, Ok(())) => StoreError::Overtaken { resource: key.resource },
            };
        };
        let Some(stored) = Stored::parse(&kv.value) else {
            return StoreError::Unavailable { reason: format!("what lies in etcd for {key:?} is not an object") };
        };
        let current = Arc::new(committed(key.clone(), number(kv.mod_revision), &stored));
        if let Err(error) = self.heard(current.revision).await {
            return error;
        }
        match expected {
            None => StoreError::Exists { key, current },
            Some(expected) if expected == current.revision => self.overtaken(key).await,
            Some(_) => StoreError::Conflict { key, current },
        }
    }

    /// The object is as it should be, so it is another of its resource.
    async fn overtaken(&self, key: Key) -> StoreError {
        match self.catch_up().await {
            Ok(()) => StoreError::Overtaken { resource: key.resource },
            Err(error) => error,
        }
    }
}

fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

fn at(place: &Bytes, expected: Revision) -> Vec<Compare> {
    Compare::is_at(place, signed(expected)).to_vec()
}

/// etcd has looked at the request and refused it: nothing has happened.
fn is_certain(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::InvalidArgument
            | Code::ResourceExhausted
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::FailedPrecondition
    )
}

fn unavailable(status: &Status) -> StoreError {
    // From etcd itself, and from the library that it receives with.
    if ["request is too large", "larger than max"].iter().any(|text| status.message().contains(text)) {
        return StoreError::TooLarge { reason: "etcd takes no more than 1.5 MiB at a time".into() };
    }
    StoreError::Unavailable { reason: explain(status) }
}

/// What etcd said, and what to do about it.
fn explain(status: &Status) -> String {
    let said = match root_cause(status) {
        Some(cause) => format!("{}: {cause}", status.message()),
        None => status.message().to_string(),
    };
    match status.code() {
        Code::ResourceExhausted if said.contains("space exceeded") => {
            format!("etcd is full ({said}): compact and defragment it, then disarm its alarm (etcdctl alarm disarm)")
        }
        Code::Unavailable | Code::DeadlineExceeded | Code::Unknown | Code::Cancelled => {
            format!("etcd does not answer ({said})")
        }
        _ => format!("etcd refuses: {said}"),
    }
}

/// Such as a connection that is refused, or a certificate that nobody vouches for.
fn root_cause(status: &Status) -> Option<String> {
    let source = std::error::Error::source(status)?;
    let chain = std::iter::successors(Some(source), |error| error.source());
    chain.last().map(|error| error.to_string()).filter(|cause| cause != status.message())
}

fn members(config: &EtcdConfig) -> Result<Vec<Channel>, EtcdError> {
    if config.endpoints.is_empty() {
        return Err(EtcdError::NoEndpoints);
    }
    config.endpoints.iter().map(|address| Ok(endpoint(address, config)?.connect_lazy())).collect()
}

fn endpoint(address: &str, config: &EtcdConfig) -> Result<Endpoint, EtcdError> {
    let with_scheme = if address.contains("://") { address.to_string() } else { format!("http://{address}") };
    let endpoint = Endpoint::from_shared(with_scheme)
        .map_err(|source| EtcdError::Endpoint { endpoint: address.to_string(), source })?
        .connect_timeout(PATIENCE)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
        .keep_alive_timeout(KEEP_ALIVE_PATIENCE)
        .keep_alive_while_idle(true)
        .http2_adaptive_window(true);
    let is_secure = endpoint.uri().scheme_str() == Some("https");
    match (is_secure, &config.ca, &config.identity) {
        (false, None, None) => return Ok(endpoint),
        (false, ..) => return Err(EtcdError::NotSecure { endpoint: address.to_string() }),
        (true, None, _) => return Err(EtcdError::NoAuthority { endpoint: address.to_string() }),
        (true, Some(_), _) => {}
    }
    let mut tls = ClientTlsConfig::new();
    if let Some(ca) = &config.ca {
        tls = tls.ca_certificate(Certificate::from_pem(ca));
    }
    if let Some((certificate, key)) = &config.identity {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    endpoint.tls_config(tls).map_err(|source| EtcdError::Tls { source })
}

/// Has etcd forget what is old, for ever. Every server does; who comes late changes nothing.
async fn compact(client: Client, front: Arc<Front>) {
    let mut before = front.state().revision();
    loop {
        tokio::time::sleep(COMPACT_EVERY).await;
        let revision = signed(before);
        if let Err(status) = client.compact(CompactionRequest { revision }, PATIENCE).await
            && status.code() != Code::OutOfRange
        {
            tracing::warn!(%status, "etcd was not compacted; will try again");
        }
        before = front.state().revision();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    /// A question answers with the number of those that had begun before it.
    #[tokio::test]
    async fn questions_are_shared_but_never_older_than_those_who_ask() {
        let begun = Arc::new(AtomicU64::new(0));
        let gate = Arc::new(tokio::sync::Semaphore::new(0));
        let mut asking = Asking::default();
        let mut join = || {
            let (begun, gate) = (begun.clone(), gate.clone());
            asking.join(move || {
                async move {
                    let number = begun.fetch_add(1, Ordering::SeqCst);
                    gate.acquire().await.map_err(|error| error.to_string())?.forget();
                    Ok(number)
                }
                .boxed()
            })
        };
        let first = tokio::spawn(join());
        tokio::task::yield_now().await;
        let (second, third) = (tokio::spawn(join()), tokio::spawn(join()));
        tokio::task::yield_now().await;
        gate.add_permits(2);
        let answers = [first.await.unwrap(), second.await.unwrap(), third.await.unwrap()];
        assert_eq!(answers, [Ok(0), Ok(1), Ok(1)]);
        gate.add_permits(1);
        assert_eq!(join().await, Ok(2), "nobody asks any more: a new question");
    }
}
