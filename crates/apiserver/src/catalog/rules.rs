//! What holds for the objects of a kind, built-in or custom: one way to ask for both.

use backstay_api::crd::Findings;
use backstay_api::status::Cause;
use backstay_api::table::{self, Column};
use backstay_api::validation::Policy;
use backstay_api::{Pairs, defaults, strategy, validation};
use backstay_store::{Encoded, Entry};
use jiff::Timestamp;
use serde_json::Value;

use super::Served;
use crate::{convert, encode};

impl Served {
    pub fn list_kind(&self) -> String {
        match &self.custom {
            Some(custom) if !custom.list_kind.is_empty() => custom.list_kind.clone(),
            _ => format!("{}List", self.resource.kind),
        }
    }

    pub fn apply_defaults(&self, object: &mut Value) {
        match &self.custom {
            Some(custom) => custom.apply_defaults(object),
            None => defaults::apply(&self.resource.gvk(), object),
        }
    }

    /// Everything wrong with a new object.
    pub fn create_problems(&self, object: &Value, policy: Policy) -> Findings {
        self.with_schema(validation::create(&self.resource, object, policy), object, None)
    }

    /// Everything wrong with an update.
    pub fn update_problems(&self, subresource: Option<&str>, object: &Value, old: &Value, policy: Policy) -> Findings {
        self.with_schema(validation::update(&self.resource, subresource, object, old, policy), object, Some(old))
    }

    fn with_schema(&self, mut causes: Vec<Cause>, object: &Value, old: Option<&Value>) -> Findings {
        let Some(custom) = &self.custom else { return Findings { causes, warnings: Vec::new() } };
        let found = custom.validate(object, old);
        causes.extend(found.causes);
        Findings { causes, ..found }
    }

    pub fn columns(&self) -> Vec<Column> {
        match &self.custom {
            Some(custom) => custom.columns(),
            None => table::columns(&self.resource),
        }
    }

    pub fn cells(&self, object: &Value, now: Timestamp) -> Vec<Value> {
        match &self.custom {
            Some(custom) => custom.cells(object, now),
            None => table::cells(&self.resource, object, now),
        }
    }

    /// Whether a field selector may name this field.
    pub fn knows_field(&self, label: &str) -> bool {
        match &self.custom {
            Some(custom) => {
                matches!(label, "metadata.name" | "metadata.namespace")
                    || custom.selectable_fields(&Value::Null).iter().any(|(field, _)| field == label)
            }
            None => strategy::known_field_labels(&self.resource).contains(&label),
        }
    }

    /// The selectable fields of a custom object as it is in the store; none for built-in kinds.
    pub fn own_fields(&self, entry: &Entry) -> Option<Pairs> {
        let custom = self.custom.as_ref()?;
        Some(Pairs::from(&*custom.selectable_fields(&convert::to_served(self, encode::parse(entry)))))
    }

    /// The form for the store.
    pub fn encode(&self, object: &Value) -> Encoded {
        match &self.custom {
            Some(custom) => encode::with_fields(object, custom.selectable_fields(object)),
            None => encode::for_store(&self.resource, object),
        }
    }
}
