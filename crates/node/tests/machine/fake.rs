//! A runtime with images that runs nothing, and keeps what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use backstay_node::lifecycle::observed::Exit;
use backstay_node::lifecycle::{ContainerRecord, ContainerState};
use backstay_node::pressure::Signals;
use backstay_node::runtime::{
    ContainerKey, Credential, DiskUsage, ExecOutput, Health, Image, ImageError, Images, PodIdentity, PodUsage, Runtime,
    RuntimeError, SandboxRequest, SandboxState, StartFailure, StartRequest, StoredImage,
};
use tokio::sync::{Notify, mpsc::UnboundedSender};

#[derive(Default)]
pub struct State {
    pub images: BTreeMap<String, Image>,
    /// A pull of this image fails, in these words.
    pub broken: BTreeMap<String, String>,
    pub pulls: Vec<(String, Vec<String>)>,
    pub sandboxes: BTreeMap<String, SandboxRequest>,
    pub containers: BTreeMap<String, BTreeMap<String, Vec<ContainerRecord>>>,
    pub requests: Vec<StartRequest>,
    pub changed: Option<UnboundedSender<String>>,
    pub signals: Signals,
    pub stopping: bool,
    pub usage: PodUsage,
    pub health: Health,
    /// Making a sandbox never ends.
    pub hangs: bool,
    /// How many were to be made.
    pub prepared: usize,
    /// Pods whose sandbox has been ended.
    pub ended: BTreeSet<String>,
    /// Nothing can be ended or removed, in these words.
    pub stuck: Option<String>,
    /// How often that was tried.
    pub tries: usize,
    /// So many containers in a row cannot be stopped.
    pub stops_failing: usize,
    /// What is asked to end takes all of its grace.
    pub lingers: bool,
    /// Containers cannot be looked at.
    pub blind: bool,
    /// Who looks next falls over.
    pub panics: bool,
}

/// Keeps what it is told.
#[derive(Default)]
pub struct Fake {
    state: Mutex<State>,
    /// Pulls of `slow` wait for this.
    pub slow: Notify,
}

impl State {
    fn try_to_end(&mut self) -> Result<(), RuntimeError> {
        self.tries += 1;
        self.stuck.clone().map_or(Ok(()), |why| Err(RuntimeError::Refused(why)))
    }
}

impl Fake {
    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What runs of the pod ends with this code.
    pub fn exit(&self, pod_uid: &str, exit_code: i32) {
        let mut state = self.state();
        let now = jiff::Timestamp::now();
        let reason = if exit_code == 0 { "Completed" } else { "Error" }.to_string();
        let exit = Exit { started_at: now, finished_at: now, exit_code, reason, message: String::new() };
        for record in state.containers.entry(pod_uid.to_string()).or_default().values_mut().flatten() {
            if record.is_running() {
                record.state = ContainerState::Exited(exit.clone());
            }
        }
        if let Some(changed) = &state.changed {
            let _ = changed.send(pod_uid.to_string());
        }
    }
}

#[async_trait]
impl Images for Fake {
    async fn find(&self, name: &str) -> Result<Option<Image>, ImageError> {
        if name.contains(' ') {
            let message = format!("couldn't parse image name {name:?}: invalid reference format");
            return Err(ImageError { reason: "InvalidImageName", message });
        }
        Ok(self.state().images.get(name).cloned())
    }

    async fn pull(&self, name: &str, credentials: &[Credential]) -> Result<Image, ImageError> {
        let users = credentials.iter().map(|it| it.username.clone()).collect();
        self.state().pulls.push((name.to_string(), users));
        if name == "slow" {
            self.slow.notified().await;
        }
        if let Some(message) = self.state().broken.get(name) {
            return Err(ImageError { reason: "ErrImagePull", message: message.clone() });
        }
        let image = Image { id: format!("id-of-{name}"), size_bytes: 5, ..Image::default() };
        self.state().images.insert(name.to_string(), image.clone());
        Ok(image)
    }

    async fn list(&self) -> Result<Vec<StoredImage>, ImageError> {
        let stored = |(name, image): (&String, &Image)| StoredImage {
            id: image.id.clone(),
            names: vec![name.clone()],
            size_bytes: image.size_bytes,
            ..StoredImage::default()
        };
        Ok(self.state().images.iter().map(stored).collect())
    }

    async fn remove(&self, id: &str) -> Result<(), ImageError> {
        self.state().images.retain(|_, image| image.id != id);
        Ok(())
    }

    async fn disk(&self) -> Result<DiskUsage, ImageError> {
        Ok(DiskUsage::default())
    }
}

#[async_trait]
impl Runtime for Fake {
    fn version(&self) -> String {
        "fake://1".into()
    }

    fn images(&self) -> Option<&dyn Images> {
        Some(self)
    }

    async fn health(&self) -> Health {
        self.state().health.clone()
    }

    async fn usage(&self, _pod_uid: &str) -> Option<PodUsage> {
        Some(self.state().usage)
    }

    async fn pods(&self) -> Result<Vec<PodIdentity>, RuntimeError> {
        let state = self.state();
        if state.blind {
            return Err(RuntimeError::Refused("no connection".into()));
        }
        Ok(state.sandboxes.values().map(|it| it.pod.clone()).collect())
    }

    async fn prepare(&self, request: &SandboxRequest) -> Result<(), RuntimeError> {
        self.state().prepared += 1;
        if self.state().hangs {
            return std::future::pending().await;
        }
        let mut state = self.state();
        state.ended.remove(&request.pod.uid);
        state.sandboxes.insert(request.pod.uid.clone(), request.clone());
        Ok(())
    }

    async fn sandbox(&self, pod_uid: &str) -> Result<Option<SandboxState>, RuntimeError> {
        let ips = vec!["10.1.2.3".to_string(), "fd00::3".to_string()];
        let state = self.state();
        let is_there = state.sandboxes.contains_key(pod_uid) && !state.ended.contains(pod_uid);
        Ok(is_there.then_some(SandboxState { ips }))
    }

    async fn start(&self, key: &ContainerKey, request: StartRequest) -> Result<(), StartFailure> {
        let mut state = self.state();
        let record = ContainerRecord {
            id: format!("fake://{}-{}", key.name, key.attempt),
            attempt: key.attempt,
            image_id: format!("{}@sha256:0", request.image),
            backoff_seconds: request.backoff_seconds,
            state: ContainerState::Running { started_at: jiff::Timestamp::now() },
        };
        state.requests.push(request);
        let containers = state.containers.entry(key.pod_uid.clone()).or_default();
        containers.entry(key.name.clone()).or_default().push(record);
        Ok(())
    }

    async fn containers(&self, pod_uid: &str) -> Result<BTreeMap<String, Vec<ContainerRecord>>, RuntimeError> {
        let panics = std::mem::take(&mut self.state().panics);
        assert!(!panics, "as the test wants it");
        let state = self.state();
        if state.blind {
            return Err(RuntimeError::Refused("no connection".into()));
        }
        Ok(state.containers.get(pod_uid).cloned().unwrap_or_default())
    }

    async fn stop(&self, key: &ContainerKey, grace: Duration) -> Result<(), RuntimeError> {
        {
            let mut state = self.state();
            if state.stops_failing > 0 {
                state.stops_failing -= 1;
                return Err(RuntimeError::Refused("no connection".into()));
            }
        }
        if self.state().lingers {
            tokio::time::sleep(grace).await;
        }
        self.exit(&key.pod_uid, 0);
        Ok(())
    }

    async fn exec(&self, key: &ContainerKey, _: &[String], _: Duration) -> Result<ExecOutput, RuntimeError> {
        Err(RuntimeError::NotRunning(key.name.clone()))
    }

    async fn end_sandbox(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        let mut state = self.state();
        state.try_to_end()?;
        state.ended.insert(pod_uid.to_string());
        Ok(())
    }

    async fn remove_container(&self, _key: &ContainerKey) -> Result<(), RuntimeError> {
        Ok(())
    }

    async fn remove(&self, pod_uid: &str) -> Result<(), RuntimeError> {
        let mut state = self.state();
        state.try_to_end()?;
        state.sandboxes.remove(pod_uid);
        state.containers.remove(pod_uid);
        Ok(())
    }

    fn notify(&self, changed: UnboundedSender<String>) {
        self.state().changed = Some(changed);
    }
}
