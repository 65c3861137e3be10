//! How a machine becomes a node of a fleet, and stays one.
//!
//! It knows the servers by their authority, or by the hash of the authority's key ([`discover`]); shows a token once, to ask
//! for a certificate of its own ([`fn@join`]); keeps that ([`Credentials`]) and forgets the token; and renews it well
//! before it runs out.

mod credentials;
mod discover;
mod request;

use thiserror::Error;

pub use credentials::Credentials;
pub(crate) use discover::host_and_port;
pub use discover::{Hash, addresses, discover};
pub use request::{join, renew, renew_at};

#[derive(Debug, Error)]
pub enum JoinError {
    #[error("{0:?} is not the address of a server: write it as https://HOST:PORT")]
    Address(String),
    #[error("{0:?} is not a hash: write it as sha256: and 64 hexadecimal digits")]
    Hash(String),
    #[error("cannot reach the server {server}")]
    Unreachable { server: String, source: std::io::Error },
    #[error("the server {server} is not the one that is meant: {why}; the token was not shown to it")]
    Stranger { server: String, why: String },
    #[error("the certificate authority cannot be used: {0}")]
    Authority(String),
    #[error(
        "the server does not accept the token: it is wrong, has expired, or was revoked; make another with `backstay token create`"
    )]
    Token,
    #[error("the server has refused to make this machine a node: {0}")]
    Denied(String),
    #[error("the server cannot be asked for a certificate")]
    Ask(#[from] kube::Error),
    #[error("cannot make a key for this machine: {0}")]
    Key(String),
    #[error("what is kept in {path} cannot be used: {why}; remove it, and join again with a token")]
    Kept { path: std::path::PathBuf, why: String },
    #[error("cannot write {path}")]
    Write { path: std::path::PathBuf, source: std::io::Error },
}
