//! Finds out who a server's authority is, from the server itself, and believes it only if its key has the right hash.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{Error, RootCertStore};
use sha2::{Digest, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::JoinError;
use crate::tls::{self, Shown};

/// A server that does not answer within this time is not there.
const PATIENCE: Duration = Duration::from_secs(20);

/// Of the public key of an authority, with its algorithm (`SubjectPublicKeyInfo`), as kubeadm has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hash([u8; 32]);

impl std::str::FromStr for Hash {
    type Err = JoinError;

    fn from_str(text: &str) -> Result<Self, JoinError> {
        let wrong = || JoinError::Hash(text.to_string());
        let digits =
            text.strip_prefix("sha256:").filter(|digits| digits.len() == 64 && digits.is_ascii()).ok_or_else(wrong)?;
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(hash))
    }
}

impl Hash {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        Some(Self(Sha256::digest(parsed.tbs_certificate.subject_pki.raw).into()))
    }
}

/// Servers as somebody has named them, each once, as they are written from then on.
///
/// # Errors
/// `Address`, for the first that is none.
pub fn addresses(named: &[String]) -> Result<Vec<String>, JoinError> {
    let mut servers: Vec<String> = Vec::new();
    for name in named {
        let server = name.trim_end_matches('/');
        host_and_port(server).ok_or_else(|| JoinError::Address(name.clone()))?;
        if !servers.iter().any(|known| known == server) {
            servers.push(server.to_string());
        }
    }
    Ok(servers)
}

/// Of `https://HOST` or `https://HOST:PORT`; an IPv6 address is without its brackets.
pub(crate) fn host_and_port(server: &str) -> Option<(String, u16)> {
    let address: http::Uri = server.parse().ok()?;
    let host = address.host().filter(|host| !host.is_empty() && address.scheme_str() == Some("https"))?;
    Some((host.trim_matches(['[', ']']).to_string(), address.port_u16().unwrap_or(443)))
}

/// Finds the authority of these servers, PEM, at the first one that answers and shows one of these hashes; that server
/// becomes the first of them.
///
/// # Errors
/// If none does, why the first of them does not: `Stranger` if there is no such authority; `Unreachable`.
pub async fn discover(servers: &mut [String], hashes: &[Hash]) -> Result<String, JoinError> {
    let mut first = None;
    for at in 0..servers.len() {
        match authority(&servers[at], hashes).await {
            Ok(found) => {
                servers.swap(0, at);
                return Ok(found);
            }
            Err(error @ JoinError::Address(_)) => return Err(error),
            Err(error) => {
                if servers.len() > 1 {
                    tracing::warn!(server = servers[at], error = &error as &dyn std::error::Error, "not joined here");
                }
                first.get_or_insert(error);
            }
        }
    }
    Err(first.unwrap_or_else(|| JoinError::Address(String::new())))
}

/// The authority of a server, PEM: the one of these hashes that the server shows, and that vouches for it.
async fn authority(server: &str, hashes: &[Hash]) -> Result<String, JoinError> {
    let (host, port) = host_and_port(server).ok_or_else(|| JoinError::Address(server.to_string()))?;
    let name = ServerName::try_from(host.clone()).map_err(|_| JoinError::Address(server.to_string()))?;
    let (hashes, found) = (hashes.to_vec(), Arc::new(OnceLock::new()));
    let keep = found.clone();
    let config = tls::client_config(move |shown| {
        // There is one handshake, and one answer to it.
        let _ = keep.set(known(&hashes, shown)?);
        Ok(())
    });
    let config = config.map_err(|error| JoinError::Authority(error.to_string()))?;
    let unreachable = |source: std::io::Error| JoinError::Unreachable { server: server.to_string(), source };
    let connecting = tokio::time::timeout(PATIENCE, TcpStream::connect((host.as_str(), port)));
    let late = |_| Err(std::io::ErrorKind::TimedOut.into());
    let stream = connecting.await.unwrap_or_else(late).map_err(unreachable)?;
    let shaking = tokio::time::timeout(PATIENCE, TlsConnector::from(Arc::new(config)).connect(name, stream));
    match shaking.await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            return Err(JoinError::Stranger { server: server.to_string(), why: error.to_string() });
        }
        Err(_) => return Err(unreachable(std::io::ErrorKind::TimedOut.into())),
    }
    let stranger = || JoinError::Stranger { server: server.to_string(), why: "it has shown no authority".to_string() };
    found.get().map(pem).ok_or_else(stranger)
}

fn pem(certificate: &CertificateDer<'_>) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    // Base64 is ASCII.
    let lines = body.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned() + "\n");
    format!("-----BEGIN CERTIFICATE-----\n{}-----END CERTIFICATE-----\n", lines.collect::<String>())
}

/// The authority whose key has one of the hashes, and that vouches for the server.
fn known(hashes: &[Hash], shown: &Shown<'_>) -> Result<CertificateDer<'static>, Error> {
    let is_known = |certificate: &&CertificateDer<'_>| Hash::of(certificate).is_some_and(|it| hashes.contains(&it));
    let Some(authority) = shown.others.iter().find(is_known) else {
        return Err(Error::General("its certificate authority has another hash than --ca-cert-hash says".to_string()));
    };
    let authority = authority.clone().into_owned();
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
    let verifier = verifier.map_err(|error| Error::General(error.to_string()))?;
    verifier.verify_server_cert(shown.own, shown.others, shown.name, shown.ocsp, shown.now)?;
    Ok(authority)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_hash_looks_like() {
        let check = |text: &str, expected: bool| assert_eq!(text.parse::<Hash>().is_ok(), expected, "{text}");
        check(&format!("sha256:{}", "0f".repeat(32)), true);
        check(&format!("sha256:{}", "0F".repeat(32)), true);
        check(&"0f".repeat(32), false);
        check(&format!("sha256:{}", "0f".repeat(31)), false);
        check(&format!("sha256:{}", "zz".repeat(32)), false);
        check(&format!("sha512:{}", "0f".repeat(32)), false);
    }

    #[test]
    fn what_servers_are_called() {
        let check = |named: &[&str], expected: Option<&[&str]>| {
            let named: Vec<String> = named.iter().map(|name| name.to_string()).collect();
            let expected = expected.map(|all| all.iter().map(|name| name.to_string()).collect::<Vec<_>>());
            assert_eq!(addresses(&named).ok(), expected, "{named:?}");
        };
        check(&[], Some(&[]));
        check(
            &["https://a:6443/", "https://b.example", "https://a:6443"],
            Some(&["https://a:6443", "https://b.example"]),
        );
        check(&["https://[::1]:6443"], Some(&["https://[::1]:6443"]));
        for wrong in ["10.0.0.1:6443", "http://10.0.0.1:6443", "https://", ""] {
            check(&["https://a:6443", wrong], None);
        }
    }
}
