//! What runtimes do that containerd 1.6 does not, and what they do when they are not well, by a runtime that pretends.

#[path = "support/fake.rs"]
mod fake;

use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::time::Duration;

use backstay_cri::{CriConfig, CriRuntime};
use backstay_node::lifecycle::ContainerState as Seen;
use backstay_node::runtime::{ContainerKey, PodIdentity, Runtime as _, SandboxRequest, StartRequest};
use fake::wire::{CgroupDriver, ContainerState, Signal};
use fake::{Fake, Fault, Process};
use tempfile::TempDir;
use tokio::sync::mpsc::unbounded_channel;

struct World {
    dir: TempDir,
    fake: Fake,
    process: Option<Process>,
    runtime: CriRuntime,
}

impl World {
    async fn start() -> Self {
        Self::with(Some(CgroupDriver::Systemd)).await
    }

    async fn with(driver: Option<CgroupDriver>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let fake = Fake::default();
        fake.state().driver = driver;
        let socket = dir.path().join("s");
        let process = Some(fake.serve(&socket));
        let mut config = CriConfig::new(socket, "me".into(), dir.path().join("seccomp"));
        config.cgroup = format!("bstest{}", std::process::id());
        let runtime = CriRuntime::connect(config).await.unwrap();
        Self { dir, fake, process, runtime }
    }

    fn crash(&mut self) {
        self.process = None;
    }

    fn start_again(&mut self) {
        self.process = Some(self.fake.serve(&self.dir.path().join("s")));
    }

    fn pod(&self) -> SandboxRequest {
        let pod = PodIdentity { namespace: "n".into(), name: "p".into(), uid: "u".into() };
        SandboxRequest { pod, log_dir: self.logs(), ..SandboxRequest::default() }
    }

    fn logs(&self) -> PathBuf {
        self.dir.path().join("logs")
    }

    async fn prepared(&self) {
        self.runtime.prepare(&self.pod()).await.unwrap();
        self.fake.calls();
    }

    async fn running(&self, stop_signal: Option<&str>) -> ContainerKey {
        self.prepared().await;
        self.runtime.start(&key(), self.request(stop_signal)).await.unwrap();
        self.fake.calls();
        key()
    }

    fn request(&self, stop_signal: Option<&str>) -> StartRequest {
        let stop_signal = stop_signal.map(str::to_string);
        StartRequest { log: self.logs().join("main/0.log"), stop_signal, ..StartRequest::default() }
    }
}

fn key() -> ContainerKey {
    ContainerKey { pod_uid: "u".into(), name: "main".into(), attempt: 0 }
}

#[tokio::test]
async fn the_runtime_says_who_makes_cgroups() {
    for (driver, parent) in [
        (Some(CgroupDriver::Systemd), "NAME-besteffort-podu.slice"),
        (Some(CgroupDriver::Cgroupfs), "/NAME/besteffort/podu"),
        (None, "/NAME/besteffort/podu"),
    ] {
        let world = World::with(driver).await;
        world.runtime.prepare(&world.pod()).await.unwrap();
        let config = world.fake.state().sandboxes["u-0"].0.clone();
        let expected = parent.replace("NAME", &format!("bstest{}", std::process::id()));
        assert_eq!(config.linux.unwrap().cgroup_parent, expected);
        world.runtime.remove("u").await.unwrap();
    }
}

#[tokio::test]
async fn its_version_and_its_addresses() {
    let world = World::start().await;
    assert_eq!(world.runtime.version(), "pretended://9.0.1");
    world.prepared().await;
    assert_eq!(world.runtime.sandbox("u").await.unwrap().unwrap().ips, ["10.0.0.5", "fd00::5"]);
}

#[tokio::test]
async fn stop_signals_are_sent_by_whom_it_concerns() {
    // Whether the runtime knows them, whether it tells of processes: what it is asked, and what the process gets.
    for (knows_signals, tells, call, signal) in [
        (true, true, "StopContainer u-0-main-0 30", None),
        (false, true, "StopContainer u-0-main-0 0", Some(12)),
        (false, false, "StopContainer u-0-main-0 30", None),
    ] {
        let world = World::start().await;
        let mut process = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        world.fake.state().knows_signals = knows_signals;
        world.fake.state().process = tells.then(|| process.id());
        let key = world.running(Some("SIGUSR2")).await;
        let asked = world.fake.state().containers["u-0-main-0"].config.stop_signal;
        assert_eq!(asked, i32::from(Signal::Sigusr2));
        world.runtime.stop(&key, Duration::from_millis(29_500)).await.unwrap();
        assert_eq!(world.fake.calls(), [call], "{knows_signals} {tells}");
        let _ = process.kill();
        let got = process.wait().unwrap().signal();
        assert_eq!(got, signal.or(Some(9)), "{knows_signals} {tells}");
    }
}

#[tokio::test]
async fn one_that_is_not_ready_is_asked_again_later() {
    let mut world = World::start().await;
    for method in ["Status", "RunPodSandbox", "ListContainers"] {
        world.fake.state().faults.insert(method, Fault::Unavailable);
    }
    let down = world.runtime.health().await.runtime.unwrap_err();
    assert_eq!(down, "container runtime is down: the runtime is starting");
    let refused = world.runtime.prepare(&world.pod()).await.unwrap_err().to_string();
    assert_eq!(refused, "rpc error: code = Unavailable desc = the runtime is starting");
    assert!(world.runtime.containers("u").await.is_err());
    world.fake.state().faults.clear();
    assert_eq!(world.runtime.health().await.runtime, Ok(()));
    let key = world.running(None).await;

    // Gone altogether, and back: nothing has to be done anew.
    world.crash();
    assert!(world.runtime.health().await.runtime.is_err());
    assert!(world.runtime.containers("u").await.is_err(), "not: there are none");
    world.start_again();
    assert_eq!(world.runtime.health().await.runtime, Ok(()));
    assert!(world.runtime.containers("u").await.unwrap()[&key.name][0].is_running());
}

#[tokio::test]
async fn settings_are_asked_for_once_in_each_connection() {
    let mut world = World::start().await;
    let pinned = async |world: &World| {
        let list = world.runtime.images().unwrap().list().await.map_err(|error| error.message)?;
        Ok::<_, String>(
            list.iter().filter(|image| image.pinned).map(|image| image.names[0].clone()).collect::<Vec<_>>(),
        )
    };
    world.fake.state().sandbox_image = "pause:1".into();
    for _ in 0..3 {
        assert_eq!(pinned(&world).await, Ok(vec!["pause:1".to_string()]));
    }
    assert_eq!(world.fake.calls(), ["Status verbose"]);

    // It comes back with other settings, which it does not tell at first.
    world.crash();
    assert!(pinned(&world).await.is_err());
    world.fake.state().sandbox_image = "pause:2".into();
    world.fake.state().faults.insert("Status", Fault::Unavailable);
    world.start_again();
    assert!(pinned(&world).await.is_err(), "not: no image is in use");
    world.fake.state().faults.clear();
    for _ in 0..3 {
        assert_eq!(pinned(&world).await, Ok(vec!["pause:2".to_string()]));
    }
    assert_eq!(world.fake.calls(), ["Status verbose", "Status verbose"]);
}

/// The sandbox was made, and the answer lost: it is the pod's, and there is no second one.
#[tokio::test]
async fn a_runtime_that_dies_in_mid_call() {
    let mut world = World::start().await;
    world.fake.state().faults.insert("RunPodSandbox", Fault::Mute);
    let (runtime, pod) = (world.runtime.clone(), world.pod());
    let call = tokio::spawn(async move { runtime.prepare(&pod).await });
    while world.fake.state().sandboxes.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.crash();
    assert!(call.await.unwrap().is_err());
    world.fake.state().faults.clear();
    world.start_again();
    world.fake.calls();
    world.runtime.prepare(&world.pod()).await.unwrap();
    assert_eq!(world.fake.calls(), [] as [&str; 0]);
    assert_eq!(world.fake.state().sandboxes.len(), 1);

    // The same with a container: what was made of it goes before it is made again.
    world.fake.state().faults.insert("CreateContainer", Fault::Mute);
    let (runtime, request) = (world.runtime.clone(), world.request(None));
    let call = tokio::spawn(async move { runtime.start(&key(), request).await });
    while world.fake.state().containers.is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    world.crash();
    assert_eq!(call.await.unwrap().unwrap_err().reason, "CreateContainerError");
    world.fake.state().faults.clear();
    world.start_again();
    world.fake.calls();
    assert_eq!(world.runtime.containers("u").await.unwrap().len(), 0, "it has not begun yet");
    world.runtime.start(&key(), world.request(None)).await.unwrap();
    let expected = ["StopContainer X 0", "RemoveContainer X", "CreateContainer X", "StartContainer X"];
    assert_eq!(world.fake.calls(), expected.map(|call| call.replace('X', "u-0-main-0")));
}

#[tokio::test]
async fn a_runtime_that_hangs_is_given_up() {
    let world = World::start().await;
    world.prepared().await;
    world.fake.state().faults.insert("ListPodSandbox", Fault::Hang);
    // Nobody waits two minutes here.
    tokio::time::pause();
    let error = world.runtime.sandbox("u").await.unwrap_err().to_string();
    assert_eq!(error, "rpc error: code = DeadlineExceeded desc = no answer within 120 s");
}

#[tokio::test]
async fn what_a_runtime_has_lost_or_leaked_is_ended() {
    let world = World::start().await;
    let key = world.running(None).await;
    world.fake.state().containers.get_mut("u-0-main-0").unwrap().state = ContainerState::ContainerUnknown;
    let seen = world.runtime.containers("u").await.unwrap()[&key.name][0].clone();
    assert!(matches!(seen.state, Seen::Exited(_)), "{seen:?}");
    assert_eq!(world.fake.calls(), ["StopContainer u-0-main-0 0"]);
    // This runtime forgets sandboxes before their containers.
    world.runtime.remove("u").await.unwrap();
    assert_eq!(world.fake.state().containers.len(), 0);
    assert_eq!(world.runtime.pods().await.unwrap(), []);
    world.runtime.remove("u").await.unwrap();

    // Another sandbox after the first is lost: its containers are kept, for what they have said.
    let key = world.running(None).await;
    world.fake.state().sandboxes.get_mut("u-0").unwrap().1 = fake::wire::PodSandboxState::SandboxNotready;
    assert_eq!(world.runtime.sandbox("u").await.unwrap(), None);
    world.runtime.prepare(&world.pod()).await.unwrap();
    assert_eq!(world.fake.calls(), ["StopPodSandbox u-0", "RunPodSandbox u-1"]);
    assert!(world.runtime.containers("u").await.unwrap().contains_key(&key.name));
}

/// Its network goes back; what it was and what it said stays.
#[tokio::test]
async fn the_sandbox_of_a_pod_that_has_ended_is_stopped() {
    let world = World::start().await;
    let key = world.running(None).await;
    world.fake.state().containers.get_mut("u-0-main-0").unwrap().state = ContainerState::ContainerExited;
    world.fake.state().faults.insert("StopPodSandbox", Fault::Unavailable);
    assert!(world.runtime.end_sandbox("u").await.is_err());
    world.fake.state().faults.clear();
    world.fake.calls();
    for _ in 0..2 {
        world.runtime.end_sandbox("u").await.unwrap();
        assert_eq!(world.fake.calls(), ["StopPodSandbox u-0"]);
        assert_eq!(world.runtime.sandbox("u").await.unwrap(), None);
        assert!(world.runtime.containers("u").await.unwrap().contains_key(&key.name));
    }
    assert_eq!(world.runtime.pods().await.unwrap().len(), 1);
    world.runtime.remove("u").await.unwrap();
    assert_eq!(world.runtime.pods().await.unwrap(), []);
}

#[tokio::test]
async fn ends_are_told_although_the_runtime_was_away() {
    let mut world = World::start().await;
    world.running(None).await;
    let (sender, mut changed) = unbounded_channel();
    world.runtime.notify(sender);
    world.crash();
    world.fake.state().containers.get_mut("u-0-main-0").unwrap().state = ContainerState::ContainerExited;
    world.start_again();
    let told = tokio::time::timeout(Duration::from_secs(60), changed.recv()).await.expect("the end is told");
    assert_eq!(told.as_deref(), Some("u"));
}
