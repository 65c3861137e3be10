//! What the manager counts.

use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident,)*) => {
        /// All counters of one manager.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $help])+ pub $name: Counter,)*
        }

        impl Metrics {
            /// The counters in the Prometheus text format.
            pub fn render(&self) -> String {
                let mut text = String::new();
                $(
                    let name = concat!("backstay_manager_", stringify!($name), "_total");
                    let help = concat!($($help),+).trim();
                    writeln!(text, "# HELP {name} {help}\n# TYPE {name} counter\n{name} {}", self.$name.get())
                        .expect("a String takes everything");
                )*
                text
            }
        }
    };
}

metrics! {
    /// Watches that ended and were begun anew.
    watch_restarts,
    /// Objects that could not be read and were skipped.
    undecodable,
    /// Plans made for DaemonSets.
    daemonset_plans,
    /// Writes that the DaemonSet controller began.
    daemonset_actions,
    /// Writes of the DaemonSet controller that found another state than expected.
    daemonset_stale,
    /// Writes of the DaemonSet controller that failed.
    daemonset_failures,
    /// Status writes of DaemonSets.
    daemonset_status_writes,
    /// Pods bound to nodes.
    bindings,
    /// Bindings that failed.
    binding_failures,
    /// Writes that the garbage collector began.
    garbage_actions,
    /// Writes of the garbage collector that failed.
    garbage_failures,
    /// Events written.
    events,
    /// Events left out: too many of one object, or faster than they can be written.
    events_dropped,
}
