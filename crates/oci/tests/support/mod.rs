//! Images packed by the test itself.

// Each test binary uses its own part of this module.
#![allow(dead_code)]

pub mod registry;

use std::io::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// A tar of entries: `name/` a directory, `name -> target` a symbolic link, `name => target` a hard link, else a file.
pub fn tar(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o755);
        header.set_mtime(1);
        header.set_uid(0);
        header.set_gid(0);
        let (name, kind, link) = match (name.split_once(" -> "), name.split_once(" => ")) {
            (Some((name, link)), _) => (name, tar::EntryType::Symlink, Some(link)),
            (_, Some((name, link))) => (name, tar::EntryType::Link, Some(link)),
            _ if name.ends_with('/') => (*name, tar::EntryType::Directory, None),
            _ => (*name, tar::EntryType::Regular, None),
        };
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        // Written as they are: tests need names that a builder would refuse.
        let raw = header.as_old_mut();
        raw.name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            raw.linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}

pub fn config(layers: &[Vec<u8>], config: serde_json::Value) -> Vec<u8> {
    let ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    let document = serde_json::json!({ "os": "linux", "architecture": backstay_oci::store::architecture(),
        "config": config, "rootfs": { "type": "layers", "diff_ids": ids } });
    document.to_string().into_bytes()
}

/// What `docker save` writes.
pub fn docker_archive(dir: &Path, name: &str, layers: &[Vec<u8>], config: &[u8]) -> PathBuf {
    let names: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [name], "Layers": names }]).to_string();
    let mut entries: Vec<(&str, &[u8])> = vec![("config.json", config), ("manifest.json", manifest.as_bytes())];
    entries.extend(names.iter().map(String::as_str).zip(layers.iter().map(Vec::as_slice)));
    write(dir, "saved.tar", &tar(&entries))
}

/// An OCI layout with one image whose layers are compressed by turns with gzip and zstd.
pub fn oci_archive(dir: &Path, name: &str, layers: &[Vec<u8>], config: &[u8]) -> PathBuf {
    oci_archive_that_says(dir, &[("io.containerd.image.name", name)], layers, config)
}

/// The same with these annotations, once for each of them.
pub fn oci_archive_that_says(dir: &Path, said: &[(&str, &str)], layers: &[Vec<u8>], config: &[u8]) -> PathBuf {
    let packs = [gzip, zstd].into_iter().cycle();
    let packed: Vec<Vec<u8>> = layers.iter().zip(packs).map(|(layer, pack)| pack(layer)).collect();
    let of = |bytes: &[u8]| serde_json::json!({ "digest": digest(bytes), "size": bytes.len() });
    let layers: Vec<_> = packed.iter().map(|layer| of(layer)).collect();
    let manifest = serde_json::json!({ "config": of(config), "layers": layers }).to_string().into_bytes();
    let tops: Vec<_> = said
        .iter()
        .map(|(key, text)| {
            let mut top = of(&manifest);
            top["annotations"] = serde_json::json!({ *key: text });
            top
        })
        .collect();
    let index = serde_json::json!({ "manifests": tops }).to_string();
    let blobs: Vec<&[u8]> = packed.iter().map(Vec::as_slice).chain([config, &manifest]).collect();
    let paths: Vec<String> = blobs.iter().map(|blob| format!("blobs/{}", digest(blob).replace(':', "/"))).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("index.json", index.as_bytes())];
    entries.extend(paths.iter().map(String::as_str).zip(blobs));
    write(dir, "layout.tar", &tar(&entries))
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
}

fn write(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// A small file system, unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// With the options of a tmpfs, such as `size=1m`.
    pub fn new(options: &std::ffi::CStr) -> Self {
        let dir = tempfile::tempdir().unwrap();
        rustix::mount::mount("tmpfs", dir.path(), "tmpfs", rustix::mount::MountFlags::empty(), options).unwrap();
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0.path(), rustix::mount::UnmountFlags::DETACH);
    }
}
