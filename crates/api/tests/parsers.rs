//! Parsers of what clients send: nothing they are given makes them panic, and what they write they read again.

use backstay_api::cel::{self, Program};
use backstay_api::quantity::{self, Quantity};
use backstay_api::selector::{FieldSelector, LabelSelector};
use backstay_api::{canonical, table};
use proptest::prelude::*;
use serde_json::Value;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_a_quantity_or_an_error(text in r"[+-]?[0-9.]{0,45}[eEinumkKMGTP+-]{0,3}[0-9]{0,12}") {
        if let Ok(canonical) = quantity::canonical(&text) {
            prop_assert_eq!(quantity::canonical(&canonical), Ok(canonical.clone()), "{} of {}", canonical, text);
            let (left, right) = (Quantity::parse(&text).unwrap(), Quantity::parse(&canonical).unwrap());
            prop_assert!(left == right, "{text} became {canonical}");
        }
    }

    #[test]
    fn sums_of_quantities_do_not_overflow(left in any::<i64>(), right in any::<i64>(), places in -9..9_i32) {
        let text = format!("{left}e{places}");
        let sum = Quantity::parse(&text).unwrap().add(&Quantity::from_int(right));
        prop_assert!(sum.sub(&Quantity::from_int(right)) == Quantity::parse(&text).unwrap());
    }

    #[test]
    fn any_text_is_a_label_selector_or_an_error(text in r"[a-c!=<>(), innot\t]{0,24}") {
        if let Ok(selector) = LabelSelector::parse(&text) {
            prop_assert_eq!(LabelSelector::parse(&selector.to_string()), Ok(selector.clone()), "{}", selector);
        }
    }

    #[test]
    fn any_text_is_a_field_selector_or_an_error(text in r"[ab.=!,\\é ]{0,24}") {
        let _ = FieldSelector::parse(&text);
    }

    #[test]
    fn canonical_json_is_json(text in any::<String>(), number in any::<f64>()) {
        let value = serde_json::json!({text.as_str(): [text.as_str(), 1, null], "n": i64::MIN});
        prop_assert_eq!(serde_json::from_slice::<Value>(&canonical::json(&value)).unwrap(), value);
        if let Some(number) = serde_json::Number::from_f64(number) {
            let text = String::from_utf8(canonical::json(&Value::from(number.clone()))).unwrap();
            prop_assert_eq!(text.parse::<f64>().ok(), number.as_f64());
        }
    }

    #[test]
    fn quantities_of_any_size_are_added(left in any::<i32>(), right in -20..20_i32) {
        let quantity = |exponent: i32| Quantity::parse(&format!("1e{exponent}")).unwrap();
        prop_assert!(quantity(left).add(&quantity(right)) >= quantity(left));
    }

    #[test]
    fn any_text_is_an_expression_or_an_error(words in proptest::collection::vec(word(), 0..24)) {
        let text = words.concat();
        if let Ok(program) = Program::compile(&text, &[("self", cel::Type::Dyn)]) {
            let this = serde_json::json!({"a": [1, 2.5, "x", null], "b": {"c": "1Gi"}, "d": -1});
            let (_, cost) = program.evaluate(vec![("self", cel::Value::of(&this, None))], 10_000);
            prop_assert!(cost < 1_000_000, "{text} cost {cost}");
        }
    }

    #[test]
    fn any_characters_are_an_expression_or_an_error(text in r#"[a-c1.é'"\\\[\](){}?:,&|!+*/ -]{0,32}"#) {
        let _ = Program::compile(&text, &[("a", cel::Type::Dyn)]);
    }

    #[test]
    fn durations_have_words(seconds in any::<i64>()) {
        prop_assert!(!table::human_duration(seconds).is_empty());
    }
}

/// Pieces of expressions, so that some of what is made of them makes sense.
fn word() -> impl Strategy<Value = &'static str> {
    let words = [
        "self",
        ".a",
        ".b.c",
        ".d",
        "[0]",
        "['c']",
        "1",
        "-1",
        "9223372036854775807",
        "1.5",
        "2u",
        "'x'",
        "\"1h\"",
        "b'y'",
        "null",
        "true",
        "[",
        "]",
        "{",
        "}",
        "(",
        ")",
        ",",
        ":",
        "?",
        " + ",
        " - ",
        " * ",
        " / ",
        " % ",
        " == ",
        " != ",
        " < ",
        " in ",
        " && ",
        " || ",
        "!",
        ".size()",
        ".map(x, ",
        ".all(x, ",
        ".filter(x, ",
        "x",
        ".sum()",
        ".min()",
        "int(",
        "string(",
        "duration(",
        "timestamp(",
        "quantity(",
        "has(",
        ".contains(",
        ".matches(",
        ".split(",
        ".format(",
        ".substring(",
        ".orValue(",
        ".?",
        "[?",
        "lists.range(",
        ".flatten()",
        ".distinct()",
        ".sort()",
        "cidr(",
        "url(",
    ];
    proptest::sample::select(words.to_vec())
}
