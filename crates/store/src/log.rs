//! The shared event logs: one bounded window per resource, a cursor per watcher; for those who want little, a lane.
//!
//! A watcher of configmaps does not wake for every pod; yet every watcher's progress follows the global revision.
//! Events are appended before the state that contains them is published, and shown together with it, so that whoever
//! hears of a revision can read it, and whoever reads it can watch from there.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use async_trait::async_trait;
use tokio::sync::Notify;

use crate::lanes::{Lane, Lanes};
use crate::{Event, Range, Revision, StoreError, Watch};

/// How much of each resource's past is kept for watchers.
#[derive(Clone, Copy, Debug)]
pub struct LogLimits {
    pub events_max: usize,
    /// Of the events' values. Protobuf forms, where clients ask for them, are less than as much again.
    pub bytes_max: usize,
}

impl Default for LogLimits {
    /// 16,384 events are three for each pod of a fleet of 5,000 nodes; 64 MiB are as many of about 4 KB, and what a
    /// server can spare for its busiest resource.
    fn default() -> Self {
        Self { events_max: 16_384, bytes_max: 64 << 20 }
    }
}

/// All logs of a store.
pub struct Logs {
    limits: LogLimits,
    by_resource: RwLock<BTreeMap<Arc<str>, Arc<Log>>>,
    /// Events up to here may be gone from every log; raised under the write lock of `by_resource`.
    floor: AtomicU64,
    /// Watchers may see events up to here.
    visible: AtomicU64,
    stopped: AtomicBool,
}

/// The newest events of one resource.
struct Log {
    window: Mutex<Window>,
    wake: Notify,
}

struct Window {
    events: VecDeque<Arc<Event>>,
    /// How many events have been dropped: the number of the first one in `events`.
    dropped: u64,
    /// Events up to this revision may have been dropped.
    floor: Revision,
    bytes: usize,
    lanes: Lanes,
}

impl Logs {
    /// Empty logs of a store whose newest commit is `revision`.
    pub fn new(revision: Revision, limits: LogLimits) -> Self {
        Self {
            limits,
            by_resource: RwLock::default(),
            floor: AtomicU64::new(revision),
            visible: AtomicU64::new(revision),
            stopped: AtomicBool::new(false),
        }
    }

    /// Appends events without showing them yet.
    pub fn append(&self, events: &[Arc<Event>]) {
        for event in events {
            self.log(&event.entry.key.resource).append(event, self.limits);
        }
    }

    /// Shows everything up to `revision`. To be followed by [`Logs::wake`].
    pub fn show(&self, revision: Revision) {
        self.visible.store(revision, Ordering::Release);
    }

    /// Wakes the watchers of the resources that `events` touched, now that everything up to `revision` is shown.
    pub fn wake(&self, revision: Revision, events: &[Arc<Event>]) {
        let mut touched: Vec<&Arc<str>> = events.iter().map(|event| &event.entry.key.resource).collect();
        touched.sort_unstable();
        touched.dedup();
        for resource in touched {
            let log = self.log(resource);
            log.wake.notify_waiters();
            log.lock().lanes.show(revision);
        }
    }

    pub fn visible(&self) -> Revision {
        self.visible.load(Ordering::Acquire)
    }

    /// The oldest revision from which a watch of any resource can start.
    pub fn oldest(&self) -> Revision {
        let logs = read(&self.by_resource);
        let floors = logs.values().map(|log| log.lock().floor);
        floors.max().unwrap_or(0).max(self.floor.load(Ordering::Acquire))
    }

    pub fn compact(&self, revision: Revision) {
        let revision = revision.min(self.visible());
        let logs = self.by_resource.write().unwrap_or_else(PoisonError::into_inner);
        self.floor.fetch_max(revision, Ordering::AcqRel);
        logs.values().for_each(|log| log.lock().compact(revision));
    }

    /// Begins anew at `revision`, with events unknown in between: every watcher has missed some.
    pub fn restart(&self, revision: Revision) {
        let logs = self.by_resource.write().unwrap_or_else(PoisonError::into_inner);
        self.floor.fetch_max(revision, Ordering::AcqRel);
        self.visible.store(revision, Ordering::Release);
        for log in logs.values() {
            log.lock().restart(revision);
            log.wake.notify_waiters();
        }
    }

    /// Watchers get the events that are there, then `Unavailable`.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        for log in read(&self.by_resource).values() {
            log.wake.notify_waiters();
            log.lock().lanes.wake();
        }
    }

    pub fn watch(self: &Arc<Self>, range: Range, from: Revision) -> Result<LogWatch, StoreError> {
        let newest = self.visible();
        if from > newest {
            return Err(StoreError::Future { asked: from, newest });
        }
        let log = self.log(&range.resource);
        let (next, lane) = {
            let mut window = log.lock();
            let next = window.position_after(from)?;
            // Looked at within the lock: what is shown later finds the lane.
            (next, window.lane(&range, next, self.visible()))
        };
        Ok(LogWatch { logs: self.clone(), log, range, next, lane, passed: from })
    }

    fn log(&self, resource: &Arc<str>) -> Arc<Log> {
        if let Some(log) = read(&self.by_resource).get(resource) {
            return log.clone();
        }
        let mut logs = self.by_resource.write().unwrap_or_else(PoisonError::into_inner);
        let floor = self.floor.load(Ordering::Acquire);
        logs.entry(resource.clone()).or_insert_with(|| Arc::new(Log::new(floor))).clone()
    }
}

impl Log {
    fn new(floor: Revision) -> Self {
        let window = Window { events: VecDeque::new(), dropped: 0, floor, bytes: 0, lanes: Lanes::default() };
        Self { window: Mutex::new(window), wake: Notify::new() }
    }

    fn append(&self, event: &Arc<Event>, limits: LogLimits) {
        let mut window = self.lock();
        window.bytes += weight(event);
        window.lanes.put(event);
        window.events.push_back(event.clone());
        while window.events.len() > limits.events_max || (window.bytes > limits.bytes_max && window.events.len() > 1) {
            window.drop_first();
        }
    }

    /// No code that holds the lock can leave the window half-changed by a panic.
    fn lock(&self) -> std::sync::MutexGuard<'_, Window> {
        self.window.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    fn drop_first(&mut self) {
        if let Some(event) = self.events.pop_front() {
            self.dropped += 1;
            self.bytes -= weight(&event);
            self.floor = event.entry.revision;
        }
    }

    fn compact(&mut self, revision: Revision) {
        while self.events.front().is_some_and(|event| event.entry.revision <= revision) {
            self.drop_first();
        }
        self.floor = self.floor.max(revision);
    }

    fn restart(&mut self, revision: Revision) {
        // One more than were there: also who has seen them all has missed something.
        self.dropped += self.events.len() as u64 + 1;
        (self.bytes, self.floor) = (0, self.floor.max(revision));
        self.events.clear();
        self.lanes.lose(revision);
    }

    /// A lane for a watch from the event of this number on, if the range is of little.
    fn lane(&mut self, range: &Range, next: u64, visible: Revision) -> Option<Arc<Lane>> {
        let passed = usize::try_from(next.saturating_sub(self.dropped)).unwrap_or(usize::MAX);
        self.lanes.add(range, self.events.iter().skip(passed), visible)
    }

    /// The number of the first event after a revision.
    fn position_after(&self, revision: Revision) -> Result<u64, StoreError> {
        if revision < self.floor {
            return Err(StoreError::Compacted { asked: revision, oldest: self.floor });
        }
        let passed = self.events.partition_point(|event| event.entry.revision <= revision);
        Ok(self.dropped + passed as u64)
    }

    fn get(&self, number: u64) -> Option<&Arc<Event>> {
        self.events.get(usize::try_from(number.checked_sub(self.dropped)?).ok()?)
    }
}

/// What an event costs to keep: its value, and the small things around it (index, key, allocations).
fn weight(event: &Event) -> usize {
    event.entry.value.len() + 768
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

/// A cursor into the log of one resource.
pub struct LogWatch {
    logs: Arc<Logs>,
    log: Arc<Log>,
    range: Range,
    /// The number of the next event to look at, without a lane.
    next: u64,
    lane: Option<Arc<Lane>>,
    /// Everything up to here has been returned or did not concern the range.
    passed: Revision,
}

#[async_trait]
impl Watch for LogWatch {
    async fn next(&mut self) -> Result<Arc<Event>, StoreError> {
        loop {
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            let (log, lane) = (self.log.clone(), self.lane.clone());
            // Made before the second look: whatever is shown from here on wakes us.
            let woken = lane.as_ref().map_or(&log.wake, |lane| &lane.wake).notified();
            if let Some(event) = self.try_next()? {
                return Ok(event);
            }
            woken.await;
        }
    }

    fn try_next(&mut self) -> Result<Option<Arc<Event>>, StoreError> {
        // Read in this order: what was stopped or shown before is in the window.
        let stopped = self.logs.stopped.load(Ordering::Acquire);
        let visible = self.logs.visible();
        let found = match &self.lane {
            Some(lane) => lane.take(visible).map_err(|oldest| StoreError::Compacted { asked: self.passed, oldest })?,
            None => self.look(visible)?,
        };
        if let Some(event) = found {
            self.passed = event.entry.revision;
            return Ok(Some(event));
        }
        self.passed = self.passed.max(visible);
        match stopped {
            true => Err(StoreError::Unavailable { reason: "the store is closed".into() }),
            false => Ok(None),
        }
    }

    fn progress(&self) -> Revision {
        let visible = self.logs.visible();
        let is_behind = match &self.lane {
            Some(lane) => lane.is_behind(visible),
            None => {
                let window = self.log.lock();
                let next = window.get(self.next);
                self.next < window.dropped || next.is_some_and(|event| event.entry.revision <= visible)
            }
        };
        if is_behind { self.passed } else { self.passed.max(visible) }
    }
}

impl LogWatch {
    /// The next in the log that is of the range.
    fn look(&mut self, visible: Revision) -> Result<Option<Arc<Event>>, StoreError> {
        let window = self.log.lock();
        if self.next < window.dropped {
            return Err(StoreError::Compacted { asked: self.passed, oldest: window.floor });
        }
        while let Some(event) = window.get(self.next).filter(|event| event.entry.revision <= visible) {
            self.next += 1;
            if self.range.sees(event) {
                return Ok(Some(event.clone()));
            }
        }
        Ok(None)
    }
}

impl Drop for LogWatch {
    fn drop(&mut self) {
        if let Some(lane) = &self.lane {
            self.log.lock().lanes.remove(lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::OnceLock;

    use super::*;
    use crate::{Entry, EventKind, Key};

    fn added(revision: Revision) -> [Arc<Event>; 1] {
        let key = Key::new("pods", "d", "a");
        let entry = Entry { key, revision, value: "{}".into(), index: Arc::default(), messages: OnceLock::new() };
        [Arc::new(Event { kind: EventKind::Added, entry: Arc::new(entry), previous: None })]
    }

    /// A watch that begins while a commit is on its way, after the commit was appended and before it is shown.
    async fn check(range: Range) {
        let logs = Arc::new(Logs::new(0, LogLimits::default()));
        let events = added(1);
        logs.append(&events);
        let mut watch = logs.watch(range.clone(), 0).unwrap();
        assert!(matches!(watch.try_next(), Ok(None)), "{range:?}: not shown yet");
        let waiting = tokio::spawn(async move { watch.next().await.map(|event| event.entry.revision) });
        tokio::task::yield_now().await;
        logs.show(1);
        logs.wake(1, &events);
        // Whoever is woken runs now.
        tokio::task::yield_now().await;
        assert!(waiting.is_finished(), "{range:?}: nobody has woken it");
        assert_eq!(waiting.await.unwrap().unwrap(), 1);
        assert!(logs.log(&range.resource).lock().lanes.is_all_shown());
    }

    #[tokio::test]
    async fn who_comes_between_append_and_show_is_woken() {
        check(Range::all("pods")).await;
        check(Range::one(&Key::new("pods", "d", "a"))).await;
        check(Range::all("pods").with_field("spec.nodeName", "")).await;
    }
}
