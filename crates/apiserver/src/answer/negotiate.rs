//! In which form a client wants its answer: JSON or YAML, as objects, as a Table, or metadata only.

use backstay_api::{Reason, Status};

use crate::problem;
use crate::request::Query;

/// The form of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Media {
    pub format: Format,
    pub pretty: bool,
    pub shape: Shape,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    #[default]
    Json,
    Yaml,
}

/// What an object or a list is turned into; the text is the version of `meta.k8s.io`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    #[default]
    Plain,
    Table(String),
    Partial(String),
    PartialList(String),
}

/// One part of an Accept header.
#[derive(Debug)]
struct Clause {
    kind: String,
    subkind: String,
    quality: f32,
    parameters: Vec<(String, String)>,
}

const PRODUCED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";

/// Chooses the form. `collection`: the answer may be a list or a watch.
///
/// # Errors
/// `NotAcceptable`, in the words of Kubernetes' router (no such type at all) or of its handlers (no such form).
pub fn negotiate(accept: &str, collection: bool, query: &Query, user_agent: &str) -> Result<Media, Status> {
    let pretty = is_pretty(query, user_agent);
    if accept.is_empty() {
        return Ok(Media { pretty, ..Media::default() });
    }
    if !accept.split(',').any(is_produced) {
        let streams = ", application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        let streams = if collection { streams } else { "" };
        let message = format!("406: Not Acceptable\n\nAvailable representations: {PRODUCED}{streams}");
        return Err(problem::not_acceptable(&message));
    }
    let chosen = clauses(accept).into_iter().find_map(|clause| clause.media());
    match chosen {
        Some((format, shape)) => Ok(Media { format, pretty, shape }),
        None => {
            Err(Status::new(Reason::NotAcceptable, format!("only the following media types are accepted: {PRODUCED}")))
        }
    }
}

/// The form of an answer about which there is no choice, such as a failure before negotiation.
pub fn fallback(accept: &str, query: &Query, user_agent: &str) -> Media {
    let yaml = clauses(accept).into_iter().find_map(|clause| clause.media()).is_some_and(|(f, _)| f == Format::Yaml);
    let format = if yaml { Format::Yaml } else { Format::Json };
    Media { format, pretty: is_pretty(query, user_agent), shape: Shape::Plain }
}

/// People who ask with curl or a browser get white space.
fn is_pretty(query: &Query, user_agent: &str) -> bool {
    match query.get("pretty") {
        Some(_) => query.flag("pretty"),
        None => ["curl", "Wget", "Mozilla/5.0"].iter().any(|agent| user_agent.starts_with(agent)),
    }
}

/// What the router knows of the types: no parameters.
fn is_produced(clause: &str) -> bool {
    let kind = clause.split(';').next().unwrap_or_default().trim();
    kind == "*/*" || kind == "application/*" || PRODUCED.split(", ").any(|produced| produced == kind)
}

/// The clauses, the most wanted first.
fn clauses(accept: &str) -> Vec<Clause> {
    let mut clauses: Vec<Clause> = accept.split(',').filter_map(clause).collect();
    let rank = |clause: &Clause| (clause.quality, clause.kind != "*", clause.subkind != "*");
    clauses.sort_by(|a, b| rank(b).partial_cmp(&rank(a)).unwrap_or(std::cmp::Ordering::Equal));
    clauses
}

fn clause(text: &str) -> Option<Clause> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subkind) = parts.next()?.split_once('/')?;
    let mut clause = Clause { kind: kind.into(), subkind: subkind.into(), quality: 1.0, parameters: Vec::new() };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name {
            "q" => clause.quality = value.parse().unwrap_or(1.0),
            _ => clause.parameters.push((name.to_string(), value.to_string())),
        }
    }
    Some(clause)
}

impl Clause {
    /// The form this clause asks for, if we have it.
    fn media(&self) -> Option<(Format, Shape)> {
        let format = match (self.kind.as_str(), self.subkind.as_str()) {
            ("application", "json" | "*") | ("*", "*") => Format::Json,
            ("application", "yaml") => Format::Yaml,
            // Clients that prefer protobuf recognise JSON by the answer's content type.
            ("application", "vnd.kubernetes.protobuf") => Format::Json,
            _ => return None,
        };
        Some((format, self.shape()?))
    }

    fn shape(&self) -> Option<Shape> {
        let version = self.parameter("v").to_string();
        let meta = self.parameter("g") == "meta.k8s.io" && matches!(version.as_str(), "v1" | "v1beta1");
        match self.parameter("as") {
            "" => Some(Shape::Plain),
            "Table" if meta => Some(Shape::Table(version)),
            "PartialObjectMetadata" if meta => Some(Shape::Partial(version)),
            "PartialObjectMetadataList" if meta => Some(Shape::PartialList(version)),
            _ => None,
        }
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// The version of aggregated discovery that an Accept header asks for, before plain documents.
pub fn aggregated_discovery(accept: &str) -> Option<String> {
    for clause in clauses(accept) {
        let version = clause.parameter("v");
        match clause.parameter("as") {
            "" => return None,
            "APIGroupDiscoveryList"
                if clause.parameter("g") == "apidiscovery.k8s.io" && matches!(version, "v2" | "v2beta1") =>
            {
                return Some(version.to_string());
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(accept: &str, expected: &str) {
        let seen = match negotiate(accept, true, &Query::default(), "kubectl") {
            Ok(media) => format!("{:?} {:?}", media.format, media.shape),
            Err(status) => format!("{} {}", status.code(), status.message().lines().next().unwrap_or_default()),
        };
        assert_eq!(seen, expected, "{accept}");
    }

    #[test]
    fn the_best_form_wins() {
        check("", "Json Plain");
        check("*/*", "Json Plain");
        check("text/html", "406 406: Not Acceptable");
        check("text/html,application/json;q=0.5", "Json Plain");
        check("application/yaml", "Yaml Plain");
        check("application/vnd.kubernetes.protobuf,application/json", "Json Plain");
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "Json Table(\"v1\")");
        check("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "Json Plain");
        let words = "406 only the following media types are accepted: ";
        check("application/json;as=Table;v=v9;g=meta.k8s.io", &format!("{words}{PRODUCED}"));
    }

    #[test]
    fn aggregated_discovery_is_told_from_plain() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(aggregated_discovery(v2).as_deref(), Some("v2"));
        assert_eq!(aggregated_discovery(&v2.replace("v2", "v9")), None);
        assert_eq!(aggregated_discovery("application/json"), None);
    }
}
