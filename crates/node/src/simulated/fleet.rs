//! Runs the pods of all simulated nodes: one watch, one queue of timers, a bounded number of writes in flight.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::time::Duration;

use backstay_api::meta;
use backstay_api::time::until;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::mpsc;

use super::pod::{SimulatedPod, Write};
use super::{FleetConfig, node_index, nodes};
use crate::client::{self, Api};
use crate::status::Repetition;
use crate::watch::{self, Change, Selection, Unread, Watched as _};

/// Enough to fill the store's group commits, few enough not to crowd out everybody else.
const WRITES_MAX: usize = 64;
/// As much room as the watch may run ahead of us.
const CHANGES_MAX: usize = 1024;
/// When a write that failed is tried again.
const RETRY: Duration = Duration::from_secs(1);

pub(super) async fn run(api: Api, config: FleetConfig) {
    let (sender, mut changes) = mpsc::channel(CHANGES_MAX);
    // Unbound pods are nobody's business here.
    let selection = Selection { path: "/api/v1/pods", query: "fieldSelector=spec.nodeName%21%3D".to_string() };
    let watch = watch::run(api.clone(), selection, config.entropy.clone(), sender);
    let drive = async {
        let mut fleet = Fleet::new(api, config);
        loop {
            fleet.start_writes();
            let due = fleet.until_next_timer();
            tokio::select! {
                biased;
                Some(done) = fleet.writes.next(), if !fleet.writes.is_empty() => fleet.written(done),
                Some(change) = changes.recv() => fleet.take_in(change),
                () = wait(due) => fleet.fire_timers(),
            }
        }
    };
    tokio::join!(watch, drive);
}

async fn wait(due: Option<Duration>) {
    match due {
        Some(due) => tokio::time::sleep(due).await,
        None => pending().await,
    }
}

type Uid = String;

struct Fleet {
    api: Api,
    config: FleetConfig,
    pods: BTreeMap<Uid, Entry>,
    timers: BTreeSet<(Timestamp, Uid)>,
    /// Pods that have something to write, in the order in which it came up.
    waiting: VecDeque<Uid>,
    writes: FuturesUnordered<BoxFuture<'static, Done>>,
}

struct Entry {
    pod: SimulatedPod,
    timer: Option<Timestamp>,
    /// Waiting to be written, or being written.
    writing: bool,
    /// There was reason to look at it while it was written.
    again: bool,
    /// The version that our last write made: what is older says nothing about the status.
    written: u64,
    repetition: Repetition,
}

impl Entry {
    fn new(pod: SimulatedPod) -> Self {
        Self { pod, timer: None, writing: false, again: false, written: 0, repetition: Repetition::default() }
    }
}

/// A write that has come back.
struct Done {
    uid: Uid,
    result: Result<Written, kube::Error>,
}

enum Written {
    Status {
        status: Value,
        version: u64,
    },
    Deleted,
    /// There was nothing to write any more.
    Nothing,
}

impl Fleet {
    fn new(api: Api, config: FleetConfig) -> Self {
        let (pods, timers, waiting) = (BTreeMap::new(), BTreeSet::new(), VecDeque::new());
        Self { api, config, pods, timers, waiting, writes: FuturesUnordered::new() }
    }

    fn take_in(&mut self, change: Change<Unread>) {
        match change {
            Change::Listed(objects) => {
                let present: BTreeSet<&str> = objects.iter().map(meta::uid).collect();
                let gone: Vec<Uid> = self.pods.keys().filter(|uid| !present.contains(uid.as_str())).cloned().collect();
                gone.iter().for_each(|uid| self.forget(uid));
                objects.iter().for_each(|object| self.applied(object));
            }
            Change::Applied(object) => self.heard(&object),
            Change::Deleted(object) => self.forget(&object.uid),
        }
    }

    /// One of all changes, in turn.
    fn heard(&mut self, object: &Unread) {
        // What we wrote comes back: all that led to it came before it.
        if self.pods.get(&object.uid).is_some_and(|entry| entry.written == version(object.version())) {
            return;
        }
        match serde_json::from_str(object.text.get()) {
            Ok(object) => self.applied(&object),
            Err(error) => tracing::warn!(uid = object.uid, %error, "a pod that cannot be read"),
        }
    }

    fn applied(&mut self, object: &Value) {
        let node = meta::str_at(object, &["spec", "nodeName"]);
        let Some(index) = node_index(node).filter(|index| *index < self.config.nodes) else { return };
        let uid = meta::uid(object);
        match self.pods.get_mut(uid) {
            Some(entry) => {
                let stale = version(meta::resource_version(object)) < entry.written;
                let status = stale.then(|| std::mem::take(&mut entry.pod.facts.status));
                entry.pod.update(object);
                if let Some(status) = status {
                    entry.pod.facts.status = status;
                }
            }
            None => {
                let pod = SimulatedPod::new(object, node, &nodes::node_ip(index));
                self.pods.insert(uid.to_string(), Entry::new(pod));
            }
        }
        self.look_at(uid);
    }

    /// Puts the pod on the list of those to be written. Whether there is something to write is seen when its turn comes.
    fn look_at(&mut self, uid: &str) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        if std::mem::replace(&mut entry.writing, true) {
            entry.again = true;
        } else {
            self.waiting.push_back(uid.to_string());
        }
    }

    fn start_writes(&mut self) {
        while self.writes.len() < WRITES_MAX {
            let Some(uid) = self.waiting.pop_front() else { return };
            let Some(entry) = self.pods.get_mut(&uid) else { continue };
            entry.again = false;
            let now = self.config.clock.now();
            let (mut write, mut recheck_at) = entry.pod.live(now);
            if let Some(Write::Status { patch, .. }) = &write
                && !entry.repetition.allows(patch, now)
            {
                (write, recheck_at) = (None, Some(now + RETRY));
            }
            self.set_timer(&uid, recheck_at);
            match write {
                Some(write) => self.writes.push(self.write(uid, write)),
                None => self.written(Done { uid, result: Ok(Written::Nothing) }),
            }
        }
    }

    fn write(&self, uid: Uid, write: Write) -> BoxFuture<'static, Done> {
        let facts = &self.pods[&uid].pod.facts;
        let (api, namespace, name) = (self.api.clone(), facts.namespace.clone(), facts.name.clone());
        Box::pin(async move {
            let result = match write {
                Write::Delete => client::delete_pod(&api, &namespace, &name, &uid).await.map(|()| Written::Deleted),
                Write::Status { patch, status } => {
                    let written = client::patch_pod_status(&api, &namespace, &name, &uid, &patch).await;
                    written.map(|written| Written::Status { status, version: version(written.resource_version()) })
                }
            };
            Done { uid, result }
        })
    }

    fn written(&mut self, done: Done) {
        let Done { uid, result } = done;
        let Some(entry) = self.pods.get_mut(&uid) else { return };
        entry.writing = false;
        match result {
            Ok(Written::Nothing) => {}
            Ok(Written::Deleted) => self.forget(&uid),
            Ok(Written::Status { status, version }) => {
                entry.written = version;
                entry.pod.facts.status = status;
                if entry.again {
                    self.look_at(&uid);
                }
            }
            // It is gone: the watch will say so. (A conflict may also be an overtaken write, so it is tried again.)
            Err(error) if client::code(&error) == Some(404) => {}
            Err(error) => {
                tracing::debug!(%uid, %error, "write of a simulated pod failed; will retry");
                entry.repetition = Repetition::default();
                let retry = self.config.clock.now() + RETRY;
                self.set_timer(&uid, Some(retry));
            }
        }
    }

    fn set_timer(&mut self, uid: &str, at: Option<Timestamp>) {
        let Some(entry) = self.pods.get_mut(uid) else { return };
        if let Some(old) = std::mem::replace(&mut entry.timer, at) {
            self.timers.remove(&(old, uid.to_string()));
        }
        if let Some(at) = at {
            self.timers.insert((at, uid.to_string()));
        }
    }

    fn until_next_timer(&self) -> Option<Duration> {
        let (at, _) = self.timers.first()?;
        // A timer of tokio counts in milliseconds: rather a little late than twice.
        Some(until(*at, self.config.clock.now()) + Duration::from_millis(1))
    }

    fn fire_timers(&mut self) {
        let now = self.config.clock.now();
        while let Some((at, uid)) = self.timers.first().cloned() {
            if at > now {
                return;
            }
            self.set_timer(&uid, None);
            self.look_at(&uid);
        }
    }

    fn forget(&mut self, uid: &str) {
        self.set_timer(uid, None);
        self.pods.remove(uid);
    }
}

/// A resource version as the number that it is; 0 for what is none.
fn version(text: &str) -> u64 {
    text.parse().unwrap_or(0)
}
