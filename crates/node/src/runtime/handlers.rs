//! The runtimes of one machine, by the handler that a RuntimeClass names.

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::{PodIdentity, Runtime};

/// The runtime of pods that ask for none, and those that pods may ask for.
#[derive(Clone)]
pub struct Runtimes {
    usual: Arc<dyn Runtime>,
    by_handler: BTreeMap<String, Arc<dyn Runtime>>,
}

#[derive(Debug, Error, PartialEq, Eq)]
#[error("no runtime for {0:?} is configured")]
pub struct UnknownHandler(pub String);

impl Runtimes {
    pub fn new(usual: Arc<dyn Runtime>) -> Self {
        Self { usual, by_handler: BTreeMap::new() }
    }

    /// A runtime for pods whose RuntimeClass has this handler.
    #[must_use]
    pub fn with(mut self, handler: &str, runtime: Arc<dyn Runtime>) -> Self {
        self.by_handler.insert(handler.to_string(), runtime);
        self
    }

    pub fn usual(&self) -> &Arc<dyn Runtime> {
        &self.usual
    }

    /// Every runtime once, the usual one first.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn Runtime>> {
        let others = self.by_handler.values().filter(|runtime| !Arc::ptr_eq(runtime, &self.usual));
        std::iter::once(&self.usual).chain(others)
    }

    /// The runtime of a handler. A handler that nobody here is named after is passed on to the usual runtime, which may
    /// have handlers of its own, unless that has no images: then it can have none.
    ///
    /// # Errors
    /// If there is no such runtime on this machine.
    pub fn of(&self, handler: &str) -> Result<&Arc<dyn Runtime>, UnknownHandler> {
        match self.by_handler.get(handler) {
            Some(runtime) => Ok(runtime),
            None if handler.is_empty() || self.usual.images().is_some() => Ok(&self.usual),
            None => Err(UnknownHandler(handler.to_string())),
        }
    }

    /// Every pod that any of them still holds something of, and whether all of them could tell.
    pub async fn pods(&self) -> (Vec<(PodIdentity, Arc<dyn Runtime>)>, bool) {
        let (mut held, mut all) = (Vec::new(), true);
        for runtime in self.all() {
            match runtime.pods().await {
                Ok(pods) => held.extend(pods.into_iter().map(|pod| (pod, runtime.clone()))),
                Err(error) => {
                    all = false;
                    tracing::warn!(runtime = runtime.version(), %error, "cannot list the pods on this machine")
                }
            }
        }
        (held, all)
    }
}
