//! What every request goes through: limits, identity, permission, metrics; and that none of them can fail to be
//! answered.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use backstay_api::selector::{FieldSelector, LabelSelector};
use backstay_api::{Reason, Status, duration, servers};
use backstay_store::Revision;
use futures::FutureExt;
use http::header::{ACCEPT, CACHE_CONTROL, HeaderName, USER_AGENT};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};

use crate::UserInfo;
use crate::answer::{Media, failure, negotiate, send};
use crate::authn::authenticate;
use crate::authz::impersonation::impersonate;
use crate::authz::node::Selected;
use crate::authz::{Action, Attributes, Resource, forbidden};
use crate::call::Warnings;
use crate::gate::{Held, Nature, TooMany};
use crate::leftover::Leftover;
use crate::listen::Place;
use crate::registry::store_failure;
use crate::request::{Intent, Query, RequestInfo, Verb};
use crate::server::Core;
use crate::{dispatch, system, tunnel};

const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");

/// A request that has been looked at, before anything is done about it.
pub struct Asked {
    pub core: Arc<Core>,
    pub head: Parts,
    pub info: RequestInfo,
    pub query: Query,
    /// Nobody, until credentials have been looked at.
    pub user: Arc<UserInfo>,
    /// What is wrong with the store, as far as somebody has asked.
    pub store_problem: Option<String>,
    /// The place that it takes, once it is let in.
    pub held: Option<Arc<Held>>,
}

impl Asked {
    pub fn header(&self, name: impl http::header::AsHeaderName) -> &str {
        header(&self.head.headers, name)
    }

    /// The form for an answer about which the client has no choice.
    pub fn media(&self) -> Media {
        negotiate::fallback(self.header(ACCEPT), &self.query, self.header(USER_AGENT))
    }
}

/// The value of a header that is plain text, or `""`.
pub fn header(headers: &HeaderMap, name: impl http::header::AsHeaderName) -> &str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Answers a request, whatever it is.
pub async fn run(core: Arc<Core>, request: Request<Body>) -> Response<Body> {
    let begun = Instant::now();
    let (head, body) = request.into_parts();
    let audit_id = match header(&head.headers, AUDIT_ID) {
        "" => core.entropy.uuid(),
        given => given.chars().take(64).collect(),
    };
    let query = Query::parse(head.uri.query().unwrap_or_default());
    let info = RequestInfo::parse(&head.method, head.uri.path(), &query);
    let label = system::metrics::Label::of(&core.catalog, &head.method, &info);
    let user = core.nobody.clone();
    let asked = Asked { core: core.clone(), head, info, query, user, store_problem: None, held: None };
    let mut response = guarded(Box::new(asked), body).await;
    if let Ok(mut audit_id) = HeaderValue::from_str(&audit_id) {
        // Not worth a place in the tables of headers of a connection: it does not come again.
        audit_id.set_sensitive(true);
        response.headers_mut().insert(AUDIT_ID, audit_id);
    }
    response.headers_mut().entry(CACHE_CONTROL).or_insert_with(|| HeaderValue::from_static("no-cache, private"));
    core.metrics.observe(label, response.status().as_u16(), begun.elapsed());
    response
}

/// Runs a request within its limits; a panic is an answer too.
async fn guarded(asked: Box<Asked>, body: Body) -> Response<Body> {
    let nature = Nature::of(&asked.info);
    if nature == Nature::Stream {
        return limited(asked, body, nature).await;
    }
    let (body, leftover) = Leftover::of(body);
    let response = limited(asked, body, nature).await;
    leftover.discard().await;
    response
}

async fn limited(asked: Box<Asked>, body: Body, nature: Nature) -> Response<Body> {
    let core = asked.core.clone();
    let media = asked.media();
    if asked.head.uri.to_string().len() > core.limits.uri_bytes_max {
        return send::text(414, "request URI too long");
    }
    let lasts_max = match lasts_max(&asked) {
        Ok(lasts_max) => lasts_max,
        Err(status) => return failure::response(&media, &status),
    };
    let path = asked.info.path.clone();
    let warnings = Arc::new(Warnings::default());
    let work = AssertUnwindSafe(in_turn(asked, body, nature, &media, warnings.clone())).catch_unwind();
    let result = match nature {
        Nature::Stream => Ok(work.await),
        _ => tokio::time::timeout(lasts_max, work).await,
    };
    let mut response = match result {
        Ok(Ok(Ok(response))) => response,
        Ok(Ok(Err(status))) => failure::response(&media, &status),
        Ok(Err(_panic)) => {
            tracing::error!(path, "a request handler panicked");
            let message = "This request caused apiserver to panic. Look in the logs for details.";
            failure::response(&media, &Status::with_code(500, Some(Reason::InternalError), message))
        }
        Err(_elapsed) => {
            let message = "Timeout: request did not complete within the allotted timeout";
            failure::response(&media, &Status::new(Reason::Timeout, message))
        }
    };
    send::warn(response.headers_mut(), warnings.take());
    response
}

/// How long the request may take: `timeout`, but not longer than the server allows. Source: `WithRequestDeadline`.
fn lasts_max(asked: &Asked) -> Result<Duration, Status> {
    let allowed = asked.core.limits.request_lasts_max;
    let wanted = match asked.query.text("timeout") {
        "" => return Ok(allowed),
        text => duration::parse(text)
            .map_err(|why| Status::bad_request(format!("invalid timeout specified in the request URL - {why}")))?,
    };
    // Without an end of the client's own, the server's counts.
    Ok(if wanted.is_zero() { allowed } else { wanted.min(allowed) })
}

/// Serves a request once it is known who asks, and there is room for it.
async fn in_turn(
    mut asked: Box<Asked>,
    body: Body,
    nature: Nature,
    media: &Media,
    warnings: Arc<Warnings>,
) -> Result<Response<Body>, Status> {
    let core = asked.core.clone();
    catch_up(&mut asked, nature).await?;
    asked.user = authenticate(&core, &asked.head)?;
    // Whoever acts as others queues up as who they are.
    let user = asked.user.clone();
    match core.gate.enter(nature, &user.name).await {
        Ok(held) => {
            asked.held = Some(Arc::new(held));
            // Made only now, for it is large: thousands may wait for a seat.
            let work = Box::pin(answer(asked, body, warnings));
            core.gate.in_turn(nature, &user.name, work).await
        }
        Err(TooMany) => {
            if let Some(place) = asked.head.extensions.get::<Place>() {
                place.refused();
            }
            Ok(failure::too_many(media))
        }
    }
}

/// Where other servers write to the same store, has what they have acknowledged seen here as well: by the request, and
/// by those who decide whether it may be made. Who asks for any version, or one that is here, need not wait for it.
async fn catch_up(asked: &mut Asked, nature: Nature) -> Result<(), Status> {
    if !asked.core.store.is_shared() {
        return Ok(());
    }
    let reads = matches!(&asked.info.intent, Intent::Resource { verb, .. } if verb.is_read());
    let wanted = asked.query.text("resourceVersion").parse::<Revision>();
    let is_here = wanted.is_ok_and(|revision| revision <= asked.core.store.snapshot().revision());
    match nature {
        // Alive without it, but neither healthy nor ready.
        Nature::Health if asked.info.path.starts_with("/livez") => {}
        Nature::Health => {
            asked.store_problem = asked.core.store.catch_up().await.err().map(|error| error.to_string());
        }
        _ if reads && is_here => {}
        _ => asked.core.store.catch_up().await.map_err(|error| store_failure(&error))?,
    }
    Ok(())
}

async fn answer(mut asked: Box<Asked>, body: Body, warnings: Arc<Warnings>) -> Result<Response<Body>, Status> {
    if let Some(other) = impersonate(&asked.core.authorizer.rules(), &asked.user, &asked.head.headers)? {
        asked.user = Arc::new(other);
    }
    if let Some(node) = tunnel::node_of(&asked.info.path).map(str::to_string) {
        return tunnel::answer(asked, &node);
    }
    authorize(&asked)?;
    match asked.info.intent.clone() {
        Intent::Resource { verb, target } => dispatch::resource(asked, verb, target, body, warnings).await,
        Intent::NonResource { verb } => system::answer(&asked, &verb),
    }
}

fn authorize(asked: &Asked) -> Result<(), Status> {
    match &asked.info.intent {
        Intent::NonResource { verb } => check(asked, verb, Action::Path(&asked.info.path)),
        Intent::Resource { verb, target } => {
            let action = Resource {
                group: &target.group,
                resource: &target.resource,
                subresource: target.subresource.as_deref().unwrap_or_default(),
                namespace: target.namespace.as_deref().unwrap_or_default(),
                name: target.name.as_deref().or(target.selected.as_deref()).unwrap_or_default(),
            };
            check(asked, verb.as_str(), Action::Resource(action.clone()))?;
            // WebSockets begin with a GET; whoever may only look must not get into a container by one.
            if *verb == Verb::Get && target.is_connection() {
                check(asked, Verb::Create.as_str(), Action::Resource(action))?;
            }
            Ok(())
        }
    }
}

/// The node whose pods are asked for, by a field selector.
fn selected_node(asked: &Asked) -> Option<String> {
    let selector = FieldSelector::parse(asked.query.text("fieldSelector")).ok()?;
    let mut terms = selector.terms.into_iter();
    terms.find(|term| term.equal && term.field == "spec.nodeName").map(|term| term.value)
}

/// Whether the Leases of servers are asked for, and no others, by a label selector.
fn servers_are_selected(asked: &Asked) -> bool {
    let selector = LabelSelector::parse(asked.query.text("labelSelector"));
    selector.is_ok_and(|selector| servers::are_selected(&selector))
}

fn check(asked: &Asked, verb: &str, action: Action<'_>) -> Result<(), Status> {
    let attributes = Attributes { user: &asked.user, verb, action };
    let node = selected_node(asked);
    let selected = Selected { node: node.as_deref(), servers: servers_are_selected(asked) };
    let decision = asked.core.authorizer.authorize_selecting(&attributes, selected);
    if decision.allowed { Ok(()) } else { Err(forbidden(&attributes, &decision.reason)) }
}
