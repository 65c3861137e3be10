//! Requests for certificates: who asked is written down, and who decides and signs must have been given that signer.
//! Source: `plugin/pkg/admission/certificates` (approval, signing, subjectrestriction) and the registry of requests.

use backstay_api::{Status, decode, meta};
use serde_json::{Value, json};

use super::{Admission, Event};
use crate::authz::{Action, Attributes, Resource};
use crate::identity::MASTERS;
use crate::pki::request;

const GROUP: &str = "certificates.k8s.io";
const PLURAL: &str = "certificatesigningrequests";
const CLIENT: &str = "kubernetes.io/kube-apiserver-client";

/// Writes down who asks. No plugin, since nobody may do without it: a node is let in by it.
pub fn sign_for_sender(admission: &mut Admission<'_>) {
    if !admission.creates(GROUP, PLURAL) {
        return;
    }
    let user = &admission.call.user;
    let extra: serde_json::Map<String, Value> =
        user.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect();
    let spec = meta::map_mut(admission.object, &["spec"]);
    for field in ["username", "uid", "groups", "extra"] {
        spec.remove(field);
    }
    spec.insert("username".into(), user.name.as_str().into());
    spec.insert("groups".into(), json!(user.groups));
    if !user.uid.is_empty() {
        spec.insert("uid".into(), user.uid.as_str().into());
    }
    if !extra.is_empty() {
        spec.insert("extra".into(), extra.into());
    }
}

/// `CertificateApproval`.
pub fn approval(admission: &mut Admission<'_>) -> Result<(), Status> {
    if !admission.call.served.is(GROUP, PLURAL) || admission.call.subresource() != Some("approval") {
        return Ok(());
    }
    check(admission, "approve", "approve requests")
}

/// `CertificateSigning`.
pub fn signing(admission: &mut Admission<'_>) -> Result<(), Status> {
    let Event::Update { old } = admission.event else { return Ok(()) };
    if !admission.call.served.is(GROUP, PLURAL) || admission.call.subresource() != Some("status") {
        return Ok(());
    }
    let decided = |object: &Value| {
        let conditions = meta::list_at(object, &["status", "conditions"]).iter();
        let failed = conditions.filter(|one| one["type"] == "Failed").cloned().collect::<Vec<_>>();
        (meta::str_at(object, &["status", "certificate"]).to_string(), failed)
    };
    if decided(old) == decided(admission.object) {
        return Ok(());
    }
    check(admission, "sign", "sign requests")
}

/// `CertificateSubjectRestriction`: nobody gets a certificate that makes them master of everything.
pub fn subject(admission: &mut Admission<'_>) -> Result<(), Status> {
    if !admission.creates(GROUP, PLURAL) || meta::str_at(admission.object, &["spec", "signerName"]) != CLIENT {
        return Ok(());
    }
    let body = decode::base64_bytes(meta::str_at(admission.object, &["spec", "request"])).unwrap_or_default();
    let is_master = request::read(&body).is_ok_and(|names| names.organizations.iter().any(|one| one == MASTERS));
    if !is_master {
        return Ok(());
    }
    let why = format!("use of {CLIENT} signer with {MASTERS} group is not allowed");
    Err(Status::forbidden(GROUP, PLURAL, meta::name(admission.object), &why))
}

/// By the signer's name, or by that of all signers of its domain.
fn check(admission: &Admission<'_>, verb: &str, what: &str) -> Result<(), Status> {
    let signer = meta::str_at(admission.object, &["spec", "signerName"]);
    let domain = signer.split('/').next().unwrap_or_default();
    let wildcard = format!("{domain}/*");
    let may = |name: &str| {
        let action = Action::Resource(Resource { group: GROUP, resource: "signers", name, ..Resource::default() });
        admission.call.core.authorizer.authorize(&Attributes { user: &admission.call.user, verb, action }).allowed
    };
    if may(signer) || may(&wildcard) {
        return Ok(());
    }
    let why = format!("user not permitted to {what} with signerName {signer:?}");
    Err(Status::forbidden(GROUP, PLURAL, meta::name(admission.object), &why))
}
