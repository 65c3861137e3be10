//! Who sends a request: whoever the listener's owner says, else the holder of a client certificate, else the bearer of
//! a token (of a service account, or one to join with), else nobody. Credentials that are shown and do not hold are
//! refused, never ignored.
//!
//! Source: `k8s.io/apiserver` `pkg/authentication/request/{union,x509,bearertoken}`.

pub mod bearer;
pub mod bootstrap_token;
pub mod known;

use std::sync::Arc;

use backstay_api::{Reason, Status};
use http::header::AUTHORIZATION;
use http::request::Parts;
use jiff::Timestamp;

use crate::UserInfo;
use crate::server::Core;

/// What the listener has found out about the certificate of the other side; among a request's extensions.
#[derive(Clone, Debug)]
pub enum Peer {
    /// Our authority vouches for it until then. Nobody: it names no user.
    Vouched { user: Option<Arc<UserInfo>>, until: Timestamp },
    /// It is somebody else's, has expired, or is not for clients.
    Refused,
}

/// The sender of a request.
///
/// # Errors
/// `Unauthorized` if credentials are shown and none of them holds.
pub fn authenticate(core: &Core, head: &Parts) -> Result<Arc<UserInfo>, Status> {
    if let Some(user) = head.extensions.get::<Arc<UserInfo>>() {
        return Ok(user.clone());
    }
    let is_refused = match head.extensions.get::<Peer>() {
        Some(Peer::Vouched { user: Some(user), until }) if core.clock.now() < *until => return Ok(user.clone()),
        Some(Peer::Vouched { user: None, until }) => core.clock.now() >= *until,
        Some(_) => true,
        None => false,
    };
    let header = head.headers.get(AUTHORIZATION).map(|value| value.as_bytes()).unwrap_or_default();
    match token_of(header) {
        Some(token) if bootstrap_token::parts(token).is_some() => {
            bootstrap_token::user(core, token).map(Arc::new).ok_or_else(unauthorized)
        }
        Some(token) => bearer::user(core, token, &[]).map(|(user, _)| user).map_err(|error| {
            tracing::debug!(error = %error.chain(), "a bearer token was refused");
            unauthorized()
        }),
        None if is_refused => Err(unauthorized()),
        None => Ok(core.nobody.clone()),
    }
}

/// The token of an `Authorization: Bearer` header. Other schemes, and bearers of nothing, show no credentials.
fn token_of(header: &[u8]) -> Option<&str> {
    let mut words = std::str::from_utf8(header).ok()?.trim().splitn(3, ' ');
    let is_bearer = words.next()?.eq_ignore_ascii_case("bearer");
    words.next().filter(|token| is_bearer && !token.is_empty())
}

fn unauthorized() -> Status {
    Status::new(Reason::Unauthorized, "Unauthorized")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_token_is() {
        let check =
            |header: &str, expected: Option<&str>| assert_eq!(token_of(header.as_bytes()), expected, "{header}");
        check("Bearer abc", Some("abc"));
        check("  bEaReR abc  more", Some("abc"));
        check("Bearer", None);
        check("Bearer  abc", None);
        check("Basic YTpi", None);
        check("", None);
        assert_eq!(token_of(b"Bearer \xff"), None);
    }
}
