//! Image references, as far as the default pull policy depends on them. Grammar: `distribution/reference`.

/// `Always` for the tag `latest`, given or implied; `IfNotPresent` otherwise, and for what is no image reference.
pub(super) fn pull_policy(image: &str) -> &'static str {
    if tag(image) == Some("latest") { "Always" } else { "IfNotPresent" }
}

/// The tag; `latest` if there is neither tag nor digest; none for a digest alone and for what cannot be read.
fn tag(image: &str) -> Option<&str> {
    let (named, digest) = match image.split_once('@') {
        Some((named, digest)) => (named, Some(digest)),
        None => (image, None),
    };
    let path_start = named.rfind('/').map_or(0, |slash| slash + 1);
    let (repository, tag) = match named[path_start..].split_once(':') {
        Some((name, tag)) => (&named[..path_start + name.len()], Some(tag)),
        None => (named, None),
    };
    let legal = is_repository(repository) && tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
    match (legal, tag, digest) {
        (false, ..) => None,
        (true, Some(tag), _) => Some(tag),
        (true, None, None) => Some("latest"),
        (true, None, Some(_)) => None,
    }
}

/// An optional registry with port, then lower-case path components.
fn is_repository(text: &str) -> bool {
    let path = match text.split_once('/') {
        Some((registry, path)) if registry.contains(['.', ':']) || registry == "localhost" => {
            if !is_registry(registry) {
                return false;
            }
            path
        }
        _ => text,
    };
    path.split('/').all(is_path_component)
}

fn is_registry(text: &str) -> bool {
    let (host, port) = text.rsplit_once(':').unwrap_or((text, "0"));
    let is_label = |label: &str| {
        let inner = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        inner && !label.is_empty() && !label.starts_with('-') && !label.ends_with('-')
    };
    let is_ipv6 = host.starts_with('[') && host.ends_with(']');
    !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) && (is_ipv6 || host.split('.').all(is_label))
}

/// Lower-case words, separated by `.`, `_`, `__` or dashes.
fn is_path_component(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = text.split(is_word).filter(|separator| !separator.is_empty());
    let legal = |separator: &str| matches!(separator, "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-');
    text.starts_with(is_word) && text.ends_with(is_word) && separators.into_iter().all(legal)
}

fn is_tag(text: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.len() <= 128 && text.starts_with(is_word) && text.chars().all(|c| is_word(c) || c == '.' || c == '-')
}

fn is_digest(text: &str) -> bool {
    let (algorithm, hex) = text.split_once(':').unwrap_or(("", ""));
    !algorithm.is_empty() && hex.len() >= 32 && hex.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_tag() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let rows = [
            ("x", Some("latest")),
            ("x:latest", Some("latest")),
            ("x:1", Some("1")),
            ("reg:5000/x", Some("latest")),
            ("reg.io/a/b__c:v1.2", Some("v1.2")),
            (&format!("x@{digest}"), None),
            (&format!("x:latest@{digest}"), Some("latest")),
            ("Upper", None),
            ("", None),
            ("a//b", None),
            ("x:", None),
            ("-x", None),
            ("localhost/x", Some("latest")),
        ];
        for (image, expected) in rows {
            assert_eq!(tag(image), expected, "of {image}");
        }
    }
}
