//! The server's authority, as the controller of certificates sees it.

use std::sync::Arc;

use backstay_apiserver::pki::{Pki, request};
use backstay_controllers::certificates::Asked;
use backstay_manager::certificates::Authority;
use jiff::Timestamp;

pub struct Signer(pub Arc<Pki>);

impl Authority for Signer {
    fn read(&self, request: &[u8]) -> Result<Asked, String> {
        let names = request::read(request)?;
        Ok(Asked {
            common_name: names.common_name,
            organizations: names.organizations,
            dns_names: names.dns_names,
            ip_addresses: names.ip_addresses,
            other_names: names.other_names,
        })
    }

    fn sign(&self, request: &[u8], seconds: i64, usages: &[String], now: Timestamp) -> Result<String, String> {
        self.0.authority.sign(request, seconds, usages, now)
    }

    fn expires(&self, certificate: &[u8]) -> Option<Timestamp> {
        request::expires(certificate)
    }
}
