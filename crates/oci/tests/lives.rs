//! What a container shows of its life, how others take part in it, and what is left when it is over.

mod machine;
#[path = "../../backstay/tests/support/needs.rs"]
mod needs;
mod support;

use backstay_node::process::KnownProcess;
use backstay_node::process::layout::{self, ShimState};
use backstay_node::runtime::{ContainerKey, Mount, Namespace, Runtime as _, StartRequest};
use backstay_node::streams::{AttachRequest, ExecRequest, Session, TerminalSize};
use machine::{Machine, PATIENCE, gone, runtime, until};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

fn words(command: &[&str]) -> Vec<String> {
    command.iter().map(|word| word.to_string()).collect()
}

/// Reads until this has come.
async fn read_until(session: &mut Session, text: &str) -> String {
    let stdout = session.stdout.as_mut().unwrap();
    let mut seen = Vec::new();
    let read = async {
        while !String::from_utf8_lossy(&seen).contains(text) {
            assert!(stdout.read_buf(&mut seen).await.unwrap_or(0) > 0, "{:?}", String::from_utf8_lossy(&seen));
        }
    };
    let came = tokio::time::timeout(PATIENCE, read).await;
    let seen = String::from_utf8_lossy(&seen).into_owned();
    assert!(came.is_ok(), "waited in vain for {text:?}: {seen:?}");
    seen
}

async fn exit_code(session: &mut Session) -> i32 {
    tokio::time::timeout(PATIENCE, session.exit.take().unwrap()).await.unwrap().unwrap()
}

/// How a container's supervisor is known.
fn shim(machine: &Machine, key: &ContainerKey) -> KnownProcess {
    let path = machine.pod().join(format!("containers/{}/{}/state.json", key.name, key.attempt));
    let ShimState { boot_id, shim_pid: pid, shim_start: start, .. } = layout::read(&path).unwrap();
    KnownProcess { boot_id, pid, start }
}

/// As a program has it that a script runs in its background; what it starts has it too.
#[allow(unsafe_code, reason = "there is no other way to ignore a signal")]
fn ignore_what_is_typed() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGINT, libc::SIG_IGN) };
}

#[tokio::test]
async fn commands_run_beside_containers() {
    ignore_what_is_typed();
    let Some(machine) = Machine::new("commands_run_beside_containers").await else { return };
    let key = machine.start("echo begun; exec sleep 100000", |it| it.env = vec![("OWN".into(), "pod".into())]).await;
    let request = |command: &[&str], tty: bool| ExecRequest {
        command: words(command),
        stdin: true,
        stdout: true,
        stderr: !tty,
        tty,
    };
    let mut session =
        machine.runtime.open_exec(&key, request(&["sh", "-c", "cat; echo $OWN >&2"], false)).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    stdin.write_all(b"typed").await.unwrap();
    drop(stdin);
    read_until(&mut session, "typed").await;
    let mut errors = String::new();
    session.stderr.take().unwrap().read_to_string(&mut errors).await.unwrap();
    assert_eq!((errors.as_str(), exit_code(&mut session).await), ("pod\n", 0));
    // A terminal: it echoes, has a size, and breaks off what runs on it.
    let script = "test $(tty) = /dev/pts/0 && echo hello > $(tty) && echo terminal; read word; while test -z \"$(stty size 2>/dev/null)\"; do sleep 0.01; done; \
        stty size; trap 'exit 7' INT; echo wait; sleep 100000 & wait";
    let mut session = machine.runtime.open_exec(&key, request(&["sh", "-c", script], true)).await.unwrap();
    let mut stdin = session.stdin.take().unwrap();
    read_until(&mut session, "hello\r\nterminal\r\n").await;
    stdin.write_all(b"go\n").await.unwrap();
    session.resize.as_ref().unwrap().send(TerminalSize { width: 101, height: 33 }).await.unwrap();
    let seen = read_until(&mut session, "wait").await;
    assert!(seen.contains("go\r\n") && seen.contains("33 101\r\n"), "{seen:?}");
    stdin.write_all(b"\x03").await.unwrap();
    assert_eq!(exit_code(&mut session).await, 7);
    // A session that is given up ends what it has begun.
    for tty in [false, true] {
        let script = format!("echo begun; sleep 100000; echo {}", it_is(&machine));
        let mut session = machine.runtime.open_exec(&key, request(&["sh", "-c", &script], tty)).await.unwrap();
        read_until(&mut session, "begun").await;
        let begun = || machine.traces().iter().any(|it| it.contains(&script));
        assert!(begun());
        drop(session);
        until(|| !begun()).await;
    }
    for (command, expected) in
        [(&["sh", "-c", "exit 42"][..], 42), (&["sh", "-c", "kill -9 $$"], 137), (&["/no/such"], 127), (&["/etc"], 126)]
    {
        let ran = machine.runtime.exec(&key, &words(command), PATIENCE).await.unwrap();
        assert_eq!(ran.exit_code, Some(expected), "{command:?} {}", ran.output);
    }
    machine.end().await;
}

#[tokio::test]
async fn clients_attach_to_containers() {
    let Some(mut machine) = Machine::new("clients_attach_to_containers").await else { return };
    let attach = |tty: bool| AttachRequest { stdin: true, stdout: true, stderr: !tty, tty };
    let script = "while read word; do echo got $word; test $word = end && exit 5; done; echo closed; exit 6";
    let key = machine.start(script, |it| it.stdin = true).await;
    let mut first = machine.runtime.attach(&key, attach(false)).await.unwrap();
    let mut second = machine.runtime.attach(&key, attach(false)).await.unwrap();
    first.stdin.as_mut().unwrap().write_all(b"hello\n").await.unwrap();
    read_until(&mut first, "got hello\n").await;
    read_until(&mut second, "got hello\n").await;
    drop(first);
    second.stdin.as_mut().unwrap().write_all(b"end\n").await.unwrap();
    read_until(&mut second, "got end\n").await;
    assert_eq!(machine.exit(&key).await.exit_code, 5);
    let key = machine.start(script, |it| (it.stdin, it.stdin_once) = (true, true)).await;
    let mut only = machine.runtime.attach(&key, attach(false)).await.unwrap();
    only.stdin.as_mut().unwrap().write_all(b"once\n").await.unwrap();
    read_until(&mut only, "got once\n").await;
    drop(only);
    assert_eq!(machine.exit(&key).await.exit_code, 6, "its input ends with the first client");
    let key = machine.start(script, |it| (it.stdin, it.tty) = (true, true)).await;
    let mut terminal = machine.runtime.attach(&key, attach(true)).await.unwrap();
    terminal.stdin.as_mut().unwrap().write_all(b"end\n").await.unwrap();
    read_until(&mut terminal, "got end\r\n").await;
    assert_eq!(machine.exit(&key).await.exit_code, 5);
    // Programs in it find it by its names; it is theirs, and those of others come after it.
    let look = "echo at $(tty) $(stat -c %u $(tty)); echo by name > $(tty); echo console > /dev/console; sleep 100000";
    let on_terminal = |it: &mut StartRequest| (it.tty, it.security.user) = (true, Some(100));
    let key = machine.start(look, on_terminal).await;
    for text in ["at /dev/pts/0 100", "by name", "console"] {
        machine.says(&key, text).await;
    }
    let request = ExecRequest { command: words(&["tty"]), stdin: false, stdout: true, stderr: false, tty: true };
    let mut session = machine.runtime.open_exec(&key, request).await.unwrap();
    read_until(&mut session, "/dev/pts/1\r\n").await;
    machine.end().await;
}

#[tokio::test]
async fn logs_and_last_words_are_kept() {
    let Some(mut machine) = Machine::new("logs_and_last_words_are_kept").await else { return };
    let key = machine.start("echo out; echo err >&2; echo -n cut", |_| {}).await;
    machine.exit(&key).await;
    let log = std::fs::read_to_string(machine.log_path(&key)).unwrap();
    let mut lines: Vec<&str> = log.lines().map(|line| line.split_once(' ').unwrap().1).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["stderr F err", "stdout F cut", "stdout F out"]);
    let said = machine.dir.path().join("said");
    std::fs::write(&said, "").unwrap();
    let mount = Mount { source: said.clone(), target: "/dev/termination-log".into(), ..Mount::default() };
    let file = |it: &mut StartRequest| {
        (it.mounts, it.termination_message) = (vec![mount], Some(said.clone()));
        it.message_from_log = true;
    };
    let key = machine.start("echo log; echo -n farewell > /dev/termination-log; exit 3", file).await;
    let exit = machine.exit(&key).await;
    assert_eq!((exit.exit_code, exit.reason.as_str(), exit.message.as_str()), (3, "Error", "farewell"));
    for (code, expected) in [(4, "log\n"), (0, "")] {
        let key = machine.start(&format!("echo log; exit {code}"), |it| it.message_from_log = true).await;
        assert_eq!(machine.exit(&key).await.message, expected, "{code}");
    }
    machine.end().await;
}

#[tokio::test]
async fn nothing_is_left_of_a_container() {
    let Some(mut machine) = Machine::new("nothing_is_left_of_a_container").await else { return };
    let bare = machine.traces().len();
    let limit = |it: &mut StartRequest| it.limits.memory_bytes = Some(64 << 20);
    let ended = machine.start("exit 1", limit).await;
    machine.exit(&ended).await;
    let running = machine.start("echo x > /written; exec sleep 100000", limit).await;
    assert!(machine.traces().len() > bare, "{:?}", machine.traces());
    machine.runtime.remove_container(&ended).await.unwrap();
    let of = |key: &ContainerKey| format!("-{}-{}", key.name, key.attempt);
    let left = |traces: Vec<String>, key: &ContainerKey| traces.iter().filter(|it| it.ends_with(&of(key))).count();
    assert_eq!(left(machine.traces(), &ended), 0, "its cgroups");
    assert!(left(machine.traces(), &running) > 0, "of others stay");
    assert!(!machine.log_path(&ended).exists());
    // The pod goes with what still runs; `end` looks at everything.
    machine.end().await;
}

/// A container that falls over again and again, having written much each time, does not fill the disk.
#[tokio::test]
async fn what_ended_containers_have_written_is_deleted() {
    let Some(mut machine) = Machine::with("what_ended_containers_have_written_is_deleted", Namespace::Pod).await else {
        return;
    };
    let written = |machine: &Machine| -> Vec<String> {
        let dirs = layout::names(&machine.pod().join("containers/main"));
        dirs.into_iter().filter(|it| machine.pod().join(format!("containers/main/{it}/upper/own/x")).exists()).collect()
    };
    let script = "echo said; mkdir /own; chmod 0 /own; echo x > /own/x; exit 1";
    for attempt in ["0", "1", "2"] {
        let key = machine.start(script, |_| {}).await;
        machine.exit(&key).await;
        assert_eq!(written(&machine), [attempt], "while it may be looked at, and no longer");
        assert!(machine.log_path(&key).exists());
    }
    // Another one beside it still runs.
    let other = machine.start("echo begun; mkdir /own; echo x > /own/x; exec sleep 100000", |_| {}).await;
    machine.says(&other, "begun").await;
    until(|| written(&machine) == ["3"]).await;
    machine.runtime.stop(&other, std::time::Duration::ZERO).await.unwrap();
    // The pod has ended: all that is left is what it was.
    machine.runtime.end_sandbox(&machine.uid).await.unwrap();
    assert_eq!(written(&machine), [] as [&str; 0]);
    assert_eq!(machine.traces(), [] as [&str; 0]);
    assert_eq!(machine.runtime.sandbox(&machine.uid).await.unwrap(), None);
    assert_eq!(machine.runtime.containers(&machine.uid).await.unwrap()["main"].len(), 4);
    assert!(machine.log_path(&other).exists());
    machine.runtime.end_sandbox(&machine.uid).await.unwrap();
    machine.end().await;
}

/// Ends a supervisor without a word, and looks at what becomes of its container.
async fn check_lost_supervisor(test: &str, pid: Namespace) {
    let Some(mut machine) = Machine::with(test, pid).await else { return };
    let before = machine.traces().len();
    let script = "setsid sleep 100000 & sh -c 'sleep 100000 &'; echo begun; exec sleep 100000";
    let key = machine.start(script, |it| it.env.push(("MARK".into(), it_is(&machine)))).await;
    machine.says(&key, "begun").await;
    let shim = shim(&machine, &key);
    assert!(marked(&machine) >= 3);
    shim.kill();
    gone(shim).await;
    let exit = machine.exit(&key).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (137, "ContainerStatusUnknown"), "{exit:?}");
    assert_eq!(marked(&machine), 0, "no process of it goes on");
    machine.runtime.remove_container(&key).await.unwrap();
    assert_eq!(machine.traces().len(), before, "{:?}", machine.traces());
    // Others start as if nothing had been.
    machine.check("echo again", |_| {}, "again", 0).await;
    machine.end().await;
}

fn it_is(machine: &Machine) -> String {
    format!("mark-{}", machine.uid)
}

/// How many processes have the mark in their environment.
fn marked(machine: &Machine) -> usize {
    let has = |path: std::path::PathBuf| {
        let environment = std::fs::read(path.join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&it_is(machine))
    };
    std::fs::read_dir("/proc").unwrap().flatten().filter(|entry| has(entry.path())).count()
}

#[tokio::test]
async fn a_container_ends_with_its_supervisor() {
    check_lost_supervisor("a_container_ends_with_its_supervisor", Namespace::Container).await;
}

#[tokio::test]
async fn a_container_among_shared_processes_ends_with_its_supervisor() {
    check_lost_supervisor("a_container_among_shared_processes_ends_with_its_supervisor", Namespace::Pod).await;
}

#[tokio::test]
async fn what_happens_while_no_agent_looks_is_known_later() {
    let Some(mut machine) = Machine::new("what_happens_while_no_agent_looks_is_known_later").await else { return };
    let lost = machine.start("exec sleep 100000", |_| {}).await;
    let ends = machine.start("read word; exit 9", |it| it.stdin = true).await;
    let mut session =
        machine.runtime.attach(&ends, AttachRequest { stdin: true, ..AttachRequest::default() }).await.unwrap();
    let (supervisor, other) = (shim(&machine, &lost), shim(&machine, &ends));
    // Nobody asks, nobody is told.
    supervisor.kill();
    session.stdin.as_mut().unwrap().write_all(b"go\n").await.unwrap();
    gone(supervisor).await;
    gone(other).await;
    (machine.runtime, machine.changed) = runtime(machine.dir.path());
    assert_eq!(machine.exit(&ends).await.exit_code, 9);
    let exit = machine.exit(&lost).await;
    assert_eq!((exit.exit_code, exit.reason.as_str()), (137, "ContainerStatusUnknown"));
    machine.end().await;
}
