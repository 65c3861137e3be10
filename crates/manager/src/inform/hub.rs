//! One list and watch per resource, however many controllers listen.

use std::sync::Arc;

use backstay_api::Entropy;
use backstay_controllers::garbage::Partial;
use backstay_controllers::model::{ControllerRevision, DaemonSet, Node, Object, Pod};
use backstay_controllers::node_lifecycle::{NodeReport, Renewal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::reflector::{Listener, Reflector};
use super::{Batch, Feed};
use crate::api::{
    Api, CERTIFICATE_REQUESTS, CLUSTER_ROLES, CONTROLLER_REVISIONS, DAEMON_SETS, LEASES, NAMESPACES, NODES, PODS,
    Resource,
};
use crate::metrics::Metrics;

/// Batches that may wait for a controller. A full queue makes the watch wait, and in the end resume or list again.
const WAITING_MAX: usize = 256;

/// One resource and who listens to it.
pub struct Topic<T> {
    resource: Resource,
    listeners: Vec<mpsc::Sender<Batch<T>>>,
}

impl<T: Object> Topic<T> {
    pub fn new(resource: Resource) -> Self {
        Self { resource, listeners: Vec::new() }
    }

    /// Everything there is, then every change. To be called before the hub starts.
    pub fn listen(&mut self) -> Feed<T> {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        self.listeners.push(sender);
        receiver
    }

    /// Starts the watch, if anybody listens.
    pub fn start(self, tasks: &mut JoinSet<()>, api: &Api, entropy: &Entropy, metrics: &Arc<Metrics>) {
        if self.listeners.is_empty() {
            return;
        }
        let (api, entropy, metrics) = (api.clone(), entropy.clone(), metrics.clone());
        let reflector = Reflector { api, resource: self.resource, entropy, metrics };
        tasks.spawn(reflector.run(Everyone(self.listeners)));
    }
}

/// The resources that several controllers share.
pub struct Hub {
    /// Their metadata only.
    pub certificate_requests: Topic<Partial>,
    /// Their metadata only.
    pub cluster_roles: Topic<Partial>,
    pub daemon_sets: Topic<DaemonSet>,
    pub controller_revisions: Topic<ControllerRevision>,
    /// Their metadata only.
    pub namespaces: Topic<Partial>,
    pub nodes: Topic<Node>,
    /// Nodes as they report themselves.
    pub node_reports: Topic<NodeReport>,
    /// Leases as signs of life.
    pub renewals: Topic<Renewal>,
    pub pods: Topic<Pod>,
}

impl Default for Hub {
    fn default() -> Self {
        Self {
            certificate_requests: Topic::new(CERTIFICATE_REQUESTS),
            cluster_roles: Topic::new(CLUSTER_ROLES),
            daemon_sets: Topic::new(DAEMON_SETS),
            controller_revisions: Topic::new(CONTROLLER_REVISIONS),
            namespaces: Topic::new(NAMESPACES),
            nodes: Topic::new(NODES),
            node_reports: Topic::new(NODES),
            renewals: Topic::new(LEASES),
            pods: Topic::new(PODS),
        }
    }
}

impl Hub {
    pub fn start(self, tasks: &mut JoinSet<()>, api: &Api, entropy: &Entropy, metrics: &Arc<Metrics>) {
        self.certificate_requests.start(tasks, &api.metadata_only(), entropy, metrics);
        self.cluster_roles.start(tasks, &api.metadata_only(), entropy, metrics);
        self.daemon_sets.start(tasks, api, entropy, metrics);
        self.controller_revisions.start(tasks, api, entropy, metrics);
        self.namespaces.start(tasks, &api.metadata_only(), entropy, metrics);
        self.nodes.start(tasks, api, entropy, metrics);
        self.node_reports.start(tasks, api, entropy, metrics);
        self.renewals.start(tasks, api, entropy, metrics);
        self.pods.start(tasks, api, entropy, metrics);
    }
}

struct Everyone<T>(Vec<mpsc::Sender<Batch<T>>>);

impl<T: Object> Listener<T> for Everyone<T> {
    async fn tell(&mut self, batch: Batch<T>) -> bool {
        for listener in &self.0 {
            // A controller that has ended must not keep the others from hearing.
            let _ = listener.send(batch.clone()).await;
        }
        self.0.retain(|listener| !listener.is_closed());
        !self.0.is_empty()
    }
}
