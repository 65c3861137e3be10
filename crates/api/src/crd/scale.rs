//! The `scale` subresource of custom resources.

use serde_json::{Value, json};

use super::simple_path;
use crate::meta::{self, str_at};

/// Where an object keeps what a Scale shows.
#[derive(Clone, Debug)]
pub struct ScalePaths {
    spec_replicas: String,
    status_replicas: String,
    label_selector: Option<String>,
}

impl ScalePaths {
    pub fn read(scale: &Value) -> Self {
        let selector = str_at(scale, &["labelSelectorPath"]);
        Self {
            spec_replicas: str_at(scale, &["specReplicasPath"]).to_string(),
            status_replicas: str_at(scale, &["statusReplicasPath"]).to_string(),
            label_selector: (!selector.is_empty()).then(|| selector.to_string()),
        }
    }

    /// The Scale of an object. Replicas that are not set are 0.
    pub fn show(&self, object: &Value) -> Value {
        let count = |path: &str| simple_path::find(object, path).and_then(Value::as_i64).unwrap_or(0);
        let mut metadata = json!({});
        for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
            if let Some(value) = meta::value_at(object, &["metadata", field]) {
                metadata[field] = value.clone();
            }
        }
        let mut scale = json!({
            "kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": metadata,
            "spec": {}, "status": {"replicas": count(&self.status_replicas)},
        });
        let replicas = count(&self.spec_replicas);
        if replicas != 0 {
            scale["spec"]["replicas"] = replicas.into();
        }
        let selector = self.label_selector.as_ref().and_then(|path| simple_path::find(object, path)?.as_str());
        if let Some(selector) = selector.filter(|selector| !selector.is_empty()) {
            scale["status"]["selector"] = selector.into();
        }
        scale
    }

    /// The path of the replicas that are wanted, if the object has none there.
    pub fn unset(&self, object: &Value) -> Option<&str> {
        let found = simple_path::find(object, &self.spec_replicas).is_some_and(|value| !value.is_null());
        (!found).then_some(&self.spec_replicas)
    }

    /// Writes `spec.replicas` of a Scale into an object.
    pub fn set(&self, object: &mut Value, scale: &Value) {
        let replicas = meta::int_at(scale, &["spec", "replicas"]).unwrap_or(0);
        simple_path::set(object, &self.spec_replicas, replicas.into());
    }
}
