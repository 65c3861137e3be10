//! Addresses and address ranges.

use std::net::IpAddr;

use super::field::{Causes, Path, invalid};

/// One address. Kubernetes still takes leading zeros in IPv4 addresses, and reads them as decimal.
pub fn address(text: &str, path: &Path) -> Causes {
    match parse(text) {
        Some(_) => Causes::new(),
        None => vec![invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")],
    }
}

/// A range such as `10.9.8.0/24`.
pub fn range(text: &str, path: &Path) -> Causes {
    let legal = text.split_once('/').is_some_and(|(ip, bits)| {
        let plain = !bits.is_empty() && bits.bytes().all(|byte| byte.is_ascii_digit());
        let max = if ip.contains(':') { 128 } else { 32 };
        parse(ip).is_some() && plain && bits.parse::<u32>().is_ok_and(|bits| bits <= max)
    });
    if legal {
        return Causes::new();
    }
    vec![invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]
}

pub fn parse(text: &str) -> Option<IpAddr> {
    if text.contains(':') {
        return text.parse().ok();
    }
    let bytes: Option<Vec<u8>> = text
        .split('.')
        .map(|part| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            let part = part.trim_start_matches('0');
            if !digits {
                None
            } else if part.is_empty() {
                Some(0)
            } else {
                part.parse().ok()
            }
        })
        .collect();
    let bytes: [u8; 4] = bytes?.try_into().ok()?;
    Some(IpAddr::from(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_ranges() {
        let path = Path::new("ip");
        for legal in ["10.0.0.1", "010.0.0.1", "::1", "2001:db8::ffff"] {
            assert!(address(legal, &path).is_empty(), "{legal}");
        }
        for illegal in ["", "10.0.0", "10.0.0.256", "10.0.0.1.2", "a.b.c.d", "::g"] {
            assert_eq!(address(illegal, &path).len(), 1, "{illegal}");
        }
        assert!(range("10.0.0.0/8", &path).is_empty() && range("fd00::/64", &path).is_empty());
        assert!(range("10.0.0.0/99", &path).len() + range("10.0.0.0", &path).len() == 2);
    }
}
