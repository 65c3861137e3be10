//! Host 1 serves; host 2 is a node with the runtime `oci`, whose pods hang on a bridge of its own.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use backstay_node::process::layout;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};

use crate::image;
use crate::support::hosts::{Network, Running, last_words};
use crate::support::{Ran, run, traces, wait_for};

/// The host that runs pods.
pub const NODE: u32 = 2;
/// Leads to the DaemonSet's pod. Only the machine of this test has it.
pub const HOST_PORT: u16 = 18080;

/// What users see of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    pub name: String,
    pub ips: Vec<String>,
    pub container: String,
    pub restarts: u64,
}

pub struct World {
    pub network: Network,
    server: Option<Running>,
    agent: Option<Running>,
    /// Of all pods that were ever seen.
    uids: BTreeSet<String>,
    dir: tempfile::TempDir,
}

impl World {
    pub fn new(image: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut world = Self { network: Network::new(2), server: None, agent: None, uids: BTreeSet::new(), dir };
        world.configure(&[]);
        // Before anything of the node runs.
        let file = world.path("image.tar");
        image::pack(&file, image, &["/bin/true"]);
        let mut import = world.network.on(NODE, env!("CARGO_BIN_EXE_backstay"));
        import.args(["image", "import", "--agent"]).arg(&file).arg("--data-dir").arg(world.path("agent"));
        assert_eq!(run(&mut import).ok(), format!("{image}\n"));
        world.serve();
        let printed = world.backstay(&["token", "create", "--agent-server", &world.network.url(1)]).ok();
        let words: Vec<&str> = printed.split_whitespace().collect();
        world.start_agent(&words[2..]);
        wait_for("the node is ready", || {
            (world.backstay(&["wait", "--for=condition=Ready", "node/n", "--timeout=1s"]).code == Some(0)).then_some(())
        });
        world
    }

    /// The machine's network, with these plugins besides.
    pub fn configure(&self, further: &[Value]) {
        let ipam = json!({ "type": "host-local", "dataDir": self.path("addresses"),
            "ranges": [[{ "subnet": "10.88.0.0/24" }], [{ "subnet": "fd00:88::/64" }]],
            "routes": [{ "dst": "0.0.0.0/0" }, { "dst": "::/0" }] });
        let bridge = json!({ "type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": true, "ipam": ipam });
        let portmap = json!({ "type": "portmap", "capabilities": { "portMappings": true } });
        let plugins: Vec<Value> = [bridge, portmap].into_iter().chain(further.iter().cloned()).collect();
        let list = json!({ "cniVersions": ["0.4.0", "1.0.0"], "name": "pods", "plugins": plugins });
        std::fs::create_dir_all(self.path("net.d")).unwrap();
        std::fs::write(self.path("net.d/10-pods.conflist"), list.to_string()).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn serve(&mut self) {
        self.server = Some(self.network.serve(1, &self.path("server"), &[], Some(&self.path("server.log"))));
    }

    /// `words`: as they were printed to join; none for a machine that has joined.
    pub fn start_agent(&mut self, words: &[&str]) {
        let mut command = self.network.backstay(NODE, Some(&self.path("agent.log")));
        command.arg("agent").args(words).args(["--node-name", "n", "--runtime", "oci", "--data-dir"]);
        command.arg(self.path("agent")).arg("--cni-conf-dir").arg(self.path("net.d"));
        self.agent = Some(Running::start(&mut command));
    }

    pub fn kill_agent(&mut self) {
        self.agent = None;
    }

    /// A client on the server's host.
    pub fn client(&self, program: &str, arguments: &[&str]) -> Ran {
        run(self.command(program).args(arguments))
    }

    fn command(&self, program: &str) -> Command {
        self.network.client(1, &self.path("server"), program)
    }

    pub fn backstay(&self, arguments: &[&str]) -> Ran {
        self.client(env!("CARGO_BIN_EXE_backstay"), arguments)
    }

    pub fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.backstay(arguments).ok()).expect("JSON")
    }

    /// The one pod of a DaemonSet.
    pub fn pod(&mut self, app: &str) -> Pod {
        let list = self.json(&["get", "pods", "-l", &format!("app={app}"), "-o", "json"]);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        let [pod] = &list["items"].as_array().expect("a list")[..] else { panic!("not one pod of {app}: {list:#}") };
        self.uids.insert(text(&pod["metadata"]["uid"]));
        let status = &pod["status"];
        Pod {
            name: text(&pod["metadata"]["name"]),
            ips: status["podIPs"].as_array().into_iter().flatten().map(|ip| text(&ip["ip"])).collect(),
            container: text(&status["containerStatuses"][0]["containerID"]),
            restarts: status["containerStatuses"][0]["restartCount"].as_u64().unwrap_or_default(),
        }
    }

    /// A pod on the network, which is not started again.
    pub fn run_pod(&mut self, name: &str, host_port: u16, container: Value) {
        let mut main = json!({ "name": "main", "image": "localhost/web:1",
            "ports": [{ "containerPort": 80, "hostPort": host_port }] });
        main.as_object_mut().unwrap().extend(container.as_object().unwrap().clone());
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": { "restartPolicy": "Never", "terminationGracePeriodSeconds": 1, "containers": [main],
                "nodeName": "n" } });
        let file = self.path("pod.json");
        std::fs::write(&file, pod.to_string()).unwrap();
        self.backstay(&["apply", "-f", file.to_str().unwrap()]).ok();
        let made = self.json(&["get", "pod", name, "-o", "json"]);
        self.uids.extend(made["metadata"]["uid"].as_str().map(String::from));
    }

    /// The page that is served there, as seen from a host; `None`: there is none.
    pub fn get(&self, host: u32, address: &str) -> Option<String> {
        let address: SocketAddr = address.parse().unwrap();
        self.inside(host, || page(address).ok().flatten())
    }

    /// On a thread with the network of a host.
    fn inside<T: Send>(&self, host: u32, act: impl FnOnce() -> T + Send) -> T {
        let namespace = std::fs::File::open(self.network.namespace(host)).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            thread.join().unwrap()
        })
    }

    /// The page that is served at a port of a pod, through a client on the server's host.
    pub fn forwarded(&self, program: &str, pod: &str, port: u16) -> String {
        let mut command = self.command(program);
        command.args(["port-forward", &format!("pod/{pod}"), &format!(":{port}")]);
        let mut forwarding = Running::start(command.stdin(Stdio::null()).stdout(Stdio::piped()));
        let line = forwarding.line();
        let local = line.strip_prefix("Forwarding from ").and_then(|rest| rest.split(' ').next());
        let local = local.unwrap_or_else(|| panic!("{program}: {line:?}"));
        self.get(1, local).unwrap_or_else(|| panic!("{program}: nothing at {local}"))
    }

    /// What the network has given away, of both families.
    pub fn addresses_taken(&self) -> Vec<String> {
        let names = layout::names(&self.path("addresses/pods"));
        names.into_iter().filter(|name| name.starts_with("10.88.") || name.starts_with("fd00:88:")).collect()
    }

    /// Rules of both families on the node.
    pub fn rules(&self) -> String {
        ["iptables-save", "ip6tables-save"].map(|program| run(&mut self.network.on(NODE, program)).ok()).concat()
    }

    /// What is left of pods on the node, in words; nothing once all of them are gone.
    pub fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        left.extend(layout::names(&self.path("agent/pods")).iter().map(|name| format!("files of {name}")));
        left.extend(traces::left(self.dir.path(), &self.uids));
        left.extend(self.addresses_taken().iter().map(|address| format!("address {address}")));
        let rules = self.rules();
        // Portmap keeps chains of its own for good; those of a pod name it, or its address.
        let is_of_pod = |rule: &&str| {
            self.uids.iter().any(|uid| rule.contains(uid)) || rule.contains("10.88.0.") || rule.contains("CNI-DN-")
        };
        left.extend(rules.lines().filter(is_of_pod).map(|rule| format!("rule {rule}")));
        let links = run(self.network.on(NODE, "ip").args(["-o", "link"])).ok();
        left.extend(links.lines().filter(|link| link.contains("veth")).map(|link| format!("link {link}")));
        left
    }
}

impl Drop for World {
    fn drop(&mut self) {
        last_words(self.dir.path(), &["server", "agent"]);
        // What outlives an agent by design must not outlive a test. It is ended where it was made: on the node.
        self.agent = None;
        self.inside(NODE, || traces::end_pods(&self.path("agent")));
        traces::remove_cgroups_of(&self.uids);
    }
}

/// `None`: something else than a page is served.
fn page(address: SocketAddr) -> std::io::Result<Option<String>> {
    const WHILE: Duration = Duration::from_secs(3);
    let mut stream = TcpStream::connect_timeout(&address, WHILE)?;
    stream.set_read_timeout(Some(WHILE))?;
    stream.write_all(b"GET /index.html HTTP/1.0\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, page) = answer.split_once("\r\n\r\n").unwrap_or_default();
    Ok(head.contains(" 200 ").then(|| page.to_string()))
}
