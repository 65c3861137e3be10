//! What hangs below objects (`status`, `binding`, `log`...), and resources that are only asked, never kept (reviews).

mod binding;
mod connect;
mod eviction;
mod log;
mod reviews;
mod scale;
mod token;

use axum::body::Body;
use backstay_api::{Reason, Status};
use http::Response;
use serde_json::{Value, json};

use crate::answer::{self, Payload};
use crate::call::Call;
use crate::catalog::{SchemaSource, Served};
use crate::request::options::WriteOptions;
use crate::request::{Verb, body};
use crate::{dispatch, encode, problem, registry};

/// Serves a subresource.
pub async fn serve(call: Call) -> Result<Response<Body>, Status> {
    let subresource = call.subresource().unwrap_or_default().to_string();
    match (subresource.as_str(), call.verb) {
        ("status" | "ephemeralcontainers" | "finalize" | "approval" | "resize", verb) => whole(&call, verb).await,
        ("binding", Verb::Create) => binding::create(&call).await,
        ("eviction", Verb::Create) => eviction::create(&call).await,
        ("scale", _) => scale::serve(&call).await,
        ("log", Verb::Get) => log::get(&call).await,
        ("exec", Verb::Get | Verb::Create) => connect::exec(call).await,
        ("attach", Verb::Get | Verb::Create) => connect::attach(call).await,
        ("portforward", Verb::Get | Verb::Create) => connect::port_forward(call).await,
        ("token", Verb::Create) => token::create(&call).await,
        (name, _) => Err(not_served(&call, name)),
    }
}

/// Serves a resource whose objects are not kept.
pub async fn virtual_resource(call: Call) -> Result<Response<Body>, Status> {
    match (call.served.resource.plural.as_str(), call.verb) {
        ("bindings", Verb::Create) => binding::create_by_name(call).await,
        (_, Verb::Create) => reviews::create(&call),
        (name, _) => Err(not_served(&call, name)),
    }
}

/// A subresource through which the whole object is read and written.
async fn whole(call: &Call, verb: Verb) -> Result<Response<Body>, Status> {
    match verb {
        Verb::Get => answer::object::response(call, 200, Payload::Entry(registry::get(call)?)),
        Verb::Update => dispatch::replace(call).await,
        Verb::Patch => dispatch::patch(call).await,
        _ => Err(problem::method_not_allowed()),
    }
}

fn not_served(call: &Call, name: &str) -> Status {
    let plural = &call.served.resource.plural;
    let what = if plural == name { plural.clone() } else { format!("{plural}/{name}") };
    Status::with_code(501, Some(Reason::MethodNotAllowed), format!("this server does not serve {what}"))
}

/// The body of a subresource whose kind is not that of the object, such as `Binding` or `Eviction`.
fn body_of(call: &Call, options: &WriteOptions) -> Result<Value, Status> {
    let kind = call.subresource().and_then(|name| call.served.resource.subresource(name)).map(|sub| sub.kind.clone());
    let gvk = kind.ok_or_else(Status::unknown_path)?;
    let ty = backstay_api::schema::type_of(&gvk).ok_or_else(Status::unknown_path)?;
    let mut resource = call.served.resource.clone();
    (resource.group, resource.version, resource.kind) = (gvk.group, gvk.version, gvk.kind);
    let served = Served::new(resource, SchemaSource::Builtin, ty);
    body::decode_as(&served, &call.content_type, &call.body, options.field_validation, &call.warnings)
}

fn create_options(call: &Call) -> Result<WriteOptions, Status> {
    WriteOptions::parse("CreateOptions", &call.query, &call.user_agent, false)
}

/// Success without an object: 201.
fn created(call: &Call) -> Result<Response<Body>, Status> {
    let status = json!({ "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201 });
    answer::send::json(&call.media, 201, encode::plain(&status).into(), false)
}
