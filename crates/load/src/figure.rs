//! One line of JSON per figure.

use serde_json::Value;

/// Prints the figure: its name, and whatever was measured.
pub fn print(name: &str, mut measured: Value) {
    measured["figure"] = name.into();
    println!("{measured}");
}

/// Rounded to three digits after the point: more would be noise.
pub fn rounded(number: f64) -> f64 {
    (number * 1e3).round() / 1e3
}
