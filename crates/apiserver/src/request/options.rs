//! `ListOptions`, `CreateOptions`...: what the parameters (and the body of a delete) ask for, checked as Kubernetes does.

use backstay_api::decode::FieldValidation;
use backstay_api::selector::{FieldSelector, LabelSelector};
use backstay_api::status::Cause;
use backstay_api::{Status, strategy};
use serde_json::Value;

use super::Query;
use crate::catalog::Served;
use crate::problem;

/// The longest `fieldManager`. Source: `apimachinery` `FieldManagerMaxLength`.
const FIELD_MANAGER_BYTES_MAX: usize = 128;

/// Options of create, update and patch.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    pub dry_run: bool,
    pub field_validation: FieldValidation,
    /// `fieldManager`, or what the User-Agent says.
    pub manager: String,
    /// Apply only.
    pub force: bool,
}

/// Options of list and watch.
#[derive(Clone, Debug, Default)]
pub struct ListOptions {
    pub labels: LabelSelector,
    pub fields: FieldSelector,
    pub resource_version: String,
    pub resource_version_match: String,
    pub limit: usize,
    pub continue_token: String,
    pub timeout_seconds: Option<u64>,
    pub allow_bookmarks: bool,
    pub send_initial_events: Option<bool>,
}

/// Options of delete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeleteOptions {
    pub grace_period_seconds: Option<i64>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
    pub orphan_dependents: Option<bool>,
    pub propagation: Option<Propagation>,
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    Orphan,
    Background,
    Foreground,
}

impl WriteOptions {
    /// `kind` is `CreateOptions`, `UpdateOptions` or `PatchOptions`; `apply` tells an apply patch from others.
    pub fn parse(kind: &str, query: &Query, user_agent: &str, apply: bool) -> Result<Self, Status> {
        let mut causes = Vec::new();
        let manager = query.text("fieldManager");
        if kind == "PatchOptions" {
            check_apply(query, apply, &mut causes);
        }
        check_manager(manager, &mut causes);
        let dry_run = dry_run(query.all("dryRun"), &mut causes);
        let field_validation = field_validation(query.text("fieldValidation"), &mut causes);
        problem::invalid_options(kind, causes)?;
        let manager = if manager.is_empty() { manager_of(user_agent) } else { manager.to_string() };
        Ok(Self { dry_run, field_validation, manager, force: query.flag("force") })
    }
}

fn check_apply(query: &Query, apply: bool, causes: &mut Vec<Cause>) {
    if apply && query.text("fieldManager").is_empty() {
        causes.push(problem::required("fieldManager", "is required for apply patch"));
    }
    if !apply && query.get("force").is_some() {
        causes.push(problem::forbidden("force", "may not be specified for non-apply patch"));
    }
}

fn check_manager(manager: &str, causes: &mut Vec<Cause>) {
    if manager.len() > FIELD_MANAGER_BYTES_MAX {
        causes.push(problem::too_long("fieldManager", FIELD_MANAGER_BYTES_MAX));
    }
    if let Some(character) = manager.chars().find(|character| character.is_control()) {
        let why = format!("should not contain unprintable character {character:?}");
        causes.push(problem::invalid("fieldManager", &format!("{manager:?}"), &why));
    }
}

fn dry_run<'a>(values: impl Iterator<Item = &'a str>, causes: &mut Vec<Cause>) -> bool {
    let mut dry_run = false;
    for value in values {
        dry_run = true;
        if value != "All" {
            causes.push(problem::unsupported("dryRun", value, &["All"]));
        }
    }
    dry_run
}

fn field_validation(value: &str, causes: &mut Vec<Cause>) -> FieldValidation {
    match value {
        "" | "Warn" => FieldValidation::Warn,
        "Strict" => FieldValidation::Strict,
        "Ignore" => FieldValidation::Ignore,
        _ => {
            causes.push(problem::unsupported("fieldValidation", value, &["", "Ignore", "Strict", "Warn"]));
            FieldValidation::Warn
        }
    }
}

/// A manager's name out of a User-Agent: what is printable before the first slash, cut to fit.
fn manager_of(user_agent: &str) -> String {
    let mut manager = String::new();
    let before_slash = user_agent.split('/').next().unwrap_or_default();
    for character in before_slash.chars().filter(|character| !character.is_control()) {
        if manager.len() + character.len_utf8() > FIELD_MANAGER_BYTES_MAX {
            break;
        }
        manager.push(character);
    }
    if manager.is_empty() { "unknown".into() } else { manager }
}

impl ListOptions {
    pub fn parse(served: &Served, query: &Query, watch: bool) -> Result<Self, Status> {
        let labels = LabelSelector::parse(query.text("labelSelector")).map_err(Status::bad_request)?;
        let fields = FieldSelector::parse(query.text("fieldSelector")).map_err(Status::bad_request)?;
        let options = Self {
            labels,
            fields,
            resource_version: query.text("resourceVersion").to_string(),
            resource_version_match: query.text("resourceVersionMatch").to_string(),
            limit: query.int("limit")?.unwrap_or(0).try_into().unwrap_or(0),
            continue_token: query.text("continue").to_string(),
            timeout_seconds: query.int("timeoutSeconds")?.and_then(|seconds| seconds.try_into().ok()),
            allow_bookmarks: query.flag("allowWatchBookmarks"),
            send_initial_events: query.optional_flag("sendInitialEvents"),
        };
        let causes = if watch { options.watch_problems() } else { options.list_problems() };
        problem::invalid_options("ListOptions", causes)?;
        options.check_fields(served)?;
        Ok(options)
    }

    fn list_problems(&self) -> Vec<Cause> {
        const FIELD: &str = "resourceVersionMatch";
        let mut causes = Vec::new();
        let wanted = self.resource_version_match.as_str();
        if !wanted.is_empty() {
            if self.resource_version.is_empty() {
                let why = "resourceVersionMatch is forbidden unless resourceVersion is provided";
                causes.push(problem::forbidden(FIELD, why));
            }
            self.check_continue(&mut causes);
            if !matches!(wanted, "Exact" | "NotOlderThan") {
                causes.push(problem::unsupported(FIELD, wanted, &["Exact", "NotOlderThan", ""]));
            }
            if wanted == "Exact" && self.resource_version == "0" {
                let why = r#"resourceVersionMatch "exact" is forbidden for resourceVersion "0""#;
                causes.push(problem::forbidden(FIELD, why));
            }
        }
        if self.send_initial_events.is_some() {
            causes.push(problem::forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"));
        }
        causes
    }

    fn watch_problems(&self) -> Vec<Cause> {
        const FIELD: &str = "resourceVersionMatch";
        let mut causes = Vec::new();
        let wanted = self.resource_version_match.as_str();
        if self.send_initial_events.is_some() && wanted != "NotOlderThan" {
            let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
            causes.push(problem::forbidden(FIELD, why));
        }
        if !wanted.is_empty() {
            if self.send_initial_events.is_none() {
                let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
                causes.push(problem::forbidden(FIELD, why));
            }
            if wanted != "NotOlderThan" {
                causes.push(problem::unsupported(FIELD, wanted, &["NotOlderThan"]));
            }
            self.check_continue(&mut causes);
        }
        causes
    }

    fn check_continue(&self, causes: &mut Vec<Cause>) {
        if !self.continue_token.is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            causes.push(problem::forbidden("resourceVersionMatch", why));
        }
    }

    /// Every kind knows only a few fields to select by.
    fn check_fields(&self, served: &Served) -> Result<(), Status> {
        match self.fields.terms.iter().find(|term| !served.knows_field(&term.field)) {
            Some(term) => Err(Status::bad_request(strategy::unknown_field(&served.resource, &term.field))),
            None => Ok(()),
        }
    }
}

impl DeleteOptions {
    /// From the parameters; a body, if there is one, counts instead of them.
    pub fn parse(query: &Query, body: Option<&Value>) -> Result<Self, Status> {
        let mut causes = Vec::new();
        let (options, propagation) = match body {
            Some(body) => (Self::of_body(body, &mut causes)?, body.get("propagationPolicy").and_then(Value::as_str)),
            None => (Self::of_query(query, &mut causes)?, query.get("propagationPolicy")),
        };
        let propagation = propagation.filter(|policy| !policy.is_empty()).map(str::to_string);
        options.check(propagation.as_deref(), &mut causes);
        problem::invalid_options("DeleteOptions", causes)?;
        Ok(Self { propagation: propagation.as_deref().and_then(Propagation::parse), ..options })
    }

    fn of_query(query: &Query, causes: &mut Vec<Cause>) -> Result<Self, Status> {
        Ok(Self {
            grace_period_seconds: query.int("gracePeriodSeconds")?,
            orphan_dependents: query.optional_flag("orphanDependents"),
            dry_run: dry_run(query.all("dryRun"), causes),
            ..Self::default()
        })
    }

    fn of_body(body: &Value, causes: &mut Vec<Cause>) -> Result<Self, Status> {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_string);
        let preconditions = body.get("preconditions");
        let dry = body.get("dryRun").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        Ok(Self {
            grace_period_seconds: body.get("gracePeriodSeconds").and_then(Value::as_i64),
            uid: text(preconditions.and_then(|preconditions| preconditions.get("uid"))),
            resource_version: text(preconditions.and_then(|preconditions| preconditions.get("resourceVersion"))),
            orphan_dependents: body.get("orphanDependents").and_then(Value::as_bool),
            dry_run: dry_run(dry.iter().filter_map(Value::as_str), causes),
            propagation: None,
        })
    }

    fn check(&self, propagation: Option<&str>, causes: &mut Vec<Cause>) {
        const FIELD: &str = "propagationPolicy";
        match propagation {
            Some(policy) if self.orphan_dependents.is_some() => {
                let why = "orphanDependents and deletionPropagation cannot be both set";
                causes.push(problem::invalid(FIELD, &format!("{policy:?}"), why));
            }
            Some(policy) if Propagation::parse(policy).is_none() => {
                let supported = ["Background", "Foreground", "Orphan", "nil"];
                causes.push(problem::unsupported(FIELD, policy, &supported));
            }
            _ => {}
        }
    }
}

impl Propagation {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "Orphan" => Some(Self::Orphan),
            "Background" => Some(Self::Background),
            "Foreground" => Some(Self::Foreground),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(kind: &str, query: &str, apply: bool, expected: &str) {
        let seen = match WriteOptions::parse(kind, &Query::parse(query), "kubectl/v1 (x)", apply) {
            Ok(options) => format!("{} {} {:?}", options.manager, options.dry_run, options.field_validation),
            Err(status) => status.message().to_string(),
        };
        assert_eq!(seen, expected, "{kind} {query}");
    }

    #[test]
    fn write_options_are_checked() {
        check("CreateOptions", "", false, "kubectl false Warn");
        check("CreateOptions", "fieldManager=me&dryRun=All&fieldValidation=Strict", false, "me true Strict");
        let invalid = |kind: &str, what: &str| format!("{kind}.meta.k8s.io \"\" is invalid: {what}");
        let no_manager = invalid("PatchOptions", "fieldManager: Required value: is required for apply patch");
        check("PatchOptions", "", true, &no_manager);
        let forced = invalid("PatchOptions", "force: Forbidden: may not be specified for non-apply patch");
        check("PatchOptions", "force=true", false, &forced);
        let dry = invalid("UpdateOptions", "dryRun: Unsupported value: \"Some\": supported values: \"All\"");
        check("UpdateOptions", "dryRun=Some", false, &dry);
    }

    #[test]
    fn a_delete_body_counts_instead_of_the_parameters() {
        let query = Query::parse("gracePeriodSeconds=5&dryRun=All");
        assert_eq!(DeleteOptions::parse(&query, None).unwrap().grace_period_seconds, Some(5));
        let body = serde_json::json!({"propagationPolicy": "Foreground", "preconditions": {"uid": "u"}});
        let expected = DeleteOptions {
            uid: Some("u".into()),
            propagation: Some(Propagation::Foreground),
            ..DeleteOptions::default()
        };
        assert_eq!(DeleteOptions::parse(&query, Some(&body)), Ok(expected));
        let both = serde_json::json!({"propagationPolicy": "Orphan", "orphanDependents": true});
        assert!(DeleteOptions::parse(&query, Some(&both)).is_err());
    }
}
