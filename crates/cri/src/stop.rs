//! Ends containers, by the signal that their pod names.
//!
//! Runtimes since Kubernetes 1.33 know that signal, and say so in a container's status. To others, the agent takes it to
//! the container's process itself; where they do not tell which that is, or in another namespace of processes, the
//! container gets the signal of its image, and a warning says so.

use std::time::Duration;

use backstay_node::process::signals;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tonic::Status;

use crate::answer;
use crate::request;
use crate::runtime::{CriRuntime, PATIENCE, STOP_PATIENCE, fine_if_gone};
use crate::wire::{self, RUNNING};

impl CriRuntime {
    /// Asks the container to end, and kills it after the grace.
    pub(crate) async fn stop_gently(&self, container: &wire::Container, grace: Duration) -> Result<(), Status> {
        let wanted = container.annotations.get(request::STOP_SIGNAL).filter(|_| !grace.is_zero());
        match wanted {
            Some(name) => {
                let left = self.signal(&container.id, name, grace).await?;
                self.stop_container(&container.id, left).await
            }
            None => self.stop_container(&container.id, grace).await,
        }
    }

    /// By the signal that the runtime sends.
    pub(crate) async fn stop_container(&self, id: &str, grace: Duration) -> Result<(), Status> {
        let timeout = i64::try_from(grace.as_millis().div_ceil(1000)).unwrap_or(i64::MAX);
        let request = wire::StopContainerRequest { container_id: id.to_string(), timeout };
        let patience = grace.saturating_add(STOP_PATIENCE);
        fine_if_gone(wire::within(patience, self.client().runtime().stop_container(request)).await)
    }

    /// Sends the signal and waits for the end, unless the runtime will do that. Returns the grace that is left.
    async fn signal(&self, id: &str, name: &str, grace: Duration) -> Result<Duration, Status> {
        let request = wire::ContainerStatusRequest { container_id: id.to_string(), verbose: true };
        let answer = match wire::within(PATIENCE, self.client().runtime().container_status(request)).await {
            Err(status) if answer::is_gone(&status) => return Ok(grace),
            answer => answer?,
        };
        let status = answer.status.unwrap_or_default();
        if status.state != RUNNING || status.stop_signal == request::signal(name) as i32 {
            return Ok(grace);
        }
        let info = answer.info.get("info").map(String::as_str).unwrap_or_default();
        let (Some(pid), Some(signal)) = (main_process(info), signals::by_name(name)) else {
            tracing::warn!(
                container = id,
                signal = name,
                "not known to the runtime: the image's signal is sent instead"
            );
            return Ok(grace);
        };
        match send(pid, signal, grace).await {
            // Killed, if it is there still.
            Ok(()) => Ok(Duration::ZERO),
            Err(error) => {
                tracing::warn!(container = id, signal = name, %error, "signal not sent: the image's is sent instead");
                Ok(grace)
            }
        }
    }
}

/// Returns once the process has ended, or the grace is over.
async fn send(pid: Pid, signal: Signal, grace: Duration) -> std::io::Result<()> {
    let process = pidfd_open(pid, PidfdFlags::NONBLOCK)?;
    pidfd_send_signal(&process, signal)?;
    let _ = tokio::time::timeout(grace, signals::ended(process)).await;
    Ok(())
}

/// From what the runtime says about a container when asked for all.
fn main_process(info: &str) -> Option<Pid> {
    let info: serde_json::Value = serde_json::from_str(info).ok()?;
    Pid::from_raw(i32::try_from(info["pid"].as_i64()?).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_main_process() {
        let check = |info: &str, expected: Option<i32>| {
            assert_eq!(main_process(info).map(|pid| pid.as_raw_nonzero().get()), expected, "{info}");
        };
        check("", None);
        check("{}", None);
        check(r#"{"pid":0}"#, None);
        check(r#"{"pid":12,"snapshotter":"x"}"#, Some(12));
    }
}
