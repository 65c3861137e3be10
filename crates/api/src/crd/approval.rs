//! Groups of Kubernetes itself (`*.k8s.io`, `*.kubernetes.io`) belong to its API reviewers; an annotation says that
//! they agreed. Source: `GetAPIApprovalState` of `apiextensions-apiserver`.

use serde_json::Value;

use crate::meta::{self, str_at};

pub const ANNOTATION: &str = "api-approved.kubernetes.io";
const LINK: &str = "https://github.com/kubernetes/enhancements/pull/1111";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Approval<'a> {
    Given(&'a str),
    /// On purpose: the annotation says so.
    Refused(&'a str),
    Invalid(&'a str),
    Missing,
}

/// The approval of a definition; none is needed outside of those groups.
pub fn of(definition: &Value) -> Option<Approval<'_>> {
    let group = str_at(definition, &["spec", "group"]);
    let within = |domain: &str| group == domain || group.ends_with(&format!(".{domain}"));
    if !within("k8s.io") && !within("kubernetes.io") {
        return None;
    }
    Some(match meta::annotation(definition, ANNOTATION).unwrap_or_default() {
        "" => Approval::Missing,
        text if text.starts_with("unapproved") => Approval::Refused(text),
        text if is_url(text) => Approval::Given(text),
        text => Approval::Invalid(text),
    })
}

fn is_url(text: &str) -> bool {
    text.split_once("://")
        .is_some_and(|(scheme, rest)| !scheme.is_empty() && !rest.starts_with('/') && !rest.is_empty())
}

impl Approval<'_> {
    pub fn message(&self) -> String {
        let must = format!("protected groups must have approval annotation \"{ANNOTATION}\"");
        match self {
            Approval::Given(text) => format!("approved in {text}"),
            Approval::Refused(text) => format!("not approved: {}", crate::go::quote(text)),
            Approval::Invalid(_) => {
                format!("{must} with either a URL or a reason starting with \"unapproved\", see {LINK}")
            }
            Approval::Missing => format!("{must}, see {LINK}"),
        }
    }

    /// The status and the reason of the condition.
    pub fn condition(&self) -> (&'static str, &'static str) {
        match self {
            Approval::Given(_) => ("True", "ApprovedAnnotation"),
            Approval::Refused(_) => ("False", "UnapprovedAnnotation"),
            Approval::Invalid(_) => ("False", "InvalidAnnotation"),
            Approval::Missing => ("False", "MissingAnnotation"),
        }
    }
}
