//! The messages of etcd's API (v3) that we use, field by field, and the calls.
//!
//! Written by hand, since there are few: `etcdserverpb` and `mvccpb` of etcd 3.4. Revisions are signed there.

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

/// Asks a member that has lost its cluster to say so, instead of staying silent.
const HAS_LEADER: &str = "hasleader";

/// Before a read is tried again. Together shorter than what people notice.
const READ_PAUSES: [Duration; 3] = [Duration::ZERO, Duration::from_millis(50), Duration::from_millis(100)];

#[derive(Clone, PartialEq, Message)]
pub struct ResponseHeader {
    #[prost(int64, tag = "3")]
    pub revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct KeyValue {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(int64, tag = "2")]
    pub create_revision: i64,
    #[prost(int64, tag = "3")]
    pub mod_revision: i64,
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    /// Empty: the one key.
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    #[prost(int64, tag = "3")]
    pub limit: i64,
    /// 0: the newest.
    #[prost(int64, tag = "4")]
    pub revision: i64,
    #[prost(bool, tag = "8")]
    pub keys_only: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct RangeResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
    #[prost(bool, tag = "3")]
    pub more: bool,
}

#[derive(Clone, PartialEq, Message)]
pub struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct DeleteRangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
}

#[derive(Clone, PartialEq, Message)]
pub struct RequestOp {
    #[prost(oneof = "Operation", tags = "1, 2, 3")]
    pub request: Option<Operation>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Operation {
    #[prost(message, tag = "1")]
    Range(RangeRequest),
    #[prost(message, tag = "2")]
    Put(PutRequest),
    #[prost(message, tag = "3")]
    Delete(DeleteRangeRequest),
}

/// Answers to puts and deletes say nothing that we need.
#[derive(Clone, PartialEq, Message)]
pub struct ResponseOp {
    #[prost(message, optional, tag = "1")]
    pub range: Option<RangeResponse>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Compare {
    /// 0: equal, 1: greater, 2: less.
    #[prost(int32, tag = "1")]
    pub result: i32,
    /// 1: the revision of its creation, 2: of its last change.
    #[prost(int32, tag = "2")]
    pub target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    pub key: Bytes,
    #[prost(oneof = "Compared", tags = "5, 6")]
    pub with: Option<Compared>,
    /// Not empty: it must hold for all keys up to here.
    #[prost(bytes = "bytes", tag = "64")]
    pub range_end: Bytes,
}

#[derive(Clone, PartialEq, prost::Oneof)]
pub enum Compared {
    #[prost(int64, tag = "5")]
    CreateRevision(i64),
    #[prost(int64, tag = "6")]
    ModRevision(i64),
}

#[derive(Clone, PartialEq, Message)]
pub struct TxnRequest {
    #[prost(message, repeated, tag = "1")]
    pub compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
    #[prost(message, repeated, tag = "3")]
    pub failure: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, Message)]
pub struct TxnResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
    #[prost(message, repeated, tag = "3")]
    pub responses: Vec<ResponseOp>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CompactionRequest {
    #[prost(int64, tag = "1")]
    pub revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct CompactionResponse {}

#[derive(Clone, PartialEq, Message)]
pub struct WatchRequest {
    #[prost(message, optional, tag = "1")]
    pub create: Option<WatchCreateRequest>,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchCreateRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub range_end: Bytes,
    #[prost(int64, tag = "3")]
    pub start_revision: i64,
}

#[derive(Clone, PartialEq, Message)]
pub struct WatchResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    #[prost(bool, tag = "3")]
    pub created: bool,
    #[prost(bool, tag = "4")]
    pub canceled: bool,
    /// Set where the watch asked for what has been compacted.
    #[prost(int64, tag = "5")]
    pub compact_revision: i64,
    #[prost(string, tag = "6")]
    pub cancel_reason: String,
    #[prost(message, repeated, tag = "11")]
    pub events: Vec<Event>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Event {
    /// 0: put, 1: deleted.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(message, optional, tag = "2")]
    pub kv: Option<KeyValue>,
}

impl Compare {
    pub fn is_absent(key: &Bytes) -> Self {
        Self { result: 0, target: 1, key: key.clone(), with: Some(Compared::CreateRevision(0)), ..Self::default() }
    }

    /// That nothing under the prefix was written after a revision.
    pub fn is_unwritten_since(prefix: &Bytes, revision: i64) -> Self {
        let with = Some(Compared::ModRevision(revision.saturating_add(1)));
        Self { result: 2, target: 2, key: prefix.clone(), with, range_end: end_of(prefix) }
    }

    /// Also that it is there: a key that is not has the revision 0.
    pub fn is_at(key: &Bytes, revision: i64) -> [Self; 2] {
        [
            Self {
                result: 0,
                target: 2,
                key: key.clone(),
                with: Some(Compared::ModRevision(revision)),
                ..Self::default()
            },
            Self { result: 1, target: 1, key: key.clone(), with: Some(Compared::CreateRevision(0)), ..Self::default() },
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
    pub async fn watch(&self, request: WatchCreateRequest) -> Result<Told, Status> {
        let turn = self.turn.load(Ordering::Relaxed);
        let told = self.watch_one(turn, request).await;
        told.map(|stream| (stream, turn)).inspect_err(|_| self.failed(turn))
    }

    async fn watch_one(&self, turn: usize, request: WatchCreateRequest) -> Result<Streaming<WatchResponse>, Status> {
        // The stream of requests stays open, since the watch ends with it.
        let asked = tokio_stream::StreamExt::chain(
            tokio_stream::once(WatchRequest { create: Some(request) }),
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
