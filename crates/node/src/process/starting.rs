//! Containers whose shim has nothing to show yet. They are not there for anybody who looks meanwhile, rather than lost.

use std::collections::BTreeSet;
use std::sync::Mutex;

use crate::runtime::ContainerKey;

#[derive(Default)]
pub(super) struct Starting(Mutex<BTreeSet<ContainerKey>>);

/// A container is being started, as long as this is held.
pub(super) struct Start<'a> {
    all: &'a Starting,
    key: ContainerKey,
}

impl Starting {
    /// Before anything of it is on disk.
    pub(super) fn begin(&self, key: &ContainerKey) -> Start<'_> {
        self.0.lock().expect("never poisoned").insert(key.clone());
        Start { all: self, key: key.clone() }
    }

    /// To be asked after something of it was found on disk.
    pub(super) fn has(&self, key: &ContainerKey) -> bool {
        self.0.lock().expect("never poisoned").contains(key)
    }
}

impl Drop for Start<'_> {
    fn drop(&mut self) {
        self.all.0.lock().expect("never poisoned").remove(&self.key);
    }
}
