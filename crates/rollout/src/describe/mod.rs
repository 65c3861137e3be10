//! Pod templates, containers and volumes in words, as `kubectl describe` has them.
//!
//! The text carries tabs; [`crate::tabs::align`] turns them into columns where that is wanted. `rollout history` and
//! the dry run of `rollout undo` print it as it is.

mod container;
mod env;
mod field_value;
mod labels;
mod probe;
mod scheduling;
mod volume;
mod writer;

use backstay_api::meta;
use serde_json::Value;

pub use container::{Containers, containers, resources, rfc1123};
pub use labels::{annotations, labels};
pub use probe::probe;
pub use scheduling::{tolerations, topology_spread};
pub use volume::volumes;
pub use writer::Writer;

/// The block that begins with `Pod Template:`.
pub fn template(template: &Value) -> String {
    let mut out = Writer::default();
    write_template(&mut out, template);
    out.into_text()
}

/// Writes the block into a larger description.
pub fn write_template(out: &mut Writer, template: &Value) {
    let spec = meta::value_at(template, &["spec"]).unwrap_or(&Value::Null);
    let list = |field: &str| meta::list_at(spec, &[field]);
    out.write(0, "Pod Template:\n");
    labels(out, "  Labels", &meta::labels(template));
    if !meta::annotations(template).is_empty() {
        annotations(out, "  Annotations", &meta::annotations(template));
    }
    let service_account = meta::str_at(spec, &["serviceAccountName"]);
    if !service_account.is_empty() {
        out.write(1, &format!("Service Account:\t{service_account}\n"));
    }
    if !list("initContainers").is_empty() {
        containers(out, &Containers::of_template("Init Containers", list("initContainers")));
    }
    containers(out, &Containers::of_template("Containers", list("containers")));
    volumes(out, list("volumes"), "  ");
    topology_spread(out, list("topologySpreadConstraints"), "  ");
    let priority = meta::str_at(spec, &["priorityClassName"]);
    if !priority.is_empty() {
        out.write(1, &format!("Priority Class Name:\t{priority}\n"));
    }
    labels(out, "  Node-Selectors", &meta::string_map(meta::value_at(spec, &["nodeSelector"])));
    tolerations(out, "  Tolerations", list("tolerations"));
}
