//! The image store with archives of all kinds, faulty ones among them.

#[path = "../../backstay/tests/support/needs.rs"]
mod needs;
mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::sync::Arc;

use backstay_node::image_gc::{self, History};
use backstay_node::runtime::Images as _;
use backstay_oci::StoredImages;
use backstay_oci::registry::Registry;
use backstay_oci::store::Store;
use jiff::Timestamp;
use serde_json::json;

/// The content of a layer directory, or the error, for an archive of these entries.
fn check(entries: &[(&str, &[u8])], expected: &str) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images")).unwrap();
    let layers = vec![support::tar(entries)];
    let config = support::config(&layers, json!(null));
    let archive = support::docker_archive(dir.path(), "app:v1", &layers, &config);
    let shown = match store.import(&archive) {
        Ok(images) => list(&store.layers_dir().join(&images[0].image.layers[0])),
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            assert_eq!(store.images().unwrap(), [], "nothing half-done");
            assert_eq!(std::fs::read_dir(store.tmp_dir()).unwrap().count(), 0);
            cause
        }
    };
    assert_eq!(shown, expected, "{:?}", entries.iter().map(|(name, _)| name).collect::<Vec<_>>());
}

fn list(dir: &std::path::Path) -> String {
    let mut shown = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let (path, metadata) = (entry.path(), entry.path().symlink_metadata().unwrap());
            let name = path.strip_prefix(dir).unwrap().display().to_string();
            if metadata.is_dir() {
                folders.push(path);
                shown.push(format!("{name}/"));
            } else if metadata.file_type().is_char_device() {
                shown.push(format!("{name}:gone:{}", metadata.rdev()));
            } else {
                shown.push(if metadata.nlink() > 1 { format!("{name}:{}", metadata.nlink()) } else { name });
            }
        }
    }
    shown.sort();
    shown.join(" ")
}

#[test]
fn layers_become_directories() {
    if !needs::are_met("layers_become_directories", true, &[]) {
        return;
    }
    check(&[("a/", b""), ("a/b", b"1"), ("./c", b"2")], "a/ a/b c");
    check(&[("a/b/c", b"1")], "a/ a/b/ a/b/c");
    check(&[("a", b"1"), ("b => a", b"")], "a:2 b:2");
    check(&[("a/.wh.b", b"")], "a/ a/b:gone:0");
    check(&[("a/", b""), ("a/.wh..wh..opq", b""), ("a/x", b"")], "a/ a/x");
    check(&[("a/b", b""), ("a", b"now a file")], "a");
    check(&[("/abs", b"")], "abs");
}

#[test]
fn nothing_leads_out() {
    if !needs::are_met("nothing_leads_out", true, &[]) {
        return;
    }
    check(&[("../x", b"")], "the archive's \"../x\" leads out of it");
    check(&[("a/../../x", b"")], "the archive's \"a/../../x\" leads out of it");
    check(&[("x => ../../etc/passwd", b"")], "the archive's \"../../etc/passwd\" leads out of it");
    check(&[(".wh...", b"")], "the archive's \".wh...\" leads out of it");
    // A link to the root directory is one to the root of the image.
    check(&[("out -> /", b""), ("out/x", b"1")], "out x");
    check(&[("out -> ../../..", b""), ("out/x", b"1")], "out x");
    check(&[("p -> /etc/passwd", b""), ("h => p", b"")], "h:2 p:2");
}

#[test]
fn images_come_and_go() {
    if !needs::are_met("images_come_and_go", true, &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images")).unwrap();
    assert_eq!(store.dir().metadata().unwrap().mode() & 0o777, 0o700, "others must not run what is in images");
    let shared = support::tar(&[("shared", b"1")]);
    let two = vec![shared.clone(), support::tar(&[("own", b"2")])];
    let one = vec![shared];
    let first = support::config(&one, json!({ "Cmd": null }));
    let second = support::config(&two, json!({ "Cmd": ["x"] }));
    store.import(&support::docker_archive(dir.path(), "one:v1", &one, &first)).unwrap();
    let added = store.import(&support::oci_archive(dir.path(), "localhost/two:v1", &two, &second)).unwrap();
    assert_eq!(store.find("one:v1").unwrap().unwrap().layers, added[0].image.layers[..1]);
    assert_eq!(added[0].image.config.cmd, ["x"]);
    assert!(store.find(added[0].image.digests.first().unwrap()).unwrap().is_some());
    assert!(store.find("one").unwrap().is_none());
    let layers = || std::fs::read_dir(store.layers_dir()).unwrap().flatten().filter(|it| it.path().is_dir()).count();
    assert_eq!(layers(), 2);
    for pack in [support::gzip, support::zstd] {
        let packed = dir.path().join("packed");
        std::fs::write(&packed, pack(&std::fs::read(dir.path().join("saved.tar")).unwrap())).unwrap();
        assert_eq!(store.import(&packed).unwrap()[0].image.tags, ["docker.io/library/one:v1".to_string()].into());
    }
    store.remove("localhost/two:v1", |_| false).unwrap();
    assert_eq!(layers(), 1);
    // A tag that moves leaves its former image without a name.
    store.import(&support::docker_archive(dir.path(), "one:v1", &two, &second)).unwrap();
    assert_eq!(store.find("one:v1").unwrap().unwrap().id, added[0].image.id);
    assert_eq!(store.images().unwrap().len(), 2);
    store.import(&support::docker_archive(dir.path(), "other:v2", &two, &second)).unwrap();
    store.remove("one:v1", |_| false).unwrap();
    assert!(store.find("one:v1").unwrap().is_none() && store.find("other:v2").unwrap().is_some());
    assert!(store.remove("other:v2", |_| true).is_err(), "in use");
    assert!(store.remove("nope", |_| false).is_err());
}

#[test]
fn damaged_archives_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("images")).unwrap();
    let layers = vec![support::tar(&[("a", b"1")])];
    let mut other = layers.clone();
    other[0][0] = b'b';
    for (file, bytes) in [
        ("empty", Vec::new()),
        ("text", b"hello".repeat(300)),
        ("other", support::tar(&[("index.html", b"")])),
        ("cut", support::tar(&[("manifest.json", b"[{\"Config\":\"c\",\"Layers\":[]")])),
    ] {
        let path = dir.path().join(file);
        std::fs::write(&path, bytes).unwrap();
        assert!(store.import(&path).is_err(), "{file}");
    }
    let config = support::config(&layers, json!(null));
    let archive = support::docker_archive(dir.path(), "app:v1", &other, &config);
    assert!(store.import(&archive).is_err(), "a layer with another digest");
    assert_eq!(store.images().unwrap(), []);
}

#[tokio::test]
async fn a_disk_that_fills_up_is_cleaned() {
    if !needs::are_met("a_disk_that_fills_up_is_cleaned", true, &[]) {
        return;
    }
    let disk = support::SmallDisk::new(c"size=8m");
    let store = Store::open(&disk.path().join("images")).unwrap();
    let images = StoredImages { store: store.clone(), registry: Arc::new(Registry::new().unwrap()) };
    let elsewhere = tempfile::tempdir().unwrap();
    let layer = |name: &str, kilobytes: usize| support::tar(&[(name, &vec![1; kilobytes << 10])]);
    let base = layer("base", 2500);
    for (name, layers) in [
        ("one:v1", vec![base.clone(), layer("one", 100)]),
        ("two:v1", vec![base, layer("two", 100)]),
        ("three:v1", vec![layer("three", 2000)]),
        ("used:v1", vec![layer("used", 1000)]),
    ] {
        let config = support::config(&layers, json!({ "Env": [name] }));
        store.import(&support::docker_archive(elsewhere.path(), name, &layers, &config)).unwrap();
    }
    let in_use = BTreeSet::from(["docker.io/library/used:v1".to_string()]);
    let mut history = History::default();
    let mut clean = async |second: i64, all: bool| {
        let (stored, disk) = (images.list().await.unwrap(), images.disk().await.unwrap());
        let now = Timestamp::from_second(second).unwrap();
        let ids = image_gc::plan(&mut history, &stored, &in_use, disk, all, now);
        for id in &ids {
            images.remove(id).await.unwrap();
        }
        let disk = images.disk().await.unwrap();
        (ids.len(), disk.used_bytes * 100 / disk.capacity_bytes)
    };
    let (removed, percent) = clean(0, false).await;
    assert_eq!((removed, percent < 85), (0, true), "{percent} % are not enough");
    std::fs::write(disk.path().join("other"), vec![1; 1500 << 10]).unwrap();
    let (removed, percent) = clean(1000, false).await;
    // Whichever goes first: one of two that share their base is not enough.
    assert!(removed >= 1 && percent <= 80, "{removed} removed, {percent} % used");
    assert!(store.find("used:v1").unwrap().is_some());
    clean(2000, true).await;
    let left: Vec<String> = store.images().unwrap().into_iter().flat_map(|image| image.tags).collect();
    assert_eq!(left, ["docker.io/library/used:v1"]);
    assert_eq!(std::fs::read_dir(store.layers_dir()).unwrap().count(), 2, "its layer and its size");
}
