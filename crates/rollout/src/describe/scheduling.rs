//! Tolerations and topology spread constraints.

use backstay_api::meta;
use serde_json::Value;

use super::Writer;
use backstay_api::selector::object_text;

/// `key=value:Effect op=Exists for 30s` lines in order of their keys, or `<none>`.
pub fn tolerations(out: &mut Writer, title: &str, tolerations: &[Value]) {
    out.write(0, &format!("{title}:\t"));
    if tolerations.is_empty() {
        out.write_line("<none>");
    }
    let mut sorted: Vec<&Value> = tolerations.iter().collect();
    sorted.sort_by_key(|toleration| meta::str_at(toleration, &["key"]));
    for (index, entry) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.write(0, "");
            out.write(0, "\t");
        }
        out.write(0, &format!("{}\n", toleration(entry)));
    }
}

fn toleration(toleration: &Value) -> String {
    let field = |name: &str| meta::str_at(toleration, &[name]);
    let mut text = field("key").to_string();
    if !field("value").is_empty() {
        text.push_str(&format!("={}", field("value")));
    }
    if !field("effect").is_empty() {
        text.push_str(&format!(":{}", field("effect")));
    }
    if field("operator") == "Exists" && field("value").is_empty() {
        // Without key and effect it tolerates everything.
        text.push_str(if text.is_empty() { "op=Exists" } else { " op=Exists" });
    }
    if let Some(seconds) = meta::int_at(toleration, &["tolerationSeconds"]) {
        text.push_str(&format!(" for {seconds}s"));
    }
    text
}

/// `key:Policy when max skew N is exceeded for selector ...` lines; nothing if there are none.
pub fn topology_spread(out: &mut Writer, constraints: &[Value], space: &str) {
    if constraints.is_empty() {
        return;
    }
    let mut sorted: Vec<&Value> = constraints.iter().collect();
    sorted.sort_by_key(|constraint| meta::str_at(constraint, &["topologyKey"]));
    out.write(0, &format!("{space}Topology Spread Constraints:\t"));
    for (index, constraint) in sorted.into_iter().enumerate() {
        if index > 0 {
            out.write(0, space);
            out.write(0, "\t");
        }
        let key = meta::str_at(constraint, &["topologyKey"]);
        let policy = meta::str_at(constraint, &["whenUnsatisfiable"]);
        let skew = meta::int_at(constraint, &["maxSkew"]).unwrap_or(0);
        let selector = meta::value_at(constraint, &["labelSelector"])
            .map(|selector| format!(" for selector {}", object_text(selector)))
            .unwrap_or_default();
        out.write(0, &format!("{key}:{policy} when max skew {skew} is exceeded{selector}\n"));
    }
}
