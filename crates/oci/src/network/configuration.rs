//! What a network is made of: a list of plugins, as a file of the machine names them.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::version;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Configuration {
    pub(super) name: String,
    pub(super) version: String,
    /// Besides, those that it is written for as well, the newest first; none: `version` alone.
    #[serde(default)]
    pub(super) versions: Vec<String>,
    /// What each of them reads; `type` is the program.
    pub(super) plugins: Vec<Map<String, Value>>,
}

/// Of a configuration that names none. Source: the specification.
const VERSION_UNSAID: &str = "0.1.0";

impl Configuration {
    /// The first good one in the folder, by file name; `None` if there is not even a bad one.
    ///
    /// # Errors
    /// What is wrong with the first, if none is good.
    pub(super) fn find(folder: &Path) -> Result<Option<Self>, String> {
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format!("{}: {error}", folder.display())),
        };
        let known = |path: &PathBuf| {
            path.extension().is_some_and(|end| ["conf", "conflist", "json"].iter().any(|known| end == *known))
        };
        let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(known).collect();
        files.sort();
        let mut wrong = None;
        for file in files {
            let read = fs::read(&file).map_err(|error| error.to_string()).and_then(|text| Self::parse(&text));
            match read {
                Ok(configuration) => return Ok(Some(configuration)),
                Err(why) => {
                    tracing::warn!(file = %file.display(), error = %why, "this is no network configuration");
                    wrong.get_or_insert(format!("{}: {why}", file.display()));
                }
            }
        }
        wrong.map_or(Ok(None), Err)
    }

    /// Reads a list of plugins, or one plugin alone.
    fn parse(text: &[u8]) -> Result<Self, String> {
        let whole: Map<String, Value> = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        let text_of = |key: &str| whole.get(key).and_then(Value::as_str).map(String::from);
        let name = text_of("name").filter(|name| !name.is_empty()).ok_or("it has no name")?;
        let own = text_of("cniVersion").filter(|version| !version.is_empty());
        let versions = match whole.get("cniVersions") {
            Some(Value::Array(listed)) => {
                version::spoken(listed.iter().filter_map(Value::as_str).chain(own.as_deref()))
            }
            Some(_) => return Err("its cniVersions are no list".into()),
            None => Vec::new(),
        };
        let version = versions.first().cloned().or(own).unwrap_or_else(|| VERSION_UNSAID.into());
        let plugins = match whole.get("plugins") {
            Some(Value::Array(plugins)) => plugins.iter().map(|plugin| plugin.as_object().cloned()).collect(),
            Some(_) => None,
            None => Some(vec![whole]),
        };
        let plugins: Vec<Map<String, Value>> = plugins.ok_or("its plugins are not a list of objects")?;
        if plugins.is_empty() {
            return Err("it has no plugins".into());
        }
        if plugins.iter().any(|plugin| !plugin.get("type").is_some_and(Value::is_string)) {
            return Err("a plugin without a type".into());
        }
        Ok(Self { name, version, versions, plugins })
    }

    /// What every pod has besides. Source: containerd.
    pub(super) fn loopback() -> Self {
        let plugin = Map::from_iter([("type".to_string(), json!("loopback"))]);
        Self { name: "cni-loopback".into(), version: "0.3.1".into(), versions: Vec::new(), plugins: vec![plugin] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files of a folder, and the name and plugins of what is found.
    fn check(files: &[(&str, &str)], expected: Result<Option<&str>, &str>) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            fs::write(folder.path().join(name), text).unwrap();
        }
        let found = Configuration::find(folder.path()).map(|found| {
            found.map(|Configuration { name, version, plugins, .. }| {
                let kinds: Vec<&str> = plugins.iter().filter_map(|plugin| plugin["type"].as_str()).collect();
                format!("{name} {version} {}", kinds.join("+"))
            })
        });
        let prefix = format!("{}/", folder.path().display());
        let found = found.map_err(|why| why.replace(&prefix, ""));
        assert_eq!(found.as_ref().map(Option::as_deref).map_err(String::as_str), expected, "{files:?}");
    }

    #[test]
    fn the_first_good_file_counts() {
        let list = r#"{"cniVersion":"1.0.0","name":"pods","plugins":[{"type":"bridge"},{"type":"portmap"}]}"#;
        let one = r#"{"name":"old","type":"ptp"}"#;
        check(&[], Ok(None));
        check(&[("README", "no")], Ok(None));
        check(&[("20.conflist", list), ("10.conf", one)], Ok(Some("old 0.1.0 ptp")));
        check(&[("10.conflist", "{"), ("20.conflist", list)], Ok(Some("pods 1.0.0 bridge+portmap")));
        let many = list.replace(r#""1.0.0""#, r#""0.3.1","cniVersions":["0.4.0","1.1.0","7.0.0"]"#);
        check(&[("10.conflist", &many)], Ok(Some("pods 1.1.0 bridge+portmap")));
        check(&[("10.conflist", &many.replace("1.1.0", "0.2.0"))], Ok(Some("pods 0.4.0 bridge+portmap")));
        check(
            &[("a.json", r#"{"name":"x","cniVersions":"1.0.0","type":"b"}"#)],
            Err("a.json: its cniVersions are no list"),
        );
        check(&[("a.json", r#"{"name":"x","plugins":[]}"#)], Err("a.json: it has no plugins"));
        check(&[("a.json", r#"{"name":"x"}"#)], Err("a.json: a plugin without a type"));
        check(&[("a.json", r#"{"plugins":[{"type":"b"}]}"#)], Err("a.json: it has no name"));
    }

    #[test]
    fn a_folder_that_is_not_there_has_none() {
        assert_eq!(Configuration::find(Path::new("/nonexistent/net.d")), Ok(None));
    }
}
