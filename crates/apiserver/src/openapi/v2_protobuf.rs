//! Version 2 in protobuf (`openapi.v2.Document` of gnostic), the only form that old clients ask for.

use serde_json::{Map, Value};

/// Encodes a version 2 document.
pub fn encode(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, info(&document["info"]));
    let mut paths = Message::default();
    for (path, item) in fields(&document["paths"]) {
        paths.message(2, named(path, path_item(item)));
    }
    out.message(8, paths);
    let mut definitions = Message::default();
    for (name, definition) in fields(&document["definitions"]) {
        definitions.message(1, named(name, schema(definition)));
    }
    out.message(9, definitions);
    out.0
}

fn info(info: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &info["title"]);
    out.text(2, &info["version"]);
    out
}

fn path_item(item: &Value) -> Message {
    let mut out = Message::default();
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        if item[method].is_object() {
            out.message(number, operation(&item[method]));
        }
    }
    for parameter in items(&item["parameters"]) {
        out.message(9, parameter_item(parameter));
    }
    out
}

fn operation(operation: &Value) -> Message {
    let mut out = Message::default();
    out.texts(1, &operation["tags"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    for parameter in items(&operation["parameters"]) {
        out.message(8, parameter_item(parameter));
    }
    let mut responses = Message::default();
    for (code, response) in fields(&operation["responses"]) {
        // ResponseValue.response
        responses.message(1, named(code, wrapped(1, self::response(response))));
    }
    out.message(9, responses);
    out.texts(10, &operation["schemes"]);
    out.extensions(13, operation);
    out
}

fn response(response: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &response["description"]);
    if response["schema"].is_object() {
        // SchemaItem.schema
        out.message(2, wrapped(1, schema(&response["schema"])));
    }
    out
}

/// `ParametersItem.parameter`: a body, or one of the others.
fn parameter_item(parameter: &Value) -> Message {
    let inner = if parameter["in"] == "body" {
        wrapped(1, body_parameter(parameter))
    } else {
        // NonBodyParameter: header 1, form 2, query 3, path 4
        let number = if parameter["in"] == "path" { 4 } else { 3 };
        wrapped(2, wrapped(number, simple_parameter(parameter)))
    };
    wrapped(1, inner)
}

fn body_parameter(parameter: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &parameter["description"]);
    out.text(2, &parameter["name"]);
    out.text(3, &parameter["in"]);
    out.flag(4, &parameter["required"]);
    out.message(5, schema(&parameter["schema"]));
    out
}

/// Query parameters have `allowEmptyValue` in field 5, path parameters their type.
fn simple_parameter(parameter: &Value) -> Message {
    let (ty, unique) = if parameter["in"] == "path" { (5, 18) } else { (6, 19) };
    let mut out = Message::default();
    out.flag(1, &parameter["required"]);
    out.text(2, &parameter["in"]);
    out.text(3, &parameter["description"]);
    out.text(4, &parameter["name"]);
    out.text(ty, &parameter["type"]);
    out.flag(unique, &parameter["uniqueItems"]);
    out
}

fn schema(schema: &Value) -> Message {
    let mut out = Message::default();
    out.text(1, &schema["$ref"]);
    out.text(2, &schema["format"]);
    out.text(4, &schema["description"]);
    out.texts(19, &schema["required"]);
    if schema["additionalProperties"].is_object() {
        // AdditionalPropertiesItem.schema
        out.message(21, wrapped(1, self::schema(&schema["additionalProperties"])));
    }
    if schema["type"].is_string() {
        // TypeItem.value
        let mut ty = Message::default();
        ty.text(1, &schema["type"]);
        out.message(22, ty);
    }
    if schema["items"].is_object() {
        // ItemsItem.schema
        out.message(23, wrapped(1, self::schema(&schema["items"])));
    }
    if schema["properties"].is_object() {
        let mut properties = Message::default();
        for (name, property) in fields(&schema["properties"]) {
            properties.message(1, named(name, self::schema(property)));
        }
        out.message(25, properties);
    }
    out.extensions(31, schema);
    out
}

fn fields(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flat_map(Map::iter)
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// `Named...{name, value}`.
fn named(name: &str, value: Message) -> Message {
    let mut out = Message::default();
    out.bytes(1, name.as_bytes());
    out.message(2, value);
    out
}

fn wrapped(number: u32, inner: Message) -> Message {
    let mut out = Message::default();
    out.message(number, inner);
    out
}

/// A message being written. What is absent in the document is not written.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value.to_le_bytes()[0] | 0x80);
            value >>= 7;
        }
        self.0.push(value.to_le_bytes()[0]);
    }

    fn bytes(&mut self, number: u32, payload: &[u8]) {
        self.varint(u64::from(number) << 3 | 2);
        self.varint(payload.len() as u64);
        self.0.extend(payload);
    }

    fn message(&mut self, number: u32, message: Message) {
        self.bytes(number, &message.0);
    }

    fn text(&mut self, number: u32, value: &Value) {
        if let Some(text) = value.as_str() {
            self.bytes(number, text.as_bytes());
        }
    }

    fn texts(&mut self, number: u32, value: &Value) {
        items(value).for_each(|text| self.text(number, text));
    }

    fn flag(&mut self, number: u32, value: &Value) {
        if value == &Value::Bool(true) {
            self.varint(u64::from(number) << 3);
            self.varint(1);
        }
    }

    /// All `x-` fields: names, and values as YAML text, of which JSON is a part.
    fn extensions(&mut self, number: u32, value: &Value) {
        for (name, extension) in fields(value).filter(|(name, _)| name.starts_with("x-")) {
            let mut any = Message::default();
            any.bytes(2, extension.to_string().as_bytes());
            self.message(number, named(name, any));
        }
    }
}
