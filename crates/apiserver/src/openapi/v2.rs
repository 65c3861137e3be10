//! The document of version 2 (Swagger), made from the parts of version 3: all kinds in one.

use serde_json::{Map, Value, json};

use super::{Kind, bearer_token, group_versions, info, paths, schemas};

pub fn document(kinds: &[Kind<'_>]) -> Value {
    let mut definitions = Map::new();
    for (_, kinds) in group_versions(kinds) {
        definitions.extend(schemas::all(&kinds).into_iter().map(|(name, schema)| (name, definition(schema))));
    }
    let paths: Map<String, Value> = paths::all(kinds).into_iter().map(|(path, item)| (path, path_item(item))).collect();
    json!({
        "swagger": "2.0", "info": info(), "paths": paths, "definitions": definitions,
        "securityDefinitions": {"BearerToken": bearer_token()}, "security": [{"BearerToken": []}],
    })
}

/// A schema in the words of version 2: plain references, one type where version 3 has a choice.
fn definition(schema: Value) -> Value {
    let Value::Object(mut fields) = schema else { return schema };
    if let Some(Value::Array(all)) = fields.remove("allOf") {
        for part in all {
            fields.extend(part.as_object().cloned().unwrap_or_default());
        }
    }
    if fields.remove("oneOf").is_some() {
        fields.insert("type".into(), "string".into());
    }
    for unknown in ["anyOf", "not", "nullable"] {
        fields.remove(unknown);
    }
    if let Some(reference) = fields.get("$ref").and_then(Value::as_str) {
        let local = reference.replace("#/components/schemas/", "#/definitions/");
        fields.insert("$ref".into(), local.into());
    }
    let nested = |(name, value): (String, Value)| match name.as_str() {
        "items" | "additionalProperties" => (name, definition(value)),
        "properties" => (name, properties(value)),
        _ => (name, value),
    };
    Value::Object(fields.into_iter().map(nested).collect())
}

fn properties(properties: Value) -> Value {
    let Value::Object(fields) = properties else { return properties };
    Value::Object(fields.into_iter().map(|(name, schema)| (name, definition(schema))).collect())
}

fn path_item(item: Value) -> Value {
    let Value::Object(fields) = item else { return item };
    let converted = fields.into_iter().map(|(name, value)| {
        let value = if name == "parameters" { parameters(value) } else { operation(value) };
        (name, value)
    });
    Value::Object(converted.collect())
}

fn parameters(list: Value) -> Value {
    let Value::Array(list) = list else { return list };
    list.into_iter().map(parameter).collect()
}

/// The schema of a parameter moves into the parameter.
fn parameter(parameter: Value) -> Value {
    let Value::Object(mut fields) = parameter else { return parameter };
    if let Some(Value::Object(schema)) = fields.remove("schema") {
        fields.extend(schema);
    }
    Value::Object(fields)
}

fn operation(operation: Value) -> Value {
    let Value::Object(mut fields) = operation else { return operation };
    let mut list = match fields.remove("parameters").map(parameters) {
        Some(Value::Array(list)) => list,
        _ => Vec::new(),
    };
    let mut consumes = json!(["*/*"]);
    if let Some(body) = fields.remove("requestBody") {
        let content = body["content"].as_object().cloned().unwrap_or_default();
        let schema = content.values().next().map(|media| definition(media["schema"].clone()));
        list.insert(0, json!({
            "name": "body", "in": "body", "required": body["required"] == true, "schema": schema.unwrap_or_default(),
        }));
        consumes = content.keys().map(|name| Value::from(name.as_str())).collect();
    }
    fields.insert("consumes".into(), consumes);
    fields.insert(
        "produces".into(),
        json!(["application/json", "application/yaml", "application/vnd.kubernetes.protobuf"]),
    );
    fields.insert("schemes".into(), json!(["https"]));
    if !list.is_empty() {
        fields.insert("parameters".into(), list.into());
    }
    if let Some(responses) = fields.remove("responses") {
        fields.insert("responses".into(), self::responses(responses));
    }
    Value::Object(fields)
}

fn responses(responses: Value) -> Value {
    let Value::Object(fields) = responses else { return responses };
    let converted = fields.into_iter().map(|(code, response)| {
        let mut simple = json!({"description": response["description"]});
        let media = response["content"].as_object().and_then(|content| content.values().next());
        if let Some(media) = media {
            simple["schema"] = definition(media["schema"].clone());
        }
        (code, simple)
    });
    Value::Object(converted.collect())
}
