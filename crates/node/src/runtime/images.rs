//! The images of a runtime.

use std::collections::BTreeMap;

use async_trait::async_trait;
use thiserror::Error;

/// An image that is there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// What a container is started from.
    pub id: String,
    /// As `status.containerStatuses[].imageID` shows it: with a digest, where the image came from a registry.
    pub reference: String,
    pub size_bytes: u64,
    pub user: ImageUser,
}

/// As whom the image's programs run unless a pod says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ImageUser {
    #[default]
    Root,
    Id(u32),
    Name(String),
}

/// One of all images, for cleaning up and for `status.images` of the node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredImage {
    pub id: String,
    /// Tags and digests.
    pub names: Vec<String>,
    pub size_bytes: u64,
    /// The sizes of what it is made of, by names that other images share. Empty: a runtime does not tell.
    pub parts: BTreeMap<String, u64>,
    /// Never to be removed, such as the runtime's own.
    pub pinned: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    pub used_bytes: u64,
    pub capacity_bytes: u64,
}

/// What a registry is told. Which of these fields are set depends on the kind of account.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Credential {
    pub username: String,
    pub password: String,
    pub identity_token: String,
    pub registry_token: String,
    /// The registry that they are for, as written in the secret.
    pub server: String,
}

#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{message}")]
pub struct ImageError {
    /// `ErrImagePull`, `InvalidImageName`, `RegistryUnavailable`, `SignatureValidationFailed`, `ImageInspectError`.
    pub reason: &'static str,
    pub message: String,
}

#[async_trait]
pub trait Images: Send + Sync {
    /// `None` if it is not there.
    async fn find(&self, name: &str) -> Result<Option<Image>, ImageError>;

    /// Fetches it, trying the credentials in order; none of them: without.
    async fn pull(&self, name: &str, credentials: &[Credential]) -> Result<Image, ImageError>;

    async fn list(&self) -> Result<Vec<StoredImage>, ImageError>;

    /// Removes an image by id; gone already is fine.
    async fn remove(&self, id: &str) -> Result<(), ImageError>;

    /// Of the file system that images lie on.
    async fn disk(&self) -> Result<DiskUsage, ImageError>;
}
