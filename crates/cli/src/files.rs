//! Objects from files, directories and standard input.

use std::fs;
use std::path::{Path, PathBuf};

use backstay_api::{GroupVersionKind, meta};
use serde::Deserialize as _;
use serde_json::Value;

use crate::error::{Failure, Outcome, quoted};
use crate::io::Io;

/// `-f`, `-R` and `-k`.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct FileArgs {
    /// File or directory with the objects; - reads standard input. May be repeated
    #[arg(short, long, value_name = "FILE", value_delimiter = ',')]
    pub filename: Vec<String>,
    /// Read directories with all that is in them
    #[arg(short = 'R', long)]
    pub recursive: bool,
    /// Kustomization directory (not supported)
    #[arg(short = 'k', long, value_name = "DIR", hide = true)]
    pub kustomize: Option<String>,
}

/// An object and where it comes from.
#[derive(Clone, Debug)]
pub struct Document {
    pub object: Value,
    /// File name as it was given, or `STDIN`.
    pub source: String,
}

impl FileArgs {
    pub fn is_empty(&self) -> bool {
        self.filename.is_empty() && self.kustomize.is_none()
    }

    /// All objects, lists taken apart.
    pub fn read(&self, io: &Io) -> Outcome<Vec<Document>> {
        if self.kustomize.is_some() {
            return Err(Failure::plain("-k is not supported here; run: kustomize build DIR | backstay apply -f -"));
        }
        let mut documents = Vec::new();
        for name in &self.filename {
            if name == "-" {
                documents.extend(parse(&io.read_input()?, "STDIN")?);
            } else if name.starts_with("http://") || name.starts_with("https://") {
                let hint = format!("reading from a URL is not supported here; run: curl -L {name} | ... -f -");
                return Err(Failure::plain(hint));
            } else {
                for path in self.expand(name)? {
                    let shown = path.to_string_lossy();
                    let text = fs::read_to_string(&path)
                        .map_err(|error| Failure::plain(format!("error reading {}: {error}", quoted(&shown))))?;
                    documents.extend(parse(&text, &shown)?);
                }
            }
        }
        Ok(documents)
    }

    fn expand(&self, name: &str) -> Outcome<Vec<PathBuf>> {
        let path = Path::new(name);
        if !path.exists() {
            return Err(Failure::plain(format!("the path {} does not exist", quoted(name))));
        }
        if !path.is_dir() {
            return Ok(vec![path.to_path_buf()]);
        }
        let mut found = Vec::new();
        walk(path, self.recursive, &mut found)?;
        if found.is_empty() {
            let text = format!("error reading [{name}]: recognized file extensions are [.json .yaml .yml]");
            return Err(Failure::plain(text));
        }
        Ok(found)
    }
}

/// Files of a directory with a known extension, by name.
fn walk(directory: &Path, recursive: bool, found: &mut Vec<PathBuf>) -> Outcome {
    let failed = |error: std::io::Error| Failure::plain(format!("error reading {}: {error}", directory.display()));
    let entries = fs::read_dir(directory).map_err(failed)?;
    let mut paths =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    for path in paths {
        if path.is_dir() {
            if recursive {
                walk(&path, true, found)?;
            }
        } else if path
            .extension()
            .is_some_and(|extension| ["json", "yaml", "yml"].iter().any(|known| extension == *known))
        {
            found.push(path);
        }
    }
    Ok(())
}

/// Objects of a text: YAML documents, or JSON.
pub fn parse(text: &str, source: &str) -> Outcome<Vec<Document>> {
    let mut documents = Vec::new();
    for value in values(text, source)? {
        flatten(value, source, &mut documents)?;
    }
    Ok(documents)
}

fn values(text: &str, source: &str) -> Outcome<Vec<Value>> {
    if text.trim_start().starts_with('{') {
        let mut reader = serde_json::Deserializer::from_str(text);
        let mut values = Vec::new();
        while reader.end().is_err() {
            let value = Value::deserialize(&mut reader)
                .map_err(|error| Failure::plain(format!("error parsing {source}: {error}")))?;
            values.push(value);
        }
        return Ok(values);
    }
    yaml_documents(text).map_err(|error| {
        Failure::plain(format!("error parsing {source}: error converting YAML to JSON: yaml: {error}"))
    })
}

/// The YAML of Kubernetes: booleans and octal numbers of YAML 1.1; of double keys the last counts.
pub fn yaml_documents(text: &str) -> Result<Vec<Value>, String> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple_with_options(text, options).map_err(|error| error.to_string())?;
    Ok(documents.into_iter().filter(|document| !document.is_null()).collect())
}

fn flatten(value: Value, source: &str, documents: &mut Vec<Document>) -> Outcome {
    let kind = meta::str_at(&value, &["kind"]).to_string();
    if kind.ends_with("List")
        && let Some(items) = value.get("items").and_then(Value::as_array)
    {
        return items.iter().try_for_each(|item| flatten(item.clone(), source, documents));
    }
    let missing = |field: &str| {
        let text = format!("unable to decode {}: Object '{field}' is missing in '{value}'", quoted(source));
        Err(Failure::plain(text))
    };
    if kind.is_empty() {
        return missing("Kind");
    }
    if meta::str_at(&value, &["apiVersion"]).is_empty() {
        return missing("apiVersion");
    }
    documents.push(Document { object: value, source: source.to_string() });
    Ok(())
}

impl Document {
    pub fn gvk(&self) -> Outcome<GroupVersionKind> {
        meta::gvk(&self.object).ok_or_else(|| {
            let version = meta::str_at(&self.object, &["apiVersion"]);
            Failure::plain(format!("unexpected GroupVersion string: {version}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_is_that_of_kubernetes() {
        let yaml = "a: yes\nb: 0644\nc: \"0644\"\nd: 1e3\ne: ~\n1: x\nf: 12:30\ng: off\nh: v1.2\ni: 9223372036854775807\n---\n# nothing\n---\nz: 1\n";
        let expected = json!({
            "a": true, "b": 420, "c": "0644", "d": 1000.0, "e": null, "1": "x", "f": "12:30", "g": false, "h": "v1.2",
            "i": 9_223_372_036_854_775_807_i64,
        });
        assert_eq!(yaml_documents(yaml).unwrap(), [expected, json!({"z": 1})]);
    }

    #[test]
    fn lists_are_taken_apart() {
        let list = r#"{"kind":"List","apiVersion":"v1","items":[{"kind":"Pod","apiVersion":"v1"}]}"#;
        assert_eq!(parse(list, "x").unwrap().len(), 1);
        let error = parse("a: 1\n", "x.yaml").unwrap_err().to_string();
        assert_eq!(error, "error: unable to decode \"x.yaml\": Object 'Kind' is missing in '{\"a\":1}'");
    }
}
