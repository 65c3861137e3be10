//! When a node runs short of something: what it says, and which pod has to go.
//!
//! Source of thresholds, order and words: the kubelet's hard eviction, with its defaults.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::runtime::PodUsage;
use crate::wait;

/// A pressure is over once it has not been seen for so long: what comes and goes is one pressure.
const TRANSITION: Duration = Duration::from_secs(5 * 60);
/// Pods of this priority are never ended for want of something, nor turned away: `system-cluster-critical` and above.
pub(crate) const CRITICAL: i64 = 2_000_000_000;
/// The reason in the status of a pod that has to go, or cannot come, for want of something.
pub(crate) const EVICTED: &str = "Evicted";

/// A disk with so much left, in bytes, is not short of it, however large it is.
const ENOUGH_DISK: u64 = 2 << 30;

/// How much there is of something, and how much of it is free; in bytes, or in pieces.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pub available: u64,
    /// 0: not known, so never short.
    pub capacity: u64,
}

/// What the machine has left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Signals {
    pub memory: Room,
    /// Where pods, their logs and volumes lie.
    pub disk: Room,
    pub inodes: Room,
    /// Where images lie.
    pub images: Room,
    pub pids: Room,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    Memory,
    Disk,
    Pid,
}

impl Pressure {
    /// The type of the node's condition.
    pub(crate) fn condition(self) -> &'static str {
        match self {
            Self::Memory => "MemoryPressure",
            Self::Disk => "DiskPressure",
            Self::Pid => "PIDPressure",
        }
    }
}

/// A pod that may have to go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Candidate {
    pub uid: String,
    pub priority: i64,
    pub memory_request: u64,
    pub usage: PodUsage,
}

/// What the node knows from looks before this one.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    last_seen: BTreeMap<Pressure, Timestamp>,
    /// The pod that is going; nobody else has to until it has.
    going: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// What the node's conditions say, in order.
    pub pressures: Vec<Pressure>,
    /// What there is to be more of, first of all.
    pub reclaim: Option<&'static str>,
    /// Images that nobody uses are to go.
    pub reclaim_images: bool,
    /// The pod that is to go, and what it is told.
    pub evict: Option<(String, String)>,
}

/// A want that is felt now.
struct Want {
    pressure: Pressure,
    /// As in messages.
    resource: &'static str,
    threshold: u64,
    available: u64,
    bytes: bool,
}

/// Looks at what is left. `candidates`: the pods that still run.
pub fn decide(history: &mut History, signals: &Signals, candidates: &[Candidate], now: Timestamp) -> Decision {
    let wants = wants(signals);
    for want in &wants {
        history.last_seen.insert(want.pressure, now);
    }
    history.last_seen.retain(|_, seen| !wait::is_over(*seen, TRANSITION, now));
    history.going.take_if(|uid| candidates.iter().all(|candidate| candidate.uid != *uid));
    let evict = match wants.first() {
        Some(want) if history.going.is_none() => choose(want, candidates).map(|it| (it.uid.clone(), message(want, it))),
        _ => None,
    };
    if let Some((uid, _)) = &evict {
        history.going = Some(uid.clone());
    }
    Decision {
        pressures: history.last_seen.keys().copied().collect(),
        reclaim: wants.first().map(|want| want.resource),
        reclaim_images: wants.iter().any(|want| want.pressure == Pressure::Disk),
        evict,
    }
}

/// Whether it matters now how much of the disk each pod uses, which is slow to find out.
pub fn is_short_of_disk(signals: &Signals) -> bool {
    wants(signals).iter().any(|want| want.pressure == Pressure::Disk)
}

/// The wants in the order in which they are seen to: memory first, since it kills fastest.
fn wants(signals: &Signals) -> Vec<Want> {
    const MEMORY: u64 = 100 << 20;
    let percent = |room: Room, percent: u64| room.capacity / 100 * percent;
    // The kubelet's percentages, but of a large disk a tenth is plenty: whoever has this much left is not short.
    let disk = |room: Room, of: u64| percent(room, of).min(ENOUGH_DISK);
    let all = [
        (Pressure::Memory, "memory", signals.memory, MEMORY.min(signals.memory.capacity / 2), true),
        (Pressure::Disk, "ephemeral-storage", signals.disk, disk(signals.disk, 10), true),
        (Pressure::Disk, "inodes", signals.inodes, percent(signals.inodes, 5), false),
        (Pressure::Disk, "ephemeral-storage", signals.images, disk(signals.images, 15), true),
        (Pressure::Pid, "pids", signals.pids, percent(signals.pids, 5), false),
    ];
    let felt = all.into_iter().filter(|(_, _, room, threshold, _)| room.capacity > 0 && room.available < *threshold);
    let wants = felt.map(|(pressure, resource, room, threshold, bytes)| {
        let available = room.available;
        Want { pressure, resource, threshold, available, bytes }
    });
    wants.collect()
}

/// Those that use more memory than they asked for go first, then those of lower priority, then those that exceed most.
fn choose<'a>(want: &Want, candidates: &'a [Candidate]) -> Option<&'a Candidate> {
    let use_of = |it: &Candidate| match want.pressure {
        Pressure::Memory => it.usage.memory_bytes.saturating_sub(it.memory_request),
        Pressure::Disk => it.usage.disk_bytes,
        Pressure::Pid => it.usage.processes,
    };
    let exceeds = |it: &Candidate| want.pressure != Pressure::Memory || it.usage.memory_bytes > it.memory_request;
    let mortal = candidates.iter().filter(|it| it.priority < CRITICAL);
    mortal.max_by(|left, right| {
        let key = |it: &Candidate| (exceeds(it), std::cmp::Reverse(it.priority), use_of(it));
        key(left).cmp(&key(right)).then_with(|| right.uid.cmp(&left.uid))
    })
}

fn message(want: &Want, pod: &Candidate) -> String {
    let amount = |count: u64| if want.bytes { format!("{}Ki", count / 1024) } else { count.to_string() };
    let (used, request) = match want.pressure {
        Pressure::Memory => (amount(pod.usage.memory_bytes), amount(pod.memory_request)),
        Pressure::Disk => (format!("{}Ki", pod.usage.disk_bytes / 1024), "0".to_string()),
        Pressure::Pid => (pod.usage.processes.to_string(), "0".to_string()),
    };
    format!(
        "The node was low on resource: {}. Threshold quantity: {}, available: {}. Pod was using {used}, request is \
         {request}, has larger consumption of {}. ",
        want.resource,
        amount(want.threshold),
        amount(want.available),
        want.resource
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn room(available: u64, capacity: u64) -> Room {
        Room { available, capacity }
    }

    fn pod(uid: &str, priority: i64, memory_request: u64, memory_bytes: u64, disk_bytes: u64) -> Candidate {
        let usage = PodUsage { memory_bytes, disk_bytes, processes: 1 };
        Candidate { uid: uid.into(), priority, memory_request, usage }
    }

    fn short_of_memory() -> Signals {
        Signals { memory: room(50 << 20, 4 << 30), ..Signals::default() }
    }

    fn check(signals: Signals, pods: &[Candidate], expected: Option<&str>) {
        let decision = decide(&mut History::default(), &signals, pods, at(0));
        assert_eq!(decision.evict.as_ref().map(|(uid, _)| uid.as_str()), expected, "{signals:?}");
    }

    #[test]
    fn who_has_to_go() {
        let memory = short_of_memory();
        let disk = Signals { disk: room(9, 100), ..Signals::default() };
        check(Signals::default(), &[pod("a", 0, 0, 5, 5)], None);
        check(memory, &[], None);
        check(memory, &[pod("a", 0, 9, 5, 0), pod("b", 5, 1, 4, 0)], Some("b"));
        check(memory, &[pod("a", 0, 1, 3, 0), pod("b", 5, 1, 9, 0)], Some("a"));
        check(memory, &[pod("a", 0, 1, 3, 0), pod("b", 0, 1, 9, 0)], Some("b"));
        check(memory, &[pod("a", 2_000_000_000, 1, 3, 0)], None);
        check(disk, &[pod("a", 0, 0, 9, 1), pod("b", 0, 0, 0, 2)], Some("b"));
        let large = |available: u64| Signals { disk: room(available, 250 << 30), ..Signals::default() };
        check(large(17 << 30), &[pod("a", 0, 0, 9, 1)], None);
        check(large(1 << 30), &[pod("a", 0, 0, 9, 1)], Some("a"));
        check(Signals { inodes: room(4, 100), ..Signals::default() }, &[pod("a", 0, 0, 0, 0)], Some("a"));
        check(Signals { pids: room(4, 100), ..Signals::default() }, &[pod("a", 0, 0, 0, 0)], Some("a"));
    }

    #[test]
    fn one_goes_at_a_time() {
        let (mut history, signals) = (History::default(), short_of_memory());
        let (a, b) = (pod("a", 0, 0, 2, 0), pod("b", 0, 0, 1, 0));
        let (uid, message) = decide(&mut history, &signals, &[a.clone(), b.clone()], at(0)).evict.unwrap();
        assert_eq!(uid, "a");
        assert!(
            message.starts_with(
                "The node was low on resource: memory. Threshold quantity: 102400Ki, available: 51200Ki. "
            )
        );
        assert_eq!(decide(&mut history, &signals, &[a, b.clone()], at(10)).evict, None);
        assert_eq!(decide(&mut history, &signals, &[b], at(20)).evict.unwrap().0, "b");
    }

    #[test]
    fn pressure_is_over_after_a_while() {
        let mut history = History::default();
        let short = Signals { images: room(1, 100), ..short_of_memory() };
        let first = decide(&mut history, &short, &[], at(0));
        assert_eq!((first.pressures, first.reclaim_images), (vec![Pressure::Memory, Pressure::Disk], true));
        assert_eq!(first.reclaim, Some("memory"));
        let still = decide(&mut history, &Signals::default(), &[], at(299));
        assert_eq!((still.pressures.len(), still.reclaim_images, still.reclaim), (2, false, None));
        assert_eq!(decide(&mut history, &Signals::default(), &[], at(300)).pressures, []);
        decide(&mut history, &short, &[], at(1000));
        assert_eq!(decide(&mut history, &Signals::default(), &[], at(10)).pressures, [], "the clock was set back");
    }
}
