//! Objects of Kubernetes inside of others: they have a kind, and metadata as all objects have.
//! Source: `apiextensions-apiserver/pkg/apiserver/schema/objectmeta`.

use serde_json::{Map, Value};

use super::walk;
use crate::crd::props::Props;
use crate::validation::field::{Causes, Path, invalid, required};
use crate::validation::{meta, names};

/// Everything wrong with the embedded objects of a value. `path` is empty at the root, which is none of them.
pub fn embedded(props: &Props, value: &Value, path: &str) -> Causes {
    let mut causes = Vec::new();
    walk(props, value, path, &mut |props, value, path| {
        if let Value::Object(fields) = value
            && props.embedded
        {
            check(&mut causes, fields, value, &Path::new(path));
        }
    });
    causes
}

fn check(causes: &mut Causes, fields: &Map<String, Value>, object: &Value, path: &Path) {
    for name in ["apiVersion", "kind"] {
        match fields.get(name) {
            None => causes.push(required(&path.child(name), "must not be empty")),
            Some(Value::String(text)) if text.is_empty() => {
                causes.push(invalid(&path.child(name), "", "must not be empty"));
            }
            Some(Value::String(text)) if name == "kind" => {
                let complaints = names::dns_1035_label(&text.to_lowercase());
                if !complaints.is_empty() {
                    let why = format!("may have mixed case, but should otherwise match: {}", complaints.join(","));
                    causes.push(invalid(&path.child(name), text.as_str(), &why));
                }
            }
            Some(Value::String(text)) if text.matches('/').count() > 1 => {
                let why = format!("unexpected GroupVersion string: {text}");
                causes.push(invalid(&path.child(name), text.as_str(), &why));
            }
            // What is no string is somebody else's complaint.
            Some(_) => {}
        }
    }
    if fields.get("metadata").is_some_and(Value::is_object) {
        let namespaced = crate::meta::namespace(object).is_some_and(|namespace| !namespace.is_empty());
        let named = !crate::meta::name(object).is_empty();
        let mut whole = object.clone();
        if !named {
            // An embedded object needs no name.
            crate::meta::set_meta(&mut whole, "name", "none");
        }
        causes.extend(meta::object_meta(&whole, namespaced, names::path_segment, &path.child("metadata")));
    }
}
