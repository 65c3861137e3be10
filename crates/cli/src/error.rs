//! What can go wrong, in kubectl's words.

use std::fmt;

pub use backstay_api::go::quote as quoted;
use serde_json::Value;

/// The end of a verb. `Display` is what belongs on standard error, without the last line break.
#[derive(Debug)]
pub enum Failure {
    /// The server said no.
    Api(Box<ApiError>),
    /// Shown with `error: ` in front, unless it stands among several.
    Plain(String),
    /// Shown as it is.
    Text(String),
    /// Each on a line of its own.
    Several(Vec<Failure>),
    /// All has been said already.
    Silent,
    /// All has been said already; the process ends with this code.
    Exit(u8),
}

pub type Outcome<T = ()> = Result<T, Failure>;

/// A `Status` with `status: Failure`.
#[derive(Clone, Debug, Default)]
pub struct ApiError {
    pub code: u16,
    pub reason: String,
    pub message: String,
    pub details: Option<Value>,
}

impl Failure {
    pub fn plain(message: impl Into<String>) -> Self {
        Self::Plain(message.into())
    }

    /// None: success. One stands for itself.
    pub fn from_list(mut failures: Vec<Failure>) -> Outcome {
        match failures.len() {
            0 => Ok(()),
            1 => Err(failures.remove(0)),
            _ => Err(Self::Several(failures)),
        }
    }

    pub fn exit_code(&self) -> u8 {
        if let Self::Exit(code) = self { *code } else { 1 }
    }

    pub fn api(&self) -> Option<&ApiError> {
        if let Self::Api(error) = self { Some(error) } else { None }
    }

    pub fn is_not_found(&self) -> bool {
        self.api().is_some_and(|error| error.reason == "NotFound")
    }

    /// The path itself is unknown to the server, not just the name.
    pub fn is_unknown_path(&self) -> bool {
        self.api().is_some_and(|error| error.code == 404 && error.detail("name").is_empty())
    }

    /// Says with which file and what action it happened.
    pub fn about(self, action: &str, source: &str) -> Self {
        match self {
            Self::Api(mut error) => {
                error.message = format!("error when {action} {}: {}", quoted(source), error.message);
                Self::Api(error)
            }
            Self::Plain(message) => Self::Plain(format!("error when {action} {}: {message}", quoted(source))),
            other => other,
        }
    }

    /// As one of several: plain messages stand without `error: `.
    fn among_several(&self) -> String {
        match self {
            Self::Plain(message) => message.clone(),
            Self::Api(error) => error.line(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api(error) => write!(f, "{error}"),
            Self::Plain(message) if message.starts_with("error: ") => f.write_str(message),
            Self::Plain(message) => write!(f, "error: {message}"),
            Self::Text(text) => f.write_str(text),
            Self::Several(failures) => {
                let lines: Vec<String> = failures.iter().map(Self::among_several).collect();
                f.write_str(&lines.join("\n"))
            }
            Self::Silent | Self::Exit(_) => Ok(()),
        }
    }
}

impl ApiError {
    /// From the body of an answer that is not a success. What is no Status is reported by its HTTP code.
    pub fn from_answer(code: u16, body: &[u8]) -> Self {
        match serde_json::from_slice::<Value>(body) {
            Ok(status) if status.get("kind").and_then(Value::as_str) == Some("Status") => Self::from_status(&status),
            _ => Self::from_code(code, &String::from_utf8_lossy(body)),
        }
    }

    pub fn from_status(status: &Value) -> Self {
        let text = |field: &str| status.get(field).and_then(Value::as_str).unwrap_or_default().to_string();
        Self {
            code: status.get("code").and_then(Value::as_u64).and_then(|code| code.try_into().ok()).unwrap_or(0),
            reason: text("reason"),
            message: text("message"),
            details: status.get("details").cloned(),
        }
    }

    fn from_code(code: u16, body: &str) -> Self {
        let (reason, message) = match code {
            401 => ("Unauthorized", "the server has asked for the client to provide credentials"),
            403 => ("Forbidden", "forbidden"),
            404 => ("NotFound", "the server could not find the requested resource"),
            405 => ("MethodNotAllowed", "the server does not allow this method on the requested resource"),
            429 => ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
            503 => ("ServiceUnavailable", "the server is currently unable to handle the request"),
            _ => ("", ""),
        };
        let message = match message {
            "" => format!("an error on the server ({}) has prevented the request from succeeding", quoted(body.trim())),
            message => message.to_string(),
        };
        Self { code, reason: reason.into(), message, details: None }
    }

    pub fn detail(&self, field: &str) -> &str {
        self.details.as_ref().and_then(|details| details.get(field)).and_then(Value::as_str).unwrap_or_default()
    }

    /// The one-line form, also of what is invalid.
    fn line(&self) -> String {
        match self.reason.as_str() {
            "Unauthorized" => format!("error: You must be logged in to the server ({})", self.message),
            "" => format!("Error from server: {}", self.message),
            reason => format!("Error from server ({reason}): {}", self.message),
        }
    }

    fn causes(&self) -> Vec<String> {
        let causes = self.details.as_ref().and_then(|details| details.get("causes")).and_then(Value::as_array);
        let cause = |cause: &Value| {
            let text = |field: &str| cause.get(field).and_then(Value::as_str).unwrap_or_default();
            match text("field") {
                "" => text("message").to_string(),
                field => format!("{field}: {}", text("message")),
            }
        };
        let mut causes: Vec<String> = causes.into_iter().flatten().map(cause).collect();
        // What is said twice is shown once.
        let mut seen = std::collections::BTreeSet::new();
        causes.retain(|cause| seen.insert(cause.clone()));
        causes
    }

    fn invalid(&self) -> String {
        let causes = self.causes();
        let (kind, name) = (self.detail("kind"), self.detail("name"));
        let mut text = "The request is invalid".to_string();
        if !kind.is_empty() || !name.is_empty() {
            text = format!("The {kind} {} is invalid", quoted(name));
        } else if !self.message.is_empty() && causes.is_empty() {
            text = format!("{text}: {}", self.message);
        }
        match causes.as_slice() {
            [] => text,
            [cause] => format!("{text}: {cause}"),
            causes => format!("{text}: \n* {}", causes.join("\n* ")),
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.reason == "Invalid" { f.write_str(&self.invalid()) } else { f.write_str(&self.line()) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn api(status: Value) -> Failure {
        Failure::Api(Box::new(ApiError::from_status(&status)))
    }

    #[track_caller]
    fn check(failure: &Failure, expected: &str) {
        assert_eq!(failure.to_string(), expected);
    }

    #[test]
    fn failures_read_as_those_of_kubectl() {
        check(&Failure::plain("no last revision to roll back to"), "error: no last revision to roll back to");
        let missing = json!({"reason": "NotFound", "code": 404, "message": "daemonsets.apps \"x\" not found"});
        check(&api(missing.clone()), "Error from server (NotFound): daemonsets.apps \"x\" not found");
        check(
            &Failure::Several(vec![Failure::plain("no last revision to roll back to"), api(missing.clone())]),
            "no last revision to roll back to\nError from server (NotFound): daemonsets.apps \"x\" not found",
        );
        check(
            &api(missing).about("creating", "a.yaml"),
            "Error from server (NotFound): error when creating \"a.yaml\": daemonsets.apps \"x\" not found",
        );
        check(&api(json!({"message": "oops"})), "Error from server: oops");
    }

    #[test]
    fn what_is_invalid_is_listed_by_cause() {
        let status = |causes: Value| {
            json!({"reason": "Invalid", "code": 422, "message": "long", "details": {
                "kind": "DaemonSet", "name": "x", "causes": causes,
            }})
        };
        let (a, b) = (json!({"field": "spec.a", "message": "no"}), json!({"field": "spec.b", "message": "nor this"}));
        check(&api(status(json!([a]))), "The DaemonSet \"x\" is invalid: spec.a: no");
        check(&api(status(json!([a, b]))), "The DaemonSet \"x\" is invalid: \n* spec.a: no\n* spec.b: nor this");
        check(&api(json!({"reason": "Invalid", "message": "long", "details": {}})), "The request is invalid: long");
    }

    #[test]
    fn answers_that_are_no_status_are_told_by_their_code() {
        let check = |code: u16, body: &str, expected: &str| {
            assert_eq!(ApiError::from_answer(code, body.as_bytes()).to_string(), expected);
        };
        check(404, "nope", "Error from server (NotFound): the server could not find the requested resource");
        let text = "Error from server: an error on the server (\"x\") has prevented the request from succeeding";
        check(502, "x\n", text);
    }
}
