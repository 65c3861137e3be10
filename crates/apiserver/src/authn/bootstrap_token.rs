//! Tokens by which machines join: `ID.SECRET`, kept in a Secret of `kube-system` that says how long it is good, and what
//! for. Source: `plugin/pkg/auth/authenticator/token/bootstrap`.

use backstay_api::{decode, meta};
use backstay_store::Key;
use jiff::Timestamp;
use serde_json::Value;

use crate::UserInfo;
use crate::encode;
use crate::server::Core;

/// The group of all who come with such a token.
pub const BOOTSTRAPPERS: &str = "system:bootstrappers";
/// The type of the Secrets that hold them.
pub const SECRET_TYPE: &str = "bootstrap.kubernetes.io/token";
const NAMESPACE: &str = "kube-system";

/// The two parts of a token of this kind.
pub fn parts(token: &str) -> Option<(&str, &str)> {
    let is_word = |text: &str, length: usize| {
        text.len() == length && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    let (id, secret) = token.split_once('.')?;
    (is_word(id, 6) && is_word(secret, 16)).then_some((id, secret))
}

/// The bearer of a token, if its Secret says that it is good now.
pub fn user(core: &Core, token: &str) -> Option<UserInfo> {
    let (id, secret) = parts(token)?;
    let key = Key::new("secrets", NAMESPACE, &format!("bootstrap-token-{id}"));
    let kept = encode::parse(&*core.store.snapshot().get(&key)?);
    accepts(&kept, id, secret, core.clock.now()).then(|| who(&kept, id))
}

fn accepts(kept: &Value, id: &str, secret: &str, now: Timestamp) -> bool {
    let is_kind = meta::str_at(kept, &["type"]) == SECRET_TYPE && !meta::is_being_deleted(kept);
    let named = text(kept, "token-id") == id;
    let for_this = text(kept, "usage-bootstrap-authentication") == "true";
    is_kind
        && named
        && for_this
        && !is_over(kept, now)
        && same(text(kept, "token-secret").as_bytes(), secret.as_bytes())
}

/// Whether the time of a token is over. One that says a time which cannot be read is not good either.
pub fn is_over(kept: &Value, now: Timestamp) -> bool {
    match text(kept, "expiration").as_str() {
        "" => false,
        until => until.parse::<Timestamp>().map_or(true, |until| until <= now),
    }
}

fn who(kept: &Value, id: &str) -> UserInfo {
    let groups = text(kept, "auth-extra-groups");
    let more = groups.split(',').filter(|group| group.starts_with("system:bootstrappers:"));
    let groups: Vec<&str> = std::iter::once(BOOTSTRAPPERS).chain(more).collect();
    UserInfo::new(&format!("system:bootstrap:{id}"), &groups)
}

fn text(secret: &Value, key: &str) -> String {
    let bytes = decode::base64_bytes(meta::str_at(secret, &["data", key])).unwrap_or_default();
    String::from_utf8(bytes).unwrap_or_default()
}

/// Takes as long however many bytes are right.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |differs, (left, right)| differs | (left ^ right)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use serde_json::json;

    #[test]
    fn what_a_token_looks_like() {
        let check = |token: &str, expected: bool| assert_eq!(parts(token).is_some(), expected, "{token}");
        check("abcdef.0123456789abcdef", true);
        check("abcdef.0123456789abcde", false);
        check("Abcdef.0123456789abcdef", false);
        check("abcdef.0123456789abcdef.x", false);
        check("a.b.c", false);
    }

    fn check(change: &[(&str, &str)], expected: bool) {
        let mut data = json!({});
        let usual = [
            ("token-id", "abcdef"),
            ("token-secret", "0123456789abcdef"),
            ("usage-bootstrap-authentication", "true"),
            ("expiration", "2026-01-01T01:00:00Z"),
            ("auth-extra-groups", "system:bootstrappers:edge,system:masters"),
        ];
        for (key, value) in usual.iter().chain(change) {
            data[*key] = base64::engine::general_purpose::STANDARD.encode(value).into();
        }
        let kept = json!({ "type": SECRET_TYPE, "data": data });
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        assert_eq!(accepts(&kept, "abcdef", "0123456789abcdef", now), expected, "{change:?}");
        let groups = who(&kept, "abcdef").groups;
        assert_eq!(groups, [BOOTSTRAPPERS, "system:bootstrappers:edge", "system:authenticated"]);
    }

    #[test]
    fn which_tokens_are_good() {
        check(&[], true);
        check(&[("expiration", "")], true);
        check(&[("expiration", "2026-01-01T00:00:00Z")], false);
        check(&[("expiration", "tomorrow")], false);
        check(&[("token-secret", "0123456789abcdeg")], false);
        check(&[("token-secret", "")], false);
        check(&[("token-id", "abcdeg")], false);
        check(&[("usage-bootstrap-authentication", "false")], false);
    }
}
