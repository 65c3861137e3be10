//! The process runtime with real processes: through its port only.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use backstay_api::Clock;
use backstay_node::lifecycle::observed::Exit;
use backstay_node::lifecycle::{ContainerRecord, ContainerState};
use backstay_node::process::{ProcessRuntime, ShimCommand};
use backstay_node::runtime::{ContainerKey, Limits, Mount, PodIdentity, Runtime, SandboxRequest, StartRequest};
use jiff::Timestamp;
use tempfile::TempDir;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

struct Machine {
    dir: Arc<TempDir>,
    runtime: Arc<ProcessRuntime>,
    changed: UnboundedReceiver<String>,
}

impl Machine {
    fn new() -> Self {
        Self::over(Arc::new(tempfile::tempdir().unwrap()))
    }

    /// As after a restart of the agent: a new runtime over what the old one has left on disk.
    fn restarted(self) -> Self {
        Self::over(self.dir.clone())
    }

    fn over(dir: Arc<TempDir>) -> Self {
        let shim = ShimCommand(vec![env!("CARGO_BIN_EXE_node-shim").into()]);
        let runtime = ProcessRuntime::new(dir.path().join("pods"), shim, Clock::new(Timestamp::now)).unwrap();
        let (sender, changed) = unbounded_channel();
        runtime.notify(sender);
        Self { dir, runtime: Arc::new(runtime), changed }
    }

    async fn start(&self, attempt: u32, script: &str) -> ContainerKey {
        self.start_with(attempt, script, |_| {}).await
    }

    async fn start_with(&self, attempt: u32, script: &str, change: impl FnOnce(&mut StartRequest)) -> ContainerKey {
        let pod = PodIdentity { namespace: "default".into(), name: "p".into(), uid: "u1".into() };
        self.runtime.prepare(&SandboxRequest { pod, ..SandboxRequest::default() }).await.unwrap();
        let key = ContainerKey { pod_uid: "u1".into(), name: "main".into(), attempt };
        let env = vec![("PATH".to_string(), "/usr/bin:/bin".to_string()), ("GREETING".into(), "hello".into())];
        let command = ["sh", "-c", script].map(String::from).to_vec();
        let mut request = StartRequest { command, env, ..StartRequest::default() };
        change(&mut request);
        self.runtime.start(&key, request).await.unwrap();
        key
    }

    async fn record(&self, key: &ContainerKey) -> ContainerRecord {
        let containers = self.runtime.containers("u1").await.unwrap();
        containers["main"].iter().find(|record| record.attempt == key.attempt).unwrap().clone()
    }

    async fn exit(&mut self, key: &ContainerKey) -> Exit {
        loop {
            if let ContainerState::Exited(exit) = self.record(key).await.state {
                return exit;
            }
            let told = tokio::time::timeout(Duration::from_secs(20), self.changed.recv()).await;
            assert_eq!(told.expect("nobody told of the end").as_deref(), Some("u1"));
        }
    }

    fn log(&self, key: &ContainerKey) -> String {
        std::fs::read_to_string(self.runtime.layout().log(key)).unwrap()
    }

    fn state(&self, key: &ContainerKey) -> serde_json::Value {
        let file = self.runtime.layout().attempt(key).join("state.json");
        serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Children outlive an agent by design, but not a test.
        if Arc::strong_count(&self.dir) > 1 {
            return;
        }
        let pods = self.runtime.layout().pods.clone();
        let states = std::fs::read_dir(pods.join("u1/containers/main")).into_iter().flatten().flatten();
        let states = states.filter_map(|attempt| std::fs::read(attempt.path().join("state.json")).ok());
        let states = states.filter_map(|state| serde_json::from_slice::<serde_json::Value>(&state).ok());
        let sessions = states.flat_map(|state| ["shim_pid", "pid"].map(|field| state[field].as_i64().unwrap()));
        let sessions: Vec<String> = sessions.map(|pid| pid.to_string()).collect();
        let members = processes().filter(|(_, stat)| {
            let fields: Vec<&str> = stat[stat.rfind(')').unwrap() + 1..].split_whitespace().collect();
            sessions.iter().any(|session| session == fields[3])
        });
        members.for_each(|(pid, _)| kill(pid));
    }
}

/// Every process, with its `/proc/PID/stat`.
fn processes() -> impl Iterator<Item = (i32, String)> {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)))
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

fn is_alive(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: did not come true in 20 s");
}

fn texts(log: &str) -> Vec<String> {
    log.lines().map(|line| line.split_once(' ').unwrap().1.to_string()).collect()
}

fn is_root() -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("SKIPPED: needs root");
    }
    root
}

/// Supervisors that do not get as far as to start anything, each with the directory that it works in. Ended when dropped.
struct Stuck {
    dir: TempDir,
    runtime: ProcessRuntime,
}

impl Stuck {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let script = dir.path().join("shim");
        std::fs::write(&script, "while :; do sleep 0.1; done").unwrap();
        let shim = ShimCommand(["sh".into(), script.into()].to_vec());
        let runtime = ProcessRuntime::new(dir.path().join("pods"), shim, Clock::new(Timestamp::now)).unwrap();
        Self { dir, runtime }
    }

    fn supervisors(&self) -> Vec<i32> {
        let pods = self.dir.path().join("pods").display().to_string();
        let words = |pid: i32| std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let works_here = |pid: i32| String::from_utf8_lossy(&words(pid)).contains(&pods);
        processes().map(|(pid, _)| pid).filter(|pid| is_alive(*pid) && works_here(*pid)).collect()
    }
}

impl Drop for Stuck {
    fn drop(&mut self) {
        self.supervisors().into_iter().for_each(kill);
    }
}

/// The clock runs ahead here as soon as everybody waits.
#[tokio::test(start_paused = true)]
async fn a_supervisor_that_takes_too_long_is_ended() {
    let stuck = Stuck::new();
    let key = ContainerKey { pod_uid: "u1".into(), name: "main".into(), attempt: 0 };
    let request = StartRequest { command: vec!["sh".into()], ..StartRequest::default() };
    let failure = stuck.runtime.start(&key, request).await.unwrap_err();
    assert!(failure.message.contains("within 30 s"), "{failure}");
    for _ in 0..1000 {
        if stuck.supervisors().is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    assert!(stuck.supervisors().is_empty(), "it may not begin later on, beside another one");
    assert!(stuck.runtime.containers("u1").await.unwrap().is_empty());
}

/// The agent was killed while it waited for one, and the next looks before that has begun its container.
#[tokio::test]
async fn a_supervisor_that_nobody_waits_for_is_ended() {
    let stuck = Stuck::new();
    let key = ContainerKey { pod_uid: "u1".into(), name: "main".into(), attempt: 0 };
    let request = StartRequest { command: vec!["sh".into()], ..StartRequest::default() };
    let mut starting = Box::pin(stuck.runtime.start(&key, request));
    let started = tokio::time::timeout(Duration::from_millis(100), &mut starting).await;
    assert!(started.is_err());
    wait_for("a supervisor", || !stuck.supervisors().is_empty()).await;
    drop(starting);
    let shim = ShimCommand(["sh".into(), stuck.dir.path().join("shim").into()].to_vec());
    let next = ProcessRuntime::new(stuck.dir.path().join("pods"), shim, Clock::new(Timestamp::now)).unwrap();
    let containers = next.containers("u1").await.unwrap();
    assert!(!containers["main"][0].is_running());
    wait_for("its end", || stuck.supervisors().is_empty()).await;
}

#[tokio::test]
async fn exit_codes_and_logs() {
    let mut machine = Machine::new();
    for (attempt, (script, code, reason)) in [
        ("echo $GREETING; echo oops >&2; printf end", 0, "Completed"),
        ("exit 7", 7, "Error"),
        ("kill -9 $$", 137, "Error"),
        ("kill -TERM $$", 143, "Error"),
    ]
    .into_iter()
    .enumerate()
    {
        let key = machine.start(attempt as u32, script).await;
        let exit = machine.exit(&key).await;
        assert_eq!((exit.exit_code, exit.reason.as_str()), (code, reason), "{script}");
        assert!(exit.finished_at >= exit.started_at);
    }
    let first = ContainerKey { pod_uid: "u1".into(), name: "main".into(), attempt: 0 };
    let mut lines = texts(&machine.log(&first));
    lines.sort();
    assert_eq!(lines, ["stderr F oops", "stdout F end", "stdout F hello"]);
}

#[tokio::test]
async fn last_words_come_from_the_log() {
    let mut machine = Machine::new();
    for (attempt, (script, words)) in [("echo a; echo b; exit 1", "a\nb\n"), ("echo well", "")].into_iter().enumerate()
    {
        let key = machine.start_with(attempt as u32, script, |request| request.message_from_log = true).await;
        assert_eq!(machine.exit(&key).await.message, words);
    }
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let mut machine = Machine::new();
    for (attempt, (program, words)) in
        [("no-such-program", "executable file not found in $PATH"), ("/no/such", "no such file")]
            .into_iter()
            .enumerate()
    {
        let key = machine.start_with(attempt as u32, "", |request| request.command = vec![program.into()]).await;
        let exit = machine.exit(&key).await;
        assert_eq!((exit.exit_code, exit.reason.as_str()), (128, "StartError"));
        assert!(exit.message.contains(words), "{}", exit.message);
    }
    let request = StartRequest { image: "nginx:1".into(), ..StartRequest::default() };
    let key = ContainerKey { pod_uid: "u1".into(), name: "main".into(), attempt: 9 };
    let failure = machine.runtime.start(&key, request).await.unwrap_err();
    assert_eq!(failure.reason, "CreateContainerConfigError");
    assert!(failure.message.contains("nginx:1") && failure.message.contains("set the container's command"));
}

/// As `kubectl logs` does, whenever it likes.
#[tokio::test]
async fn who_looks_meanwhile_does_not_spoil_a_start() {
    let mut machine = Machine::new();
    let runtime = machine.runtime.clone();
    let looking = tokio::spawn(async move {
        loop {
            runtime.containers("u1").await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    for attempt in 0..20 {
        let key = machine.start(attempt, "exit 7").await;
        let exit = machine.exit(&key).await;
        assert_eq!((exit.exit_code, exit.reason.as_str()), (7, "Error"), "{exit:?}");
    }
    looking.abort();
}

#[tokio::test]
async fn a_stop_lets_the_container_say_goodbye() {
    let mut machine = Machine::new();
    let key = machine.start(0, "trap 'echo bye; exit 9' TERM; echo up; while :; do sleep 0.01; done").await;
    let log = machine.runtime.layout().log(&key);
    wait_for("the container is up", || std::fs::read_to_string(&log).is_ok_and(|log| log.contains("up"))).await;
    machine.runtime.stop(&key, Duration::from_secs(20)).await.unwrap();
    assert_eq!(machine.exit(&key).await.exit_code, 9);
    assert!(machine.log(&key).contains("stdout F bye"));
}

#[tokio::test]
async fn a_stop_that_is_not_heeded_kills_the_whole_tree() {
    let mut machine = Machine::new();
    // One child in the same session, one that has run away into a session of its own.
    let script = "trap '' TERM; sleep 1000 & echo $!; setsid sh -c 'echo $$; sleep 1000' & sleep 1000";
    let key = machine.start(0, script).await;
    let log = machine.runtime.layout().log(&key);
    wait_for("both children speak", || std::fs::read_to_string(&log).is_ok_and(|log| log.lines().count() == 2)).await;
    let children: Vec<i32> =
        machine.log(&key).lines().map(|line| line.rsplit(' ').next().unwrap().parse().unwrap()).collect();
    assert!(children.iter().all(|pid| is_alive(*pid)));
    machine.runtime.stop(&key, Duration::from_millis(50)).await.unwrap();
    assert_eq!(machine.exit(&key).await.exit_code, 137);
    assert!(!children.iter().any(|pid| is_alive(*pid)), "nothing of the container is left");
}

#[tokio::test]
async fn containers_outlive_the_agent() {
    let machine = Machine::new();
    let key = machine.start(0, "echo one; while :; do sleep 0.01; done").await;
    let before = machine.record(&key).await;
    let mut machine = machine.restarted();
    assert_eq!(machine.record(&key).await, before, "the same container, still running");
    assert_eq!(machine.runtime.pods().await.unwrap()[0].name, "p");
    kill(machine.state(&key)["pid"].as_i64().unwrap() as i32);
    assert_eq!(machine.exit(&key).await.exit_code, 137, "the new agent hears of the end");
}

#[tokio::test]
async fn a_stranger_at_the_pipe_does_not_keep_a_container_from_ending() {
    let mut machine = Machine::new();
    let key = machine.start(0, "while :; do sleep 0.01; done").await;
    let pid = machine.state(&key)["pid"].as_i64().unwrap();
    let held = std::fs::File::options().write(true).open(format!("/proc/{pid}/fd/1")).unwrap();
    machine.runtime.stop(&key, Duration::ZERO).await.unwrap();
    let exit = machine.exit(&key).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (137, "Error"), "told by the shim, not guessed");
    drop(held);
}

#[tokio::test]
async fn a_lost_shim_takes_its_container_along() {
    let mut machine = Machine::new();
    let key = machine.start(0, "sleep 1000 & sleep 1000").await;
    let state = machine.state(&key);
    let pid = state["pid"].as_i64().unwrap() as i32;
    machine.record(&key).await;
    kill(state["shim_pid"].as_i64().unwrap() as i32);
    let exit = machine.exit(&key).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (137, "ContainerStatusUnknown"));
    wait_for("the container dies with its shim", || !is_alive(pid)).await;
}

/// What a power cut or a bad disk has left of the files.
#[tokio::test]
async fn torn_files_lose_no_container() {
    let check_with = async |torn: &str, content: &[u8], runs: bool, expected: &str| {
        let machine = Machine::new();
        let key = machine.start(0, if runs { "sleep 1000" } else { "exit 3" }).await;
        let state = machine.state(&key);
        let pid = state["pid"].as_i64().unwrap() as i32;
        let shim = state["shim_pid"].as_i64().unwrap() as i32;
        let attempt = machine.runtime.layout().attempt(&key);
        // Whoever asks before the shim is gone is told that the container runs, as long as nothing says otherwise.
        wait_for("it ends", || runs || attempt.join("exit.json").exists() && !is_alive(shim)).await;
        // What was being written when the power went may be whole, and yet it is never taken for the file itself.
        let beside = attempt.join(torn).with_extension("tmp");
        let _ = std::fs::copy(attempt.join(torn), &beside);
        std::fs::write(attempt.join(torn), content).unwrap();
        let machine = machine.restarted();
        let shown = match machine.record(&key).await.state {
            ContainerState::Exited(exit) => format!("{} {}", exit.exit_code, exit.reason),
            other => format!("{other:?}").split(' ').next().unwrap_or_default().to_string(),
        };
        assert_eq!(shown, expected, "{torn} with {content:?}, running: {runs}");
        machine.runtime.remove("u1").await.unwrap();
        wait_for("nothing of it runs on", || !is_alive(pid) || (torn == "state.json" && !is_root())).await;
        assert!(machine.runtime.pods().await.unwrap().is_empty());
    };
    let check = async |torn: &str, runs: bool, expected: &str| {
        for content in [&b""[..], b"{\"tor", b"\0\0\0\0", b"[1, 2]"] {
            check_with(torn, content, runs, expected).await;
        }
    };
    check("spec.json", true, "Running").await;
    check("spec.json", false, "3 Error").await;
    check("exit.json", false, "137 ContainerStatusUnknown").await;
    check("state.json", true, "128 StartError").await;
    check("state.json", false, "3 Error").await;
    check("../../../pod.json", true, "Running").await;
    check("../../../object.json", true, "Running").await;
}

#[tokio::test]
async fn commands_run_beside_a_container() {
    let machine = Machine::new();
    let key = machine.start(0, "sleep 1000").await;
    let exec = async |script: &str, timeout| {
        let command = ["sh", "-c", script].map(String::from);
        machine.runtime.exec(&key, &command, timeout).await.unwrap()
    };
    let done = exec("echo $GREETING; exit 3", Duration::from_secs(20)).await;
    assert_eq!((done.exit_code, done.output.as_str()), (Some(3), "hello\n"));
    let chatty = exec("head -c 1000000 /dev/zero", Duration::from_secs(20)).await;
    assert_eq!((chatty.exit_code, chatty.output.len()), (Some(0), 10 * 1024));
    let slow = exec("echo a; sleep 1000", Duration::from_millis(300)).await;
    assert_eq!((slow.exit_code, slow.output.as_str()), (None, "a\n"));
}

#[tokio::test]
async fn volumes_are_seen_at_their_mount_paths_by_the_container_alone() {
    if !is_root() {
        return;
    }
    let mut machine = Machine::new();
    let volume = machine.dir.path().join("volume");
    let inner = machine.dir.path().join("inner");
    for (dir, text) in [(&volume, "outer"), (&inner, "nested")] {
        std::fs::create_dir(dir).unwrap();
        std::fs::write(dir.join("file"), text).unwrap();
    }
    let made: PathBuf = machine.dir.path().join("made/by/mount");
    let target = made.display().to_string();
    let script = format!(
        "cat {target}/file {target}/deep/file /etc/hostname-test; echo >{target}/new || echo ro; echo x >{target}/deep/new"
    );
    let key = machine
        .start_with(0, &script, |request| {
            let mount = |source: &Path, target: PathBuf, read_only| Mount {
                source: source.into(),
                target,
                read_only,
                ..Mount::default()
            };
            request.mounts = vec![
                mount(&inner, made.join("deep"), false),
                mount(&volume, made.clone(), true),
                mount(&volume.join("file"), machine.dir.path().join("single"), true),
            ];
        })
        .await;
    let exit = machine.exit(&key).await;
    assert_eq!(exit.message, "");
    let log = machine.log(&key);
    assert!(log.contains("outernestedro"), "{log}");
    assert!(inner.join("new").exists() && !volume.join("new").exists());
    assert!(made.exists() && !made.join("file").exists(), "the host sees an empty mount point only");
    machine.runtime.remove("u1").await.unwrap();
    assert!(!machine.dir.path().join("made").exists(), "and not even that when the pod is gone");
    assert!(!machine.dir.path().join("single").exists());
}

#[tokio::test]
async fn memory_limits_end_with_oomkilled() {
    if !is_root() {
        return;
    }
    let mut machine = Machine::new();
    let script = "head -c 200000000 /dev/zero | tail -c 190000000 | wc -c";
    let key = machine
        .start_with(0, &format!("exec sh -c '{script}; kill -9 $$'"), |request| {
            request.limits = Limits { memory_bytes: Some(32 << 20), ..Limits::default() };
        })
        .await;
    let spec = machine.runtime.layout().attempt(&key).join("spec.json");
    let spec: serde_json::Value = serde_json::from_slice(&std::fs::read(spec).unwrap()).unwrap();
    if spec["cgroups"].as_array().is_none_or(Vec::is_empty) {
        eprintln!("SKIPPED: no writable cgroups here");
        return;
    }
    let exit = machine.exit(&key).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (137, "OOMKilled"));
    let cgroup = PathBuf::from(spec["cgroups"][0]["dir"].as_str().unwrap());
    assert!(cgroup.exists());
    machine.runtime.remove("u1").await.unwrap();
    assert!(!cgroup.exists(), "the cgroup goes with the pod");
}

#[tokio::test]
async fn a_removed_pod_leaves_nothing() {
    let machine = Machine::new();
    let key = machine.start(0, "sleep 1000").await;
    let pid = machine.state(&key)["pid"].as_i64().unwrap() as i32;
    machine.runtime.remove("u1").await.unwrap();
    assert!(!is_alive(pid));
    assert_eq!(std::fs::read_dir(machine.dir.path().join("pods")).unwrap().count(), 0);
    assert_eq!(machine.runtime.pods().await.unwrap(), []);
}
