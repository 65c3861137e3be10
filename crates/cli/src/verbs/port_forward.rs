//! `port-forward`: local ports that lead into a pod.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;

use backstay_api::meta;
use backstay_streams::forward::client::Forwarder;
use backstay_streams::forward::spdy::{PROTOCOL, TUNNELLED};
use http::header::{CONNECTION, HeaderName, UPGRADE};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::{JoinSet, LocalSet};

use super::logs;
use crate::connect;
use crate::error::{Failure, Outcome, quoted};
use crate::io::Io;
use crate::server::Call;
use crate::session::{App, Session};

/// Let local ports lead into a pod
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// POD, or TYPE/NAME for one of its pods
    #[arg(value_name = "POD | TYPE/NAME")]
    target: Option<String>,
    /// LOCAL:REMOTE, or REMOTE for both; LOCAL may be left out before the colon for any free one
    #[arg(value_name = "[LOCAL:]REMOTE")]
    ports: Vec<String>,
    /// Where to listen: addresses, or localhost
    #[arg(long, value_name = "ADDR", value_delimiter = ',', default_value = "localhost")]
    address: Vec<String>,
}

const EXAMPLES: &str = "Examples:
  # Port 8080 here is port 80 there
  backstay port-forward fluentd-x7k2p 8080:80
  # Any free port here, of a pod of the DaemonSet
  backstay port-forward ds/fluentd :24231";

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

pub async fn run(app: &App, args: Args) -> Outcome {
    let (Some(target), false) = (&args.target, args.ports.is_empty()) else {
        return Err(Failure::plain("TYPE/NAME and list of ports are required for port-forward"));
    };
    let session = app.connect().await?;
    let pod = logs::one_pod(&session, target).await?;
    let phase = meta::str_at(&pod, &["status", "phase"]);
    if phase != "Running" {
        let why = format!("unable to forward port because pod is not running. Current status={phase}");
        return Err(Failure::plain(why));
    }
    let ports: Vec<Ports> = args.ports.iter().map(|text| Ports::parse(text, &pod)).collect::<Outcome<_>>()?;
    let addresses = addresses(&args.address)?;
    let forwarder = Rc::new(connect(&session, &pod).await?);
    LocalSet::new().run_until(serve(&session.io, &forwarder, &ports, &addresses)).await
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    /// 0: any free one.
    local: u16,
    remote: u16,
}

impl Ports {
    /// A port of the pod may be given by its name.
    fn parse(text: &str, pod: &Value) -> Outcome<Self> {
        let (local, remote) = text.split_once(':').unwrap_or((text, text));
        let remote_port = match remote.parse() {
            Ok(0) => return Err(Failure::plain("remote port must be > 0")),
            Ok(port) => port,
            Err(_) => named(pod, remote)
                .ok_or_else(|| Failure::plain(format!("error parsing remote port {}", quoted(remote))))?,
        };
        let local_port = match local {
            "" => 0,
            same if same == remote => remote_port,
            local => local
                .parse()
                .map_err(|error| Failure::plain(format!("error parsing local port {}: {error}", quoted(local))))?,
        };
        Ok(Self { local: local_port, remote: remote_port })
    }
}

fn named(pod: &Value, name: &str) -> Option<u16> {
    let containers = meta::list_at(pod, &["spec", "containers"]).iter();
    let mut ports = containers.flat_map(|container| meta::list_at(container, &["ports"]));
    let port = ports.find(|port| meta::str_at(port, &["name"]) == name)?;
    meta::int_at(port, &["containerPort"]).and_then(|port| u16::try_from(port).ok())
}

/// An address, and whether it may be missing on this machine.
fn addresses(texts: &[String]) -> Outcome<Vec<(IpAddr, bool)>> {
    let mut addresses = Vec::new();
    for text in texts {
        match text.as_str() {
            "localhost" => {
                addresses.extend([(Ipv4Addr::LOCALHOST.into(), false), (Ipv6Addr::LOCALHOST.into(), true)]);
            }
            text => match text.parse() {
                Ok(address) => addresses.push((address, false)),
                Err(_) => return Err(Failure::plain(format!("{text} is not a valid IP"))),
            },
        }
    }
    Ok(addresses)
}

/// In a WebSocket where the server knows how, else the old way.
async fn connect(session: &Session, pod: &Value) -> Outcome<Forwarder> {
    let namespace = meta::namespace(pod).unwrap_or("default");
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}/portforward", meta::name(pod));
    let call = Call::get(&path).accept("*/*");
    match connect::websocket(&session.server, &call, &[TUNNELLED]).await {
        Ok((io, _)) => Ok(Forwarder::tunnelled(io)),
        Err(Failure::Api(error)) if error.code == 400 || error.code == 403 => {
            let headers = [(CONNECTION, "Upgrade"), (UPGRADE, "SPDY/3.1"), (STREAM_PROTOCOL, PROTOCOL)];
            let headers = headers.map(|(name, value)| (name, value.to_string()));
            let call = Call::post(path, &Value::Null).accept("*/*");
            let (io, _) = session.server.upgrade(&call, &headers, STREAM_PROTOCOL).await?;
            Ok(Forwarder::new(io))
        }
        Err(failure) => Err(failure),
    }
}

async fn serve(io: &Io, forwarder: &Rc<Forwarder>, ports: &[Ports], addresses: &[(IpAddr, bool)]) -> Outcome {
    let mut listeners = JoinSet::new();
    for ports in ports {
        // The same number at every address.
        let mut local = ports.local;
        for (address, may_be_missing) in addresses {
            let listener = match TcpListener::bind(SocketAddr::new(*address, local)).await {
                Ok(listener) => listener,
                Err(_) if *may_be_missing => continue,
                Err(error) => {
                    return Err(Failure::plain(format!("unable to listen on port {local}: {address}: {error}")));
                }
            };
            local = listener.local_addr().map_or(local, |bound| bound.port());
            io.out(&format!("Forwarding from {} -> {}\n", SocketAddr::new(*address, local), ports.remote))?;
            listeners.spawn_local(listen(io.clone(), forwarder.clone(), listener, local, ports.remote));
        }
    }
    tokio::select! {
        () = forwarder.closed() => Err(Failure::plain("lost connection to pod")),
        _ = listeners.join_next() => Err(Failure::plain("lost the local port")),
    }
}

async fn listen(io: Io, forwarder: Rc<Forwarder>, listener: TcpListener, local: u16, remote: u16) {
    while let Ok((connection, _)) = listener.accept().await {
        if io.out(&format!("Handling connection for {local}\n")).is_err() {
            return;
        }
        // Whoever types waits for every byte.
        let _ = connection.set_nodelay(true);
        let (io, forwarder) = (io.clone(), forwarder.clone());
        tokio::task::spawn_local(async move {
            if let Err(why) = forwarder.forward(Box::new(connection), remote).await {
                io.err_line(&format!("an error occurred forwarding {local} -> {remote}: {why}"));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_as_people_write_them() {
        let pod = json!({"spec": {"containers": [{}, {"ports": [{"name": "web", "containerPort": 80}]}]}});
        let check = |text: &str, expected: Result<(u16, u16), &str>| {
            let ports = Ports::parse(text, &pod).map(|ports| (ports.local, ports.remote));
            assert_eq!(ports.map_err(|failure| failure.to_string()), expected.map_err(String::from), "{text}");
        };
        check("8080:80", Ok((8080, 80)));
        check("80", Ok((80, 80)));
        check(":80", Ok((0, 80)));
        check("web", Ok((80, 80)));
        check("9000:web", Ok((9000, 80)));
        check("1:0", Err("error: remote port must be > 0"));
        check("1:nope", Err("error: error parsing remote port \"nope\""));
        check("x:80", Err("error: error parsing local port \"x\": invalid digit found in string"));
        check("1:70000", Err("error: error parsing remote port \"70000\""));
    }
}
