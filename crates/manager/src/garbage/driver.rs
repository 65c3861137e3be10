//! The loop: hear what is new, plan for the objects it touched, begin what the plans ask for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use backstay_api::time::until;
use backstay_controllers::garbage::{Action, Graph, Item, Owner, Partial, ResourceName, Sought};
use futures::StreamExt;
use jiff::{SignedDuration, Timestamp};
use tokio::task::{JoinError, JoinSet};

use super::execute::{Ended, execute, look_for};
use super::monitors::{Monitors, News};
use crate::api::{ApiError, Discovered, chain, discover};
use crate::context::Context;
use crate::inform::Change;
use crate::queue::Queue;

/// Objects worked on at a time: enough to fill the server's group commits.
const AT_ONCE_MAX: usize = 256;
/// Writes at a time where one object asks for many: dependents to be orphaned.
const WRITES_PER_OBJECT_MAX: usize = 64;
/// A resource that cannot be listed holds everything up for so long; then the others go on without it.
const LISTING_MAX: SignedDuration = SignedDuration::from_secs(30);
/// A new definition is served a moment after it is written; several often come together.
const DISCOVERY_DELAY: SignedDuration = SignedDuration::from_millis(500);
/// What is served is read again after this in any case.
const DISCOVERY_PERIOD: SignedDuration = SignedDuration::from_secs(60);
const DISCOVERY_RETRY: SignedDuration = SignedDuration::from_secs(1);

/// Runs the garbage collector until it is told to stop.
pub async fn run(context: Context) {
    let (monitors, mut news) = Monitors::new(context.clone());
    let mut driver = Driver {
        begun: context.steady.now(),
        discover_at: Some(context.steady.now()),
        context,
        graph: Graph::default(),
        monitors,
        queue: Queue::default(),
        looks: BTreeMap::new(),
        tasks: JoinSet::new(),
        objects_running: 0,
        is_ready: false,
        is_discovering: false,
        has_discovered: false,
    };
    loop {
        let pause = driver.pause();
        tokio::select! {
            biased;
            () = driver.context.shutdown.cancelled() => return,
            Some(done) = driver.tasks.join_next() => driver.hear_done(done),
            Some(news) = news.recv() => driver.hear(&news),
            () = tokio::time::sleep(pause) => {}
        }
        while let Some(done) = driver.tasks.try_join_next() {
            driver.hear_done(done);
        }
        while let Ok(news) = news.try_recv() {
            driver.hear(&news);
        }
        driver.work();
    }
}

struct Driver {
    context: Context,
    graph: Graph,
    monitors: Monitors,
    /// Uids of objects to plan for.
    queue: Queue<Arc<str>>,
    /// Owners that are being looked for.
    looks: BTreeMap<Sought, Look>,
    tasks: JoinSet<Done>,
    objects_running: usize,
    begun: Timestamp,
    /// When to read what is served (again).
    discover_at: Option<Timestamp>,
    is_discovering: bool,
    has_discovered: bool,
    /// Everything has been listed, or has had its time. Before that nothing is decided.
    is_ready: bool,
}

#[derive(Default)]
struct Look {
    dependents: BTreeSet<Arc<str>>,
    /// It went while it was looked for: an answer that shows it is old.
    gone: bool,
}

enum Done {
    Discovered(Result<Discovered, ApiError>),
    Looked { owner: Sought, found: Result<Option<Item>, ApiError> },
    Acted { uid: Arc<str>, ended: Vec<Ended> },
}

impl Driver {
    fn now(&self) -> Timestamp {
        self.context.steady.now()
    }

    fn pause(&self) -> std::time::Duration {
        let now = self.now();
        let discovery = self.discover_at.filter(|_| !self.is_discovering).map(|at| until(at, now));
        // Before anything is discovered, nothing follows from that time: it may be long over while a server is slow.
        let ready = (!self.is_ready && self.has_discovered).then(|| until(self.begun + LISTING_MAX, now));
        let is_full = self.objects_running >= AT_ONCE_MAX;
        let queue = (self.is_ready && !is_full).then(|| self.queue.pause(now));
        [discovery, ready, queue].into_iter().flatten().min().unwrap_or(std::time::Duration::MAX)
    }

    fn hear(&mut self, news: &News) {
        if is_definition(&news.resource) {
            self.discover_within(DISCOVERY_DELAY);
        }
        for change in news.batch.iter() {
            match change {
                Change::Set(seen) if self.monitors.is_watched(&news.resource) => self.set(&news.resource, seen),
                Change::Set(_) => {}
                Change::Gone(seen) => self.remove(&seen.meta.uid),
                Change::Listed { objects, resource_version } => {
                    self.hear_list(&news.resource, objects, *resource_version);
                }
            }
        }
    }

    /// What is being read already may have been read before: it is read once more then.
    fn discover_within(&mut self, pause: SignedDuration) {
        let at = self.now() + pause;
        self.discover_at = Some(self.discover_at.map_or(at, |planned| planned.min(at)));
    }

    fn hear_list(&mut self, resource: &Arc<ResourceName>, objects: &[Arc<Partial>], version: u64) {
        let Some(was_listed) = self.monitors.note_listed(resource) else { return };
        if was_listed {
            let here: BTreeSet<&Arc<str>> = objects.iter().map(|seen| &seen.meta.uid).collect();
            let known = self.graph.of_resource(resource);
            let lost = known.filter(|item| !here.contains(&item.uid) && item.resource_version <= version);
            let lost: Vec<Arc<str>> = lost.map(|item| item.uid.clone()).collect();
            lost.iter().for_each(|uid| self.remove(uid));
        }
        for seen in objects {
            self.set(resource, seen);
        }
    }

    fn set(&mut self, resource: &Arc<ResourceName>, seen: &Partial) {
        let woken = self.graph.upsert(Item::new(resource.clone(), seen));
        self.wake(woken);
    }

    fn remove(&mut self, uid: &str) {
        let looks = self.looks.range_mut(Sought::before(uid)..);
        looks.take_while(|(owner, _)| *owner.uid == *uid).for_each(|(_, look)| look.gone = true);
        let woken = self.graph.remove(uid);
        self.wake(woken);
    }

    fn wake(&mut self, uids: impl IntoIterator<Item = Arc<str>>) {
        uids.into_iter().for_each(|uid| self.queue.add(uid));
    }

    fn work(&mut self) {
        let now = self.now();
        if !self.is_discovering && self.discover_at.is_some_and(|at| at <= now) {
            (self.discover_at, self.is_discovering) = (None, true);
            let api = self.context.api.clone();
            self.tasks.spawn(async move { Done::Discovered(discover(&api).await) });
        }
        if !self.is_ready && self.has_discovered {
            self.is_ready = self.may_begin(now);
        }
        while self.is_ready && self.objects_running < AT_ONCE_MAX {
            let Some(uid) = self.queue.take(now) else { return };
            self.plan_for(uid);
        }
    }

    fn may_begin(&self, now: Timestamp) -> bool {
        if self.monitors.are_listed() {
            return true;
        }
        let is_late = now >= self.begun + LISTING_MAX;
        if is_late {
            let missing: Vec<&ResourceName> = self.monitors.missing().collect();
            tracing::warn!(?missing, "garbage collection begins without resources that cannot be listed");
        }
        is_late
    }

    fn plan_for(&mut self, uid: Arc<str>) {
        let mut actions = Vec::new();
        for action in self.graph.plan(&uid) {
            match action {
                Action::LookFor { owner, namespace } => self.look(&uid, owner, namespace),
                action => actions.push(action),
            }
        }
        if actions.is_empty() {
            return self.queue.done(&uid);
        }
        self.objects_running += 1;
        self.context.metrics.garbage_actions.add(actions.len() as u64);
        let api = self.context.api.clone();
        self.tasks.spawn(async move {
            let api = &api;
            let each = actions.into_iter().map(|action| async move { execute(api, &action).await });
            let ended = futures::stream::iter(each).buffer_unordered(WRITES_PER_OBJECT_MAX).collect().await;
            Done::Acted { uid, ended }
        });
    }

    /// All dependents of an owner wait for one answer.
    fn look(&mut self, dependent: &Arc<str>, owner: Owner, namespace: Arc<str>) {
        let Some(kind) = self.monitors.find_kind(&owner.api_version, &owner.kind).cloned() else {
            // Perhaps it will be served; the next discovery wakes nobody, so the dependent asks again by itself.
            self.queue.add_at(dependent.clone(), self.now() + DISCOVERY_PERIOD);
            return;
        };
        if kind.namespaced && namespace.is_empty() {
            // A cluster-scoped object cannot have a namespaced owner; nothing follows from the reference.
            return;
        }
        let key = Sought::new(&owner, &namespace);
        let is_under_way = self.looks.contains_key(&key);
        self.looks.entry(key.clone()).or_default().dependents.insert(dependent.clone());
        if is_under_way {
            return;
        }
        let api = self.context.api.clone();
        self.tasks.spawn(async move {
            let found = look_for(&api, &kind, &owner, &namespace).await;
            Done::Looked { owner: key, found }
        });
    }

    fn hear_done(&mut self, done: Result<Done, JoinError>) {
        match done {
            Ok(Done::Discovered(discovered)) => self.hear_discovered(discovered),
            Ok(Done::Looked { owner, found }) => self.hear_looked(&owner, found),
            Ok(Done::Acted { uid, ended }) => self.hear_acted(&uid, ended),
            // A request never panics but by a bug; its object stays reserved, and nothing worse happens.
            Err(error) => tracing::error!(%error, "a task of the garbage collector broke down"),
        }
    }

    fn hear_discovered(&mut self, discovered: Result<Discovered, ApiError>) {
        self.is_discovering = false;
        match discovered {
            Err(error) => {
                tracing::warn!(error = %chain(&error), "cannot find out what is served; will retry");
                self.discover_within(DISCOVERY_RETRY);
            }
            Ok(discovered) => {
                self.discover_within(DISCOVERY_PERIOD);
                self.has_discovered = true;
                for (resource, heir) in self.monitors.follow(&discovered) {
                    if let Some(heir) = heir {
                        // The same objects: which of them have gone, the list of the new watch will tell.
                        self.graph.rename_resource(&resource, &heir);
                        continue;
                    }
                    let known = self.graph.of_resource(&resource).map(|item| item.uid.clone());
                    let known: Vec<Arc<str>> = known.collect();
                    known.iter().for_each(|uid| self.remove(uid));
                }
            }
        }
    }

    fn hear_looked(&mut self, owner: &Sought, found: Result<Option<Item>, ApiError>) {
        let look = self.looks.remove(owner).unwrap_or_default();
        match found {
            Err(error) => {
                let again = self.now() + DISCOVERY_RETRY;
                tracing::warn!(owner = %owner.uid, error = %chain(&error), "cannot look for an owner; will retry");
                look.dependents.into_iter().for_each(|uid| self.queue.add_at(uid, again));
            }
            Ok(Some(item)) if !look.gone && self.monitors.is_watched(&item.resource) => {
                let woken = self.graph.upsert(item);
                self.wake(woken.into_iter().chain(look.dependents));
            }
            // It exists, but no watch will tell when it goes: the dependents look again from time to time.
            Ok(Some(_)) if !look.gone => {
                let again = self.now() + DISCOVERY_PERIOD;
                look.dependents.into_iter().for_each(|uid| self.queue.add_at(uid, again));
            }
            Ok(_) => {
                let woken = self.graph.mark_absent(owner);
                self.wake(woken);
            }
        }
    }

    fn hear_acted(&mut self, uid: &Arc<str>, ended: Vec<Ended>) {
        self.objects_running -= 1;
        let mut failed = false;
        for ended in ended {
            match ended {
                Ended::Done => {}
                Ended::Gone(gone) => self.remove(&gone),
                // What has gone meanwhile must not come back by an old answer.
                Ended::Stale(item) if self.graph.get(&item.uid).is_some() => {
                    let woken = self.graph.upsert(item);
                    self.wake(woken.into_iter().chain([uid.clone()]));
                }
                Ended::Stale(_) => {}
                Ended::Failed(error) => {
                    self.context.metrics.garbage_failures.add(1);
                    tracing::warn!(%uid, error = %chain(&error), "garbage not collected; will retry");
                    failed = true;
                }
            }
        }
        match failed {
            true => self.queue.failed(uid, self.now()),
            false => self.queue.done(uid),
        }
    }
}

/// Objects whose writes change what is served.
fn is_definition(resource: &ResourceName) -> bool {
    matches!(
        (resource.group.as_str(), resource.plural.as_str()),
        ("apiextensions.k8s.io", "customresourcedefinitions") | ("apiregistration.k8s.io", "apiservices")
    )
}
