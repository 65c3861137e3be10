//! The promises of `up` and `server`: the ready line, the kubeconfig, an orderly stop, and everything still there.

mod support;

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use support::{Server, backstay, kubectl, run};

const DAEMONSET: &str = r#"{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"a"},"spec":{"selector":
{"matchLabels":{"app":"a"}},"template":{"metadata":{"labels":{"app":"a"}},"spec":{"containers":[{"name":"c",
"image":"i:1"}]}}}}"#;

#[test]
fn the_ready_line_is_true_and_the_only_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(dir.path(), &["up", "--runtime", "none"]);
    assert!(server.url.starts_with("https://127.0.0.1:") && !server.url.ends_with(":0"), "{}", server.url);
    assert_eq!(server.kubeconfig, server.data_dir.join("admin.kubeconfig"));
    let mode = std::fs::metadata(&server.kubeconfig).expect("written").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(server.kubectl(&["get", "--raw", "/readyz"]).ok(), "ok");
    let (status, rest) = server.stop("TERM");
    assert_eq!((status.code(), rest.as_str()), (Some(0), ""));
}

#[test]
fn both_signals_stop_it_in_order_even_while_clients_watch() {
    for signal in ["TERM", "INT"] {
        let dir = tempfile::tempdir().expect("a directory");
        let mut server = Server::start(dir.path(), &["server"]);
        let mut watcher = server.client(kubectl()).args(["get", "namespaces", "-w"]).spawn().expect("kubectl runs");
        let begun = Instant::now();
        let (status, _) = server.stop(signal);
        assert_eq!(status.code(), Some(0), "{signal}");
        // The contract says 5 s; a promise to scripts, not a measure of speed.
        assert!(begun.elapsed() < Duration::from_secs(5), "{signal}: {:?}", begun.elapsed());
        watcher.kill().expect("killed");
        watcher.wait().expect("ended");
    }
}

#[test]
fn a_restart_finds_everything_and_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("a.json");
    std::fs::write(&file, DAEMONSET).expect("written");
    let file = file.to_str().expect("UTF-8");
    for signal in ["TERM", "KILL"] {
        let mut server = Server::start(dir.path(), &["up", "--runtime", "none", "--simulated-nodes", "3"]);
        server.kubectl(&["apply", "-f", file]).ok();
        server.kubectl(&["rollout", "status", "ds/a", "--timeout=60s"]).ok();
        let pods = server.kubectl(&["get", "pods", "-o", "name"]).ok();
        let image = format!("c=i:{signal}");
        server.kubectl(&["set", "image", "ds/a", &image]).ok();
        server.stop(signal);
        let server = server.start_again();
        server.kubectl(&["rollout", "status", "ds/a", "--timeout=60s"]).ok();
        assert_ne!(server.kubectl(&["get", "pods", "-o", "name"]).ok(), pods, "rolled to {image}");
        let images = "jsonpath={.items[*].spec.containers[0].image}";
        assert_eq!(server.kubectl(&["get", "pods", "-o", images]).ok(), [format!("i:{signal}").as_str(); 3].join(" "));
        let before = server.kubectl(&["get", "pods", "-o", "name"]).ok();
        let server = server.start_again();
        server.kubectl(&["rollout", "status", "ds/a", "--timeout=60s"]).ok();
        assert_eq!(server.kubectl(&["get", "pods", "-o", "name"]).ok(), before, "a restart alone replaces nothing");
    }
}

#[test]
fn a_second_server_on_the_same_data_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), &["server"]);
    let mut second = backstay();
    let second = run(second.args(["server", "--listen", "127.0.0.1:0", "--data-dir"]).arg(&server.data_dir));
    assert_eq!(second.code, Some(1));
    assert!(second.stderr.contains("in use"), "{}", second.stderr);
}

#[test]
fn a_port_that_is_taken_is_a_clear_error() {
    let dir = tempfile::tempdir().expect("a directory");
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let ran = run(backstay().args(["server", "--listen", &address, "--data-dir"]).arg(dir.path()));
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.contains(&address), "{}", ran.stderr);
}

#[test]
fn strangers_reach_health_and_little_else() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), &["server"]);
    let get = |path: &str| {
        let url = format!("{}{path}", server.url);
        run(server.client("curl").args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url])).ok()
    };
    assert_eq!(get("/readyz"), "200");
    assert_eq!(get("/livez"), "200");
    assert_eq!(get("/api/v1/secrets"), "403");
}
