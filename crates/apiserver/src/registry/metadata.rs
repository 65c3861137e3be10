//! The rules for `metadata` that hold for every kind: names, namespaces, identity, preconditions.

use std::collections::BTreeSet;

use backstay_api::{Entropy, Status, meta, time};
use jiff::Timestamp;
use serde_json::Value;

use crate::call::Call;

/// Characters of generated names: no vowels, nothing that looks like something else. Source: `apimachinery` `rand`.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";
const SUFFIX_LENGTH: usize = 5;
/// Longest generated name: a DNS label. Source: `maxNameLength` of `apiserver` `names`.
const GENERATED_NAME_MAX: usize = 63;

/// `generateName` and five random characters, cut to fit.
pub fn generate_name(base: &str, entropy: &Entropy) -> String {
    let cut = (0..=base.len().min(GENERATED_NAME_MAX - SUFFIX_LENGTH)).rev().find(|at| base.is_char_boundary(*at));
    let mut name = base[..cut.unwrap_or(0)].to_string();
    let mut random = entropy.next_u64();
    for _ in 0..SUFFIX_LENGTH {
        name.push(char::from(ALPHABET[(random % ALPHABET.len() as u64) as usize]));
        random /= ALPHABET.len() as u64;
    }
    name
}

/// A body may leave its namespace out, but not name another one than the path.
pub fn settle_namespace(call: &Call, object: &mut Value) -> Result<(), Status> {
    if !call.served.resource.namespaced {
        // A namespace on a cluster-scoped object is dropped, as Kubernetes does.
        meta::remove_meta(object, "namespace");
        return Ok(());
    }
    if meta::namespace(object).is_some_and(|namespace| namespace != call.namespace()) {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Status::bad_request(message));
    }
    meta::set_meta(object, "namespace", call.namespace());
    Ok(())
}

/// The body of an update must carry the name of the path.
pub fn check_name(call: &Call, object: &Value) -> Result<(), Status> {
    let (wanted, seen) = (call.name(), meta::name(object));
    if seen == wanted {
        return Ok(());
    }
    Err(Status::bad_request(match seen {
        "" => format!("the name of the object ({wanted} based on URL) was undeterminable: name must be provided"),
        seen => format!("the name of the object ({seen}) does not match the name on the URL ({wanted})"),
    }))
}

/// What the server gives a new object: identity and birth, and no traces of a former life.
pub fn begin(object: &mut Value, now: Timestamp, uid: String) {
    for field in ["deletionTimestamp", "deletionGracePeriodSeconds", "resourceVersion", "selfLink"] {
        meta::remove_meta(object, field);
    }
    meta::set_meta(object, "uid", uid);
    meta::set_meta(object, "creationTimestamp", time::seconds(now));
}

/// What an update cannot change, whatever it says.
pub fn carry_over(object: &mut Value, old: &Value) {
    let metadata = |field: &str| meta::value_at(old, &["metadata", field]).cloned();
    for field in ["generation", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        put(object, field, metadata(field));
    }
    if meta::uid(object).is_empty() {
        put(object, "uid", metadata("uid"));
    }
    meta::remove_meta(object, "selfLink");
}

fn put(object: &mut Value, field: &str, value: Option<Value>) {
    match value {
        Some(value) => meta::set_meta(object, field, value),
        None => drop(meta::remove_meta(object, field)),
    }
}

/// A resource version out of an object: none if it is absent or zero.
///
/// # Errors
/// `BadRequest` if it is no number.
pub fn resource_version(object: &Value) -> Result<Option<u64>, Status> {
    parse_version(meta::resource_version(object))
}

/// A resource version out of a parameter: none if it is absent or zero.
pub fn parse_version(text: &str) -> Result<Option<u64>, Status> {
    match text {
        "" | "0" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
            Status::bad_request(format!("resourceVersion: Invalid value: {text:?}: {why}"))
        }),
    }
}

/// Owner references that occur twice are kept once; whoever sends such a body is told.
pub fn dedup_owners(call: &Call, object: &mut Value) {
    let owners = meta::owner_references(object);
    let mut kept: Vec<Value> = Vec::with_capacity(owners.len());
    let mut met = BTreeSet::new();
    let mut twice: Vec<&str> = Vec::new();
    for owner in owners {
        match met.insert(owner.to_string()) {
            false => twice.push(meta::str_at(owner, &["uid"])),
            true => kept.push(owner.clone()),
        }
    }
    if twice.is_empty() {
        return;
    }
    call.warnings.add(format!(
        ".metadata.ownerReferences contains duplicate entries; API server dedups owner references in 1.20+, and may \
         reject such requests as early as 1.24; please fix your requests; duplicate UID(s) observed: {}",
        twice.join(", ")
    ));
    meta::set_meta(object, "ownerReferences", kept);
}

/// The answer to a PUT that means another object of the same name. Source: `storage.Preconditions.Check`.
pub fn uid_precondition(call: &Call, wanted: &str, existing: &Value) -> Result<(), Status> {
    let found = meta::uid(existing);
    if wanted.is_empty() || wanted == found {
        return Ok(());
    }
    let resource = &call.served.resource;
    let place: Vec<&str> = [call.namespace(), call.name()].into_iter().filter(|part| !part.is_empty()).collect();
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}/{}, ResourceVersion: 0, AdditionalErrorMsg: \
         Precondition failed: UID in precondition: {wanted}, UID in object meta: {found}",
        resource.plural,
        place.join("/")
    );
    Err(Status::conflict(&resource.group, &resource.plural, call.name(), &why))
}

/// The answer to an apply that means an object of which there is none. Source: `patcher.applyPatch`.
pub fn refuse_uid(call: &Call, object: &Value) -> Result<(), Status> {
    let resource = &call.served.resource;
    match meta::uid(object) {
        "" => Ok(()),
        uid => {
            let why =
                format!("uid mismatch: the provided object specified uid {uid}, and no existing object was found");
            Err(Status::conflict(&resource.group, &resource.plural, call.name(), &why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_fit() {
        let entropy = Entropy::new(|| 0x0123_4567_89ab_cdef);
        let name = generate_name("web-", &entropy);
        assert!(name.starts_with("web-") && name.len() == 9, "{name}");
        assert!(name[4..].bytes().all(|byte| ALPHABET.contains(&byte)), "{name}");
        assert_eq!(generate_name(&"a".repeat(80), &entropy).len(), 63);
        assert_eq!(generate_name(&"\u{e9}".repeat(80), &entropy).len(), 63);
    }
}
