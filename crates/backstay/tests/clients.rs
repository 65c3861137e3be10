//! Real clients of Kubernetes against a real server, over a network that is cut and a server that is restarted: the
//! official Python and JavaScript clients as programs of their own (`tests/clients`), kube-rs, and kubectl.

#[path = "clients/kube_rs.rs"]
mod kube_rs;
#[path = "clients/kubectl.rs"]
mod kubectl;
mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use support::world::World;
use support::{clients, program};

#[test]
fn the_python_client() {
    let python = clients::folder().join("python/bin/python3");
    if !installed("python", &python) {
        return;
    }
    let mut program = Command::new(python);
    program.arg("-B").arg(sources().join("python/client.py"));
    let passed = play(&mut program);
    assert!(passed.len() >= 21, "{passed:?}");
}

#[test]
fn the_javascript_client() {
    let modules = clients::folder().join("node/node_modules");
    if !installed("node", &modules) {
        return;
    }
    // Modules are found beside the program that imports them.
    let dir = tempfile::tempdir().expect("a directory");
    std::os::unix::fs::symlink(&modules, dir.path().join("node_modules")).expect("a link");
    for source in std::fs::read_dir(sources().join("node")).expect("sources").flatten() {
        std::fs::copy(source.path(), dir.path().join(source.file_name())).expect("copied");
    }
    let passed = play(Command::new("node").arg(dir.path().join("client.mjs")));
    assert!(passed.len() >= 14, "{passed:?}");
}

/// A program's checks, against a server of its own.
fn play(program: &mut Command) -> Vec<String> {
    let mut world = World::start();
    program.env("KUBECONFIG", &world.kubeconfig).env("HOME", world.dir.path());
    program::play(program, |word| match word {
        "cut" => world.proxy.cut(),
        "restart" => world.restart(),
        other => panic!("the program asks for {other:?}"),
    })
}

/// Whether a client is there; if not, that is said, and an error where it was installed for the tests.
fn installed(name: &str, needed: &Path) -> bool {
    let found = needed.exists();
    assert!(found || !clients::is_required(name), "{name} was installed for the tests, but not {}", needed.display());
    if !found {
        clients::say(&format!("SKIPPED: the client for {name} is not installed; run `cargo xtask clients`"));
    }
    found
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients")
}
