//! The store that a control plane was asked to use, and what its servers have in common.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use backstay_api::Entropy;
use backstay_apiserver::pki::{self, Pair};
use backstay_store::{EmbeddedStore, Store};
use backstay_store_etcd::{EtcdConfig, EtcdStore};
use jiff::Timestamp;

use crate::args::{ControlPlaneArgs, EtcdArgs, StoreKind};

/// Opens it. With etcd, also sees to it that `DATA_DIR/pki` holds what all servers share.
pub async fn open(
    args: &ControlPlaneArgs,
    data_dir: &Path,
    entropy: Entropy,
    now: Timestamp,
) -> Result<Arc<dyn Store>> {
    match args.store {
        StoreKind::Embedded if !args.etcd.is_empty() => {
            bail!("--etcd-endpoints and its like are of no use to the embedded store: add --store etcd")
        }
        StoreKind::Embedded => embedded(data_dir.join("store")).await,
        StoreKind::Etcd => {
            let store = EtcdStore::open(&config(&args.etcd)?, entropy).await?;
            agree(&store, &data_dir.join("pki"), now).await?;
            Ok(Arc::new(store))
        }
    }
}

/// Reading everything takes a moment, and blocks.
async fn embedded(directory: PathBuf) -> Result<Arc<dyn Store>> {
    let store = tokio::task::spawn_blocking(move || EmbeddedStore::open(directory)).await??;
    Ok(Arc::new(store))
}

fn config(args: &EtcdArgs) -> Result<EtcdConfig> {
    let read = |file: &PathBuf| std::fs::read(file).with_context(|| format!("cannot read {}", file.display()));
    let identity = match (&args.cert, &args.key) {
        (Some(certificate), Some(key)) => Some((read(certificate)?, read(key)?)),
        _ => None,
    };
    if args.endpoints.is_empty() {
        bail!("--store etcd needs --etcd-endpoints, such as https://10.0.0.5:2379");
    }
    Ok(EtcdConfig { endpoints: args.endpoints.clone(), ca: args.ca.as_ref().map(read).transpose()?, identity })
}

/// The first server to come decides on the authority and the key of tokens.
async fn agree(store: &EtcdStore, dir: &Path, now: Timestamp) -> Result<()> {
    for name in pki::SHARED {
        let proposed = pki::proposed(dir, name, now)?;
        let text = format!("{}\0{}", proposed.certificate_pem, proposed.key_pem);
        let agreed = store.share(name, text.into()).await?;
        let agreed = std::str::from_utf8(&agreed).ok().and_then(|text| text.split_once('\0'));
        let (certificate_pem, key_pem) = agreed.with_context(|| format!("what etcd holds as {name} is not a key"))?;
        let agreed = Pair { certificate_pem: certificate_pem.to_string(), key_pem: key_pem.to_string() };
        pki::agree(dir, name, &agreed)?;
    }
    Ok(())
}
