//! The server's own certificate authority: what it signs, and where the keys lie.
//!
//! Everything lives in one directory: `ca.crt`/`ca.key` (ten years), `server.crt`/`server.key` and
//! `admin.crt`/`admin.key` (a year, made anew when they run out or no longer fit). Keys are ECDSA P-256, readable by
//! their owner alone, and every file is written whole or not at all.

mod files;
mod issue;
pub mod request;

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use jiff::{Timestamp, ToSpan};

pub use files::write_private;
pub use issue::{Authority, Pair, PublicKey, Subject, public_key};

/// Lifetimes in days. A leaf is renewed when less than a third of its time is left.
const CA_DAYS: i64 = 3650;
const LEAF_DAYS: i64 = 365;

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("cannot read {path}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("cannot write {path}")]
    Write { path: PathBuf, source: std::io::Error },
    #[error(
        "{path} is not a usable certificate or key ({what}); restore it, or remove the pair to have a new one made"
    )]
    Broken { path: PathBuf, what: String },
    #[error("cannot make a certificate: {0}")]
    Issue(#[from] rcgen::Error),
}

/// The authority and the two identities that the server hands out at start.
pub struct Pki {
    pub authority: Authority,
    /// What the listener shows.
    pub server: Pair,
    /// What the admin kubeconfig holds: user `backstay-admin` in `system:masters`.
    pub admin: Pair,
}

impl Pki {
    /// Loads the directory, making what is missing, outdated, or (for the server's certificate) does not name all
    /// `hosts`. `hosts` are DNS names and IP addresses under which clients reach the server.
    ///
    /// # Errors
    /// A file that exists but cannot be used is an error, never silently replaced: clients trust the authority.
    pub fn open(dir: &Path, hosts: &[String], now: Timestamp) -> Result<Self, PkiError> {
        let pair = open_pair(dir, "ca", || Ok(Authority::generate(now, CA_DAYS)?.pair().clone()))?;
        let authority = Authority::from_pair(pair).map_err(|error| broken(dir, "ca.crt", error))?;
        let server = leaf(dir, "server", &authority, &Subject::server(hosts), now)?;
        let admin = leaf(dir, "admin", &authority, &Subject::client("backstay-admin", &["system:masters"]), now)?;
        Ok(Self { authority, server, admin })
    }
}

/// The names of the pairs that servers of one store must have in common, so that each knows whom the others vouch for:
/// the authority, and the key of tokens.
pub const SHARED: [&str; 2] = ["ca", "tokens"];

/// What a server proposes to share under a name: the pair that it has, else a new one.
///
/// # Errors
/// As [`Pki::open`].
pub fn proposed(dir: &Path, name: &str, now: Timestamp) -> Result<Pair, PkiError> {
    match files::load(dir, name)? {
        Some(pair) => Ok(pair),
        None => Ok(Authority::generate(now, CA_DAYS)?.pair().clone()),
    }
}

/// Keeps the pair that servers have agreed on.
///
/// # Errors
/// If there is another one already: clients trust it.
pub fn agree(dir: &Path, name: &str, agreed: &Pair) -> Result<(), PkiError> {
    files::private_dir(dir)?;
    match files::load(dir, name)? {
        Some(held) if held.certificate_pem == agreed.certificate_pem => Ok(()),
        Some(_) => Err(PkiError::Broken {
            path: dir.join(format!("{name}.crt")),
            what: "the servers of this store have agreed on another".into(),
        }),
        None => files::store(dir, name, agreed),
    }
}

/// The pair of that name; the first time, a new one that is kept.
pub fn open_pair(dir: &Path, name: &str, make: impl FnOnce() -> Result<Pair, PkiError>) -> Result<Pair, PkiError> {
    files::private_dir(dir)?;
    if let Some(pair) = files::load(dir, name)? {
        return Ok(pair);
    }
    let pair = make()?;
    files::store(dir, name, &pair)?;
    Ok(pair)
}

/// The leaf of that name: the one on disk if it still fits, else a new one.
fn leaf(dir: &Path, name: &str, authority: &Authority, subject: &Subject, now: Timestamp) -> Result<Pair, PkiError> {
    if let Some(pair) = files::load(dir, name)? {
        let renew_before = now + (LEAF_DAYS / 3 * 24).hours();
        let fits = authority
            .still_vouches_for(&pair, subject, renew_before)
            .map_err(|what| PkiError::Broken { path: dir.join(format!("{name}.crt")), what })?;
        if fits {
            return Ok(pair);
        }
    }
    let pair = authority.issue(subject, now, LEAF_DAYS)?;
    files::store(dir, name, &pair)?;
    Ok(pair)
}

fn broken(dir: &Path, file: &str, error: rcgen::Error) -> PkiError {
    PkiError::Broken { path: dir.join(file), what: error.to_string() }
}

/// The names under which a server listening on `listen` is reached: loopback, the address itself, the host's name, and
/// the service names that in-cluster clients use.
pub fn server_hosts(listen: IpAddr, host_name: &str) -> Vec<String> {
    let mut hosts: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(String::from).to_vec();
    hosts.extend(["kubernetes", "kubernetes.default", "kubernetes.default.svc"].map(String::from));
    if !host_name.is_empty() {
        hosts.push(host_name.to_string());
    }
    if !listen.is_unspecified() {
        hosts.push(listen.to_string());
    }
    hosts.sort();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn hosts(extra: &str) -> Vec<String> {
        server_hosts("127.0.0.1".parse().expect("an address"), extra)
    }

    #[test]
    fn keeps_what_fits_and_renews_what_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let now = at("2026-01-01T00:00:00Z");
        let first = Pki::open(dir.path(), &hosts("a"), now).expect("made");
        let again = Pki::open(dir.path(), &hosts("a"), now).expect("loaded");
        assert_eq!(first.server.certificate_pem, again.server.certificate_pem);
        assert_eq!(first.authority.pair().certificate_pem, again.authority.pair().certificate_pem);

        let renamed = Pki::open(dir.path(), &hosts("b"), now).expect("renewed for a new host name");
        assert_ne!(first.server.certificate_pem, renamed.server.certificate_pem);
        assert_eq!(first.admin.certificate_pem, renamed.admin.certificate_pem);

        let later = Pki::open(dir.path(), &hosts("b"), at("2026-12-01T00:00:00Z")).expect("renewed in time");
        assert_ne!(renamed.admin.certificate_pem, later.admin.certificate_pem);
        assert_eq!(first.authority.pair().certificate_pem, later.authority.pair().certificate_pem);
    }

    #[test]
    fn a_broken_file_is_an_error() {
        let dir = tempfile::tempdir().expect("a directory");
        let now = at("2026-01-01T00:00:00Z");
        Pki::open(dir.path(), &hosts(""), now).expect("made");
        std::fs::write(dir.path().join("ca.crt"), "garbage").expect("written");
        let error = Pki::open(dir.path(), &hosts(""), now).err().expect("refused");
        assert!(error.to_string().contains("ca.crt is not a usable certificate"), "{error}");
    }

    #[test]
    fn servers_agree_on_one_authority() {
        let (one, two) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let now = at("2026-01-01T00:00:00Z");
        let agreed = proposed(one.path(), "ca", now).expect("a new one");
        for dir in [&one, &two, &one] {
            agree(dir.path(), "ca", &agreed).expect("kept");
            assert_eq!(proposed(dir.path(), "ca", now).expect("loaded").certificate_pem, agreed.certificate_pem);
        }
        let opened = Pki::open(two.path(), &hosts(""), now).expect("opened");
        assert_eq!(opened.authority.pair().certificate_pem, agreed.certificate_pem);
        let other = Authority::generate(now, CA_DAYS).expect("another").pair().clone();
        let error = agree(two.path(), "ca", &other).expect_err("refused");
        assert!(error.to_string().contains("have agreed on another"), "{error}");
    }

    #[test]
    fn keys_are_private() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a directory");
        Pki::open(dir.path(), &hosts(""), at("2026-01-01T00:00:00Z")).expect("made");
        for key in ["ca.key", "server.key", "admin.key"] {
            let mode = std::fs::metadata(dir.path().join(key)).expect("there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }
}
