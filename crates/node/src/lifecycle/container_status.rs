//! One entry of `containerStatuses` or `initContainerStatuses`, in the kubelet's words.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::facts::{Container, Pod};
use super::observed::{ContainerRecord, ContainerState, Exit, Observed};
use super::planner::WaitingOn;
use super::probe;
use super::words;

/// A reason and a message, as `state.waiting` holds them; either may be empty.
struct Waiting {
    reason: String,
    message: String,
}

/// The status of one container. `waiting`: what the planner found to wait for.
pub fn of(pod: &Pod, container: &Container, seen: &Observed, waiting: &[WaitingOn]) -> Value {
    let latest = seen.latest(&container.name);
    let previous = seen.previous(&container.name).and_then(ContainerRecord::exit);
    let why_waiting = why_waiting(pod, container, seen, waiting);
    let exit = latest.and_then(ContainerRecord::exit);
    let (state, last_exit) = match (latest.map(|record| &record.state), why_waiting) {
        (None, why) => (waiting_state(why.unwrap_or_else(|| not_begun(pod))), None),
        (Some(ContainerState::Exited(_)), Some(why)) => (waiting_state(why), latest.zip(exit)),
        (Some(state), _) => (state_of(state, latest), seen.previous(&container.name).zip(previous)),
    };
    json!({
        "name": container.name,
        "image": container.image,
        "imageID": latest.map(|record| record.image_id.as_str()).unwrap_or_default(),
        "containerID": latest.map(|record| record.id.as_str()),
        "ready": is_ready(pod, container, seen),
        "started": (!is_ephemeral(pod, container)).then(|| probe::is_started(container, seen)),
        "restartCount": latest.map_or(0, |record| record.attempt),
        "state": state,
        "lastState": last_exit.map_or(json!({}), |(record, exit)| terminated(record, exit)),
    })
}

fn is_ephemeral(pod: &Pod, container: &Container) -> bool {
    pod.ephemeral_containers.iter().any(|it| it.name == container.name)
}

/// Plain init containers are ready once they have done their work; ephemeral ones never count.
fn is_ready(pod: &Pod, container: &Container, seen: &Observed) -> bool {
    if is_ephemeral(pod, container) {
        return false;
    }
    let plain_init = !container.sidecar && pod.init_containers.iter().any(|init| init.name == container.name);
    match seen.latest(&container.name).and_then(ContainerRecord::exit) {
        Some(exit) => plain_init && exit.exit_code == 0,
        None => !plain_init && probe::is_ready(container, seen),
    }
}

fn why_waiting(pod: &Pod, container: &Container, seen: &Observed, waiting: &[WaitingOn]) -> Option<Waiting> {
    let backoff = waiting.iter().find_map(|wait| match wait {
        WaitingOn::BackOff { container: name, delay_seconds, .. } if *name == container.name => Some(*delay_seconds),
        _ => None,
    });
    if let Some(delay_seconds) = backoff {
        let delay = words::go_seconds(delay_seconds);
        let (name, pod) = (&container.name, pod.long_name());
        let message = format!("back-off {delay} restarting failed container={name} pod={pod}");
        return Some(Waiting { reason: "CrashLoopBackOff".into(), message });
    }
    if seen.pulling.contains(&container.name) {
        return None;
    }
    let error = seen.start_errors.get(&container.name)?;
    let backs_off =
        |wait: &WaitingOn| matches!(wait, WaitingOn::ImageBackOff { container: name, .. } if *name == container.name);
    if waiting.iter().any(backs_off) {
        let message = format!("Back-off pulling image {:?}: {}: {}", container.image, error.reason, error.message);
        return Some(Waiting { reason: "ImagePullBackOff".into(), message });
    }
    Some(Waiting { reason: error.reason.clone(), message: error.message.clone() })
}

fn not_begun(pod: &Pod) -> Waiting {
    let reason = if pod.init_containers.is_empty() { "ContainerCreating" } else { "PodInitializing" };
    Waiting { reason: reason.into(), message: String::new() }
}

fn waiting_state(waiting: Waiting) -> Value {
    let mut state = json!({ "reason": waiting.reason });
    if !waiting.message.is_empty() {
        state["message"] = waiting.message.into();
    }
    json!({ "waiting": state })
}

fn state_of(state: &ContainerState, record: Option<&ContainerRecord>) -> Value {
    match (state, record) {
        (ContainerState::Running { started_at }, _) => json!({ "running": { "startedAt": time(*started_at) } }),
        (ContainerState::Exited(exit), Some(record)) => terminated(record, exit),
        _ => json!({ "waiting": {} }),
    }
}

fn terminated(record: &ContainerRecord, exit: &Exit) -> Value {
    let mut state = json!({
        "exitCode": exit.exit_code,
        "reason": exit.reason,
        "startedAt": time(exit.started_at),
        "finishedAt": time(exit.finished_at),
        "containerID": record.id,
    });
    if !exit.message.is_empty() {
        state["message"] = exit.message.as_str().into();
    }
    json!({ "terminated": state })
}

fn time(at: Timestamp) -> String {
    words::time(at)
}
