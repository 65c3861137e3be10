//! Events about an object.

use backstay_api::meta;
use serde_json::Value;

use crate::age;
use crate::error::Outcome;
use crate::session::Session;
use crate::target::Item;

/// Oldest first. Those about a node may name it by its name instead of its UID.
pub async fn about(session: &Session, item: &Item) -> Outcome<Vec<Value>> {
    let mut events = session.events_about(&item.object).await?;
    if item.resource.kind == "Node" {
        let mut by_name = item.object.clone();
        meta::set_meta(&mut by_name, "uid", item.name.as_str());
        events.extend(session.events_about(&by_name).await?);
    }
    events.sort_by(|a, b| last_seen(a).cmp(last_seen(b)));
    Ok(events)
}

pub fn last_seen(event: &Value) -> &str {
    let times = [&["series", "lastObservedTime"][..], &["lastTimestamp"], &["eventTime"], &["firstTimestamp"]];
    times.into_iter().map(|path| meta::str_at(event, path)).find(|time| !time.is_empty()).unwrap_or("")
}

/// `Events:` and a line for each, with tabs.
pub fn text(events: &[Value]) -> String {
    let mut text = String::from("Events:\n  Type\tReason\tAge\tFrom\tMessage\n  ----\t------\t----\t----\t-------\n");
    for event in events {
        let field = |name: &str| meta::str_at(event, &[name]);
        let source = match meta::str_at(event, &["source", "component"]) {
            "" => field("reportingComponent"),
            component => component,
        };
        let message = field("message").trim();
        text.push_str(&format!("  {}\t{}\t{}\t{source}\t{message}\n", field("type"), field("reason"), interval(event)));
    }
    text
}

/// `5m`, or `10s (x3 over 5m)`.
pub fn interval(event: &Value) -> String {
    let first = match meta::str_at(event, &["eventTime"]) {
        "" => age::of(meta::str_at(event, &["firstTimestamp"])),
        time => age::of(time),
    };
    if let Some(count) = meta::int_at(event, &["series", "count"]) {
        let last = age::of(meta::str_at(event, &["series", "lastObservedTime"]));
        return format!("{last} (x{count} over {first})");
    }
    match meta::int_at(event, &["count"]) {
        Some(count) if count > 1 => {
            format!("{} (x{count} over {first})", age::of(meta::str_at(event, &["lastTimestamp"])))
        }
        _ => first,
    }
}
