//! The interface of container runtimes, and the way to one.

use std::path::{Path, PathBuf};
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
}

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
        let connector = tower::service_fn(move |_: tonic::codegen::http::Uri| {
            let socket = socket.clone();
            async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
        });
        // The address is never used: the connector knows the way.
        Self { channel: Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector) }
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
