//! The images of the runtime.

use std::collections::BTreeSet;
use std::time::Duration;

use async_trait::async_trait;
use backstay_node::runtime::{Credential, DiskUsage, Image, ImageError, Images, StoredImage};

use crate::answer;
use crate::runtime::{CriRuntime, PATIENCE};
use crate::wire;

/// A large image over a slow line.
const PULL_PATIENCE: Duration = Duration::from_secs(3600);

#[async_trait]
impl Images for CriRuntime {
    async fn find(&self, name: &str) -> Result<Option<Image>, ImageError> {
        answer::check_name(name)?;
        let found = self.image_status(name).await.map_err(|status| answer::inspect_error(&status))?;
        Ok(found.as_ref().map(answer::image))
    }

    async fn pull(&self, name: &str, credentials: &[Credential]) -> Result<Image, ImageError> {
        answer::check_name(name)?;
        let accounts: Vec<Option<&Credential>> = match credentials {
            [] => vec![None],
            some => some.iter().map(Some).collect(),
        };
        let mut failures: Vec<ImageError> = Vec::new();
        for account in accounts {
            let request = wire::PullImageRequest { image: Some(spec(name)), auth: account.map(auth) };
            let answer: Result<wire::PullImageResponse, _> =
                wire::within(PULL_PATIENCE, self.client().images().pull_image(request)).await;
            match answer {
                Ok(pulled) => return self.pulled(name, &pulled.image_ref).await,
                Err(status) => failures.push(answer::pull_error(name, &status)),
            }
        }
        let messages: Vec<&str> = failures.iter().map(|error| error.message.as_str()).collect();
        let message = if messages.len() > 1 { format!("[{}]", messages.join(", ")) } else { messages.concat() };
        Err(ImageError { reason: failures.last().map_or("ErrImagePull", |error| error.reason), message })
    }

    async fn list(&self) -> Result<Vec<StoredImage>, ImageError> {
        let answer = wire::within(PATIENCE, self.client().images().list_images(wire::ListImagesRequest {})).await;
        let answer: wire::ListImagesResponse = answer.map_err(|status| answer::inspect_error(&status))?;
        let kept = self.kept().await.map_err(|status| answer::inspect_error(&status))?;
        let stored = answer.images.into_iter().map(answer::stored_image).map(|mut image| {
            image.pinned |= kept.contains(&image.id) || image.names.iter().any(|name| kept.contains(name));
            image
        });
        Ok(stored.collect())
    }

    async fn remove(&self, id: &str) -> Result<(), ImageError> {
        let request = wire::RemoveImageRequest { image: Some(spec(id)) };
        match wire::within(PATIENCE, self.client().images().remove_image(request)).await {
            Err(status) if !answer::is_gone(&status) => Err(answer::inspect_error(&status)),
            _ => Ok(()),
        }
    }

    async fn disk(&self) -> Result<DiskUsage, ImageError> {
        let answer = wire::within(PATIENCE, self.client().images().image_fs_info(wire::ImageFsInfoRequest {})).await;
        let answer: wire::ImageFsInfoResponse = answer.map_err(|status| answer::inspect_error(&status))?;
        let failed = |message: String| ImageError { reason: "ImageInspectError", message };
        let first = answer.image_filesystems.into_iter().next();
        let first = first.ok_or_else(|| failed("the runtime knows no file system of its images".to_string()))?;
        let place = first.fs_id.map(|id| id.mountpoint).unwrap_or_default();
        let stat = rustix::fs::statvfs(place.as_str())
            .map_err(|error| failed(format!("cannot tell how large the file system of {place} is: {error}")))?;
        let capacity_bytes = stat.f_blocks.saturating_mul(stat.f_frsize);
        // What the whole file system holds decides whether it is full, not what of it are images.
        Ok(DiskUsage { used_bytes: capacity_bytes - stat.f_bavail.saturating_mul(stat.f_frsize), capacity_bytes })
    }
}

impl CriRuntime {
    pub(crate) async fn image_status(&self, name: &str) -> Result<Option<wire::Image>, tonic::Status> {
        let request = wire::ImageStatusRequest { image: Some(spec(name)) };
        let answer = wire::within(PATIENCE, self.client().images().image_status(request)).await?;
        Ok(answer.image)
    }

    /// Ids and names of images that are not ours to remove: those of containers, also of others who use this runtime,
    /// and the one that sandboxes are made from, which containerd before 1.6.22 and 1.7.3 does not pin itself.
    async fn kept(&self) -> Result<BTreeSet<String>, tonic::Status> {
        let request = wire::ListContainersRequest { filter: None };
        let answer: wire::ListContainersResponse =
            wire::within(PATIENCE, self.client().runtime().list_containers(request)).await?;
        let of_containers = answer.containers.into_iter().map(|container| container.image_ref);
        Ok(of_containers.chain(self.settings().await?.sandbox_image).collect())
    }

    async fn pulled(&self, name: &str, reference: &str) -> Result<Image, ImageError> {
        let found = match self.image_status(reference).await {
            Ok(Some(found)) => Ok(Some(found)),
            _ => self.image_status(name).await,
        };
        let found = found.map_err(|status| answer::inspect_error(&status))?;
        let gone = || ImageError {
            reason: "ErrImagePull",
            message: format!("image {name:?} was pulled, and is not there: has it been removed meanwhile?"),
        };
        found.as_ref().map(answer::image).ok_or_else(gone)
    }
}

fn spec(name: &str) -> wire::ImageSpec {
    wire::ImageSpec { image: name.to_string(), user_specified_image: String::new() }
}

fn auth(credential: &Credential) -> wire::AuthConfig {
    wire::AuthConfig {
        username: credential.username.clone(),
        password: credential.password.clone(),
        server_address: credential.server.clone(),
        identity_token: credential.identity_token.clone(),
        registry_token: credential.registry_token.clone(),
    }
}
