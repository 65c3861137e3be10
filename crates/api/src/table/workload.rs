//! Kinds that make pods, and their history.

use jiff::Timestamp;
use serde_json::Value;

use super::{Layout, age, count, created, human_duration, joined, label_text, name, number, text, text_or};
use crate::{meta, selector};

pub(super) fn layout(kind: &str) -> Option<&'static Layout> {
    Some(match kind {
        "DaemonSet" => &DAEMON_SET,
        "ControllerRevision" => &CONTROLLER_REVISION,
        "Deployment" => &DEPLOYMENT,
        "ReplicaSet" => &REPLICA_SET,
        "ReplicationController" => &REPLICATION_CONTROLLER,
        "StatefulSet" => &STATEFUL_SET,
        "Job" => &JOB,
        "CronJob" => &CRON_JOB,
        "PodTemplate" => &POD_TEMPLATE,
        "HorizontalPodAutoscaler" => &HORIZONTAL_POD_AUTOSCALER,
        _ => return None,
    })
}

const DAEMON_SET: Layout = Layout {
    columns: "Name, Desired:integer, Current:integer, Ready:integer, Up-to-date:integer, Available:integer, \
              Node Selector, Age, Containers*, Images*, Selector*",
    cells: |object, now| {
        let status = |field| number(object, &["status", field]);
        vec![
            name(object),
            status("desiredNumberScheduled"),
            status("currentNumberScheduled"),
            status("numberReady"),
            status("updatedNumberScheduled"),
            status("numberAvailable"),
            label_text(object, &["spec", "template", "spec", "nodeSelector"]),
            created(object, now),
            containers(object, "name"),
            containers(object, "image"),
            selector(object),
        ]
    },
};

const CONTROLLER_REVISION: Layout = Layout {
    columns: "Name, Controller, Revision:integer, Age",
    cells: |object, now| {
        let controller = meta::controller_of(object).map_or("<none>".to_string(), |owner| {
            let group = meta::str_at(owner, &["apiVersion"]).rsplit_once('/').map_or("", |(group, _)| group);
            let kind = meta::str_at(owner, &["kind"]).to_lowercase();
            format!("{}/{}", crate::status::qualified(&kind, group), meta::str_at(owner, &["name"]))
        });
        vec![name(object), controller.into(), number(object, &["revision"]), created(object, now)]
    },
};

const DEPLOYMENT: Layout = Layout {
    columns: "Name, Ready, Up-to-date:integer, Available:integer, Age, Containers*, Images*, Selector*",
    cells: |object, now| {
        vec![
            name(object),
            ready_of_wanted(object),
            number(object, &["status", "updatedReplicas"]),
            number(object, &["status", "availableReplicas"]),
            created(object, now),
            containers(object, "name"),
            containers(object, "image"),
            selector(object),
        ]
    },
};

const REPLICA_SET: Layout = Layout {
    columns: "Name, Desired:integer, Current:integer, Ready:integer, Age, Containers*, Images*, Selector*",
    cells: |object, now| replica_cells(object, now, selector(object)),
};

const REPLICATION_CONTROLLER: Layout = Layout {
    columns: REPLICA_SET.columns,
    cells: |object, now| replica_cells(object, now, label_text(object, &["spec", "selector"])),
};

fn replica_cells(object: &Value, now: Timestamp, selector: Value) -> Vec<Value> {
    vec![
        name(object),
        number(object, &["spec", "replicas"]),
        number(object, &["status", "replicas"]),
        number(object, &["status", "readyReplicas"]),
        created(object, now),
        containers(object, "name"),
        containers(object, "image"),
        selector,
    ]
}

const STATEFUL_SET: Layout = Layout {
    columns: "Name, Ready, Age, Containers*, Images*",
    cells: |object, now| {
        let (names, images) = (containers(object, "name"), containers(object, "image"));
        vec![name(object), ready_of_wanted(object), created(object, now), names, images]
    },
};

const JOB: Layout = Layout {
    columns: "Name, Status, Completions, Duration, Age, Containers*, Images*, Selector*",
    cells: |object, now| {
        vec![
            name(object),
            job_status(object).into(),
            completions(object).into(),
            job_duration(object, now).into(),
            created(object, now),
            containers(object, "name"),
            containers(object, "image"),
            selector(object),
        ]
    },
};

fn job_status(job: &Value) -> &'static str {
    let holds = |kind: &str| meta::is_true(job, kind);
    match () {
        _ if holds("Complete") => "Complete",
        _ if holds("Failed") => "Failed",
        _ if meta::is_being_deleted(job) => "Terminating",
        _ if holds("Suspended") => "Suspended",
        _ if holds("FailureTarget") => "FailureTarget",
        _ if holds("SuccessCriteriaMet") => "SuccessCriteriaMet",
        _ => "Running",
    }
}

fn completions(job: &Value) -> String {
    let succeeded = meta::int_at(job, &["status", "succeeded"]).unwrap_or(0);
    let parallelism = meta::int_at(job, &["spec", "parallelism"]).unwrap_or(0);
    match meta::int_at(job, &["spec", "completions"]) {
        Some(completions) => format!("{succeeded}/{completions}"),
        None if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        None => format!("{succeeded}/1"),
    }
}

fn job_duration(job: &Value, now: Timestamp) -> String {
    let time = |field| meta::str_at(job, &["status", field]).parse::<Timestamp>().ok();
    let Some(start) = time("startTime") else { return String::new() };
    human_duration(time("completionTime").unwrap_or(now).as_second() - start.as_second())
}

const CRON_JOB: Layout = Layout {
    columns: "Name, Schedule, Timezone, Suspend:boolean, Active:integer, Last Schedule, Age, \
              Containers*, Images*, Selector*",
    cells: |object, now| {
        let job = object.pointer("/spec/jobTemplate").unwrap_or(&Value::Null);
        let suspended = meta::value_at(object, &["spec", "suspend"]) == Some(&Value::Bool(true));
        let suspend = if suspended { "True" } else { "False" };
        let last = match meta::str_at(object, &["status", "lastScheduleTime"]) {
            "" => "<none>".to_string(),
            time => age(time, now),
        };
        vec![
            name(object),
            text(object, &["spec", "schedule"]),
            text_or(object, &["spec", "timeZone"], "<none>"),
            suspend.into(),
            count(object, &["status", "active"]).into(),
            last.into(),
            created(object, now),
            containers(job, "name"),
            containers(job, "image"),
            selector(job),
        ]
    },
};

const POD_TEMPLATE: Layout = Layout {
    columns: "Name, Containers, Images, Pod Labels",
    cells: |object, _| {
        let list = meta::list_at(object, &["template", "spec", "containers"]);
        let labels = label_text(object, &["template", "metadata", "labels"]);
        vec![name(object), joined(list, "name").into(), joined(list, "image").into(), labels]
    },
};

const HORIZONTAL_POD_AUTOSCALER: Layout = Layout {
    columns: "Name, Reference, Targets, MinPods, MaxPods, Replicas:integer, Age",
    cells: |object, now| {
        let target = |field| meta::str_at(object, &["spec", "scaleTargetRef", field]);
        let minimum = meta::int_at(object, &["spec", "minReplicas"]);
        vec![
            name(object),
            format!("{}/{}", target("kind"), target("name")).into(),
            "<none>".into(),
            minimum.map_or("<unset>".to_string(), |minimum| minimum.to_string()).into(),
            number(object, &["spec", "maxReplicas"]).to_string().into(),
            number(object, &["status", "currentReplicas"]),
            created(object, now),
        ]
    },
};

pub(super) const SCALE: Layout = Layout {
    columns: "Name, Desired:integer, Available:integer, Age",
    cells: |scale, now| {
        let replicas = |part| number(scale, &[part, "replicas"]);
        vec![name(scale), replicas("spec"), replicas("status"), created(scale, now)]
    },
};

fn ready_of_wanted(object: &Value) -> Value {
    let ready = number(object, &["status", "readyReplicas"]);
    format!("{ready}/{}", number(object, &["spec", "replicas"])).into()
}

/// One field of all containers of the template.
fn containers(object: &Value, field: &str) -> Value {
    joined(meta::list_at(object, &["spec", "template", "spec", "containers"]), field).into()
}

fn selector(object: &Value) -> Value {
    selector::object_text(meta::value_at(object, &["spec", "selector"]).unwrap_or(&Value::Null)).into()
}
