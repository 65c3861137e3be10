//! `backstay image`: what it prints, and what it says when something is wrong.

#[path = "../../oci/tests/support/mod.rs"]
mod packed;
mod support;

use std::os::unix::process::CommandExt as _;
use std::path::Path;

use serde_json::json;
use support::{Ran, backstay, needs, run};

fn image(dir: &Path, arguments: &[&str]) -> Ran {
    run(backstay().arg("image").args(arguments).arg("--data-dir").arg(dir))
}

/// Two images that share a layer, one from `docker save` and one from an OCI layout.
fn pack(dir: &Path) -> [String; 2] {
    let shared = packed::tar(&[("shared", &[1; 2_000_000])]);
    let two = [shared.clone(), packed::tar(&[("own", b"2")])];
    let one = std::slice::from_ref(&shared);
    let saved = packed::docker_archive(dir, "app:v1", one, &packed::config(one, json!({})));
    let layout = packed::oci_archive(dir, "localhost/other:v2", &two, &packed::config(&two, json!({})));
    [saved, layout].map(|path| path.display().to_string())
}

#[test]
fn images_are_imported_listed_and_removed() {
    if !needs::are_met("images_are_imported_listed_and_removed", true, &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (node, [saved, layout]) = (dir.path().join("data"), pack(dir.path()));
    // Nothing is made by looking.
    assert_eq!(image(&node, &["list"]).ok(), "IMAGE   ID                   SIZE\n");
    assert!(!node.exists());
    assert_eq!(image(&node, &["import", &saved]).ok(), "docker.io/library/app:v1\n");
    assert_eq!(image(&node, &["import", &layout]).ok(), "localhost/other:v2\n");
    assert_eq!(image(&node, &["import", &layout]).ok(), "localhost/other:v2\n", "twice is once");
    let listed = image(&node, &["ls"]).ok();
    let columns: Vec<Vec<&str>> = listed.lines().map(|line| line.split_whitespace().collect()).collect();
    let sizes: Vec<(&str, &str)> = columns[1..].iter().map(|row| (row[0], row[2])).collect();
    assert!(sizes.contains(&("docker.io/library/app:v1", "2.0MB")), "{listed}");
    assert!(sizes.contains(&("localhost/other:v2", "2.0MB")), "{listed}");
    assert_eq!(columns.len(), 3, "{listed}");
    // By name, and by what is listed as id.
    assert_eq!(image(&node, &["rm", "app:v1"]).ok(), "docker.io/library/app:v1\n");
    let layers = node.join("node/images/layers");
    assert_eq!(std::fs::read_dir(&layers).unwrap().count(), 4, "two layers and their sizes");
    assert_eq!(image(&node, &["gc"]).ok(), "localhost/other:v2\n");
    assert_eq!(image(&node, &["gc"]).ok(), "");
    assert_eq!(std::fs::read_dir(&layers).unwrap().count(), 0);
}

/// As other programs write them: a tag, and not what it is a tag of.
#[test]
fn a_tag_alone_is_no_name() {
    if !needs::are_met("a_tag_alone_is_no_name", true, &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layers = [packed::tar(&[("own", b"1")])];
    let config = packed::config(&layers, json!({}));
    let said = ["v1", "latest"].map(|tag| ("org.opencontainers.image.ref.name", tag));
    let tagged = packed::oci_archive_that_says(dir.path(), &said, &layers, &config).display().to_string();
    let saved = packed::docker_archive(dir.path(), "app:v1", &layers, &config).display().to_string();
    let node = dir.path().join("data");
    let refused = image(&node, &["import", &tagged]).fails();
    let why = "says of an image that its tag is \"v1\", and not what it is called: say it with --name, as in --name";
    assert!(refused.contains(why), "{refused}");
    let nothing = "IMAGE   ID                   SIZE\n";
    assert_eq!(image(&node, &["list"]).ok(), nothing, "nothing of it is there");
    for (file, name, expected) in [
        (&tagged, "r.example.com/app", "r.example.com/app:v1\nr.example.com/app:latest\n"),
        // Both are the same image.
        (&tagged, "r.example.com/app:v7", "r.example.com/app:v7\nr.example.com/app:v7\n"),
        (&saved, "localhost/mine", "localhost/mine:v1\n"),
        (&saved, "mine:v2", "docker.io/library/mine:v2\n"),
    ] {
        assert_eq!(image(&node, &["import", file, "--name", name]).ok(), expected, "{name}");
    }
    let refused = image(&node, &["import", &tagged, "--name", "Not A Name"]).fails();
    assert!(refused.contains("couldn't parse image name \"Not A Name\""), "{refused}");
}

/// Before anything runs in a directory, nobody can tell whose it will be.
#[test]
fn images_come_before_the_first_start() {
    if !needs::are_met("images_come_before_the_first_start", true, &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [saved, _] = pack(dir.path());
    let check = |name: &str, arguments: &[&str], place: &str, is_said: bool| {
        let data = dir.path().join(name);
        let ran = image(&data, &[&["import", &saved], arguments].concat());
        assert_eq!(ran.stderr.contains("this is for `backstay up`"), is_said, "{name}: {ran:?}");
        assert_eq!(ran.ok(), "docker.io/library/app:v1\n");
        assert!(data.join(place).join("index.json").exists(), "{name}");
        assert_eq!(image(&data, &[&["list"], arguments].concat()).ok().lines().count(), 2);
    };
    check("fresh", &[], "node/images", true);
    check("fresh", &[], "node/images", false);
    check("new-agent", &["--agent"], "images", false);
    std::fs::create_dir_all(dir.path().join("agent/pods")).unwrap();
    check("agent", &[], "images", false);
    std::fs::create_dir_all(dir.path().join("server/node/pods")).unwrap();
    check("server", &[], "node/images", false);
}

#[test]
fn what_is_wrong_is_said() {
    if !needs::are_met("what_is_wrong_is_said", true, &[]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [saved, _] = pack(dir.path());
    let (text, missing) =
        (dir.path().join("text").display().to_string(), dir.path().join("none").display().to_string());
    std::fs::write(&text, "hello".repeat(300)).unwrap();
    for (arguments, expected) in [
        (["import", missing.as_str()], format!("cannot open {missing:?}: No such file or directory")),
        (["import", text.as_str()], format!("{text:?} is neither an OCI layout nor a docker archive")),
        (["rm", "nope:v1"], "no image is named \"nope:v1\"; list them: backstay image list".to_string()),
    ] {
        let said = image(dir.path(), &arguments).fails();
        assert!(said.contains(&expected), "{arguments:?}: {said}");
    }
    let usage = image(dir.path(), &["rm"]).fails();
    assert!(usage.contains("<IMAGE>..."), "{usage}");
    // Somebody else than root may look, but not change.
    let stranger = |arguments: &[&str]| {
        let mut command = backstay();
        command.arg("image").args(arguments).arg("--data-dir").arg(dir.path()).uid(65534).gid(65534);
        run(command.current_dir("/"))
    };
    let can_run_at_all = run(backstay().arg("--version").uid(65534).current_dir("/"));
    assert_eq!(can_run_at_all.code, Some(0), "the program is not to be reached by others: {can_run_at_all:?}");
    for arguments in [&["import", &saved][..], &["rm", "app:v1"], &["gc"]] {
        assert!(stranger(arguments).fails().contains("run as root"), "{arguments:?}");
    }
}
