//! Sees to it that a container's image is there, as its pull policy says.

use std::time::Duration;

use backstay_api::meta;
use serde_json::Value;

use super::events::Kind;
use super::workers::{Note, Worker};
use crate::lifecycle::{Pod, StartError};
use crate::pod_inputs::{Reference, credentials};
use crate::runtime::{Image, ImageError};

/// What stands in the way of a container's start.
pub(super) enum Wanting {
    /// It is being fetched; a note tells when that has ended.
    Image,
    Failed(ImageError),
}

impl Worker {
    /// The container's image; `None` if the runtime has none.
    pub(super) async fn image(&mut self, pod: &Pod, name: &str, spec: &Value) -> Result<Option<Image>, Wanting> {
        if self.runtime.images().is_none() {
            return Ok(None);
        }
        if let Some(pulled) = self.pulled.remove(name) {
            return Ok(Some(pulled));
        }
        let wanted = meta::str_at(spec, &["image"]);
        let found = match self.find(wanted).await {
            Ok(found) => found,
            Err(error) => {
                let message = format!("Failed to inspect image {wanted:?}: {}", error.message);
                self.context.events.note(pod, name, Kind::Warning, "InspectFailed", message);
                return Err(Wanting::Failed(error));
            }
        };
        match (meta::str_at(spec, &["imagePullPolicy"]), found) {
            ("Always", _) | ("IfNotPresent" | "", None) => {
                self.pull(pod, name, wanted);
                Err(Wanting::Image)
            }
            (_, Some(found)) => {
                let message =
                    format!("Container image {wanted:?} already present on machine and can be accessed by the pod");
                self.context.events.note(pod, name, Kind::Normal, "Pulled", message);
                Ok(Some(found))
            }
            (policy, None) => {
                let message = format!("Container image {wanted:?} is not present with pull policy of {policy}");
                self.context.events.note(pod, name, Kind::Warning, "ErrImageNeverPull", message.clone());
                Err(Wanting::Failed(ImageError { reason: "ErrImageNeverPull", message }))
            }
        }
    }

    async fn find(&self, name: &str) -> Result<Option<Image>, ImageError> {
        match self.runtime.images() {
            Some(images) => images.find(name).await,
            None => Ok(None),
        }
    }

    fn pull(&mut self, pod: &Pod, container: &str, image: &str) {
        self.seen.pulling.insert(container.to_string());
        let names = meta::list_at(&self.object, &["spec", "imagePullSecrets"]).iter();
        let secrets = names
            .filter_map(|it| self.inputs.objects.get(&Reference::Secret(meta::str_at(it, &["name"]).to_string())).ok());
        let accounts = credentials::matching(image, secrets);
        let (context, runtime, mailbox) = (self.context.clone(), self.runtime.clone(), self.mailbox.clone());
        let (pod, container, image) = (pod.clone(), container.to_string(), image.to_string());
        self.tasks.spawn(async move {
            let asked = tokio::time::Instant::now();
            // One at a time, as by a kubelet: two that share layers do not fetch them twice.
            let turn = context.pulls.lock().await;
            let begun = tokio::time::Instant::now();
            context.events.note(&pod, &container, Kind::Normal, "Pulling", format!("Pulling image {image:?}"));
            let pulled = match runtime.images() {
                Some(images) => images.pull(&image, &accounts).await,
                None => return,
            };
            drop(turn);
            match &pulled {
                Ok(pulled) => {
                    let (took, waited) = (milliseconds(begun.elapsed()), milliseconds(asked.elapsed()));
                    let size = pulled.size_bytes;
                    let message = format!(
                        "Successfully pulled image {image:?} in {took} ({waited} including waiting). Image size: {size} bytes."
                    );
                    context.events.note(&pod, &container, Kind::Normal, "Pulled", message);
                }
                Err(error) => {
                    let message = format!("Failed to pull image {image:?}: {error}");
                    context.events.note(&pod, &container, Kind::Warning, "Failed", message);
                    let message = format!("Error: {}", error.reason);
                    context.events.note(&pod, &container, Kind::Warning, "Failed", message);
                }
            }
            let _ = mailbox.send(Note::Pulled { container, pulled });
        });
    }

    pub(super) fn pulled(&mut self, container: &str, pulled: Result<Image, ImageError>) {
        self.seen.pulling.remove(container);
        match pulled {
            Ok(image) => {
                self.seen.start_errors.remove(container);
                self.pulled.insert(container.to_string(), image);
            }
            Err(error) => self.start_failed(container, error.reason.to_string(), error.message),
        }
    }

    pub(super) fn start_failed(&mut self, container: &str, reason: String, message: String) {
        let failures = self.seen.start_errors.get(container).map_or(0, |error| error.failures).saturating_add(1);
        let error = StartError { reason, message, at: self.now(), failures };
        self.seen.start_errors.insert(container.to_string(), error);
    }
}

/// As Go prints a duration, to the millisecond.
fn milliseconds(time: Duration) -> String {
    let millis = time.as_millis();
    if millis < 1000 {
        format!("{millis}ms")
    } else {
        let text = format!("{}.{:03}", millis / 1000, millis % 1000);
        format!("{}s", text.trim_end_matches('0').trim_end_matches('.'))
    }
}
