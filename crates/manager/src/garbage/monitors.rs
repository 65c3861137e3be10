//! One watch of metadata per resource that can be deleted, following what the server serves.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstay_controllers::garbage::{Partial, ResourceName};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};

use crate::api::{Discovered, Resource, Served};
use crate::context::Context;
use crate::inform::{Batch, Listener, Reflector};

/// Batches that may wait for the driver. A full queue makes the watches wait.
const WAITING_MAX: usize = 64;

/// News of one resource.
pub struct News {
    pub resource: Arc<ResourceName>,
    pub batch: Batch<Partial>,
}

pub struct Monitors {
    context: Context,
    sender: mpsc::Sender<News>,
    watches: JoinSet<()>,
    monitors: BTreeMap<Arc<ResourceName>, Monitor>,
    /// By `apiVersion` and kind, of everything that is served, watched or not.
    kinds: BTreeMap<(String, String), Kind>,
}

struct Monitor {
    watch: AbortHandle,
    listed: bool,
}

/// Where the objects of a kind are.
#[derive(Clone, Debug)]
pub struct Kind {
    pub resource: Arc<ResourceName>,
    pub namespaced: bool,
}

impl Monitors {
    pub fn new(context: Context) -> (Self, mpsc::Receiver<News>) {
        let (sender, news) = mpsc::channel(WAITING_MAX);
        let (watches, monitors, kinds) = (JoinSet::new(), BTreeMap::new(), BTreeMap::new());
        (Self { context, sender, watches, monitors, kinds }, news)
    }

    /// Begins and ends watches until they are those of the served resources. Returns the resources that are no longer
    /// watched, each with what is watched instead: another version. A group that did not answer keeps its watches.
    pub fn follow(&mut self, discovered: &Discovered) -> Vec<(Arc<ResourceName>, Option<Arc<ResourceName>>)> {
        let unknown: BTreeSet<&str> = discovered.failures.iter().map(|(group, _)| group.as_str()).collect();
        self.kinds.retain(|_, kind| unknown.contains(kind.resource.group.as_str()));
        let mut wanted = BTreeSet::new();
        for served in &discovered.served {
            let name = Arc::new(name(served));
            let kind = Kind { resource: name.clone(), namespaced: served.namespaced };
            let api_version = backstay_api::GroupVersionKind::new(&served.group, &served.version, "").api_version();
            self.kinds.insert((api_version, served.kind.clone()), kind);
            if is_watched(served) {
                wanted.insert(name);
            }
        }
        let is_over = |name: &ResourceName| !wanted.contains(name) && !unknown.contains(name.group.as_str());
        let over: Vec<_> = self.monitors.keys().filter(|name| is_over(name)).cloned().collect();
        let mut listed = BTreeSet::new();
        let mut ended = Vec::new();
        for name in over {
            let heir = wanted.iter().find(|other| other.group == name.group && other.plural == name.plural).cloned();
            if let Some(monitor) = self.monitors.remove(&name) {
                monitor.watch.abort();
                listed.extend(heir.clone().filter(|_| monitor.listed));
            }
            ended.push((name, heir));
        }
        for name in wanted {
            if !self.monitors.contains_key(&name) {
                let watch = self.watch(name.clone());
                let listed = listed.contains(&name);
                self.monitors.insert(name, Monitor { watch, listed });
            }
        }
        ended
    }

    /// Notes that a resource has been listed. Returns whether it had been before; `None` if it is not watched (any more).
    pub fn note_listed(&mut self, resource: &ResourceName) -> Option<bool> {
        let monitor = self.monitors.get_mut(resource)?;
        Some(std::mem::replace(&mut monitor.listed, true))
    }

    pub fn is_watched(&self, resource: &ResourceName) -> bool {
        self.monitors.contains_key(resource)
    }

    pub fn are_listed(&self) -> bool {
        self.monitors.values().all(|monitor| monitor.listed)
    }

    /// The resources that have not been listed yet.
    pub fn missing(&self) -> impl Iterator<Item = &ResourceName> {
        self.monitors.iter().filter(|(_, monitor)| !monitor.listed).map(|(name, _)| &**name)
    }

    /// Where objects of a kind are found; `None` if the server does not serve it, or not in a version we know.
    pub fn find_kind(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        self.kinds
            .get(&(api_version.to_string(), kind.to_string()))
            .or_else(|| self.find_other_version(api_version, kind))
    }

    /// A reference may name any version of the owner; discovery is read for the preferred one only.
    fn find_other_version(&self, api_version: &str, kind: &str) -> Option<&Kind> {
        let group = api_version.rsplit_once('/').map_or("", |(group, _)| group);
        self.kinds
            .iter()
            .find(|((_, name), found)| name == kind && found.resource.group == group)
            .map(|(_, found)| found)
    }

    fn watch(&mut self, resource: Arc<ResourceName>) -> AbortHandle {
        let Context { api, entropy, metrics, .. } = self.context.clone();
        let reflector = Reflector { api: api.metadata_only(), resource: path(&resource), entropy, metrics };
        let feed = Feed { resource, sender: self.sender.clone() };
        self.watches.spawn(reflector.run(feed))
    }
}

/// The resource as requests name it.
pub fn path(name: &ResourceName) -> Resource {
    Resource::named(&name.group, &name.version, &name.plural)
}

fn name(served: &Served) -> ResourceName {
    let plural = served.resource.plural.to_string();
    ResourceName { group: served.group.clone(), version: served.version.clone(), plural }
}

fn is_watched(served: &Served) -> bool {
    let is_event = served.resource.plural == "events" && matches!(served.group.as_str(), "" | "events.k8s.io");
    served.has(&["delete", "list", "watch"]) && !is_event
}

struct Feed {
    resource: Arc<ResourceName>,
    sender: mpsc::Sender<News>,
}

impl Listener<Partial> for Feed {
    async fn tell(&mut self, batch: Batch<Partial>) -> bool {
        self.sender.send(News { resource: self.resource.clone(), batch }).await.is_ok()
    }
}
