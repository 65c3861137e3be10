//! What several parts need to know of a pod: its containers.

use serde_json::Value;

use crate::meta;

/// The lists of containers in a pod's spec, in the order in which Kubernetes visits them.
pub const CONTAINERS: [&str; 3] = ["initContainers", "containers", "ephemeralContainers"];

/// All containers of a pod.
pub fn containers(pod: &Value) -> impl Iterator<Item = &Value> {
    CONTAINERS.into_iter().flat_map(move |list| meta::list_at(pod, &["spec", list]))
}

/// Those that it was made with: all but the ephemeral ones, which can neither have resources nor ports.
pub fn own_containers(pod: &Value) -> impl Iterator<Item = &Value> {
    ["initContainers", "containers"].into_iter().flat_map(move |list| meta::list_at(pod, &["spec", list]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn containers_of_all_kinds() {
        let named = |name: &str| json!([{ "name": name }]);
        let pod = json!({ "spec": {
            "containers": named("b"), "ephemeralContainers": named("c"), "initContainers": named("a") } });
        fn names<'a>(all: impl Iterator<Item = &'a Value>) -> String {
            all.map(|container| meta::str_at(container, &["name"])).collect()
        }
        assert_eq!(names(containers(&pod)), "abc");
        assert_eq!(names(own_containers(&pod)), "ab");
        assert_eq!(containers(&json!({})).count(), 0);
    }
}
