//! The informers of client-go, as every kubectl carries them: commands that wait, over a network that is cut and a
//! server that is restarted.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::support::clients::{self, Kubectl};
use crate::support::world::World;

/// Its first template never becomes ready; its second one does.
const DAEMONSET: &str = r#"{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"slow"},"spec":{"selector":
{"matchLabels":{"app":"slow"}},"template":{"metadata":{"labels":{"app":"slow"},"annotations":
{"sim.backstay.dev/behavior":"never-ready"}},"spec":{"containers":[{"name":"c","image":"i:1"}]}}}}"#;
const READY: &str = r#"{"spec":{"template":{"metadata":{"annotations":{"sim.backstay.dev/behavior":null}}}}}"#;

#[test]
fn kubectl_goes_on_waiting() {
    let kubectls = clients::kubectls();
    if kubectls.is_empty() {
        return clients::say("SKIPPED: no kubectl is installed; run `cargo xtask clients`");
    }
    let mut world = World::start();
    let file = world.dir.path().join("slow.json");
    std::fs::write(&file, DAEMONSET).expect("written");
    world.server().backstay(&["apply", "-f", file.to_str().expect("UTF-8")]).ok();
    let mut waiting: Vec<Waiting> = kubectls.iter().map(|kubectl| Waiting::status(&world, kubectl)).collect();
    for one in &mut waiting {
        // It has listed, and now watches.
        one.expect_line("Waiting for daemon set \"slow\" rollout to finish: ");
    }
    world.proxy.cut();
    world.restart();
    world.proxy.cut();
    world.server().backstay(&["patch", "ds/slow", "-p", READY]).ok();
    for one in waiting {
        one.expect_end("daemon set \"slow\" successfully rolled out");
    }
}

/// A `rollout status` that is still running.
struct Waiting {
    name: String,
    child: Child,
    lines: BufReader<ChildStdout>,
    /// What its libraries log of broken connections; of interest only if it fails.
    log: PathBuf,
}

impl Waiting {
    fn status(world: &World, kubectl: &Kubectl) -> Self {
        let mut command = Command::new(&kubectl.program);
        command.args(["rollout", "status", "ds/slow", "--timeout=120s"]);
        command.env("KUBECONFIG", &world.kubeconfig).env("HOME", world.dir.path());
        let log = world.dir.path().join(format!("kubectl-{}.log", kubectl.minor));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(File::create(&log).expect("a file"));
        let child = command.spawn();
        let mut child = child.expect("kubectl starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { name: format!("kubectl 1.{}", kubectl.minor), child, lines, log }
    }

    fn expect_line(&mut self, start: &str) {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        assert!(line.starts_with(start), "{}: {line:?}", self.name);
    }

    fn expect_end(mut self, last: &str) {
        let mut rest = String::new();
        self.lines.read_to_string(&mut rest).expect("text");
        let status = self.child.wait().expect("it ends");
        let log = std::fs::read_to_string(&self.log).expect("text");
        assert!(status.success(), "{} ended with {status} after {rest:?}: {log}", self.name);
        assert_eq!(rest.lines().last(), Some(last), "{}", self.name);
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        // Killing one that has ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
