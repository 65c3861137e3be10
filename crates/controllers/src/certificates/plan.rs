//! What to do about one request.

use std::time::Duration;

use jiff::Timestamp;

use super::{Asked, CLIENT, NODE_CLIENT, NODE_SERVING, Request};

const NODE_PREFIX: &str = "system:node:";
const NODES: &str = "system:nodes";
/// How long a certificate lasts at most, and if nobody says: a year (`--cluster-signing-duration`).
const SECONDS_MAX: i64 = 365 * 24 * 3600;
/// What has been decided is kept so long; what has not, so long. Source: `csrcleaner`.
const DECIDED_KEPT: Duration = Duration::from_secs(3600);
const OPEN_KEPT: Duration = Duration::from_secs(24 * 3600);
/// Who is refused since there is such a node asks again and again, perhaps every two seconds: its requests go soon.
const REFUSED_KEPT: Duration = Duration::from_secs(60);
const NODE_IS_READY: &str = "NodeIsReady";

/// What may be known about whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// May become a node (`create` of `certificatesigningrequests/nodeclient`).
    pub node_client: bool,
    /// May renew its own (`create` of `certificatesigningrequests/selfnodeclient`).
    pub self_node_client: bool,
    /// The node that is asked for exists and is ready.
    pub node_is_alive: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    Approve {
        message: &'static str,
    },
    /// Nobody needs to decide that it cannot be.
    Deny {
        reason: &'static str,
        message: String,
    },
    /// For so long.
    Sign {
        seconds: i64,
    },
    /// It was approved, and is not what its signer signs.
    Fail {
        message: String,
    },
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    pub step: Option<Step>,
    /// Why an open request waits for somebody to decide.
    pub waits: Option<String>,
    /// When to look again although nothing happens.
    pub recheck_at: Option<Timestamp>,
}

/// Plans. `asked`: what the request holds, or why it cannot be read. `rights` are looked at for requests of nodes alone.
/// `expires`: when the certificate that was issued does.
pub fn plan(
    request: &Request,
    asked: Result<&Asked, &str>,
    rights: Rights,
    expires: Option<Timestamp>,
    now: Timestamp,
) -> Plan {
    let gone_at = gone_at(request, expires);
    if gone_at.is_some_and(|at| at <= now) {
        return Plan { step: Some(Step::Delete), waits: None, recheck_at: None };
    }
    let (step, waits) = match decide(request, asked, rights) {
        Ok(step) => (step, None),
        Err(waits) => (None, Some(waits)),
    };
    Plan { step, waits, recheck_at: gone_at }
}

fn decide(request: &Request, asked: Result<&Asked, &str>, rights: Rights) -> Result<Option<Step>, String> {
    if request.denied.is_some() || request.failed.is_some() || !request.certificate.is_empty() {
        return Ok(None);
    }
    if request.approved.is_some() {
        return Ok(sign(request, asked));
    }
    if request.signer != NODE_CLIENT {
        return Err(format!("requests of signer {:?} are approved by hand", request.signer));
    }
    let asked = asked.map_err(str::to_string)?;
    check_node_client(request, asked)?;
    if asked.common_name == request.username {
        return match rights.self_node_client {
            true => Ok(Some(Step::Approve {
                message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
            })),
            false => Err(format!("{:?} may not renew its certificate", request.username)),
        };
    }
    if !rights.node_client {
        return Err(format!("{:?} may not become a node", request.username));
    }
    if rights.node_is_alive {
        let node = asked.common_name.trim_start_matches(NODE_PREFIX);
        // Left open, it would be let in as soon as that node is not heard of for a moment.
        return Ok(Some(Step::Deny {
            reason: NODE_IS_READY,
            message: format!(
                "there is a node {node:?} already, and it is ready: delete it, or give this machine another name with \
                 --node-name"
            ),
        }));
    }
    Ok(Some(Step::Approve { message: "Auto approving kubelet client certificate after SubjectAccessReview." }))
}

/// Nothing, if another signs it.
fn sign(request: &Request, asked: Result<&Asked, &str>) -> Option<Step> {
    let check = match request.signer.as_str() {
        CLIENT => check_client,
        NODE_CLIENT => check_node_client,
        NODE_SERVING => check_node_serving,
        _ => return None,
    };
    let checked = asked.map_err(str::to_string).and_then(|asked| check(request, asked));
    Some(match checked {
        Ok(()) => Step::Sign { seconds: request.expiration_seconds.unwrap_or(SECONDS_MAX).clamp(600, SECONDS_MAX) },
        Err(message) => Step::Fail { message },
    })
}

fn check_client(request: &Request, _asked: &Asked) -> Result<(), String> {
    check_usages(request, &["client auth"], &["client auth", "digital signature", "key encipherment"])
}

fn check_node_client(request: &Request, asked: &Asked) -> Result<(), String> {
    check_usages(
        request,
        &["client auth", "digital signature"],
        &["client auth", "digital signature", "key encipherment"],
    )?;
    check_node_subject(asked)?;
    match asked.dns_names.is_empty() && asked.ip_addresses.is_empty() && asked.other_names == 0 {
        true => Ok(()),
        false => Err("a node's client certificate has no alternative names".to_string()),
    }
}

fn check_node_serving(request: &Request, asked: &Asked) -> Result<(), String> {
    check_usages(
        request,
        &["server auth", "digital signature"],
        &["server auth", "digital signature", "key encipherment"],
    )?;
    check_node_subject(asked)?;
    if request.username != asked.common_name {
        return Err("a node's serving certificate is asked for by the node itself".to_string());
    }
    match asked.other_names == 0 && !(asked.dns_names.is_empty() && asked.ip_addresses.is_empty()) {
        true => Ok(()),
        false => Err("a node's serving certificate names hosts and addresses, and nothing else".to_string()),
    }
}

fn check_node_subject(asked: &Asked) -> Result<(), String> {
    if asked.organizations != [NODES] {
        return Err(format!("organization is not {NODES}"));
    }
    match asked.common_name.strip_prefix(NODE_PREFIX) {
        Some(name) if !name.is_empty() => Ok(()),
        _ => Err(format!("common name does not begin with {NODE_PREFIX}")),
    }
}

fn check_usages(request: &Request, needed: &[&str], allowed: &[&str]) -> Result<(), String> {
    let has = |usage: &&&str| request.usages.iter().any(|one| one == **usage);
    if let Some(missing) = needed.iter().find(|usage| !has(usage)) {
        return Err(format!("usages lack {missing:?}"));
    }
    match request.usages.iter().find(|usage| !allowed.contains(&usage.as_str())) {
        Some(other) => Err(format!("usage {other:?} is not allowed")),
        None => Ok(()),
    }
}

/// When the request is cleared away.
fn gone_at(request: &Request, expires: Option<Timestamp>) -> Option<Timestamp> {
    if request.is_open() {
        return request.created.map(|created| created + OPEN_KEPT);
    }
    // Approved and not issued: its signer may be another, and late.
    let issued = request.approved.filter(|_| !request.certificate.is_empty());
    let waiting = request.approved.filter(|_| request.certificate.is_empty());
    let decided = [issued, request.denied, request.failed].into_iter().flatten().map(|at| at + DECIDED_KEPT);
    let refused = request.denied.filter(|_| request.denied_for == NODE_IS_READY).map(|at| at + REFUSED_KEPT);
    decided.chain(refused).chain(waiting.map(|at| at + OPEN_KEPT)).chain(expires).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn request() -> Request {
        Request {
            name: "r".into(),
            created: Some(at(0)),
            signer: NODE_CLIENT.into(),
            username: "system:bootstrap:abcdef".into(),
            usages: ["client auth", "digital signature"].map(String::from).into(),
            ..Request::default()
        }
    }

    fn asked() -> Asked {
        Asked { common_name: "system:node:n1".into(), organizations: vec!["system:nodes".into()], ..Asked::default() }
    }

    const ALL: Rights = Rights { node_client: true, self_node_client: true, node_is_alive: false };

    fn check(change: impl FnOnce(&mut Request, &mut Asked, &mut Rights), expected: &str) {
        let (mut request, mut asked, mut rights) = (request(), asked(), ALL);
        change(&mut request, &mut asked, &mut rights);
        let Plan { step, waits, .. } = plan(&request, Ok(&asked), rights, None, at(1));
        let shown = match (step, waits) {
            (Some(step), _) => format!("{step:?}"),
            (None, Some(waits)) => format!("waits: {waits}"),
            (None, None) => "nothing".to_string(),
        };
        assert!(shown.starts_with(expected), "{shown} is not {expected}");
    }

    #[test]
    fn nodes_are_let_in() {
        check(|_, _, _| {}, "Approve { message: \"Auto approving kubelet");
        check(|it, _, _| it.usages.push("key encipherment".into()), "Approve");
        check(|it, _, _| it.username = "system:node:n1".into(), "Approve { message: \"Auto approving self");
        check(
            |it, _, rights| (it.username, rights.node_is_alive) = ("system:node:n1".into(), true),
            "Approve { message: \"Auto approving self",
        );
    }

    #[test]
    fn others_wait_for_somebody_to_decide() {
        check(|_, _, rights| rights.node_client = false, "waits: \"system:bootstrap:abcdef\" may not become a node");
        check(
            |it, _, rights| (it.username, rights.self_node_client) = ("system:node:n1".into(), false),
            "waits: \"system:node:n1\" may not renew",
        );
        check(
            |it, _, rights| (it.username, rights.node_client) = ("system:node:n2".into(), false),
            "waits: \"system:node:n2\" may not become a node",
        );
        check(|_, asked, _| asked.organizations.push("system:masters".into()), "waits: organization is not");
        check(|_, asked, _| asked.common_name = "admin".into(), "waits: common name");
        check(|_, asked, _| asked.common_name = "system:node:".into(), "waits: common name");
        check(|_, asked, _| asked.dns_names.push("h".into()), "waits: a node's client certificate");
        check(|it, _, _| it.usages.push("server auth".into()), "waits: usage \"server auth\"");
        check(|it, _, _| it.usages.clear(), "waits: usages lack");
        check(|it, _, _| it.signer = CLIENT.into(), "waits: requests of signer");
        check(|it, _, _| it.signer = "example.com/mine".into(), "waits: requests of signer");
    }

    #[test]
    fn nobody_takes_the_place_of_a_node_that_is_well() {
        let alive = |_: &mut Request, _: &mut Asked, rights: &mut Rights| rights.node_is_alive = true;
        check(
            alive,
            "Deny { reason: \"NodeIsReady\", message: \"there is a node \\\"n1\\\" already, and it is ready: delete",
        );
        check(
            |_, _, rights| (rights.node_is_alive, rights.node_client) = (true, false),
            "waits: \"system:bootstrap:abcdef\" may not become a node",
        );
        // Whoever wants it all the same decides so.
        check(|it, _, rights| (it.approved, rights.node_is_alive) = (Some(at(0)), true), "Sign");
    }

    #[test]
    fn what_is_approved_is_signed_if_it_is_fit() {
        check(|it, _, _| it.approved = Some(at(0)), "Sign { seconds: 31536000 }");
        check(|it, _, _| (it.approved, it.expiration_seconds) = (Some(at(0)), Some(3600)), "Sign { seconds: 3600 }");
        check(
            |it, _, _| (it.approved, it.expiration_seconds) = (Some(at(0)), Some(i64::MAX)),
            "Sign { seconds: 31536000 }",
        );
        check(|it, asked, _| (it.approved, asked.other_names) = (Some(at(0)), 1), "Fail");
        check(|it, _, _| (it.approved, it.signer) = (Some(at(0)), "example.com/mine".into()), "nothing");
        check(
            |it, asked, _| {
                (it.approved, it.signer, it.username) = (Some(at(0)), NODE_SERVING.into(), "system:node:n1".into());
                it.usages = ["server auth", "digital signature"].map(String::from).into();
                asked.ip_addresses.push("10.0.0.1".into());
            },
            "Sign",
        );
        check(
            |it, asked, _| {
                (it.approved, it.signer) = (Some(at(0)), NODE_SERVING.into());
                it.usages = ["server auth", "digital signature"].map(String::from).into();
                asked.ip_addresses.push("10.0.0.1".into());
            },
            "Fail { message: \"a node's serving certificate is asked for by the node itself",
        );
        check(|it, _, _| (it.approved, it.certificate) = (Some(at(0)), b"x".to_vec()), "nothing");
        check(|it, _, _| it.denied = Some(at(0)), "nothing");
        let unreadable = plan(&Request { approved: Some(at(0)), ..request() }, Err("garbage"), ALL, None, at(1));
        assert_eq!(unreadable.step, Some(Step::Fail { message: "garbage".into() }));
    }

    #[test]
    fn requests_are_cleared_away() {
        let gone = |request: Request, expires: Option<i64>| {
            gone_at(&request, expires.map(at)).map(|it| it.as_second() - at(0).as_second())
        };
        assert_eq!(gone(request(), None), Some(86_400));
        assert_eq!(gone(Request { denied: Some(at(5)), ..request() }, None), Some(3605));
        let refused = Request { denied: Some(at(5)), denied_for: "NodeIsReady".into(), ..request() };
        assert_eq!(gone(refused, None), Some(65));
        assert_eq!(gone(Request { approved: Some(at(5)), ..request() }, None), Some(86_405));
        let issued = Request { approved: Some(at(5)), certificate: b"x".to_vec(), ..request() };
        assert_eq!((gone(issued.clone(), None), gone(issued.clone(), Some(60))), (Some(3605), Some(60)));
        let late = plan(&issued, Ok(&asked()), ALL, None, at(3605));
        assert_eq!(late.step, Some(Step::Delete));
    }
}
