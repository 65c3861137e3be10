//! What the `ServiceAccount` admission relies on in every namespace: the account `default`, and the ConfigMap with the
//! certificate by which pods recognise this server. Made together with the namespace, and again when they are deleted
//! or, for the certificate, changed; what that leaves undone, [`follow`] finds. Also the tokens that live in secrets, in
//! [`secrets`].
//!
//! Kubernetes has controllers for this; here a pod can be created as soon as its namespace is.

pub mod follow;
mod secrets;

use backstay_api::{Status, meta, strategy};
use backstay_store::{Key, Operation, Range, StoreError};
use serde_json::{Value, json};

use crate::catalog::Served;
use crate::encode;
use crate::registry::{metadata, store_failure};
use crate::server::Core;

/// A write that loses this many races in a row meets somebody who does nothing else.
const ATTEMPTS_MAX: usize = 10;
/// What `kubectl describe` shows of the ConfigMap. Source: `rootcacertpublisher`.
const DESCRIPTION: (&str, &str) = (
    "kubernetes.io/description",
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the \
     internal service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes \
     clusters.",
);

pub const DEFAULT: &str = "default";
pub const ROOT_CA: &str = "kube-root-ca.crt";

/// What every namespace gets.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// The certificate authority of the server, PEM; without one there is no ConfigMap.
    pub root_ca: Option<String>,
}

/// Completes every namespace, and every secret that is to hold a token.
pub async fn ensure_everywhere(core: &Core) -> Result<(), Status> {
    for namespace in core.store.snapshot().list(&Range::all("namespaces"), None, 0) {
        ensure(core, &namespace.key.name).await?;
    }
    secrets::fill_all(core).await
}

/// Does what follows from a write or a delete of this object; nothing for most. What is written is written, whatever
/// comes of this.
pub async fn after(core: &Core, served: &Served, namespace: &str, name: &str) {
    if !served.resource.group.is_empty() {
        return;
    }
    if let Err(status) = settle(core, &served.resource.plural, namespace, name).await {
        let (error, kind) = (status.message(), &served.resource.kind);
        tracing::warn!(error, kind, namespace, name, "what belongs to this object is not there yet; will try again");
    }
}

/// Makes what this object of the core group asks for.
async fn settle(core: &Core, plural: &str, namespace: &str, name: &str) -> Result<(), Status> {
    if core.accounts.is_none() {
        return Ok(());
    }
    match plural {
        "namespaces" => ensure(core, name).await,
        "configmaps" if name == ROOT_CA => ensure(core, namespace).await,
        "secrets" => secrets::fill(core, namespace, name).await,
        "serviceaccounts" => {
            if name == DEFAULT {
                ensure(core, namespace).await?;
            }
            secrets::drop_orphans(core, namespace).await
        }
        _ => Ok(()),
    }
}

/// Completes a namespace, if it lives and this server looks after accounts.
pub async fn ensure(core: &Core, namespace: &str) -> Result<(), Status> {
    let Some(accounts) = &core.accounts else { return Ok(()) };
    let lives = core
        .store
        .snapshot()
        .get(&Key::new("namespaces", "", namespace))
        .is_some_and(|entry| !meta::is_being_deleted(&encode::parse(&entry)));
    if !lives {
        return Ok(());
    }
    create(core, "serviceaccounts", namespace, DEFAULT, json!({})).await?;
    if let Some(pem) = &accounts.root_ca {
        let data = json!({ "ca.crt": pem });
        let annotations = json!({ DESCRIPTION.0: DESCRIPTION.1 });
        let object = json!({ "metadata": { "annotations": annotations }, "data": data });
        create(core, "configmaps", namespace, ROOT_CA, object).await?;
        change(core, &Key::new("configmaps", namespace, ROOT_CA), |stored| publish(stored, &data)).await?;
    }
    Ok(())
}

/// Puts the certificate back if somebody has taken it out or changed it.
fn publish(config_map: &mut Value, data: &Value) -> Change {
    let described = meta::annotation(config_map, DESCRIPTION.0).is_some_and(|text| !text.is_empty());
    if described && config_map.get("data") == Some(data) {
        return Change::Keep;
    }
    meta::map_mut(config_map, &["metadata", "annotations"]).insert(DESCRIPTION.0.into(), json!(DESCRIPTION.1));
    meta::map_mut(config_map, &[]).insert("data".into(), data.clone());
    Change::Write
}

async fn create(core: &Core, plural: &str, namespace: &str, name: &str, mut object: Value) -> Result<(), Status> {
    let Some(served) = core.catalog.find("", "v1", plural) else { return Ok(()) };
    let key = Key::new(served.storage(), namespace, name);
    if core.store.snapshot().get(&key).is_some() {
        return Ok(());
    }
    let fields = meta::map_mut(&mut object, &[]);
    fields.insert("apiVersion".into(), json!("v1"));
    fields.insert("kind".into(), json!(served.resource.kind));
    meta::set_meta(&mut object, "name", name);
    meta::set_meta(&mut object, "namespace", namespace);
    metadata::begin(&mut object, core.clock.now(), core.entropy.uuid());
    served.apply_defaults(&mut object);
    strategy::prepare_for_create(&served.resource, &mut object);
    let value = served.encode(&object);
    match core.store.commit(key, Operation::Create { value }).await {
        Ok(_) | Err(StoreError::Exists { .. }) => Ok(()),
        Err(error) => Err(store_failure(&error)),
    }
}

/// What is to become of an object.
enum Change {
    Keep,
    Write,
    Delete,
}

/// Looks at an object of a built-in kind, and writes or deletes it if that is wanted; one that is gone stays gone.
async fn change(core: &Core, key: &Key, decide: impl Fn(&mut Value) -> Change) -> Result<(), Status> {
    let Some(served) = core.catalog.find("", "v1", &key.resource) else { return Ok(()) };
    for _ in 0..ATTEMPTS_MAX {
        let Some(entry) = core.store.snapshot().get(key) else { return Ok(()) };
        let mut object = encode::parse(&entry);
        if meta::is_being_deleted(&object) {
            return Ok(());
        }
        let operation = match decide(&mut object) {
            Change::Keep => return Ok(()),
            Change::Write => Operation::Update { value: served.encode(&object), expected: entry.revision },
            Change::Delete => Operation::Delete { last: served.encode(&object), expected: entry.revision },
        };
        match core.store.commit(key.clone(), operation).await {
            Ok(_) | Err(StoreError::NotFound { .. }) => return Ok(()),
            Err(StoreError::Conflict { .. }) => continue,
            Err(error) => return Err(store_failure(&error)),
        }
    }
    // Whoever keeps changing it has us look at it again each time.
    Ok(())
}
