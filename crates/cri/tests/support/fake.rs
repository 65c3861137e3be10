//! A runtime that only pretends: it stands for what containerd 1.6 lacks (CRI-O and newer ones have it), and for faults.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

// Its description is `proto/runtime.proto`.
#[allow(clippy::all, clippy::pedantic, dead_code)]
#[rustfmt::skip]
#[path = "../generated/runtime.rs"]
pub mod wire;

use wire::image_service_server::{ImageService, ImageServiceServer};
use wire::runtime_service_server::{RuntimeService, RuntimeServiceServer};
use wire::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Unavailable,
    /// Nothing is done, and no answer comes.
    Hang,
    /// All is done, and no answer comes.
    Mute,
}

#[derive(Default)]
pub struct State {
    /// `METHOD ID`, in order; looking is not told.
    pub calls: Vec<String>,
    pub faults: BTreeMap<&'static str, Fault>,
    /// `None`: older than the question.
    pub driver: Option<CgroupDriver>,
    /// Whether it knows of stop signals.
    pub knows_signals: bool,
    /// The image that its settings name for sandboxes, the only one that it has.
    pub sandbox_image: String,
    /// What it says is every container's process.
    pub process: Option<u32>,
    pub sandboxes: BTreeMap<String, (PodSandboxConfig, PodSandboxState)>,
    pub containers: BTreeMap<String, Made>,
}

#[derive(Clone)]
pub struct Made {
    pub sandbox: String,
    pub config: ContainerConfig,
    pub state: ContainerState,
}

/// What it holds outlives its process, as with a real one.
#[derive(Clone, Default)]
pub struct Fake(Arc<Mutex<State>>);

/// A process of its own in all but name: ends at once, connections and all, when dropped.
pub struct Process(Option<tokio::runtime::Runtime>);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(tokio::runtime::Runtime::shutdown_background);
    }
}

impl Fake {
    pub fn serve(&self, socket: &Path) -> Process {
        let _ = std::fs::remove_file(socket);
        let socket: PathBuf = socket.into();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (pods, images) = (RuntimeServiceServer::new(self.clone()), ImageServiceServer::new(self.clone()));
        let (ready, is_ready) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            let listener = UnixListener::bind(socket).unwrap();
            ready.send(()).unwrap();
            Server::builder()
                .add_service(pods)
                .add_service(images)
                .serve_with_incoming(UnixListenerStream::new(listener))
                .await
                .unwrap();
        });
        is_ready.recv().unwrap();
        Process(Some(runtime))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// What has been called since the last time.
    pub fn calls(&self) -> Vec<String> {
        std::mem::take(&mut self.state().calls)
    }

    async fn enter(&self, method: &'static str, id: &str) -> Result<(), Status> {
        let fault = {
            let mut state = self.state();
            if !id.is_empty() {
                state.calls.push(format!("{method} {id}"));
            }
            state.faults.get(method).copied()
        };
        match fault {
            Some(Fault::Unavailable) => Err(Status::unavailable("the runtime is starting")),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Mute) | None => Ok(()),
        }
    }

    async fn leave<T>(&self, method: &'static str, answer: T) -> Result<Response<T>, Status> {
        let mute = self.state().faults.get(method) == Some(&Fault::Mute);
        if mute { std::future::pending().await } else { Ok(Response::new(answer)) }
    }

    fn set(&self, container: &str, state: ContainerState) -> Result<(), Status> {
        match self.state().containers.get_mut(container) {
            Some(made) => made.state = state,
            None => return Err(Status::not_found(format!("container {container}"))),
        }
        Ok(())
    }
}

fn matches(
    labels: &std::collections::HashMap<String, String>,
    wanted: &std::collections::HashMap<String, String>,
) -> bool {
    wanted.iter().all(|(name, value)| labels.get(name) == Some(value))
}

#[tonic::async_trait]
impl RuntimeService for Fake {
    async fn version(&self, _: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        self.enter("Version", "").await?;
        let answer = VersionResponse { runtime_name: "pretended".into(), runtime_version: "v9.0.1".into() };
        self.leave("Version", answer).await
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        self.enter("Status", if request.into_inner().verbose { "verbose" } else { "" }).await?;
        let condition =
            |kind: &str| RuntimeCondition { r#type: kind.into(), status: true, ..RuntimeCondition::default() };
        let conditions = vec![condition("RuntimeReady"), condition("NetworkReady")];
        let settings = format!("{{\"sandboxImage\":\"{}\"}}", self.state().sandbox_image);
        let info = [("config".to_string(), settings)].into();
        let answer = StatusResponse { status: Some(RuntimeStatus { conditions }), info };
        self.leave("Status", answer).await
    }

    async fn runtime_config(
        &self,
        _: Request<RuntimeConfigRequest>,
    ) -> Result<Response<RuntimeConfigResponse>, Status> {
        self.enter("RuntimeConfig", "").await?;
        let driver = self.state().driver.ok_or_else(|| Status::unimplemented("unknown method RuntimeConfig"))?;
        let linux = Some(LinuxRuntimeConfiguration { cgroup_driver: driver.into() });
        self.leave("RuntimeConfig", RuntimeConfigResponse { linux }).await
    }

    async fn run_pod_sandbox(
        &self,
        request: Request<RunPodSandboxRequest>,
    ) -> Result<Response<RunPodSandboxResponse>, Status> {
        let config = request.into_inner().config.unwrap_or_default();
        let metadata = config.metadata.clone().unwrap_or_default();
        let id = format!("{}-{}", metadata.uid, metadata.attempt);
        self.enter("RunPodSandbox", &id).await?;
        self.state().sandboxes.insert(id.clone(), (config, PodSandboxState::SandboxReady));
        self.leave("RunPodSandbox", RunPodSandboxResponse { pod_sandbox_id: id }).await
    }

    async fn stop_pod_sandbox(
        &self,
        request: Request<StopPodSandboxRequest>,
    ) -> Result<Response<StopPodSandboxResponse>, Status> {
        let id = request.into_inner().pod_sandbox_id;
        self.enter("StopPodSandbox", &id).await?;
        if let Some((_, state)) = self.state().sandboxes.get_mut(&id) {
            *state = PodSandboxState::SandboxNotready;
        }
        self.leave("StopPodSandbox", StopPodSandboxResponse {}).await
    }

    async fn remove_pod_sandbox(
        &self,
        request: Request<RemovePodSandboxRequest>,
    ) -> Result<Response<RemovePodSandboxResponse>, Status> {
        let id = request.into_inner().pod_sandbox_id;
        self.enter("RemovePodSandbox", &id).await?;
        // It forgets the sandbox, and leaks what was in it.
        self.state().sandboxes.remove(&id);
        self.leave("RemovePodSandbox", RemovePodSandboxResponse {}).await
    }

    async fn pod_sandbox_status(
        &self,
        request: Request<PodSandboxStatusRequest>,
    ) -> Result<Response<PodSandboxStatusResponse>, Status> {
        let id = request.into_inner().pod_sandbox_id;
        self.enter("PodSandboxStatus", "").await?;
        let state = self.state().sandboxes.get(&id).map(|(_, state)| *state);
        let state = state.ok_or_else(|| Status::not_found(id.clone()))?;
        let additional_ips = vec![PodIp { ip: "fd00::5".into() }];
        let network = Some(PodSandboxNetworkStatus { ip: "10.0.0.5".into(), additional_ips });
        let status = PodSandboxStatus { id, state: state.into(), network, ..PodSandboxStatus::default() };
        let answer = PodSandboxStatusResponse { status: Some(status), ..PodSandboxStatusResponse::default() };
        self.leave("PodSandboxStatus", answer).await
    }

    async fn list_pod_sandbox(
        &self,
        request: Request<ListPodSandboxRequest>,
    ) -> Result<Response<ListPodSandboxResponse>, Status> {
        self.enter("ListPodSandbox", "").await?;
        let wanted = request.into_inner().filter.unwrap_or_default().label_selector;
        let one = |(id, (config, state)): (&String, &(PodSandboxConfig, PodSandboxState))| PodSandbox {
            id: id.clone(),
            metadata: config.metadata.clone(),
            state: (*state).into(),
            labels: config.labels.clone(),
            annotations: config.annotations.clone(),
            ..PodSandbox::default()
        };
        let items = self.state().sandboxes.iter().map(one).filter(|it| matches(&it.labels, &wanted)).collect();
        self.leave("ListPodSandbox", ListPodSandboxResponse { items }).await
    }

    async fn create_container(
        &self,
        request: Request<CreateContainerRequest>,
    ) -> Result<Response<CreateContainerResponse>, Status> {
        let CreateContainerRequest { pod_sandbox_id: sandbox, config, .. } = request.into_inner();
        let config = config.unwrap_or_default();
        let metadata = config.metadata.clone().unwrap_or_default();
        let id = format!("{sandbox}-{}-{}", metadata.name, metadata.attempt);
        self.enter("CreateContainer", &id).await?;
        let made = Made { sandbox, config, state: ContainerState::ContainerCreated };
        self.state().containers.insert(id.clone(), made);
        self.leave("CreateContainer", CreateContainerResponse { container_id: id }).await
    }

    async fn start_container(
        &self,
        request: Request<StartContainerRequest>,
    ) -> Result<Response<StartContainerResponse>, Status> {
        let id = request.into_inner().container_id;
        self.enter("StartContainer", &id).await?;
        self.set(&id, ContainerState::ContainerRunning)?;
        self.leave("StartContainer", StartContainerResponse {}).await
    }

    async fn stop_container(
        &self,
        request: Request<StopContainerRequest>,
    ) -> Result<Response<StopContainerResponse>, Status> {
        let StopContainerRequest { container_id: id, timeout } = request.into_inner();
        self.enter("StopContainer", &format!("{id} {timeout}")).await?;
        self.set(&id, ContainerState::ContainerExited)?;
        self.leave("StopContainer", StopContainerResponse {}).await
    }

    async fn remove_container(
        &self,
        request: Request<RemoveContainerRequest>,
    ) -> Result<Response<RemoveContainerResponse>, Status> {
        let id = request.into_inner().container_id;
        self.enter("RemoveContainer", &id).await?;
        self.state().containers.remove(&id);
        self.leave("RemoveContainer", RemoveContainerResponse {}).await
    }

    async fn list_containers(
        &self,
        request: Request<ListContainersRequest>,
    ) -> Result<Response<ListContainersResponse>, Status> {
        self.enter("ListContainers", "").await?;
        let wanted = request.into_inner().filter.unwrap_or_default().label_selector;
        let one = |(id, made): (&String, &Made)| Container {
            id: id.clone(),
            pod_sandbox_id: made.sandbox.clone(),
            metadata: made.config.metadata.clone(),
            state: made.state.into(),
            labels: made.config.labels.clone(),
            annotations: made.config.annotations.clone(),
            ..Container::default()
        };
        let containers = self.state().containers.iter().map(one).filter(|it| matches(&it.labels, &wanted)).collect();
        self.leave("ListContainers", ListContainersResponse { containers }).await
    }

    async fn container_status(
        &self,
        request: Request<ContainerStatusRequest>,
    ) -> Result<Response<ContainerStatusResponse>, Status> {
        let id = request.into_inner().container_id;
        self.enter("ContainerStatus", "").await?;
        let (made, knows_signals, process) = {
            let state = self.state();
            (state.containers.get(&id).cloned(), state.knows_signals, state.process)
        };
        let made = made.ok_or_else(|| Status::not_found(id.clone()))?;
        let status = ContainerStatus {
            id,
            metadata: made.config.metadata,
            state: made.state.into(),
            annotations: made.config.annotations,
            stop_signal: if knows_signals { made.config.stop_signal } else { 0 },
            ..ContainerStatus::default()
        };
        let info = process.map(|pid| ("info".to_string(), format!("{{\"pid\":{pid}}}")));
        let answer = ContainerStatusResponse { status: Some(status), info: info.into_iter().collect() };
        self.leave("ContainerStatus", answer).await
    }
}

#[tonic::async_trait]
impl ImageService for Fake {
    async fn list_images(&self, _: Request<ListImagesRequest>) -> Result<Response<ListImagesResponse>, Status> {
        self.enter("ListImages", "").await?;
        let name = self.state().sandbox_image.clone();
        let image = Image { id: format!("sha256:{name}"), repo_tags: vec![name], ..Image::default() };
        self.leave("ListImages", ListImagesResponse { images: vec![image] }).await
    }

    async fn image_status(&self, _: Request<ImageStatusRequest>) -> Result<Response<ImageStatusResponse>, Status> {
        Err(Status::unimplemented("ImageStatus"))
    }

    async fn pull_image(&self, _: Request<PullImageRequest>) -> Result<Response<PullImageResponse>, Status> {
        Err(Status::unimplemented("PullImage"))
    }

    async fn remove_image(&self, _: Request<RemoveImageRequest>) -> Result<Response<RemoveImageResponse>, Status> {
        Err(Status::unimplemented("RemoveImage"))
    }

    async fn image_fs_info(&self, _: Request<ImageFsInfoRequest>) -> Result<Response<ImageFsInfoResponse>, Status> {
        Err(Status::unimplemented("ImageFsInfo"))
    }
}
