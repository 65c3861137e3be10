//! Why a request failed.

use serde::Deserialize;

#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server said no.
    #[error("{message}")]
    Refused { code: u16, reason: String, message: String, causes: Vec<String> },
    #[error("no answer to {path} in time")]
    Timeout { path: String },
    #[error("cannot reach the server")]
    Unreachable(#[source] Box<kube::Error>),
    #[error("not a request")]
    Request(#[from] http::Error),
    /// The answer is not what the API serves.
    #[error("cannot read the answer")]
    Answer(#[from] serde_json::Error),
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStatus {
    reason: String,
    message: String,
    details: Option<WireDetails>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireDetails {
    causes: Vec<WireCause>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireCause {
    reason: String,
}

impl ApiError {
    /// From the body of an answer that is not a success.
    pub fn from_status(code: u16, body: &[u8]) -> Self {
        let status: WireStatus = serde_json::from_slice(body).unwrap_or_default();
        let message = match status.message.is_empty() {
            true => format!("the server answered {code}"),
            false => status.message,
        };
        let causes = status.details.unwrap_or_default().causes.into_iter().map(|cause| cause.reason).collect();
        ApiError::Refused { code, reason: status.reason, message, causes }
    }

    pub fn is(&self, wanted: &str) -> bool {
        matches!(self, ApiError::Refused { reason, .. } if reason == wanted)
    }

    pub fn is_not_found(&self) -> bool {
        matches!(self, ApiError::Refused { code: 404, .. })
    }

    /// The object is not in the state that the write names.
    pub fn is_conflict(&self) -> bool {
        matches!(self, ApiError::Refused { code: 409, .. }) && !self.is("AlreadyExists")
    }

    /// The object is not what the decision was about any more: gone, or changed. Whoever did it has woken us.
    pub fn is_overtaken(&self) -> bool {
        self.is_conflict() || self.is_not_found()
    }

    pub fn is_already_exists(&self) -> bool {
        self.is("AlreadyExists")
    }

    /// The version asked for is no longer kept: list again.
    pub fn is_expired(&self) -> bool {
        matches!(self, ApiError::Refused { code: 410, .. }) || self.is("Expired") || self.is("Gone")
    }

    /// The namespace takes no new objects because it is being deleted.
    pub fn is_namespace_terminating(&self) -> bool {
        matches!(self, ApiError::Refused { causes, .. } if causes.iter().any(|cause| cause == "NamespaceTerminating"))
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        ApiError::Unreachable(Box::new(error))
    }
}
