//! `pods/log`: the log of a container, fetched from its node.

use std::sync::Arc;

use axum::body::Body;
use backstay_api::status::Cause;
use backstay_api::validation::invalid_kind;
use backstay_api::{Status, meta};
use backstay_streams::events::{self, Event};
use backstay_streams::request::LogStream;
use backstay_streams::{LogRequest, Session, StreamRequest, Target};
use http::Response;
use http::header::CONTENT_TYPE;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::answer::send;
use crate::call::Call;
use crate::gate::Held;
use crate::request::Query;
use crate::{encode, pods, problem, registry};

pub async fn get(call: &Call) -> Result<Response<Body>, Status> {
    let pod = encode::parse(&*registry::get(call)?);
    let since = since(&call.query, call.core.clock.now())?;
    let request = LogRequest {
        target: target(call, &pod)?,
        follow: call.query.flag("follow"),
        previous: call.query.flag("previous"),
        tail_lines: positive(&call.query, "tailLines")?,
        limit_bytes: positive(&call.query, "limitBytes")?,
        since,
        timestamps: call.query.flag("timestamps"),
        stream: stream(&call.query)?,
    };
    let node = meta::str_at(&pod, &["spec", "nodeName"]);
    let body = match node {
        "" => Body::empty(),
        node => {
            let opened = call.core.pod_access.open(node, StreamRequest::Logs(request)).await;
            let session = opened.map_err(|error| pods::status(&error))?;
            lines(session, call.held.clone())
        }
    };
    let mut response = Response::new(body);
    send::set(response.headers_mut(), CONTENT_TYPE, "text/plain");
    Ok(response)
}

/// What comes, as it comes. A log that breaks off must not look like one that has ended.
fn lines(session: Session, held: Option<Arc<Held>>) -> Body {
    let (_, events) = events::split(session);
    let pieces = futures::stream::unfold((events, held), |(mut events, held)| async move {
        loop {
            match events.next().await? {
                Event::Data(_, bytes) => return Some((Ok(bytes), (events, held))),
                Event::End(_) => {}
                Event::Exit(Ok(_)) => return None,
                Event::Exit(Err(error)) => return Some((Err(error), (events, held))),
            }
        }
    });
    Body::from_stream(pieces)
}

/// The container that is meant, of this pod.
pub(super) fn target(call: &Call, pod: &Value) -> Result<Target, Status> {
    Ok(Target {
        namespace: call.namespace().into(),
        pod: call.name().into(),
        uid: meta::uid(pod).into(),
        container: container(pod, call.query.text("container"))?,
    })
}

/// The container that is meant; a pod of several must be asked about one. Source: `LogLocation`.
fn container(pod: &Value, wanted: &str) -> Result<String, Status> {
    let names = |list: &str| -> Vec<String> {
        meta::list_at(pod, &["spec", list]).iter().map(|one| meta::str_at(one, &["name"]).to_string()).collect()
    };
    let (containers, initial) = (names("containers"), names("initContainers"));
    let all = || {
        containers.iter().chain(&initial).chain(names("ephemeralContainers").as_slice()).cloned().collect::<Vec<_>>()
    };
    if !wanted.is_empty() {
        return match all().contains(&wanted.to_string()) {
            true => Ok(wanted.to_string()),
            false => Err(Status::bad_request(format!("container {wanted} is not valid for pod {}", meta::name(pod)))),
        };
    }
    match containers.as_slice() {
        [only] => Ok(only.clone()),
        several => {
            let name = meta::name(pod);
            let mut message =
                format!("a container name must be specified for pod {name}, choose one of: [{}]", several.join(" "));
            if !initial.is_empty() {
                message.push_str(&format!(" or one of the init containers: [{}]", initial.join(" ")));
            }
            Err(Status::bad_request(message))
        }
    }
}

/// `sinceSeconds` or `sinceTime`, not both.
fn since(query: &Query, now: Timestamp) -> Result<Option<Timestamp>, Status> {
    let seconds = query.int("sinceSeconds")?;
    match (seconds, query.get("sinceTime")) {
        (Some(_), Some(_)) => {
            let why = "at most one of `sinceTime` or `sinceSeconds` may be specified";
            Err(invalid(problem::forbidden("", why)))
        }
        (Some(seconds), None) if seconds < 1 => {
            Err(invalid(problem::invalid("sinceSeconds", &seconds.to_string(), "must be greater than 0")))
        }
        (Some(seconds), None) => Ok(now.checked_sub(SignedDuration::from_secs(seconds)).ok()),
        (None, Some(time)) => match time.parse() {
            Ok(time) => Ok(Some(time)),
            Err(_) => Err(Status::bad_request(format!("parsing time {time:?}: cannot parse it as RFC 3339"))),
        },
        (None, None) => Ok(None),
    }
}

/// Only one of the container's two streams; not together with the last lines. Source: `ValidatePodLogOptions`.
fn stream(query: &Query) -> Result<Option<LogStream>, Status> {
    let stream = match query.text("stream") {
        "" | "All" => return Ok(None),
        "Stdout" => LogStream::Stdout,
        "Stderr" => LogStream::Stderr,
        other => return Err(invalid(problem::unsupported("stream", other, &["All", "Stderr", "Stdout"]))),
    };
    if query.get("tailLines").is_some() {
        let why = "`tailLines` and specific `stream` are mutually exclusive for now";
        return Err(invalid(problem::forbidden("tailLines", why)));
    }
    Ok(Some(stream))
}

fn positive(query: &Query, name: &str) -> Result<Option<u64>, Status> {
    let Some(number) = query.int(name)? else { return Ok(None) };
    let (min, why) = match name {
        "tailLines" => (0, "must be greater than or equal to 0"),
        _ => (1, "must be greater than 0"),
    };
    if number < min {
        return Err(invalid(problem::invalid(name, &number.to_string(), why)));
    }
    Ok(u64::try_from(number).ok())
}

fn invalid(cause: Cause) -> Status {
    invalid_kind("", "PodLogOptions", "", vec![cause])
}
