//! Pods with a network of their own, by real plugins, in a network namespace that stands for the machine.

mod machine;
#[path = "../../backstay/tests/support/needs.rs"]
mod needs;
mod support;

use std::io::Read as _;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

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

fn bridge(addresses: &Path) -> Value {
    json!({ "type": "bridge", "bridge": "pods0", "isGateway": true, "ipam": { "type": "host-local",
        "dataDir": addresses, "ranges": [[{ "subnet": "10.77.0.0/24" }]] } })
}

/// A bridge, and what else is to be done about a pod.
fn configure(machine: &Machine, addresses: &Path, further: &[Value]) {
    let plugins: Vec<Value> = [bridge(addresses)].into_iter().chain(further.iter().cloned()).collect();
    configure_as(machine, json!({ "cniVersion": "0.4.0", "plugins": plugins }));
}

fn configure_as(machine: &Machine, mut list: Value) {
    list["name"] = "pods".into();
    let folder = machine.dir.path().join("net.d");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("10-pods.conflist"), list.to_string()).unwrap();
}

/// A plugin of the test's own: keeps what it reads in `NAME.COMMAND`, and then does this.
fn plugin(machine: &Machine, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let (dir, read) = (machine.dir.path().join("plugins"), machine.dir.path().join(name));
    std::fs::create_dir_all(&dir).unwrap();
    let text = format!("#!/bin/sh\ncat > '{}'.$CNI_COMMAND\n{script}\n", read.display());
    std::fs::write(dir.join(name), text).unwrap();
    std::fs::set_permissions(dir.join(name), std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn has_read(machine: &Machine, name: &str, command: &str) -> Value {
    let text = std::fs::read_to_string(machine.dir.path().join(format!("{name}.{command}"))).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_default()
}

/// Addresses that are given away.
fn taken(addresses: &Path) -> Vec<String> {
    let files = std::fs::read_dir(addresses.join("pods")).into_iter().flatten().flatten();
    let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
    let mut taken: Vec<String> = names.filter(|name| name.starts_with("10.")).collect();
    taken.sort();
    taken
}

/// What is said to somebody who connects; `None`: nothing, in good time.
fn answer(address: SocketAddr) -> Option<String> {
    const WHILE: Duration = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&address, WHILE).ok()?;
    stream.set_read_timeout(Some(WHILE)).ok()?;
    let mut said = String::new();
    stream.read_to_string(&mut said).ok()?;
    Some(said)
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
    until(|| answer(([10, 77, 0, 1], 18080).into()).as_deref() == Some("served\n")).await;
    // By the server's tunnel, through the pod's own loopback.
    let mut forwarded = serves.runtime.port_forward(&serves.uid, 8080).await.unwrap();
    let mut answer = String::new();
    forwarded.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "served\n");
    let refused = serves.runtime.port_forward(&serves.uid, 8082).await.err().unwrap().to_string();
    assert!(refused.contains("cannot connect to port 8082"), "{refused}");

    assert!(rules().contains("18080"));
    // With the end of the pod its address and its port are free, long before it goes.
    serves.runtime.stop(&key, Duration::ZERO).await.unwrap();
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
    machine.runtime.stop(&key, Duration::ZERO).await.unwrap();

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
    let expected = "plugin type=\"nonesuch\" failed (add): failed to find plugin \"nonesuch\" in path [/";
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

/// Each with an address of both families, at which it is reached; all of them at once.
#[tokio::test]
async fn pods_of_two_families_come_at_once() {
    if !is_inside("pods_of_two_families_come_at_once") {
        return;
    }
    let addresses = tempfile::tempdir().unwrap();
    let machines: Vec<Machine> = (0..4).map(|_| Machine::empty()).collect();
    let mut both = bridge(addresses.path());
    both["ipam"]["ranges"] = json!([[{ "subnet": "10.77.0.0/24" }], [{ "subnet": "fd00:77::/64" }]]);
    both["ipam"]["routes"] = json!([{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }]);
    let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
    // For newer plugins than these as well.
    let list = json!({ "cniVersions": ["1.1.0", "0.4.0", "1.0.0"], "plugins": [both, portmap] });
    machines.iter().for_each(|machine| configure_as(machine, list.clone()));
    let prepare = async |number: usize| {
        let host_port = 18100 + u16::try_from(number).unwrap();
        let port = HostPort { container_port: 80, host_port, protocol: "TCP".into(), host_ip: String::new() };
        machines[number].runtime.prepare(&SandboxRequest { ports: vec![port], ..machines[number].request() }).await
    };
    for (number, prepared) in futures::future::join_all((0..machines.len()).map(prepare)).await.into_iter().enumerate()
    {
        // Plugins may be in each other's way when they make what all share. As an agent does: again, a little later.
        if let Err(error) = prepared {
            assert!(error.to_string().contains("File exists"), "{error}");
            prepare(number).await.unwrap();
        }
    }
    let mut seen = Vec::new();
    for machine in &machines {
        let state = std::fs::read(machine.pod().join("network.json")).unwrap();
        let state: Value = serde_json::from_slice(&state).unwrap();
        let plugins = &state["configuration"]["version"];
        assert!(plugins == "1.0.0" || plugins == "1.1.0", "the newest that all speak: {plugins}");
        seen.extend(ips(machine).await.unwrap());
    }
    let of = |family: &str| seen.iter().filter(|ip| ip.starts_with(family)).collect::<std::collections::BTreeSet<_>>();
    assert_eq!((of("10.77.0.").len(), of("fd00:77::").len()), (4, 4), "{seen:?}");
    let key = machines[0].start("ip -6 route | grep default; nc -ll -p 80 -e echo served", |_| {}).await;
    machines[0].says(&key, "default via fd00:77::1 dev eth0").await;
    for ip in &seen[..2] {
        until(|| answer((ip.parse::<IpAddr>().unwrap(), 80).into()).as_deref() == Some("served\n")).await;
    }
    futures::future::join_all(machines.into_iter().map(Machine::end)).await;
    assert_eq!(taken(addresses.path()), Vec::<String>::new());
    assert!(!rules().contains("1810"), "{}", rules());
}

#[tokio::test]
async fn plugins_read_what_their_version_says() {
    if !is_inside("plugins_read_what_their_version_says") {
        return;
    }
    for (version, is_taken_back) in [("0.3.1", false), ("0.4.0", true), ("1.0.0", true)] {
        let machine = Machine::empty();
        let result = json!({ "cniVersion": version, "ips": [{ "version": "4", "address": "10.9.9.9/8" }] });
        plugin(&machine, "first", &format!("test $CNI_COMMAND != ADD || echo '{result}'"));
        plugin(&machine, "mute", "");
        plugin(&machine, "last", "");
        let plugins = ["first", "mute", "last"].map(|name| json!({ "type": name }));
        configure_as(&machine, json!({ "cniVersion": version, "plugins": plugins }));
        machine.runtime.prepare(&machine.request()).await.unwrap();
        assert_eq!(ips(&machine).await, Some(vec!["10.9.9.9".into()]), "one that says nothing has changed nothing");
        assert_eq!(has_read(&machine, "first", "ADD")["prevResult"], Value::Null);
        assert_eq!(has_read(&machine, "mute", "ADD")["prevResult"], result);
        assert_eq!(has_read(&machine, "last", "ADD")["prevResult"], result);
        machine.runtime.end_sandbox(&machine.uid).await.unwrap();
        for name in ["first", "mute", "last"] {
            let read = has_read(&machine, name, "DEL");
            let expected = if is_taken_back { result.clone() } else { Value::Null };
            assert_eq!((&read["cniVersion"], &read["prevResult"]), (&version.into(), &expected), "{name}");
        }
        machine.end().await;
    }
}

/// Without an address of its own, a pod would pass for one with the machine's.
#[tokio::test]
async fn a_network_without_addresses_is_none() {
    if !is_inside("a_network_without_addresses_is_none") {
        return;
    }
    let machine = Machine::empty();
    for (result, expected) in [
        (r#"{ "ips": [] }"#, "network \"pods\" gave the pod no address"),
        ("", "network \"pods\" did not say what it is like"),
        ("hello", "network \"pods\" did not say what it is like"),
    ] {
        plugin(&machine, "only", &format!("test $CNI_COMMAND != ADD || echo '{result}'"));
        configure_as(&machine, json!({ "cniVersion": "1.0.0", "plugins": [{ "type": "only" }] }));
        let error = machine.runtime.prepare(&machine.request()).await.unwrap_err().to_string();
        assert!(error.ends_with(expected), "{result}: {error}");
        assert_eq!(ips(&machine).await, None);
        assert!(!has_read(&machine, "only", "DEL").is_null(), "it is taken back");
    }
    machine.end().await;
}

/// One that hangs is ended, with all that it has started, and named; what came before it is taken back.
#[tokio::test]
async fn plugins_that_hang_are_ended() {
    if !is_inside("plugins_that_hang_are_ended") {
        return;
    }
    let addresses = tempfile::tempdir().unwrap();
    let mut machine = Machine::empty();
    let mark = format!("{}-hangs", machine.uid);
    let hang = format!("test $CNI_COMMAND != ADD || {{ sh -c 'sleep 100000; echo {mark}' & wait; }}");
    plugin(&machine, "hangs", &hang);
    configure(&machine, addresses.path(), &[json!({ "type": "hangs" })]);
    let hangs = |machine: &Machine| machine.traces().iter().any(|it| it.contains(&mark));
    // Whoever waited for it has gone: an agent that is told to stop.
    let request = machine.request();
    let begun = async { until(|| hangs(&machine)).await };
    tokio::select! {
        prepared = machine.runtime.prepare(&request) => panic!("{prepared:?}"),
        () = begun => {}
    }
    until(|| !hangs(&machine)).await;
    assert_eq!(ips(&machine).await, None);
    assert_eq!(taken(addresses.path()), ["10.77.0.2"], "nobody could take it back yet");

    (machine.runtime, machine.changed) = machine::runtime_with(machine.dir.path(), Duration::from_secs(5));
    let error = machine.runtime.prepare(&request).await.unwrap_err().to_string();
    assert!(error.ends_with("plugin type=\"hangs\" failed (add): no answer within 5 s"), "{error}");
    until(|| !hangs(&machine)).await;
    assert_eq!(taken(addresses.path()), Vec::<String>::new());
    assert!(!machine.pod().join("network.json").exists());
    machine.end().await;
}
