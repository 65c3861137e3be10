//! The settings of a runtime that tells them. It reads them when it starts, so that they are asked for once in each
//! connection.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use tonic::Status;

use crate::wire::{self, Client};

/// As much of them as we look at, which is containerd's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whether systemd makes the cgroups of its usual handler.
    pub uses_systemd: bool,
    /// The image that sandboxes are made from.
    pub sandbox_image: Option<String>,
}

/// What the runtime of the connection with this number has told.
#[derive(Default)]
pub struct Known(Mutex<Option<(u64, Settings)>>);

impl Known {
    pub async fn ask(&self, client: &Client) -> Result<Settings, Status> {
        let connection = client.connection();
        if let Some((of, settings)) = &*self.0.lock().unwrap_or_else(PoisonError::into_inner)
            && *of == connection
        {
            return Ok(settings.clone());
        }
        let request = wire::StatusRequest { verbose: true };
        let answer = wire::within(wire::CONNECT_PATIENCE, client.runtime().status(request)).await?;
        let settings = Settings::read(answer.info.get("config").map_or("", String::as_str));
        // Of the connection before the question: if that was another one, they are asked for again.
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((connection, settings.clone()));
        Ok(settings)
    }
}

impl Settings {
    /// From JSON, in the runtime's own form.
    fn read(text: &str) -> Self {
        let settings: Value = serde_json::from_str(text).unwrap_or_default();
        let containerd = &settings["containerd"];
        let usual = containerd["defaultRuntimeName"].as_str().unwrap_or("runc");
        Self {
            uses_systemd: containerd["runtimes"][usual]["options"]["SystemdCgroup"] == Value::Bool(true)
                || settings["systemdCgroup"] == Value::Bool(true),
            sandbox_image: settings["sandboxImage"].as_str().map(str::to_string),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_settings_say() {
        let check = |text: &str, uses_systemd: bool, sandbox_image: Option<&str>| {
            let expected = Settings { uses_systemd, sandbox_image: sandbox_image.map(str::to_string) };
            assert_eq!(Settings::read(text), expected, "{text}");
        };
        check("", false, None);
        check("{}", false, None);
        check(r#"{"containerd":{"runtimes":{"runc":{"options":{"SystemdCgroup":true}}}}}"#, true, None);
        check(r#"{"containerd":{"runtimes":{"runc":{"options":{"SystemdCgroup":false}}}}}"#, false, None);
        check(
            r#"{"containerd":{"defaultRuntimeName":"x","runtimes":{"x":{"options":{"SystemdCgroup":true}},"runc":{}}}}"#,
            true,
            None,
        );
        check(
            r#"{"systemdCgroup":true,"sandboxImage":"registry.k8s.io/pause:3.6"}"#,
            true,
            Some("registry.k8s.io/pause:3.6"),
        );
    }
}
