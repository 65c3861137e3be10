//! How the server reaches the containers of nodes: those in its own process directly, others by their tunnels.

use std::io::Cursor;
use std::sync::{Arc, OnceLock};

use async_trait::async_trait;
use backstay_apiserver::PodAccess;
use backstay_apiserver::tunnel::Tunnels;
use backstay_node::simulated;
use backstay_node::streams::{NodeStreams, Reason, Session, StreamError};
use backstay_store::{Key, Store};
use backstay_streams::carry::Open;
use backstay_streams::{LogRequest, StreamRequest};

pub struct Reach {
    /// This machine's node, once it has begun, if it is one.
    local: OnceLock<(String, NodeStreams)>,
    /// Holds the pods of simulated nodes, whose logs tell of their behaviour.
    store: Arc<dyn Store>,
    tunnels: Arc<Tunnels>,
}

impl Reach {
    pub fn new(store: Arc<dyn Store>, tunnels: Arc<Tunnels>) -> Self {
        Self { local: OnceLock::new(), store, tunnels }
    }

    /// From now on, this node is reached within this process.
    pub fn set_local(&self, node: String, streams: NodeStreams) {
        // There is one agent in a process, and it is started once.
        let _ = self.local.set((node, streams));
    }

    fn simulated(&self, node: &str, request: StreamRequest) -> Result<Session, StreamError> {
        match request {
            StreamRequest::Logs(request) => self.simulated_log(&request),
            _ => Err(StreamError::new(
                Reason::NotSupported,
                format!("node {node:?} is simulated: nothing runs on it, so there is nothing to connect to"),
            )),
        }
    }

    fn simulated_log(&self, request: &LogRequest) -> Result<Session, StreamError> {
        let key = Key::new("pods", &request.target.namespace, &request.target.pod);
        let gone = || StreamError::new(Reason::NotFound, format!("pods {:?} not found", request.target.pod));
        let entry = self.store.snapshot().get(&key).ok_or_else(gone)?;
        let pod = serde_json::from_slice(&entry.value).map_err(|error| StreamError::failed(error.to_string()))?;
        Ok(Session::output(Box::new(Cursor::new(simulated::logs(&pod, &request.target.container).into_bytes()))))
    }
}

#[async_trait]
impl PodAccess for Reach {
    async fn open(&self, node: &str, request: StreamRequest) -> Result<Session, StreamError> {
        if simulated::node_index(node).is_some() {
            return self.simulated(node, request);
        }
        match self.local.get() {
            Some((local, streams)) if local == node => streams.open(request).await,
            _ => self.tunnels.open(node, request).await,
        }
    }
}
