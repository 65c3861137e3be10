//! What a `resourceFieldRef` of an environment variable comes to, from the container's own requests and limits.

use backstay_api::meta;
use serde_json::Value;

/// The amount divided by the divisor, rounded up. What is not set counts as 0.
pub(super) fn of_resource(container: &Value, field: &Value) -> Option<String> {
    let (list, name) = meta::str_at(field, &["resource"]).split_once('.')?;
    let amount = meta::value_at(container, &["resources", list, name]).map_or(Some(0), milli)?;
    let divisor = field.get("divisor").map_or(Some(0), milli)?;
    let divisor = if divisor == 0 { 1000 } else { divisor };
    if name == "cpu" {
        return Some(divided_up(amount, divisor).to_string());
    }
    Some(divided_up(divided_up(amount, 1000), divided_up(divisor, 1000)).to_string())
}

fn divided_up(amount: i128, divisor: i128) -> i128 {
    (amount + divisor - 1).div_euclid(divisor)
}

/// A quantity in thousandths, rounded up.
fn milli(quantity: &Value) -> Option<i128> {
    let text = crate::go::plain(quantity);
    let end = text.find(|c: char| !(c.is_ascii_digit() || ".+-".contains(c))).unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let scale = i32::try_from(fraction.len()).ok()?;
    let digits: i128 = format!("{whole}{fraction}").parse().ok()?;
    let (factor, exponent) = factor(suffix)?;
    let exponent = exponent - scale + 3;
    let scaled = digits.checked_mul(factor)?;
    let power = 10i128.checked_pow(exponent.unsigned_abs())?;
    if exponent < 0 { Some(divided_up(scaled, power)) } else { scaled.checked_mul(power) }
}

/// A suffix as a factor and a power of ten.
fn factor(suffix: &str) -> Option<(i128, i32)> {
    const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    const DECIMAL: [(&str, i32); 10] =
        [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];
    if let Some(power) = BINARY.iter().position(|binary| *binary == suffix) {
        return Some((1 << (10 * (power + 1)), 0));
    }
    if let Some((_, exponent)) = DECIMAL.iter().find(|(decimal, _)| *decimal == suffix) {
        return Some((1, *exponent));
    }
    Some((1, suffix.strip_prefix(['e', 'E'])?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn amounts_are_rounded_up_to_the_divisor() {
        let container =
            json!({"resources": {"limits": {"cpu": "1500m", "memory": "1536Mi"}, "requests": {"cpu": "0.1"}}});
        let check = |resource: &str, divisor: &str, expected: &str| {
            let field = json!({"resource": resource, "divisor": divisor});
            assert_eq!(of_resource(&container, &field).as_deref(), Some(expected), "{resource} {divisor}");
        };
        check("limits.cpu", "0", "2");
        check("limits.cpu", "1m", "1500");
        check("requests.cpu", "1", "1");
        check("limits.memory", "1Gi", "2");
        check("limits.memory", "0", "1610612736");
        check("requests.memory", "1", "0");
    }
}
