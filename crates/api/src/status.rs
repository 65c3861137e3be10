//! `Status`: how the API says that something went wrong (or right), word for word as Kubernetes says it.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The machine-readable reason of a failure. Source: `k8s.io/apimachinery` `StatusReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Reason {
    Unauthorized,
    Forbidden,
    NotFound,
    AlreadyExists,
    Conflict,
    Gone,
    Invalid,
    ServerTimeout,
    Timeout,
    TooManyRequests,
    BadRequest,
    MethodNotAllowed,
    NotAcceptable,
    RequestEntityTooLarge,
    UnsupportedMediaType,
    InternalError,
    Expired,
    ServiceUnavailable,
}

impl Reason {
    /// The HTTP status code that goes with the reason.
    pub fn code(self) -> u16 {
        match self {
            Reason::Unauthorized => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::MethodNotAllowed => 405,
            Reason::NotAcceptable => 406,
            Reason::AlreadyExists | Reason::Conflict => 409,
            Reason::Gone | Reason::Expired => 410,
            Reason::RequestEntityTooLarge => 413,
            Reason::UnsupportedMediaType => 415,
            Reason::Invalid => 422,
            Reason::TooManyRequests => 429,
            Reason::BadRequest => 400,
            Reason::ServerTimeout | Reason::InternalError => 500,
            Reason::ServiceUnavailable => 503,
            Reason::Timeout => 504,
        }
    }
}

/// One thing that is wrong with one field. `reason` is a `CauseType` such as `FieldValueInvalid`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub field: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Details {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource (plural) for most reasons, the kind for `Invalid`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uid: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u32>,
}

/// A failure, ready to be sent. Boxed inside, so that `Result<_, Status>` stays small.
#[derive(Clone, Debug, PartialEq)]
pub struct Status(Box<Inner>);

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    code: u16,
    reason: Option<Reason>,
    message: String,
    details: Option<Details>,
    /// `metadata.continue`: where a list that expired may go on.
    continue_at: Option<String>,
}

impl Status {
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self(Box::new(Inner {
            code: reason.code(),
            reason: Some(reason),
            message: message.into(),
            details: None,
            continue_at: None,
        }))
    }

    /// A failure whose code differs from its reason's, or that has no reason at all.
    pub fn with_code(code: u16, reason: Option<Reason>, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, reason, message: message.into(), details: None, continue_at: None }))
    }

    pub fn details(mut self, details: Details) -> Self {
        self.0.details = Some(details);
        self
    }

    /// Adds the token with which an expired list may go on.
    pub fn continue_at(mut self, token: String) -> Self {
        self.0.continue_at = Some(token);
        self
    }

    /// `group` is empty for the core group, `resource` plural: `daemonsets.apps "x" not found`.
    pub fn not_found(group: &str, resource: &str, name: &str) -> Self {
        Self::about(Reason::NotFound, group, resource, name, |what| format!("{what} \"{name}\" not found"))
    }

    pub fn already_exists(group: &str, resource: &str, name: &str) -> Self {
        Self::about(Reason::AlreadyExists, group, resource, name, |what| format!("{what} \"{name}\" already exists"))
    }

    /// `Operation cannot be fulfilled on daemonsets.apps "x": {why}`.
    pub fn conflict(group: &str, resource: &str, name: &str, why: &str) -> Self {
        Self::about(Reason::Conflict, group, resource, name, |what| {
            format!("Operation cannot be fulfilled on {what} \"{name}\": {why}")
        })
    }

    /// The conflict of a stale `resourceVersion`.
    pub fn modified(group: &str, resource: &str, name: &str) -> Self {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(group, resource, name, why)
    }

    pub fn forbidden(group: &str, resource: &str, name: &str, why: &str) -> Self {
        Self::about(Reason::Forbidden, group, resource, name, |what| match name {
            "" => format!("{what} is forbidden: {why}"),
            _ => format!("{what} \"{name}\" is forbidden: {why}"),
        })
    }

    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Reason::BadRequest, message)
    }

    pub fn internal(message: impl fmt::Display) -> Self {
        let cause = Cause { message: message.to_string(), ..Cause::default() };
        Self::new(Reason::InternalError, format!("Internal error occurred: {message}"))
            .details(Details { causes: vec![cause], ..Details::default() })
    }

    /// The answer for a path that nobody serves.
    pub fn unknown_path() -> Self {
        Self::new(Reason::NotFound, "the server could not find the requested resource").details(Details::default())
    }

    fn about(reason: Reason, group: &str, resource: &str, name: &str, text: impl Fn(&str) -> String) -> Self {
        let what = qualified(resource, group);
        let details = Details { name: name.into(), group: group.into(), kind: resource.into(), ..Details::default() };
        Self::new(reason, text(&what)).details(details)
    }

    pub fn code(&self) -> u16 {
        self.0.code
    }

    pub fn reason(&self) -> Option<Reason> {
        self.0.reason
    }

    pub fn message(&self) -> &str {
        &self.0.message
    }

    pub fn get_details(&self) -> Option<&Details> {
        self.0.details.as_ref()
    }

    /// The body of the answer.
    pub fn to_json(&self) -> Value {
        let inner = &*self.0;
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": inner.message, "code": inner.code,
        });
        let fields = body.as_object_mut().expect("an object literal");
        if let Some(reason) = inner.reason {
            fields.insert("reason".into(), json!(reason));
        }
        if let Some(token) = &inner.continue_at {
            fields.insert("metadata".into(), json!({ "continue": token }));
        }
        if let Some(details) = &inner.details {
            fields.insert("details".into(), json!(details));
        }
        body
    }
}

/// `daemonsets.apps`, or `pods` for the core group.
pub fn qualified(resource: &str, group: &str) -> String {
    if group.is_empty() { resource.to_string() } else { format!("{resource}.{group}") }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl std::error::Error for Status {}
