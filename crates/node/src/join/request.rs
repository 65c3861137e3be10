//! Asks for a certificate, the first time with a token, later with the one before.

use std::time::Duration;

use backstay_api::{Entropy, decode, meta};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use kube::{Client, Config};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use serde_json::{Value, json};

use super::{Credentials, JoinError};
use crate::client::{Api, code};
use crate::servers::{Server, Servers};

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";
const SIGNER: &str = "kubernetes.io/kube-apiserver-client-kubelet";
/// How often to look whether it has been decided.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// After so many looks it is said that it has not: what decides by itself has done so by then. And again after so many more.
const SAY_FIRST: u32 = 4;
const SAY_EVERY: u32 = 60;

/// Makes this machine a node: shows the token to the first of these servers that serves, and gets a certificate of its own
/// for it.
///
/// # Errors
/// `Token`, `Denied`, and whatever stands in the way of asking. Waits for as long as nobody decides.
pub async fn join(servers: &[String], ca_pem: &str, token: &str, node: &str) -> Result<Credentials, JoinError> {
    let clients: Result<Vec<Server>, _> = servers.iter().map(|url| with_token(url, ca_pem, token)).collect();
    let (certificate_pem, key_pem) = certificate(&Api::new(Servers::in_order(clients?)), node).await?;
    let (servers, node, ca_pem) = (servers.to_vec(), node.to_string(), ca_pem.to_string());
    Ok(Credentials { servers, announced: Vec::new(), node, ca_pem, certificate_pem, key_pem })
}

fn with_token(url: &str, ca_pem: &str, token: &str) -> Result<Server, JoinError> {
    let mut config = Config::new(url.parse().map_err(|_| JoinError::Address(url.to_string()))?);
    let (_, authority) =
        x509_parser::pem::parse_x509_pem(ca_pem.as_bytes()).map_err(|error| JoinError::Authority(error.to_string()))?;
    config.root_cert = Some(vec![authority.contents]);
    config.auth_info.token = Some(token.to_string().into());
    config.default_retry = false;
    let client = Client::try_from(config).map_err(|error| JoinError::Authority(error.to_string()))?;
    Ok(Server { url: Some(url.to_string()), client })
}

/// New credentials for a node that has some, from whichever of its servers serves.
///
/// # Errors
/// As [`join`].
pub async fn renew(held: &Credentials, servers: &Servers) -> Result<Credentials, JoinError> {
    let (certificate_pem, key_pem) = certificate(&Api::new(servers.clone()), &held.node).await?;
    let known = servers.all().into_iter().filter_map(|server| server.url);
    let announced = known.filter(|url| !held.servers.contains(url)).collect();
    Ok(Credentials { announced, certificate_pem, key_pem, ..held.clone() })
}

/// When a certificate is to be renewed: after 70 to 90 % of its time, so that a fleet does not come all at once.
/// Source: `jitteryDuration` of a kubelet's certificate manager.
pub fn renew_at(not_before: Timestamp, not_after: Timestamp, entropy: &Entropy) -> Timestamp {
    let life = not_after.duration_since(not_before);
    not_before
        + SignedDuration::try_from_secs_f64(life.as_secs_f64() * (0.7 + 0.2 * entropy.fraction())).unwrap_or(life)
}

/// A certificate and its key, PEM.
async fn certificate(api: &Api, node: &str) -> Result<(String, String), JoinError> {
    let (request, key_pem) = request(node)?;
    let object = json!({
        "apiVersion": "certificates.k8s.io/v1", "kind": "CertificateSigningRequest",
        "metadata": { "generateName": "node-csr-" },
        "spec": {
            "request": STANDARD.encode(request), "signerName": SIGNER,
            "usages": ["digital signature", "client auth"],
        },
    });
    let made = api.post_anywhere(REQUESTS, &object).await.map_err(refusal)?;
    let path = format!("{REQUESTS}/{}", meta::name(&made));
    for look in 1_u32.. {
        tokio::time::sleep(LOOK_EVERY).await;
        match api.get(&path).await {
            Ok(seen) => {
                if let Some(certificate) = decided(&seen)? {
                    return Ok((certificate, key_pem));
                }
            }
            Err(error) if !matches!(code(&error), None | Some(503)) => return Err(refusal(error)),
            Err(error) => tracing::warn!(%error, "cannot look at the request for a certificate; will retry"),
        }
        if look % SAY_EVERY == SAY_FIRST {
            tracing::warn!(
                request = meta::name(&made),
                "nobody has decided yet: see `kubectl get csr`, and `kubectl certificate approve` to let it in"
            );
        }
    }
    unreachable!("there are no more numbers")
}

fn request(node: &str) -> Result<(String, String), JoinError> {
    let explain = |error: rcgen::Error| JoinError::Key(error.to_string());
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(explain)?;
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "system:nodes");
    params.distinguished_name.push(DnType::CommonName, format!("system:node:{node}"));
    let request = params.serialize_request(&key).and_then(|request| request.pem()).map_err(explain)?;
    Ok((request, key.serialize_pem()))
}

fn refusal(error: kube::Error) -> JoinError {
    match code(&error) {
        Some(401) => JoinError::Token,
        Some(403) => JoinError::Denied(error.to_string()),
        _ => JoinError::Ask(error),
    }
}

/// The certificate, once it is there.
fn decided(request: &Value) -> Result<Option<String>, JoinError> {
    let conditions = meta::list_at(request, &["status", "conditions"]).iter();
    let mut refused = conditions.filter(|one| matches!(meta::str_at(one, &["type"]), "Denied" | "Failed"));
    if let Some(why) = refused.next() {
        let text = |field: &str| meta::str_at(why, &[field]).to_string();
        return Err(JoinError::Denied(format!("{} ({})", text("message"), text("reason"))));
    }
    let bytes = decode::base64_bytes(meta::str_at(request, &["status", "certificate"])).unwrap_or_default();
    Ok(String::from_utf8(bytes).ok().filter(|certificate| !certificate.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renewed_in_time_and_not_all_at_once() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let check = |random: u64, expected: f64| {
            let seen = renew_at(at(0), at(1000), &Entropy::new(move || random)).as_millisecond() as f64 / 1000.0;
            assert!((seen - expected).abs() < 0.1, "{seen} is not {expected}");
        };
        check(0, 700.0);
        check(u64::MAX, 900.0);
        check(u64::MAX / 2, 800.0);
    }

    #[test]
    fn what_has_been_decided() {
        let seen = |status: Value| decided(&json!({ "status": status }));
        assert!(matches!(seen(json!({})), Ok(None)));
        assert!(matches!(seen(json!({ "certificate": "eA==" })), Ok(Some(text)) if text == "x"));
        let denied = json!({ "conditions": [{ "type": "Denied", "reason": "No", "message": "go away" }] });
        assert!(matches!(seen(denied), Err(JoinError::Denied(why)) if why == "go away (No)"));
    }
}
