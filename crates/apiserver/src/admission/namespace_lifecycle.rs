//! `NamespaceLifecycle`: objects need a namespace that lives, and some namespaces must not be deleted.

use std::sync::Arc;

use backstay_api::status::Cause;
use backstay_api::{Status, meta};
use backstay_store::{Entry, Key};
use serde_json::Value;

use super::{Admission, Event};
use crate::encode;

const IMMORTAL: [&str; 3] = ["default", "kube-public", "kube-system"];

pub fn admit(admission: &mut Admission<'_>) -> Result<(), Status> {
    let call = admission.call;
    if call.served.is("", "namespaces") {
        return match admission.event {
            Event::Delete { name } if IMMORTAL.contains(&name) => {
                Err(Status::forbidden("", "namespaces", name, "this namespace may not be deleted"))
            }
            _ => Ok(()),
        };
    }
    if !call.served.resource.namespaced || matches!(admission.event, Event::Delete { .. }) {
        return Ok(());
    }
    let namespace = call.namespace();
    let entry = find(admission, namespace).ok_or_else(|| Status::not_found("", "namespaces", namespace))?;
    match admission.event {
        Event::Create if is_terminating(&encode::parse(&entry)) => Err(terminating(admission, namespace)),
        _ => Ok(()),
    }
}

fn find(admission: &Admission<'_>, namespace: &str) -> Option<Arc<Entry>> {
    admission.call.core.store.snapshot().get(&Key::new("namespaces", "", namespace))
}

fn is_terminating(namespace: &Value) -> bool {
    meta::str_at(namespace, &["status", "phase"]) == "Terminating"
}

fn terminating(admission: &Admission<'_>, namespace: &str) -> Status {
    let resource = &admission.call.served.resource;
    let name = match meta::name(admission.object) {
        "" => meta::str_at(admission.object, &["metadata", "generateName"]),
        name => name,
    };
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let status = Status::forbidden(&resource.group, &resource.plural, name, &why);
    let mut details = status.get_details().cloned().unwrap_or_default();
    details.causes.push(Cause {
        reason: "NamespaceTerminating".into(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".into(),
    });
    status.details(details)
}
