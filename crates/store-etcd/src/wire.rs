//! The messages of etcd's API (v3) that we use, and the calls. Revisions are signed there.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use prost::Message;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::metadata::MetadataValue;
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Request, Status, Streaming};
use tonic_prost::ProstCodec;

// Its description is `proto/etcd.proto`.
#[allow(clippy::all, clippy::pedantic, dead_code)]
#[rustfmt::skip]
#[path = "generated/etcd.rs"]
mod generated;

pub use generated::compare::{CompareResult, CompareTarget, TargetUnion};
pub use generated::event::EventType;
pub use generated::request_op::Request as Operation;
pub use generated::*;

/// Asks a member that has lost its cluster to say so, instead of staying silent.
const HAS_LEADER: &str = "hasleader";

/// Before a read is tried again. Together shorter than what people notice.
const READ_PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(100)];

impl Compare {
    fn new(result: CompareResult, key: &Bytes, with: TargetUnion) -> Self {
        let target = match with {
            TargetUnion::CreateRevision(_) => CompareTarget::Create,
            TargetUnion::ModRevision(_) => CompareTarget::Mod,
        };
        let (result, target) = (result.into(), target.into());
        Self { result, target, key: key.clone(), target_union: Some(with), range_end: Bytes::new() }
    }

    pub fn is_absent(key: &Bytes) -> Self {
        Self::new(CompareResult::Equal, key, TargetUnion::CreateRevision(0))
    }

    /// That nothing under the prefix was written after a revision.
    pub fn is_unwritten_since(prefix: &Bytes, revision: i64) -> Self {
        let with = TargetUnion::ModRevision(revision.saturating_add(1));
        Self { range_end: end_of(prefix), ..Self::new(CompareResult::Less, prefix, with) }
    }

    /// Also that it is there: a key that is not has the revision 0.
    pub fn is_at(key: &Bytes, revision: i64) -> [Self; 2] {
        [
            Self::new(CompareResult::Equal, key, TargetUnion::ModRevision(revision)),
            Self::new(CompareResult::Greater, key, TargetUnion::CreateRevision(0)),
        ]
    }
}

impl From<Operation> for RequestOp {
    fn from(operation: Operation) -> Self {
        Self { request: Some(operation) }
    }
}

/// Whether a call has failed before anything of it was sent.
pub fn is_unsent(status: &Status) -> bool {
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        if error.is::<ConnectError>() {
            return true;
        }
        source = error.source();
    }
    false
}

/// The key after all keys that begin with `prefix`.
pub fn end_of(prefix: &[u8]) -> Bytes {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            break;
        }
    }
    end.into()
}

/// The members of one etcd cluster. All calls go to one of them, until it fails: then to the next.
#[derive(Clone)]
pub struct Client {
    members: Arc<[Channel]>,
    /// Counts failures: the member in use, modulo their number.
    turn: Arc<AtomicUsize>,
}

/// What tells of changes, and the turn it belongs to.
pub type Told = (Streaming<WatchResponse>, usize);

impl Client {
    /// At least one.
    pub fn new(members: Vec<Channel>) -> Self {
        Self { members: members.into(), turn: Arc::default() }
    }

    /// A read does no harm twice: where a member fails, it is tried again with the next.
    pub async fn range(&self, request: RangeRequest, patience: Duration) -> Result<RangeResponse, Status> {
        let path = "/etcdserverpb.KV/Range";
        let mut pauses = self.members[1..].iter().map(|_| Duration::ZERO).chain(READ_PAUSES);
        loop {
            match self.unary(path, request.clone(), patience).await {
                Err(status) if is_fault(&status) => match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None => return Err(status),
                },
                answer => return answer,
            }
        }
    }

    /// Tried with each member, as long as it is certain that none has seen it.
    pub async fn txn(&self, request: TxnRequest, patience: Duration) -> Result<TxnResponse, Status> {
        let mut others = self.members.len() - 1;
        loop {
            match self.unary("/etcdserverpb.KV/Txn", request.clone(), patience).await {
                Err(status) if is_unsent(&status) && others > 0 => others -= 1,
                answer => return answer,
            }
        }
    }

    pub async fn compact(&self, request: CompactionRequest, patience: Duration) -> Result<CompactionResponse, Status> {
        self.unary("/etcdserverpb.KV/Compact", request, patience).await
    }

    /// A watch that ends when its stream does.
    pub async fn watch(&self, request: WatchCreateRequest, patience: Duration) -> Result<Told, Status> {
        let turn = self.turn.load(Ordering::Relaxed);
        let told = tokio::time::timeout(patience, self.watch_one(turn, request)).await;
        let told = told.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        told.map(|stream| (stream, turn)).inspect_err(|_| self.failed(turn))
    }

    async fn watch_one(&self, turn: usize, request: WatchCreateRequest) -> Result<Streaming<WatchResponse>, Status> {
        // The stream of requests stays open, since the watch ends with it.
        let asked = tokio_stream::StreamExt::chain(
            tokio_stream::once(WatchRequest { create_request: Some(request) }),
            tokio_stream::pending(),
        );
        let mut request = Request::new(asked);
        request.metadata_mut().insert(HAS_LEADER, MetadataValue::from_static("true"));
        let path = PathAndQuery::from_static("/etcdserverpb.Watch/Watch");
        let codec: ProstCodec<WatchRequest, WatchResponse> = ProstCodec::default();
        Ok(self.member(turn).await?.streaming(request, path, codec).await?.into_inner())
    }

    async fn unary<Q, A>(&self, path: &'static str, request: Q, patience: Duration) -> Result<A, Status>
    where
        Q: Message + Send + Sync + 'static,
        A: Message + Default + Send + Sync + 'static,
    {
        let turn = self.turn.load(Ordering::Relaxed);
        let asked = async {
            let codec: ProstCodec<Q, A> = ProstCodec::default();
            let path = PathAndQuery::from_static(path);
            let mut request = Request::new(request);
            request.metadata_mut().insert(HAS_LEADER, MetadataValue::from_static("true"));
            Ok(self.member(turn).await?.unary(request, path, codec).await?.into_inner())
        };
        let answer = tokio::time::timeout(patience, asked).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        answer.inspect_err(|status| {
            if is_fault(status) || status.code() == Code::DeadlineExceeded {
                self.failed(turn);
            }
        })
    }

    /// The member of this turn has failed. Those who notice together move on once.
    pub fn failed(&self, turn: usize) {
        let _ = self.turn.compare_exchange(turn, turn.wrapping_add(1), Ordering::Relaxed, Ordering::Relaxed);
    }

    async fn member(&self, turn: usize) -> Result<Grpc<Channel>, Status> {
        let channel = self.members[turn % self.members.len()].clone();
        // Everything may come at once, when a server starts.
        let mut grpc = Grpc::new(channel).max_decoding_message_size(usize::MAX);
        grpc.ready().await.map_err(|error| Status::from_error(error.into()))?;
        Ok(grpc)
    }
}

/// Not what etcd thinks of the request, but that it cannot be reached or has no quorum.
fn is_fault(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_prefix() {
        assert_eq!(&end_of(b"/a/")[..], b"/a0");
        assert_eq!(&end_of(b"a\xff\xff")[..], b"b");
        assert_eq!(&end_of(b"\xff")[..], b"");
    }
}
