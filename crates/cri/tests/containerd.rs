//! The runtime over a real containerd, through its port only.

#[path = "../../backstay/tests/support/needs.rs"]
mod needs;
mod support;

use std::time::Duration;

use backstay_node::lifecycle::ContainerState;
use backstay_node::runtime::{HostPort, Limits, Mount, Namespace, Runtime as _, SandboxState};
use backstay_node::streams::{AttachRequest, ExecRequest};
use support::daemon::{IMAGE, NEEDS};
use support::{ImagesOf as _, Machine, cgroups, key};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc::unbounded_channel;

async fn machine(test: &str) -> Option<Machine> {
    if needs::are_met(test, true, &NEEDS) { Some(Machine::new().await) } else { None }
}

#[tokio::test]
async fn ends_with_reasons_and_last_words() {
    let Some(machine) = machine("ends_with_reasons_and_last_words").await else { return };
    assert!(
        machine.runtime.version().starts_with("containerd://1.")
            || machine.runtime.version().starts_with("containerd://2.")
    );
    assert_eq!(machine.runtime.health().await.runtime, Ok(()));

    let done = machine.start("u1", 0, "echo out; echo err >&2; exit 0").await;
    let exit = machine.exit(&done).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (0, "Completed"));
    let log = machine.log_with(&done, "stderr F err\n").await;
    assert!(log.contains(" stdout F out\n"), "{log}");

    let failed = machine.start_with("u1", 1, "echo why; exit 42", |it| it.message_from_log = true).await;
    let exit = machine.exit(&failed).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (42, "Error"));
    machine.log_with(&failed, "why\n").await;
    assert_eq!(machine.exit(&failed).await.message, "why\n");

    let words = machine.dir().join("words");
    std::fs::write(&words, "").unwrap();
    let last = machine
        .start_with("u1", 2, "echo -n farewell > /dev/termination-log; exit 3", |it| {
            it.mounts.push(Mount { source: words.clone(), target: "/dev/termination-log".into(), ..Mount::default() });
            it.termination_message = Some(words);
            it.backoff_seconds = 20;
        })
        .await;
    assert_eq!(machine.exit(&last).await.message, "farewell");
    assert_eq!(machine.record(&last).await.backoff_seconds, 20);

    let missing = machine.start_with("u1", 3, "", |it| it.command = vec!["/no/such".into()]).await;
    let exit = machine.exit(&missing).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (128, "StartError"));
    assert!(exit.message.contains("/no/such"), "{}", exit.message);

    let hungry = machine
        .start_with("u1", 4, "tail /dev/zero", |it| {
            it.limits = Limits { memory_bytes: Some(16 << 20), ..Limits::default() };
        })
        .await;
    let exit = machine.exit(&hungry).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (137, "OOMKilled"));

    let image = machine.start_with("u1", 5, "", |it| it.command.clear()).await;
    machine.log_with(&image, "the image speaks").await;
    let attempts =
        machine.runtime.containers("u1").await.unwrap()["main"].iter().map(|it| it.attempt).collect::<Vec<_>>();
    assert_eq!(attempts, [0, 1, 2, 3, 4, 5]);

    machine.runtime.remove_container(&done).await.unwrap();
    assert!(!machine.log_file(&done).exists() && machine.log_file(&failed).exists());
    machine.end().await;
}

#[tokio::test]
async fn rights_and_files() {
    let Some(machine) = machine("rights_and_files").await else { return };
    let host = machine.dir().join("host");
    std::fs::create_dir(&host).unwrap();
    std::fs::write(host.join("file"), "from the host").unwrap();
    let script = "id; pwd; echo $GREETING; cat /data/file; touch /data/x || echo read-only data; \
                  touch /x || echo read-only root; grep -E 'NoNewPrivs|CapEff|Seccomp:' /proc/self/status; echo end";
    let key = machine
        .start_with("u1", 0, script, |it| {
            it.mounts.push(Mount { source: host, target: "/data".into(), read_only: true, ..Mount::default() });
            it.env = vec![("GREETING".into(), "hello $you".into())];
            it.working_dir = Some("/tmp".into());
            it.security.user = Some(1234);
            it.security.group = Some(77);
            it.security.supplemental_groups = vec![88];
            it.security.read_only_root = true;
            it.security.no_new_privileges = true;
            it.security.capabilities.drop = vec!["ALL".into()];
            it.security.seccomp = backstay_node::runtime::Profile::RuntimeDefault;
        })
        .await;
    let log = machine.log_with(&key, " end\n").await;
    for expected in [
        "uid=1234 gid=77 groups=77,88",
        "F /tmp\n",
        "hello $you",
        "from the host",
        "read-only data",
        "read-only root",
        "NoNewPrivs:\t1",
        "CapEff:\t0000000000000000",
        "Seccomp:\t2",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    // A group without a user: the image's user.
    let key = machine.start_with("u1", 1, "id; echo end", |it| it.security.group = Some(77)).await;
    let log = machine.log_with(&key, " end\n").await;
    assert!(log.contains("uid=0(root) gid=77"), "{log}");
    let mut pod = machine.pod("u2", Namespace::Host);
    pod.security.privileged = true;
    machine.runtime.prepare(&pod).await.unwrap();
    let free = machine.start_with("u2", 0, "ls /dev; echo end", |it| it.security.privileged = true).await;
    let log = machine.log_with(&free, " end\n").await;
    assert!(log.contains("loop") || log.contains("kmsg") || log.contains("tty1"), "{log}");
    machine.end().await;
}

#[tokio::test]
async fn commands_and_ends_on_request() {
    let Some(machine) = machine("commands_and_ends_on_request").await else { return };
    let polite = machine.start("u1", 0, "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done").await;
    machine.log_with(&polite, "up").await;
    let run = async |script: &str, seconds: u64| {
        let command = ["/bin/sh", "-c", script].map(String::from);
        machine.runtime.exec(&polite, &command, Duration::from_secs(seconds)).await.unwrap()
    };
    let answer = run("echo out; echo err >&2; exit 5", 30).await;
    assert_eq!((answer.exit_code, answer.output.as_str()), (Some(5), "out\nerr\n"));
    assert_eq!(run("sleep 600", 1).await.exit_code, None);
    machine.runtime.stop(&polite, Duration::from_secs(30)).await.unwrap();
    assert_eq!(machine.exit(&polite).await.exit_code, 9);
    machine.runtime.stop(&polite, Duration::from_secs(30)).await.unwrap();
    assert!(machine.runtime.exec(&polite, &["true".to_string()], Duration::from_secs(1)).await.is_err());

    let deaf = machine.start("u1", 1, "trap '' TERM; echo up; while :; do sleep 0.1; done").await;
    machine.log_with(&deaf, "up").await;
    machine.runtime.stop(&deaf, Duration::from_secs(1)).await.unwrap();
    assert_eq!(machine.exit(&deaf).await.exit_code, 137);
    let asked = machine
        .start_with("u1", 2, "trap 'exit 4' USR1; echo up; while :; do sleep 0.1; done", |it| {
            it.stop_signal = Some("SIGUSR1".into());
        })
        .await;
    machine.log_with(&asked, "up").await;
    machine.runtime.stop(&asked, Duration::from_secs(60)).await.unwrap();
    assert_eq!(machine.exit(&asked).await.exit_code, 4);
    machine.end().await;
}

#[tokio::test]
async fn pods_outlive_agent_and_runtime() {
    let Some(mut machine) = machine("pods_outlive_agent_and_runtime").await else { return };
    let key = machine.start("u1", 0, "seq 1 3; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo went on; exit 7").await;
    machine.log_with(&key, "F 3").await;
    let before = machine.record(&key).await;
    assert!(!cgroups(&machine.cgroup).is_empty());
    machine.reconnect().await;
    assert_eq!(machine.record(&key).await, before);
    machine.crash().await;
    assert_eq!(machine.record(&key).await, before);
    machine.runtime.prepare(&machine.pod("u1", Namespace::Host)).await.unwrap();
    let touch = ["touch", "/tmp/go"].map(String::from);
    machine.runtime.exec(&key, &touch, Duration::from_secs(30)).await.unwrap();
    assert_eq!(machine.exit(&key).await.exit_code, 7);
    machine.log_with(&key, "went on").await;
    let pods = machine.runtime.pods().await.unwrap();
    assert_eq!(pods.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["pod-u1"]);
    machine.end().await;
}

#[tokio::test]
async fn ends_are_told_and_logs_turned_over() {
    let Some(mut machine) = machine("ends_are_told_and_logs_turned_over").await else { return };
    machine.log_bytes_max = 4096;
    machine.reconnect().await;
    let (sender, mut changed) = unbounded_channel();
    machine.runtime.notify(sender);
    let script =
        "while [ ! -e /tmp/go ]; do echo 0123456789012345678901234567890123456789; sleep 0.01; done; echo last";
    let key = machine.start("u1", 0, script).await;
    let older = machine.log_file(&key).with_extension("log.1");
    let turned = async {
        while !older.exists() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), turned).await.expect("the log is turned over");
    let touch = ["touch", "/tmp/go"].map(String::from);
    machine.runtime.exec(&key, &touch, Duration::from_secs(30)).await.unwrap();
    machine.exit(&key).await;
    machine.log_with(&key, "F last").await;
    let told = tokio::time::timeout(Duration::from_secs(60), changed.recv()).await.expect("the end is told");
    assert_eq!(told.as_deref(), Some("u1"));
    machine.end().await;
}

#[tokio::test]
async fn networks() {
    let Some(machine) = machine("networks").await else { return };
    let shared = machine.start("u0", 0, "sleep 600").await;
    assert_eq!(machine.runtime.sandbox("u0").await.unwrap(), Some(SandboxState::default()));
    assert!(matches!(machine.record(&shared).await.state, ContainerState::Running { .. }));
    let mut pod = machine.pod("u1", Namespace::Pod);
    pod.hostname = "inside".into();
    pod.ports = vec![HostPort { container_port: 80, host_port: 18080, protocol: "TCP".into(), host_ip: String::new() }];
    while machine.runtime.health().await.network.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    machine.runtime.prepare(&pod).await.unwrap();
    let key = key("u1", 0);
    let request = machine.request(&key, "hostname; while :; do echo served | nc -l -p 80; done").await;
    machine.runtime.start(&key, request).await.unwrap();
    machine.log_with(&key, "F inside").await;
    let ips = machine.runtime.sandbox("u1").await.unwrap().unwrap().ips;
    assert!(ips[0].starts_with("10.213.0."), "{ips:?}");
    // Served one after another: it may not listen yet, or again.
    let mut said = String::new();
    while said != "served\n" {
        let Ok(mut connection) = machine.runtime.port_forward("u1", 80).await else { continue };
        said.clear();
        connection.read_to_string(&mut said).await.unwrap();
    }
    let gateway = "10.213.0.1";
    let mut answer = machine.daemon.in_network(&["busybox", "nc", "-w", "5", gateway, "18080"]);
    while answer.stdout != b"served\n" {
        answer = machine.daemon.in_network(&["busybox", "nc", "-w", "5", gateway, "18080"]);
    }
    machine.runtime.stop(&key, Duration::ZERO).await.unwrap();
    let cgroup = format!("{}/besteffort/podu1", machine.cgroup);
    assert!(!cgroups(&cgroup).is_empty());
    machine.runtime.end_sandbox("u1").await.unwrap();
    assert_eq!(machine.runtime.sandbox("u1").await.unwrap(), None);
    assert_eq!(cgroups(&cgroup), Vec::<std::path::PathBuf>::new());
    let answer = machine.daemon.in_network(&["busybox", "nc", "-w", "5", gateway, "18080"]);
    assert!(!answer.status.success(), "the port is free again: {answer:?}");
    assert!(matches!(machine.record(&key).await.state, ContainerState::Exited(_)), "what it was is still known");
    machine.runtime.end_sandbox("u1").await.unwrap();
    machine.runtime.remove("u1").await.unwrap();
    assert_eq!(machine.runtime.pods().await.unwrap().len(), 1);
    machine.end().await;
}

#[tokio::test]
async fn images() {
    let Some(machine) = machine("images").await else { return };
    let images = machine.runtime.images_of();
    let found = images.find(IMAGE).await.unwrap().unwrap();
    assert!(found.id.starts_with("sha256:") && found.size_bytes > 0, "{found:?}");
    assert_eq!(images.find("localhost/none:1").await.unwrap(), None);
    assert_eq!(images.find("Not A Name").await.unwrap_err().reason, "InvalidImageName");
    // Nobody listens at this port of loopback.
    let error = images.pull("127.0.0.1:1/a/b:1", &[]).await.unwrap_err();
    assert_eq!(error.reason, "ErrImagePull");
    assert!(error.message.contains("rpc error: code = ") && error.message.contains("127.0.0.1:1"), "{error}");
    let pinned = async |name: &str| {
        let list = images.list().await.unwrap();
        list.into_iter().find(|it| it.names.iter().any(|one| one == name)).map(|it| it.pinned)
    };
    assert_eq!(pinned("localhost/pause:1").await, Some(true), "every pod needs it");
    assert_eq!(pinned(IMAGE).await, Some(false));
    machine.start("u1", 0, "true").await;
    assert_eq!(pinned(IMAGE).await, Some(true), "a container is made from it");
    machine.runtime.remove("u1").await.unwrap();
    assert!(images.disk().await.unwrap().capacity_bytes > 0);
    images.remove(&found.id).await.unwrap();
    images.remove(&found.id).await.unwrap();
    assert_eq!(images.find(IMAGE).await.unwrap(), None);
    machine.end().await;
}

#[tokio::test]
async fn streams() {
    if !needs::are_met("streams", true, &NEEDS) {
        return;
    }
    let machine = Machine::on_our_network().await;
    let key = machine.start_with("u1", 0, "echo up; cat", |it| it.stdin = true).await;
    machine.log_with(&key, "F up").await;
    let command = ["/bin/sh", "-c", "head -n 1; echo err >&2; exit 5"].map(String::from).to_vec();
    let request = ExecRequest { command, stdin: true, stdout: true, stderr: true, tty: false };
    let mut session = machine.runtime.open_exec(&key, request).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"typed\n").await.unwrap();
    let (mut said, mut complained) = (String::new(), String::new());
    session.stdout.take().unwrap().read_to_string(&mut said).await.unwrap();
    session.stderr.take().unwrap().read_to_string(&mut complained).await.unwrap();
    assert_eq!((said.as_str(), complained.as_str()), ("typed\n", "err\n"));
    assert_eq!(session.exit.take().unwrap().await, Ok(5));
    // It has ended, and containerd has closed, before any of this is read: of what waits in between, nothing is lost.
    let command = ["/bin/sh", "-c", "dd if=/dev/zero bs=1k count=1000 && touch /ended"].map(String::from).to_vec();
    let request = ExecRequest { command, stdout: true, ..ExecRequest::default() };
    let mut session = machine.runtime.open_exec(&key, request).await.unwrap();
    let ended = "while ! test -e /ended; do sleep 0.1; done";
    let ended = ["/bin/sh", "-c", ended].map(String::from);
    machine.runtime.exec(&key, &ended, Duration::from_secs(60)).await.unwrap();
    let mut said = Vec::new();
    session.stdout.take().unwrap().read_to_end(&mut said).await.unwrap();
    assert_eq!((said.len(), session.exit.take().unwrap().await), (1000 << 10, Ok(0)));

    let request = AttachRequest { stdin: true, stdout: true, ..AttachRequest::default() };
    let mut session = machine.runtime.attach(&key, request).await.unwrap();
    session.stdin.as_mut().unwrap().write_all(b"to its own input\n").await.unwrap();
    machine.log_with(&key, "F to its own input").await;
    let mut line = [0; 17];
    session.stdout.as_mut().unwrap().read_exact(&mut line).await.unwrap();
    assert_eq!(&line, b"to its own input\n");
    machine.end().await;
}
