//! As whom, and with which rights, a container runs: its own security context over its pod's.

use backstay_api::{meta, pod};
use serde_json::Value;

use crate::runtime::{Capabilities, ImageUser, Profile, SecurityContext, SelinuxOptions};

/// Of one container. `image_user`: as whom it would run; `None`: as the agent does, since there is no image.
///
/// # Errors
/// In a kubelet's words, for a `CreateContainerConfigError`: it must not run as root, and would or might.
pub fn of_container(pod: &Value, container: &Value, image_user: Option<&ImageUser>) -> Result<SecurityContext, String> {
    let asked = |field: &str| own(container, field).or_else(|| of_spec(pod, field));
    let id = |field: &str| asked(field).and_then(id);
    let is = |field: &str| own(container, field) == Some(&Value::Bool(true));
    let user = id("runAsUser");
    if asked("runAsNonRoot") == Some(&Value::Bool(true)) {
        check_not_root(pod, container, user, image_user)?;
    }
    let capabilities = own(container, "capabilities").unwrap_or(&Value::Null);
    let names = |field: &str| -> Vec<String> {
        meta::list_at(capabilities, &[field]).iter().filter_map(|name| Some(name.as_str()?.to_string())).collect()
    };
    let mut groups = pod_groups(pod);
    groups.dedup();
    Ok(SecurityContext {
        privileged: is("privileged"),
        user,
        group: id("runAsGroup"),
        supplemental_groups: groups,
        strict_groups: strict_groups(pod),
        capabilities: Capabilities { add: names("add"), drop: names("drop") },
        read_only_root: is("readOnlyRootFilesystem"),
        no_new_privileges: own(container, "allowPrivilegeEscalation") == Some(&Value::Bool(false)),
        seccomp: profile(asked("seccompProfile")),
        apparmor: profile(asked("appArmorProfile")),
        selinux: asked("seLinuxOptions").map(selinux),
        unmasked_proc: own(container, "procMount").and_then(Value::as_str) == Some("Unmasked"),
    })
}

/// Of the pod as a whole, for what all of its containers share.
pub fn of_pod(pod: &Value) -> SecurityContext {
    let id = |field: &str| of_spec(pod, field).and_then(id);
    SecurityContext {
        privileged: pod::own_containers(pod).any(|container| own(container, "privileged") == Some(&Value::Bool(true))),
        user: id("runAsUser"),
        group: id("runAsGroup"),
        supplemental_groups: pod_groups(pod),
        strict_groups: strict_groups(pod),
        seccomp: profile(of_spec(pod, "seccompProfile")),
        selinux: of_spec(pod, "seLinuxOptions").map(selinux),
        ..SecurityContext::default()
    }
}

/// The reason in the status of a pod that a node without AppArmor cannot protect as it asks.
pub const APPARMOR: &str = "AppArmor";

/// Whether a node, whose kernel has AppArmor or not, can give the pod's containers the profiles that they ask for.
///
/// # Errors
/// If not, in the kubelet's words.
pub fn check_apparmor(pod: &Value, is_there: bool) -> Result<(), String> {
    let asked = |container| own(container, "appArmorProfile").or_else(|| of_spec(pod, "appArmorProfile"));
    let mut profiles = pod::own_containers(pod).map(|container| profile(asked(container)));
    let is_asked_for = profiles.any(|profile| !matches!(profile, Profile::Unset | Profile::Unconfined));
    if is_asked_for && !is_there {
        return Err("Cannot enforce AppArmor: AppArmor is not enabled on the host".to_string());
    }
    Ok(())
}

/// The group that the pod's volumes belong to.
pub fn fs_group(pod: &Value) -> Option<u32> {
    of_spec(pod, "fsGroup").and_then(id)
}

fn check_not_root(
    pod: &Value,
    container: &Value,
    user: Option<u32>,
    image_user: Option<&ImageUser>,
) -> Result<(), String> {
    let whose = || {
        let (name, namespace, uid) = (meta::name(pod), meta::namespace(pod).unwrap_or("default"), meta::uid(pod));
        format!("(pod: \"{name}_{namespace}({uid})\", container: {})", meta::str_at(container, &["name"]))
    };
    match (user, image_user) {
        (Some(0), _) => Err(format!("container's runAsUser breaks non-root policy {}", whose())),
        (Some(_), _) => Ok(()),
        (None, Some(ImageUser::Root | ImageUser::Id(0))) => {
            Err(format!("container has runAsNonRoot and image will run as root {}", whose()))
        }
        (None, Some(ImageUser::Id(_))) => Ok(()),
        (None, Some(ImageUser::Name(name))) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root {}",
            whose()
        )),
        (None, None) if rustix::process::geteuid().is_root() => {
            Err("container has runAsNonRoot and would run as root: set securityContext.runAsUser".to_string())
        }
        (None, None) => Ok(()),
    }
}

fn own<'a>(container: &'a Value, field: &str) -> Option<&'a Value> {
    meta::value_at(container, &["securityContext", field])
}

fn of_spec<'a>(pod: &'a Value, field: &str) -> Option<&'a Value> {
    meta::value_at(pod, &["spec", "securityContext", field])
}

fn id(value: &Value) -> Option<u32> {
    value.as_u64().and_then(|id| u32::try_from(id).ok())
}

fn pod_groups(pod: &Value) -> Vec<u32> {
    let groups = meta::list_at(pod, &["spec", "securityContext", "supplementalGroups"]).iter().filter_map(id);
    groups.chain(fs_group(pod)).collect()
}

fn strict_groups(pod: &Value) -> bool {
    of_spec(pod, "supplementalGroupsPolicy").and_then(Value::as_str) == Some("Strict")
}

fn profile(value: Option<&Value>) -> Profile {
    let Some(value) = value else { return Profile::Unset };
    match meta::str_at(value, &["type"]) {
        "RuntimeDefault" => Profile::RuntimeDefault,
        "Unconfined" => Profile::Unconfined,
        "Localhost" => Profile::Localhost(meta::str_at(value, &["localhostProfile"]).to_string()),
        _ => Profile::Unset,
    }
}

fn selinux(value: &Value) -> SelinuxOptions {
    let text = |field: &str| meta::str_at(value, &[field]).to_string();
    SelinuxOptions { user: text("user"), role: text("role"), kind: text("type"), level: text("level") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_container_overrides_its_pod() {
        let pod = json!({ "spec": { "securityContext": {
            "runAsUser": 5, "runAsGroup": 6, "fsGroup": 7, "supplementalGroups": [8], "seccompProfile": { "type": "RuntimeDefault" } } } });
        let container = json!({ "name": "c", "securityContext": {
            "runAsUser": 9, "capabilities": { "add": ["NET_ADMIN"], "drop": ["ALL"] }, "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true, "seccompProfile": { "type": "Localhost", "localhostProfile": "p.json" } } });
        let seen = of_container(&pod, &container, None).unwrap();
        assert_eq!((seen.user, seen.group, seen.supplemental_groups), (Some(9), Some(6), vec![8, 7]));
        assert_eq!(seen.capabilities, Capabilities { add: vec!["NET_ADMIN".into()], drop: vec!["ALL".into()] });
        assert_eq!(seen.seccomp, Profile::Localhost("p.json".into()));
        assert!(seen.read_only_root && seen.no_new_privileges && !seen.privileged);
        assert_eq!(of_pod(&pod).seccomp, Profile::RuntimeDefault);
    }

    fn check(user: Option<u32>, image: Option<ImageUser>, refused: Option<&str>) {
        let pod = json!({ "metadata": { "name": "p", "namespace": "n", "uid": "u" },
            "spec": { "securityContext": { "runAsNonRoot": true, "runAsUser": user } } });
        let seen = of_container(&pod, &json!({ "name": "c" }), image.as_ref());
        match refused {
            None => assert!(seen.is_ok(), "{user:?} {image:?}: {seen:?}"),
            Some(text) => {
                assert!(seen.as_ref().is_err_and(|error| error.contains(text)), "{user:?} {image:?}: {seen:?}")
            }
        }
    }

    #[test]
    fn root_is_refused_where_it_is_not_wanted() {
        check(Some(1), Some(ImageUser::Root), None);
        check(
            Some(0),
            Some(ImageUser::Id(4)),
            Some("runAsUser breaks non-root policy (pod: \"p_n(u)\", container: c)"),
        );
        check(None, Some(ImageUser::Root), Some("image will run as root"));
        check(None, Some(ImageUser::Id(0)), Some("image will run as root"));
        check(None, Some(ImageUser::Id(4)), None);
        check(None, Some(ImageUser::Name("www".into())), Some("non-numeric user (www)"));
    }

    #[test]
    fn profiles_need_a_kernel_that_has_them() {
        let profile = |kind: &str| json!({ "appArmorProfile": { "type": kind } });
        for (of_pod, of_container, expected) in [
            (json!({}), json!({}), true),
            (json!({}), profile("Unconfined"), true),
            (json!({}), profile("RuntimeDefault"), false),
            (json!({}), profile("Localhost"), false),
            (profile("RuntimeDefault"), json!({}), false),
            (profile("RuntimeDefault"), profile("Unconfined"), true),
        ] {
            for field in ["containers", "initContainers"] {
                let pod =
                    json!({ "spec": { "securityContext": of_pod, field: [{ "securityContext": of_container }] } });
                assert_eq!(check_apparmor(&pod, false).is_ok(), expected, "{pod}");
                assert_eq!(check_apparmor(&pod, true), Ok(()));
            }
        }
    }
}
