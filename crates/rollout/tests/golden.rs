//! Compares with what kubectl 1.36 printed for recorded objects. Skipped, loudly, where the recordings are not at hand.

use std::fs;
use std::path::{Path, PathBuf};

use backstay_rollout::{History, Revision, describe, history, status, tabs, undo};
use serde_json::Value;

fn manifests() -> Option<PathBuf> {
    let shared = std::env::var_os("BACKSTAY_SHARED")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared"), PathBuf::from);
    let manifests = shared.join("data/golden/manifests");
    if !manifests.is_dir() {
        eprintln!("SKIPPED: no recordings in {}; set BACKSTAY_SHARED", manifests.display());
        return None;
    }
    Some(manifests)
}

/// Calls `each` with a directory, the name of a DaemonSet and a stage (2 or 3), for all recordings.
fn for_each(mut each: impl FnMut(&Path, &str, u8)) {
    let Some(manifests) = manifests() else { return };
    let mut seen = 0;
    for directory in fs::read_dir(manifests).unwrap() {
        let directory = directory.unwrap().path();
        for file in fs::read_dir(&directory).unwrap() {
            let file = file.unwrap().file_name().into_string().unwrap();
            for stage in [2, 3] {
                let Some(name) = file.strip_prefix(&format!("{stage}-daemonset_")) else { continue };
                each(&directory, name.strip_suffix(".json").unwrap(), stage);
                seen += 1;
            }
        }
    }
    assert!(seen > 50, "only {seen} recordings found");
}

fn read(directory: &Path, file: &str) -> String {
    fs::read_to_string(directory.join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

fn daemonset(directory: &Path, name: &str, stage: u8) -> Value {
    serde_json::from_str(&read(directory, &format!("{stage}-daemonset_{name}.json"))).unwrap()
}

/// The recordings replaced all UIDs by the same text, so the owner's name decides here.
fn revisions(directory: &Path, daemonset: &Value, stage: u8) -> History {
    let name = daemonset["metadata"]["name"].as_str().unwrap();
    let namespace = daemonset["metadata"]["namespace"].as_str().unwrap();
    let list = read(directory, &format!("{stage}-controllerrevisions_{namespace}.json"));
    let mut revisions = Revision::read_list(&list).unwrap();
    revisions.retain(|revision| revision.object["metadata"]["ownerReferences"][0]["name"] == name);
    History::of(daemonset, revisions)
}

fn show(name: &str, view: &str) -> String {
    normalised(&format!("daemonset.apps/{name} {view}\n"))
}

/// The recordings hide the server's address, which one of the manifests happens to name.
fn normalised(text: &str) -> String {
    text.replace("http://127.0.0.1:9100", "https://<server>")
}

#[test]
fn history_is_that_of_kubectl() {
    for_each(|directory, name, stage| {
        let daemonset = daemonset(directory, name, stage);
        let revisions = revisions(directory, &daemonset, stage);
        let list = show(name, &history::view(&revisions, 0).unwrap());
        assert_eq!(list, read(directory, &format!("{stage}-history_{name}.out")));
        if stage == 2 {
            for number in [1, 2] {
                let detail = show(name, &history::view(&revisions, number).unwrap());
                assert_eq!(detail, read(directory, &format!("2-history-revision-{number}_{name}.out")));
            }
        }
    });
}

#[test]
fn undo_finds_the_recorded_way_back() {
    for_each(|directory, name, stage| {
        let daemonset = daemonset(directory, name, stage);
        let revisions = revisions(directory, &daemonset, stage);
        let newest = *revisions.by_number().last_key_value().unwrap().0;
        let target = undo::target(&revisions, 0).unwrap();
        assert_eq!(target.number(), newest - 1);
        assert_eq!(undo::skipped(&daemonset, target, 0), None, "{name}");
        let current = undo::target(&revisions, newest).unwrap();
        let skipped = format!("skipped rollback (current template already matches revision {newest})");
        assert_eq!(undo::skipped(&daemonset, current, newest), Some(skipped), "{name}");
        if stage == 3 {
            assert_eq!(
                format!("{}\n", undo::ROLLED_BACK),
                read(directory, &format!("3-undo_{name}.out")).split_once(' ').unwrap().1
            );
            let error = directory.join(format!("3-undo_{name}.err"));
            let recorded = fs::read_to_string(error).unwrap_or_default();
            let warning = undo::warning("daemonsets", &daemonset).map(|line| line + "\n").unwrap_or_default();
            assert_eq!(warning, recorded);
        }
    });
}

#[test]
fn status_is_that_of_kubectl() {
    for_each(|directory, name, stage| {
        if stage == 3 {
            let line = match status::progress(&daemonset(directory, name, stage)) {
                Ok(progress) => progress.line,
                Err(status::StatusError::NotRolling) => String::new(),
            };
            assert_eq!(line, read(directory, &format!("3-status_{name}.out")));
        }
    });
}

/// The template block of `describe`, which is the same text in columns. The lines above it belong to other columns.
#[test]
fn describe_shows_the_same_template() {
    for_each(|directory, name, stage| {
        if stage == 3 {
            let daemonset = daemonset(directory, name, stage);
            let block = describe::template(&daemonset["spec"]["template"]);
            let block = normalised(&tabs::align(&block, 0, 2));
            let recorded = read(directory, &format!("3-describe_{name}.out"));
            let recorded = &recorded[recorded.find("Pod Template:\n").unwrap()..];
            let recorded = &recorded[..recorded.find("Events:").unwrap()];
            assert_eq!(block, recorded, "{name}");
        }
    });
}
