//! How the server reaches the containers of nodes in its own process: this machine's, and the simulated ones.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use backstay_api::Status;
use backstay_apiserver::{LogRequest, PodAccess};
use backstay_node::logs::{LogError, LogOptions};
use backstay_node::simulated;
use backstay_store::{Key, Store};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;

pub struct PodLogs {
    /// The directory of this machine's pods.
    pub pods: PathBuf,
    /// Name of this machine's node, if it is one.
    pub node: Option<String>,
    /// Holds the pods of simulated nodes, whose logs tell of their behaviour.
    pub store: Arc<dyn Store>,
}

#[async_trait]
impl PodAccess for PodLogs {
    async fn logs(&self, node: &str, request: LogRequest) -> Result<BoxStream<'static, Bytes>, Status> {
        if simulated::node_index(node).is_some() {
            return self.simulated(&request);
        }
        if self.node.as_deref() != Some(node) {
            return Err(Status::internal(format!("node {node:?} is not in this process, and cannot be reached")));
        }
        let options = LogOptions {
            follow: request.follow,
            previous: request.previous,
            tail_lines: request.tail_lines,
            limit_bytes: request.limit_bytes,
            since: request.since,
            timestamps: request.timestamps,
        };
        match backstay_node::logs::open(&self.pods, &request.uid, &request.container, options) {
            Ok(stream) => Ok(stream.boxed()),
            Err(error @ LogError::Read { .. }) => Err(Status::internal(chain(&error))),
            Err(LogError::NotStarted { .. }) => Err(refused(&request, "is waiting to start: ContainerCreating")),
            Err(LogError::NoPrevious { .. }) => Err(Status::bad_request(format!(
                "previous terminated container {:?} in pod {:?} not found",
                request.container, request.pod
            ))),
        }
    }
}

impl PodLogs {
    fn simulated(&self, request: &LogRequest) -> Result<BoxStream<'static, Bytes>, Status> {
        let key = Key::new("pods", &request.namespace, &request.pod);
        let gone = || Status::not_found("", "pods", &request.pod);
        let entry = self.store.snapshot().get(&key).ok_or_else(gone)?;
        let pod = serde_json::from_slice(&entry.value).map_err(Status::internal)?;
        let text = simulated::logs(&pod, &request.container);
        Ok(futures::stream::iter([Bytes::from(text)]).boxed())
    }
}

fn refused(request: &LogRequest, why: &str) -> Status {
    Status::bad_request(format!("container {:?} in pod {:?} {why}", request.container, request.pod))
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
