//! The port to images, over the store and registries.

use std::sync::Arc;

use async_trait::async_trait;
use backstay_api::causes::chain;
use backstay_node::runtime::{Credential, DiskUsage, Image, ImageError, ImageUser, Images, StoredImage};

use crate::reference::Reference;
use crate::registry::{self, PullError, Registry};
use crate::store::{ImageRecord, Store, StoreError};

pub struct StoredImages {
    pub store: Store,
    pub registry: Arc<Registry>,
}

fn failed(reason: &'static str) -> impl Fn(StoreError) -> ImageError {
    move |error| ImageError { reason, message: chain(&error) }
}

#[async_trait]
impl Images for StoredImages {
    async fn find(&self, name: &str) -> Result<Option<Image>, ImageError> {
        Reference::parse(name).map_err(|error| invalid_name(&error))?;
        Ok(self.store.find(name).map_err(failed("ImageInspectError"))?.map(|image| seen(&image)))
    }

    async fn pull(&self, name: &str, credentials: &[Credential]) -> Result<Image, ImageError> {
        let parsed = Reference::parse(name).map_err(|error| invalid_name(&error))?;
        let accounts = credentials.iter().map(Some).chain(credentials.is_empty().then_some(None));
        let mut last = None;
        for account in accounts {
            match registry::pull(&self.registry, &self.store, &parsed, account).await {
                Ok(image) => return Ok(seen(&image)),
                Err(error @ PullError::Denied(_)) => last = Some(error),
                Err(error) => {
                    last = Some(error);
                    break;
                }
            }
        }
        let error = last.unwrap_or_else(|| PullError::Denied(parsed.repository()));
        let reason = match &error {
            PullError::Unreachable { .. } => "RegistryUnavailable",
            _ => "ErrImagePull",
        };
        let message = format!("failed to pull and unpack image {:?}: {}", parsed.to_string(), chain(&error));
        Err(ImageError { reason, message })
    }

    async fn list(&self) -> Result<Vec<StoredImage>, ImageError> {
        let images = self.store.images().map_err(failed("ImageInspectError"))?;
        Ok(images.into_iter().map(|image| stored(&self.store, image)).collect())
    }

    async fn remove(&self, id: &str) -> Result<(), ImageError> {
        let (store, id) = (self.store.clone(), id.to_string());
        // Whole trees are deleted, and others waited for.
        let removed = tokio::task::spawn_blocking(move || store.remove(&id, |_| false)).await;
        match removed.unwrap_or_else(|error| Err(StoreError::Image(format!("removing it failed: {error}")))) {
            Ok(_) | Err(StoreError::Unknown(_)) => Ok(()),
            Err(error) => Err(failed("ImageInspectError")(error)),
        }
    }

    async fn disk(&self) -> Result<DiskUsage, ImageError> {
        let stat = rustix::fs::statvfs(self.store.dir()).map_err(|error| ImageError {
            reason: "ImageInspectError",
            message: format!("cannot tell how full the disk of {} is: {error}", self.store.dir().display()),
        })?;
        let capacity_bytes = stat.f_blocks * stat.f_frsize;
        Ok(DiskUsage { used_bytes: capacity_bytes.saturating_sub(stat.f_bavail * stat.f_frsize), capacity_bytes })
    }
}

fn invalid_name(error: &crate::reference::InvalidName) -> ImageError {
    let message = format!("Failed to apply default image tag {:?}: {error}", error.name);
    ImageError { reason: "InvalidImageName", message }
}

fn seen(image: &ImageRecord) -> Image {
    Image {
        id: image.id.clone(),
        reference: image.digests.first().unwrap_or(&image.id).clone(),
        size_bytes: image.size_bytes,
        user: user(&image.config.user),
    }
}

/// `USER[:GROUP]`.
fn user(text: &str) -> ImageUser {
    let name = text.split(':').next().unwrap_or_default();
    match name.parse() {
        Ok(0) => ImageUser::Root,
        Ok(id) => ImageUser::Id(id),
        Err(_) if name.is_empty() || name == "root" => ImageUser::Root,
        Err(_) => ImageUser::Name(name.to_string()),
    }
}

fn stored(store: &Store, image: ImageRecord) -> StoredImage {
    let parts = store.sizes(&image);
    let names = image.digests.into_iter().chain(image.tags).collect();
    StoredImage { id: image.id, names, size_bytes: image.size_bytes, parts, pinned: false }
}
