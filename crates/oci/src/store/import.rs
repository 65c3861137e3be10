//! Images out of a file: a tar of an OCI layout, or of `docker save`.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::decompress::{decompress, is_compressed};
use super::naming::{Given, Said, names};
use super::{ImageRecord, Layers, Store, StoreError, architecture, to_hex};
use crate::reference::Reference;

/// Manifests and configurations are small; whatever is larger is none.
const DOCUMENT_BYTES_MAX: u64 = 4 << 20;
/// An index may point to an index, but not for ever.
const INDEX_DEPTH_MAX: u32 = 4;

/// A pointer of an OCI document to another.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    pub annotations: BTreeMap<String, String>,
    pub platform: Option<Platform>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
}

/// An index or a manifest: whichever of these it has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Manifest {
    pub manifests: Vec<Descriptor>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// Of an index, the image for this machine.
    pub fn for_this_machine(&self) -> Option<&Descriptor> {
        let fits = |one: &&Descriptor| match &one.platform {
            Some(platform) => platform.os == "linux" && platform.architecture == architecture(),
            None => false,
        };
        let only = || self.manifests.first().filter(|one| self.manifests.len() == 1 && one.platform.is_none());
        self.manifests.iter().find(fits).or_else(only)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

/// An image that a file had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// What it is called now; its id if nobody has named it.
    pub name: String,
    pub image: ImageRecord,
}

impl Imported {
    fn new(name: Option<&Reference>, image: ImageRecord) -> Self {
        Self { name: name.map_or_else(|| image.id.clone(), ToString::to_string), image }
    }
}

impl Store {
    /// Adds every image of the file, under every name that it has there.
    ///
    /// # Errors
    /// If it is no archive of images, does not say what they are called, or one of them cannot run here. Those before it
    /// are there.
    pub fn import(&self, file: &Path) -> Result<Vec<Imported>, StoreError> {
        self.import_as(file, None)
    }

    /// The same, with a name in place of those in the file.
    ///
    /// # Errors
    /// As [`Store::import`]; and if several images would have the same name.
    pub fn import_as(&self, file: &Path, given: Option<&Given>) -> Result<Vec<Imported>, StoreError> {
        let mut archive = Archive::open(file, &self.tmp_dir())?;
        if archive.places.contains_key(Path::new("index.json")) {
            return self.import_layout(&mut archive, given);
        }
        self.import_saved(&mut archive, given)
    }

    fn import_layout(&self, archive: &mut Archive, given: Option<&Given>) -> Result<Vec<Imported>, StoreError> {
        let index: Manifest = archive.json(Path::new("index.json"))?;
        let said = index.manifests.iter().map(|top| (top.digest.as_str(), vec![Said::by(&top.annotations)]));
        let names = names(&archive.path, said, given)?;
        let mut images = Vec::new();
        for (top, names) in index.manifests.iter().zip(names) {
            let mut descriptor = top.clone();
            let mut manifest: Manifest = archive.blob_json(&descriptor.digest)?;
            for _ in 0..INDEX_DEPTH_MAX {
                if manifest.manifests.is_empty() {
                    break;
                }
                let Some(fitting) = manifest.for_this_machine() else {
                    let message = format!("{} has nothing for linux/{}", top.digest, architecture());
                    return Err(StoreError::Image(message));
                };
                descriptor = fitting.clone();
                manifest = archive.blob_json(&descriptor.digest)?;
            }
            let config = archive.blob(&manifest.config.digest)?;
            for name in names {
                let paths = manifest.layers.iter().map(|layer| blob_path(&layer.digest)).collect();
                let digest = name.as_ref().map(|name| name.with_digest(&top.digest));
                let added = self.add(&config, &mut Files { archive, paths }, name.as_ref(), digest)?;
                images.push(Imported::new(name.as_ref(), added));
            }
        }
        Ok(images)
    }

    fn import_saved(&self, archive: &mut Archive, given: Option<&Given>) -> Result<Vec<Imported>, StoreError> {
        let saved: Vec<Saved> = archive.json(Path::new("manifest.json"))?;
        let said = saved.iter().map(|one| {
            let tags = one.repo_tags.iter().flatten().filter_map(|tag| Reference::parse(tag).ok());
            (one.config.as_str(), tags.map(Said::Name).collect())
        });
        let names = names(&archive.path, said, given)?;
        let mut images = Vec::new();
        for (one, names) in saved.iter().zip(names) {
            let config = archive.read(Path::new(&one.config))?;
            for name in names {
                let paths = one.layers.iter().map(PathBuf::from).collect();
                let name = name.as_ref();
                images.push(Imported::new(name, self.add(&config, &mut Files { archive, paths }, name, None)?));
            }
        }
        Ok(images)
    }
}

/// A tar that is read out of order: its entries are found once.
struct Archive {
    path: PathBuf,
    file: File,
    /// Where the content of each file begins, and its length.
    places: BTreeMap<PathBuf, (u64, u64)>,
}

impl Archive {
    /// One that is compressed as a whole is unpacked into a file without a name, in `tmp`: it is read out of order.
    fn open(path: &Path, tmp: &Path) -> Result<Self, StoreError> {
        let failed = |error: std::io::Error| StoreError::Archive(path.into(), error.to_string());
        let mut file = File::open(path).map_err(|source| StoreError::Open { path: path.into(), source })?;
        if is_compressed(&start(&mut file).map_err(failed)?) {
            let whole = |source| StoreError::Io { what: "unpack an archive in", path: tmp.into(), source };
            let mut plain = tempfile::tempfile_in(tmp).map_err(whole)?;
            let mut packed = decompress(Box::new(&file)).map_err(failed)?;
            std::io::copy(&mut packed, &mut plain).and_then(|_| plain.rewind()).map_err(whole)?;
            drop(packed);
            file = plain;
        }
        let mut places = BTreeMap::new();
        let mut archive = tar::Archive::new(&mut file);
        for entry in archive.entries_with_seek().map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name: PathBuf =
                entry.path().map_err(failed)?.components().filter(|part| part.as_os_str() != ".").collect();
            // `docker save` may link a layer that two images share.
            let linked = entry.link_name().map_err(failed)?.map(|link| normal(&name, &link));
            match linked.and_then(|target| places.get(&target).copied()) {
                Some(place) => places.insert(name, place),
                None => places.insert(name, (entry.raw_file_position(), entry.size())),
            };
        }
        Ok(Self { path: path.into(), file, places })
    }

    fn stream(&mut self, path: &Path) -> Result<impl Read + '_, StoreError> {
        let missing = || StoreError::Archive(self.path.clone(), format!("it has no {}", path.display()));
        let (start, length) = *self.places.get(path).ok_or_else(missing)?;
        let sought = self.file.seek(SeekFrom::Start(start));
        sought.map_err(|error| StoreError::Archive(self.path.clone(), error.to_string()))?;
        Ok((&mut self.file).take(length))
    }

    fn read(&mut self, path: &Path) -> Result<Vec<u8>, StoreError> {
        let name = self.path.clone();
        let mut bytes = Vec::new();
        let read = self.stream(path)?.take(DOCUMENT_BYTES_MAX).read_to_end(&mut bytes);
        read.map_err(|error| StoreError::Archive(name, error.to_string()))?;
        Ok(bytes)
    }

    fn json<T: serde::de::DeserializeOwned>(&mut self, path: &Path) -> Result<T, StoreError> {
        let bytes = self.read(path)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Archive(self.path.clone(), format!("{}: {error}", path.display())))
    }

    /// A small blob, held against its digest.
    fn blob(&mut self, digest: &str) -> Result<Vec<u8>, StoreError> {
        let bytes = self.read(&blob_path(digest))?;
        let found = format!("sha256:{}", to_hex(&Sha256::digest(&bytes)));
        if found != digest {
            return Err(StoreError::Digest {
                what: "a document of the archive".into(),
                expected: digest.into(),
                found,
            });
        }
        Ok(bytes)
    }

    fn blob_json<T: serde::de::DeserializeOwned>(&mut self, digest: &str) -> Result<T, StoreError> {
        let bytes = self.blob(digest)?;
        serde_json::from_slice(&bytes)
            .map_err(|error| StoreError::Archive(self.path.clone(), format!("{digest}: {error}")))
    }
}

/// How a file begins; it is read from there again.
fn start(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut start = Vec::new();
    (&mut *file).take(4).read_to_end(&mut start)?;
    file.rewind()?;
    Ok(start)
}

fn blob_path(digest: &str) -> PathBuf {
    Path::new("blobs").join(digest.replacen(':', "/", 1))
}

/// Where a link beside `name` leads inside of the archive.
fn normal(name: &Path, link: &Path) -> PathBuf {
    let mut path = name.parent().map(Path::to_path_buf).unwrap_or_default();
    for part in link.components() {
        match part {
            std::path::Component::ParentDir => drop(path.pop()),
            std::path::Component::Normal(part) => path.push(part),
            _ => {}
        }
    }
    path
}

/// Layers of an archive, by path.
struct Files<'a> {
    archive: &'a mut Archive,
    paths: Vec<PathBuf>,
}

impl Layers for Files<'_> {
    fn open(&mut self, index: usize) -> Result<Box<dyn Read + '_>, StoreError> {
        let path = self.paths.get(index).ok_or_else(|| StoreError::Image("it has fewer layers than it says".into()))?;
        Ok(Box::new(self.archive.stream(&path.clone())?))
    }
}
