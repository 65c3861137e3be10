//! The images of this machine.
//!
//! ```text
//! IMAGES/index.json          every image: names, configuration, layers; replaced as a whole
//! IMAGES/lock                held by whoever changes something: the agent, or the command line
//! IMAGES/use                 held by whoever makes a container of an image, all together; or by one who removes images
//! IMAGES/layers/ID/          an unpacked layer, named after the digest of its archive
//! IMAGES/tmp/                what is still coming: layers that are unpacked, under the lock; blobs, locked while they are
//!                            fetched. What nobody works on is removed when an agent starts, and by `image gc`
//! ```
//!
//! A layer is there as a whole or not at all: it is unpacked in `tmp`, written through to the disk, and then renamed. An
//! image is in the index only once all its layers are there. Layers that no image names are removed with the last one
//! that did.

mod decompress;
pub mod import;
mod naming;
mod unpack;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use backstay_node::process::layout;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

pub use naming::Given;
pub use unpack::{Limits, UnpackError, make_directories, open_inside, unpack};

use crate::reference::{self, Reference};

/// So much of a layer's digest names its directory: 96 bits, and a hundred of them still fit into one mount's options.
const LAYER_ID_CHARS: usize = 24;
/// More layers than this do not fit into the options of a mount.
const LAYERS_MAX: usize = 127;

#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

/// An image that is there with all its layers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    /// The digest of its configuration.
    pub id: String,
    /// Tags, whole.
    pub tags: BTreeSet<String>,
    /// As fetched: `docker.io/library/busybox@sha256:...`.
    pub digests: BTreeSet<String>,
    /// Lowest first.
    pub layers: Vec<String>,
    pub size_bytes: u64,
    pub config: ImageConfig,
}

/// What an image says of the containers made from it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    pub user: String,
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    pub cmd: Vec<String>,
    pub working_dir: String,
    pub stop_signal: String,
    /// By path: directories that a container may write to, whatever becomes of the rest.
    #[serde(deserialize_with = "or_default")]
    pub volumes: BTreeMap<String, serde_json::Value>,
}

/// The configuration of an image, as far as it matters here.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Document {
    os: String,
    architecture: String,
    #[serde(deserialize_with = "or_default")]
    config: ImageConfig,
    rootfs: RootFs,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct RootFs {
    diff_ids: Vec<String>,
}

/// Absent, null and empty are the same.
fn or_default<'de, D: serde::Deserializer<'de>, T: Deserialize<'de> + Default>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

#[derive(Default, Serialize, Deserialize)]
struct Index {
    images: Vec<ImageRecord>,
}

#[derive(Debug, Error)]
pub enum StoreError {
    #[error("cannot {what} {path:?} of the image store")]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error("{0:?} is damaged: remove the directory that holds it, and fetch or import the images again")]
    Index(PathBuf, #[source] serde_json::Error),
    #[error("layer {digest} cannot be unpacked")]
    Unpack { digest: String, source: UnpackError },
    #[error("{what} should have the digest {expected}, but has {found}")]
    Digest { what: String, expected: String, found: String },
    #[error("the image is not one that can run here: {0}")]
    Image(String),
    #[error("{0:?} is neither an OCI layout nor a docker archive: {1}")]
    Archive(PathBuf, String),
    #[error(
        "{file:?} says of an image that its tag is {tag:?}, and not what it is called: say it with --name, as in --name \
         registry.example.com/app"
    )]
    TagAlone { file: PathBuf, tag: String },
    #[error("{file:?} holds several images, and {name:?} can be the name of one: leave the tag, or --name, out")]
    SameName { file: PathBuf, name: String },
    #[error("a pod of this machine is made from {0:?}: delete it first")]
    InUse(String),
    #[error("cannot open {path:?}")]
    Open { path: PathBuf, source: io::Error },
    #[error("no image is named {0:?}; list them: backstay image list")]
    Unknown(String),
}

/// Where the layers of an image come from, lowest first.
pub trait Layers {
    /// The archive of a layer, maybe compressed.
    ///
    /// # Errors
    /// If it cannot be had.
    fn open(&mut self, index: usize) -> Result<Box<dyn Read + '_>, StoreError>;
}

/// A lock of a store, for as long as it is held.
#[must_use = "it is given back when it is dropped"]
pub struct Lock(#[allow(dead_code, reason = "closing it gives the lock back")] File);

impl Store {
    /// # Errors
    /// If the directories cannot be made.
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        for path in [dir.to_path_buf(), dir.join("layers"), dir.join("tmp")] {
            fs::create_dir_all(&path).map_err(io_error("make", &path))?;
        }
        let dir = dir.canonicalize().map_err(io_error("find", dir))?;
        // Images hold programs that give whoever runs them the rights of others.
        let mode = fs::metadata(&dir).map_err(io_error("look at", &dir))?.permissions().mode();
        if mode & 0o077 != 0 {
            fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).map_err(io_error("close", &dir))?;
        }
        Ok(Self { dir })
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn layers_dir(&self) -> PathBuf {
        self.dir.join("layers")
    }

    pub fn tmp_dir(&self) -> PathBuf {
        self.dir.join("tmp")
    }

    /// Every image, by id.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn images(&self) -> Result<Vec<ImageRecord>, StoreError> {
        Ok(self.index()?.images)
    }

    /// An image by id, tag or digest, as a pod may write it.
    ///
    /// # Errors
    /// If the index cannot be read.
    pub fn find(&self, name: &str) -> Result<Option<ImageRecord>, StoreError> {
        let parsed = Reference::parse(name).ok();
        let wanted = |image: &ImageRecord| {
            let named = parsed.as_ref().map(ToString::to_string);
            image.id == name
                || reference::hex(&image.id) == Some(name)
                || named.is_some_and(|name| image.tags.contains(&name) || image.digests.contains(&name))
        };
        Ok(self.index()?.images.into_iter().find(wanted))
    }

    /// Whether a layer of this digest (of its uncompressed archive) is there.
    pub fn has_layer(&self, diff_id: &str) -> bool {
        layer_id(diff_id).is_some_and(|id| self.layers_dir().join(id).is_dir())
    }

    /// Reads an image's configuration and says which layers it has, lowest first.
    ///
    /// # Errors
    /// If it is for another machine, or nonsense.
    pub fn diff_ids(config: &[u8]) -> Result<Vec<String>, StoreError> {
        Ok(document(config)?.rootfs.diff_ids)
    }

    /// Adds an image: unpacks the layers that are missing, then names it. A name that another image had is taken away
    /// from it.
    ///
    /// # Errors
    /// If a layer is not what the configuration says, or cannot be unpacked. The index then is as it was.
    pub fn add(
        &self,
        config: &[u8],
        layers: &mut dyn Layers,
        tag: Option<&Reference>,
        digest: Option<String>,
    ) -> Result<ImageRecord, StoreError> {
        let document = document(config)?;
        let lock = self.lock()?;
        let mut size_bytes = config.len() as u64;
        let mut ids = Vec::new();
        for (index, diff_id) in document.rootfs.diff_ids.iter().enumerate() {
            let id = layer_id(diff_id).ok_or_else(|| StoreError::Image(format!("{diff_id:?} is no digest")))?;
            if !self.has_layer(diff_id) {
                self.add_layer(id, diff_id, layers.open(index)?)?;
            }
            size_bytes += self.layer_size(id);
            ids.push(id.to_string());
        }
        let mut index = self.index()?;
        let id = format!("sha256:{}", to_hex(&Sha256::digest(config)));
        let mut image = index.images.iter().find(|image| image.id == id).cloned().unwrap_or_default();
        if let Some(tag) = tag.filter(|tag| tag.digest.is_none()) {
            image.tags.insert(tag.to_string());
        }
        image.digests.extend(digest);
        (image.id, image.layers, image.size_bytes, image.config) = (id, ids, size_bytes, document.config);
        index.images.retain(|other| other.id != image.id);
        index.images.iter_mut().for_each(|other| other.tags.retain(|name| !image.tags.contains(name)));
        index.images.push(image.clone());
        self.write_index(index)?;
        drop(lock);
        Ok(image)
    }

    /// Removes an image by id, tag or digest, with the layers that no other one needs. It stays if `in_use` says so,
    /// which is asked while no container can be made of it. Of an image with several tags, one goes alone.
    ///
    /// # Errors
    /// If there is none, or it is in use, or it cannot be removed.
    pub fn remove(&self, name: &str, in_use: impl FnOnce(&ImageRecord) -> bool) -> Result<ImageRecord, StoreError> {
        let _lock = self.lock()?;
        let _unused = self.hold("use", File::lock)?;
        let image = self.find(name)?.ok_or_else(|| StoreError::Unknown(name.to_string()))?;
        if in_use(&image) {
            return Err(StoreError::InUse(name.to_string()));
        }
        let mut index = self.index()?;
        let tag = Reference::parse(name).ok().map(|name| name.to_string());
        if let Some(tag) = tag.filter(|tag| image.tags.len() > 1 && image.tags.contains(tag)) {
            index.images.iter_mut().for_each(|other| other.tags.retain(|other| *other != tag));
            self.write_index(index)?;
            return Ok(ImageRecord { tags: BTreeSet::from([tag]), ..image });
        }
        index.images.retain(|other| other.id != image.id);
        self.write_index(index)?;
        self.sweep()?;
        Ok(image)
    }

    /// While this is held no image is removed. Waits for removals that have begun.
    ///
    /// # Errors
    /// If the lock cannot be had.
    pub fn keep(&self) -> Result<Lock, StoreError> {
        self.hold("use", File::lock_shared)
    }

    /// Removes what broken-off fetches and imports have left. What somebody works on right now stays.
    ///
    /// # Errors
    /// If it cannot be removed.
    pub fn clean(&self) -> Result<(), StoreError> {
        let _lock = self.lock()?;
        let dir = self.tmp_dir();
        for entry in fs::read_dir(&dir).map_err(io_error("list", &dir))?.flatten() {
            let path = entry.path();
            let removed = if path.is_dir() {
                fs::remove_dir_all(&path)
            } else if File::open(&path).is_ok_and(|file| file.try_lock().is_ok()) {
                fs::remove_file(&path)
            } else {
                continue;
            };
            removed.map_err(io_error("remove", &path))?;
        }
        let _unused = self.hold("use", File::lock)?;
        self.sweep()
    }

    /// The layers of an image, with what each takes, in bytes.
    pub fn sizes(&self, image: &ImageRecord) -> BTreeMap<String, u64> {
        image.layers.iter().map(|id| (id.clone(), self.layer_size(id))).collect()
    }

    /// Removes layers that no image needs: those that an interrupted fetch has left.
    fn sweep(&self) -> Result<(), StoreError> {
        let images = self.index()?.images;
        let needed: BTreeSet<&String> = images.iter().flat_map(|image| &image.layers).collect();
        let dir = self.layers_dir();
        for entry in fs::read_dir(&dir).map_err(io_error("list", &dir))?.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let layer = name.strip_suffix(".size").unwrap_or(&name).to_string();
            if needed.contains(&layer) {
                continue;
            }
            let path = entry.path();
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.map_err(io_error("remove", &path))?;
        }
        Ok(())
    }

    fn add_layer(&self, id: &str, diff_id: &str, archive: Box<dyn Read + '_>) -> Result<(), StoreError> {
        let unpacking = |source| StoreError::Unpack { digest: diff_id.to_string(), source };
        let work = self.tmp_dir().join(id);
        let _ = fs::remove_dir_all(&work);
        fs::create_dir(&work).map_err(io_error("make", &work))?;
        let plain = decompress::decompress(archive).map_err(|source| unpacking(UnpackError::Archive(source)))?;
        let mut hashed = Hashed { inner: plain, hash: Sha256::new() };
        let outcome = unpack(&mut hashed, &work, Limits::default()).map_err(unpacking).and_then(|bytes| {
            // What follows the last entry counts for the digest, too.
            io::copy(&mut hashed, &mut io::sink()).map_err(|source| unpacking(UnpackError::Archive(source)))?;
            let found = format!("sha256:{}", to_hex(&hashed.hash.finalize_reset()));
            if found == diff_id {
                return Ok(bytes);
            }
            Err(StoreError::Digest { what: "a layer".into(), expected: diff_id.to_string(), found })
        });
        let placed = outcome.and_then(|bytes| {
            let opened = File::open(&work).map_err(io_error("open", &work))?;
            rustix::fs::syncfs(&opened).map_err(|error| io_error("sync", &work)(error.into()))?;
            let size = self.layers_dir().join(format!("{id}.size"));
            fs::write(&size, bytes.to_string()).map_err(io_error("write", &size))?;
            let place = self.layers_dir().join(id);
            fs::rename(&work, &place).map_err(io_error("make", &place))
        });
        if placed.is_err() {
            let _ = fs::remove_dir_all(&work);
        }
        placed
    }

    fn layer_size(&self, id: &str) -> u64 {
        let text = fs::read_to_string(self.layers_dir().join(format!("{id}.size")));
        text.ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn lock(&self) -> Result<Lock, StoreError> {
        self.hold("lock", File::lock)
    }

    fn hold(&self, name: &str, take: fn(&File) -> io::Result<()>) -> Result<Lock, StoreError> {
        let path = self.dir.join(name);
        let file = File::create(&path).map_err(io_error("open", &path))?;
        take(&file).map_err(io_error("lock", &path))?;
        Ok(Lock(file))
    }

    fn index(&self) -> Result<Index, StoreError> {
        let path = self.dir.join("index.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| StoreError::Index(path, error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Index::default()),
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    fn write_index(&self, mut index: Index) -> Result<(), StoreError> {
        index.images.sort_by(|left, right| left.id.cmp(&right.id));
        let path = self.dir.join("index.json");
        let written = layout::write(&path, &index).and_then(|()| File::open(&self.dir)?.sync_all());
        written.map_err(io_error("write", &path))
    }
}

fn document(config: &[u8]) -> Result<Document, StoreError> {
    let document: Document = serde_json::from_slice(config)
        .map_err(|error| StoreError::Image(format!("its configuration cannot be read: {error}")))?;
    if document.os != "linux" || document.architecture != architecture() {
        let (os, architecture) = (&document.os, &document.architecture);
        return Err(StoreError::Image(format!(
            "it is for {os}/{architecture}, this is linux/{}",
            self::architecture()
        )));
    }
    if document.rootfs.diff_ids.len() > LAYERS_MAX {
        return Err(StoreError::Image(format!("it has {} layers", document.rootfs.diff_ids.len())));
    }
    Ok(document)
}

/// This machine's, as images name it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

fn layer_id(diff_id: &str) -> Option<&str> {
    Some(&reference::hex(diff_id)?[..LAYER_ID_CHARS])
}

struct Hashed<R> {
    inner: R,
    hash: Sha256,
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.hash.update(&buffer[..count]);
        Ok(count)
    }
}

pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { what, path, source }
}
