//! What becomes of a pod whose worker has failed. Nothing should bring one down; if something does, another takes over.

use std::time::Duration;

use backstay_api::meta;
use serde_json::Value;

use super::Context;
use crate::client;

/// A pod whose worker has failed is without one for so long.
const FAILED_PAUSE: Duration = Duration::from_secs(10);

/// What is known of a pod whose worker has failed.
pub(super) enum Next {
    Known(Value),
    /// The server has no such pod any more.
    Gone(Value),
}

/// What the server knows of a pod, after a pause: what has brought down one worker may bring down the next.
pub(super) async fn next(context: &Context, kept: Value) -> Next {
    let (namespace, name) = (meta::namespace(&kept).unwrap_or("default"), meta::name(&kept));
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
    loop {
        tokio::time::sleep(FAILED_PAUSE).await;
        match context.api.get(&path).await {
            Ok(object) if meta::uid(&object) == meta::uid(&kept) => return Next::Known(object),
            Ok(_) => return Next::Gone(kept),
            Err(error) if client::code(&error) == Some(404) => return Next::Gone(kept),
            Err(error) => tracing::debug!(%error, "a pod without a worker is not known yet; will retry"),
        }
    }
}
