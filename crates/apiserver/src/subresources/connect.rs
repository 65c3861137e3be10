//! `pods/exec`, `pods/attach`, `pods/portforward`: connections from a client to a container or a port.

use std::sync::Arc;

use async_trait::async_trait;
use axum::body::Body;
use backstay_api::{Status, meta};
use backstay_streams::forward::{self, Dial};
use backstay_streams::remote::{self, Wanted};
use backstay_streams::{AttachRequest, BoxDuplex, ExecRequest, PortForwardRequest, Session, StreamError};
use backstay_streams::{StreamRequest, Target};
use http::Response;
use serde_json::Value;

use super::log;
use crate::call::Call;
use crate::pods::{self, PodAccess};
use crate::request::Query;
use crate::upgrade::{Kind, Upgrade};
use crate::{encode, registry};

/// Ports that may be forwarded over one WebSocket: each takes two of its 256 channels.
const PORTS_MAX: usize = 128;

pub async fn exec(call: Call) -> Result<Response<Body>, Status> {
    let (target, node) = target(&call)?;
    let Wanted { stdin, stdout, stderr, tty } = wanted(&call.query)?;
    let command: Vec<String> = call.query.all("command").map(str::to_string).collect();
    if command.is_empty() {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    let request = ExecRequest { command, stdin, stdout, stderr, tty };
    remote_command(call, &node, StreamRequest::Exec { target, request }).await
}

pub async fn attach(call: Call) -> Result<Response<Body>, Status> {
    let (target, node) = target(&call)?;
    let Wanted { stdin, stdout, stderr, tty } = wanted(&call.query)?;
    let request = AttachRequest { stdin, stdout, stderr, tty };
    remote_command(call, &node, StreamRequest::Attach { target, request }).await
}

/// The container that is meant, and its node.
fn target(call: &Call) -> Result<(Target, String), Status> {
    let pod = encode::parse(&*registry::get(call)?);
    Ok((log::target(call, &pod)?, node(&pod)?))
}

fn node(pod: &Value) -> Result<String, Status> {
    match meta::str_at(pod, &["spec", "nodeName"]) {
        "" => Err(Status::bad_request(format!("pod {} does not have a host assigned", meta::name(pod)))),
        node => Ok(node.to_string()),
    }
}

fn wanted(query: &Query) -> Result<Wanted, Status> {
    let [stdin, stdout, stderr, tty] = ["stdin", "stdout", "stderr", "tty"].map(|name| query.flag(name));
    // A terminal has one output.
    let wanted = Wanted { stdin, stdout, stderr: stderr && !tty, tty };
    if !(wanted.stdin || wanted.stdout || wanted.stderr) {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    Ok(wanted)
}

async fn remote_command(mut call: Call, node: &str, request: StreamRequest) -> Result<Response<Body>, Status> {
    let upgrade = upgrade(&mut call)?;
    let protocol = match upgrade.kind {
        Kind::Spdy => upgrade.negotiate(&remote::spdy::PROTOCOLS, "channel.k8s.io")?,
        _ => upgrade.negotiate(&remote::websocket::PROTOCOLS, "channel.k8s.io")?,
    };
    let wanted = wanted(&call.query)?;
    // What goes wrong now is an answer that every client understands; later it would be a connection that ends.
    let session = call.core.pod_access.open(node, request).await.map_err(|error| pods::status(&error))?;
    let (held, kind) = (call.held.take(), upgrade.kind);
    Ok(upgrade.accept(protocol, move |io: BoxDuplex| async move {
        let _held = held;
        match kind {
            Kind::Spdy => remote::spdy::serve(io, protocol, wanted, session).await,
            _ => remote::websocket::serve(io, protocol, wanted, session).await,
        }
    }))
}

fn upgrade(call: &mut Call) -> Result<Upgrade, Status> {
    let upgrade = call.upgrade.take().filter(|upgrade| matches!(upgrade.kind, Kind::Spdy | Kind::WebSocket));
    upgrade.ok_or_else(|| Status::bad_request("Upgrade request required"))
}

pub async fn port_forward(mut call: Call) -> Result<Response<Body>, Status> {
    let pod = encode::parse(&*registry::get(&call)?);
    let ports = ports(&call.query)?;
    let pod = Pod {
        node: node(&pod)?,
        access: call.core.pod_access.clone(),
        namespace: call.namespace().into(),
        name: call.name().into(),
        uid: meta::uid(&pod).into(),
    };
    let upgrade = upgrade(&mut call)?;
    let protocol = match upgrade.kind {
        Kind::Spdy => upgrade.negotiate(&[forward::spdy::PROTOCOL], forward::spdy::PROTOCOL)?,
        _ => {
            let [binary, base64] = forward::websocket::PROTOCOLS;
            upgrade.negotiate(&[forward::spdy::TUNNELLED, binary, base64], "")?
        }
    };
    if upgrade.kind == Kind::WebSocket && protocol != forward::spdy::TUNNELLED && ports.is_empty() {
        return Err(Status::bad_request("query parameter \"ports\" is required"));
    }
    let (held, kind) = (call.held.take(), upgrade.kind);
    Ok(upgrade.accept(protocol, move |io: BoxDuplex| async move {
        let _held = held;
        let dial: Arc<dyn Dial> = Arc::new(pod);
        match kind {
            Kind::Spdy => forward::spdy::serve(io, dial).await,
            _ if protocol == forward::spdy::TUNNELLED => forward::spdy::serve_tunnelled(io, dial).await,
            _ => forward::websocket::serve(io, protocol, &ports, dial).await,
        }
    }))
}

/// `ports=80&ports=81`, or joined by commas.
fn ports(query: &Query) -> Result<Vec<u16>, Status> {
    let texts: Vec<&str> = query.all("ports").flat_map(|ports| ports.split(',')).collect();
    let parse = |text: &&str| {
        let port = text.parse::<u16>().ok().filter(|port| *port > 0);
        port.ok_or_else(|| Status::bad_request(format!("unable to parse {text:?} as a port")))
    };
    if texts.len() > PORTS_MAX {
        return Err(Status::bad_request(format!("at most {PORTS_MAX} ports may be forwarded at once")));
    }
    texts.iter().map(parse).collect()
}

/// A pod to whose ports connections are made.
struct Pod {
    node: String,
    access: Arc<dyn PodAccess>,
    namespace: String,
    name: String,
    uid: String,
}

#[async_trait]
impl Dial for Pod {
    async fn dial(&self, port: u16) -> Result<Session, StreamError> {
        let (namespace, pod, uid) = (self.namespace.clone(), self.name.clone(), self.uid.clone());
        let request = StreamRequest::PortForward(PortForwardRequest { namespace, pod, uid, port });
        self.access.open(&self.node, request).await
    }

    fn complaint(&self, port: u16, error: &StreamError) -> String {
        format!("error forwarding port {port} to pod {}, uid {}: {error}", self.name, self.uid)
    }
}
