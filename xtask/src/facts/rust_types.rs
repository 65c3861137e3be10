//! Reads the struct definitions of `k8s-openapi`'s generated sources, as text.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use super::{TypeName, rust_files, short_name};

/// One struct of the API.
#[derive(Clone, Debug, Default)]
pub struct Definition {
    /// The group of an object with `apiVersion` and `kind` of its own.
    pub group: Option<String>,
    /// By JSON name.
    pub fields: BTreeMap<String, Field>,
}

#[derive(Clone, Debug)]
pub struct Field {
    pub ty: Ty,
    pub required: bool,
}

/// A field's type. Names are scalars (`string`, `int32`, `Time`...), `any`, or structs (`apps.v1.DaemonSetSpec`).
#[derive(Clone, Debug, PartialEq)]
pub enum Ty {
    Name(String),
    List(Box<Ty>),
    Map(Box<Ty>),
}

/// All stable definitions, by name.
pub fn read(directory: &Path) -> Result<BTreeMap<TypeName, Definition>> {
    let mut definitions = BTreeMap::new();
    for path in rust_files(directory)? {
        let text = std::fs::read_to_string(&path)?;
        let Some(line) = text.lines().next().and_then(|line| line.strip_prefix("// Generated from definition ")) else {
            continue;
        };
        let name = short_name(&line.replace('.', "::"));
        let version = name.split('.').nth(1).unwrap_or("");
        let stable = version.strip_prefix('v').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        if !stable {
            continue;
        }
        if let Some(definition) = definition(&text).with_context(|| format!("read {}", path.display()))? {
            definitions.insert(name, definition);
        }
    }
    Ok(definitions)
}

/// `None` for what is not a struct with named fields (Time, Quantity, unions).
fn definition(text: &str) -> Result<Option<Definition>> {
    let Some(start) = text.find("\npub struct ") else { return Ok(None) };
    let body = &text[start + 1..];
    let head = body.lines().next().unwrap_or("");
    if !head.ends_with("{") && !head.ends_with("{ }") && !head.ends_with("{}") {
        return Ok(None);
    }
    let json_names = json_names(text);
    let mut definition = Definition::default();
    let group = text.split("const GROUP: &'static str = \"").nth(1).and_then(|rest| rest.split('"').next());
    for line in body.lines().skip(1).take_while(|line| !line.starts_with('}')) {
        let Some((ident, ty)) = line.trim().strip_prefix("pub ").and_then(|field| field.split_once(": ")) else {
            continue;
        };
        let ident = ident.trim_start_matches("r#").trim_end_matches('_');
        let json = json_names.get(ident).with_context(|| format!("no JSON name for {ident}"))?;
        let ty = ty.trim_end_matches(',');
        let optional = ty.strip_prefix("Option<").and_then(|ty| ty.strip_suffix('>'));
        // k8s-openapi makes `metadata` plain in every kind; the API description requires it nowhere.
        let required = optional.is_none() && json != "metadata";
        definition.fields.insert(json.clone(), Field { ty: rust_type(optional.unwrap_or(ty)), required });
    }
    let standalone = STANDALONE.iter().any(|name| head.contains(&format!(" {name} ")));
    definition.group = group.or(standalone.then_some("")).map(str::to_string);
    if definition.group.is_some() {
        for name in ["apiVersion", "kind"] {
            let field = Field { ty: Ty::Name("string".into()), required: false };
            definition.fields.entry(name.into()).or_insert(field);
        }
    }
    Ok(Some(definition))
}

/// Kinds that k8s-openapi does not mark as resources.
const STANDALONE: &[&str] = &["DeleteOptions", "Status"];

/// Rust field name -> JSON name, from the field identifiers of the Deserialize implementation.
fn json_names(text: &str) -> BTreeMap<String, String> {
    let pairs = text.lines().filter_map(|line| line.trim().strip_suffix(',')?.split_once(" => Field::Key_"));
    pairs.map(|(json, ident)| (ident.trim_end_matches('_').to_string(), json.trim_matches('"').to_string())).collect()
}

fn rust_type(text: &str) -> Ty {
    let inner = |prefix: &str| text.strip_prefix(prefix).and_then(|rest| rest.strip_suffix('>'));
    if let Some(element) = inner("std::vec::Vec<") {
        return Ty::List(Box::new(rust_type(element)));
    }
    if let Some(value) = inner("std::collections::BTreeMap<std::string::String, ") {
        return Ty::Map(Box::new(rust_type(value)));
    }
    if let Some(boxed) = inner("std::boxed::Box<") {
        return rust_type(boxed);
    }
    let name = match text {
        "std::string::String" => "string".into(),
        "bool" => "bool".into(),
        "i32" => "int32".into(),
        "i64" => "int64".into(),
        "f64" => "double".into(),
        "crate::ByteString" => "bytes".into(),
        path => named(short_name(path)),
    };
    Ty::Name(name)
}

fn named(name: TypeName) -> String {
    match name.rsplit('.').next().unwrap_or("") {
        scalar @ ("Time" | "MicroTime" | "Quantity" | "IntOrString") => scalar.to_string(),
        "RawExtension" | "FieldsV1" => "any".into(),
        // Unions of the schema of custom resources, and the JSON values in it.
        "JSON" | "JSONSchemaPropsOrArray" | "JSONSchemaPropsOrBool" | "JSONSchemaPropsOrStringArray" => "any".into(),
        _ => name,
    }
}
