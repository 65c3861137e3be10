//! `/metrics`: how many requests of which kind, how long they took, and where the store stands.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::Body;
use http::{Method, Response};

use crate::answer::send;
use crate::catalog::Catalog;
use crate::request::{Intent, RequestInfo, Target};
use crate::server::Core;

/// Upper bounds of the duration histogram, in seconds.
const BUCKETS: [f64; 9] = [0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

/// What a request is counted under. Only names that the server serves: paths of clients must not fill the memory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label {
    verb: String,
    group: String,
    resource: String,
}

#[derive(Clone, Debug, Default)]
struct Durations {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum_seconds: f64,
}

#[derive(Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(Label, u16), u64>>,
    durations: Mutex<BTreeMap<Label, Durations>>,
    watchers: Arc<AtomicUsize>,
}

/// A running watch; dropping it ends the count of it.
pub struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Label {
    pub fn of(catalog: &Catalog, method: &Method, info: &RequestInfo) -> Self {
        let known = |target: &Target| catalog.find(&target.group, &target.version, &target.resource).is_some();
        match &info.intent {
            Intent::Resource { verb, target } if known(target) => {
                Self { verb: verb.as_str().into(), group: target.group.clone(), resource: target.resource.clone() }
            }
            _ => {
                let is_usual = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"].contains(&method.as_str());
                let verb = if is_usual { method.as_str().to_ascii_lowercase() } else { "other".into() };
                Self { verb, group: String::new(), resource: String::new() }
            }
        }
    }
}

impl Metrics {
    /// Counts a watch for as long as this is kept.
    pub fn watch(&self) -> Running {
        self.watchers.fetch_add(1, Ordering::Relaxed);
        Running(self.watchers.clone())
    }

    pub fn observe(&self, label: Label, code: u16, took: Duration) {
        let mut durations = self.durations.lock().unwrap_or_else(PoisonError::into_inner);
        let own = durations.entry(label.clone()).or_default();
        let seconds = took.as_secs_f64();
        own.count += 1;
        own.sum_seconds += seconds;
        for (at, _) in BUCKETS.iter().enumerate().filter(|(_, bound)| seconds <= **bound) {
            own.buckets[at] += 1;
        }
        drop(durations);
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry((label, code)).or_default() += 1;
    }

    fn write(&self, out: &mut String) {
        header(out, "apiserver_request_total", "counter", "Answered requests.");
        for ((label, code), count) in &*self.requests.lock().unwrap_or_else(PoisonError::into_inner) {
            let _ = writeln!(out, "apiserver_request_total{{{},code=\"{code}\"}} {count}", label.text());
        }
        let name = "apiserver_request_duration_seconds";
        header(out, name, "histogram", "Time until the answer began.");
        for (label, own) in &*self.durations.lock().unwrap_or_else(PoisonError::into_inner) {
            let label = label.text();
            for (bound, count) in BUCKETS.iter().zip(own.buckets) {
                let _ = writeln!(out, "{name}_bucket{{{label},le=\"{bound}\"}} {count}");
            }
            let _ = writeln!(out, "{name}_bucket{{{label},le=\"+Inf\"}} {}", own.count);
            let _ = writeln!(out, "{name}_sum{{{label}}} {}", own.sum_seconds);
            let _ = writeln!(out, "{name}_count{{{label}}} {}", own.count);
        }
    }
}

impl Label {
    fn text(&self) -> String {
        let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        let (verb, group, resource) = (escape(&self.verb), escape(&self.group), escape(&self.resource));
        format!("verb=\"{verb}\",group=\"{group}\",resource=\"{resource}\"")
    }
}

pub fn answer(core: &Core) -> Response<Body> {
    let mut out = String::new();
    core.metrics.write(&mut out);
    let name = "apiserver_current_inflight_requests";
    header(&mut out, name, "gauge", "Requests being served, and those that wait.");
    for (kind, count) in core.gate.load() {
        let _ = writeln!(out, "{name}{{request_kind=\"{kind}\"}} {count}");
    }
    header(&mut out, "apiserver_longrunning_requests", "gauge", "Running watches.");
    let _ = writeln!(out, "apiserver_longrunning_requests {}", core.metrics.watchers.load(Ordering::Relaxed));
    header(&mut out, "backstay_store_revision", "gauge", "The newest revision of the store.");
    let _ = writeln!(out, "backstay_store_revision {}", core.store.snapshot().revision());
    header(&mut out, "backstay_store_oldest_revision", "gauge", "The oldest revision a watch can start from.");
    let _ = writeln!(out, "backstay_store_oldest_revision {}", core.store.oldest());
    send::bytes(200, "text/plain; version=0.0.4; charset=utf-8", out.into(), false)
}

fn header(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}
