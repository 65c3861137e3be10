//! The review APIs: what may I, what may they, who am I. Nothing is kept; the answer is the object with its status.

use backstay_api::status::{Cause, Details, Reason};
use backstay_api::{Status, meta, time};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{Action, Attributes, PolicyRule, Resource, RuleIndex};
use crate::UserInfo;

const AUTHORIZATION: &str = "authorization.k8s.io";

/// Answers a review of one of these kinds: `SelfSubjectAccessReview`, `SubjectAccessReview`,
/// `LocalSubjectAccessReview` (of `namespace`), `SelfSubjectRulesReview`, `SelfSubjectReview`. `None` for any other.
///
/// # Errors
/// `Invalid` or `BadRequest` if it asks nothing, or several things at once.
pub fn answer(
    index: &RuleIndex,
    user: &UserInfo,
    namespace: &str,
    now: Timestamp,
    review: &Value,
) -> Option<Result<Value, Status>> {
    Some(match meta::str_at(review, &["kind"]) {
        "SelfSubjectAccessReview" => self_access(index, user, review),
        "SubjectAccessReview" => access(index, review),
        "LocalSubjectAccessReview" => local_access(index, namespace, review),
        "SelfSubjectRulesReview" => own_rules(index, user, review),
        "SelfSubjectReview" => Ok(who_am_i(user, now)),
        _ => return None,
    })
}

fn self_access(index: &RuleIndex, user: &UserInfo, review: &Value) -> Result<Value, Status> {
    refuse(question_causes(review))?;
    Ok(decided(index, user, review))
}

fn access(index: &RuleIndex, review: &Value) -> Result<Value, Status> {
    let mut causes = question_causes(review);
    causes.extend(subject_cause(review));
    if !is_bare(review, &[]) {
        causes.push(invalid("metadata", "{}", "must be empty"));
    }
    refuse(causes)?;
    Ok(decided(index, &subject(review), review))
}

fn local_access(index: &RuleIndex, namespace: &str, review: &Value) -> Result<Value, Status> {
    let mut causes = question_causes(review);
    causes.extend(subject_cause(review));
    let own = meta::namespace(review).unwrap_or_default();
    if !is_bare(review, &["namespace", "name"]) {
        causes.push(invalid("metadata", "{}", "must be empty except for namespace"));
    }
    let asked = meta::value_at(review, &["spec", "resourceAttributes"]);
    if let Some(asked) = asked.map(|asked| meta::str_at(asked, &["namespace"])).filter(|asked| *asked != own) {
        let value = format!("{asked:?}");
        causes.push(invalid("spec.resourceAttributes.namespace", &value, "must match metadata.namespace"));
    }
    if meta::value_at(review, &["spec", "nonResourceAttributes"]).is_some() {
        causes.push(invalid("spec.nonResourceAttributes", "{}", "disallowed on this kind of request"));
    }
    refuse(causes)?;
    if own != namespace {
        let message = format!("spec.resourceAttributes.namespace must match namespace: {namespace}");
        return Err(Status::bad_request(message));
    }
    Ok(decided(index, &subject(review), review))
}

fn own_rules(index: &RuleIndex, user: &UserInfo, review: &Value) -> Result<Value, Status> {
    let namespace = meta::str_at(review, &["spec", "namespace"]);
    if namespace.is_empty() {
        return Err(Status::bad_request("no namespace on request"));
    }
    let resolved = index.rules_for(user, namespace);
    let (on_resources, on_paths): (Vec<&PolicyRule>, Vec<&PolicyRule>) =
        resolved.rules.iter().copied().partition(|rule| rule.non_resource_urls.is_empty());
    let mut status = json!({
        "resourceRules": on_resources,
        "nonResourceRules": on_paths,
        "incomplete": !resolved.errors.is_empty(),
    });
    if !resolved.errors.is_empty() {
        status["evaluationError"] = resolved.error().into();
    }
    Ok(json!({
        "kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": {},
        "status": status,
    }))
}

fn who_am_i(user: &UserInfo, now: Timestamp) -> Value {
    json!({
        "kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1",
        "metadata": {"creationTimestamp": time::seconds(now)},
        "status": {"userInfo": user_info(user)},
    })
}

/// A user as `authentication.k8s.io/v1` writes one.
pub fn user_info(user: &UserInfo) -> Value {
    let mut info = Map::new();
    let mut put = |field: &str, value: Value, is_empty: bool| {
        if !is_empty {
            info.insert(field.to_string(), value);
        }
    };
    put("username", json!(user.name), user.name.is_empty());
    put("uid", json!(user.uid), user.uid.is_empty());
    put("groups", json!(user.groups), user.groups.is_empty());
    put("extra", json!(user.extra), user.extra.is_empty());
    Value::Object(info)
}

/// The review with the decision about the question in its spec.
fn decided(index: &RuleIndex, user: &UserInfo, review: &Value) -> Value {
    let spec = &review["spec"];
    let text = |path: &[&str]| meta::str_at(spec, path).to_string();
    let on_resource = meta::value_at(spec, &["resourceAttributes"]).is_some();
    let part = |field: &str| text(&["resourceAttributes", field]);
    let (group, resource, subresource) = (part("group"), part("resource"), part("subresource"));
    let (namespace, name, path) = (part("namespace"), part("name"), text(&["nonResourceAttributes", "path"]));
    let verb = text(&[if on_resource { "resourceAttributes" } else { "nonResourceAttributes" }, "verb"]);
    let action = match on_resource {
        true => Action::Resource(Resource {
            group: &group,
            resource: &resource,
            subresource: &subresource,
            namespace: &namespace,
            name: &name,
        }),
        false => Action::Path(&path),
    };
    let decision = index.authorize(&Attributes { user, verb: &verb, action });
    let mut status = json!({"allowed": decision.allowed});
    if !decision.reason.is_empty() {
        status["reason"] = decision.reason.into();
    }
    let mut answer = review.clone();
    meta::map_mut(&mut answer, &["metadata"]);
    meta::map_mut(&mut answer, &[]).insert("status".into(), status);
    answer
}

/// Whom a review asks about.
fn subject(review: &Value) -> UserInfo {
    let spec = &review["spec"];
    let texts = |value: &Value| -> Vec<String> {
        value.as_array().into_iter().flatten().filter_map(|text| text.as_str().map(str::to_string)).collect()
    };
    let extra = spec["extra"].as_object().into_iter().flatten();
    UserInfo {
        name: meta::str_at(spec, &["user"]).to_string(),
        uid: meta::str_at(spec, &["uid"]).to_string(),
        groups: texts(&spec["groups"]),
        extra: extra.map(|(key, values)| (key.clone(), texts(values))).collect(),
    }
}

/// Exactly one thing can be asked.
fn question_causes(review: &Value) -> Vec<Cause> {
    let asks = |field| meta::value_at(review, &["spec", field]).is_some();
    match (asks("resourceAttributes"), asks("nonResourceAttributes")) {
        (true, true) => {
            let why = "cannot be specified in combination with resourceAttributes";
            vec![invalid("spec.nonResourceAttributes", &in_go(&review["spec"]["nonResourceAttributes"]), why)]
        }
        (false, false) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            vec![invalid("spec.resourceAttributes", "null", why)]
        }
        _ => Vec::new(),
    }
}

fn subject_cause(review: &Value) -> Option<Cause> {
    let subject = subject(review);
    let nobody = subject.name.is_empty() && subject.groups.is_empty();
    nobody.then(|| invalid("spec.user", "\"\"", "at least one of user or group must be specified"))
}

/// Whether the metadata say nothing but these fields.
fn is_bare(review: &Value, allowed: &[&str]) -> bool {
    let fields = review.get("metadata").and_then(Value::as_object).into_iter().flatten();
    // What the server itself has added on the way does not count.
    let ignored = |field: &str| allowed.contains(&field) || matches!(field, "creationTimestamp" | "managedFields");
    fields.filter(|(_, value)| !value.is_null() && **value != "").all(|(field, _)| ignored(field))
}

fn invalid(field: &str, value: &str, why: &str) -> Cause {
    Cause { reason: "FieldValueInvalid".into(), message: format!("Invalid value: {value}: {why}"), field: field.into() }
}

/// The value as field errors show one.
fn in_go(value: &Value) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

/// The 422 for these causes. Kubernetes leaves the kind out: reviews are decoded without one.
fn refuse(causes: Vec<Cause>) -> Result<(), Status> {
    if causes.is_empty() {
        return Ok(());
    }
    let texts: Vec<String> = causes.iter().map(|cause| format!("{}: {}", cause.field, cause.message)).collect();
    let texts = if let [one] = texts.as_slice() { one.clone() } else { format!("[{}]", texts.join(", ")) };
    let details = Details { group: AUTHORIZATION.into(), causes, ..Details::default() };
    Err(Status::new(Reason::Invalid, format!(".{AUTHORIZATION} \"\" is invalid: {texts}")).details(details))
}
