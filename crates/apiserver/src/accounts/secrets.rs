//! Secrets of type `kubernetes.io/service-account-token`: filled with a token that has no end, and gone together with
//! their service account. Source: `k8s.io/kubernetes/pkg/controller/serviceaccount` `TokensController`.

use backstay_api::{Pairs, Status, decode, meta};
use backstay_store::{Key, Range};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{Change, change};
use crate::encode;
use crate::server::Core;
use crate::tokens::{Reference, Signer};

const TYPE: &str = "kubernetes.io/service-account-token";
const ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const ACCOUNT_UID: &str = "kubernetes.io/service-account.uid";

/// All such secrets.
pub fn range() -> Range {
    Range::all("secrets").with_field("type", TYPE)
}

/// Completes all such secrets.
pub async fn fill_all(core: &Core) -> Result<(), Status> {
    fill_within(core, &Range::all("secrets")).await
}

/// Deletes the secrets of this namespace whose account is gone.
pub async fn drop_orphans(core: &Core, namespace: &str) -> Result<(), Status> {
    fill_within(core, &Range::within("secrets", namespace)).await
}

async fn fill_within(core: &Core, range: &Range) -> Result<(), Status> {
    for secret in core.store.snapshot().list(range, None, 0) {
        if is_ours(&secret.index.fields) {
            fill(core, &secret.key.namespace, &secret.key.name).await?;
        }
    }
    Ok(())
}

/// Whether an entry is of the type; its fields tell, so that others need not be parsed.
fn is_ours(fields: &Pairs) -> bool {
    fields.get("type") == Some(TYPE)
}

/// Completes a secret if it is to hold a token; deletes it if there is no such account.
pub async fn fill(core: &Core, namespace: &str, name: &str) -> Result<(), Status> {
    let (Some(signer), Some(accounts)) = (&core.tokens, &core.accounts) else { return Ok(()) };
    let key = Key::new("secrets", namespace, name);
    let ours = core.store.snapshot().get(&key).is_some_and(|entry| is_ours(&entry.index.fields));
    if !ours {
        return Ok(());
    }
    change(core, &key, |secret| {
        let Some(account) = account_of(core, namespace, secret) else { return Change::Delete };
        match complete(signer, accounts.root_ca.as_deref(), secret, &account) {
            true => Change::Write,
            false => Change::Keep,
        }
    })
    .await
}

/// The account that a secret names, if it is still the same one.
fn account_of(core: &Core, namespace: &str, secret: &Value) -> Option<Reference> {
    let name = meta::annotation(secret, ACCOUNT_NAME)?;
    let account = encode::parse(&*core.store.snapshot().get(&Key::new("serviceaccounts", namespace, name))?);
    let uid = meta::uid(&account);
    let wanted = meta::annotation(secret, ACCOUNT_UID).unwrap_or_default();
    (wanted.is_empty() || wanted == uid).then(|| Reference { name: name.into(), uid: uid.into() })
}

/// Writes what the secret lacks; whether it lacked anything.
fn complete(signer: &Signer, root_ca: Option<&str>, secret: &mut Value, account: &Reference) -> bool {
    let before = secret.clone();
    let namespace = meta::namespace(secret).unwrap_or_default().to_string();
    meta::map_mut(secret, &["metadata", "annotations"]).insert(ACCOUNT_UID.into(), json!(account.uid));
    let token = decode::base64_bytes(meta::str_at(secret, &["data", "token"])).unwrap_or_default();
    let issued = token.is_empty().then(|| signer.issue_legacy(&namespace, meta::name(secret), account));
    let data = meta::map_mut(secret, &["data"]);
    let mut put = |key: &str, text: &str| data.insert(key.into(), json!(STANDARD.encode(text)));
    put("namespace", &namespace);
    if let Some(pem) = root_ca {
        put("ca.crt", pem);
    }
    match issued {
        Some(Ok(token)) => drop(put("token", &token)),
        Some(Err(error)) => tracing::warn!(%error, namespace, "a secret gets no token"),
        None => {}
    }
    *secret != before
}
