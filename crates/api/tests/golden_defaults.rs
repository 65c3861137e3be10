//! Recorded answers of a real Kubernetes are fully defaulted: defaulting must leave them as they are.

mod recordings;

use backstay_api::{defaults, meta};
use serde_json::Value;

#[test]
fn recorded_objects_stay_as_they_are() {
    let mut checked = 0;
    for path in recordings::files("manifests").into_iter().chain(recordings::files("extra")) {
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        let is_object = ["1-object_", "daemonset_", "pod_"].iter().any(|part| name.contains(part));
        if !is_object || !name.ends_with(".json") {
            continue;
        }
        let recorded: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut object = recorded.clone();
        defaults::apply(&meta::gvk(&object).unwrap(), &mut object);
        assert_eq!(object, recorded, "{}", path.display());
        checked += 1;
    }
    assert!(checked > 200 || !recordings::present(), "only {checked} recordings found");
}
