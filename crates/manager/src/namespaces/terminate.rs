//! One look at one namespace that is being deleted.

use std::collections::BTreeSet;

use backstay_api::time::seconds;
use backstay_api::{Clock, meta};
use backstay_controllers::namespaces::{Plan, Remaining, Seen, plan};
use serde_json::{Value, json};

use super::content;
use crate::api::{Api, ApiError, Discovered, NAMESPACES, Served, discover};

/// How far a namespace is.
#[derive(Debug)]
pub enum Progress {
    /// It is gone, or needs nothing (more) from us.
    Over,
    /// Something of these resources is left, or something failed.
    Waits { left: BTreeSet<String> },
}

/// Deletes what is in the namespace, writes what is left into its status, or lets it go. `left`: where something was
/// left the last time; empty for the first look.
pub async fn terminate(api: &Api, clock: &Clock, name: &str, left: &BTreeSet<String>) -> Result<Progress, ApiError> {
    let namespace = match api.get(&NAMESPACES.object("", name)).await {
        Ok(body) => serde_json::from_slice::<Value>(&body)?,
        Err(error) if error.is_not_found() => return Ok(Progress::Over),
        Err(error) => return Err(error),
    };
    let now = seconds(clock.now());
    let decide = |found: &Found| plan(found.seen(&namespace), &now);
    if !meta::is_being_deleted(&namespace) {
        return Ok(Progress::Over);
    }
    let discovered = discover(api).await?;
    let mut found = Found::default();
    if !left.is_empty() {
        found.look(api, name, &resources(&discovered, Some(left))).await;
    }
    if found.remaining.is_empty() && found.failures.is_empty() {
        found.look(api, name, &resources(&discovered, None)).await;
        found.undiscovered = discovered.failures.iter().map(|(_, why)| why.clone()).collect();
    }
    let wanted: BTreeSet<String> = decide(&found).delete_collections.into_iter().collect();
    if !wanted.is_empty() {
        found.delete(api, name, &resources(&discovered, Some(&wanted))).await;
    }
    let Plan { status, finalizers, waits, .. } = decide(&found);
    write(api, &namespace, "status", "status", status.as_ref()).await?;
    let spec = finalizers.map(|finalizers| with_finalizers(&namespace, &finalizers));
    write(api, &namespace, "finalize", "spec", spec.as_ref()).await?;
    match waits {
        true => Ok(Progress::Waits { left: found.remaining.into_iter().map(|one| one.resource).collect() }),
        false => Ok(Progress::Over),
    }
}

#[derive(Default)]
struct Found {
    remaining: Vec<Remaining>,
    undiscovered: Vec<String>,
    failures: Vec<String>,
}

impl Found {
    fn seen<'a>(&'a self, namespace: &'a Value) -> Seen<'a> {
        let Found { remaining, undiscovered, failures } = self;
        Seen { namespace, remaining, undiscovered, failures }
    }

    /// Counts what there is of these resources.
    async fn look(&mut self, api: &Api, namespace: &str, resources: &[&Served]) {
        for served in resources {
            self.remaining.retain(|one| one.resource != served.full_name());
            match content::count(api, namespace, served).await {
                Ok(remaining) if remaining.count == 0 => {}
                Ok(remaining) => self.remaining.push(remaining),
                Err(error) => self.failures.push(format!("unexpected items still remain in namespace: {error}")),
            }
        }
        self.remaining.sort_by(|a, b| a.resource.cmp(&b.resource));
    }

    /// Deletes what there is of these resources, and counts again.
    async fn delete(&mut self, api: &Api, namespace: &str, resources: &[&Served]) {
        for served in resources {
            if let Err(error) = content::delete(api, namespace, served).await {
                self.failures.push(error.to_string());
            }
        }
        self.look(api, namespace, resources).await;
    }
}

/// What can be in a namespace and can be deleted, or as much of it as is named.
fn resources<'a>(discovered: &'a Discovered, named: Option<&BTreeSet<String>>) -> Vec<&'a Served> {
    let here = discovered.served.iter().filter(|served| served.namespaced && served.has(&["delete", "list"]));
    here.filter(|served| named.is_none_or(|named| named.contains(&served.full_name()))).collect()
}

fn with_finalizers(namespace: &Value, finalizers: &[String]) -> Value {
    let mut spec = namespace["spec"].clone();
    match finalizers.is_empty() {
        true => drop(spec.as_object_mut().and_then(|spec| spec.remove("finalizers"))),
        false => spec["finalizers"] = json!(finalizers),
    }
    spec
}

/// Replaces a part of the namespace, in the state it was read, through a subresource.
async fn write(
    api: &Api,
    namespace: &Value,
    subresource: &str,
    field: &str,
    value: Option<&Value>,
) -> Result<(), ApiError> {
    let Some(value) = value else { return Ok(()) };
    let mut namespace = namespace.clone();
    namespace[field] = value.clone();
    let path = format!("{}/{subresource}", NAMESPACES.object("", meta::name(&namespace)));
    match api.put(&path, namespace.to_string()).await {
        Err(error) if error.is_not_found() => Ok(()),
        done => done.map(drop),
    }
}
