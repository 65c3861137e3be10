//! Formats that have a name, and what is wrong with a text that has not the format.

use super::{Entry, global, member};
use crate::cel::eval::{Cx, Outcome, no_overload};
use crate::cel::value::Value;
use crate::validation::{format, names};

#[derive(Debug)]
pub struct NamedFormat {
    pub name: &'static str,
    complaints: fn(&str) -> Vec<String>,
}

macro_rules! formats {
    ($($name:literal, $qualified:literal, $get:ident, $complaints:expr;)*) => {
        static FORMATS: &[NamedFormat] = &[$(NamedFormat { name: $name, complaints: $complaints }),*];

        pub(super) static ALL: &[Entry] = &[
            $(global($qualified, "", "format", $get),)*
            global("format.named", "string", "optional<format>", named),
            member("validate", "format, string", "optional<list<string>>", validate),
        ];

        $(fn $get<'a>(_: &mut Cx<'a>, _: &[Value<'a>]) -> Outcome<Value<'a>> {
            Ok(find($name).map_or(Value::Null, Value::Format))
        })*
    };
}

formats! {
    "dns1123Label", "format.dns1123Label", dns_1123_label, names::dns_label;
    "dns1123Subdomain", "format.dns1123Subdomain", dns_1123_subdomain, names::dns_subdomain;
    "dns1035Label", "format.dns1035Label", dns_1035_label, names::dns_1035_label;
    "dns1123LabelPrefix", "format.dns1123LabelPrefix", dns_1123_label_prefix, |text| names::dns_label(&prefix(text));
    "dns1123SubdomainPrefix", "format.dns1123SubdomainPrefix", dns_1123_subdomain_prefix,
        |text| names::dns_subdomain(&prefix(text));
    "dns1035LabelPrefix", "format.dns1035LabelPrefix", dns_1035_label_prefix,
        |text| names::dns_1035_label(&prefix(text));
    "qualifiedName", "format.qualifiedName", qualified_name, names::label_key;
    "labelValue", "format.labelValue", label_value, names::label_value;
    "uri", "format.uri", uri, |text| fits("uri", text);
    "uuid", "format.uuid", uuid, |text| fits("uuid", text);
    "byte", "format.byte", byte, |text| fits("byte", text);
    "date", "format.date", date, |text| fits("date", text);
    "datetime", "format.datetime", datetime, |text| fits("datetime", text);
}

/// A prefix may end with a dash: something will follow.
fn prefix(text: &str) -> String {
    match text.strip_suffix('-') {
        Some(start) if !start.is_empty() => format!("{start}a"),
        _ => text.to_string(),
    }
}

fn fits(format: &str, text: &str) -> Vec<String> {
    if format::fits(format, text) { Vec::new() } else { vec![format!("does not match the format {format}")] }
}

fn find(name: &str) -> Option<&'static NamedFormat> {
    FORMATS.iter().find(|format| format.name == name)
}

fn named<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(name)] = args else { return no_overload() };
    Ok(find(name).map_or(Value::Optional(None), |format| Value::some(Value::Format(format))))
}

/// The complaints; none if there are none.
fn validate<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Format(format), Value::String(text)] = args else { return no_overload() };
    cx.spend_bytes(text.len() * 2)?;
    Ok(match (format.complaints)(text) {
        complaints if complaints.is_empty() => Value::Optional(None),
        complaints => Value::some(Value::list(complaints.into_iter().map(Value::text).collect())),
    })
}
