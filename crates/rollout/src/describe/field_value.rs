//! What a `resourceFieldRef` of an environment variable comes to, from the container's own requests and limits.

use backstay_api::meta;
use backstay_api::quantity::Quantity;
use serde_json::Value;

use crate::go;

/// The amount divided by the divisor, rounded up. What is not set counts as 0.
pub(super) fn of_resource(container: &Value, field: &Value) -> Option<String> {
    let (list, name) = meta::str_at(field, &["resource"]).split_once('.')?;
    let amount = quantity(meta::value_at(container, &["resources", list, name]))?;
    let divisor = Some(quantity(field.get("divisor"))?).filter(|divisor| !divisor.is_zero());
    let divisor = divisor.unwrap_or_else(|| Quantity::from_int(1));
    let value = match name {
        "cpu" => divided_up(amount.to_milli(), divisor.to_milli()),
        _ => divided_up(amount.to_int(), divisor.to_int()),
    };
    Some(value.to_string())
}

fn quantity(value: Option<&Value>) -> Option<Quantity> {
    value.map_or(Some(Quantity::ZERO), |value| Quantity::parse(&go::plain(value)).ok())
}

fn divided_up(amount: i64, divisor: i64) -> i128 {
    (i128::from(amount) + i128::from(divisor) - 1).div_euclid(i128::from(divisor))
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
