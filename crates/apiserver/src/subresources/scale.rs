//! `scale`: the replicas of an object, in a form that is the same for every kind that has some.

use axum::body::Body;
use backstay_api::schema::{self, Type};
use backstay_api::selector::LabelSelector;
use backstay_api::{GroupVersionKind, Reason, Status, decode, managed, meta, patch, validation};
use http::Response;
use serde_json::{Value, json};

use super::body_of;
use crate::answer::{self, Payload};
use crate::call::Call;
use crate::problem;
use crate::registry::patch::{Kind, read_apply};
use crate::registry::update::{Change, update};
use crate::registry::{create, get, metadata, not_found};
use crate::request::options::WriteOptions;
use crate::request::{Verb, body};

pub async fn serve(call: &Call) -> Result<Response<Body>, Status> {
    match call.verb {
        Verb::Get => {
            let object = Payload::Entry(get(call)?).into_value(call);
            if let Some(path) = call.served.custom.as_ref().and_then(|custom| custom.unset_scale(&object)) {
                let message = format!("Internal error occurred: the spec replicas field {path:?} does not exist");
                return Err(Status::new(Reason::InternalError, message));
            }
            answer::object::response(call, 200, Payload::Object(shown(call, &object)?))
        }
        Verb::Update => {
            let options = WriteOptions::parse("UpdateOptions", &call.query, &call.user_agent, false)?;
            let scale = body_of(call, &options)?;
            write(call, &options, Wanted::Scale(scale)).await
        }
        Verb::Patch => {
            let kind = Kind::of(call)?;
            let options = WriteOptions::parse("PatchOptions", &call.query, &call.user_agent, kind == Kind::Apply)?;
            let wanted = match kind {
                Kind::Apply => Wanted::Applied(decoded(read_apply(call, &options)?)?),
                kind => Wanted::Patch(kind),
            };
            write(call, &options, wanted).await
        }
        _ => Err(problem::method_not_allowed()),
    }
}

async fn write(call: &Call, options: &WriteOptions, wanted: Wanted) -> Result<Response<Body>, Status> {
    let change = SetScale { call, options, wanted };
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
    Applied(Value),
}

struct SetScale<'a> {
    call: &'a Call,
    options: &'a WriteOptions,
    wanted: Wanted,
}

impl Change for SetScale<'_> {
    fn apply(&self, present: Option<&Value>) -> Result<Value, Status> {
        let present = present.ok_or_else(|| not_found(self.call, self.call.name()))?;
        let body = &self.call.body;
        let scale = match &self.wanted {
            Wanted::Scale(scale) => scale.clone(),
            Wanted::Patch(Kind::Json) => decoded(patch::json_patch(&shown(self.call, present)?, body)?)?,
            Wanted::Patch(_) => decoded(patch::merge_patch(&shown(self.call, present)?, body)?)?,
            Wanted::Applied(scale) => return self.applied(present, scale),
        };
        metadata::check_name(self.call, &scale)?;
        check(&scale)?;
        let mut object = present.clone();
        set(self.call, &mut object, &scale)?;
        // A scale that names a version is about that version.
        match meta::resource_version(&scale) {
            "" => {}
            version => meta::set_meta(&mut object, "resourceVersion", version),
        }
        Ok(object)
    }

    fn tracks_itself(&self) -> bool {
        matches!(self.wanted, Wanted::Applied(_))
    }

    fn uid(&self) -> &str {
        match &self.wanted {
            Wanted::Scale(scale) => meta::uid(scale),
            _ => "",
        }
    }
}

impl SetScale<'_> {
    /// Whoever applies a Scale applies the replicas of the object.
    fn applied(&self, present: &Value, scale: &Value) -> Result<Value, Status> {
        check(scale)?;
        let served = &self.call.served;
        let mut applied = json!({
            "apiVersion": served.resource.api_version(), "kind": served.resource.kind,
            "metadata": {"name": self.call.name()},
        });
        if meta::value_at(scale, &["spec", "replicas"]).is_some() {
            set(self.call, &mut applied, scale)?;
        }
        let manager = create::manager(self.call, self.options);
        let (schema, force) = (&served.schema, self.options.force);
        let merged = managed::apply(schema, &served.ty, Some(present), &applied, &manager, force)?;
        Ok(body::patched(self.call, Some(present), merged)?.object)
    }
}

/// Writes the replicas of a Scale into an object.
fn set(call: &Call, object: &mut Value, scale: &Value) -> Result<(), Status> {
    if let Some(custom) = &call.served.custom {
        return custom.set_scale(object, scale).ok_or_else(Status::unknown_path);
    }
    let replicas = meta::int_at(scale, &["spec", "replicas"]).unwrap_or(0);
    meta::map_mut(object, &["spec"]).insert("replicas".into(), json!(replicas));
    Ok(())
}

fn decoded(scale: Value) -> Result<Value, Status> {
    let ty = schema::type_of(&GroupVersionKind::new("autoscaling", "v1", "Scale")).unwrap_or(Type::Any);
    Ok(decode::value(schema::builtin(), &ty, scale)?.object)
}

fn check(scale: &Value) -> Result<(), Status> {
    let replicas = meta::int_at(scale, &["spec", "replicas"]).unwrap_or(0);
    if replicas >= 0 {
        return Ok(());
    }
    let cause = problem::invalid("spec.replicas", &replicas.to_string(), "must be greater than or equal to 0");
    Err(validation::invalid_kind("autoscaling", "Scale", meta::name(scale), vec![cause]))
}
