//! Who gets in, as real clients see it: certificates, tokens, `kubectl auth`, `--as`, and a pod that calls its server.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use backstay_apiserver::pki::{Authority, Pair, Pki, Subject};
use jiff::{Timestamp, ToSpan};
use support::{Ran, Server, run, wait_for};

/// kubectl with nothing but a server and its authority.
fn kubectl(server: &Server, home: &Path, arguments: &[&str]) -> Ran {
    let mut command = Command::new("kubectl");
    command.env("HOME", home).env("KUBECONFIG", home.join("none")).args(["--server", &server.url]);
    command.arg("--certificate-authority").arg(server.data_dir.join("pki/ca.crt")).args(arguments);
    run(&mut command)
}

/// Writes a pair and gives the flags that show it.
fn certificate(dir: &Path, name: &str, pair: &Pair) -> [String; 2] {
    let write = |end: &str, text: &str| -> PathBuf {
        let path = dir.join(format!("{name}.{end}"));
        std::fs::write(&path, text).expect("written");
        path
    };
    let (certificate, key) = (write("crt", &pair.certificate_pem), write("key", &pair.key_pem));
    [format!("--client-certificate={}", certificate.display()), format!("--client-key={}", key.display())]
}

#[test]
fn certificates_name_users_and_groups_and_others_count_for_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), &["server"]);
    let now = Timestamp::now();
    let pki = Pki::open(&server.data_dir.join("pki"), &[], now).expect("the server's own");
    let ann = pki.authority.issue(&Subject::client("ann", &["dev", "ops"]), now, 1).expect("issued");
    let ann = certificate(dir.path(), "ann", &ann);
    let whoami = ["auth", "whoami", "-o", "jsonpath={.status.userInfo.username} {.status.userInfo.groups}"];
    let said = kubectl(&server, dir.path(), &[&[ann[0].as_str(), &ann[1]][..], &whoami].concat()).ok();
    assert_eq!(said, r#"ann ["dev","ops","system:authenticated"]"#);
    let table = kubectl(&server, dir.path(), &[&ann[0], &ann[1], "auth", "whoami"]).ok();
    assert!(table.contains("X509SHA256=") && table.starts_with("ATTRIBUTE"), "{table}");
    let refused = kubectl(&server, dir.path(), &[&ann[0], &ann[1], "get", "secrets"]).fails();
    assert!(refused.contains(r#"User "ann" cannot list resource "secrets""#), "{refused}");

    let hour = 1.hour();
    let old = pki.authority.issue(&Subject::client("ann", &["system:masters"]), now - 48 * hour, 1).expect("issued");
    let foreign = Authority::generate(now, 1).expect("another authority");
    let foreign = foreign.issue(&Subject::client("ann", &["system:masters"]), now, 1).expect("issued");
    for (name, pair) in [("old", &old), ("foreign", &foreign), ("server", &pki.server)] {
        let flags = certificate(dir.path(), name, pair);
        let refused = kubectl(&server, dir.path(), &[&flags[0], &flags[1], "get", "--raw", "/readyz"]).fails();
        assert!(refused.contains("You must be logged in to the server"), "{name}: {refused}");
    }
}

#[test]
fn kubectl_asks_what_it_may_and_who_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut server = Server::start(dir.path(), &["server"]);
    let yes = |arguments: &[&str]| {
        let asked = server.kubectl(&[&["auth", "can-i"], arguments].concat());
        assert_eq!(asked.clone().ok(), "yes\n", "{arguments:?} {asked:?}");
    };
    let no = |arguments: &[&str]| {
        let asked = server.kubectl(&[&["auth", "can-i"], arguments].concat());
        assert_eq!(
            (asked.code, asked.stdout.lines().next().unwrap_or_default().starts_with("no")),
            (Some(1), true),
            "{arguments:?}"
        );
    };
    yes(&["*", "*"]);
    yes(&["delete", "nodes"]);
    yes(&["get", "/metrics"]);
    yes(&["list", "pods", "--all-namespaces"]);
    no(&["list", "pods", "--as", "ann"]);
    server.kubectl(&["create", "role", "reader", "--verb=get,list", "--resource=pods,pods/log"]).ok();
    server.kubectl(&["create", "rolebinding", "readers", "--role=reader", "--user=ann", "--group=dev"]).ok();
    yes(&["list", "pods", "--as", "ann"]);
    yes(&["get", "pods", "--subresource=log", "--as", "ann"]);
    yes(&["list", "pods", "--as", "bob", "--as-group", "dev"]);
    no(&["list", "pods", "--as", "ann", "-n", "kube-system"]);
    no(&["list", "pods", "--as", "ann", "--all-namespaces"]);
    no(&["get", "secrets", "--as", "ann"]);
    no(&["get", "/metrics", "--as", "ann"]);
    yes(&["get", "/version", "--as", "ann"]);
    let list = server.kubectl(&["auth", "can-i", "--list", "--as", "ann"]).ok();
    let pods: Vec<&str> =
        list.lines().find(|line| line.starts_with("pods ")).expect("a row").split_whitespace().collect();
    assert_eq!(pods, ["pods", "[]", "[]", "[get", "list]"], "{list}");
    assert!(list.contains("selfsubjectaccessreviews.authorization.k8s.io") && list.contains("[/version"), "{list}");
    let whoami = ["auth", "whoami", "--as", "ann", "--as-group", "dev", "--as-uid", "7"];
    let said = server.kubectl(&whoami).ok();
    for words in ["ann", "dev", "system:authenticated", "7"] {
        assert!(said.contains(words), "{said}");
    }
    let refused = server.kubectl(&["get", "nodes", "--as", "system:serviceaccount:default:default"]).fails();
    assert!(refused.contains("system:serviceaccount:default:default"), "{refused}");

    let file = dir.path().join("rbac.yaml");
    let text = "
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader, namespace: default}
rules:
- {apiGroups: [''], resources: [configmaps], verbs: [get]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: readers, namespace: default}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects:
- {apiGroup: rbac.authorization.k8s.io, kind: User, name: eve}
";
    std::fs::write(&file, text).expect("written");
    let reconciled = server.kubectl(&["auth", "reconcile", "-f", file.to_str().expect("UTF-8")]).ok();
    assert!(reconciled.contains("role.rbac.authorization.k8s.io/reader reconciled"), "{reconciled}");
    for who in ["ann", "eve"] {
        yes(&["get", "configmaps", "--as", who]);
        yes(&["list", "pods", "--as", who]);
    }
    server.stop("TERM");
}

#[test]
fn tokens_get_in_until_what_they_are_bound_to_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), &["server"]);
    server.kubectl(&["create", "serviceaccount", "bot"]).ok();
    server.kubectl(&["create", "rolebinding", "bots", "--clusterrole=view", "--serviceaccount=default:bot"]).ok();
    server.kubectl(&["create", "secret", "generic", "leash"]).ok();
    let token = |more: &[&str]| {
        let token = server.kubectl(&[&["create", "token", "bot"], more].concat()).ok();
        format!("--token={}", token.trim())
    };
    let (free, bound) = (token(&[]), token(&["--bound-object-kind", "Secret", "--bound-object-name", "leash"]));
    let vault = token(&["--audience", "vault", "--duration", "10m"]);
    let get = |server: &Server, token: &str| kubectl(server, dir.path(), &[token, "get", "configmaps", "-o", "name"]);
    assert_eq!(get(&server, &free).ok(), "configmap/kube-root-ca.crt\n");
    assert_eq!(get(&server, &bound).ok(), "configmap/kube-root-ca.crt\n");
    assert!(get(&server, &vault).fails().contains("You must be logged in"), "for somebody else");
    let who =
        kubectl(&server, dir.path(), &[&free, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}"]).ok();
    assert_eq!(who, "system:serviceaccount:default:bot");
    let short = server.kubectl(&["create", "token", "bot", "--duration", "1m"]).fails();
    assert!(short.contains("may not specify a duration less than 10 minutes"), "{short}");

    // The key is kept, and so tokens outlive the server.
    let server = server.start_again();
    assert_eq!(get(&server, &free).ok(), "configmap/kube-root-ca.crt\n");
    server.kubectl(&["delete", "secret", "leash"]).ok();
    assert!(get(&server, &bound).fails().contains("You must be logged in"));
    server.kubectl(&["delete", "serviceaccount", "bot"]).ok();
    server.kubectl(&["create", "serviceaccount", "bot"]).ok();
    assert!(get(&server, &free).fails().contains("You must be logged in"), "another account of the same name");
}

/// As long as a selector may be, over either version of HTTP; beyond that, a refusal and not a broken connection.
#[test]
fn long_requests_arrive_and_longer_ones_are_told() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), &["server"]);
    // curl itself sends no longer ones over HTTP/2.
    for (version, length, expected) in
        [("--http1.1", 40_000, "403"), ("--http2", 40_000, "403"), ("--http1.1", 100_000, "414")]
    {
        let url = format!("{}/api/v1/pods?labelSelector={}", server.url, "a".repeat(length));
        let curl = ["-sk", version, "-o", "/dev/null", "-w", "%{http_code}", &url];
        assert_eq!(run(server.client("curl").args(curl)).stdout, expected, "{version} {length}");
    }
}

/// A pod finds everything that it needs to call its server: address, certificate, token.
#[test]
fn a_pod_calls_its_server_with_its_own_token() {
    let dir = tempfile::tempdir().expect("a directory");
    let server = Server::start(dir.path(), &["up", "--runtime", "process", "--node-name", "here"]);
    let script = r#"
d=/var/run/secrets/kubernetes.io/serviceaccount
[ -f $d/token ] || d=$(echo "$BACKSTAY_VOLUME_DIR"/kube-api-access-*)
url=https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT
curl -s --cacert $d/ca.crt -H "Authorization: Bearer $(cat $d/token)" $url/api/v1/namespaces/$(cat $d/namespace)/pods
echo done"#;
    let pod = serde_json::json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i", "command": ["sh", "-c", script]}]},
    });
    let file = dir.path().join("pod.json");
    std::fs::write(&file, pod.to_string()).expect("written");
    server.kubectl(&["apply", "-f", file.to_str().expect("UTF-8")]).ok();
    let said = wait_for("the pod to end", || {
        let phase = server.kubectl(&["get", "pod", "p", "-o", "jsonpath={.status.phase}"]).ok();
        matches!(phase.as_str(), "Succeeded" | "Failed").then(|| server.kubectl(&["logs", "p"]).ok())
    });
    assert!(said.contains(r#"User \"system:serviceaccount:default:default\" cannot list resource \"pods\""#), "{said}");
}
