//! What a network says of itself.

use serde_json::Value;

/// Addresses of the pod's own devices, without the lengths of their networks, in the order of the result.
pub(super) fn addresses(result: &Value) -> Vec<String> {
    let plain = |address: &Value| address.as_str().and_then(|text| text.split('/').next()).map(String::from);
    let interfaces = result["interfaces"].as_array();
    let in_pod = |ip: &&Value| match (ip["interface"].as_u64(), interfaces) {
        (Some(index), Some(all)) => {
            let interface = usize::try_from(index).ok().and_then(|index| all.get(index));
            interface.is_some_and(|interface| interface["sandbox"].as_str().is_some_and(|sandbox| !sandbox.is_empty()))
        }
        _ => true,
    };
    let now = result["ips"].as_array().into_iter().flatten().filter(in_pod).filter_map(|ip| plain(&ip["address"]));
    // Before version 0.3.0.
    let before = ["ip4", "ip6"].into_iter().filter_map(|kind| plain(&result[kind]["ip"]));
    now.chain(before).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn addresses_are_those_inside() {
        for (result, expected) in [
            (
                json!({ "ips": [{ "address": "10.0.0.2/16" }, { "address": "fd00::2/64" }] }),
                vec!["10.0.0.2", "fd00::2"],
            ),
            (
                json!({ "interfaces": [{ "name": "br0" }, { "name": "eth0", "sandbox": "/ns" }],
                    "ips": [{ "address": "10.0.0.1/16", "interface": 0 }, { "address": "10.0.0.2/16", "interface": 1 }] }),
                vec!["10.0.0.2"],
            ),
            (json!({ "ip4": { "ip": "10.0.0.3/8" } }), vec!["10.0.0.3"]),
            (json!({ "ip6": { "ip": "fd00::3/64" } }), vec!["fd00::3"]),
            (json!({ "ip6": { "ip": "fd00::3/64" }, "ip4": { "ip": "10.0.0.3/8" } }), vec!["10.0.0.3", "fd00::3"]),
            (json!({}), vec![]),
        ] {
            assert_eq!(addresses(&result), expected, "{result}");
        }
    }
}
