//! Acting as somebody else: the `Impersonate-*` headers. Source: `k8s.io/apiserver` `endpoints/filters/impersonation`.

use std::collections::BTreeMap;

use backstay_api::Status;
use http::HeaderMap;

use super::{Action, Attributes, Resource, RuleIndex, forbidden};
use crate::UserInfo;
use crate::identity::{AUTHENTICATED, UNAUTHENTICATED};

const USER: &str = "impersonate-user";
const GROUP: &str = "impersonate-group";
const UID: &str = "impersonate-uid";
const EXTRA: &str = "impersonate-extra-";

const AUTHENTICATION: &str = "authentication.k8s.io";
const ANONYMOUS: &str = "system:anonymous";

/// Whom the request acts as; `None` if it has no such headers.
///
/// # Errors
/// `BadRequest` if the headers name no user, `Forbidden` if `user` may not act as this one.
pub fn impersonate(index: &RuleIndex, user: &UserInfo, headers: &HeaderMap) -> Result<Option<UserInfo>, Status> {
    let wanted = wanted(headers);
    if wanted == UserInfo::default() {
        return Ok(None);
    }
    if wanted.name.is_empty() {
        return Err(Status::bad_request(format!("requested {} without impersonating a user name", in_go(&wanted))));
    }
    for resource in resources(&wanted) {
        let attributes = Attributes { user, verb: "impersonate", action: Action::Resource(resource) };
        let decision = index.authorize(&attributes);
        if !decision.allowed {
            return Err(forbidden(&attributes, &decision.reason));
        }
    }
    Ok(Some(with_groups(wanted)))
}

/// The user as the headers say, and nothing more.
fn wanted(headers: &HeaderMap) -> UserInfo {
    // Names need not be ASCII. One that cannot be read must not be passed over: the request would be sent as its sender.
    let texts =
        |name: &str| headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let mut wanted = UserInfo {
        name: texts(USER).next().unwrap_or_default(),
        uid: texts(UID).next().unwrap_or_default(),
        groups: texts(GROUP).collect(),
        extra: BTreeMap::new(),
    };
    for name in headers.keys() {
        if let Some(key) = name.as_str().strip_prefix(EXTRA) {
            wanted.extra.insert(percent_decoded(key), texts(name.as_str()).collect());
        }
    }
    wanted
}

/// What one needs the verb `impersonate` on.
fn resources(wanted: &UserInfo) -> Vec<Resource<'_>> {
    let of = |group, resource, name| Resource { group, resource, name, ..Resource::default() };
    let mut resources = vec![match service_account(&wanted.name) {
        Some((namespace, name)) => Resource { namespace, ..of("", "serviceaccounts", name) },
        None => of("", "users", &wanted.name),
    }];
    resources.extend(wanted.groups.iter().map(|group| of("", "groups", group)));
    for (key, values) in &wanted.extra {
        let value = |value| Resource { subresource: key, ..of(AUTHENTICATION, "userextras", value) };
        resources.extend(values.iter().map(|text| value(text.as_str())));
    }
    if !wanted.uid.is_empty() {
        resources.push(of(AUTHENTICATION, "uids", &wanted.uid));
    }
    resources
}

/// Adds the groups that follow from who the user is.
fn with_groups(mut user: UserInfo) -> UserInfo {
    if user.groups.is_empty()
        && let Some((namespace, _)) = service_account(&user.name)
    {
        user.groups = vec!["system:serviceaccounts".into(), format!("system:serviceaccounts:{namespace}")];
    }
    let is_settled = user.is_in(AUTHENTICATED) || user.is_in(UNAUTHENTICATED);
    if user.name == ANONYMOUS && !user.is_in(UNAUTHENTICATED) {
        user.groups.push(UNAUTHENTICATED.into());
    } else if user.name != ANONYMOUS && !is_settled {
        user.groups.push(AUTHENTICATED.into());
    }
    user
}

/// Namespace and name in `system:serviceaccount:NAMESPACE:NAME`.
fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (!namespace.is_empty() && !name.is_empty() && !name.contains(':')).then_some((namespace, name))
}

/// Header names cannot hold every key: the others come percent-encoded.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..2).filter(|_| *first == b'%').and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_string())
}

/// As Go prints a `user.DefaultInfo` with `%#v`.
fn in_go(user: &UserInfo) -> String {
    let list = |texts: &[String]| match texts {
        [] => "[]string(nil)".to_string(),
        texts => format!("[]string{{{}}}", texts.iter().map(|text| format!("{text:?}")).collect::<Vec<_>>().join(", ")),
    };
    let extra = user.extra.iter().map(|(key, values)| format!("{key:?}:{}", list(values))).collect::<Vec<_>>();
    let extra = match extra.as_slice() {
        [] => "(nil)".to_string(),
        extra => format!("{{{}}}", extra.join(", ")),
    };
    let UserInfo { name, uid, groups, .. } = user;
    let groups = list(groups);
    format!("&user.DefaultInfo{{Name:{name:?}, UID:{uid:?}, Groups:{groups}, Extra:map[string][]string{extra}}}")
}

#[cfg(test)]
mod tests {
    use backstay_store::MemoryStore;
    use http::{HeaderName, HeaderValue};

    use super::*;
    use backstay_store::Store;

    fn check(user: &UserInfo, headers: &[(&str, &str)], expected: &str) {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name = HeaderName::from_bytes(name.as_bytes()).expect("a name");
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let index = RuleIndex::build(&*MemoryStore::new().snapshot());
        let seen = match impersonate(&index, user, &map) {
            Ok(None) => "nobody else".to_string(),
            Ok(Some(user)) => format!("{} {} {:?} {:?}", user.name, user.uid, user.groups, user.extra),
            Err(status) => format!("{} {}", status.code(), status.message()),
        };
        assert_eq!(seen, expected, "{headers:?}");
    }

    #[test]
    fn who_acts_as_whom() {
        let admin = UserInfo::new("root", &["system:masters"]);
        check(&admin, &[("accept", "x")], "nobody else");
        check(&admin, &[("Impersonate-User", "a")], r#"a  ["system:authenticated"] {}"#);
        check(&admin, &[("Impersonate-User", "j\u{fc}rgen")], "j\u{fc}rgen  [\"system:authenticated\"] {}");
        check(
            &admin,
            &[
                ("Impersonate-User", "a"),
                ("Impersonate-Group", "g"),
                ("Impersonate-Group", "h"),
                ("Impersonate-Uid", "7"),
            ],
            r#"a 7 ["g", "h", "system:authenticated"] {}"#,
        );
        check(
            &admin,
            &[("Impersonate-User", "system:serviceaccount:d:s"), ("Impersonate-Extra-acme.com%2fproject", "p")],
            r#"system:serviceaccount:d:s  ["system:serviceaccounts", "system:serviceaccounts:d", "system:authenticated"] {"acme.com/project": ["p"]}"#,
        );
        check(
            &admin,
            &[("Impersonate-User", "system:anonymous")],
            r#"system:anonymous  ["system:unauthenticated"] {}"#,
        );
        check(
            &admin,
            &[("Impersonate-Group", "system:masters")],
            "400 requested &user.DefaultInfo{Name:\"\", UID:\"\", Groups:[]string{\"system:masters\"}, \
             Extra:map[string][]string(nil)} without impersonating a user name",
        );
        check(
            &UserInfo::new("mere", &[]),
            &[("Impersonate-User", "root")],
            "403 users \"root\" is forbidden: User \"mere\" cannot impersonate resource \"users\" in API group \"\" \
             at the cluster scope",
        );
        check(
            &UserInfo::new("mere", &[]),
            &[("Impersonate-User", "system:serviceaccount:d:s")],
            "403 serviceaccounts \"s\" is forbidden: User \"mere\" cannot impersonate resource \"serviceaccounts\" in \
             API group \"\" in the namespace \"d\"",
        );
    }
}
