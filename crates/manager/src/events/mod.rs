//! Events: what controllers tell users about single objects.

mod correlate;
mod recorder;

pub use recorder::{Recorder, recorder};

use std::sync::Arc;

use backstay_controllers::model::Meta;

/// What an event is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Subject {
    pub api_version: &'static str,
    pub kind: &'static str,
    pub namespace: Arc<str>,
    pub name: Arc<str>,
    pub uid: Arc<str>,
    pub resource_version: u64,
}

/// What is said. Two notes that are equal in everything are one event with a count.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Note {
    /// `daemonset-controller`, `default-scheduler`.
    pub component: &'static str,
    /// Normal; otherwise Warning.
    pub normal: bool,
    pub reason: &'static str,
    pub message: String,
}

impl Subject {
    pub fn of(api_version: &'static str, kind: &'static str, meta: &Meta) -> Self {
        Self {
            api_version,
            kind,
            namespace: meta.namespace.clone(),
            name: meta.name.clone(),
            uid: meta.uid.clone(),
            resource_version: meta.resource_version,
        }
    }
}
