//! Making and checking certificates.

use jiff::{Timestamp, ToSpan};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PKCS_ECDSA_P256_SHA256,
};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate and its key, both PEM.
#[derive(Clone)]
pub struct Pair {
    pub certificate_pem: String,
    pub key_pem: String,
}

/// Whom a certificate names, and for which side of a connection.
#[derive(Clone, Debug)]
pub struct Subject {
    name: String,
    groups: Vec<String>,
    hosts: Vec<String>,
    usage: ExtendedKeyUsagePurpose,
}

impl Subject {
    /// A server reached under these DNS names and addresses.
    pub fn server(hosts: &[String]) -> Self {
        Self {
            name: "backstay-server".into(),
            groups: Vec::new(),
            hosts: hosts.to_vec(),
            usage: ExtendedKeyUsagePurpose::ServerAuth,
        }
    }

    /// A client: the common name is the user, each organization a group; two groups at most.
    pub fn client(user: &str, groups: &[&str]) -> Self {
        assert!(groups.len() <= ORGANIZATIONS.len(), "a certificate cannot be made for so many groups: {groups:?}");
        Self {
            name: user.into(),
            groups: groups.iter().map(|group| group.to_string()).collect(),
            hosts: Vec::new(),
            usage: ExtendedKeyUsagePurpose::ClientAuth,
        }
    }
}

/// Both mean "organization". The library keeps one value for each way to say it, and a second would replace the first.
pub(super) const ORGANIZATIONS: [fn() -> DnType; 2] =
    [|| DnType::OrganizationName, || DnType::CustomDnType(vec![2, 5, 4, 10])];

/// A certificate authority with its key.
pub struct Authority {
    pair: Pair,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub fn generate(now: Timestamp, days: i64) -> Result<Self, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, "backstay-ca");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::DigitalSignature];
        set_validity(&mut params, now, days);
        let certificate_pem = params.self_signed(&key)?.pem();
        let pair = Pair { certificate_pem, key_pem: key.serialize_pem() };
        Ok(Self { pair, issuer: Issuer::new(params, key) })
    }

    pub fn from_pair(pair: Pair) -> Result<Self, rcgen::Error> {
        let key = KeyPair::from_pem(&pair.key_pem)?;
        let issuer = Issuer::from_ca_cert_pem(&pair.certificate_pem, key)?;
        Ok(Self { pair, issuer })
    }

    pub(super) fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    pub fn pair(&self) -> &Pair {
        &self.pair
    }

    pub fn issue(&self, subject: &Subject, now: Timestamp, days: i64) -> Result<Pair, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = CertificateParams::new(subject.hosts.clone())?;
        params.distinguished_name.push(DnType::CommonName, subject.name.as_str());
        for (of, group) in ORGANIZATIONS.into_iter().zip(&subject.groups) {
            params.distinguished_name.push(of(), group.as_str());
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![subject.usage.clone()];
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, now, days);
        let certificate_pem = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Pair { certificate_pem, key_pem: key.serialize_pem() })
    }

    /// Whether this authority signed the pair's certificate, it names all hosts of the subject, and it will still be
    /// valid at `until`.
    ///
    /// # Errors
    /// What is wrong with a certificate that cannot be read.
    pub fn still_vouches_for(&self, pair: &Pair, subject: &Subject, until: Timestamp) -> Result<bool, String> {
        let (leaf, own) = (der(&pair.certificate_pem)?, der(&self.pair.certificate_pem)?);
        let leaf = parse(&leaf)?;
        let own = parse(&own)?;
        let signed = leaf.verify_signature(Some(own.public_key())).is_ok();
        let lasts = leaf.validity().not_after.timestamp() > until.as_second();
        let named = names(&leaf);
        Ok(signed && lasts && subject.hosts.iter().all(|host| named.contains(host)))
    }
}

/// The public half of a key in its usual forms.
pub struct PublicKey {
    pub pem: String,
    /// With the algorithm (`SubjectPublicKeyInfo`).
    pub der: Vec<u8>,
    /// The bare point of the curve.
    pub point: Vec<u8>,
}

/// The public key of a pair.
///
/// # Errors
/// What is wrong with a key that cannot be read.
pub fn public_key(pair: &Pair) -> Result<PublicKey, String> {
    use rcgen::PublicKeyData;
    let key = KeyPair::from_pem(&pair.key_pem).map_err(|error| error.to_string())?;
    Ok(PublicKey {
        pem: key.public_key_pem(),
        der: key.subject_public_key_info(),
        point: key.public_key_raw().to_vec(),
    })
}

/// An hour back for clocks that are behind.
fn set_validity(params: &mut CertificateParams, now: Timestamp, days: i64) {
    params.not_before = date(now - 1.hour());
    params.not_after = date(now + (days * 24).hours());
}

pub(super) fn date(at: Timestamp) -> time::OffsetDateTime {
    time::OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

pub(super) fn der(pem: &str) -> Result<Vec<u8>, String> {
    let (_, pem) = x509_parser::pem::parse_x509_pem(pem.as_bytes()).map_err(|error| error.to_string())?;
    Ok(pem.contents)
}

pub(super) fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    X509Certificate::from_der(der).map(|(_, certificate)| certificate).map_err(|error| error.to_string())
}

fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(extension)) = certificate.subject_alternative_name() else { return Vec::new() };
    extension.value.general_names.iter().filter_map(name_text).collect()
}

pub(super) fn name_text(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(dns) => Some(dns.to_string()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => Some(std::net::IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?).to_string()),
            16 => Some(std::net::IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?).to_string()),
            _ => None,
        },
        _ => None,
    }
}
