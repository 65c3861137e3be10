//! Service account tokens: JSON Web Tokens that the server signs and recognises.
//!
//! Signed with ECDSA P-256 (ES256) by a key of their own, so that tokens and certificates can be revoked apart. Claims
//! are those of Kubernetes' bound tokens, so that any client library can read them.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};

use crate::identity::UserInfo;
use crate::pki::{self, Pair, PkiError};

/// The issuer, and the audience when none is asked for.
pub const ISSUER: &str = "https://kubernetes.default.svc";
/// How long a token lasts when nobody says, and at least and at most, in seconds.
pub const LIFETIME_DEFAULT: i64 = 3600;
pub const LIFETIME_MIN: i64 = 600;
pub const LIFETIME_MAX: i64 = 1 << 32;

/// An object that a token names: a service account, or what the token is bound to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub uid: String,
}

/// The claim `kubernetes.io`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Binding {
    pub namespace: String,
    pub serviceaccount: Reference,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Reference>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Reference>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub iss: String,
    pub sub: String,
    pub aud: Vec<String>,
    /// Seconds since 1970.
    pub exp: i64,
    pub iat: i64,
    pub nbf: i64,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub binding: Binding,
}

impl Claims {
    pub fn new(binding: Binding, audiences: Vec<String>, lifetime: i64, id: String, now: Timestamp) -> Self {
        let issued = now.as_second();
        Self {
            iss: ISSUER.into(),
            sub: format!("system:serviceaccount:{}:{}", binding.namespace, binding.serviceaccount.name),
            aud: if audiences.is_empty() { vec![ISSUER.into()] } else { audiences },
            exp: issued + lifetime.clamp(LIFETIME_MIN, LIFETIME_MAX),
            iat: issued,
            nbf: issued,
            jti: id,
            binding,
        }
    }

    /// The user that the bearer is: the service account, with what the token is bound to as extra.
    pub fn user(&self) -> UserInfo {
        let namespace = &self.binding.namespace;
        let everyone = ["system:serviceaccounts".to_string(), format!("system:serviceaccounts:{namespace}")];
        let groups: Vec<&str> = everyone.iter().map(String::as_str).collect();
        let mut extra = BTreeMap::new();
        let mut tell = |key: &str, value: String| {
            extra.insert(format!("authentication.kubernetes.io/{key}"), vec![value]);
        };
        tell("credential-id", format!("JTI={}", self.jti));
        for (what, bound) in [("pod", &self.binding.pod), ("node", &self.binding.node)] {
            if let Some(bound) = bound {
                tell(&format!("{what}-name"), bound.name.clone());
                tell(&format!("{what}-uid"), bound.uid.clone());
            }
        }
        UserInfo { uid: self.binding.serviceaccount.uid.clone(), extra, ..UserInfo::new(&self.sub, &groups) }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    #[error("the token cannot be signed")]
    Sign(#[source] jsonwebtoken::errors::Error),
    #[error("not a token of this server, or changed on the way")]
    Invalid(#[source] jsonwebtoken::errors::Error),
    #[error("the token has expired")]
    Expired,
    #[error("the token is for {found:?}, not for {asked:?}")]
    Audience { found: Vec<String>, asked: Vec<String> },
}

/// Signs and verifies.
pub struct Signer {
    sign: EncodingKey,
    verify: DecodingKey,
}

impl Signer {
    /// Loads the signing key (`tokens.key`, beside the certificates), or makes one.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Self, PkiError> {
        // A self-signed pair is the simplest way to keep the public half beside the private one.
        let pair = pki::open_pair(dir, "tokens", || Ok(pki::Authority::generate(now, 3650)?.pair().clone()))?;
        Self::of(&pair).map_err(|what| PkiError::Broken { path: dir.join("tokens.key"), what })
    }

    fn of(pair: &Pair) -> Result<Self, String> {
        let text = |error: jsonwebtoken::errors::Error| error.to_string();
        let sign = EncodingKey::from_ec_pem(pair.key_pem.as_bytes()).map_err(text)?;
        let public = pki::public_key_pem(pair)?;
        let verify = DecodingKey::from_ec_pem(public.as_bytes()).map_err(text)?;
        Ok(Self { sign, verify })
    }

    pub fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        jsonwebtoken::encode(&Header::new(Algorithm::ES256), claims, &self.sign).map_err(TokenError::Sign)
    }

    /// The claims of a token that this server signed, that is still valid, and that is for one of these audiences
    /// (none: for the server itself).
    pub fn verify(&self, token: &str, audiences: &[String], now: Timestamp) -> Result<Claims, TokenError> {
        let mut rules = Validation::new(Algorithm::ES256);
        // Time comes from our own clock, the audience is checked below.
        (rules.validate_exp, rules.validate_nbf, rules.validate_aud) = (false, false, false);
        rules.set_issuer(&[ISSUER]);
        let claims = jsonwebtoken::decode::<Claims>(token, &self.verify, &rules).map_err(TokenError::Invalid)?.claims;
        if claims.exp <= now.as_second() || claims.nbf > now.as_second() + 60 {
            return Err(TokenError::Expired);
        }
        let own = [ISSUER.to_string()];
        let asked = if audiences.is_empty() { &own } else { audiences };
        match asked.iter().any(|audience| claims.aud.contains(audience)) {
            true => Ok(claims),
            false => Err(TokenError::Audience { found: claims.aud, asked: asked.to_vec() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn claims(audiences: &[&str]) -> Claims {
        let account = Reference { name: "agent".into(), uid: "u".into() };
        let pod = Some(Reference { name: "p".into(), uid: "pu".into() });
        let binding = Binding { namespace: "ns".into(), serviceaccount: account, pod, ..Binding::default() };
        Claims::new(binding, audiences.iter().map(|one| one.to_string()).collect(), 600, "id".into(), at(1000))
    }

    #[test]
    fn what_is_signed_is_recognised_by_the_same_key_only() {
        let (dir, other) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
        let signer = Signer::open(dir.path(), at(0)).expect("a signer");
        let token = signer.issue(&claims(&[])).expect("signed");
        let again = Signer::open(dir.path(), at(0)).expect("the same key after a restart");
        let found = again.verify(&token, &[], at(1599)).expect("valid");
        assert_eq!(found, claims(&[]));
        assert_eq!(found.user().name, "system:serviceaccount:ns:agent");
        assert!(found.user().is_in("system:serviceaccounts:ns") && found.user().is_in("system:authenticated"));
        let stranger = Signer::open(other.path(), at(0)).expect("a signer");
        assert!(matches!(stranger.verify(&token, &[], at(1599)), Err(TokenError::Invalid(_))));
        let (head, tail) = token.rsplit_once('.').expect("three parts");
        let changed = format!("{head}x.{tail}");
        assert!(matches!(again.verify(&changed, &[], at(1599)), Err(TokenError::Invalid(_))));
        assert!(matches!(again.verify("garbage", &[], at(1599)), Err(TokenError::Invalid(_))));
    }

    #[test]
    fn time_and_audience_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let signer = Signer::open(dir.path(), at(0)).expect("a signer");
        let token = signer.issue(&claims(&["vault"])).expect("signed");
        assert!(signer.verify(&token, &["vault".into(), "x".into()], at(1599)).is_ok());
        assert!(matches!(signer.verify(&token, &["vault".into()], at(1600)), Err(TokenError::Expired)));
        assert!(matches!(signer.verify(&token, &[], at(1001)), Err(TokenError::Audience { .. })));
    }
}
