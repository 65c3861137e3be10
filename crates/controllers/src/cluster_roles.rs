//! ClusterRole aggregation: the rules of a role that gathers those of others.
//!
//! Source: the clusterrole-aggregation controller of `kube-controller-manager`. A role that gathers from roles that
//! gather themselves comes right in several rounds, each started by the write of the one before.

use backstay_api::meta;
use backstay_api::selector::LabelSelector;
use serde_json::Value;

/// The whole new rules of one role.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregated {
    pub name: String,
    pub resource_version: String,
    pub rules: Vec<Value>,
}

/// The roles whose rules are not what they gather, by name. `roles` are all ClusterRoles.
pub fn plan(roles: &[Value]) -> Vec<Aggregated> {
    let mut sorted: Vec<&Value> = roles.iter().collect();
    sorted.sort_by_key(|role| meta::name(role));
    sorted.iter().filter_map(|role| aggregate(role, &sorted)).collect()
}

fn aggregate(role: &Value, roles: &[&Value]) -> Option<Aggregated> {
    meta::value_at(role, &["aggregationRule"])?;
    let mut rules: Vec<Value> = Vec::new();
    for selector in meta::list_at(role, &["aggregationRule", "clusterRoleSelectors"]) {
        // One that cannot be read selects nobody knows what: the role stays as it is.
        let selector = LabelSelector::from_object(selector).ok()?;
        let selected = roles.iter().filter(|other| selector.matches(&meta::labels(other)));
        let others = selected.filter(|other| meta::name(other) != meta::name(role));
        for rule in others.flat_map(|other| meta::list_at(other, &["rules"])) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    (rules != meta::list_at(role, &["rules"])).then(|| Aggregated {
        name: meta::name(role).into(),
        resource_version: meta::resource_version(role).into(),
        rules,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A role as `NAME [label=L] [from=L]* [rule=R]*`.
    fn role(line: &str) -> Value {
        let mut words = line.split_whitespace();
        let mut role = json!({ "metadata": { "name": words.next() } });
        let (mut rules, mut selectors) = (Vec::new(), Vec::new());
        for (what, value) in words.filter_map(|word| word.split_once('=')) {
            match what {
                "label" => role["metadata"]["labels"][value] = json!("true"),
                "from" => selectors.push(json!({ "matchLabels": { value: "true" } })),
                _ => rules.push(json!({ "verbs": [value] })),
            }
        }
        if !selectors.is_empty() {
            role["aggregationRule"] = json!({ "clusterRoleSelectors": selectors });
        }
        role["rules"] = json!(rules);
        role
    }

    fn check(roles: &[&str], expected: &[&str]) {
        let roles: Vec<Value> = roles.iter().map(|line| role(line)).collect();
        let text = |one: &Aggregated| {
            let rules = one.rules.iter().map(|rule| rule["verbs"][0].as_str().unwrap_or("?"));
            format!("{}: {}", one.name, rules.collect::<Vec<_>>().join(" "))
        };
        assert_eq!(plan(&roles).iter().map(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn rules_are_gathered_by_name_once_each() {
        check(&["a rule=x", "b label=l rule=y"], &[]);
        check(&["a from=l", "c label=l rule=y", "b label=l rule=z rule=y"], &["a: z y"]);
        check(&["a from=l rule=y", "b label=l rule=y"], &[]);
        check(&["a from=l rule=own", "b rule=y"], &["a: "]);
        check(&["a label=l from=l rule=x", "b label=l rule=y"], &["a: y"]);
        check(&["a from=l from=m", "b label=l rule=y", "c label=m rule=z"], &["a: y z"]);
    }
}
