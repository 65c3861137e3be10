//! `TaintNodesByCondition`: a new node takes no pods until it has said that it is ready.

use backstay_api::{Status, meta};
use serde_json::{Value, json};

use super::Admission;

const NOT_READY: &str = "node.kubernetes.io/not-ready";

pub fn admit(admission: &mut Admission<'_>) -> Result<(), Status> {
    if admission.creates("", "nodes") {
        taint(admission.object);
    }
    Ok(())
}

fn taint(node: &mut Value) {
    let has_it = meta::list_at(node, &["spec", "taints"])
        .iter()
        .any(|taint| meta::str_at(taint, &["key"]) == NOT_READY && meta::str_at(taint, &["effect"]) == "NoSchedule");
    if has_it {
        return;
    }
    let taints = meta::map_mut(node, &["spec"]).entry("taints").or_insert_with(|| json!([]));
    if let Some(taints) = taints.as_array_mut() {
        taints.push(json!({ "key": NOT_READY, "effect": "NoSchedule" }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_taint_comes_once() {
        let mut node = json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}]}});
        taint(&mut node);
        taint(&mut node);
        let not_ready = json!({"key": NOT_READY, "effect": "NoSchedule"});
        assert_eq!(node, json!({"spec": {"taints": [{"key": "a", "effect": "NoExecute"}, not_ready]}}));
    }
}
