//! Pulls from a registry that the test serves itself: tokens, manifest lists, redirects, transfers that break off.

#[path = "../../backstay/tests/support/needs.rs"]
mod needs;
mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use backstay_node::runtime::{Credential, Images as _};
use backstay_oci::StoredImages;
use backstay_oci::registry::Registry;
use backstay_oci::store::Store;
use serde_json::json;
use support::SmallDisk;
use support::digest;
use support::registry::{Served, serve};

/// Layers keep their owners, which only root may give.
fn can_run(test: &str) -> bool {
    needs::are_met(test, true, &[])
}

fn image(change: impl FnOnce(&mut Served)) -> Served {
    let layer = support::tar(&[("a", &[7; 3000])]);
    let mut served = support::registry::image(&[layer], json!({ "User": "5:6" }));
    change(&mut served);
    served
}

fn images(dir: &Path) -> StoredImages {
    let store = Store::open(&dir.join("images")).unwrap();
    StoredImages { store, registry: Arc::new(Registry::new().unwrap()) }
}

/// What came of a pull: the image's reference, or the reason and message of the failure.
async fn pull(name: &str, credentials: &[Credential], change: impl FnOnce(&mut Served)) -> (String, Vec<String>) {
    let (port, served) = serve(|_| image(change));
    let dir = tempfile::tempdir().unwrap();
    let images = images(dir.path());
    let store = images.store.clone();
    let name = name.replace("PORT", &port.to_string());
    let shown = match images.pull(&name, credentials).await {
        Ok(image) => {
            assert_eq!(images.find(&name).await.unwrap().unwrap(), image);
            assert_eq!(image.user, backstay_node::runtime::ImageUser::Id(5));
            assert_eq!(std::fs::read_dir(store.tmp_dir()).unwrap().count(), 0);
            image.reference
        }
        Err(error) => {
            assert!(store.images().unwrap().is_empty());
            format!("{}: {}", error.reason, error.message)
        }
    };
    let seen = served.seen.lock().unwrap().clone();
    (shown.replace(&port.to_string(), "PORT"), seen)
}

fn account(username: &str) -> Credential {
    Credential { username: username.into(), password: "p".into(), ..Credential::default() }
}

const NAME: &str = "127.0.0.1:PORT/team/app:v1";

#[tokio::test]
async fn images_are_fetched_by_token() {
    if !can_run("images_are_fetched_by_token") {
        return;
    }
    let (shown, seen) = pull(NAME, &[], |_| {}).await;
    assert!(shown.starts_with("127.0.0.1:PORT/team/app@sha256:"), "{shown}");
    let tokens = seen.iter().filter(|path| path.starts_with("/token?service=s&scope=repository:team/app:pull")).count();
    assert_eq!(tokens, 1, "{seen:?}");
    // The first account that the registry takes.
    let (shown, _) = pull(NAME, &[account("x"), account("u")], |it| it.account = Some("Basic dTpw")).await;
    assert!(shown.contains("@sha256:"), "{shown}");
    let (shown, _) = pull(NAME, &[account("x")], |it| it.account = Some("Basic dTpw")).await;
    assert!(shown.starts_with("ErrImagePull: ") && shown.contains("pull access denied"), "{shown}");
}

#[tokio::test]
async fn broken_transfers_go_on() {
    if !can_run("broken_transfers_go_on") {
        return;
    }
    let (shown, seen) = pull(NAME, &[], |it| it.part = 300).await;
    assert!(shown.contains("@sha256:"), "{shown} {seen:?}");
    assert!(seen.iter().any(|path| path.ends_with("bytes=300-")), "{seen:?}");
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let check = async |name: &str, change: fn(&mut Served), expected: &str| {
        let (shown, _) = pull(name, &[], change).await;
        assert!(shown.starts_with(expected.split('|').next().unwrap()), "{shown}");
        assert!(expected.split('|').all(|part| shown.contains(part)), "{shown}");
    };
    let other_digest = format!("127.0.0.1:PORT/team/app@{}", digest(b"other"));
    check(&other_digest, |_| {}, "ErrImagePull: |not found").await;
    check("127.0.0.1:PORT/team/app:v2", |_| {}, "ErrImagePull: |not found").await;
    check("127.0.0.1:1/team/app", |_| {}, "RegistryUnavailable: |cannot reach http://127.0.0.1:1/").await;
    check("team/App", |_| {}, "InvalidImageName: ").await;
    check(NAME, |it| *it.blobs.get_mut("v1").unwrap() = b"{}".to_vec(), "ErrImagePull: ").await;
    let damage: fn(&mut Served) = |it| {
        let layer = it.blobs.values_mut().find(|blob| blob.len() > 3000).unwrap();
        *layer.last_mut().unwrap() = 1;
    };
    check(NAME, damage, "ErrImagePull: |sent something else than sha256:").await;
    let other: fn(&mut Served) = |it| {
        *it.blobs.get_mut("v1").unwrap() =
            br#"{"manifests":[{"platform":{"os":"windows","architecture":"x"}}]}"#.to_vec();
    };
    check(NAME, other, "ErrImagePull: |has no image for linux/").await;
}

#[tokio::test]
async fn a_fetch_that_was_given_up_goes_on_later() {
    if !can_run("a_fetch_that_was_given_up_goes_on_later") {
        return;
    }
    let (port, served) = serve(|_| image(|it| it.until = 700.into()));
    let dir = tempfile::tempdir().unwrap();
    let images = images(dir.path());
    let name = format!("127.0.0.1:{port}/team/app:v1");
    let error = images.pull(&name, &[]).await.unwrap_err();
    assert_eq!(error.reason, "RegistryUnavailable", "{error}");
    assert!(images.store.images().unwrap().is_empty());
    served.until.store(0, Ordering::SeqCst);
    images.pull(&name, &[]).await.unwrap();
    let seen = served.seen.lock().unwrap().clone();
    assert!(seen.last().unwrap().ends_with("bytes=700-"), "{seen:?}");
    assert_eq!(std::fs::read_dir(images.store.tmp_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_a_crash_leaves_is_removed() {
    if !can_run("what_a_crash_leaves_is_removed") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = images(dir.path()).store;
    let layer = support::tar(&[("a", b"1")]);
    let config = support::config(std::slice::from_ref(&layer), json!(null));
    let kept = store.import(&support::docker_archive(dir.path(), "app:v1", &[layer], &config)).unwrap();
    let tmp = store.tmp_dir();
    std::fs::create_dir_all(tmp.join("half/etc")).unwrap();
    std::fs::write(tmp.join("blob-1"), "half").unwrap();
    std::fs::create_dir(store.layers_dir().join("nobodys")).unwrap();
    std::fs::write(store.layers_dir().join("nobodys.size"), "5").unwrap();
    let fetching = std::fs::File::create(tmp.join("blob-2")).unwrap();
    fetching.lock().unwrap();
    store.clean().unwrap();
    assert!(!tmp.join("half").exists() && !tmp.join("blob-1").exists() && tmp.join("blob-2").exists());
    assert_eq!(std::fs::read_dir(store.layers_dir()).unwrap().count(), 2, "the layer and its size");
    assert_eq!(store.images().unwrap(), [kept[0].image.clone()]);
    drop(fetching);
    store.clean().unwrap();
    assert!(!tmp.join("blob-2").exists());
}

/// Several at once, as by an agent and by somebody beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fetches_of_one_image_do_not_disturb_each_other() {
    if !can_run("fetches_of_one_image_do_not_disturb_each_other") {
        return;
    }
    let (port, _served) = serve(|_| image(|it| it.part = 500));
    let dir = tempfile::tempdir().unwrap();
    let name = format!("127.0.0.1:{port}/team/app:v1");
    let pulls = (0..6).map(|_| {
        let (images, name) = (images(dir.path()), name.clone());
        tokio::spawn(async move { images.pull(&name, &[]).await })
    });
    for pull in pulls.collect::<Vec<_>>() {
        pull.await.unwrap().unwrap();
    }
    let store = images(dir.path()).store;
    assert_eq!(store.images().unwrap().len(), 1);
    assert_eq!(std::fs::read_dir(store.tmp_dir()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_full_disk_is_said_and_left_as_it_was() {
    if !can_run("a_full_disk_is_said_and_left_as_it_was") {
        return;
    }
    let check = async |layers: &[Vec<u8>]| {
        let disk = SmallDisk::new(c"size=256k");
        let images = images(disk.path());
        let (port, _served) = serve(|_| support::registry::image(layers, json!(null)));
        let free = || rustix::fs::statvfs(disk.path()).unwrap().f_bavail;
        let before = free();
        let name = format!("127.0.0.1:{port}/team/app:v1");
        let error = images.pull(&name, &[]).await.unwrap_err();
        assert_eq!(error.reason, "ErrImagePull");
        assert!(error.message.contains("No space left on device"), "{error}");
        assert!(images.store.images().unwrap().is_empty());
        assert_eq!(std::fs::read_dir(images.store.tmp_dir()).unwrap().count(), 0);
        images.store.clean().unwrap();
        assert!(free() + 4 >= before, "{} of {before} blocks", free());
        assert!(!images.store.has_layer(&digest(&layers[0])));
    };
    // While it is fetched, while the second of two is, and while it is unpacked.
    let large = support::tar(&[("a", &[7; 300_000])]);
    check(std::slice::from_ref(&large)).await;
    check(&[support::tar(&[("b", &[8; 150_000])]), large]).await;
    check(&[support::tar(&[("c", &[9; 150_000])])]).await;
}
