//! Tokens of service accounts, held against the objects that they name: a token ends with its account, and with the
//! pod, the secret or the node that it is bound to. Source: `k8s.io/kubernetes/pkg/serviceaccount`.

use backstay_api::{decode, meta};
use backstay_store::Key;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::UserInfo;
use crate::encode;
use crate::server::Core;
use crate::tokens::{Binding, Claims, ISSUER, Reference, Signer, TokenError};

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
pub fn user(core: &Core, token: &str, audiences: &[String]) -> Result<(UserInfo, Vec<String>), Refusal> {
    let signer: &Signer = core.tokens.as_deref().ok_or(Refusal::NoTokens)?;
    let now = core.clock.now();
    let claims = signer.verify(token, audiences, now)?;
    let holds = Holder { core, binding: &claims.binding, now };
    let lives = match claims.is_legacy() {
        true => holds.account() && holds.secret_keeps(token),
        false => holds.account() && holds.bound(),
    };
    if !lives {
        return Err(Refusal::Invalidated);
    }
    let own = [ISSUER.to_string()];
    let asked = if audiences.is_empty() { &own } else { audiences };
    let shared = asked.iter().filter(|audience| claims.is_for(audience)).cloned().collect();
    Ok((Claims::user(&claims), shared))
}

/// The objects behind a token.
struct Holder<'a> {
    core: &'a Core,
    binding: &'a Binding,
    now: Timestamp,
}

impl Holder<'_> {
    fn account(&self) -> bool {
        self.lives("serviceaccounts", &self.binding.namespace, &self.binding.serviceaccount)
    }

    /// A pod's token names its node too, but lives as long as the pod.
    fn bound(&self) -> bool {
        let Binding { namespace, pod, secret, node, .. } = self.binding;
        let holds = |plural: &str, namespace: &str, bound: &Option<Reference>| {
            bound.as_ref().is_none_or(|bound| self.lives(plural, namespace, bound))
        };
        holds("pods", namespace, pod)
            && holds("secrets", namespace, secret)
            && (pod.is_some() || holds("nodes", "", node))
    }

    fn lives(&self, plural: &str, namespace: &str, wanted: &Reference) -> bool {
        let found = self.find(plural, namespace, &wanted.name);
        found.is_some_and(|found| meta::uid(&found) == wanted.uid && !self.is_long_gone(&found))
    }

    fn is_long_gone(&self, object: &Value) -> bool {
        let deleted = meta::str_at(object, &["metadata", "deletionTimestamp"]).parse::<Timestamp>();
        deleted.is_ok_and(|deleted| deleted + LEEWAY < self.now)
    }

    /// A token without an end is good only while its secret holds it.
    fn secret_keeps(&self, token: &str) -> bool {
        let Some(secret) = &self.binding.secret else { return false };
        let found = self.find("secrets", &self.binding.namespace, &secret.name);
        found.is_some_and(|found| {
            let kept = decode::base64_bytes(meta::str_at(&found, &["data", "token"])).unwrap_or_default();
            !meta::is_being_deleted(&found) && kept == token.as_bytes()
        })
    }

    fn find(&self, plural: &str, namespace: &str, name: &str) -> Option<Value> {
        let entry = self.core.store.snapshot().get(&Key::new(plural, namespace, name))?;
        Some(encode::parse(&entry))
    }
}
