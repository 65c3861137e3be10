//! The port through which the server reaches running containers.

use async_trait::async_trait;
use backstay_api::Status;
use bytes::Bytes;
use futures::stream::BoxStream;
use jiff::Timestamp;

/// Which lines of a container's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogRequest {
    pub namespace: String,
    pub pod: String,
    pub uid: String,
    pub container: String,
    /// Stays open and sends what is written later.
    pub follow: bool,
    /// The container's life before this one.
    pub previous: bool,
    /// The last so many lines; all if none.
    pub tail_lines: Option<u64>,
    pub limit_bytes: Option<u64>,
    /// Only what was written since then.
    pub since: Option<Timestamp>,
    /// Every line begins with the time it was written.
    pub timestamps: bool,
}

/// Reaches the containers of pods, wherever their nodes are. One implementation per way of reaching nodes; the binary
/// chooses. Other ways into a container (exec, attach, port-forward) will be methods beside `logs`.
#[async_trait]
pub trait PodAccess: Send + Sync + 'static {
    /// The log of a container of a pod that is bound to `node`. Dropping the stream ends a follow.
    ///
    /// # Errors
    /// `BadRequest` if the container has no log yet, `InternalError` if the node cannot be reached.
    async fn logs(&self, node: &str, request: LogRequest) -> Result<BoxStream<'static, Bytes>, Status>;
}

/// No node can be reached.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoPods;

#[async_trait]
impl PodAccess for NoPods {
    async fn logs(&self, node: &str, _request: LogRequest) -> Result<BoxStream<'static, Bytes>, Status> {
        Err(Status::internal(format!("this server has no way to reach node {node:?}")))
    }
}
