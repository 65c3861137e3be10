//! In which form a client wants its answer: JSON, YAML or protobuf, as objects, as a Table, or metadata only.

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
    Protobuf,
}

/// In the order in which they serve a clause that takes several.
const FORMATS: [Format; 3] = [Format::Json, Format::Yaml, Format::Protobuf];

/// What an object or a list is turned into; the text is the version of `meta.k8s.io`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Shape {
    #[default]
    Plain,
    Table(String),
    Partial(String),
    PartialList(String),
}

/// What there is to choose from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offer {
    /// The answer may be a list or a watch.
    pub collection: bool,
    /// It is a watch.
    pub watch: bool,
    /// It is about custom resources: only their metadata has a protobuf form.
    pub custom: bool,
}

/// One part of an Accept header.
#[derive(Debug)]
struct Clause {
    kind: String,
    subkind: String,
    quality: f32,
    parameters: Vec<(String, String)>,
}

/// No client asks for so many forms.
const CLAUSES_MAX: usize = 100;

const PRODUCED: &str = "application/json, application/yaml, application/vnd.kubernetes.protobuf";
const STREAMED: &str = "application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";

/// Chooses the form.
///
/// # Errors
/// `NotAcceptable`, in the words of Kubernetes' router (no such type at all) or of its handlers (no such form).
pub fn negotiate(accept: &str, offer: Offer, query: &Query, user_agent: &str) -> Result<Media, Status> {
    let pretty = is_pretty(query, user_agent);
    if accept.is_empty() {
        return Ok(Media { pretty, ..Media::default() });
    }
    if !accept.split(',').any(is_produced) {
        let streams = if offer.collection { format!(", {STREAMED}") } else { String::new() };
        let message = format!("406: Not Acceptable\n\nAvailable representations: {PRODUCED}{streams}");
        return Err(problem::not_acceptable(&message));
    }
    match best(accept, |clause, format| clause.shape(format, offer)) {
        Some((Format::Yaml, _)) if offer.watch => Err(none_of(STREAMED)),
        Some((format, shape)) => Ok(Media { format, pretty, shape }),
        None => Err(none_of(PRODUCED)),
    }
}

fn none_of(accepted: &str) -> Status {
    Status::new(Reason::NotAcceptable, format!("only the following media types are accepted: {accepted}"))
}

/// The form of an answer that is no resource, such as a failure or a document of discovery: JSON if nothing fits.
pub fn fallback(accept: &str, query: &Query, user_agent: &str) -> Media {
    let format = best(accept, |clause, format| clause.is_bare(format).then_some(())).map(|(format, ())| format);
    Media { format: format.unwrap_or_default(), pretty: is_pretty(query, user_agent), shape: Shape::Plain }
}

/// The first form that suits, by the client's order of clauses and then by ours.
fn best<T>(accept: &str, suits: impl Fn(&Clause, Format) -> Option<T>) -> Option<(Format, T)> {
    clauses(accept).iter().find_map(|clause| {
        let mut named = FORMATS.into_iter().filter(|format| clause.names(*format));
        named.find_map(|format| Some((format, suits(clause, format)?)))
    })
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
    clauses.truncate(CLAUSES_MAX);
    clauses.sort_by(|a, b| rank(b).partial_cmp(&rank(a)).unwrap_or(std::cmp::Ordering::Equal));
    clauses
}

fn clause(text: &str) -> Option<Clause> {
    let mut parts = text.split(';').map(str::trim);
    let (kind, subkind) = parts.next()?.split_once('/')?;
    let mut clause = Clause { kind: kind.into(), subkind: subkind.into(), quality: 1.0, parameters: Vec::new() };
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        match name {
            // "NaN" would be a number, too, and could not be compared.
            "q" => clause.quality = value.parse().ok().filter(|quality: &f32| quality.is_finite()).unwrap_or(1.0),
            _ => clause.parameters.push((name.to_string(), value.to_string())),
        }
    }
    Some(clause)
}

impl Clause {
    fn names(&self, format: Format) -> bool {
        let own = match format {
            Format::Json => "json",
            Format::Yaml => "yaml",
            Format::Protobuf => "vnd.kubernetes.protobuf",
        };
        match (self.kind.as_str(), self.subkind.as_str()) {
            ("*", "*") | ("application", "*") => true,
            ("application", subkind) => subkind == own,
            _ => false,
        }
    }

    /// What this clause makes of a resource in a format; none if that cannot be had.
    fn shape(&self, format: Format, offer: Offer) -> Option<Shape> {
        if !self.is_streamed_right(format) || !matches!(self.parameter("sv"), "" | "v1") {
            return None;
        }
        if !self.converts() {
            return (!offer.custom || format != Format::Protobuf).then_some(Shape::Plain);
        }
        let version = self.parameter("v").to_string();
        if self.parameter("g") != "meta.k8s.io" || !matches!(version.as_str(), "v1" | "v1beta1") {
            return None;
        }
        match self.parameter("as") {
            "Table" if format != Format::Protobuf => Some(Shape::Table(version)),
            "PartialObjectMetadata" => Some(Shape::Partial(version)),
            "PartialObjectMetadataList" => Some(Shape::PartialList(version)),
            _ => None,
        }
    }

    /// Whether the clause takes an answer that is no resource.
    fn is_bare(&self, format: Format) -> bool {
        self.is_streamed_right(format) && self.parameter("sv").is_empty() && !self.converts()
    }

    /// YAML has no end by which a reader of a stream could tell one event from the next.
    fn is_streamed_right(&self, format: Format) -> bool {
        match self.parameter("stream") {
            "" => true,
            "watch" => format != Format::Yaml,
            _ => false,
        }
    }

    /// Whether the clause asks for another kind than that of the resource.
    fn converts(&self) -> bool {
        self.parameters.iter().any(|(name, _)| matches!(name.as_str(), "as" | "g" | "v"))
    }

    fn parameter(&self, name: &str) -> &str {
        self.parameters.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// The format and the version of aggregated discovery that an Accept header asks for, before plain documents.
pub fn aggregated_discovery(accept: &str) -> Option<(Format, String)> {
    let mut clauses = clauses(accept).into_iter().take_while(Clause::converts);
    clauses.find_map(|clause| {
        let version = clause.parameter("v");
        let known = clause.parameter("as") == "APIGroupDiscoveryList"
            && clause.parameter("g") == "apidiscovery.k8s.io"
            && matches!(version, "v2" | "v2beta1");
        let format = FORMATS.into_iter().find(|format| clause.names(*format)).filter(|_| known)?;
        Some((format, version.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_for(offer: Offer, accept: &str, expected: &str) {
        let seen = match negotiate(accept, offer, &Query::default(), "kubectl") {
            Ok(media) => format!("{:?} {:?}", media.format, media.shape),
            Err(status) => format!("{} {}", status.code(), status.message().lines().next().unwrap_or_default()),
        };
        assert_eq!(seen, expected, "{accept}");
    }

    fn check(accept: &str, expected: &str) {
        check_for(Offer { collection: true, ..Offer::default() }, accept, expected);
    }

    const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

    /// What clients of Go send by default from 1.32 on.
    const TYPED: &str = "application/vnd.kubernetes.protobuf,application/json";

    /// What the informers of metadata send.
    const METADATA: &str = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,\
                            application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

    fn not_acceptable(among: &str) -> String {
        format!("406 only the following media types are accepted: {among}")
    }

    #[test]
    fn the_best_form_wins() {
        check("", "Json Plain");
        check("*/*", "Json Plain");
        check("application/*", "Json Plain");
        check("text/html", "406 406: Not Acceptable");
        check("text/html,application/json;q=0.5", "Json Plain");
        check("application/yaml", "Yaml Plain");
        check("application/yaml;q=0.4,application/json;q=0.3", "Yaml Plain");
        check(TYPED, "Protobuf Plain");
        check(PROTOBUF, "Protobuf Plain");
        check("application/vnd.kubernetes.protobuf;q=0.5,application/json", "Json Plain");
        check("application/json,application/vnd.kubernetes.protobuf", "Json Plain");
        check("*/*,application/vnd.kubernetes.protobuf", "Protobuf Plain");
        check("application/vnd.kubernetes.protobuf;stream=watch", "Protobuf Plain");
        check("application/vnd.kubernetes.protobuf;stream=other,application/json", "Json Plain");
        check("application/yaml;stream=watch,application/json", "Json Plain");
        check("application/json;sv=v2", &not_acceptable(PRODUCED));
    }

    #[test]
    fn other_kinds_are_asked_for_by_parameters() {
        check("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "Json Table(\"v1\")");
        check("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", "Json Plain");
        let odd: Vec<String> = (0..90).map(|n| format!("a/b;q={}", if n % 3 == 0 { "nan" } else { "0.5" })).collect();
        check(&format!("{},application/json", odd.join(",")), "Json Plain");
        check("application/json;as=Table;v=v9;g=meta.k8s.io", &not_acceptable(PRODUCED));
        check("application/json;as=Other;v=v1;g=meta.k8s.io", &not_acceptable(PRODUCED));
        // A Table has no protobuf form.
        check("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io", &not_acceptable(PRODUCED));
        check("application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io,application/yaml", "Yaml Plain");
        check("*/*;as=Table;v=v1;g=meta.k8s.io", "Json Table(\"v1\")");
        check(METADATA, "Protobuf Partial(\"v1\")");
        let list = METADATA.replace("Metadata;", "MetadataList;");
        check(&list, "Protobuf PartialList(\"v1\")");
    }

    #[test]
    fn custom_resources_have_metadata_only_in_protobuf() {
        let custom = |accept: &str, expected: &str| {
            check_for(Offer { custom: true, ..Offer::default() }, accept, expected);
        };
        custom(TYPED, "Json Plain");
        custom(PROTOBUF, &not_acceptable(PRODUCED));
        custom(METADATA, "Protobuf Partial(\"v1\")");
        custom("*/*", "Json Plain");
    }

    #[test]
    fn a_watch_is_a_stream() {
        let watch = |accept: &str, expected: &str| {
            check_for(Offer { collection: true, watch: true, custom: false }, accept, expected);
        };
        watch("application/json;stream=watch,application/vnd.kubernetes.protobuf;stream=watch", "Json Plain");
        watch(PROTOBUF, "Protobuf Plain");
        watch("application/yaml", &not_acceptable(STREAMED));
    }

    #[test]
    fn failures_and_discovery_come_in_what_is_taken_as_it_is() {
        let fallback = |accept: &str| super::fallback(accept, &Query::default(), "kubectl").format;
        assert_eq!(fallback(TYPED), Format::Protobuf);
        assert_eq!(fallback(METADATA), Format::Json);
        assert_eq!(fallback(&METADATA.replace(",application/json", ",application/yaml")), Format::Yaml);
        assert_eq!(fallback("text/html"), Format::Json);
        assert_eq!(fallback(""), Format::Json);
    }

    #[test]
    fn aggregated_discovery_is_told_from_plain() {
        let v2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
        assert_eq!(aggregated_discovery(v2), Some((Format::Json, "v2".into())));
        let protobuf = v2.replacen("application/json", PROTOBUF, 1);
        assert_eq!(aggregated_discovery(&protobuf), Some((Format::Protobuf, "v2".into())));
        assert_eq!(aggregated_discovery(&v2.replace("v2", "v9")), None);
        assert_eq!(aggregated_discovery("application/json"), None);
    }
}
