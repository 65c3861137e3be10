//! What names, labels, keys and ports may look like, and what is wrong where one is not.
//!
//! Each function answers with Kubernetes' complaints; none means legal. Lengths are counted in bytes.
//! Source: `k8s.io/apimachinery/pkg/util/validation` and `pkg/api/validate/content`.

const LABEL_MAX: usize = 63;
const SUBDOMAIN_MAX: usize = 253;
const PORT_NAME_MAX: usize = 15;

const LABEL_REGEX: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const KEY_REGEX: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";

/// A DNS label: `my-name`.
pub fn dns_label(value: &str) -> Vec<String> {
    let mut problems = too_long(value, LABEL_MAX, "characters");
    if is_dns_label(value) {
    } else if is_dns_subdomain(value) {
        problems.push("must not contain dots".to_string());
    } else {
        problems.push(regex_message(
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
             and must start and end with an alphanumeric character",
            LABEL_REGEX,
            &["my-name", "123-abc"],
        ));
    }
    problems
}

/// A DNS label that starts with a letter: names of services.
pub fn dns_1035_label(value: &str) -> Vec<String> {
    let mut problems = too_long(value, LABEL_MAX, "characters");
    if !(is_dns_label(value) && value.starts_with(|c: char| c.is_ascii_lowercase())) {
        problems.push(regex_message(
            "a DNS-1035 label must consist of lower case alphanumeric characters or '-', \
             start with an alphabetic character, and end with an alphanumeric character",
            "[a-z]([-a-z0-9]*[a-z0-9])?",
            &["my-name", "abc-123"],
        ));
    }
    problems
}

/// A DNS name: `example.com`.
pub fn dns_subdomain(value: &str) -> Vec<String> {
    subdomain(value, "characters")
}

/// A DNS name as search paths have it: labels may hold underscores, and start with one.
pub fn dns_subdomain_with_underscores(value: &str) -> Vec<String> {
    let mut problems = too_long(value, SUBDOMAIN_MAX, "characters");
    let is_label = |label: &str| {
        let label = label.strip_prefix('_').unwrap_or(label);
        is_dns_label(&label.replace('_', "-"))
            && label.starts_with(|c: char| c.is_ascii_alphanumeric())
            && label.ends_with(|c: char| c.is_ascii_alphanumeric())
    };
    if !value.split('.').all(is_label) {
        let label = "_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?";
        problems.push(regex_message(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or '.', \
             and must start and end with an alphanumeric character",
            &format!("{label}(\\.{label})*"),
            &["example.com"],
        ));
    }
    problems
}

/// A label, annotation or taint key: `name` or `example.com/name`.
pub fn label_key(value: &str) -> Vec<String> {
    let message = "must consist of alphanumeric characters, '-', '_' or '.', \
                   and must start and end with an alphanumeric character";
    let message = || regex_message(message, KEY_REGEX, &["MyName", "my.name", "123-abc"]);
    let parts: Vec<_> = value.split('/').collect();
    let (prefix, name) = match parts.as_slice() {
        [name] => (None, *name),
        [prefix, name] => (Some(*prefix), *name),
        _ => {
            let optional = "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {} {optional}", message())];
        }
    };
    let mut problems = match prefix {
        None => Vec::new(),
        Some("") => vec!["must be non-empty".to_string()],
        Some(prefix) => subdomain(prefix, "bytes"),
    };
    problems.iter_mut().for_each(|problem| problem.insert_str(0, "prefix part "));
    let mut in_name = match name {
        "" => vec!["must be non-empty".to_string()],
        name => too_long(name, LABEL_MAX, "bytes"),
    };
    if !is_key(name) {
        in_name.push(message());
    }
    problems.extend(in_name.into_iter().map(|problem| format!("name part {problem}")));
    problems
}

/// The value of a label.
pub fn label_value(value: &str) -> Vec<String> {
    let mut problems = too_long(value, LABEL_MAX, "bytes");
    if !value.is_empty() && !is_key(value) {
        problems.push(regex_message(
            "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
             and must start and end with an alphanumeric character",
            "(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?",
            &["MyValue", "my_value", "12345"],
        ));
    }
    problems
}

/// The name of a port: `http`.
pub fn port_name(value: &str) -> Vec<String> {
    let mut problems = too_long(value, PORT_NAME_MAX, "characters");
    let mut complain = |holds: bool, what: &str| {
        if holds {
            problems.push(what.to_string());
        }
    };
    let is_charset = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let charset = !value.is_empty() && value.chars().all(is_charset);
    complain(!charset, "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)");
    complain(!value.contains(|c: char| c.is_ascii_lowercase()), "must contain at least one letter (a-z)");
    complain(value.contains("--"), "must not contain consecutive hyphens");
    complain(value.starts_with('-') || value.ends_with('-'), "must not begin or end with a hyphen");
    problems
}

/// The number of a port.
pub fn port_number(value: i64) -> Vec<String> {
    in_range(value, 1, 65535)
}

pub fn in_range(value: i64, min: i64, max: i64) -> Vec<String> {
    if (min..=max).contains(&value) { Vec::new() } else { vec![format!("must be between {min} and {max}, inclusive")] }
}

/// A percentage: `50%`.
pub fn percent(value: &str) -> Vec<String> {
    let digits = value.strip_suffix('%').unwrap_or("");
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Vec::new();
    }
    let message = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![regex_message(message, "[0-9]+%", &["1%", "93%"])]
}

/// The name of an HTTP header.
pub fn http_header(value: &str) -> Vec<String> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Vec::new();
    }
    let message = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![regex_message(message, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// The name of an environment variable, as generously as Kubernetes has read it since 1.34.
pub fn env_name(value: &str) -> Vec<String> {
    let mut problems = Vec::new();
    if value.is_empty() {
        problems.push("environment variable name must be non-empty".to_string());
    }
    if value.chars().any(|c| !(' '..='~').contains(&c) || c == '=') {
        let message =
            "a valid environment variable name must consist only of printable ASCII characters other than '='";
        problems.push(message.to_string());
    }
    problems
}

/// A key of a ConfigMap or Secret.
pub fn config_key(value: &str) -> Vec<String> {
    let mut problems = too_long(value, SUBDOMAIN_MAX, "characters");
    if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        problems.push(regex_message(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match value {
        "." => problems.push("must not be '.'".to_string()),
        ".." => problems.push("must not be '..'".to_string()),
        _ if value.starts_with("..") => problems.push("must not start with '..'".to_string()),
        _ => {}
    }
    problems
}

/// A name as one segment of a URL path: names of RBAC objects.
pub fn path_segment(value: &str) -> Vec<String> {
    if value == "." || value == ".." {
        return vec![format!("may not be '{value}'")];
    }
    let forbidden = ["/", "%"].into_iter().filter(|part| value.contains(part));
    forbidden.map(|part| format!("may not contain '{part}'")).collect()
}

/// `message (e.g. 'a',  or 'b', regex used for validation is '...')`: the doubled space is Kubernetes'.
pub fn regex_message(message: &str, regex: &str, examples: &[&str]) -> String {
    let examples: Vec<_> = examples.iter().map(|example| format!("'{example}', ")).collect();
    let before = if examples.is_empty() { String::new() } else { format!("e.g. {}", examples.join(" or ")) };
    format!("{message} ({before}regex used for validation is '{regex}')")
}

fn subdomain(value: &str, unit: &str) -> Vec<String> {
    let mut problems = too_long(value, SUBDOMAIN_MAX, unit);
    if !is_dns_subdomain(value) {
        problems.push(regex_message(
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
             and must start and end with an alphanumeric character",
            &format!("{LABEL_REGEX}(\\.{LABEL_REGEX})*"),
            &["example.com"],
        ));
    }
    problems
}

fn too_long(value: &str, max: usize, unit: &str) -> Vec<String> {
    if value.len() > max { vec![format!("must be no more than {max} {unit}")] } else { Vec::new() }
}

fn is_dns_label(value: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    !value.is_empty() && value.bytes().all(inner) && !value.starts_with('-') && !value.ends_with('-')
}

fn is_dns_subdomain(value: &str) -> bool {
    value.split('.').all(is_dns_label)
}

fn is_key(value: &str) -> bool {
    let ends = |c: char| c.is_ascii_alphanumeric();
    value.starts_with(ends)
        && value.ends_with(ends)
        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_is_wrong() {
        #[track_caller]
        fn check(rule: fn(&str) -> Vec<String>, legal: &[&str], illegal: &[(&str, &[&str])]) {
            for value in legal {
                assert_eq!(rule(value), Vec::<String>::new(), "of {value}");
            }
            for (value, expected) in illegal {
                let found = rule(value);
                let starts = |(problem, start): (&String, &&str)| problem.starts_with(*start);
                assert!(found.len() == expected.len() && found.iter().zip(*expected).all(starts), "{value}: {found:?}");
            }
        }
        let long = "a".repeat(64);
        let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must";
        check(dns_label, &["a", "a-1", "1"], &[("a.b", &["must not contain dots"]), ("", &[label]), ("-a", &[label])]);
        check(dns_label, &[], &[(&long, &["must be no more than 63 characters"]), ("A", &[label])]);
        check(dns_1035_label, &["a", "a1"], &[("1a", &["a DNS-1035 label"]), ("a.b", &["a DNS-1035 label"])]);
        check(dns_subdomain, &["a.b", "1.2"], &[("a..b", &["a lowercase RFC 1123 sub"]), ("a_b", &["a lowercase"])]);
        let key = "name part must consist of alphanumeric characters, '-', '_' or '.', and must";
        check(label_key, &["a", "A_.b", "x.io/A"], &[("", &["name part must be non-empty", key]), ("-a", &[key])]);
        check(label_key, &[], &[("/a", &["prefix part must be non-empty"]), ("X/a", &["prefix part a lowercase RFC"])]);
        check(
            label_key,
            &[],
            &[("a/b/c", &["a valid label key must consist of"]), (&long, &["name part must be no more"])],
        );
        check(
            label_value,
            &["", "a", "A.b"],
            &[("a b", &["a valid label must be"]), (&long, &["must be no more than 63 b"])],
        );
        check(
            port_name,
            &["http", "a-1"],
            &[("1", &["must contain at least one letter"]), ("a--b", &["must not contain c"])],
        );
        check(port_name, &[], &[("A", &["must contain only", "must contain at least"]), ("-a", &["must not begin"])]);
        check(percent, &["0%", "100%"], &[("%", &["a valid percent"]), ("5", &["a valid percent"])]);
        check(config_key, &["a", ".a", "A_b-c"], &[("", &["a valid config"]), ("..a", &["must not start with '..'"])]);
        check(
            env_name,
            &["A", "1.a b"],
            &[("", &["environment variable name must be non-empty"]), ("a=b", &["a valid env"])],
        );
        check(path_segment, &["a:b", "A"], &[("a/b%", &["may not contain '/'", "may not contain '%'"])]);
    }

    #[test]
    fn shows_the_regular_expression() {
        let expected = "a valid percent string must be a numeric string followed by an ending '%' \
                        (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')";
        assert_eq!(percent("x"), [expected]);
    }
}
