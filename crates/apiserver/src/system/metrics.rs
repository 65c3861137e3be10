//! `/metrics`: how many requests of which kind, how long they took, and where the store stands.

use std::collections::{BTreeMap, HashMap};
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
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Label {
    verb: &'static str,
    group: String,
    resource: String,
}

/// What became of the requests of one label.
#[derive(Clone, Debug, Default)]
struct Counted {
    /// How many were answered with which code.
    codes: BTreeMap<u16, u64>,
    buckets: [u64; BUCKETS.len()],
    count: u64,
    sum_seconds: f64,
}

#[derive(Default)]
pub struct Metrics {
    /// Looked into by every request; put in order only when somebody reads it.
    counted: Mutex<HashMap<Label, Counted>>,
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
                Self { verb: verb.as_str(), group: target.group.clone(), resource: target.resource.clone() }
            }
            _ => {
                let usual = ["get", "head", "post", "put", "patch", "delete", "options"];
                let verb = usual.into_iter().find(|verb| verb.eq_ignore_ascii_case(method.as_str()));
                Self { verb: verb.unwrap_or("other"), group: String::new(), resource: String::new() }
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
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        let own = counted.entry(label).or_default();
        let seconds = took.as_secs_f64();
        *own.codes.entry(code).or_default() += 1;
        own.count += 1;
        own.sum_seconds += seconds;
        for (at, _) in BUCKETS.iter().enumerate().filter(|(_, bound)| seconds <= **bound) {
            own.buckets[at] += 1;
        }
    }

    fn write(&self, out: &mut String) {
        header(out, "apiserver_request_total", "counter", "Answered requests.");
        let counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let counted: BTreeMap<Label, Counted> = counted.into_iter().collect();
        for (label, own) in &counted {
            let label = label.text();
            for (code, count) in &own.codes {
                let _ = writeln!(out, "apiserver_request_total{{{label},code=\"{code}\"}} {count}");
            }
        }
        let name = "apiserver_request_duration_seconds";
        header(out, name, "histogram", "Time until the answer began.");
        for (label, own) in &counted {
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
        let (group, resource) = (escape(&self.group), escape(&self.resource));
        format!("verb=\"{}\",group=\"{group}\",resource=\"{resource}\"", self.verb)
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
