//! `DefaultTolerationSeconds`: a pod stays for five minutes on a node that is not ready or cannot be reached.

use backstay_api::{Status, meta};
use serde_json::{Value, json};

use super::{Admission, Event};

const SECONDS: u32 = 300;

pub fn admit(admission: &mut Admission<'_>) -> Result<(), Status> {
    if admission.is("", "pods") && !matches!(admission.event, Event::Delete { .. }) {
        for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
            tolerate(admission.object, key);
        }
    }
    Ok(())
}

fn tolerate(pod: &mut Value, key: &str) {
    let tolerated = meta::list_at(pod, &["spec", "tolerations"]).iter().any(|toleration| {
        let own = |field: &str| meta::str_at(toleration, &[field]);
        (own("key") == key || own("key").is_empty()) && matches!(own("effect"), "NoExecute" | "")
    });
    if tolerated {
        return;
    }
    let tolerations = meta::map_mut(pod, &["spec"]).entry("tolerations").or_insert_with(|| json!([]));
    if let Some(tolerations) = tolerations.as_array_mut() {
        tolerations.push(json!({
            "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": SECONDS,
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tolerations: Value, added: usize) {
        let mut pod = json!({"spec": {"tolerations": tolerations}});
        let before = meta::list_at(&pod, &["spec", "tolerations"]).len();
        tolerate(&mut pod, "k");
        assert_eq!(meta::list_at(&pod, &["spec", "tolerations"]).len() - before, added, "{pod}");
    }

    #[test]
    fn only_what_is_not_tolerated_is_added() {
        check(json!([]), 1);
        check(json!([{"operator": "Exists"}]), 0);
        check(json!([{"key": "k", "effect": "NoExecute", "tolerationSeconds": 5}]), 0);
        check(json!([{"key": "k", "effect": "NoSchedule"}]), 1);
        check(json!([{"key": "other", "effect": "NoExecute"}]), 1);
    }
}
