//! What a node is asked for by its server: logs, commands, the streams of containers, connections to their ports.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use backstay_streams::carry::Open;
use backstay_streams::{LogRequest, PortForwardRequest, StreamRequest, Target};
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _};
use tokio_util::io::StreamReader;

use super::{Reason, Session, StreamError};
use crate::lifecycle::ContainerRecord;
use crate::logs::{self, LogError};
use crate::process::layout::Layout;
use crate::runtime::{ContainerKey, Runtime, Runtimes};

/// The containers of one node.
#[derive(Clone)]
pub struct NodeStreams {
    runtimes: Runtimes,
    layout: Layout,
}

impl NodeStreams {
    /// `pods`: see [`crate::pods_dir`].
    pub fn new(runtimes: Runtimes, pods: PathBuf) -> Self {
        Self { runtimes, layout: Layout { pods } }
    }

    /// The runtime that holds a pod, with every attempt of one of its containers, oldest first.
    async fn find(&self, uid: &str, container: &str) -> Option<(Arc<dyn Runtime>, Vec<ContainerRecord>)> {
        for runtime in self.runtimes.all() {
            // One that cannot tell holds up the others not.
            let Ok(mut containers) = runtime.containers(uid).await else { continue };
            if let Some(records) = containers.remove(container) {
                return Some((runtime.clone(), records));
            }
        }
        None
    }

    async fn running(&self, target: &Target) -> Result<(Arc<dyn Runtime>, ContainerKey), StreamError> {
        let not_found = || StreamError::new(Reason::NotFound, format!("container not found ({:?})", target.container));
        let (runtime, records) = self.find(&target.uid, &target.container).await.ok_or_else(not_found)?;
        let latest = records.last().filter(|record| record.is_running()).ok_or_else(not_found)?;
        Ok((runtime, key(target, latest.attempt)))
    }

    async fn logs(&self, request: LogRequest) -> Result<Session, StreamError> {
        let target = request.target.clone();
        let found = self.find(&target.uid, &target.container).await;
        let (runtime, attempts) = match found {
            Some((runtime, records)) => (Some(runtime), records.iter().map(|record| record.attempt).collect()),
            None => (None, Vec::new()),
        };
        let Some(attempt) = attempts.iter().rev().nth(usize::from(request.previous)).copied() else {
            return Err(without_log(&request));
        };
        let key = key(&target, attempt);
        let ended = {
            let key = key.clone();
            move || has_ended(runtime.clone(), key.clone()).boxed()
        };
        match logs::open(&self.layout.log(&key), request, Box::new(ended)) {
            Ok(lines) => {
                let lines = lines.boxed().map(Ok::<_, std::io::Error>).into_stream();
                Ok(Session::output(Box::new(StreamReader::new(lines))))
            }
            Err(LogError::Read { path, source }) => {
                Err(StreamError::failed(format!("cannot read the log {}: {source}", path.display())))
            }
        }
    }

    async fn port_forward(&self, request: &PortForwardRequest) -> Result<Session, StreamError> {
        for runtime in self.runtimes.all() {
            if matches!(runtime.sandbox(&request.uid).await, Ok(Some(_))) {
                let connection = runtime.port_forward(&request.uid, request.port).await?;
                return Ok(Session::connection(connection));
            }
        }
        Err(StreamError::new(Reason::NotFound, format!("pod {:?} is not running on this node", request.pod)))
    }
}

fn key(target: &Target, attempt: u32) -> ContainerKey {
    ContainerKey { pod_uid: target.uid.clone(), name: target.container.clone(), attempt }
}

fn without_log(request: &LogRequest) -> StreamError {
    let Target { container, pod, .. } = &request.target;
    let message = match request.previous {
        true => format!("previous terminated container {container:?} in pod {pod:?} not found"),
        false => format!("container {container:?} in pod {pod:?} is waiting to start: ContainerCreating"),
    };
    StreamError::new(Reason::BadRequest, message)
}

/// One that is not known any more has ended, too. While its runtime does not answer, nobody knows.
async fn has_ended(runtime: Option<Arc<dyn Runtime>>, key: ContainerKey) -> bool {
    let Some(runtime) = runtime else { return true };
    let Ok(containers) = runtime.containers(&key.pod_uid).await else { return false };
    let records = containers.get(&key.name);
    let own = records.and_then(|records| records.iter().find(|record| record.attempt == key.attempt));
    !own.is_some_and(ContainerRecord::is_running)
}

#[async_trait]
impl Open for NodeStreams {
    async fn open(&self, request: StreamRequest) -> Result<Session, StreamError> {
        match request {
            StreamRequest::Logs(request) => self.logs(request).await,
            StreamRequest::Exec { target, request } => {
                let (runtime, key) = self.running(&target).await?;
                runtime.open_exec(&key, request).await
            }
            StreamRequest::Attach { target, request } => {
                let (runtime, key) = self.running(&target).await?;
                runtime.attach(&key, request).await
            }
            StreamRequest::PortForward(request) => self.port_forward(&request).await,
        }
    }
}
