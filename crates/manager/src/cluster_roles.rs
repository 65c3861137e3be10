//! Drives ClusterRole aggregation: when any role changes, all are read, and those that gather others are brought up to
//! date. Roles are few and change seldom; nothing is kept of them in between.

use std::time::Duration;

use backstay_controllers::cluster_roles::plan;
use backstay_controllers::garbage::Partial;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::api::{Api, ApiError, CLUSTER_ROLES, Patch, chain};
use crate::at;
use crate::context::Context;
use crate::inform::Feed;

/// Roles that are applied together are looked at together.
const DELAY: Duration = Duration::from_millis(100);
const RETRY: Duration = Duration::from_secs(5);
/// Whom `managedFields` names.
const FIELD_MANAGER: &str = "clusterrole-aggregation-controller";

/// Runs the aggregation controller until it is told to stop.
pub async fn run(context: Context, mut roles: Feed<Partial>) {
    let api = context.api.writing_as(FIELD_MANAGER);
    let mut look_at: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return,
            Some(_) = roles.recv() => {
                let soon = Instant::now() + DELAY;
                look_at = Some(look_at.map_or(soon, |planned| planned.min(soon)));
            }
            () = at(look_at) => look_at = match aggregate(&api).await {
                Ok(()) => None,
                Err(error) => {
                    tracing::warn!(error = %chain(&error), "cluster roles not aggregated; will retry");
                    Some(Instant::now() + RETRY)
                }
            },
        }
    }
}

/// Brings all up to date, as far as that can be done. The first that could not be is the error.
async fn aggregate(api: &Api) -> Result<(), ApiError> {
    let mut all = Ok(());
    for role in plan(&api.items::<Value>(&CLUSTER_ROLES.all()).await?) {
        let body = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRole",
            "metadata": { "name": role.name, "resourceVersion": role.resource_version }, "rules": role.rules,
        });
        match api.patch(&CLUSTER_ROLES.object("", &role.name), Patch::Apply, &body).await {
            Err(error) if error.is_overtaken() => {}
            done => all = all.and(done.map(drop)),
        }
    }
    all
}
