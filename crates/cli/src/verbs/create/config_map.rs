//! `create configmap`: entries from flags and files.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::error::{Failure, Outcome, quoted};

pub fn object(name: &str, literals: &[String], files: &[String], env_files: &[PathBuf]) -> Outcome<Value> {
    let mut entries = Entries::default();
    for literal in literals {
        let (key, text) = literal
            .split_once('=')
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| Failure::plain(format!("invalid literal source {literal}, expected key=value")))?;
        entries.add(key, text.as_bytes().to_vec())?;
    }
    for file in files {
        match file.split_once('=') {
            Some((key, path)) => entries.add(key, read(Path::new(path))?)?,
            None => entries.add_path(Path::new(file))?,
        }
    }
    for file in env_files {
        let text = String::from_utf8_lossy(&read(file)?).into_owned();
        for line in text.lines().map(str::trim_start).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (key, text) = line.split_once('=').unwrap_or((line, ""));
            entries.add(key, text.as_bytes().to_vec())?;
        }
    }
    let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}});
    for (field, values) in [("data", entries.texts), ("binaryData", entries.binaries)] {
        if !values.is_empty() {
            object[field] = Value::Object(values);
        }
    }
    Ok(object)
}

#[derive(Default)]
struct Entries {
    texts: Map<String, Value>,
    binaries: Map<String, Value>,
}

impl Entries {
    /// Under its own name; of a directory, all files.
    fn add_path(&mut self, path: &Path) -> Outcome {
        if !path.is_dir() {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            return self.add(&name, read(path)?);
        }
        let entries = fs::read_dir(path).map_err(|error| Failure::plain(error.to_string()))?;
        let mut paths: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
        paths.sort();
        paths.iter().try_for_each(|path| self.add_path(path))
    }

    fn add(&mut self, key: &str, bytes: Vec<u8>) -> Outcome {
        if self.texts.contains_key(key) || self.binaries.contains_key(key) {
            return Err(Failure::plain(format!(
                "cannot add key {}, another key by that name already exists",
                quoted(key)
            )));
        }
        match String::from_utf8(bytes) {
            Ok(text) => self.texts.insert(key.into(), text.into()),
            Err(error) => self.binaries.insert(key.into(), STANDARD.encode(error.as_bytes()).into()),
        };
        Ok(())
    }
}

fn read(path: &Path) -> Outcome<Vec<u8>> {
    fs::read(path).map_err(|error| Failure::plain(format!("error reading {}: {error}", path.display())))
}
