//! The install script and the service units, in a directory that stands for a machine.

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use support::{Ran, run};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").canonicalize().expect("packaging/")
}

/// A machine that has everything, but is not the one that runs.
struct Machine {
    root: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { root: tempfile::tempdir().unwrap() };
        for (path, content) in [
            ("proc/sys/kernel/osrelease", "6.1.0-13-amd64\n"),
            ("proc/sys/kernel/hostname", "edge-7\n"),
            ("proc/sys/net/ipv4/ip_forward", "1\n"),
            ("proc/filesystems", "nodev\toverlay\n\text4\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n"),
            ("usr/lib/cni/bridge", ""),
            ("etc/cni/net.d/10-net.conflist", "{}"),
            ("var/lib/x", ""),
            ("run/systemd/system/x", ""),
            ("run/systemd/timesync/synchronized", ""),
        ] {
            machine.write(path, content);
        }
        fs::set_permissions(machine.path("usr/lib/cni/bridge"), fs::Permissions::from_mode(0o755)).unwrap();
        machine
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    fn write(&self, path: &str, content: &str) {
        fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        fs::write(self.path(path), content).unwrap();
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    fn script(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("sh");
        command.arg(packaging().join("install.sh")).arg("--root").arg(self.root.path());
        run(command.args(arguments))
    }
}

#[test]
fn what_a_machine_lacks() {
    let check = |change: &dyn Fn(&Machine), role: &str, code: i32, expected: &str| {
        let machine = Machine::new();
        change(&machine);
        let ran = machine.script(&["--check", role]);
        assert_eq!(ran.code, Some(code), "{ran:?}");
        assert!(ran.stdout.contains(expected), "{expected}: {ran:?}");
    };
    let write = |path: &'static str, content: &'static str| move |machine: &Machine| machine.write(path, content);
    let remove = |path: &'static str| move |machine: &Machine| fs::remove_dir_all(machine.path(path)).unwrap();
    check(&|_| {}, "--agent", 0, "ok       cgroup v2: memory");
    check(&|_| {}, "--agent", 0, "ok       CNI plugins in /usr/lib/cni, network configured");
    check(&|_| {}, "--server", 0, "ok       kernel 6.1.0-13-amd64");
    check(&write("proc/sys/kernel/osrelease", "5.9.1"), "--server", 1, "MISSING  kernel 5.9.1 is too old");
    check(&write("proc/sys/kernel/osrelease", "5.10.0-1"), "--server", 0, "ok       kernel 5.10.0-1");
    check(&write("proc/filesystems", "ext4"), "--agent", 1, "MISSING  neither a container runtime nor overlayfs");
    check(&write("proc/filesystems", "ext4"), "--server", 0, "ok       kernel");
    check(&write("sys/fs/cgroup/cgroup.controllers", "cpu pids"), "--agent", 0, "warning  cgroup v2 without memory");
    check(&remove("sys/fs/cgroup"), "--agent", 0, "warning  no cgroup for memory");
    check(&remove("usr/lib/cni"), "--agent", 0, "warning  no CNI plugins");
    check(&remove("etc/cni"), "--agent", 0, "but no network in /etc/cni/net.d");
    check(&write("proc/sys/net/ipv4/ip_forward", "0"), "--agent", 0, "warning  packets are not forwarded");
    check(&write("proc/sys/kernel/hostname", "edge_7"), "--agent", 1, "MISSING  the host name edge_7 cannot");
    check(&remove("run/systemd"), "--server", 0, "warning  systemd does not run here");
}

#[test]
fn a_machine_is_installed_and_cleared() {
    let machine = Machine::new();
    let binary = env!("CARGO_BIN_EXE_backstay");
    // No copy of the whole program for a test.
    machine.write("small", "#!/bin/sh\necho small\n");
    fs::set_permissions(machine.path("small"), fs::Permissions::from_mode(0o755)).unwrap();
    let small = machine.path("small").display().to_string();
    for _ in 0..2 {
        machine.script(&["--server", "--binary", &small]).ok();
        let joins = ["--server", "https://10.0.0.1:6443", "--token", "abcdef.0123456789abcdef"];
        let arguments = [&["--agent", "--binary", &small, "--"][..], &joins].concat();
        machine.script(&arguments).ok();
        let env = machine.path("etc/backstay/agent.env");
        let expected = "BACKSTAY_AGENT_ARGS=\"--server https://10.0.0.1:6443 --token abcdef.0123456789abcdef\"\n";
        assert_eq!(fs::read_to_string(&env).unwrap(), expected);
        assert_eq!(fs::metadata(&env).unwrap().permissions().mode() & 0o777, 0o600, "it holds a secret");
    }
    assert_eq!(fs::read_link(machine.path("usr/local/bin/kubectl-backstay")).unwrap(), Path::new("backstay"));
    assert_eq!(run(&mut Command::new(machine.path("usr/local/bin/backstay"))).ok(), "small\n");
    // Again without arguments: those of before stay.
    machine.script(&["--agent", "--binary", &small]).ok();
    assert!(machine.read("etc/backstay/agent.env").contains("10.0.0.1"));
    machine.write("var/lib/backstay/store/data", "kept");
    machine.script(&["--uninstall"]).ok();
    for gone in ["usr/local/bin/backstay", "etc/backstay", "etc/systemd/system/backstay-agent.service"] {
        assert!(!machine.path(gone).exists(), "{gone}");
    }
    assert_eq!(machine.read("var/lib/backstay/store/data"), "kept");
    // The real program says which it is, as the script asks before it installs it.
    assert!(run(Command::new(binary).arg("--version")).ok().starts_with("backstay "));
}

/// Where no kernel says what the machine has.
#[test]
fn an_image_of_a_machine() {
    let machine = Machine { root: tempfile::tempdir().unwrap() };
    machine.write("small", "#!/bin/sh\necho small\n");
    fs::set_permissions(machine.path("small"), fs::Permissions::from_mode(0o755)).unwrap();
    let small = machine.path("small").display().to_string();
    let said = machine.script(&["--agent", "--binary", &small, "--", "--server", "https://10.0.0.1:6443"]).ok();
    assert!(said.contains("it starts with the machine") && !said.contains("MISSING"), "{said}");
    let wanted = machine.path("etc/systemd/system/multi-user.target.wants/backstay-agent.service");
    assert_eq!(fs::read(&wanted).unwrap(), fs::read(packaging().join("systemd/backstay-agent.service")).unwrap());
    machine.script(&["--uninstall"]).ok();
    assert!(!wanted.is_symlink());
}

#[test]
fn what_is_refused() {
    let check = |arguments: &[&str], expected: &str| {
        let machine = Machine::new();
        machine.write("broken", "#!/bin/sh\nexit 1\n");
        fs::set_permissions(machine.path("broken"), fs::Permissions::from_mode(0o755)).unwrap();
        let broken = machine.path("broken").display().to_string();
        let arguments: Vec<&str> =
            arguments.iter().map(|it| if *it == "BROKEN" { broken.as_str() } else { it }).collect();
        let said = machine.script(&arguments).fails();
        assert!(said.contains(expected), "{arguments:?}: {said}");
        assert!(!machine.path("usr/local/bin/backstay").exists());
    };
    check(&[], "say --server or --agent");
    check(&["--nonsense"], "unknown argument --nonsense");
    check(&["--server", "--agent"], "as server or as agent");
    check(&["--server", "--binary", "/nowhere"], "there is no /nowhere");
    check(&["--server", "--binary", "BROKEN"], "does not run here");
}

/// What pods rely on when their agent is stopped, and the paths that both sides use.
#[test]
fn the_units_keep_pods_alive() {
    let unit = |name: &str| fs::read_to_string(packaging().join("systemd").join(name)).unwrap();
    let agent = unit("backstay-agent.service");
    for line in ["KillMode=process", "Delegate=yes", "EnvironmentFile=/etc/backstay/agent.env", "Restart=always"] {
        assert!(agent.lines().any(|it| it == line), "{line}");
    }
    let server = unit("backstay-server.service");
    for (text, program) in [(&agent, "backstay agent"), (&server, "backstay server")] {
        assert!(text.contains(&format!("ExecStart=/usr/local/bin/{program} ")), "{program}");
    }
    let verifies = Command::new("systemd-analyze").arg("--version").output().is_ok_and(|it| it.status.success());
    if !verifies {
        support::clients::say("SKIPPED: units were not verified, since there is no systemd-analyze (Debian: systemd)");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    symlink(env!("CARGO_BIN_EXE_backstay"), dir.path().join("backstay")).unwrap();
    for (name, text) in [("backstay-agent.service", agent), ("backstay-server.service", server)] {
        let program = dir.path().join("backstay").display().to_string();
        let file = dir.path().join(name);
        fs::write(&file, text.replace("/usr/local/bin/backstay", &program)).unwrap();
        let ran = run(Command::new("systemd-analyze").args(["verify", "--man=no"]).arg(&file));
        assert!(!ran.stderr.contains(name), "{ran:?}");
    }
}
