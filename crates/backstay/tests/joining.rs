//! Machines that join: by a token, known by a hash, each an agent in a process of its own.

mod support;

use std::process::{Command, Stdio};

use backstay_apiserver::kubeconfig;
use backstay_apiserver::pki::{Pki, Subject, server_hosts};
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use support::joined::{Agent, agent_command, joining, words};
use support::{Ran, Server, run, wait_for, wait_node};

const MANIFEST: &str = "apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: agent
spec:
  selector: { matchLabels: { app: agent } }
  template:
    metadata: { labels: { app: agent } }
    spec:
      terminationGracePeriodSeconds: 1
      tolerations: [{ operator: Exists }]
      containers:
      - name: main
        image: none
        command: [sh, -c, \"echo hello from $NODE with $WORD; sleep 100000\"]
        env:
        - { name: NODE, valueFrom: { fieldRef: { fieldPath: spec.nodeName } } }
        - { name: WORD, valueFrom: { secretKeyRef: { name: word, key: word } } }
";

fn json(ran: Ran) -> Value {
    serde_json::from_str(&ran.ok()).expect("JSON")
}

#[test]
fn machines_join_and_stay() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["server"]);
    let join = joining(&server, &[]);
    let mut one = Agent::start("n1", &words(&join));
    let two = Agent::start("n2", &words(&join));
    wait_node(&server, "n1", "True");
    wait_node(&server, "n2", "True");
    let requests = json(server.backstay(&["get", "csr", "-o", "json"]));
    let requests = requests["items"].as_array().unwrap();
    assert_eq!(requests.len(), 2);
    for request in requests {
        assert!(request["spec"]["username"].as_str().unwrap().starts_with("system:bootstrap:"), "{request:#}");
        assert_eq!(request["status"]["conditions"][0]["type"], "Approved");
    }
    assert!(server.kubectl(&["get", "csr"]).ok().contains("Approved,Issued"));

    let manifest = dir.path().join("agent.yaml");
    std::fs::write(&manifest, MANIFEST).unwrap();
    server.kubectl(&["create", "secret", "generic", "word", "--from-literal=word=salt"]).ok();
    server.backstay(&["apply", "-f", manifest.to_str().unwrap()]).ok();
    server.backstay(&["rollout", "status", "ds/agent", "--timeout", "120s"]).ok();
    let pod_of = |node: &str| {
        let selector = format!("--field-selector=spec.nodeName={node}");
        server.backstay(&["get", "pods", &selector, "-o", "jsonpath={.items[0].metadata.name}"]).ok()
    };
    for node in ["n1", "n2"] {
        let pod = pod_of(node);
        wait_for("its word", || {
            let log = server.kubectl(&["logs", &pod]);
            log.stdout.contains(&format!("hello from {node} with salt")).then_some(())
        });
        assert_eq!(server.kubectl(&["exec", &pod, "--", "sh", "-c", "echo $NODE"]).ok().trim(), node);
    }

    // Killed, and started again without the token, which it has forgotten: nothing was restarted.
    let started = |pod: &str| {
        let path = "jsonpath={.status.containerStatuses[0].state.running.startedAt} {.status.containerStatuses[0].restartCount}";
        server.backstay(&["get", "pod", pod, "-o", path]).ok()
    };
    let (pod, before) = (pod_of("n1"), started(&pod_of("n1")));
    let kept = std::fs::read_to_string(one.dir.path().join("agent.kubeconfig")).unwrap();
    let token = join[join.iter().position(|word| word == "--token").unwrap() + 1].clone();
    assert!(!kept.contains(&token));
    one.kill();
    one.resume("n1", &[]);
    wait_for("its agent is reached again", || {
        (server.kubectl(&["exec", &pod, "--", "true"]).code == Some(0)).then_some(())
    });
    assert_eq!(started(&pod), before);

    // The same token does not take the place of a node that is there and well.
    let thief = tempfile::tempdir().unwrap();
    let refused = run(&mut agent_command(&thief.path().join("agent"), "n1", &words(&join)));
    assert_eq!(refused.code, Some(1), "{refused:?}");
    let why = "there is a node \"n1\" already, and it is ready: delete it, or give this machine another name";
    assert!(refused.stderr.contains(why), "{refused:?}");
    assert!(!thief.path().join("agent").exists());
    assert!(server.kubectl(&["get", "csr"]).ok().contains("Denied"));

    server.backstay(&["delete", "ds", "agent"]).ok();
    wait_for("its pods are gone", || server.backstay(&["get", "pods", "-o", "name"]).stdout.is_empty().then_some(()));
    drop((one, two));
}

#[test]
fn any_server_of_several_will_do() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["server"]);
    let mut join = joining(&server, &["--agent-server", &format!("https://127.0.0.1:1,{}/", server.url)]);
    assert_eq!(join[..2], ["--server", &format!("https://127.0.0.1:1,{}/", server.url)]);
    join.extend(["--server".to_string(), server.url.clone()]);
    let mut agent = Agent::start("n1", &words(&join));
    wait_node(&server, "n1", "True");
    let file = agent.dir.path().join("agent.kubeconfig");
    let kept = || -> Vec<String> {
        let text = std::fs::read_to_string(&file).unwrap();
        let mut servers: Vec<_> = text.lines().filter_map(|line| line.trim().strip_prefix("server: ")).collect();
        servers.sort_unstable();
        servers.into_iter().map(String::from).collect()
    };
    let mut both = vec!["https://127.0.0.1:1".to_string(), server.url.clone()];
    both.sort();
    assert_eq!(kept(), both);

    // One of them alone from now on, then others of the same fleet; strangers it does not take for its own.
    for (servers, expected) in [(vec![&server.url], &both[1..]), (vec![&both[0], &both[1]], &both[..])] {
        agent.kill();
        let expected = if servers.len() == 1 { vec![server.url.clone()] } else { expected.to_vec() };
        let given: Vec<&str> = servers.iter().flat_map(|url| ["--server", url.as_str()]).collect();
        agent.resume("n1", &given);
        wait_for("it knows them", || (kept() == expected).then_some(()));
    }
    agent.kill();
    let refused = run(&mut agent_command(agent.dir.path(), "n1", &["--server", "https://127.0.0.1:2"])).fails();
    assert!(refused.contains("join anew with --server and --token") && refused.contains(&server.url), "{refused}");
}

#[test]
fn who_is_not_let_in() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["server"]);
    let refused = |words: &[&str], expected: &str| {
        let dir = tempfile::tempdir().unwrap();
        let ran = run(&mut agent_command(&dir.path().join("var/agent"), "n9", words));
        assert!(ran.code == Some(1) && ran.stderr.contains(expected), "{words:?}: {ran:?}");
        assert!(!dir.path().join("var").exists(), "{words:?}: something is left");
    };
    let join = joining(&server, &["--ttl", "1h", "--description", "rack 7"]);
    let good = words(&join);
    let at = |option: &str| good.iter().position(|word| *word == option).unwrap() + 1;
    let with = |option: &str, value: &str| {
        let mut words = good.clone();
        let at = at(option);
        words[at] = Box::leak(value.to_string().into_boxed_str());
        words
    };
    let other_hash = format!("sha256:{}", "00".repeat(32));
    refused(&with("--ca-cert-hash", &other_hash), "is not the one that is meant");
    refused(&with("--ca-cert-hash", "sha256:00"), "is not a hash");
    refused(&with("--token", "abcdef.0123456789abcdef"), "does not accept the token");
    refused(&with("--server", "http://127.0.0.1:1"), "is not the address of a server");
    refused(&with("--server", "https://127.0.0.1:1"), "cannot reach the server");
    refused(&good[..4], "--token needs --ca-cert or --ca-cert-hash");
    refused(&[], "has not joined a server");
    refused(&["--runtime", "none"], "the argument");
    refused(&[&["--cri-socket", "/none"], good.as_slice()].concat(), "--cri-socket is for a container runtime");
    let dir_of_bad = tempfile::tempdir().unwrap();
    let ran = run(&mut agent_command(dir_of_bad.path(), "Bad_Name", &good));
    assert!(ran.stderr.contains("a node cannot be named \"Bad_Name\": a lowercase RFC 1123 subdomain"), "{ran:?}");

    let listed = server.backstay(&["token", "list"]).ok();
    assert!(listed.contains(good[at("--token")]) && listed.contains("rack 7"), "{listed}");
    server.backstay(&["token", "delete", good[at("--token")]]).ok();
    refused(&good, "does not accept the token");
    let short = joining(&server, &["--ttl", "1s"]);
    wait_for("it has expired", || {
        let dir = tempfile::tempdir().unwrap();
        let mut child = agent_command(dir.path(), "n9", &words(&short)).stderr(Stdio::piped()).spawn().unwrap();
        for _ in 0..100 {
            if child.try_wait().unwrap().is_some() {
                return Some(());
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    });
    // A joining token is good for nothing else.
    let token = server.backstay(&["token", "create", "-o", "token"]).ok();
    let config = std::fs::read_to_string(&server.kubeconfig).unwrap();
    let bare: String =
        config.lines().filter(|line| !line.contains("client-")).map(|line| format!("{line}\n")).collect();
    let file = dir.path().join("bare.kubeconfig");
    std::fs::write(&file, bare).unwrap();
    let as_token = |arguments: &[&str]| {
        let mut command = Command::new(support::kubectl());
        run(command.arg("--kubeconfig").arg(&file).args(["--token", token.trim()]).args(arguments))
    };
    for arguments in [&["get", "nodes"][..], &["get", "secrets", "-A"], &["get", "pods"], &["create", "namespace", "x"]]
    {
        let ran = as_token(arguments);
        assert!(ran.stderr.contains("Forbidden") || ran.stderr.contains("forbidden"), "{arguments:?}: {ran:?}");
    }
}

/// Two would end each other's pods.
#[test]
fn a_machine_has_one_agent() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["server"]);
    let join = joining(&server, &[]);
    let mut agent = Agent::start("n1", &words(&join));
    wait_node(&server, "n1", "True");
    let second = run(&mut agent_command(agent.dir.path(), "n1", &[]));
    assert_eq!(second.code, Some(1), "{second:?}");
    assert!(second.stderr.contains("another agent runs with "), "{second:?}");
    // Whatever became of the first, its place is free.
    agent.kill();
    server.backstay(&["delete", "node", "n1"]).ok();
    agent.resume("n1", &[]);
    wait_node(&server, "n1", "True");
}

/// What a power cut or a bad disk has left of the certificate that a machine keeps.
#[test]
fn torn_credentials_are_no_dead_end() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["server"]);
    let join = joining(&server, &[]);
    let mut agent = Agent::start("n1", &words(&join));
    wait_node(&server, "n1", "True");
    agent.kill();
    let file = agent.dir.path().join("agent.kubeconfig");
    let whole = std::fs::read_to_string(&file).unwrap();
    for torn in ["", "\0\0\0\0", "clusters: [", &whole[..whole.len() / 2]] {
        std::fs::write(&file, torn).unwrap();
        // What was being written when the power went is never taken for it.
        std::fs::write(file.with_extension("new"), &whole).unwrap();
        let ran = run(&mut agent_command(agent.dir.path(), "n1", &[]));
        assert_eq!(ran.code, Some(1), "{torn:?}: {ran:?}");
        for said in [file.to_str().unwrap(), "join again with a token"] {
            assert!(ran.stderr.contains(said), "{torn:?}: {}", ran.stderr);
        }
    }
    // With a token at hand it joins anew; the node of before is not well any more, so that its place is free.
    server.backstay(&["delete", "node", "n1"]).ok();
    agent.resume("n1", &words(&join));
    wait_node(&server, "n1", "True");
    let kept = std::fs::read_to_string(&file).unwrap();
    assert!(kept.contains("client-certificate-data") && kept != whole);
}

/// The certificate of a node, in the hands of somebody who wants more.
#[test]
fn a_stolen_certificate_opens_little() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["server", "--simulated-nodes", "2"]);
    wait_node(&server, "sim-00001", "True");
    server.kubectl(&["create", "secret", "generic", "mine", "--from-literal=a=1"]).ok();
    server.kubectl(&["create", "secret", "generic", "other", "--from-literal=a=1"]).ok();
    let pod = "apiVersion: v1
kind: Pod
metadata: { name: NAME }
spec:
  nodeName: NODE
  containers:
  - { name: main, image: x, envFrom: [{ secretRef: { name: SECRET } }] }
";
    for (name, node, secret) in [("a", "sim-00000", "mine"), ("b", "sim-00001", "other")] {
        let file = dir.path().join("pod.yaml");
        std::fs::write(&file, pod.replace("NAME", name).replace("NODE", node).replace("SECRET", secret)).unwrap();
        server.backstay(&["apply", "-f", file.to_str().unwrap()]).ok();
    }
    let pki = Pki::open(&server.data_dir.join("pki"), &server_hosts([127, 0, 0, 1].into(), ""), Timestamp::now());
    let pki = pki.expect("the server's authority");
    let subject = Subject::client("system:node:sim-00000", &["system:nodes"]);
    let pair = pki.authority.issue(&subject, Timestamp::now(), 1).unwrap();
    let file = dir.path().join("node.kubeconfig");
    kubeconfig::write(&file, &server.url, &pki.authority.pair().certificate_pem, &pair).unwrap();
    let as_node = |arguments: &[&str]| {
        let mut command = Command::new(support::kubectl());
        run(command.arg("--kubeconfig").arg(&file).args(arguments))
    };
    for arguments in [
        &["get", "secret", "mine"][..],
        &["get", "node", "sim-00000"],
        &["get", "pods", "--field-selector", "spec.nodeName=sim-00000"],
        &["label", "node", "sim-00000", "team=a"],
        &["get", "pod", "a"],
    ] {
        as_node(arguments).ok();
    }
    for arguments in [
        &["get", "secret", "other"][..],
        &["get", "secrets"],
        &["get", "secrets", "-A"],
        &["get", "pods"],
        &["get", "pods", "--field-selector", "spec.nodeName=sim-00001"],
        &["get", "nodes"],
        &["get", "node", "sim-00001"],
        &["label", "node", "sim-00000", "node-restriction.kubernetes.io/x=y"],
        &["label", "node", "sim-00001", "team=a"],
        &["taint", "node", "sim-00000", "a=b:NoSchedule"],
        &["delete", "node", "sim-00001"],
        &["delete", "pod", "b"],
        &["create", "token", "default"],
        &["create", "clusterrolebinding", "x", "--clusterrole=cluster-admin", "--user=system:node:sim-00000"],
        &["get", "nodes", "--as=admin", "--as-group=system:masters"],
        &["run", "p", "--image=x"],
    ] {
        let ran = as_node(arguments);
        assert!(ran.code == Some(1) && ran.stderr.to_lowercase().contains("forbidden"), "{arguments:?}: {ran:?}");
    }
}

#[test]
fn a_certificate_is_renewed_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path(), &["server"]);
    let pki = Pki::open(&server.data_dir.join("pki"), &server_hosts([127, 0, 0, 1].into(), ""), Timestamp::now());
    let pki = pki.expect("the server's authority");
    // Nine tenths of its time are over.
    let issued = Timestamp::now() - SignedDuration::from_hours(24 * 92);
    let pair = pki.authority.issue(&Subject::client("system:node:n1", &["system:nodes"]), issued, 100).unwrap();
    let mut agent = Agent::new();
    let credentials = backstay_node::join::Credentials {
        // Whichever it asks first.
        servers: vec!["https://127.0.0.1:1".into(), server.url.clone()],
        announced: Vec::new(),
        node: "n1".into(),
        ca_pem: pki.authority.pair().certificate_pem.clone(),
        certificate_pem: pair.certificate_pem.clone(),
        key_pem: pair.key_pem,
    };
    credentials.store(agent.dir.path()).unwrap();
    agent.resume("n1", &[]);
    let renewed = wait_for("a newer certificate", || {
        let kept = backstay_node::join::Credentials::load(agent.dir.path()).unwrap().unwrap();
        (kept.certificate_pem != pair.certificate_pem).then_some(kept)
    });
    let (_, until) = renewed.validity().unwrap();
    assert!(until > Timestamp::now() + SignedDuration::from_hours(24 * 300));
    wait_node(&server, "n1", "True");
}
