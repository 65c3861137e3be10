//! `pods/eviction`: a delete that respects disruption budgets.

use std::sync::Arc;

use axum::body::Body;
use backstay_api::selector::LabelSelector;
use backstay_api::status::{Cause, Details};
use backstay_api::{Reason, Status, meta, time};
use backstay_store::{Entry, Operation, Range, StoreError};
use http::Response;
use serde_json::{Value, json};

use super::{body_of, create_options, created};
use crate::call::Call;
use crate::catalog::Served;
use crate::registry::update::{Change, update};
use crate::registry::{delete, store_failure};
use crate::request::options::DeleteOptions;
use crate::{encode, registry};

/// Where disruption budgets are kept.
const BUDGETS: &str = "policy/poddisruptionbudgets";
/// Tries to take a disruption from a budget that others change meanwhile.
const ATTEMPTS_MAX: usize = 100;
/// Pods that one budget remembers. Source: `MaxDisruptedPodSize`.
const DISRUPTED_MAX: usize = 2000;

pub async fn create(call: &Call) -> Result<Response<Body>, Status> {
    let options = create_options(call)?;
    let eviction = body_of(call, &options)?;
    if meta::name(&eviction) != call.name() {
        return Err(Status::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut delete = DeleteOptions::parse(&Default::default(), eviction.get("deleteOptions"))?;
    delete.dry_run |= options.dry_run;
    let pod = encode::parse(&*registry::get(call)?);
    if !needs_no_budget(&pod) {
        take_disruption(call, &pod, delete.dry_run).await?;
    }
    if delete.resource_version.is_none() && delete.uid.is_none() {
        // What the budget was asked about is what must go.
        delete.uid = Some(meta::uid(&pod).to_string());
    }
    if !delete.dry_run {
        // Whoever watches the pod learns why it goes. A pod that changed too much meanwhile goes without.
        let _ = update(call, &options, &Disrupted { call, uid: meta::uid(&pod) }).await;
    }
    delete::delete(call, &delete, call.name()).await?;
    created(call)
}

/// Sets the condition `DisruptionTarget`.
struct Disrupted<'a> {
    call: &'a Call,
    uid: &'a str,
}

impl Change for Disrupted<'_> {
    fn apply(&self, present: Option<&Value>) -> Result<Value, Status> {
        let mut pod = present.cloned().ok_or_else(|| registry::not_found(self.call, self.call.name()))?;
        let condition = json!({
            "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
            "message": "Eviction API: evicting", "lastProbeTime": null,
            "lastTransitionTime": time::seconds(self.call.core.clock.now()),
        });
        let conditions = meta::map_mut(&mut pod, &["status"]).entry("conditions").or_insert_with(|| json!([]));
        if let Some(conditions) = conditions.as_array_mut() {
            conditions.retain(|condition| meta::str_at(condition, &["type"]) != "DisruptionTarget");
            conditions.push(condition);
        }
        Ok(pod)
    }

    fn tracks_itself(&self) -> bool {
        true
    }

    fn uid(&self) -> &str {
        self.uid
    }
}

/// A pod that has ended, has not begun, or is going anyway.
fn needs_no_budget(pod: &Value) -> bool {
    meta::is_being_deleted(pod) || matches!(meta::str_at(pod, &["status", "phase"]), "Succeeded" | "Failed" | "Pending")
}

async fn take_disruption(call: &Call, pod: &Value, dry_run: bool) -> Result<(), Status> {
    for _ in 0..ATTEMPTS_MAX {
        let Some((entry, budget)) = budget_of(call, pod)? else { return Ok(()) };
        let Some(taken) = decide(call, pod, budget)? else { return Ok(()) };
        if dry_run {
            return Ok(());
        }
        let budgets =
            call.core.catalog.find("policy", "v1", "poddisruptionbudgets").ok_or_else(Status::unknown_path)?;
        match commit(call, &budgets, &entry, &taken).await {
            Err(StoreError::Conflict { .. } | StoreError::NotFound { .. }) => continue,
            result => return result.map_err(|error| store_failure(&error)),
        }
    }
    Err(refused("The disruption budget is changing too quickly.".into()))
}

async fn commit(call: &Call, budgets: &Served, entry: &Arc<Entry>, budget: &Value) -> Result<(), StoreError> {
    let operation = Operation::Update { value: budgets.encode(budget), expected: entry.revision };
    call.core.store.commit(entry.key.clone(), operation).await.map(drop)
}

/// The one budget that covers the pod.
fn budget_of(call: &Call, pod: &Value) -> Result<Option<(Arc<Entry>, Value)>, Status> {
    let labels = meta::labels(pod);
    let range = Range::within(BUDGETS, call.namespace());
    let all = call.core.store.snapshot().list(&range, None, 0);
    let mut covering = all.into_iter().map(|entry| (encode::parse(&entry), entry)).filter(|(budget, _)| {
        let selector = meta::value_at(budget, &["spec", "selector"]);
        selector.and_then(|selector| LabelSelector::from_object(selector).ok()).is_some_and(|s| s.matches(&labels))
    });
    match (covering.next(), covering.next()) {
        (None, _) => Ok(None),
        (Some((budget, entry)), None) => Ok(Some((entry, budget))),
        (Some(_), Some(_)) => {
            let why =
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
            Err(Status::internal(why))
        }
    }
}

/// The budget after this disruption; none if the pod may go without one.
fn decide(call: &Call, pod: &Value, mut budget: Value) -> Result<Option<Value>, Status> {
    let number = |field: &str| meta::int_at(&budget, &["status", field]).unwrap_or(0);
    let (healthy, desired, allowed) =
        (number("currentHealthy"), number("desiredHealthy"), number("disruptionsAllowed"));
    if !meta::is_true(pod, "Ready") {
        let always = meta::str_at(&budget, &["spec", "unhealthyPodEvictionPolicy"]) == "AlwaysAllow";
        if always || (healthy >= desired && desired > 0) {
            return Ok(None);
        }
    }
    let name = meta::name(&budget).to_string();
    if number("observedGeneration") < meta::generation(&budget) {
        return Err(refused(format!("The disruption budget {name} is still being processed by the server.")));
    }
    let disrupted =
        meta::value_at(&budget, &["status", "disruptedPods"]).and_then(Value::as_object).map_or(0, |p| p.len());
    if disrupted > DISRUPTED_MAX {
        return Err(Status::forbidden(
            "policy",
            "poddisruptionbudgets",
            &name,
            "DisruptedPods map too big - too many evictions not confirmed by PDB controller",
        ));
    }
    if allowed <= 0 {
        let message = format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(refused(message));
    }
    let now = time::seconds(call.core.clock.now());
    let status = meta::map_mut(&mut budget, &["status"]);
    status.insert("disruptionsAllowed".into(), json!(allowed - 1));
    meta::map_mut(&mut budget, &["status", "disruptedPods"]).insert(meta::name(pod).into(), now.into());
    Ok(Some(budget))
}

fn refused(why: String) -> Status {
    let cause = Cause { reason: "DisruptionBudget".into(), message: why, field: String::new() };
    let details = Details { causes: vec![cause], retry_after_seconds: Some(10), ..Details::default() };
    let message = "Cannot evict pod as it would violate the pod's disruption budget.";
    Status::new(Reason::TooManyRequests, message).details(details)
}
