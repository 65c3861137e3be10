//! What users are told about nodes.

use std::sync::Arc;

use backstay_controllers::model::Meta;

use crate::events::{Note, Recorder, Subject};

const COMPONENT: &str = "node-controller";

pub fn registered(recorder: &Recorder, node: &Meta) {
    let name = &node.name;
    about(recorder, node, "RegisteredNode", format!("Node {name} event: Registered Node {name} in Controller"));
}

pub fn removed(recorder: &Recorder, node: &Meta) {
    let name = &node.name;
    about(recorder, node, "RemovingNode", format!("Node {name} event: Removing Node {name} from Controller"));
}

pub fn not_ready(recorder: &Recorder, node: &Meta) {
    about(recorder, node, "NodeNotReady", format!("Node {} status is now: NodeNotReady", node.name));
}

pub fn pod_not_ready(recorder: &Recorder, pod: &Meta) {
    let message = "Node is not ready".to_string();
    let note = Note { component: COMPONENT, normal: false, reason: "NodeNotReady", message };
    recorder.note(Subject::of("v1", "Pod", pod), note);
}

fn about(recorder: &Recorder, node: &Meta, reason: &'static str, message: String) {
    let subject = Subject { namespace: Arc::from(""), ..Subject::of("v1", "Node", node) };
    recorder.note(subject, Note { component: COMPONENT, normal: true, reason, message });
}
