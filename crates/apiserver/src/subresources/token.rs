//! `serviceaccounts/token`: short-lived tokens for a service account, bound to a pod or a node if that is wanted.

use axum::body::Body;
use backstay_api::validation::invalid_kind;
use backstay_api::{Status, meta, time};
use backstay_store::Key;
use http::Response;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{body_of, create_options};
use crate::answer::{self, Payload};
use crate::authz::node;
use crate::call::Call;
use crate::tokens::{Binding, Claims, LIFETIME_DEFAULT, LIFETIME_MAX, LIFETIME_MIN, Reference};
use crate::{encode, problem, registry};

pub async fn create(call: &Call) -> Result<Response<Body>, Status> {
    let options = create_options(call)?;
    let mut request = body_of(call, &options)?;
    check_place(call, &request)?;
    let account = encode::parse(&*registry::get(call)?);
    let seconds = meta::int_at(&request, &["spec", "expirationSeconds"]).unwrap_or(LIFETIME_DEFAULT);
    check(seconds)?;
    let Some(signer) = &call.core.tokens else {
        return Err(Status::internal("this server signs no tokens"));
    };
    let mut binding =
        Binding { namespace: call.namespace().into(), serviceaccount: reference(&account), ..Binding::default() };
    bind(call, &request, &mut binding)?;
    let audiences = meta::list_at(&request, &["spec", "audiences"]);
    let audiences: Vec<String> = audiences.iter().filter_map(Value::as_str).map(str::to_string).collect();
    let claims = Claims::new(binding, audiences, seconds, call.core.entropy.uuid(), call.core.clock.now());
    let token = signer.issue(&claims).map_err(Status::internal)?;
    let expires = Timestamp::from_second(claims.exp).map_err(Status::internal)?;
    let spec = meta::map_mut(&mut request, &["spec"]);
    spec.insert("audiences".into(), json!(claims.aud));
    spec.insert("expirationSeconds".into(), json!(seconds));
    let fields = meta::map_mut(&mut request, &[]);
    let born = time::seconds(call.core.clock.now());
    let own = json!({ "name": call.name(), "namespace": call.namespace(), "creationTimestamp": born });
    fields.insert("metadata".into(), own);
    fields.insert("status".into(), json!({ "token": token, "expirationTimestamp": time::seconds(expires) }));
    answer::object::response(call, 201, Payload::Object(request))
}

fn check(seconds: i64) -> Result<(), Status> {
    let why = match seconds {
        seconds if seconds < LIFETIME_MIN => "may not specify a duration less than 10 minutes",
        seconds if seconds > LIFETIME_MAX => "may not specify a duration larger than 2^32 seconds",
        _ => return Ok(()),
    };
    let cause = problem::invalid("spec.expirationSeconds", &seconds.to_string(), why);
    Err(invalid_kind("authentication.k8s.io", "TokenRequest", "", vec![cause]))
}

/// The body may name the service account, but not another one than the path.
fn check_place(call: &Call, request: &Value) -> Result<(), Status> {
    let check = |field: &str, seen: &str, wanted: &str, what: &str| {
        if seen.is_empty() || seen == wanted {
            return Ok(());
        }
        let cause = problem::invalid(&format!("metadata.{field}"), &format!("{seen:?}"), what);
        Err(invalid_kind("authentication.k8s.io", "TokenRequest", call.name(), vec![cause]))
    };
    check("name", meta::name(request), call.name(), "must match the service account name if specified")?;
    let namespace = meta::namespace(request).unwrap_or_default();
    check("namespace", namespace, call.namespace(), "must match the service account namespace if specified")
}

/// What the token shall be bound to, if it is still there.
fn bind(call: &Call, request: &Value, binding: &mut Binding) -> Result<(), Status> {
    let node = node::name_of(&call.user);
    let refuse = |why: &str| Err(Status::forbidden("", "serviceaccounts", call.name(), why));
    let Some(wanted) = meta::value_at(request, &["spec", "boundObjectRef"]) else {
        return if node.is_some() { refuse("node requested token not bound to a pod") } else { Ok(()) };
    };
    let (kind, name, uid) =
        (meta::str_at(wanted, &["kind"]), meta::str_at(wanted, &["name"]), meta::str_at(wanted, &["uid"]));
    let (group, version) = match meta::str_at(wanted, &["apiVersion"]).split_once('/') {
        Some(parts) => parts,
        None => ("", meta::str_at(wanted, &["apiVersion"])),
    };
    let (plural, namespace) = match (group, kind) {
        ("", "Pod") => ("pods", call.namespace()),
        ("", "Secret") => ("secrets", call.namespace()),
        ("", "Node") => ("nodes", ""),
        _ => {
            let what = format!("cannot bind token to object of type {group}/{version}, Kind={kind}");
            return Err(Status::bad_request(what));
        }
    };
    if node.is_some() && plural != "pods" {
        return refuse("node requested token not bound to a pod");
    }
    let entry = call.core.store.snapshot().get(&Key::new(plural, namespace, name));
    let bound = encode::parse(&*entry.ok_or_else(|| Status::not_found("", plural, name))?);
    if node.is_some_and(|node| meta::str_at(&bound, &["spec", "nodeName"]) != node) {
        return refuse("node requested token bound to a pod scheduled on a different node");
    }
    if plural == "pods" && meta::str_at(&bound, &["spec", "serviceAccountName"]) != call.name() {
        return Err(Status::bad_request(format!(
            "cannot bind token for serviceaccount {:?} to pod running with different serviceaccount name.",
            call.name()
        )));
    }
    if !uid.is_empty() && uid != meta::uid(&bound) {
        let why = format!(
            "the UID in the bound object reference ({uid}) does not match the UID in record. The object might have \
             been deleted and then recreated"
        );
        // Kubernetes names the kind here, not the resource.
        return Err(Status::conflict("", kind, name, &why));
    }
    match plural {
        "pods" => {
            binding.node = node_of(call, &bound);
            binding.pod = Some(reference(&bound));
        }
        "secrets" => binding.secret = Some(reference(&bound)),
        _ => binding.node = Some(reference(&bound)),
    }
    Ok(())
}

/// A token of a pod also tells the node that the pod is on.
fn node_of(call: &Call, pod: &Value) -> Option<Reference> {
    let name = meta::str_at(pod, &["spec", "nodeName"]);
    let entry = call.core.store.snapshot().get(&Key::new("nodes", "", name))?;
    Some(reference(&encode::parse(&entry)))
}

fn reference(object: &Value) -> Reference {
    Reference { name: meta::name(object).into(), uid: meta::uid(object).into() }
}
