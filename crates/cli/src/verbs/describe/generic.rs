//! Any object, field by field.

use backstay_api::meta;
use backstay_rollout::describe::{Writer, annotations, labels};
use backstay_rollout::go;
use serde_json::{Map, Value};

/// Fields of `metadata` that are shown at the top, or not at all.
const METADATA_SHOWN: [&str; 5] = ["managedFields", "name", "namespace", "labels", "annotations"];

pub fn text(object: &Value) -> String {
    let mut out = Writer::default();
    out.write(0, &format!("Name:\t{}\n", meta::name(object)));
    out.write(0, &format!("Namespace:\t{}\n", meta::namespace(object).unwrap_or("")));
    labels(&mut out, "Labels", &meta::labels(object));
    annotations(&mut out, "Annotations", &meta::annotations(object));
    let mut rest = object.clone();
    METADATA_SHOWN.iter().for_each(|field| drop(meta::remove_meta(&mut rest, field)));
    if let Value::Object(fields) = &rest {
        write(&mut out, fields, 0);
    }
    out.into_text()
}

fn write(out: &mut Writer, fields: &Map<String, Value>, level: usize) {
    for (name, value) in fields {
        let title = title(name);
        match value {
            Value::Object(inner) => {
                out.write(level, &format!("{title}:\n"));
                write(out, inner, level + 1);
            }
            Value::Array(items) => {
                out.write(level, &format!("{title}:\n"));
                for item in items {
                    match item {
                        Value::Object(inner) => write(out, inner, level + 1),
                        other => out.write(level + 1, &format!("{}\n", go::plain(other))),
                    }
                }
            }
            other => out.write(level, &format!("{title}:\t{}\n", go::plain(other))),
        }
    }
}

/// `creationTimestamp` as `Creation Timestamp`. Names with anything but letters and dashes stay as they are.
fn title(name: &str) -> String {
    const ACRONYMS: [&str; 5] = ["API", "URL", "UID", "OSB", "GUID"];
    if !name.chars().all(|c| c.is_alphabetic() || c == '-') {
        return name.to_string();
    }
    let word = |word: &String| {
        let upper = word.to_uppercase();
        if ACRONYMS.contains(&upper.as_str()) {
            return upper;
        }
        let mut chars = word.chars();
        chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
    };
    let words: Vec<String> = words(name).iter().map(word).collect();
    words.join(" ")
}

/// Runs of lower case, each with the capital before it; runs of capitals; dashes.
fn words(name: &str) -> Vec<String> {
    let class = |c: char| {
        if c.is_lowercase() {
            0
        } else if c.is_uppercase() {
            1
        } else {
            2
        }
    };
    let mut runs: Vec<String> = Vec::new();
    let mut last = None;
    for c in name.chars() {
        match runs.last_mut() {
            Some(run) if last == Some(class(c)) => run.push(c),
            _ => runs.push(c.to_string()),
        }
        last = Some(class(c));
    }
    for index in 1..runs.len() {
        let capital_before = runs[index - 1].chars().next().is_some_and(char::is_uppercase);
        if capital_before && runs[index].chars().next().is_some_and(char::is_lowercase) {
            let capital = runs[index - 1].pop();
            runs[index].insert(0, capital.unwrap_or_default());
        }
    }
    runs.retain(|run| !run.is_empty());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_titles() {
        let check = |name: &str, expected: &str| assert_eq!(title(name), expected);
        check("apiVersion", "API Version");
        check("creationTimestamp", "Creation Timestamp");
        check("kind", "Kind");
        check("podIP", "Pod IP");
        check("uid", "UID");
        check("openAPIV3Schema", "openAPIV3Schema");
        check("HTTPGet", "HTTP Get");
        check("app.io/x", "app.io/x");
    }
}
