//! The process runtime on a disk that gets full: what runs goes on, nothing half-written is believed, and all is well
//! again once there is room.

#[path = "../../backstay/tests/support/needs.rs"]
mod needs;

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backstay_api::Clock;
use backstay_node::lifecycle::ContainerState;
use backstay_node::lifecycle::observed::Exit;
use backstay_node::process::{ProcessRuntime, ShimCommand, layout};
use backstay_node::runtime::{ContainerKey, PodIdentity, Runtime, SandboxRequest, StartFailure, StartRequest};
use jiff::Timestamp;
use rustix::mount::{MountFlags, UnmountFlags};
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

const UID: &str = "u1";

/// A machine with a disk of its own, and a small one at that.
struct Machine {
    dir: TempDir,
    runtime: ProcessRuntime,
    changed: UnboundedReceiver<String>,
}

impl Machine {
    /// `None`, and a word about it, where nothing can be mounted.
    async fn new(test: &str) -> Option<Self> {
        if !needs::are_met(test, true, &[]) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", MountFlags::NOSUID, c"size=1m").unwrap();
        let shim = ShimCommand(vec![env!("CARGO_BIN_EXE_node-shim").into()]);
        let runtime = ProcessRuntime::new(dir.path().join("pods"), shim, Clock::new(Timestamp::now)).unwrap();
        let (sender, changed) = unbounded_channel();
        runtime.notify(sender);
        let machine = Self { dir, runtime, changed };
        machine.runtime.prepare(&sandbox(UID)).await.unwrap();
        Some(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Nothing more fits, not a byte.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.path("filling")).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
        while file.write_all(&[0]).is_ok() {}
    }

    /// After [`Self::fill`].
    fn make_room(&self, bytes: u64) {
        let file = File::options().write(true).open(self.path("filling")).unwrap();
        let filling = file.metadata().unwrap().len();
        file.set_len(filling.saturating_sub(bytes)).unwrap();
    }

    /// Returns once there is room, which may be a moment after the file is gone.
    fn free(&self) {
        std::fs::remove_file(self.path("filling")).unwrap();
        while rustix::fs::statvfs(self.dir.path()).unwrap().f_bavail < 64 {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    async fn start(&self, attempt: u32, script: &str) -> Result<ContainerKey, StartFailure> {
        let key = ContainerKey { pod_uid: UID.into(), name: "main".into(), attempt };
        let env = vec![("PATH".to_string(), "/usr/bin:/bin".to_string())];
        // Its own files are on another disk.
        let command = ["sh", "-c", script].map(String::from).to_vec();
        self.runtime.start(&key, StartRequest { command, env, ..StartRequest::default() }).await?;
        Ok(key)
    }

    async fn state(&self, key: &ContainerKey) -> Option<ContainerState> {
        let mut containers = self.runtime.containers(UID).await.unwrap();
        let records = containers.remove("main").unwrap_or_default();
        records.into_iter().find(|record| record.attempt == key.attempt).map(|record| record.state)
    }

    async fn exit(&mut self, key: &ContainerKey) -> Exit {
        loop {
            if let Some(ContainerState::Exited(exit)) = self.state(key).await {
                return exit;
            }
            let told = tokio::time::timeout(Duration::from_secs(20), self.changed.recv()).await;
            assert_eq!(told.expect("nobody told of the end").as_deref(), Some(UID));
        }
    }

    fn log(&self, key: &ContainerKey) -> String {
        std::fs::read_to_string(self.runtime.layout().log(key)).unwrap()
    }

    async fn log_with(&self, key: &ContainerKey, text: &str) -> String {
        for _ in 0..2000 {
            if self.log(key).contains(text) {
                return self.log(key);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{text:?} is not logged: {}", self.log(key))
    }

    async fn end(self) {
        if self.path("filling").exists() {
            self.free();
        }
        self.runtime.remove(UID).await.unwrap();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // What still runs after a failure dies with its shim.
        for attempt in layout::names(&self.runtime.layout().attempts(UID, "main")) {
            let file = self.runtime.layout().attempts(UID, "main").join(attempt).join("state.json");
            if let Some(state) = layout::read::<layout::ShimState>(&file)
                && is_alive(&state)
                && let Some(pid) = rustix::process::Pid::from_raw(state.shim_pid)
            {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        let _ = rustix::mount::unmount(self.dir.path(), UnmountFlags::DETACH);
    }
}

fn is_alive(state: &layout::ShimState) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", state.shim_pid)).unwrap_or_default();
    stat.rsplit(')').next().is_some_and(|rest| rest.split_whitespace().nth(19) == Some(&state.shim_start.to_string()))
}

fn sandbox(uid: &str) -> SandboxRequest {
    let pod = PodIdentity { namespace: "default".into(), name: "p".into(), uid: uid.into() };
    SandboxRequest { pod, ..SandboxRequest::default() }
}

fn wait_for_file(path: &Path) -> String {
    format!("while [ ! -e {} ]; do sleep 0.01; done", path.display())
}

#[tokio::test]
async fn what_runs_goes_on_and_its_end_is_known() {
    let Some(mut machine) = Machine::new("what_runs_goes_on_and_its_end_is_known").await else { return };
    let go = tempfile::tempdir().unwrap();
    let said = go.path().join("said");
    let script = format!(
        "echo before; {}; for n in 1 2 3 4 5; do echo lost $n $(head -c 3000 /dev/zero | tr '\\0' x); done; touch {}; {}; echo after; {}; exit 9",
        wait_for_file(&go.path().join("full")),
        said.display(),
        wait_for_file(&go.path().join("free")),
        wait_for_file(&go.path().join("end")),
    );
    let key = machine.start(0, &script).await.unwrap();
    machine.log_with(&key, "before\n").await;
    machine.fill();
    std::fs::write(go.path().join("full"), "").unwrap();
    // Whoever cannot be logged is not held up.
    while !said.exists() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(matches!(machine.state(&key).await, Some(ContainerState::Running { .. })));
    machine.free();
    std::fs::write(go.path().join("free"), "").unwrap();
    let log = machine.log_with(&key, "after\n").await;
    for line in log.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        assert!(words.len() == 4 && words[0].parse::<Timestamp>().is_ok() && words[2] == "F", "{line:?} in {log}");
        let whole = (1..=5).map(|n| format!("lost {n} {}", "x".repeat(3000)));
        let whole: Vec<String> = whole.chain(["before".into(), "after".into()]).collect();
        assert!(whole.iter().any(|it| it == words[3]), "{line:?} in {log}");
    }
    machine.fill();
    std::fs::write(go.path().join("end"), "").unwrap();
    let exit = machine.exit(&key).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (9, "Error"), "{exit:?}");
    machine.end().await;
}

#[tokio::test]
async fn what_cannot_be_written_down_is_not_started() {
    let Some(mut machine) = Machine::new("what_cannot_be_written_down_is_not_started").await else { return };
    let proof = tempfile::tempdir().unwrap();
    // With more and more room, the disk is full at one step after another.
    let mut failures = 0;
    for room in 0.. {
        machine.fill();
        machine.make_room(room * 4096);
        let file = proof.path().join(room.to_string());
        let ran = format!("echo ran; touch {}; exit 3", file.display());
        match machine.start(room as u32, &ran).await {
            Err(error) => {
                failures += 1;
                assert_eq!(error.reason, "CreateContainerError", "{error:?}");
                assert!(error.message.contains("No space left on device"), "{room} pages: {error:?}");
                let key = ContainerKey { pod_uid: UID.into(), name: "main".into(), attempt: room as u32 };
                assert_eq!(machine.state(&key).await, None, "{room} pages: nothing is left of it");
                // The same attempt is possible later.
                machine.free();
                let key = machine.start(room as u32, "exit 4").await.unwrap();
                assert_eq!(machine.exit(&key).await.exit_code, 4);
            }
            Ok(key) => {
                let exit = machine.exit(&key).await;
                assert_eq!((exit.exit_code, exit.reason.as_str()), (3, "Error"), "{room} pages: {exit:?}");
                assert!(file.exists());
                break;
            }
        }
    }
    assert!(failures > 2, "it was full at {failures} steps only");
    machine.fill();
    let refused = machine.runtime.prepare(&sandbox("u2")).await.unwrap_err();
    assert!(chain(&refused).contains("No space left on device"), "{refused}");
    machine.end().await;
}

fn chain(error: &dyn std::error::Error) -> String {
    format!("{error}: {}", error.source().map(ToString::to_string).unwrap_or_default())
}
