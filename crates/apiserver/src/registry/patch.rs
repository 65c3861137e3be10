//! Patch: the four patch types as changes of the stored object.

use backstay_api::decode::{self, Decoded, FieldValidation};
use backstay_api::{Reason, Status, canonical, managed, meta, patch};
use serde_json::Value;

use super::create;
use super::update::Change;
use crate::call::Call;
use crate::encode;
use crate::problem;
use crate::request::body;
use crate::request::options::WriteOptions;

/// The patch types, by Content-Type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Json,
    Merge,
    Strategic,
    Apply,
}

/// The types in the order in which Kubernetes lists them.
const TYPES: [(&str, Kind); 4] = [
    ("application/json-patch+json", Kind::Json),
    ("application/merge-patch+json", Kind::Merge),
    ("application/strategic-merge-patch+json", Kind::Strategic),
    ("application/apply-patch+yaml", Kind::Apply),
];

impl Kind {
    /// # Errors
    /// `UnsupportedMediaType`; custom resources have no strategic merge.
    pub fn of(call: &Call) -> Result<Self, Status> {
        let wanted = call.content_type.split(';').next().unwrap_or_default().trim();
        let types = || TYPES.iter().filter(|(_, kind)| !(call.served.custom.is_some() && *kind == Kind::Strategic));
        types().find(|(name, _)| *name == wanted).map(|(_, kind)| *kind).ok_or_else(|| {
            let names: Vec<&str> = types().map(|(name, _)| *name).collect();
            problem::unsupported_media_type(&format!(
                "the body of the request was in an unknown format - accepted media types include: {}",
                names.join(", ")
            ))
        })
    }
}

/// A patch on its way to an object.
pub struct Patch<'a> {
    pub call: &'a Call,
    pub options: &'a WriteOptions,
    pub kind: Kind,
    /// The body of an apply, read once.
    applied: Option<Value>,
}

impl<'a> Patch<'a> {
    pub fn new(call: &'a Call, options: &'a WriteOptions, kind: Kind) -> Result<Self, Status> {
        let applied = if kind == Kind::Apply { Some(read_apply(call, options)?) } else { None };
        Ok(Self { call, options, kind, applied })
    }

    fn patched(&self, present: &Value) -> Result<Value, Status> {
        let Call { served, body, .. } = self.call;
        match self.kind {
            Kind::Json => patch::json_patch(present, body),
            Kind::Merge => patch::merge_patch(present, body),
            _ => {
                let patch = patch::strategic_patch_body(body)?;
                patch::strategic_merge(&served.schema, &served.ty, present, &patch)
            }
        }
    }

    /// What field validation has to say of the patch itself.
    fn body_problems(&self) -> Vec<String> {
        match self.kind {
            Kind::Json => patch::json_patch_problems(&self.call.body),
            // What is no JSON at all has been refused before.
            Kind::Merge | Kind::Strategic => {
                decode::json_value(&self.call.body).map_or_else(|_| Vec::new(), |read| read.1)
            }
            Kind::Apply => Vec::new(),
        }
    }

    fn apply_onto(&self, live: Option<&Value>) -> Result<Value, Status> {
        let served = &self.call.served;
        let manager = create::manager(self.call, self.options);
        let applied = self.applied.as_ref().expect("read when the patch was made");
        let merged = managed::apply(&served.schema, &served.ty, live, applied, &manager, self.options.force)?;
        let mut object = body::patched(self.call, live, merged)?.object;
        if meta::name(&object).is_empty() {
            meta::set_meta(&mut object, "name", self.call.name());
        }
        if let (Some(_), Some(version)) = (live, meta::value_at(applied, &["metadata", "resourceVersion"])) {
            meta::set_meta(&mut object, "resourceVersion", version.clone());
        }
        Ok(object)
    }

    /// The patched object as Kubernetes shows it.
    fn shown(&self, patched: &Value) -> Vec<u8> {
        let read = |body: &[u8]| serde_json::from_slice::<Value>(body).unwrap_or_default();
        match self.kind {
            Kind::Merge => encode::patched(patched, read(&self.call.body).get("metadata").is_some()),
            Kind::Json => {
                let operations = read(&self.call.body);
                let places = |operation: &Value| {
                    ["path", "from"]
                        .map(|name| meta::str_at(operation, &[name]).starts_with("/metadata/"))
                        .contains(&true)
                };
                encode::patched(patched, operations.as_array().is_some_and(|all| all.iter().any(places)))
            }
            Kind::Strategic | Kind::Apply => encode::plain(patched),
        }
    }

    /// The patched object, decoded; what does not fit is the patch's fault.
    fn decoded(&self, present: &Value) -> Result<Value, Status> {
        // Only a refusal shows the object as patched: it is made once more then, rather than copied every time.
        let unfit = |why: &str| match self.patched(present) {
            Ok(patched) => unfit(self.shown(&patched), why),
            Err(error) => error,
        };
        let decoded = body::patched(self.call, Some(present), self.patched(present)?);
        let Decoded { object, problems } = decoded.map_err(|error| unfit(error.message()))?;
        let problems: Vec<String> = self.body_problems().into_iter().chain(problems).collect();
        match self.options.field_validation {
            FieldValidation::Strict if !problems.is_empty() => {
                Err(unfit(&format!("strict decoding error: {}", problems.join(", "))))
            }
            FieldValidation::Warn => {
                problems.into_iter().for_each(|problem| self.call.warnings.add(problem));
                Ok(object)
            }
            _ => Ok(object),
        }
    }
}

impl Change for Patch<'_> {
    fn apply(&self, present: Option<&Value>) -> Result<Value, Status> {
        if self.kind == Kind::Apply {
            return self.apply_onto(present);
        }
        let present = present.ok_or_else(|| super::not_found(self.call, self.call.name()))?;
        self.decoded(present)
    }

    fn may_create(&self) -> bool {
        self.kind == Kind::Apply
    }

    fn tracks_itself(&self) -> bool {
        self.kind == Kind::Apply
    }
}

/// The body of an apply patch: YAML (or JSON), an object of the kind.
pub fn read_apply(call: &Call, options: &WriteOptions) -> Result<Value, Status> {
    let (object, duplicates) = decode::yaml_value(&call.body).map_err(|why| undecodable(&why))?;
    match options.field_validation {
        FieldValidation::Strict if !duplicates.is_empty() => return Err(undecodable(&duplicates.join("\n"))),
        FieldValidation::Warn => duplicates.into_iter().for_each(|problem| call.warnings.add(problem)),
        _ => {}
    }
    if !object.is_object() {
        return Err(undecodable("the body is not an object"));
    }
    Ok(object)
}

fn undecodable(why: &str) -> Status {
    Status::bad_request(format!("error decoding YAML: {why}"))
}

/// The patched object cannot be read as its kind: 422 about the field `patch`, with the object as it would be.
fn unfit(patched: Vec<u8>, why: &str) -> Status {
    let text = String::from_utf8(patched).expect("JSON is UTF-8");
    let quoted = String::from_utf8(canonical::json(&Value::String(text))).expect("JSON is UTF-8");
    let cause = problem::invalid("patch", &quoted, why);
    let details = backstay_api::status::Details { causes: vec![cause.clone()], ..Default::default() };
    let message = format!(" \"\" is invalid: {}: {}", cause.field, cause.message);
    Status::new(Reason::Invalid, message).details(details)
}
