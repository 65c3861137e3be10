//! Startup, readiness and liveness probes as state machines: when the next one is due, and what a result means.

use std::time::Duration;

use jiff::Timestamp;

use super::facts::{Container, Probe};
use super::observed::{ContainerState, Observed};
use crate::wait;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProbeKind {
    Startup,
    Liveness,
    Readiness,
}

/// What has become of one probe of one container attempt.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbeState {
    /// The attempt this is about; another attempt begins anew.
    pub container_id: String,
    pub last_at: Option<Timestamp>,
    pub in_flight: bool,
    /// `Some(true)`: enough successes in a row; `Some(false)`: enough failures. `None`: neither yet.
    pub verdict: Option<bool>,
    /// Results in a row that were alike, and what they were.
    run: u32,
    last: Option<bool>,
}

impl ProbeKind {
    pub const ALL: [Self; 3] = [Self::Startup, Self::Liveness, Self::Readiness];

    /// As in the message `Readiness probe failed: ...`.
    pub fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }

    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Self::Startup => container.startup.as_ref(),
            Self::Liveness => container.liveness.as_ref(),
            Self::Readiness => container.readiness.as_ref(),
        }
    }
}

impl ProbeState {
    pub fn new(container_id: &str) -> Self {
        Self { container_id: container_id.to_string(), ..Self::default() }
    }

    /// Counts one result.
    pub fn record(&mut self, probe: &Probe, success: bool, at: Timestamp) {
        self.in_flight = false;
        self.last_at = Some(at);
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let threshold = if success { probe.success_threshold } else { probe.failure_threshold };
        if self.run >= threshold {
            self.verdict = Some(success);
        }
    }
}

/// Past its startup probe: what `started` in the status says.
pub fn is_started(container: &Container, seen: &Observed) -> bool {
    let running =
        matches!(seen.latest(&container.name).map(|record| &record.state), Some(ContainerState::Running { .. }));
    running && (container.startup.is_none() || verdict(container, ProbeKind::Startup, seen) == Some(true))
}

/// What `ready` in the status says.
pub fn is_ready(container: &Container, seen: &Observed) -> bool {
    is_started(container, seen)
        && (container.readiness.is_none() || verdict(container, ProbeKind::Readiness, seen) == Some(true))
}

/// The probe that says a running container must be restarted.
pub fn fatal<'a>(container: &'a Container, seen: &Observed) -> Option<(ProbeKind, &'a Probe)> {
    [ProbeKind::Startup, ProbeKind::Liveness].into_iter().find_map(|kind| {
        let probe = kind.of(container)?;
        (verdict(container, kind, seen) == Some(false)).then_some((kind, probe))
    })
}

/// When the probe is to run next: now or in the past means at once, `None` means not before something else changes.
pub fn due(container: &Container, kind: ProbeKind, seen: &Observed, now: Timestamp) -> Option<Timestamp> {
    let probe = kind.of(container)?;
    let record = seen.latest(&container.name)?;
    let ContainerState::Running { started_at } = record.state else { return None };
    let state = seen.probe(&container.name, kind);
    let startup = kind == ProbeKind::Startup;
    // A failed startup or liveness probe is on hold until the container has been restarted.
    let on_hold = kind != ProbeKind::Readiness && state.is_some_and(|state| state.verdict == Some(false));
    if state.is_some_and(|state| state.in_flight) || on_hold || startup == is_started(container, seen) {
        return None;
    }
    // Beyond all time: that is how a probe says "never".
    match state.and_then(|state| state.last_at) {
        Some(last) => wait::over(last, Duration::from_secs(probe.period_seconds.max(0).unsigned_abs()), now),
        None => wait::over(started_at, probe.initial_delay, now),
    }
}

fn verdict(container: &Container, kind: ProbeKind, seen: &Observed) -> Option<bool> {
    seen.probe(&container.name, kind)?.verdict
}
