//! The forms in which objects are printed.

pub mod columns;
pub mod grid;
pub mod json;
pub mod kyaml;
pub mod table;
pub mod yaml;
mod yaml_scalar;

use std::fs;

use backstay_api::json_path::Template;
use backstay_api::meta;
use serde_json::{Value, json};

use crate::error::{Failure, Outcome, quoted};
use columns::Columns;

/// `-o` and what belongs to it, for verbs that print the objects they touched.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct OutputArgs {
    /// Print as: json, yaml, kyaml, name, jsonpath=..., jsonpath-file=..., jsonpath-as-json=...
    #[arg(short, long, value_name = "FORMAT")]
    pub output: Option<String>,
    /// Template for -o jsonpath
    #[arg(long, value_name = "TEMPLATE", hide_short_help = true)]
    pub template: Option<String>,
    /// Keep managedFields when printing as json or yaml
    #[arg(long)]
    pub show_managed_fields: bool,
}

/// A form for whole objects.
#[derive(Clone, Debug)]
pub enum Format {
    Json,
    Yaml,
    Kyaml,
    Name,
    JsonPath(Template, String),
    JsonPathAsJson(Template),
    Columns(Columns),
    Wide,
}

const BASIC: &str =
    "go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,kyaml,name,template,templatefile,yaml";
const WITH_COLUMNS: &str = "custom-columns,custom-columns-file,go-template,go-template-file,json,jsonpath,\
     jsonpath-as-json,jsonpath-file,kyaml,name,template,templatefile,wide,yaml";

impl OutputArgs {
    /// `None`: the verb's own words. `tables`: the verb can also print columns.
    pub fn format(&self, tables: bool) -> Outcome<Option<Format>> {
        let Some(output) = self.output.as_deref().filter(|output| !output.is_empty()) else {
            return Ok(None);
        };
        let (kind, value) = match output.split_once('=') {
            Some((kind, value)) => (kind, Some(value.to_string())),
            None => (output, self.template.clone()),
        };
        let from_file = || {
            let path = value.clone().unwrap_or_default();
            fs::read_to_string(&path)
                .map_err(|error| Failure::plain(format!("error reading --template {path}, {error}")))
        };
        let needed = || {
            value
                .clone()
                .filter(|value| !value.is_empty())
                .ok_or_else(|| Failure::plain("template format specified but no template given".to_string()))
        };
        let path = |text: String| Ok(Format::JsonPath(Template::parse(&text).map_err(Failure::Plain)?, text));
        let format = match kind {
            "json" => Format::Json,
            "yaml" => Format::Yaml,
            "kyaml" => Format::Kyaml,
            "name" => Format::Name,
            "jsonpath" => path(needed()?)?,
            "jsonpath-file" => path(from_file()?)?,
            "jsonpath-as-json" => Format::JsonPathAsJson(Template::parse(&needed()?).map_err(Failure::Plain)?),
            "wide" if tables => Format::Wide,
            "custom-columns" if tables => {
                Format::Columns(Columns::parse(&value.clone().unwrap_or_default()).map_err(Failure::Plain)?)
            }
            "custom-columns-file" if tables => Format::Columns(columns_of_file(&from_file()?)?),
            "go-template" | "go-template-file" | "template" | "templatefile" => {
                return Err(Failure::plain(format!("-o {kind} is not supported here; use -o jsonpath=...")));
            }
            _ => {
                let allowed = if tables { WITH_COLUMNS } else { BASIC };
                return Err(Failure::plain(format!(
                    "unable to match a printer suitable for the output format {}, allowed formats are: {allowed}",
                    quoted(output)
                )));
            }
        };
        Ok(Some(format))
    }
}

/// Two lines: headers, and below each its path.
fn columns_of_file(text: &str) -> Outcome<Columns> {
    let mut lines = text.lines().filter(|line| !line.trim().is_empty());
    let words = |line: Option<&str>| line.unwrap_or("").split_whitespace().map(str::to_string).collect::<Vec<_>>();
    let (headers, paths) = (words(lines.next()), words(lines.next()));
    if headers.len() != paths.len() {
        let text =
            format!("number of headers ({}) and field specifications ({}) don't match", headers.len(), paths.len());
        return Err(Failure::Plain(text));
    }
    let spec: Vec<String> = headers.iter().zip(&paths).map(|(header, path)| format!("{header}:{path}")).collect();
    Columns::parse(&spec.join(",")).map_err(Failure::Plain)
}

impl Format {
    /// One object. `first`: nothing has been printed yet (YAML documents are separated).
    pub fn object(&self, object: &Value, first: bool, managed_fields: bool) -> Outcome<String> {
        let object = &without_managed_fields(object.clone(), managed_fields);
        Ok(match self {
            Self::Json => json::text(object),
            Self::Yaml if first => yaml::text(object),
            Self::Yaml => format!("---\n{}", yaml::text(object)),
            Self::Kyaml => kyaml::text(object),
            Self::Name => format!("{}\n", name(object)),
            Self::JsonPath(template, text) => template.fill(object).map_err(|error| {
                Failure::plain(format!("error executing jsonpath {}: Error executing template: {error}", quoted(text)))
            })?,
            Self::JsonPathAsJson(template) => json::text(&Value::Array(template.find(object).map_err(Failure::Plain)?)),
            Self::Columns(columns) => grid::layout(&[columns.header(), columns.row(object).map_err(Failure::Plain)?]),
            Self::Wide => return Err(Failure::plain("-o wide needs a table")),
        })
    }
}

/// `daemonset.apps/x`.
pub fn name(object: &Value) -> String {
    let kind = meta::str_at(object, &["kind"]).to_lowercase();
    let group = meta::gvk(object).map(|gvk| gvk.group).unwrap_or_default();
    format!("{}/{}", backstay_api::status::qualified(&kind, &group), meta::name(object))
}

/// Hides `managedFields`, of the object or of the items of a list.
pub fn without_managed_fields(mut object: Value, keep: bool) -> Value {
    if !keep {
        meta::remove_meta(&mut object, "managedFields");
        for item in object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten() {
            meta::remove_meta(item, "managedFields");
        }
    }
    object
}

/// Several objects as one.
pub fn list(items: Vec<Value>) -> Value {
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

/// What a dry run means for a verb.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DryRun {
    #[default]
    None,
    Client,
    Server,
}

impl DryRun {
    /// From the flag's value.
    pub fn parse(text: &str) -> Outcome<Self> {
        match text {
            "none" | "false" => Ok(Self::None),
            "client" => Ok(Self::Client),
            "server" => Ok(Self::Server),
            other => Err(Failure::plain(format!(
                "Invalid dry-run value ({other}). Must be \"none\", \"server\", or \"client\"."
            ))),
        }
    }

    /// The `dryRun` parameter.
    pub fn query(self) -> &'static str {
        if self == Self::Server { "All" } else { "" }
    }

    fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Client => " (dry run)",
            Self::Server => " (server dry run)",
        }
    }
}

/// `--dry-run`; without a value it means the client.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct DryRunArg {
    /// none, server (ask, but change nothing) or client (ask nothing)
    #[arg(long, value_name = "MODE", default_value = "none", num_args = 0..=1, require_equals = true,
          default_missing_value = "unchanged")]
    pub dry_run: String,
}

impl DryRunArg {
    pub fn mode(&self, io: &crate::io::Io) -> Outcome<DryRun> {
        if self.dry_run == "unchanged" {
            io.err_line("--dry-run is deprecated and can be replaced with --dry-run=client.");
            return Ok(DryRun::Client);
        }
        DryRun::parse(&self.dry_run)
    }
}

/// Says what was done to objects, or prints them in the form the user asked for.
#[derive(Clone, Debug)]
pub struct Report {
    format: Option<Format>,
    managed_fields: bool,
    dry_run: DryRun,
    printed: std::cell::Cell<bool>,
}

impl Report {
    pub fn new(args: &OutputArgs, dry_run: DryRun) -> Outcome<Self> {
        let format = args.format(false)?;
        Ok(Self { format, managed_fields: args.show_managed_fields, dry_run, printed: std::cell::Cell::new(false) })
    }

    /// `daemonset.apps/x created`, with the suffix of a dry run.
    pub fn text(&self, object: &Value, operation: &str) -> Outcome<String> {
        let first = !self.printed.replace(true);
        match &self.format {
            None if operation.is_empty() => Ok(format!("{}\n", name(object))),
            None => Ok(format!("{} {operation}{}\n", name(object), self.dry_run.suffix())),
            Some(format) => format.object(object, first, self.managed_fields),
        }
    }

    pub fn has_format(&self) -> bool {
        self.format.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(output: &str) -> OutputArgs {
        OutputArgs { output: Some(output.into()), ..OutputArgs::default() }
    }

    #[test]
    fn unknown_formats_are_refused_with_the_known_ones() {
        let error = args("wide").format(false).unwrap_err().to_string();
        assert_eq!(
            error,
            "error: unable to match a printer suitable for the output format \"wide\", allowed formats are: \
             go-template,go-template-file,json,jsonpath,jsonpath-as-json,jsonpath-file,kyaml,name,template,\
             templatefile,yaml"
        );
        assert!(matches!(args("wide").format(true).unwrap(), Some(Format::Wide)));
        let error = args("go-template={{.x}}").format(true).unwrap_err().to_string();
        assert_eq!(error, "error: -o go-template is not supported here; use -o jsonpath=...");
    }

    #[test]
    fn reports_name_the_object_and_the_operation() {
        let object = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"}});
        let check = |output: Option<&str>, dry_run: DryRun, expected: &str| {
            let args = OutputArgs { output: output.map(str::to_string), ..OutputArgs::default() };
            assert_eq!(Report::new(&args, dry_run).unwrap().text(&object, "done").unwrap(), expected);
        };
        check(None, DryRun::None, "daemonset.apps/x done\n");
        check(None, DryRun::Server, "daemonset.apps/x done (server dry run)\n");
        check(Some("name"), DryRun::Client, "daemonset.apps/x\n");
        check(Some("jsonpath={.kind}"), DryRun::None, "DaemonSet");
    }
}
