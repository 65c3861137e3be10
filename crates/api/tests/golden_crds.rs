//! Recorded definitions of custom resources: sent again, they are accepted, defaulted and established as recorded.

mod recordings;

use backstay_api::{crd, decode, defaults, meta, schema};
use serde_json::Value;

#[test]
fn recorded_definitions_are_accepted_and_established() {
    let mut checked = 0;
    for path in recordings::files("manifests") {
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        if !name.starts_with("1-object_customresourcedefinitions") {
            continue;
        }
        let recorded: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let sent = meta::annotation(&recorded, "kubectl.kubernetes.io/last-applied-configuration").unwrap();
        let gvk = meta::gvk(&recorded).unwrap();
        let ty = schema::type_of(&gvk).unwrap();
        let mut definition = decode::value(schema::builtin(), &ty, serde_json::from_str(sent).unwrap()).unwrap().object;
        defaults::apply(&gvk, &mut definition);
        assert_eq!(definition["spec"], recorded["spec"], "{name}");
        assert_eq!(crd::validate_create(&definition), [], "{name}");

        definition["status"] = crd::status(&definition, [], "2026-01-01T00:00:00Z".parse().unwrap());
        let mut expected = recorded["status"].clone();
        for condition in expected["conditions"].as_array_mut().unwrap() {
            condition["lastTransitionTime"] = "2026-01-01T00:00:00Z".into();
        }
        assert_eq!(definition["status"], expected, "{name}");
        let versions = meta::list_at(&definition, &["spec", "versions"]).len();
        assert_eq!(crd::compile(&definition).len(), versions, "all versions are served");
        checked += 1;
    }
    assert!(checked == 8 || !recordings::present(), "only {checked} recordings found");
}
