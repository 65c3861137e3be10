//! What registries and files say about images, and the archives that their layers are.

use std::fs;

use backstay_oci::reference::Reference;
use backstay_oci::store::import::Manifest;
use backstay_oci::store::{Limits, Store, unpack};

/// Names come back as they are; documents are read or refused.
pub fn image(data: &[u8]) {
    if let Ok(name) = Reference::parse(&String::from_utf8_lossy(data)) {
        let again = Reference::parse(&name.to_string()).expect("our own output");
        assert_eq!(again.to_string(), name.to_string());
    }
    if let Ok(manifest) = serde_json::from_slice::<Manifest>(data) {
        let _ = manifest.for_this_machine();
    }
    let _ = Store::diff_ids(data);
    let _ = backstay_oci::check_profile(data);
}

/// Nothing of a layer gets out of the directory that it is unpacked in.
pub fn layer(data: &[u8]) {
    let limits = Limits { bytes: 1 << 20, entries: 100 };
    for archive in [data.to_vec(), written(data)] {
        let dir = tempfile::tempdir().expect("a directory");
        let (root, outside) = (dir.path().join("root"), dir.path().join("outside"));
        fs::create_dir(&root).expect("made");
        fs::write(&outside, "as it was").expect("written");
        let _ = unpack(archive.as_slice(), &root, limits);
        assert_eq!(fs::read(&outside).expect("still there"), b"as it was");
        assert_eq!(fs::read_dir(dir.path()).expect("readable").count(), 2);
    }
}

/// Lines as entries of an archive: a letter for the kind, the name, and after a space where it leads.
fn written(data: &[u8]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for line in data.split(|byte| *byte == b'\n').filter(|line| line.len() > 1) {
        let (name, link) = match line[1..].iter().position(|byte| *byte == b' ') {
            Some(at) => (&line[1..=at], &line[at + 2..]),
            None => (&line[1..], [].as_slice()),
        };
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(line[0]));
        header.set_mode(0o755);
        let content = if line[0] == b'0' { b"content".as_slice() } else { &[] };
        header.set_size(content.len() as u64);
        let old = header.as_old_mut();
        let (name_length, link_length) = (name.len().min(old.name.len()), link.len().min(old.linkname.len()));
        old.name[..name_length].copy_from_slice(&name[..name_length]);
        old.linkname[..link_length].copy_from_slice(&link[..link_length]);
        header.set_cksum();
        builder.append(&header, content).expect("in memory");
    }
    builder.into_inner().expect("in memory")
}
