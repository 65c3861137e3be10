//! The agent of this machine: registers it as a node and runs the pods that are bound to it.
//!
//! One task per pod plans and acts; it is woken by changes of the pod, by ends of containers, and by its own timers.
//! When the agent stops, pods go on; the next one adopts them.

mod act;
mod ask;
mod cordon;
mod events;
mod failed;
mod files;
mod heartbeat;
mod images;
mod inputs;
mod pods;
mod probes;
mod release;
mod request;
mod upkeep;
mod workers;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use backstay_api::url::escaped;
use backstay_api::{Clock, Entropy};
use tokio::sync::{Notify, mpsc};

use crate::client::Api;
use crate::lifecycle::NodeEnd;
use crate::machine::Machine;
use crate::pod_inputs::NodeFacts;
use crate::runtime::Runtimes;
use crate::servers::{self, Servers};
use crate::watch::{self, Selection};
pub(crate) use upkeep::NodeState;
use upkeep::Resident;

pub struct NodeConfig {
    /// The name of the Node object; a DNS subdomain.
    pub name: String,
    pub runtimes: Runtimes,
    pub clock: Clock,
    pub entropy: Entropy,
    /// Holds `pods/`, the volumes, logs and records of all pods; the same directory that the runtimes were given.
    pub data_dir: PathBuf,
    pub machine: Machine,
    /// The machine's addresses; none: found out.
    pub addresses: Vec<String>,
    /// Labels besides the standard ones.
    pub labels: Vec<(String, String)>,
    /// Sysctls that pods may have besides the safe ones, each as [`crate::pod_inputs::sysctls::parse_allowed`] returns it.
    pub sysctls_allowed: Vec<String>,
}

/// The directory of pods below a data directory.
pub fn pods_dir(data_dir: &std::path::Path) -> PathBuf {
    data_dir.join("pods")
}

/// What everything on this node shares.
struct Context {
    api: Api,
    config: NodeConfig,
    facts: NodeFacts,
    events: events::Recorder,
    /// Images are fetched one at a time.
    pulls: tokio::sync::Mutex<()>,
    state: Mutex<NodeState>,
    /// The state has changed: the server is to know at once.
    state_changed: Notify,
    residents: Mutex<BTreeMap<String, Resident>>,
    endings: mpsc::UnboundedSender<(String, NodeEnd)>,
}

impl Context {
    fn state(&self) -> NodeState {
        self.state.lock().expect("never poisoned").clone()
    }

    fn change_state(&self, change: impl FnOnce(&mut NodeState)) {
        let mut state = self.state.lock().expect("never poisoned");
        let before = state.clone();
        change(&mut state);
        if *state != before {
            self.state_changed.notify_one();
        }
    }

    /// The pods that run here now.
    fn residents(&self) -> Vec<(String, Resident)> {
        let residents = self.residents.lock().expect("never poisoned");
        residents.iter().map(|(uid, resident)| (uid.clone(), resident.clone())).collect()
    }

    /// `None`: it does not run here any more.
    fn set_resident(&self, uid: &str, resident: Option<Resident>) {
        let mut residents = self.residents.lock().expect("never poisoned");
        match resident {
            Some(resident) => drop(residents.insert(uid.to_string(), resident)),
            None => drop(residents.remove(uid)),
        }
    }

    /// Has the pod's worker end it.
    fn end(&self, uid: &str, why: NodeEnd) {
        let _ = self.endings.send((uid.to_string(), why));
    }
}

/// As many changes as the watch may run ahead of us.
const CHANGES_MAX: usize = 256;

/// Runs the node until `shutdown`. Faults of all servers are waited out: pods run on without them.
pub fn run(
    servers: Servers,
    config: NodeConfig,
    shutdown: impl Future<Output = ()> + Send,
) -> impl Future<Output = ()> + Send {
    let going_home = servers::go_home(servers.clone(), config.entropy.clone());
    let api = Api::new(servers);
    let facts = crate::machine::facts(&config.name, &config.addresses, &config.data_dir);
    let (events, recording) = events::recorder(api.clone(), &config);
    let (sender, changes) = mpsc::channel(CHANGES_MAX);
    let query = format!("fieldSelector=spec.nodeName%3D{}", escaped(&config.name));
    let selection = Selection { path: "/api/v1/pods", query };
    let watch = watch::run(api.clone(), selection, config.entropy.clone(), sender);
    let (endings, ended) = mpsc::unbounded_channel();
    let context = Arc::new(Context {
        api,
        config,
        facts,
        events,
        pulls: tokio::sync::Mutex::default(),
        state: Mutex::default(),
        state_changed: Notify::new(),
        residents: Mutex::default(),
        endings,
    });
    async move {
        tokio::select! {
        biased;
            () = watch => {}
            () = recording => {}
            () = heartbeat::run(context.clone()) => {}
            () = pods::run(context.clone(), changes, ended) => {}
            () = upkeep::run(context.clone()) => {}
            () = cordon::run(context.clone()) => {}
            () = going_home => {}
            () = end(shutdown, &context) => {}
        }
    }
}

/// The agent ends when it is told to; its pods only if the whole machine does.
async fn end(shutdown: impl Future<Output = ()> + Send, context: &Context) {
    shutdown.await;
    if (context.config.machine.is_stopping)() {
        upkeep::end_all(context).await;
    }
}
