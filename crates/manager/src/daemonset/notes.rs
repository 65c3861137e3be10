//! What the controller tells users in events, word for word as Kubernetes does.

use backstay_controllers::daemonset::{Action, DeleteReason, Outcome};
use backstay_controllers::model::DaemonSet;

use super::execute::News;
use crate::api::{ApiError, chain};
use crate::events::{Note, Recorder, Subject};

/// An action begins.
pub fn begun(recorder: &Recorder, daemonset: &DaemonSet, action: &Action) {
    let Action::DeletePod { pod, node, why } = action else { return };
    match why {
        DeleteReason::Failed => {
            let message = format!("Found failed daemon pod {pod} on node {node}, will try to kill it");
            note(recorder, daemonset, false, "FailedDaemonPod", message);
        }
        DeleteReason::Succeeded => {
            let message = format!("Found succeeded daemon pod {pod} on node {node}, will try to delete it");
            note(recorder, daemonset, true, "SucceededDaemonPod", message);
        }
        _ => {}
    }
}

/// An action has ended.
pub fn ended(
    recorder: &Recorder,
    daemonset: &DaemonSet,
    action: &Action,
    outcome: Outcome,
    news: &News,
    error: Option<&ApiError>,
) {
    match (action, outcome, news, error) {
        (Action::CreatePod { .. }, Outcome::Done, News::Pod(pod), _) => {
            note(recorder, daemonset, true, "SuccessfulCreate", format!("Created pod: {}", pod.meta.name));
        }
        (Action::CreatePod { .. }, Outcome::Failed, _, Some(error)) if !error.is_namespace_terminating() => {
            note(recorder, daemonset, false, "FailedCreate", format!("Error creating: {}", chain(error)));
        }
        (Action::DeletePod { pod, .. }, Outcome::Done, ..) => {
            note(recorder, daemonset, true, "SuccessfulDelete", format!("Deleted pod: {}", pod.name));
        }
        (Action::DeletePod { .. }, Outcome::Failed, _, Some(error)) => {
            note(recorder, daemonset, false, "FailedDelete", format!("Error deleting: {}", chain(error)));
        }
        _ => {}
    }
}

/// The selector matches every pod.
pub fn selects_all(recorder: &Recorder, daemonset: &DaemonSet) {
    let message = "This daemon set is selecting all pods. A non-empty selector is required.";
    note(recorder, daemonset, false, "SelectingAll", message.into());
}

fn note(recorder: &Recorder, daemonset: &DaemonSet, normal: bool, reason: &'static str, message: String) {
    let subject = Subject::of("apps/v1", "DaemonSet", &daemonset.meta);
    recorder.note(subject, Note { component: "daemonset-controller", normal, reason, message });
}
