//! Looks after the machine as a whole: whether its runtime is well, whether it runs short of something, which images
//! nobody needs, and the end of everything when it is switched off.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use backstay_api::causes::chain;
use backstay_api::quantity::Quantity;
use backstay_api::{meta, pod};
use serde_json::Value;

use super::events::Kind;
use super::{Context, pods_dir};
use crate::image_gc;
use crate::lifecycle::NodeEnd;
use crate::pod_inputs::resources;
use crate::pressure::{self, CRITICAL, Candidate, EVICTED, Pressure};
use crate::runtime::{Health, Runtime};

/// The kubelet's figure.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// How many looks there are to one at the images.
const LOOKS_PER_IMAGES: u32 = 30;
/// A pod that has to go for want of something has so long: the kubelet's figure.
const EVICTION_GRACE_SECONDS: i64 = 1;

/// What the node's conditions are to say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeState {
    pub(crate) health: Health,
    pub(crate) pressures: Vec<Pressure>,
    pub(crate) shutting_down: bool,
}

/// A pod that runs here, as its worker last saw it.
#[derive(Clone)]
pub(super) struct Resident {
    pub(super) runtime: Arc<dyn Runtime>,
    pub(super) priority: i64,
    pub(super) memory_request: u64,
    /// Names of the images its containers are made from.
    pub(super) images: BTreeSet<String>,
    /// How large its volumes on disk may become.
    pub(super) volumes: Vec<VolumeLimit>,
}

/// Of an `emptyDir`.
#[derive(Clone)]
pub(super) struct VolumeLimit {
    name: String,
    /// As the pod writes it.
    text: String,
    bytes: u64,
}

impl Resident {
    pub(super) fn of(pod: &Value, runtime: &Arc<dyn Runtime>, image_ids: impl Iterator<Item = String>) -> Self {
        let names = pod::containers(pod).map(|container| meta::str_at(container, &["image"]).to_string());
        let containers = meta::list_at(pod, &["spec", "containers"]).iter();
        Self {
            runtime: runtime.clone(),
            priority: meta::int_at(pod, &["spec", "priority"]).unwrap_or(0),
            memory_request: containers.map(resources::memory_request).sum(),
            images: names.chain(image_ids).collect(),
            volumes: meta::list_at(pod, &["spec", "volumes"]).iter().filter_map(VolumeLimit::of).collect(),
        }
    }
}

impl VolumeLimit {
    /// Those in memory hold no more than they may.
    fn of(volume: &Value) -> Option<Self> {
        let empty = meta::value_at(volume, &["emptyDir"]).filter(|it| meta::str_at(it, &["medium"]) != "Memory")?;
        let text = meta::str_at(empty, &["sizeLimit"]);
        let bytes = u64::try_from(Quantity::parse(text).ok()?.to_int()).ok().filter(|bytes| *bytes > 0)?;
        Some(Self { name: meta::str_at(volume, &["name"]).to_string(), text: text.to_string(), bytes })
    }
}

/// Looks again and again, for ever.
pub(super) async fn run(context: Arc<Context>) {
    let (mut history, mut images) = (pressure::History::default(), image_gc::History::default());
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for tick in 0_u32.. {
        ticks.tick().await;
        let short_of_disk = look(&context, &mut history).await;
        limit_volumes(&context).await;
        if short_of_disk || tick % LOOKS_PER_IMAGES == 0 {
            clean_images(&context, &mut images, short_of_disk).await;
        }
    }
}

/// Returns whether the machine is short of disk.
async fn look(context: &Context, history: &mut pressure::History) -> bool {
    let runtime = context.config.runtimes.usual();
    let health = runtime.health().await;
    let mut signals = (context.config.machine.signals)();
    if let Some(images) = runtime.images() {
        match images.disk().await {
            Ok(disk) => {
                let available = disk.capacity_bytes.saturating_sub(disk.used_bytes);
                signals.images = pressure::Room { available, capacity: disk.capacity_bytes };
            }
            Err(error) => tracing::debug!(%error, "disk of images not known"),
        }
    }
    let short_of_disk = pressure::is_short_of_disk(&signals);
    let mut candidates = Vec::new();
    for (uid, resident) in context.residents() {
        let mut usage = resident.runtime.usage(&uid).await.unwrap_or_default();
        if short_of_disk {
            let dir = pods_dir(&context.config.data_dir).join(&uid);
            usage.disk_bytes += tokio::task::spawn_blocking(move || disk_bytes(&dir)).await.unwrap_or(0);
        }
        let (priority, memory_request) = (resident.priority, resident.memory_request);
        candidates.push(Candidate { uid, priority, memory_request, usage });
    }
    let decision = pressure::decide(history, &signals, &candidates, context.config.clock.now());
    context.change_state(|state| (state.health, state.pressures) = (health, decision.pressures));
    if let Some(resource) = decision.reclaim {
        context.events.note_node(Kind::Warning, "EvictionThresholdMet", format!("Attempting to reclaim {resource}"));
    }
    if let Some((uid, message)) = decision.evict {
        tracing::warn!(%uid, message, "a pod has to go");
        context.end(&uid, NodeEnd::new(EVICTED, message, EVICTION_GRACE_SECONDS));
    }
    decision.reclaim_images
}

/// Ends pods of which a volume has outgrown its limit; critical ones stay.
async fn limit_volumes(context: &Context) {
    for (uid, resident) in context.residents() {
        let dir = pods_dir(&context.config.data_dir).join(&uid).join("volumes");
        for volume in resident.volumes.into_iter().filter(|_| resident.priority < CRITICAL) {
            let dir = dir.join(&volume.name);
            let used = tokio::task::spawn_blocking(move || disk_bytes(&dir)).await.unwrap_or(0);
            if used > volume.bytes {
                let message =
                    format!("Usage of EmptyDir volume {:?} exceeds the limit {:?}.", volume.name, volume.text);
                tracing::warn!(%uid, message, "a pod has to go");
                context.end(&uid, NodeEnd::new(EVICTED, message, EVICTION_GRACE_SECONDS));
            }
        }
    }
}

/// What lies in a directory, in bytes on the disk; without what is mounted there.
fn disk_bytes(dir: &Path) -> u64 {
    let of = |path: &Path| std::fs::symlink_metadata(path).ok();
    let Some(here) = of(dir) else { return 0 };
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let sizes = entries.filter_map(|entry| {
        let metadata = of(&entry.path()).filter(|it| it.dev() == here.dev())?;
        Some(if metadata.is_dir() { disk_bytes(&entry.path()) } else { metadata.blocks() * 512 })
    });
    sizes.sum()
}

async fn clean_images(context: &Context, history: &mut image_gc::History, all: bool) {
    let Some(images) = context.config.runtimes.usual().images() else { return };
    let (stored, disk) = match (images.list().await, images.disk().await) {
        (Ok(stored), Ok(disk)) => (stored, disk),
        (Err(error), _) | (_, Err(error)) => return tracing::warn!(%error, "images not looked at"),
    };
    let in_use = context.residents().into_iter().flat_map(|(_, resident)| resident.images).collect();
    for id in image_gc::plan(history, &stored, &in_use, disk, all, context.config.clock.now()) {
        tracing::info!(id, "removing an image that nobody uses");
        if let Err(error) = images.remove(&id).await {
            tracing::warn!(id, error = chain(&error), "image not removed");
        }
    }
}

/// Ends every pod in order, since the machine is being switched off: critical ones ([`CRITICAL`]) last. Returns once all have ended,
/// or their time is over.
pub(super) async fn end_all(context: &Context) {
    tracing::info!("the machine is being switched off: ending its pods");
    context.events.note_node(Kind::Normal, "Shutdown", "Shutdown manager detected shutdown event");
    context.change_state(|state| state.shutting_down = true);
    let (regular, critical) = context.config.machine.shutdown_grace;
    let is_critical = |priority: i64| priority >= CRITICAL;
    for (grace, turn) in [(regular, false), (critical, true)] {
        let ours = || context.residents().into_iter().filter(|(_, it)| is_critical(it.priority) == turn);
        let seconds = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
        let message = "Pod was terminated in response to imminent node shutdown.";
        ours().for_each(|(uid, _)| context.end(&uid, NodeEnd::new("Terminated", message.to_string(), seconds)));
        let gone = async {
            while ours().next().is_some() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        };
        if tokio::time::timeout(grace + Duration::from_secs(1), gone).await.is_err() {
            tracing::warn!(critical = turn, "not all pods have ended in time");
        }
    }
}
