//! Requests for certificates (PKCS#10): what stands in them, and signing them.

use jiff::{SignedDuration, Timestamp, ToSpan};
use rcgen::{
    CertificateParams, CertificateSigningRequestParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyUsagePurpose,
};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::FromDer;

use super::issue::{Authority, ORGANIZATIONS, date, der, name_text, parse};

/// What stands in a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestNames {
    pub common_name: String,
    pub organizations: Vec<String>,
    pub dns_names: Vec<String>,
    pub ip_addresses: Vec<String>,
    /// Names of other kinds: mail addresses, URIs.
    pub other_names: usize,
}

/// Reads a request, PEM.
///
/// # Errors
/// If it cannot be read, or was not made by who holds its key.
pub fn read(pem: &[u8]) -> Result<RequestNames, String> {
    let text = std::str::from_utf8(pem).map_err(|error| error.to_string())?;
    let der = der(text)?;
    let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err("there is something behind the request".to_string());
    }
    request.verify_signature().map_err(|_| "the request is not signed with its own key".to_string())?;
    let subject = &request.certification_request_info.subject;
    let texts = |attributes: &mut dyn Iterator<Item = &x509_parser::x509::AttributeTypeAndValue<'_>>| {
        let texts: Result<Vec<String>, String> =
            attributes.map(|it| it.as_str().map(str::to_string).map_err(|error| error.to_string())).collect();
        texts
    };
    let common_names = texts(&mut subject.iter_common_name())?;
    let mut names = RequestNames {
        common_name: common_names.last().cloned().unwrap_or_default(),
        organizations: texts(&mut subject.iter_organization())?,
        ..RequestNames::default()
    };
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(alternatives) = extension else { continue };
        for name in &alternatives.general_names {
            match (name, name_text(name)) {
                (GeneralName::DNSName(_), Some(text)) => names.dns_names.push(text),
                (GeneralName::IPAddress(_), Some(text)) => names.ip_addresses.push(text),
                _ => names.other_names += 1,
            }
        }
    }
    Ok(names)
}

/// Until when a certificate is valid, PEM.
pub fn expires(pem: &[u8]) -> Option<Timestamp> {
    let der = der(std::str::from_utf8(pem).ok()?).ok()?;
    Timestamp::from_second(parse(&der).ok()?.validity().not_after.timestamp()).ok()
}

impl Authority {
    /// A certificate for a request, PEM: the names that stand in it, valid for so long, for these usages.
    ///
    /// # Errors
    /// Why it cannot be made.
    pub fn sign(&self, pem: &[u8], seconds: i64, usages: &[String], now: Timestamp) -> Result<String, String> {
        let names = read(pem)?;
        if names.organizations.len() > ORGANIZATIONS.len() {
            return Err(format!("a certificate cannot be made for more than {} organizations", ORGANIZATIONS.len()));
        }
        let text = std::str::from_utf8(pem).map_err(|error| error.to_string())?;
        let request = CertificateSigningRequestParams::from_pem(text).map_err(|error| error.to_string())?;
        let mut subject = DistinguishedName::new();
        for (of, organization) in ORGANIZATIONS.into_iter().zip(&names.organizations) {
            subject.push(of(), organization.as_str());
        }
        subject.push(DnType::CommonName, names.common_name.as_str());
        let asked = |usage: &str| usages.iter().any(|one| one == usage);
        let mut params = CertificateParams::default();
        params.distinguished_name = subject;
        params.subject_alt_names = request.params.subject_alt_names;
        params.is_ca = IsCa::NoCa;
        params.use_authority_key_identifier_extension = true;
        // An hour back for clocks that are behind.
        params.not_before = date(now - 1.hour());
        params.not_after = date(now + SignedDuration::from_secs(seconds));
        let keys = [
            ("digital signature", KeyUsagePurpose::DigitalSignature),
            ("key encipherment", KeyUsagePurpose::KeyEncipherment),
        ];
        params.key_usages = keys.into_iter().filter(|(name, _)| asked(name)).map(|(_, usage)| usage).collect();
        let sides = [
            ("client auth", ExtendedKeyUsagePurpose::ClientAuth),
            ("server auth", ExtendedKeyUsagePurpose::ServerAuth),
        ];
        params.extended_key_usages =
            sides.into_iter().filter(|(name, _)| asked(name)).map(|(_, usage)| usage).collect();
        let signed = params.signed_by(&request.public_key, self.issuer()).map_err(|error| error.to_string())?;
        Ok(signed.pem())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::KeyPair;

    fn request(organizations: usize, hosts: &[&str]) -> String {
        let key = KeyPair::generate().unwrap();
        let hosts: Vec<String> = hosts.iter().map(|host| host.to_string()).collect();
        let mut params = CertificateParams::new(hosts).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "system:node:n1");
        for (number, of) in ORGANIZATIONS.into_iter().enumerate().take(organizations) {
            params.distinguished_name.push(of(), format!("o{number}"));
        }
        params.serialize_request(&key).unwrap().pem().unwrap()
    }

    #[test]
    fn what_is_asked_for_is_read_and_signed() {
        let now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let authority = Authority::generate(now, 10).unwrap();
        let pem = request(2, &["h", "10.0.0.1"]);
        let names = read(pem.as_bytes()).unwrap();
        assert_eq!((names.common_name.as_str(), names.organizations.len()), ("system:node:n1", 2));
        assert_eq!((names.dns_names, names.ip_addresses), (vec!["h".to_string()], vec!["10.0.0.1".to_string()]));
        let usages = ["client auth", "digital signature"].map(String::from);
        let signed = authority.sign(pem.as_bytes(), 3600, &usages, now).unwrap();
        assert_eq!(expires(signed.as_bytes()), Some(now + SignedDuration::from_secs(3600)));
        let der = der(&signed).unwrap();
        let certificate = parse(&der).unwrap();
        let organizations = certificate.subject().iter_organization().count();
        assert_eq!(organizations, 2, "each is a group, and none is lost");
        assert!(!certificate.is_ca());
        let usage = certificate.extended_key_usage().unwrap().unwrap();
        assert!(usage.value.client_auth && !usage.value.server_auth);
    }

    #[test]
    fn what_is_broken_is_refused() {
        assert!(read(b"garbage").is_err());
        let pem = request(1, &[]);
        let mut der = der(&pem).unwrap();
        *der.last_mut().unwrap() ^= 1;
        let tampered = pem::encode(&der);
        assert!(read(tampered.as_bytes()).unwrap_err().contains("not signed with its own key"));
    }

    mod pem {
        use base64::Engine as _;

        pub fn encode(der: &[u8]) -> String {
            let body = base64::engine::general_purpose::STANDARD.encode(der);
            format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n")
        }
    }
}
