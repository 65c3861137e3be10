//! Tables as a real Kubernetes drew them: the columns it declared, and the rows that `kubectl get -o wide` printed.

mod recordings;

use backstay_api::resources::{self, Resource};
use backstay_api::{meta, table};
use serde_json::{Value, json};

#[test]
fn columns_are_the_recorded_ones() {
    let mut compared = 0;
    for line in recordings::read("expected.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let name = case["name"].as_str().unwrap();
        let Some(kind) = name.strip_prefix("table of ") else { continue };
        let resource = match kind {
            "daemonsets" => of("apps/v1", "DaemonSet"),
            "pods" => of("v1", "Pod"),
            "nodes" => of("v1", "Node"),
            _ => of("v1", "ConfigMap"),
        };
        for recorded in
            case["steps"].as_array().unwrap().iter().filter_map(|step| step["body"].get("columnDefinitions"))
        {
            let fields = |column: &Value| json!([column["name"], column["type"], column["format"], column["priority"]]);
            let recorded: Vec<Value> = recorded.as_array().unwrap().iter().map(fields).collect();
            let own = json!(table::columns(resource));
            let own: Vec<Value> = own.as_array().unwrap().iter().map(fields).collect();
            assert_eq!(own, recorded, "{name}");
            compared += 1;
        }
    }
    assert!(compared >= 4 || !recordings::present());
}

#[test]
fn rows_are_what_kubectl_printed() {
    let mut compared = 0;
    for path in recordings::files("manifests") {
        let file = path.file_name().unwrap().to_string_lossy().to_string();
        let Some(namespace) = file.strip_prefix("3-get-wide_").and_then(|rest| rest.strip_suffix(".out")) else {
            continue;
        };
        let printed = std::fs::read_to_string(&path).unwrap();
        for object in objects(path.parent().unwrap(), namespace) {
            let resource = of(object["apiVersion"].as_str().unwrap(), object["kind"].as_str().unwrap());
            let cells = table::cells(resource, &object, jiff::Timestamp::UNIX_EPOCH);
            let columns = table::columns(resource);
            let shown = columns.iter().zip(cells).map(|(column, cell)| match (column.name.as_str(), cell) {
                ("Age", _) => "<age>".to_string(),
                ("Name", name) => format!("{}.apps/{}", resource.singular, name.as_str().unwrap()),
                (_, Value::String(text)) => text,
                (_, other) => other.to_string(),
            });
            let row: Vec<String> = shown.collect();
            let rows = printed.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
            assert!(rows.into_iter().any(|line| line == row.join(" ")), "{}: no row {row:?}", path.display());
            compared += 1;
        }
    }
    assert!(compared > 60 || !recordings::present(), "only {compared}");
}

/// The DaemonSets and revisions of a namespace as they were when the table was printed.
fn objects(directory: &std::path::Path, namespace: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().to_string();
        let read = || serde_json::from_str::<Value>(&std::fs::read_to_string(&path).unwrap()).unwrap();
        if name.starts_with("3-daemonset_") {
            found.push(read());
        } else if name == format!("3-controllerrevisions_{namespace}.json") {
            let list = read();
            let items = meta::list_at(&list, &["items"]).iter().cloned().map(|mut item| {
                item["apiVersion"] = "apps/v1".into();
                item["kind"] = "ControllerRevision".into();
                item
            });
            found.extend(items);
        }
    }
    found.retain(|object| meta::namespace(object) == Some(namespace));
    found
}

fn of(api_version: &str, kind: &str) -> &'static Resource {
    let gvk = backstay_api::GroupVersionKind::from_api_version(api_version, kind).unwrap();
    resources::of_kind(&gvk).expect("a built-in kind")
}
