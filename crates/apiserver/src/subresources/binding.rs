//! `pods/binding`: puts a pod on a node.

use axum::body::Body;
use backstay_api::{Status, meta, time};
use backstay_store::Key;
use http::Response;
use serde_json::{Value, json};

use super::{body_of, create_options, created};
use crate::call::Call;
use crate::registry::not_found;
use crate::registry::update::{Change, update};
use crate::request::options::WriteOptions;
use crate::{problem, request};

/// Labels of a node that its pods take over.
const TOPOLOGY: [&str; 2] = ["topology.kubernetes.io/region", "topology.kubernetes.io/zone"];

pub async fn create(call: &Call) -> Result<Response<Body>, Status> {
    let options = create_options(call)?;
    let binding = body_of(call, &options)?;
    if meta::name(&binding) != call.name() {
        return Err(Status::bad_request("name in URL does not match name in Binding object"));
    }
    bind(call, &options, &binding).await
}

/// The old way: a `Binding` among the `bindings` of the namespace, with the pod's name.
pub async fn create_by_name(mut call: Call) -> Result<Response<Body>, Status> {
    let options = create_options(&call)?;
    let binding = request::body::object(&call, options.field_validation)?;
    let pods = call.core.catalog.find("", "v1", "pods").ok_or_else(Status::unknown_path)?;
    call.served = pods;
    call.target.name = Some(meta::name(&binding).to_string());
    call.target.subresource = Some("binding".into());
    bind(&call, &options, &binding).await
}

async fn bind(call: &Call, options: &WriteOptions, binding: &Value) -> Result<Response<Body>, Status> {
    check(binding)?;
    update(call, options, &Bind { call, binding }).await?;
    created(call)
}

/// Kubernetes answers these with 500 and a bare message.
fn check(binding: &Value) -> Result<(), Status> {
    let target = |field: &str| meta::str_at(binding, &["target", field]);
    let mut causes = Vec::new();
    if !matches!(target("kind"), "" | "Node") {
        causes.push(problem::unsupported("target.kind", target("kind"), &["Node", "<empty>"]));
    }
    if target("name").is_empty() {
        causes.push(problem::required("target.name", ""));
    }
    if causes.is_empty() { Ok(()) } else { Err(problem::unexpected(problem::join(&causes))) }
}

struct Bind<'a> {
    call: &'a Call,
    binding: &'a Value,
}

impl Change for Bind<'_> {
    fn apply(&self, present: Option<&Value>) -> Result<Value, Status> {
        let mut pod = present.cloned().ok_or_else(|| not_found(self.call, self.call.name()))?;
        self.refuse(&pod)?;
        let node = meta::str_at(self.binding, &["target", "name"]);
        meta::map_mut(&mut pod, &["spec"]).insert("nodeName".into(), json!(node));
        self.tell_topology(&mut pod, node);
        for (key, value) in meta::annotations(self.binding) {
            meta::map_mut(&mut pod, &["metadata", "annotations"]).insert(key, json!(value));
        }
        meta::map_mut(&mut pod, &["status"]).remove("nominatedNodeName");
        schedule(&mut pod, &time::seconds(self.call.core.clock.now()));
        Ok(pod)
    }

    fn tracks_itself(&self) -> bool {
        true
    }
}

impl Bind<'_> {
    /// The pod learns where its node stands, unless it says so itself. Source: admission plugin `PodTopologyLabels`.
    fn tell_topology(&self, pod: &mut Value, node: &str) {
        let Some(node) = self.call.core.store.snapshot().get(&Key::new("nodes", "", node)) else { return };
        for key in TOPOLOGY {
            if let Some(value) = node.index.labels.get(key) {
                meta::map_mut(pod, &["metadata", "labels"]).entry(key).or_insert_with(|| json!(value));
            }
        }
    }

    fn refuse(&self, pod: &Value) -> Result<(), Status> {
        let name = meta::name(pod);
        let wanted = |field: &str| meta::str_at(self.binding, &["metadata", field]);
        let node = meta::str_at(pod, &["spec", "nodeName"]);
        let why = if !wanted("uid").is_empty() && wanted("uid") != meta::uid(pod) {
            format!(
                "Precondition failed: UID in precondition: {}, UID in object meta: {}",
                wanted("uid"),
                meta::uid(pod)
            )
        } else if meta::is_being_deleted(pod) {
            format!("pod {name} is being deleted, cannot be assigned to a host")
        } else if !node.is_empty() {
            format!("pod {name} is already assigned to node {node:?}")
        } else if !meta::list_at(pod, &["spec", "schedulingGates"]).is_empty() {
            format!("pod {name} has non-empty .spec.schedulingGates")
        } else {
            return Ok(());
        };
        Err(Status::conflict("", "pods/binding", name, &why))
    }
}

/// Sets the condition `PodScheduled`.
fn schedule(pod: &mut Value, now: &str) {
    let condition = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
    });
    let conditions = meta::map_mut(pod, &["status"]).entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else { return };
    match conditions.iter_mut().find(|condition| meta::str_at(condition, &["type"]) == "PodScheduled") {
        Some(present) => *present = condition,
        None => conditions.push(condition),
    }
}
