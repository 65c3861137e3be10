//! From a permitted request for a resource to the function that serves it.

use std::sync::Arc;

use axum::body::Body;
use backstay_api::selector::FieldTerm;
use backstay_api::{Reason, Status};
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_TYPE, USER_AGENT};
use http::{Method, Response};

use crate::answer::{self, Offer, Payload, negotiate, send};
use crate::call::{Call, Warnings};
use crate::catalog::Served;
use crate::pipeline::Asked;
use crate::registry::delete::Deleted;
use crate::registry::patch::{Kind, Patch};
use crate::registry::update::Replace;
use crate::registry::{self, collection, create, delete, list, patch, update};
use crate::request::options::{DeleteOptions, ListOptions, WriteOptions};
use crate::request::{Target, Verb, body};
use crate::upgrade::Upgrade;
use crate::{problem, subresources, watch};

/// Serves a request for a resource.
pub async fn resource(
    mut asked: Box<Asked>,
    verb: Verb,
    target: Target,
    body: Body,
    warnings: Arc<Warnings>,
) -> Result<Response<Body>, Status> {
    let served = match find(&asked, &target)? {
        Some(served) => served,
        None => return Ok(send::text(404, "404 page not found\n")),
    };
    check_method(&asked, &served, verb, &target)?;
    let user_agent = asked.header(USER_AGENT).to_string();
    let offer = Offer {
        collection: matches!(verb, Verb::List | Verb::Watch | Verb::DeleteCollection),
        watch: verb == Verb::Watch,
        custom: served.custom.is_some(),
    };
    let media = negotiate::negotiate(asked.header(ACCEPT), offer, &asked.query, &user_agent)?;
    let body = match verb.is_read() {
        true => Bytes::new(),
        false => body::read(body, asked.core.limits.body_bytes_max).await?,
    };
    if let Some(text) = served.custom.as_ref().and_then(|custom| custom.deprecation_warning.as_ref()) {
        warnings.add(text);
    }
    let upgrade = if target.is_connection() { Upgrade::of(&mut asked.head) } else { None };
    let call = Call {
        core: asked.core.clone(),
        served,
        verb,
        target,
        media,
        content_type: asked.header(CONTENT_TYPE).to_string(),
        accepts_gzip: asked.header(ACCEPT_ENCODING).contains("gzip"),
        user_agent,
        user: asked.user,
        query: asked.query,
        body,
        warnings,
        held: asked.held,
        upgrade,
    };
    match call.subresource() {
        Some(_) => subresources::serve(call).await,
        None if !call.served.is_stored() => subresources::virtual_resource(call).await,
        None => serve(call).await,
    }
}

/// The resource of the path; none if not even its group is known.
fn find(asked: &Asked, target: &Target) -> Result<Option<Arc<Served>>, Status> {
    let contents = asked.core.catalog.contents();
    let Some(served) = contents.find(&target.group, &target.version, &target.resource) else {
        return if contents.has_group_version(&target.group, &target.version) {
            Err(Status::unknown_path())
        } else {
            Ok(None)
        };
    };
    let inside = target.namespace.is_some() && target.resource != "namespaces";
    // An object of a namespaced resource is only found inside its namespace, other objects only outside.
    let misplaced = if served.resource.namespaced { target.name.is_some() && !inside } else { inside };
    let unknown = target.subresource.as_ref().is_some_and(|name| served.resource.subresource(name).is_none());
    // What follows belongs to whoever is behind the proxy.
    let beyond = !target.rest.is_empty() && target.subresource.as_deref() != Some("proxy");
    if misplaced || unknown || beyond {
        return Err(Status::unknown_path());
    }
    Ok(Some(served))
}

fn check_method(asked: &Asked, served: &Served, verb: Verb, target: &Target) -> Result<(), Status> {
    let verbs = match &target.subresource {
        Some(name) => served.resource.subresource(name).map(|subresource| &subresource.verbs),
        None => Some(&served.resource.verbs),
    };
    let offered = verbs.is_some_and(|verbs| verbs.iter().any(|offered| offered == verb.as_str()));
    let on_item = target.name.is_some();
    // Across namespaces one can only look.
    let in_place = !served.resource.namespaced || target.namespace.is_some();
    let placed = match verb {
        Verb::Create if target.subresource.is_none() => !on_item && in_place,
        Verb::DeleteCollection => in_place,
        Verb::Update | Verb::Patch => on_item,
        _ => true,
    };
    if offered && placed && asked.head.method != Method::HEAD { Ok(()) } else { Err(problem::method_not_allowed()) }
}

/// Serves the main resource.
async fn serve(call: Call) -> Result<Response<Body>, Status> {
    match call.verb {
        Verb::Get => answer::object::response(&call, 200, Payload::Entry(registry::get_fresh(&call).await?)),
        Verb::List => {
            let options = ListOptions::parse(&call.served, &call.query, false)?;
            answer::list::response(&call, &list::page(&call, &options).await?)
        }
        Verb::Watch => watch(call).await,
        Verb::Create => create(&call).await,
        Verb::Update => replace(&call).await,
        Verb::Patch => patch(&call).await,
        Verb::Delete => delete(&call).await,
        Verb::DeleteCollection => delete_collection(&call).await,
    }
}

async fn watch(call: Call) -> Result<Response<Body>, Status> {
    let mut options = ListOptions::parse(&call.served, &call.query, true)?;
    if let Some(name) = &call.target.name {
        // The legacy path `/watch/.../{name}`.
        options.fields.terms.push(FieldTerm { field: "metadata.name".into(), equal: true, value: name.clone() });
    }
    watch::response(call, options).await
}

async fn create(call: &Call) -> Result<Response<Body>, Status> {
    let options = WriteOptions::parse("CreateOptions", &call.query, &call.user_agent, false)?;
    let object = body::object(call, options.field_validation)?;
    let (code, payload) = create::create(call, &options, object).await?;
    answer::object::response(call, code, payload)
}

/// PUT, on the main resource or on a subresource that holds the whole object.
pub async fn replace(call: &Call) -> Result<Response<Body>, Status> {
    let options = WriteOptions::parse("UpdateOptions", &call.query, &call.user_agent, false)?;
    let object = body::object(call, options.field_validation)?;
    let (code, payload) = update::update(call, &options, &Replace(object)).await?;
    answer::object::response(call, code, payload)
}

/// PATCH, on the main resource or on a subresource that holds the whole object.
pub async fn patch(call: &Call) -> Result<Response<Body>, Status> {
    let kind = Kind::of(call)?;
    let options = WriteOptions::parse("PatchOptions", &call.query, &call.user_agent, kind == patch::Kind::Apply)?;
    let change = Patch::new(call, &options, kind)?;
    let (code, payload) = update::update(call, &options, &change).await?;
    answer::object::response(call, code, payload)
}

async fn delete(call: &Call) -> Result<Response<Body>, Status> {
    let options = delete_options(call)?;
    let deleted = delete::delete(call, &options, call.name()).await?;
    respond_deleted(call, &options, deleted)
}

/// What a delete answers.
pub fn respond_deleted(call: &Call, options: &DeleteOptions, deleted: Deleted) -> Result<Response<Body>, Status> {
    match deleted {
        Deleted::Gone { name, uid } => {
            let status = delete::success(call, &name, &uid);
            send::json(&call.media, 200, crate::encode::plain(&status).into(), false)
        }
        Deleted::Last(payload) => answer::object::response(call, 200, payload),
        Deleted::Pending(payload) => {
            // Who asked for the dependents to go first is told that it takes a while.
            let code = if options.orphan_dependents == Some(false) { 202 } else { 200 };
            answer::object::response(call, code, payload)
        }
    }
}

async fn delete_collection(call: &Call) -> Result<Response<Body>, Status> {
    let options = delete_options(call)?;
    let list = ListOptions::parse(&call.served, &call.query, false)?;
    let page = collection::delete_collection(call, &options, &list).await?;
    answer::list::response(call, &page)
}

fn delete_options(call: &Call) -> Result<DeleteOptions, Status> {
    let body = match call.body.is_empty() {
        true => None,
        false => Some(body::loose(call).map_err(|status| Status::new(Reason::BadRequest, status.message()))?),
    };
    DeleteOptions::parse(&call.query, body.as_ref())
}
