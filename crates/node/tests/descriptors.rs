//! The process runtime while this process can open no more files, as with a thousand connections of a port-forward: it
//! knows nothing then, and takes nobody for dead. The only test of its program, since all of that shares the limit.

use std::fs::File;
use std::time::Duration;

use backstay_api::Clock;
use backstay_node::process::{KnownProcess, ProcessRuntime, ShimCommand};
use backstay_node::runtime::{ContainerKey, PodIdentity, Runtime, SandboxRequest, StartRequest};
use jiff::Timestamp;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const UID: &str = "u1";
/// More than the test needs, and soon reached.
const FILES_MAX: u64 = 64;

/// When dropped, whatever the test has come to.
struct Killed(KnownProcess);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill();
    }
}

#[tokio::test]
async fn who_cannot_look_takes_nobody_for_dead() {
    let limit = Rlimit { current: Some(FILES_MAX), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let shim = ShimCommand(vec![env!("CARGO_BIN_EXE_node-shim").into()]);
    let runtime = ProcessRuntime::new(dir.path().join("pods"), shim, Clock::new(Timestamp::now)).unwrap();
    let pod = PodIdentity { namespace: "default".into(), name: "p".into(), uid: UID.into() };
    runtime.prepare(&SandboxRequest { pod, ..SandboxRequest::default() }).await.unwrap();
    let key = ContainerKey { pod_uid: UID.into(), name: "main".into(), attempt: 0 };
    let command = ["/bin/sh", "-c", "sleep 1000"].map(String::from).to_vec();
    runtime.start(&key, StartRequest { command, ..StartRequest::default() }).await.unwrap();
    let _killed = Killed(runtime.main_process(&key).unwrap());
    let runs = async || runtime.containers(UID).await.map(|all| all.get("main").is_some_and(|it| it[0].is_running()));
    assert!(runs().await.unwrap());

    // However many of them are left: with each, it gets a little further.
    let mut held: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!held.is_empty());
    for left in 0..4 {
        assert!(runs().await.unwrap_or(true), "{left} left");
        if left == 0 {
            assert!(runtime.stop(&key, Duration::ZERO).await.is_err(), "it still runs");
            assert!(runtime.remove(UID).await.is_err(), "it still runs");
        }
        held.pop();
    }
    drop(held);
    assert!(runs().await.unwrap());
    runtime.remove(UID).await.unwrap();
}
