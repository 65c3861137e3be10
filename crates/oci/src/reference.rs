//! Names of images: `[HOST[:PORT]/]PATH[:TAG][@DIGEST]`, with Docker's defaults.

use std::fmt;

use thiserror::Error;

const DOCKER_HUB: &str = "docker.io";
/// Where Docker Hub's registry answers.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";
/// As the distribution specification has it.
const NAME_CHARS_MAX: usize = 255;
const TAG_CHARS_MAX: usize = 128;

/// A whole name: nothing is left to assume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// `docker.io`, `registry.example.com:5000`.
    pub domain: String,
    /// `library/busybox`.
    pub path: String,
    /// `latest` if neither a tag nor a digest is given.
    pub tag: Option<String>,
    /// `sha256:...`.
    pub digest: Option<String>,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("couldn't parse image name {name:?}: {why}")]
pub struct InvalidName {
    pub name: String,
    pub why: &'static str,
}

impl Reference {
    /// # Errors
    /// If no registry could have an image of that name.
    pub fn parse(name: &str) -> Result<Self, InvalidName> {
        parse(name).map_err(|why| InvalidName { name: name.to_string(), why })
    }

    /// Domain and path, without tag and digest.
    pub fn repository(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// The name with a digest, as `imageID` shows it.
    pub fn with_digest(&self, digest: &str) -> String {
        format!("{}@{digest}", self.repository())
    }

    /// Host and port to connect to.
    pub fn host(&self) -> &str {
        if self.domain == DOCKER_HUB { DOCKER_HUB_HOST } else { &self.domain }
    }

    /// What a registry is asked for: the digest if there is one, since it says more than the tag.
    pub fn version(&self) -> &str {
        self.digest.as_deref().or(self.tag.as_deref()).unwrap_or("latest")
    }

    /// Registries on this very machine are spoken to without TLS.
    pub fn is_local(&self) -> bool {
        let host = self.domain.rsplit_once(':').map_or(self.domain.as_str(), |(host, _)| host);
        host == "localhost" || host.starts_with("127.") || host == "[::1]"
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => write!(f, "{}@{digest}", self.repository()),
            (None, Some(tag)) => write!(f, "{}:{tag}", self.repository()),
            (None, None) => write!(f, "{}", self.repository()),
        }
    }
}

fn parse(name: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match name.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (name, None),
    };
    if digest.is_some_and(|digest| hex(digest).is_none()) {
        return Err("invalid digest: it must be sha256: and 64 hexadecimal digits");
    }
    let (rest, tag) = match rest.rsplit_once(':') {
        Some((rest, tag)) if !tag.contains('/') => (rest, Some(tag)),
        _ => (rest, None),
    };
    if tag.is_some_and(|tag| !is_tag(tag)) {
        return Err("invalid tag: up to 128 letters, digits, and _ . - that does not begin with . or -");
    }
    let (domain, path) = match rest.split_once('/') {
        Some((first, path)) if is_domain(first) => (first, path),
        _ => (DOCKER_HUB, rest),
    };
    let label = |label: &str| label.starts_with(|char: char| char.is_ascii_alphanumeric() || char == '[');
    if !domain.chars().all(|char| char.is_ascii_alphanumeric() || ".-:[]".contains(char))
        || !(domain.starts_with('[') || domain.split(['.', ':']).all(label))
    {
        return Err("invalid reference format: the registry must be a host name, with a port or without");
    }
    let domain = if domain == "index.docker.io" { DOCKER_HUB } else { domain };
    let path = match path {
        path if domain == DOCKER_HUB && !path.contains('/') => format!("library/{path}"),
        path => path.to_string(),
    };
    if path.chars().any(|char| char.is_ascii_uppercase()) {
        return Err("invalid reference format: repository name must be lowercase");
    }
    if domain.len() + path.len() > NAME_CHARS_MAX || !path.split('/').all(is_component) {
        return Err("invalid reference format");
    }
    let tag = match (tag, digest) {
        (None, None) => Some("latest"),
        (tag, _) => tag,
    };
    Ok(Reference { domain: domain.into(), path, tag: tag.map(Into::into), digest: digest.map(Into::into) })
}

fn is_domain(first: &str) -> bool {
    first.contains(['.', ':']) || first == "localhost" || first.chars().any(|char| char.is_ascii_uppercase())
}

fn is_tag(tag: &str) -> bool {
    let word = |char: char| char.is_ascii_alphanumeric() || char == '_';
    tag.len() <= TAG_CHARS_MAX
        && tag.starts_with(word)
        && tag.chars().all(|char| word(char) || char == '.' || char == '-')
}

/// Lowercase words, joined by one dot, one or two underscores, or hyphens.
fn is_component(part: &str) -> bool {
    let word = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit();
    let joints = part.split(word).filter(|joint| !joint.is_empty());
    part.starts_with(word)
        && part.ends_with(word)
        && joints.into_iter().all(|joint| matches!(joint, "." | "_" | "__") || joint.chars().all(|char| char == '-'))
}

/// The digits of a `sha256:` digest.
pub fn hex(digest: &str) -> Option<&str> {
    let hex = digest.strip_prefix("sha256:")?;
    let is_hex = hex.len() == 64 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    is_hex.then_some(hex)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &str, expected: &str) {
        let shown = match Reference::parse(name) {
            Ok(it) => it.to_string(),
            Err(error) => error.why.chars().take(17).collect(),
        };
        assert_eq!(shown, expected, "{name}");
    }

    #[test]
    fn names_get_their_defaults() {
        let digest = format!("sha256:{}", "0a".repeat(32));
        check("busybox", "docker.io/library/busybox:latest");
        check("team/app:v1", "docker.io/team/app:v1");
        check("index.docker.io/busybox", "docker.io/library/busybox:latest");
        check("localhost/app", "localhost/app:latest");
        check("localhost:5000/a/b:v1", "localhost:5000/a/b:v1");
        check("r.example.com/app", "r.example.com/app:latest");
        check(&format!("r.io/a:v1@{digest}"), &format!("r.io/a@{digest}"));
        check("a__b/c-d.e", "docker.io/a__b/c-d.e:latest");
    }

    #[test]
    fn what_is_no_name() {
        for name in ["", "/", "a//b", "a/", "-a", "a..b", "a_-b", "a b", "../etc"] {
            check(name, "invalid reference");
        }
        check("Busybox", "invalid reference");
        check("a:b:-c", "invalid tag: up t");
        check("a@sha256:00", "invalid digest: i");
    }
}
