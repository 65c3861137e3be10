//! Access rules, priorities, leases, budgets, webhooks and API services.

use serde_json::Value;

use super::{Layout, boolean, count, created, created_at, human_duration, name, number, text};
use crate::meta;

pub(super) fn layout(kind: &str) -> Option<&'static Layout> {
    Some(match kind {
        "Role" | "ClusterRole" => &ROLE,
        "RoleBinding" | "ClusterRoleBinding" => &ROLE_BINDING,
        "PriorityClass" => &PRIORITY_CLASS,
        "Lease" => &LEASE,
        "PodDisruptionBudget" => &POD_DISRUPTION_BUDGET,
        "ValidatingWebhookConfiguration" | "MutatingWebhookConfiguration" => &WEBHOOKS,
        "APIService" => &API_SERVICE,
        "RuntimeClass" => &RUNTIME_CLASS,
        "CertificateSigningRequest" => &CERTIFICATE_SIGNING_REQUEST,
        _ => return None,
    })
}

const ROLE: Layout = Layout { columns: "Name, Created At", cells: |role, _| vec![name(role), created_at(role)] };

const ROLE_BINDING: Layout = Layout {
    columns: "Name, Role, Age, Users*, Groups*, ServiceAccounts*",
    cells: |binding, now| {
        let role = ["kind", "name"].map(|field| meta::str_at(binding, &["roleRef", field])).join("/");
        let subjects = |kind: &str| {
            let of_kind = meta::list_at(binding, &["subjects"]).iter();
            let of_kind = of_kind.filter(|subject| meta::str_at(subject, &["kind"]) == kind).map(|subject| {
                let name = meta::str_at(subject, &["name"]);
                match kind {
                    "ServiceAccount" => format!("{}/{name}", meta::str_at(subject, &["namespace"])),
                    _ => name.to_string(),
                }
            });
            Value::from(of_kind.collect::<Vec<_>>().join(", "))
        };
        let (users, groups, accounts) = (subjects("User"), subjects("Group"), subjects("ServiceAccount"));
        vec![name(binding), role.into(), created(binding, now), users, groups, accounts]
    },
};

const PRIORITY_CLASS: Layout = Layout {
    columns: "Name, Value:integer, Global-Default:boolean, Age, PreemptionPolicy",
    cells: |class, now| {
        vec![
            name(class),
            number(class, &["value"]),
            boolean(class, &["globalDefault"]),
            created(class, now),
            text(class, &["preemptionPolicy"]),
        ]
    },
};

const LEASE: Layout = Layout {
    columns: "Name, Holder, Age",
    cells: |lease, now| vec![name(lease), text(lease, &["spec", "holderIdentity"]), created(lease, now)],
};

const POD_DISRUPTION_BUDGET: Layout = Layout {
    columns: "Name, Min Available, Max Unavailable, Allowed Disruptions:integer, Age",
    cells: |budget, now| {
        let bound = |field| match meta::value_at(budget, &["spec", field]) {
            Some(Value::String(percent)) => Value::from(percent.as_str()),
            Some(number) => number.to_string().into(),
            None => "N/A".into(),
        };
        let allowed = number(budget, &["status", "disruptionsAllowed"]);
        vec![name(budget), bound("minAvailable"), bound("maxUnavailable"), allowed, created(budget, now)]
    },
};

const WEBHOOKS: Layout = Layout {
    columns: "Name, Webhooks:integer, Age",
    cells: |object, now| vec![name(object), count(object, &["webhooks"]).into(), created(object, now)],
};

const API_SERVICE: Layout = Layout {
    columns: "Name, Service, Available, Age",
    cells: |service, now| {
        let behind = meta::value_at(service, &["spec", "service"]).map_or("Local".to_string(), |service| {
            ["namespace", "name"].map(|field| meta::str_at(service, &[field])).join("/")
        });
        let conditions = meta::list_at(service, &["status", "conditions"]).iter();
        let mut available = conditions.filter(|condition| condition["type"] == "Available").map(|condition| {
            match (meta::str_at(condition, &["status"]), meta::str_at(condition, &["reason"])) {
                ("True", _) => "True".to_string(),
                (status, reason) => format!("{status} ({reason})"),
            }
        });
        let available = available.next_back().unwrap_or_else(|| "Unknown".to_string());
        vec![name(service), behind.into(), available.into(), created(service, now)]
    },
};

const RUNTIME_CLASS: Layout = Layout {
    columns: "Name, Handler, Age",
    cells: |class, now| vec![name(class), text(class, &["handler"]), created(class, now)],
};

const CERTIFICATE_SIGNING_REQUEST: Layout = Layout {
    columns: "Name, Age, SignerName, Requestor, RequestedDuration, Condition",
    cells: |request, now| {
        let duration = meta::int_at(request, &["spec", "expirationSeconds"]);
        vec![
            name(request),
            created(request, now),
            text(request, &["spec", "signerName"]),
            text(request, &["spec", "username"]),
            duration.map_or("<none>".to_string(), human_duration).into(),
            condition(request).into(),
        ]
    },
};

fn condition(request: &Value) -> String {
    let holds = |kind: &str| meta::condition(request, kind).is_some();
    let mut words: Vec<&str> = ["Denied", "Approved"].into_iter().filter(|kind| holds(kind)).take(1).collect();
    if words.is_empty() && !holds("Failed") {
        words.push("Pending");
    }
    if holds("Failed") {
        words.push("Failed");
    }
    if !meta::str_at(request, &["status", "certificate"]).is_empty() {
        words.push("Issued");
    }
    words.join(",")
}
