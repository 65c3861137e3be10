//! What the `ServiceAccount` admission relies on in every namespace: the account `default`, and the ConfigMap with the
//! certificate by which pods recognise this server. Made together with the namespace, and again when they are deleted.
//!
//! Kubernetes has controllers for this; here a pod can be created as soon as its namespace is.

use backstay_api::{Status, meta, strategy};
use backstay_store::{Key, Operation, Range, StoreError};
use serde_json::{Value, json};

use crate::catalog::Served;
use crate::encode;
use crate::registry::{metadata, store_failure};
use crate::server::Core;

pub const DEFAULT: &str = "default";
pub const ROOT_CA: &str = "kube-root-ca.crt";

/// What every namespace gets.
#[derive(Clone, Debug, Default)]
pub struct Accounts {
    /// The certificate authority of the server, PEM; without one there is no ConfigMap.
    pub root_ca: Option<String>,
}

/// Completes every namespace.
pub async fn ensure_everywhere(core: &Core) -> Result<(), Status> {
    for namespace in core.store.snapshot().list(&Range::all("namespaces"), None, 0) {
        ensure(core, &namespace.key.name).await?;
    }
    Ok(())
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
        let data = json!({ "data": { "ca.crt": pem } });
        create(core, "configmaps", namespace, ROOT_CA, data).await?;
    }
    Ok(())
}

/// Whether an object of this place is one of those that come back.
pub fn is_ours(served: &Served, name: &str) -> bool {
    (served.is("", "serviceaccounts") && name == DEFAULT) || (served.is("", "configmaps") && name == ROOT_CA)
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
