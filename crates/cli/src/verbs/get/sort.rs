//! `--sort-by`.

use std::cmp::Ordering;

use backstay_api::quantity::Quantity;
use serde_json::Value;

use crate::error::{Failure, Outcome};
use backstay_api::json_path::Template;

/// Sorts by what the path finds in each object; objects without it come first.
///
/// # Errors
/// If the path makes no sense, or no object has anything there.
pub fn by_path<T>(items: &mut Vec<T>, path: &str, object: impl Fn(&T) -> &Value) -> Outcome {
    let template = Template::relaxed(path).map_err(Failure::Plain)?;
    let mut keyed = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        let key = template.find(object(&item)).map_err(Failure::Plain)?.into_iter().next();
        keyed.push((key, item));
    }
    if !keyed.is_empty() && keyed.iter().all(|(key, _)| key.is_none()) {
        return Err(Failure::plain(format!("couldn't find any field with path \"{path}\" in the list of objects")));
    }
    keyed.sort_by(|(a, _), (b, _)| match (a, b) {
        (Some(a), Some(b)) => compare(a, b),
        (a, b) => a.is_some().cmp(&b.is_some()),
    });
    items.extend(keyed.into_iter().map(|(_, item)| item));
    Ok(())
}

fn compare(a: &Value, b: &Value) -> Ordering {
    match (a, b) {
        (Value::String(a), Value::String(b)) => match (Quantity::parse(a), Quantity::parse(b)) {
            (Ok(a), Ok(b)) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
            _ => natural(a, b),
        },
        (Value::Bool(a), Value::Bool(b)) => a.cmp(b),
        (a, b) => a.as_f64().partial_cmp(&b.as_f64()).unwrap_or(Ordering::Equal),
    }
}

/// Runs of digits count by their value: `a2` before `a10`.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (a, b);
    loop {
        let (Some(left), Some(right)) = (a.chars().next(), b.chars().next()) else {
            return a.len().cmp(&b.len());
        };
        if left.is_ascii_digit() && right.is_ascii_digit() {
            let (left, rest_a) = digits(a);
            let (right, rest_b) = digits(b);
            let order = left.len().cmp(&right.len()).then(left.cmp(right));
            if order != Ordering::Equal {
                return order;
            }
            (a, b) = (rest_a, rest_b);
        } else if left != right {
            return left.cmp(&right);
        } else {
            (a, b) = (&a[left.len_utf8()..], &b[right.len_utf8()..]);
        }
    }
}

/// Leading digits without their zeros, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].trim_start_matches('0'), &text[end..])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn values_sort_by_their_kind() {
        let check = |values: Value, expected: Value| {
            let mut items: Vec<Value> = values.as_array().unwrap().iter().map(|value| json!({"a": value})).collect();
            by_path(&mut items, ".a", |item| item).unwrap();
            let sorted: Vec<Value> = items.into_iter().map(|item| item["a"].clone()).collect();
            assert_eq!(Value::from(sorted), expected);
        };
        check(json!([3, 1, 2]), json!([1, 2, 3]));
        check(json!(["a10", "a2", "b1", "a2b"]), json!(["a2", "a2b", "a10", "b1"]));
        check(json!(["1Gi", "100Mi", "1"]), json!(["1", "100Mi", "1Gi"]));
        let mut items = vec![json!({})];
        assert!(by_path(&mut items, ".a", |item| item).is_err());
    }
}
