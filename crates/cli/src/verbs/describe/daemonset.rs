//! A DaemonSet: its numbers, its pods by phase, its template.

use std::collections::BTreeMap;

use backstay_api::meta;
use backstay_api::selector::LabelSelector;
use backstay_rollout::describe::{Writer, annotations, labels, write_template};
use serde_json::Value;

use crate::error::{Failure, Outcome};
use crate::server::Call;
use crate::session::Session;

pub async fn text(session: &Session, daemonset: &Value) -> Outcome<String> {
    let selector = meta::value_at(daemonset, &["spec", "selector"]).unwrap_or(&Value::Null);
    let selector = LabelSelector::from_object(selector).map_err(Failure::Plain)?.to_string();
    let path = format!("/api/v1/namespaces/{}/pods", meta::namespace(daemonset).unwrap_or("default"));
    let pods = session.server.list(&Call::get(path).query("labelSelector", selector.clone())).await?;
    Ok(describe(daemonset, &selector, meta::list_at(&pods, &["items"])))
}

fn describe(daemonset: &Value, selector: &str, pods: &[Value]) -> String {
    let template = meta::value_at(daemonset, &["spec", "template"]).unwrap_or(&Value::Null);
    let status = |field: &str| meta::int_at(daemonset, &["status", field]).unwrap_or(0);
    let node_selector = meta::string_map(meta::value_at(template, &["spec", "nodeSelector"]));
    let mut out = Writer::default();
    out.write(0, &format!("Name:\t{}\n", meta::name(daemonset)));
    out.write(0, &format!("Namespace:\t{}\n", meta::namespace(daemonset).unwrap_or("")));
    out.write(0, &format!("Selector:\t{selector}\n"));
    out.write(0, &format!("Node-Selector:\t{}\n", joined(&node_selector)));
    labels(&mut out, "Labels", &meta::labels(daemonset));
    annotations(&mut out, "Annotations", &meta::annotations(daemonset));
    for (title, field) in [
        ("Desired Number of Nodes Scheduled", "desiredNumberScheduled"),
        ("Current Number of Nodes Scheduled", "currentNumberScheduled"),
        ("Number of Nodes Scheduled with Up-to-date Pods", "updatedNumberScheduled"),
        ("Number of Nodes Scheduled with Available Pods", "numberAvailable"),
        ("Number of Nodes Misscheduled", "numberMisscheduled"),
    ] {
        out.write(0, &format!("{title}: {}\n", status(field)));
    }
    out.write(0, &format!("Pods Status:\t{}\n", phases(daemonset, pods)));
    write_template(&mut out, template);
    out.into_text()
}

/// `a=b,c=d`, or `<none>`.
fn joined(labels: &BTreeMap<String, String>) -> String {
    let labels: Vec<String> = labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if labels.is_empty() { "<none>".to_string() } else { labels.join(",") }
}

fn phases(daemonset: &Value, pods: &[Value]) -> String {
    let ours = |pod: &&Value| {
        meta::controller_of(pod).is_some_and(|owner| meta::str_at(owner, &["uid"]) == meta::uid(daemonset))
    };
    let in_phase =
        |phase: &str| pods.iter().filter(ours).filter(|pod| meta::str_at(pod, &["status", "phase"]) == phase).count();
    format!(
        "{} Running / {} Waiting / {} Succeeded / {} Failed",
        in_phase("Running"),
        in_phase("Pending"),
        in_phase("Succeeded"),
        in_phase("Failed")
    )
}
