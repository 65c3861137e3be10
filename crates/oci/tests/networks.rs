//! Pods with a network of their own, by real plugins, in a network namespace that stands for the machine.

mod machine;
#[path = "../../backstay/tests/support/needs.rs"]
mod needs;
mod support;

use std::io::Read as _;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use backstay_node::runtime::{HostPort, Runtime as _, SandboxRequest};
use machine::{Machine, runtime, until};
use rustix::mount::{UnmountFlags, unmount};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

/// Set for a test that is in a namespace of its own.
const INSIDE: &str = "BACKSTAY_TEST_INSIDE";
const NEEDS: [(&str, &str); 5] = [
    ("busybox", "busybox-static"),
    ("unshare", "util-linux"),
    ("ip", "iproute2"),
    ("iptables", "iptables"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
];

/// Whether this is the test itself. Else it runs again, in a network namespace of its own, and has passed here.
fn is_inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
        return true;
    }
    if needs::are_met(test, true, &NEEDS) {
        let mut again = Command::new("unshare");
        again.arg("--net").arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]);
        let output = again.env(INSIDE, "1").output().unwrap();
        let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
    false
}

/// A bridge, and what else is to be done about a pod.
fn configure(machine: &Machine, addresses: &Path, further: &[Value]) {
    let bridge = json!({ "type": "bridge", "bridge": "pods0", "isGateway": true, "ipam": { "type": "host-local",
        "dataDir": addresses, "ranges": [[{ "subnet": "10.77.0.0/24" }]] } });
    let plugins: Vec<Value> = [bridge].into_iter().chain(further.iter().cloned()).collect();
    let list = json!({ "cniVersion": "0.4.0", "name": "pods", "plugins": plugins });
    let folder = machine.dir.path().join("net.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("10-pods.conflist"), list.to_string()).unwrap();
}

/// Addresses that are given away.
fn taken(addresses: &Path) -> Vec<String> {
    let files = std::fs::read_dir(addresses.join("pods")).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let mut taken: Vec<String> = names.filter(|name| name.starts_with("10.")).collect();
    taken.sort();
    taken
}

async fn ips(machine: &Machine) -> Option<Vec<String>> {
    machine.runtime.sandbox(&machine.uid).await.unwrap().map(|sandbox| sandbox.ips)
}

fn rules() -> String {
    String::from_utf8(Command::new("iptables-save").output().unwrap().stdout).unwrap()
}

#[tokio::test]
async fn pods_reach_each_other_and_are_reached() {
    if !is_inside("pods_reach_each_other_and_are_reached") {
        return;
    }
    let addresses = tempfile::tempdir().unwrap();
    let (serves, mut asks) = (Machine::empty(), Machine::empty());
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    for machine in [&serves, &asks] {
        configure(machine, addresses.path(), std::slice::from_ref(&portmap));
    }
    let port = HostPort { container_port: 8080, host_port: 18080, protocol: "TCP".into(), host_ip: String::new() };
    let sysctls = [("net.ipv4.ip_unprivileged_port_start", "77"), ("kernel.shm_rmid_forced", "1")];
    let request = SandboxRequest {
        hostname: "server-0".into(),
        ports: vec![port],
        sysctls: sysctls.map(|(name, value)| (name.to_string(), value.to_string())).into(),
        ..serves.request()
    };
    serves.runtime.prepare(&request).await.unwrap();
    asks.runtime.prepare(&asks.request()).await.unwrap();
    assert_eq!(ips(&serves).await, Some(vec!["10.77.0.2".into()]));
    assert_eq!(ips(&asks).await, Some(vec!["10.77.0.3".into()]));
    // Once more changes nothing.
    serves.runtime.prepare(&request).await.unwrap();
    assert_eq!(taken(addresses.path()), ["10.77.0.2", "10.77.0.3"]);

    let script = "echo $(hostname) $(cat /etc/hostname) $(cat /proc/sys/net/ipv4/ip_unprivileged_port_start) \
        $(cat /proc/sys/kernel/shm_rmid_forced); nc -ll -p 8080 -e echo served";
    let key = serves.start(script, |_| {}).await;
    serves.says(&key, "server-0 server-0 77 1").await;
    let looked = "until nc 10.77.0.2 8080; do sleep 0.1; done; ip -o link | wc -l";
    asks.check(looked, |_| {}, "served\n2", 0).await;
    // From outside of all pods, by the port of the machine.
    let mut answer = String::new();
    until(|| TcpStream::connect("10.77.0.1:18080").is_ok_and(|mut stream| stream.read_to_string(&mut answer).is_ok()))
        .await;
    assert_eq!(answer, "served\n");
    // By the server's tunnel, through the pod's own loopback.
    let mut forwarded = serves.runtime.port_forward(&serves.uid, 8080).await.unwrap();
    let mut answer = String::new();
    forwarded.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "served\n");
    let refused = serves.runtime.port_forward(&serves.uid, 8082).await.err().unwrap().to_string();
    assert!(refused.contains("cannot connect to port 8082"), "{refused}");

    assert!(rules().contains("18080"));
    // With the end of the pod its address and its port are free, long before it goes.
    serves.runtime.stop(&key, std::time::Duration::ZERO).await.unwrap();
    serves.runtime.end_sandbox(&serves.uid).await.unwrap();
    assert_eq!(ips(&serves).await, None);
    assert_eq!(taken(addresses.path()), ["10.77.0.3"]);
    assert!(!rules().contains("18080"), "{}", rules());
    assert!(serves.log_path(&key).exists());
    serves.end().await;
    asks.end().await;
    assert_eq!(taken(addresses.path()), Vec::<String>::new());
    assert!(!rules().contains("18080"), "{}", rules());
}

#[tokio::test]
async fn networks_outlive_agents_and_are_made_anew_after_the_machine_was_off() {
    if !is_inside("networks_outlive_agents_and_are_made_anew_after_the_machine_was_off") {
        return;
    }
    let addresses = tempfile::tempdir().unwrap();
    let mut machine = Machine::empty();
    configure(&machine, addresses.path(), &[]);
    machine.runtime.prepare(&machine.request()).await.unwrap();
    let key = machine.start("exec sleep 100000", |_| {}).await;
    (machine.runtime, machine.changed) = runtime(machine.dir.path());
    assert_eq!(ips(&machine).await, Some(vec!["10.77.0.2".into()]), "another agent knows it");
    machine.runtime.stop(&key, std::time::Duration::ZERO).await.unwrap();

    // The file stays, and stands for nothing: the address goes back, and the pod gets another.
    unmount(machine.pod().join("ns/net"), UnmountFlags::DETACH).unwrap();
    assert_eq!(ips(&machine).await, None);
    machine.runtime.prepare(&machine.request()).await.unwrap();
    assert_eq!(ips(&machine).await, Some(vec!["10.77.0.3".into()]));
    assert_eq!(taken(addresses.path()), ["10.77.0.3"]);

    // An agent that was killed in the midst of it has not kept a result.
    let state = machine.pod().join("network.json");
    let mut half: Value = serde_json::from_slice(&std::fs::read(&state).unwrap()).unwrap();
    half["result"] = Value::Null;
    std::fs::write(&state, half.to_string()).unwrap();
    assert_eq!(ips(&machine).await, None);
    machine.runtime.prepare(&machine.request()).await.unwrap();
    assert_eq!(taken(addresses.path()), ["10.77.0.4"]);

    // What a pod was connected by counts, whatever is configured now.
    std::fs::remove_dir_all(machine.dir.path().join("net.d")).unwrap();
    machine.end().await;
    assert_eq!(taken(addresses.path()), Vec::<String>::new());
}

#[tokio::test]
async fn what_stands_in_the_way_is_told() {
    if !is_inside("what_stands_in_the_way_is_told") {
        return;
    }
    let addresses = tempfile::tempdir().unwrap();
    let machine = Machine::empty();
    let refused = async |request: SandboxRequest| {
        let error = machine.runtime.prepare(&request).await.unwrap_err().to_string();
        assert_eq!(ips(&machine).await, None, "{error}");
        error
    };
    let error = refused(machine.request()).await;
    assert!(error.contains("NetworkPluginNotReady") && error.contains("hostNetwork: true"), "{error}");
    configure(&machine, addresses.path(), &[json!({ "type": "nonesuch" })]);
    let error = refused(machine.request()).await;
    let expected = "plugin type=\"nonesuch\" failed (add): failed to find plugin \"nonesuch\" in path [/opt/cni/bin";
    assert!(error.contains("failed to setup network for sandbox") && error.contains(expected), "{error}");
    assert_eq!(taken(addresses.path()), Vec::<String>::new(), "what the first plugin did is taken back");
    configure(&machine, addresses.path(), &[json!({ "type": "tuning", "sysctl": { "net.nonesuch": "1" } })]);
    let error = refused(machine.request()).await;
    assert!(error.contains("plugin type=\"tuning\" failed (add): ") && error.contains("nonesuch"), "{error}");
    assert_eq!(taken(addresses.path()), Vec::<String>::new());
    for (name, expected) in [("kernel.hostname", "is not namespaced"), ("vm.swappiness", "is not namespaced")] {
        let sysctls = [(name.to_string(), "1".to_string())].into();
        let error = refused(SandboxRequest { sysctls, ..machine.request() }).await;
        assert!(error.contains(expected), "{error}");
    }
    let mut request = machine.request();
    request.namespaces.network = backstay_node::runtime::Namespace::Host;
    request.sysctls = [("net.core.somaxconn".to_string(), "1".to_string())].into();
    let error = machine.runtime.prepare(&request).await.unwrap_err().to_string();
    assert!(error.contains("not allowed in host net"), "{error}");
}
