//! Looks at all containers again and again, and tells of those that have ended; turns large logs over on the way.
//!
//! Not every runtime tells of ends by itself (containerd before 1.7 does not), and a list of a machine's containers is
//! cheap, so there is this one way.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedSender;

use crate::logs;
use crate::request;
use crate::runtime::{CriRuntime, PATIENCE};
use crate::wire::{self, CREATED, RUNNING};

/// As a kubelet does without events.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Logs are looked at every so many rounds, as in a kubelet: 10 s.
const LOGS_EVERY: u32 = 10;

/// Until nobody listens any more.
pub async fn watch(runtime: CriRuntime, changed: UnboundedSender<String>) {
    let mut seen = BTreeMap::new();
    let mut well = true;
    for round in 0_u32.. {
        tokio::select! {
            () = changed.closed() => return,
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
        let containers = match runtime.list(&[]).await {
            Ok(containers) => containers,
            Err(status) => {
                if std::mem::take(&mut well) {
                    tracing::warn!(
                        error = status.message(),
                        "the container runtime does not answer; will go on asking"
                    );
                }
                continue;
            }
        };
        if !well {
            well = true;
            tracing::info!("the container runtime answers again");
        }
        if round % LOGS_EVERY == 0 {
            turn_over_large(&runtime, &containers).await;
        }
        let now = states(&containers);
        for uid in ended(&seen, &now) {
            if changed.send(uid).is_err() {
                return;
            }
        }
        seen = now;
    }
}

/// By container id: whose it is, and whether it has ended.
type States = BTreeMap<String, (String, bool)>;

fn states(containers: &[wire::Container]) -> States {
    let state = |container: &wire::Container| {
        let uid = container.labels.get(request::POD_UID).cloned().unwrap_or_default();
        // One that was made and not started yet may have run and ended when it is looked at again.
        (container.id.clone(), (uid, container.state != CREATED && container.state != RUNNING))
    };
    containers.iter().map(state).collect()
}

/// The pods of which a container has ended, or is gone, or has come and ended between two looks.
fn ended(before: &States, now: &States) -> Vec<String> {
    let over = |states: &States, id: &String| states.get(id).is_none_or(|(_, ended)| *ended);
    let gone = before.iter().filter(|(id, (_, ended))| !ended && over(now, id));
    let brief = now.iter().filter(|(id, (_, ended))| *ended && !before.contains_key(*id));
    let mut uids: Vec<String> = gone.chain(brief).map(|(_, (uid, _))| uid.clone()).collect();
    uids.sort();
    uids.dedup();
    uids
}

async fn turn_over_large(runtime: &CriRuntime, containers: &[wire::Container]) {
    let config = runtime.config();
    for container in containers.iter().filter(|container| container.state == RUNNING) {
        let Some(log) = container.annotations.get(request::LOG).map(Path::new) else { continue };
        if !logs::is_large(log, config.log_bytes_max) {
            continue;
        }
        if let Err(error) = logs::turn_over(log, config.log_files) {
            tracing::warn!(log = %log.display(), %error, "large log not turned over");
            continue;
        }
        let request = wire::ReopenContainerLogRequest { container_id: container.id.clone() };
        let answer = wire::within(PATIENCE, runtime.client().runtime().reopen_container_log(request)).await;
        if let Err(status) = answer {
            let back = logs::turn_back(log);
            tracing::warn!(log = %log.display(), error = status.message(), ?back, "log not opened anew");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// Rows `ID:UID=STATE`.
    fn world(text: &str) -> States {
        let one = |word: &str| {
            let (id, rest) = word.split_once(':').unwrap();
            let (uid, state) = rest.split_once('=').unwrap();
            let state = match state {
                "made" => CREATED,
                "runs" => RUNNING,
                _ => wire::EXITED,
            };
            let labels = HashMap::from([(request::POD_UID.to_string(), uid.to_string())]);
            wire::Container { id: id.to_string(), state, labels, ..wire::Container::default() }
        };
        states(&text.split_whitespace().map(one).collect::<Vec<_>>())
    }

    #[track_caller]
    fn check(before: &str, now: &str, expected: &str) {
        assert_eq!(ended(&world(before), &world(now)).join(" "), expected);
    }

    #[test]
    fn ends_are_told_once() {
        check("", "a:u=runs", "");
        check("a:u=runs", "a:u=runs", "");
        check("a:u=made", "a:u=runs", "");
        check("a:u=runs", "a:u=over", "u");
        check("a:u=made", "a:u=over", "u");
        check("a:u=over", "a:u=over", "");
        check("a:u=runs", "", "u");
        check("a:u=over", "", "");
        check("", "a:u=over", "u");
        check("a:u=runs b:u=runs c:v=runs", "a:u=over c:v=over", "u v");
    }
}
