//! The engine over a test's etcd, and things to keep in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backstay_api::{Entropy, Index};
use backstay_store::front::LogLimits;
use backstay_store::{Encoded, Key, Operation, Store as _, StoreError};
use backstay_store_etcd::{EtcdConfig, EtcdStore};
use bytes::Bytes;

use super::Etcd;

/// Long enough for whatever a test waits for; a limit against hanging, never a measure.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn entropy() -> Entropy {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    Entropy::new(|| COUNT.fetch_add(1, Ordering::Relaxed))
}

pub async fn open(etcd: &Etcd, prefix: &str) -> EtcdStore {
    open_by(vec![etcd.endpoint()], prefix).await
}

pub async fn open_by(endpoints: Vec<String>, prefix: &str) -> EtcdStore {
    let config = EtcdConfig { endpoints, ..EtcdConfig::default() };
    // It listens before it is ready.
    let opening = async {
        loop {
            match EtcdStore::open_at(&config, prefix, LogLimits::default(), entropy()).await {
                Ok(store) => return store,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, opening).await.expect("etcd answers")
}

pub fn encoded(text: &str) -> Encoded {
    let tail = Bytes::from(format!("\",\"text\":\"{text}\"}}"));
    let index = Arc::new(Index { uid: text.to_string(), ..Index::default() });
    Encoded { head: Bytes::from_static(b"{\"rv\":\""), tail, index }
}

pub fn key(name: &str) -> Key {
    Key::new("pods", "default", name)
}

pub async fn create(store: &EtcdStore, name: &str) -> Result<u64, StoreError> {
    let operation = Operation::Create { value: encoded(name) };
    store.commit(key(name), operation).await.map(|entry| entry.revision)
}
