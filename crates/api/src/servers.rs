//! How the servers of one state make themselves known: by a Lease each in `kube-system`, with the label that Kubernetes
//! gives to those of its API servers, and the address at which the machines of the fleet reach it.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::selector::{LabelSelector, Operator};
use crate::{meta, time};

pub const NAMESPACE: &str = "kube-system";
/// Their Leases.
pub const PATH: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
/// Selects them. Source: `IdentityLeaseComponentLabelKey` of kube-apiserver.
pub const SELECTOR: &str = "apiserver.kubernetes.io/identity=kube-apiserver";
const LABEL: &str = "apiserver.kubernetes.io/identity";
const IDENTITY: &str = "kube-apiserver";
/// The annotation that holds the address, as `https://HOST:PORT`.
const URL: &str = "servers.backstay.dev/url";
/// More are not followed: each costs every machine a connection.
const SERVERS_MAX: usize = 16;

/// The Lease of a server, by which it says that it is there. Its name follows from the address, so that a server that
/// starts again renews what it had.
pub fn lease(url: &str, holder: &str, duration_seconds: i64, now: Timestamp) -> Value {
    let plain = |letter: char| if letter.is_ascii_alphanumeric() { letter.to_ascii_lowercase() } else { '-' };
    let place: String = url.trim_start_matches("https://").trim_matches(['[', '/']).chars().map(plain).collect();
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
        "metadata": {
            "name": format!("apiserver-{}", place.trim_end_matches('-')), "namespace": NAMESPACE,
            "labels": { LABEL: IDENTITY }, "annotations": { URL: url },
        },
        "spec": {
            "holderIdentity": holder, "leaseDurationSeconds": duration_seconds,
            "renewTime": time::micros(now),
        },
    })
}

/// The addresses of servers that have announced themselves, for somebody who knows one by this address already. Those of
/// machines for themselves alone count only for who knows such a one, and only if there are no others.
pub fn urls<'a>(leases: impl IntoIterator<Item = &'a Value>, known: &str) -> BTreeSet<String> {
    let all = leases.into_iter().filter_map(url).map(str::to_string);
    let (local, far): (BTreeSet<String>, BTreeSet<String>) = all.partition(|url| is_loopback(url));
    let usable = if far.is_empty() && is_loopback(known) { local } else { far };
    usable.into_iter().take(SERVERS_MAX).collect()
}

/// The address that a Lease announces.
pub fn url(lease: &Value) -> Option<&str> {
    meta::annotation(lease, URL).filter(|url| host(url).is_some())
}

/// Whether a selector asks for such Leases and for no others.
pub fn are_selected(selector: &LabelSelector) -> bool {
    selector.requirements.iter().any(|one| {
        one.key == LABEL && matches!(one.operator, Operator::Equals | Operator::In) && one.values == [IDENTITY]
    })
}

/// Whether an address is that of every machine for itself.
pub fn is_loopback(url: &str) -> bool {
    let host = host(url).unwrap_or_default();
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// The name in `https://NAME` or `https://NAME:PORT`, with nothing after it; an IPv6 address is without its brackets.
pub fn host(url: &str) -> Option<&str> {
    let authority = url.strip_prefix("https://")?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => authority.split_at(authority.find(':').unwrap_or(authority.len())),
    };
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let is_host = |letter: char| letter.is_ascii_alphanumeric() || ".-:".contains(letter);
    (is_port && !host.is_empty() && host.chars().all(is_host)).then_some(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn announced(urls: &[&str]) -> Vec<Value> {
        urls.iter().map(|url| lease(url, "h_1", 3600, Timestamp::UNIX_EPOCH)).collect()
    }

    #[test]
    fn a_lease_has_a_name_that_objects_may_have() {
        let check = |url: &str, expected: &str| assert_eq!(meta::name(&announced(&[url])[0]), expected);
        check("https://10.0.0.1:6443", "apiserver-10-0-0-1-6443");
        check("https://Server1.example:6443", "apiserver-server1-example-6443");
        check("https://[fe80::1]:6443", "apiserver-fe80--1--6443");
        check("https://[fe80::1]", "apiserver-fe80--1");
    }

    #[test]
    fn servers_that_can_be_reached() {
        let seen = |given: &[&str], known: &str| urls(&announced(given), known);
        let check = |given: &[&str], expected: &[&str]| {
            assert_eq!(
                seen(given, "https://127.0.0.1:1").iter().map(String::as_str).collect::<Vec<_>>(),
                expected,
                "{given:?}"
            );
        };
        check(&["https://b:1", "https://a:1", "https://b:1"], &["https://a:1", "https://b:1"]);
        check(&["https://127.0.0.1:1", "https://127.0.0.1:2"], &["https://127.0.0.1:1", "https://127.0.0.1:2"]);
        check(
            &["https://127.0.0.1:1", "https://localhost:1", "https://[::1]:1", "https://[fd00::1]:1"],
            &["https://[fd00::1]:1"],
        );
        check(
            &["http://a:1", "https://", "https://a:b", "https://a:1/x", "https://a b:1", "https://a:1\n- x", "a"],
            &[],
        );
        assert_eq!(seen(&["https://127.0.0.1:1"], "https://a:1"), BTreeSet::new());
        assert_eq!(seen(&["https://b:1"], "https://a:1").len(), 1);
        assert_eq!(urls(&[json!({ "metadata": { "name": "of somebody else" } })], "https://[::1]:1"), BTreeSet::new());
        let many: Vec<String> = (100..200).map(|number| format!("https://a{number}:1")).collect();
        assert_eq!(seen(&many.iter().map(String::as_str).collect::<Vec<_>>(), "").len(), SERVERS_MAX);
    }

    #[test]
    fn selectors_of_servers_alone() {
        let check = |text: &str, expected: bool| {
            assert_eq!(are_selected(&LabelSelector::parse(text).unwrap()), expected, "{text}");
        };
        check(SELECTOR, true);
        check("apiserver.kubernetes.io/identity in (kube-apiserver),a=b", true);
        check("", false);
        check("apiserver.kubernetes.io/identity", false);
        check("apiserver.kubernetes.io/identity!=kube-apiserver", false);
        check("apiserver.kubernetes.io/identity in (kube-apiserver,other)", false);
        check("a=kube-apiserver", false);
    }

    #[test]
    fn addresses_of_this_machine_alone() {
        let check = |url: &str, expected: bool| assert_eq!(is_loopback(url), expected, "{url}");
        check("https://127.0.0.1:6443", true);
        check("https://[::1]:6443", true);
        check("https://localhost:6443", true);
        check("https://10.0.0.1:6443", false);
    }
}
