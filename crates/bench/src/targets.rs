//! What is measured, what we want of it, and what Kubernetes needed for it.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    Create,
    Update,
    Undo,
    List,
    Delete,
    ServerMemoryPeak,
    ServerProcessor,
    EtcdMemoryPeak,
    EtcdProcessor,
    StartEmpty,
    StartFull,
    MemoryIdle,
    HistoryTime,
    HistoryMemoryPeak,
    /// A watch without events, of many over a connection.
    WatchShared,
    /// The same with a TLS connection of its own, over HTTP/2.
    WatchAlone,
    WatchAloneHttp1,
    /// One object changed, sent to 1,000 watchers.
    FanOut,
    /// One pod changed, seen by the agent of its node.
    AgentChange,
    /// Of the answers that a server gives when it is busy, those that it no longer gives when twice as many are asked for.
    OverloadLost,
    /// A lease renewed at that time.
    OverloadLease,
    MemoryGrowth,
    DiskGrowth,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    Seconds,
    Milliseconds,
    Megabytes,
    Kilobytes,
    ProcessorSeconds,
    ProcessorSecondsPerGigabyte,
    ProcessorMilliseconds,
    Percent,
}

use Unit::{
    Kilobytes, Megabytes, Milliseconds, Percent, ProcessorMilliseconds, ProcessorSeconds, ProcessorSecondsPerGigabyte,
    Seconds,
};
use What::{
    AgentChange, Create, Delete, DiskGrowth, EtcdMemoryPeak, EtcdProcessor, FanOut, HistoryMemoryPeak, HistoryTime,
    List, MemoryGrowth, MemoryIdle, OverloadLease, OverloadLost, ServerMemoryPeak, ServerProcessor, StartEmpty,
    StartFull, Undo, Update, WatchAlone, WatchAloneHttp1, WatchShared,
};

impl What {
    pub fn label(self) -> &'static str {
        match self {
            Create => "create",
            Update => "update",
            Undo => "undo",
            List => "list of all pods",
            Delete => "delete",
            ServerMemoryPeak => "server: peak memory",
            ServerProcessor => "server: processor",
            EtcdMemoryPeak => "etcd: peak memory",
            EtcdProcessor => "etcd: processor",
            StartEmpty => "start, empty data directory",
            StartFull => "start, one pod per node stored",
            MemoryIdle => "idle memory",
            HistoryTime => "rollout history",
            HistoryMemoryPeak => "rollout history: peak memory",
            WatchShared => "idle watch, many over one HTTP/2",
            WatchAlone => "idle watch, its own TLS, HTTP/2",
            WatchAloneHttp1 => "idle watch, its own TLS, HTTP/1.1",
            FanOut => "a change to 1,000 watchers",
            AgentChange => "a change to the agent of its node",
            OverloadLost => "twice the load: answers lost",
            OverloadLease => "twice the load: lease renewed",
            MemoryGrowth => "2 hours of leases: memory added",
            DiskGrowth => "2 hours of leases: disk added",
        }
    }

    pub fn unit(self) -> Unit {
        match self {
            Create | Update | Undo | Delete => Seconds,
            List | StartEmpty | StartFull | HistoryTime | OverloadLease => Milliseconds,
            ServerMemoryPeak | EtcdMemoryPeak | MemoryIdle | HistoryMemoryPeak | MemoryGrowth | DiskGrowth => Megabytes,
            ServerProcessor | EtcdProcessor => ProcessorSeconds,
            WatchShared | WatchAlone | WatchAloneHttp1 => Kilobytes,
            FanOut => ProcessorSecondsPerGigabyte,
            AgentChange => ProcessorMilliseconds,
            OverloadLost => Percent,
        }
    }

    /// At most so much, in the row's unit. Beyond 5,000 nodes figures may grow by [`DOUBLE_FACTOR`] per doubling.
    pub fn target(self, nodes: usize) -> Option<f64> {
        match (self, nodes) {
            (StartEmpty, _) => Some(150.0),
            (MemoryIdle, _) => Some(30.0),
            (HistoryTime, _) => Some(10.0),
            (HistoryMemoryPeak, _) => Some(15.0),
            (StartFull, 10_000) => Some(1_500.0),
            (WatchShared, _) => Some(4.0),
            (WatchAlone | WatchAloneHttp1, _) => Some(30.0),
            (OverloadLost, _) => Some(10.0),
            // Flat, as far as a straight line through samples can tell.
            (MemoryGrowth | DiskGrowth, _) => Some(20.0),
            (_, 5_000) => self.target_at_5_000(),
            (_, 10_000) => self.target_at_5_000().map(|target| target * DOUBLE_FACTOR),
            _ => None,
        }
    }

    fn target_at_5_000(self) -> Option<f64> {
        match self {
            Create => Some(2.6),
            Update => Some(4.2),
            Undo => Some(4.0),
            List => Some(100.0),
            ServerMemoryPeak => Some(290.0),
            ServerProcessor => Some(27.0),
            _ => None,
        }
    }

    /// What Kubernetes 1.36.2 with etcd needed, all of its parts together, in another run on a like machine
    /// (2 cores, 24 GiB, the clients' limits raised to 5,000 requests a second).
    pub fn kubernetes(self, nodes: usize) -> Option<f64> {
        let by_size = |values: [f64; 3]| {
            let place = [100, 1_000, 5_000].iter().position(|size| *size == nodes)?;
            Some(values[place])
        };
        match self {
            Create => by_size([0.9, 4.6, 26.5]),
            Update => by_size([1.0, 7.5, 42.2]),
            Undo => by_size([1.0, 6.9, 40.0]),
            List => by_size([31.0, 235.0, 1_043.0]),
            Delete => by_size([0.4, 3.8, 17.8]),
            ServerMemoryPeak => by_size([580.0, 1_150.0, 3_740.0]),
            ServerProcessor if nodes == 5_000 => Some(267.0),
            // The API server alone took 2.4 to 2.9 s, etcd was there already.
            StartEmpty => Some(2_400.0),
            MemoryIdle => Some(480.0),
            HistoryTime => Some(51.0),
            HistoryMemoryPeak => Some(67.0),
            _ => None,
        }
    }
}

/// Twice the nodes may take a little more than twice as much.
const DOUBLE_FACTOR: f64 = 2.2;

impl Unit {
    pub fn name(self) -> &'static str {
        match self {
            Seconds => "s",
            Milliseconds => "ms",
            Megabytes => "MB",
            Kilobytes => "KB",
            ProcessorSeconds => "CPU s",
            ProcessorSecondsPerGigabyte => "CPU s/GB",
            ProcessorMilliseconds => "CPU ms",
            Percent => "%",
        }
    }
}
