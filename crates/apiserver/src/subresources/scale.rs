//! `scale`: the replicas of an object, in a form that is the same for every kind that has some.

use axum::body::Body;
use backstay_api::selector::LabelSelector;
use backstay_api::{Status, meta, patch};
use http::Response;
use serde_json::{Value, json};

use super::body_of;
use crate::answer::{self, Payload};
use crate::call::Call;
use crate::problem;
use crate::registry::patch::Kind;
use crate::registry::update::{Change, update};
use crate::registry::{get, not_found};
use crate::request::Verb;
use crate::request::options::WriteOptions;

pub async fn serve(call: &Call) -> Result<Response<Body>, Status> {
    match call.verb {
        Verb::Get => {
            let object = Payload::Entry(get(call)?).into_value(call);
            answer::object::response(call, 200, Payload::Object(shown(call, &object)?))
        }
        Verb::Update => {
            let options = WriteOptions::parse("UpdateOptions", &call.query, &call.user_agent, false)?;
            let scale = body_of(call, &options)?;
            write(call, &options, SetScale { call, wanted: Wanted::Scale(scale) }).await
        }
        Verb::Patch => {
            let kind = Kind::of(call)?;
            let options = WriteOptions::parse("PatchOptions", &call.query, &call.user_agent, kind == Kind::Apply)?;
            write(call, &options, SetScale { call, wanted: Wanted::Patch(kind) }).await
        }
        _ => Err(problem::method_not_allowed()),
    }
}

async fn write(call: &Call, options: &WriteOptions, change: SetScale<'_>) -> Result<Response<Body>, Status> {
    let (code, payload) = update(call, options, &change).await?;
    let object = payload.into_value(call);
    answer::object::response(call, code, Payload::Object(shown(call, &object)?))
}

/// The Scale of an object.
fn shown(call: &Call, object: &Value) -> Result<Value, Status> {
    if let Some(custom) = &call.served.custom {
        return custom.scale(object).ok_or_else(Status::unknown_path);
    }
    let identity = ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"];
    let metadata = identity.iter().filter_map(|field| {
        meta::value_at(object, &["metadata", field]).map(|value| (field.to_string(), value.clone()))
    });
    let replicas = |path: &[&str]| meta::int_at(object, path).unwrap_or(0);
    let selector = meta::value_at(object, &["spec", "selector"]).map(selector_text).unwrap_or_default();
    Ok(json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata.collect::<serde_json::Map<String, Value>>(),
        "spec": { "replicas": replicas(&["spec", "replicas"]) },
        "status": { "replicas": replicas(&["status", "replicas"]), "selector": selector },
    }))
}

/// A selector object (or a plain map of labels) as text.
fn selector_text(selector: &Value) -> String {
    let is_plain = selector.get("matchLabels").is_none() && selector.get("matchExpressions").is_none();
    if is_plain {
        let labels = meta::string_map(Some(selector));
        return labels.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",");
    }
    LabelSelector::from_object(selector).map(|selector| selector.to_string()).unwrap_or_default()
}

enum Wanted {
    Scale(Value),
    Patch(Kind),
}

struct SetScale<'a> {
    call: &'a Call,
    wanted: Wanted,
}

impl SetScale<'_> {
    fn scale(&self, present: &Value) -> Result<Value, Status> {
        let body = &self.call.body;
        match &self.wanted {
            Wanted::Scale(scale) => Ok(scale.clone()),
            Wanted::Patch(Kind::Json) => patch::json_patch(&shown(self.call, present)?, body),
            Wanted::Patch(Kind::Merge | Kind::Strategic) => patch::merge_patch(&shown(self.call, present)?, body),
            Wanted::Patch(Kind::Apply) => {
                Err(problem::unsupported_media_type("server-side apply of a scale is not supported"))
            }
        }
    }
}

impl Change for SetScale<'_> {
    fn apply(&self, present: Option<&Value>) -> Result<Value, Status> {
        let present = present.ok_or_else(|| not_found(self.call, self.call.name()))?;
        let scale = self.scale(present)?;
        let mut object = present.clone();
        match &self.call.served.custom {
            Some(custom) => custom.set_scale(&mut object, &scale).ok_or_else(Status::unknown_path)?,
            None => {
                let replicas = meta::int_at(&scale, &["spec", "replicas"]).unwrap_or(0);
                meta::map_mut(&mut object, &["spec"]).insert("replicas".into(), json!(replicas));
            }
        }
        // A scale that names a version is about that version.
        match meta::resource_version(&scale) {
            "" => {}
            version => meta::set_meta(&mut object, "resourceVersion", version),
        }
        Ok(object)
    }
}
