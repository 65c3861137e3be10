//! Service account tokens: JSON Web Tokens that the server signs and recognises.
//!
//! Signed with ECDSA P-256 (ES256) by a key of their own, so that tokens and certificates can be revoked apart. Claims
//! are those of Kubernetes' bound tokens, so that any client library can read them.

use std::collections::BTreeMap;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::authz::quoted;
use crate::identity::UserInfo;
use crate::pki::{self, Pair, PkiError};

/// The issuer, and the audience when none is asked for.
pub const ISSUER: &str = "https://kubernetes.default.svc";
/// The issuer of tokens that lie in secrets and have no end. Source: `serviceaccount.LegacyIssuer`.
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
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

    /// Whether it is the token of a secret, which has no end and no audience.
    pub fn is_legacy(&self) -> bool {
        self.iss == LEGACY_ISSUER
    }

    /// Which of these audiences (none: the server itself) it is for, if it is valid now.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check(&self, audiences: &[String], now: Timestamp) -> Result<Vec<String>, TokenError> {
        if self.exp <= now.as_second() {
            return Err(TokenError::Expired);
        }
        if self.nbf > now.as_second() + 60 {
            return Err(TokenError::NotYet);
        }
        let own = [ISSUER.to_string()];
        let asked = if audiences.is_empty() { &own } else { audiences };
        let shared: Vec<String> = asked.iter().filter(|audience| self.aud.contains(audience)).cloned().collect();
        match shared.is_empty() {
            false => Ok(shared),
            true => Err(TokenError::Audience { found: self.aud.clone(), asked: asked.to_vec() }),
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
        if !self.jti.is_empty() {
            tell("credential-id", format!("JTI={}", self.jti));
        }
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
    #[error("signed by this server, but not a token of a service account")]
    Foreign,
    #[error("service account token has expired")]
    Expired,
    #[error("service account token is not valid yet")]
    NotYet,
    #[error("token audiences {} is invalid for the target audiences {}", quoted(found), quoted(asked))]
    Audience { found: Vec<String>, asked: Vec<String> },
}

/// A token without an end, as a secret holds it: its claims have names of their own.
#[derive(Debug, Serialize, Deserialize)]
struct LegacyClaims {
    iss: String,
    sub: String,
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    uid: String,
}

impl From<LegacyClaims> for Claims {
    fn from(legacy: LegacyClaims) -> Self {
        let binding = Binding {
            namespace: legacy.namespace,
            serviceaccount: Reference { name: legacy.account, uid: legacy.uid },
            secret: Some(Reference { name: legacy.secret, uid: String::new() }),
            ..Binding::default()
        };
        let aud = vec![ISSUER.into()];
        let (iss, sub) = (legacy.iss, legacy.sub);
        Claims { iss, sub, aud, exp: i64::MAX, iat: 0, nbf: 0, jti: String::new(), binding }
    }
}

/// Signs and verifies.
pub struct Signer {
    sign: EncodingKey,
    verify: DecodingKey,
    /// Tells keys apart: a hash of the public half.
    id: String,
    /// The public half as a JSON Web Key.
    public: Value,
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
        let public = pki::public_key(pair)?;
        let verify = DecodingKey::from_ec_pem(public.pem.as_bytes()).map_err(text)?;
        let id = URL_SAFE_NO_PAD.encode(Sha256::digest(&public.der));
        let public = web_key(&public.point, &id).ok_or("not a key of the curve P-256")?;
        Ok(Self { sign, verify, id, public })
    }

    /// The keys by which others recognise our tokens (a JSON Web Key Set).
    pub fn key_set(&self) -> Value {
        json!({ "keys": [self.public] })
    }

    pub fn issue(&self, claims: &Claims) -> Result<String, TokenError> {
        self.sign(claims)
    }

    /// A token without an end for a secret to hold.
    pub fn issue_legacy(&self, namespace: &str, secret: &str, account: &Reference) -> Result<String, TokenError> {
        self.sign(&LegacyClaims {
            iss: LEGACY_ISSUER.into(),
            sub: format!("system:serviceaccount:{namespace}:{}", account.name),
            namespace: namespace.into(),
            secret: secret.into(),
            account: account.name.clone(),
            uid: account.uid.clone(),
        })
    }

    fn sign(&self, claims: &impl Serialize) -> Result<String, TokenError> {
        let header = Header { kid: Some(self.id.clone()), ..Header::new(Algorithm::ES256) };
        jsonwebtoken::encode(&header, claims, &self.sign).map_err(TokenError::Sign)
    }

    /// The claims of a token that this server signed. It may have ended, and what they name may be gone by now.
    ///
    /// # Errors
    /// Somebody else has signed it, or it says something else.
    pub fn read(&self, token: &str) -> Result<Claims, TokenError> {
        let mut rules = Validation::new(Algorithm::ES256);
        // Issuer, time and audience are ours to check.
        (rules.validate_exp, rules.validate_nbf, rules.validate_aud) = (false, false, false);
        rules.required_spec_claims.clear();
        let signed = jsonwebtoken::decode::<Value>(token, &self.verify, &rules).map_err(TokenError::Invalid)?.claims;
        claims_of(signed).ok_or(TokenError::Foreign)
    }
}

fn claims_of(signed: Value) -> Option<Claims> {
    match signed["iss"].as_str() {
        Some(ISSUER) => serde_json::from_value(signed).ok(),
        Some(LEGACY_ISSUER) => serde_json::from_value::<LegacyClaims>(signed).ok().map(Claims::from),
        _ => None,
    }
}

/// A point of P-256 (`04`, x, y) as a JSON Web Key.
fn web_key(point: &[u8], id: &str) -> Option<Value> {
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
    let [x, y] = [x, y].map(|part| URL_SAFE_NO_PAD.encode(part));
    Some(json!({ "use": "sig", "kty": "EC", "kid": id, "crv": "P-256", "alg": "ES256", "x": x, "y": y }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    fn verify(signer: &Signer, token: &str, audiences: &[&str], now: i64) -> Result<Claims, TokenError> {
        let audiences: Vec<String> = audiences.iter().map(|one| one.to_string()).collect();
        let claims = signer.read(token)?;
        claims.check(&audiences, at(now)).map(|_| claims)
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
        let found = verify(&again, &token, &[], 1599).expect("valid");
        assert_eq!(found, claims(&[]));
        assert_eq!(found.user().name, "system:serviceaccount:ns:agent");
        assert!(found.user().is_in("system:serviceaccounts:ns") && found.user().is_in("system:authenticated"));
        let stranger = Signer::open(other.path(), at(0)).expect("a signer");
        assert!(matches!(verify(&stranger, &token, &[], 1599), Err(TokenError::Invalid(_))));
        let (head, tail) = token.rsplit_once('.').expect("three parts");
        let changed = format!("{head}x.{tail}");
        assert!(matches!(verify(&again, &changed, &[], 1599), Err(TokenError::Invalid(_))));
        assert!(matches!(verify(&again, "garbage", &[], 1599), Err(TokenError::Invalid(_))));
    }

    #[test]
    fn time_and_audience_count() {
        let dir = tempfile::tempdir().expect("a directory");
        let signer = Signer::open(dir.path(), at(0)).expect("a signer");
        let token = signer.issue(&claims(&["vault"])).expect("signed");
        assert!(verify(&signer, &token, &["vault", "x"], 1599).is_ok());
        assert!(matches!(verify(&signer, &token, &["vault"], 1600), Err(TokenError::Expired)));
        let wrong = verify(&signer, &token, &[], 1001).expect_err("for somebody else");
        let words =
            r#"token audiences ["vault"] is invalid for the target audiences ["https://kubernetes.default.svc"]"#;
        assert_eq!(wrong.to_string(), words);
        let early = verify(&signer, &token, &["vault"], 900);
        assert!(matches!(early, Err(TokenError::NotYet)));
    }

    #[test]
    fn the_token_of_a_secret_has_no_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let signer = Signer::open(dir.path(), at(0)).expect("a signer");
        let account = Reference { name: "agent".into(), uid: "u".into() };
        let token = signer.issue_legacy("ns", "s", &account).expect("signed");
        let found = verify(&signer, &token, &[], 1 << 33).expect("valid");
        assert!(found.is_legacy() && found.user().extra.is_empty());
        assert_eq!((found.user().name.as_str(), found.user().uid.as_str()), ("system:serviceaccount:ns:agent", "u"));
        assert!(matches!(verify(&signer, &token, &["vault"], 1), Err(TokenError::Audience { .. })));
    }

    #[test]
    fn others_can_check_tokens_with_the_public_half() {
        let dir = tempfile::tempdir().expect("a directory");
        let signer = Signer::open(dir.path(), at(0)).expect("a signer");
        let token = signer.issue(&claims(&["vault"])).expect("signed");
        let set: jsonwebtoken::jwk::JwkSet = serde_json::from_value(signer.key_set()).expect("a key set");
        let id = jsonwebtoken::decode_header(&token).expect("a header").kid.expect("which key");
        let key = DecodingKey::from_jwk(set.find(&id).expect("that key")).expect("usable");
        let mut rules = Validation::new(Algorithm::ES256);
        rules.set_audience(&["vault"]);
        rules.validate_exp = false;
        let read = jsonwebtoken::decode::<Claims>(&token, &key, &rules).expect("recognised").claims;
        assert_eq!(read, claims(&["vault"]));
    }
}
