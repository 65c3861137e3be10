//! The interface of container runtimes, and the way to one.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

// Its description is `proto/runtime.proto`.
#[allow(clippy::all, clippy::pedantic, dead_code)]
#[rustfmt::skip]
#[path = "generated/runtime.rs"]
mod generated;

pub use generated::security_profile::ProfileType;
pub use generated::*;

use image_service_client::ImageServiceClient;
use runtime_service_client::RuntimeServiceClient;

/// The way to a runtime. It connects when it is first used, and again after the runtime was gone.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    connections: Arc<AtomicU64>,
}

/// Whether somebody listens at a socket shows at once.
pub const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// States as messages hold them.
pub const CREATED: i32 = ContainerState::ContainerCreated as i32;
pub const RUNNING: i32 = ContainerState::ContainerRunning as i32;
pub const EXITED: i32 = ContainerState::ContainerExited as i32;
pub const READY: i32 = PodSandboxState::SandboxReady as i32;

/// An answer may list all containers of a machine.
const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

impl Client {
    pub fn new(socket: &Path) -> Self {
        let socket: PathBuf = socket.to_path_buf();
        let connections = Arc::new(AtomicU64::new(0));
        let counted = connections.clone();
        let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
            let (socket, counted) = (socket.clone(), counted.clone());
            async move {
                let stream = UnixStream::connect(socket).await?;
                counted.fetch_add(1, Ordering::Relaxed);
                Ok::<_, std::io::Error>(TokioIo::new(stream))
            }
        });
        // The address is never used: the connector knows the way.
        let channel = Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        Self { channel, connections }
    }

    /// The number of the newest connection: another one where the runtime was gone meanwhile.
    pub fn connection(&self) -> u64 {
        self.connections.load(Ordering::Relaxed)
    }

    /// The service for pods and containers.
    pub fn runtime(&self) -> RuntimeServiceClient<Channel> {
        RuntimeServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    pub fn images(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

/// What a call answers, if it does so in time. A runtime that hangs holds nobody up for longer.
pub async fn within<T>(
    patience: Duration,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<T, Status> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => answer.map(Response::into_inner),
        Err(_) => Err(Status::deadline_exceeded(format!("no answer within {} s", patience.as_secs()))),
    }
}
