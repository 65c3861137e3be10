//! Tokens of service accounts, held against the objects that they name: a token ends with its account, and with the
//! pod, the secret or the node that it is bound to. Source: `k8s.io/kubernetes/pkg/serviceaccount`.

use std::sync::Arc;

use backstay_api::{decode, meta};
use backstay_store::Key;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::known::Token;
use crate::UserInfo;
use crate::encode;
use crate::server::Core;
use crate::tokens::{Binding, Reference, Signer, TokenError};

/// How long a token outlives the deletion of what it is bound to, so that a pod can end in order. Source:
/// `deletionTimestamp` checks of the bound token validator.
const LEEWAY: SignedDuration = SignedDuration::from_secs(60);

/// Why a token is not accepted, in Kubernetes' words.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    #[error("this server knows no tokens")]
    NoTokens,
    #[error(transparent)]
    Token(#[from] TokenError),
    /// What it was issued for is gone, or has been made anew.
    #[error("service account token has been invalidated")]
    Invalidated,
}

impl Refusal {
    /// As a TokenReview tells it.
    pub fn review(&self) -> String {
        match self {
            Refusal::NoTokens | Refusal::Token(TokenError::Invalid(_) | TokenError::Foreign) => {
                "invalid bearer token".into()
            }
            other => format!("[invalid bearer token, {other}]"),
        }
    }

    /// With its cause, for the log.
    pub fn chain(&self) -> String {
        match self {
            Refusal::Token(TokenError::Invalid(cause)) => format!("{self}: {cause}"),
            _ => self.to_string(),
        }
    }
}

/// The bearer of a token that is for one of these audiences (none: for the server itself), and those it is for.
///
/// # Errors
/// Why the token is not accepted.
pub fn user(core: &Core, token: &str, audiences: &[String]) -> Result<(Arc<UserInfo>, Vec<String>), Refusal> {
    let signer: &Signer = core.tokens.as_deref().ok_or(Refusal::NoTokens)?;
    let now = core.clock.now();
    let known = core.known_tokens.get(token, || signer.read(token).map(Token::new))?;
    let claims = &known.claims;
    let shared = claims.check(audiences, now)?;
    let holder = Holder { core, token: &known, now };
    let lives = match claims.is_legacy() {
        true => holder.account() && holder.secret_keeps(token),
        false => holder.account() && holder.bound(),
    };
    if !lives {
        return Err(Refusal::Invalidated);
    }
    Ok((known.user.clone(), shared))
}

/// The objects behind a token.
struct Holder<'a> {
    core: &'a Core,
    token: &'a Token,
    now: Timestamp,
}

impl Holder<'_> {
    fn account(&self) -> bool {
        let Binding { namespace, serviceaccount, .. } = &self.token.claims.binding;
        self.lives("serviceaccounts", namespace, serviceaccount)
    }

    /// A pod's token names its node too, but lives as long as the pod.
    fn bound(&self) -> bool {
        let Binding { namespace, pod, secret, node, .. } = &self.token.claims.binding;
        let holds = |plural: &'static str, namespace: &str, bound: &Option<Reference>| {
            bound.as_ref().is_none_or(|bound| self.lives(plural, namespace, bound))
        };
        holds("pods", namespace, pod)
            && holds("secrets", namespace, secret)
            && (pod.is_some() || holds("nodes", "", node))
    }

    fn lives(&self, plural: &'static str, namespace: &str, wanted: &Reference) -> bool {
        self.is_kept_by(plural, namespace, &wanted.name, |found| {
            meta::uid(found) == wanted.uid && !self.is_long_gone(found)
        })
    }

    fn is_long_gone(&self, object: &Value) -> bool {
        let deleted = meta::str_at(object, &["metadata", "deletionTimestamp"]).parse::<Timestamp>();
        deleted.is_ok_and(|deleted| deleted + LEEWAY < self.now)
    }

    /// A token without an end is good only while its secret holds it.
    fn secret_keeps(&self, token: &str) -> bool {
        let Binding { namespace, secret, .. } = &self.token.claims.binding;
        let Some(secret) = secret else { return false };
        self.is_kept_by("secrets", namespace, &secret.name, |found| {
            let kept = decode::base64_bytes(meta::str_at(found, &["data", "token"])).unwrap_or_default();
            !meta::is_being_deleted(found) && kept == token.as_bytes()
        })
    }

    /// Whether an object keeps the token alive. A state of it that has done so is not looked at again, unless it is
    /// being deleted: then time decides.
    fn is_kept_by(&self, plural: &'static str, namespace: &str, name: &str, keeps: impl Fn(&Value) -> bool) -> bool {
        let Some(entry) = self.core.store.snapshot().get(&Key::new(plural, namespace, name)) else { return false };
        if self.token.is_kept_by(plural, entry.revision) {
            return true;
        }
        let object = encode::parse(&entry);
        let is_kept = keeps(&object);
        if is_kept && !meta::is_being_deleted(&object) {
            self.token.kept_by(plural, entry.revision);
        }
        is_kept
    }
}
