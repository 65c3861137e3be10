//! The port through which the server reaches running containers.

use async_trait::async_trait;
use backstay_api::Status;
use backstay_streams::{Reason, Session, StreamError, StreamRequest};

/// Reaches the containers of pods, wherever their nodes are: who reaches node X. One implementation per way of reaching
/// nodes; the binary chooses. [`crate::tunnel::Tunnels`] reaches those that are connected to this server.
#[async_trait]
pub trait PodAccess: Send + Sync + 'static {
    /// Dropping the session ends what was asked for.
    ///
    /// # Errors
    /// What the node says, or that it cannot be reached.
    async fn open(&self, node: &str, request: StreamRequest) -> Result<Session, StreamError>;
}

/// An error of a node as a client sees it.
pub fn status(error: &StreamError) -> Status {
    match error.reason {
        Reason::BadRequest => Status::bad_request(error.message.clone()),
        Reason::NotFound => Status::with_code(404, Some(backstay_api::Reason::NotFound), error.message.clone()),
        Reason::Unreachable => Status::internal(format!("error dialing backend: {}", error.message)),
        Reason::NotSupported | Reason::Failed => Status::internal(&error.message),
    }
}
