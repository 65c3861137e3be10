//! What `kubectl logs` shows of a simulated container.

use backstay_api::meta;
use serde_json::Value;

use super::behavior::{ANNOTATION, Behavior, Fault};

/// A few lines saying what this is and how it behaves. Nothing real ever ran.
pub fn logs(pod: &Value, container: &str) -> String {
    let node = meta::str_at(pod, &["spec", "nodeName"]);
    let annotation = meta::annotation(pod, ANNOTATION).unwrap_or("");
    let behavior = Behavior::read(annotation, node);
    let statuses = meta::list_at(pod, &["status", "containerStatuses"]).iter();
    let inits = meta::list_at(pod, &["status", "initContainerStatuses"]).iter();
    let status = statuses.chain(inits).find(|status| meta::str_at(status, &["name"]) == container);
    let restarts = status.and_then(|status| meta::int_at(status, &["restartCount"])).unwrap_or(0);
    let does = match behavior.fault {
        Some(Fault::Crash) => format!("exits with code 1 as soon as it has started; restarted {restarts} times"),
        Some(Fault::NeverReady) => "runs but never becomes ready".to_string(),
        Some(Fault::PullError) => "is never started: its image cannot be pulled".to_string(),
        None if !behavior.ready_after.is_zero() => format!("is ready {:?} after its start", behavior.ready_after),
        None => "runs and is ready at once".to_string(),
    };
    let why = match annotation {
        "" => format!("annotate the pod template with {ANNOTATION} to change that"),
        annotation => format!("{ANNOTATION}: {annotation}"),
    };
    format!("simulated container \"{container}\" on {node}: {does}\n({why})\n")
}
