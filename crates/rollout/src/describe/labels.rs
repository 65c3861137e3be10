//! Labels and annotations, one per line.

use std::collections::BTreeMap;

use backstay_api::meta::LAST_APPLIED;

use super::Writer;

/// Longer annotations go on lines of their own, and their lines are cut.
const ANNOTATION_BYTES_MAX: usize = 140;

/// `Title:` and `key=value` lines, or `<none>`.
pub fn labels(out: &mut Writer, title: &str, labels: &BTreeMap<String, String>) {
    out.write(0, &format!("{title}:\t"));
    if labels.is_empty() {
        out.write_line("<none>");
    }
    for (index, (key, value)) in labels.iter().enumerate() {
        if index > 0 {
            out.write(0, "");
            out.write(0, "\t");
        }
        out.write(0, &format!("{key}={value}\n"));
    }
}

/// `Title:` and `key: value` lines, or `<none>`. What `kubectl apply` noted down is not shown.
pub fn annotations(out: &mut Writer, title: &str, annotations: &BTreeMap<String, String>) {
    out.write(0, &format!("{title}:\t"));
    let shown: Vec<_> = annotations.iter().filter(|(key, _)| *key != LAST_APPLIED).collect();
    if shown.is_empty() {
        out.write_line("<none>");
    }
    for (index, (key, value)) in shown.into_iter().enumerate() {
        if index > 0 {
            out.write(0, "\t");
        }
        annotation(out, key, value.strip_suffix('\n').unwrap_or(value));
    }
}

fn annotation(out: &mut Writer, key: &str, value: &str) {
    if key.len() + value.len() + 2 <= ANNOTATION_BYTES_MAX && !value.contains('\n') {
        out.write(0, &format!("{key}: {value}\n"));
        return;
    }
    out.write(0, &format!("{key}:\n"));
    for line in value.split('\n') {
        out.write(0, &format!("\t  {}\n", shortened(line, ANNOTATION_BYTES_MAX - 2)));
    }
}

/// Cut at a number of bytes (or a little before, between characters).
pub(super) fn shortened(line: &str, bytes_max: usize) -> String {
    if line.len() <= bytes_max {
        return line.to_string();
    }
    let end = (0..=bytes_max).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    format!("{}...", &line[..end])
}
