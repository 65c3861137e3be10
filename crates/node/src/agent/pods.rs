//! Sees to it that every pod of this node has a worker, and that nothing is left of those that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use backstay_api::meta;
use futures::FutureExt as _;
use serde_json::Value;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::JoinSet;

use super::failed::{self, Next};
use super::workers::{Note, Worker};
use super::{Context, pods_dir, release};
use crate::lifecycle::NodeEnd;
use crate::process::layout::{self, Layout};
use crate::runtime::Runtime;
use crate::watch::Change;

/// What a runtime holds is asked for again after this.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// Runs a worker for every pod of this node, and removes what is left of pods that are gone.
pub(super) async fn run(
    context: Arc<Context>,
    mut changes: mpsc::Receiver<Change>,
    mut endings: UnboundedReceiver<(String, NodeEnd)>,
) {
    let (changed, mut woken) = mpsc::unbounded_channel();
    for runtime in context.config.runtimes.all() {
        runtime.notify(changed.clone());
    }
    drop(changed);
    let mut workers = Workers {
        context,
        mailboxes: BTreeMap::new(),
        orphans: BTreeSet::new(),
        look_again: None,
        tasks: JoinSet::new(),
    };
    workers.remember();
    loop {
        tokio::select! {
            biased;
            Some(change) = changes.recv() => workers.take_in(change).await,
            Some((uid, why)) = endings.recv() => workers.tell(&uid, Note::End(why)),
            Some(uid) = woken.recv() => workers.tell(&uid, Note::Look),
            // Whatever the server knew when it was asked has a worker by now, or nothing here.
            () = at(workers.look_again) => workers.remove_orphans(&BTreeSet::new()).await,
            Some(done) = workers.tasks.join_next(), if !workers.tasks.is_empty() => match done {
                Ok((uid, next)) => workers.ended(&uid, next),
                Err(error) => tracing::error!(%error, "what was left of a pod is not removed"),
            },
        }
    }
}

struct Workers {
    context: Arc<Context>,
    mailboxes: BTreeMap<String, UnboundedSender<Note>>,
    /// Pods without a worker, of which what is left is being removed.
    orphans: BTreeSet<String>,
    /// A runtime could not tell what it holds: then it is asked again.
    look_again: Option<tokio::time::Instant>,
    /// Each ends with the uid of its pod, and what the next worker is to begin with if there has to be one.
    tasks: JoinSet<(String, Option<Next>)>,
}

impl Workers {
    /// Takes up the pods of an earlier agent: they are looked after although the server may not be there to ask. What it
    /// says later counts.
    fn remember(&mut self) {
        let layout = Layout { pods: pods_dir(&self.context.config.data_dir) };
        for uid in layout::names(&layout.pods) {
            let object: Option<Value> = layout::read(&layout.object(&uid));
            if let Some(object) = object.filter(|object| meta::uid(object) == uid) {
                self.begin(object, false);
            }
        }
    }

    async fn take_in(&mut self, change: Change) {
        match change {
            Change::Applied(object) => self.applied(object),
            Change::Deleted(object) => self.tell(meta::uid(&object), Note::Gone),
            Change::Listed(objects) => {
                let present: BTreeSet<String> = objects.iter().map(|object| meta::uid(object).to_string()).collect();
                for (uid, mailbox) in &self.mailboxes {
                    if !present.contains(uid) {
                        let _ = mailbox.send(Note::Gone);
                    }
                }
                self.remove_orphans(&present).await;
                objects.into_iter().for_each(|object| self.applied(object));
            }
        }
    }

    fn applied(&mut self, object: Value) {
        let uid = meta::uid(&object).to_string();
        if let Some(mailbox) = self.mailboxes.get(&uid)
            && !mailbox.is_closed()
        {
            return self.tell(&uid, Note::Object(Box::new(object)));
        }
        self.begin(object, true);
    }

    /// `is_current`: the object is from the server.
    fn begin(&mut self, object: Value, is_current: bool) {
        let uid = meta::uid(&object).to_string();
        let (mailbox, notes) = mpsc::unbounded_channel();
        let (context, kept) = (self.context.clone(), object.clone());
        let mut worker = Worker::new(self.context.clone(), object, mailbox.clone(), notes);
        worker.is_current = is_current;
        self.mailboxes.insert(uid.clone(), mailbox);
        self.tasks.spawn(async move {
            if AssertUnwindSafe(worker.run()).catch_unwind().await.is_ok() {
                return (uid, None);
            }
            tracing::error!(%uid, pod = meta::name(&kept), "a pod's worker has failed; another one will take over");
            let next = failed::next(&context, kept).await;
            (uid, Some(next))
        });
    }

    /// A worker is done. Its pod may have a new one already, whose mailbox is open.
    fn ended(&mut self, uid: &str, next: Option<Next>) {
        self.context.set_resident(uid, None);
        self.orphans.remove(uid);
        if self.mailboxes.get(uid).is_some_and(UnboundedSender::is_closed) {
            self.mailboxes.remove(uid);
        }
        match next.filter(|_| !self.mailboxes.contains_key(uid)) {
            None => {}
            Some(Next::Known(object)) => self.begin(object, true),
            Some(Next::Gone(object)) => {
                self.begin(object, true);
                self.tell(uid, Note::Gone);
            }
        }
    }

    fn tell(&self, uid: &str, note: Note) {
        if let Some(mailbox) = self.mailboxes.get(uid) {
            let _ = mailbox.send(note);
        }
    }

    /// Pods of which something is left here although the server has none such: deleted while nobody was here to see it.
    async fn remove_orphans(&mut self, present: &BTreeSet<String>) {
        let usual = self.context.config.runtimes.usual().clone();
        let mut left: BTreeMap<String, Arc<dyn Runtime>> = BTreeMap::new();
        // Directories without anything in a runtime: of pods that never came to run.
        let dirs = layout::names(&pods_dir(&self.context.config.data_dir));
        left.extend(dirs.into_iter().map(|uid| (uid, usual.clone())));
        let (held, all) = self.context.config.runtimes.pods().await;
        self.look_again = (!all).then(|| tokio::time::Instant::now() + LOOK_AGAIN);
        left.extend(held.into_iter().map(|(pod, runtime)| (pod.uid, runtime)));
        for (uid, runtime) in left {
            if present.contains(&uid) || self.mailboxes.contains_key(&uid) || !self.orphans.insert(uid.clone()) {
                continue;
            }
            tracing::info!(%uid, "removing a pod that the server does not know");
            let context = self.context.clone();
            self.tasks.spawn(async move {
                release::remove_orphan(&context, runtime.as_ref(), &uid).await;
                (uid, None)
            });
        }
    }
}

/// Never, if there is no such time.
async fn at(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
