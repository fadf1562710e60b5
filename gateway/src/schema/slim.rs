//! What a client's model is told about a tool: enough to write a request, little enough to read many tools.

use serde_json::{Map, Value, json};

const LONGEST_SUMMARY: usize = 240;
const LONGEST_DESCRIPTION: usize = 60;
const MOST_VALUES: usize = 16;
// References lead to references.
const DEEPEST: usize = 4;

/// What the tool does.
pub(super) fn description(schema: &Value) -> String {
    let text = ["x-tool-summary", "description", "title"].iter().find_map(|key| schema.get(key)?.as_str());
    sentence(text.unwrap_or_default(), LONGEST_SUMMARY)
}

/// The top-level fields.
pub(super) fn input(schema: &Value, resolve: &dyn Fn(&str) -> Option<Value>) -> Map<String, Value> {
    let fields = schema.get("properties").and_then(Value::as_object);
    let properties: Map<String, Value> =
        fields.into_iter().flatten().map(|(name, field)| (name.clone(), Value::Object(slim(field, resolve)))).collect();
    let mut input =
        Map::from_iter([("type".to_owned(), json!("object")), ("properties".to_owned(), Value::Object(properties))]);
    if let Some(required) = schema.get("required").filter(|required| required.is_array()) {
        input.insert("required".into(), required.clone());
    }
    // Fields of the envelope come with any tool.
    input.insert("additionalProperties".into(), json!(true));
    input
}

fn slim(field: &Value, resolve: &dyn Fn(&str) -> Option<Value>) -> Map<String, Value> {
    let mut slim = Map::new();
    let kind = kind(field, resolve, DEEPEST);
    if kind.as_deref() == Some("array") {
        let items = field.get("items").and_then(|items| self::kind(items, resolve, DEEPEST));
        if let Some(items) = items {
            slim.insert("items".into(), json!({"type": items}));
        }
    }
    if let Some(kind) = kind {
        slim.insert("type".into(), kind.into());
    }
    if let Some(values) = values(field, resolve, DEEPEST) {
        slim.insert("enum".into(), values);
    }
    if let Some(text) = field.get("description").and_then(Value::as_str) {
        slim.insert("description".into(), sentence(text, LONGEST_DESCRIPTION).into());
    }
    slim
}

/// The one type that a field has, if it has one.
fn kind(field: &Value, resolve: &dyn Fn(&str) -> Option<Value>, depth: usize) -> Option<String> {
    if let Some(kind) = field.get("type") {
        return kind.as_str().map(ToOwned::to_owned);
    }
    let depth = depth.checked_sub(1)?;
    if let Some(reference) = field.get("$ref").and_then(Value::as_str) {
        return kind(&resolve(reference)?, resolve, depth);
    }
    if let Some(parts) = field.get("allOf").and_then(Value::as_array) {
        return parts.iter().find_map(|part| kind(part, resolve, depth));
    }
    let alternatives = ["oneOf", "anyOf"].iter().find_map(|key| field.get(key)?.as_array())?;
    let mut kinds = alternatives.iter().map(|alternative| kind(alternative, resolve, depth));
    let first = kinds.next()??;
    kinds.all(|kind| kind.as_deref() == Some(&first)).then_some(first)
}

fn values(field: &Value, resolve: &dyn Fn(&str) -> Option<Value>, depth: usize) -> Option<Value> {
    if let Some(constant) = field.get("const") {
        return Some(json!([constant]));
    }
    if let Some(values) = field.get("enum") {
        return values.as_array().filter(|values| values.len() <= MOST_VALUES).map(|_| values.clone());
    }
    let reference = field.get("$ref").and_then(Value::as_str)?;
    values(&resolve(reference)?, resolve, depth.checked_sub(1)?)
}

/// The first sentence, or as much of it as fits.
fn sentence(text: &str, limit: usize) -> String {
    let end = text.find(". ").map_or(text.len(), |end| end + 1);
    let sentence = &text[..end];
    match sentence.char_indices().nth(limit) {
        Some((end, _)) => {
            let cut = sentence[..end].rfind(' ').unwrap_or(end);
            format!("{}…", &sentence[..cut])
        }
        None => sentence.to_owned(),
    }
}
