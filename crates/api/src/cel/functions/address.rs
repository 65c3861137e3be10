//! IP addresses, and ranges of them.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::{Entry, global, member};
use crate::cel::eval::{Cx, Outcome, error, no_overload};
use crate::cel::value::Value;
use crate::go::quote;

pub(super) static ALL: &[Entry] = &[
    global("ip", "string", "ip", ip),
    global("isIP", "string", "bool", is_ip),
    global("ip.isCanonical", "string", "bool", is_canonical),
    member("family", "ip", "int", family),
    member("isUnspecified", "ip", "bool", is_unspecified),
    member("isLoopback", "ip", "bool", is_loopback),
    member("isLinkLocalMulticast", "ip", "bool", is_link_local_multicast),
    member("isLinkLocalUnicast", "ip", "bool", is_link_local_unicast),
    member("isGlobalUnicast", "ip", "bool", is_global_unicast),
    global("cidr", "string", "cidr", cidr),
    global("isCIDR", "string", "bool", is_cidr),
    member("containsIP", "cidr, ip", "bool", contains_ip),
    member("containsIP", "cidr, string", "bool", contains_ip),
    member("containsCIDR", "cidr, cidr", "bool", contains_cidr),
    member("containsCIDR", "cidr, string", "bool", contains_cidr),
    member("ip", "cidr", "ip", ip_of_cidr),
    member("masked", "cidr", "cidr", masked),
    member("prefixLength", "cidr", "int", prefix_length),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    bits: u8,
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.bits)
    }
}

impl Cidr {
    fn parse(text: &str) -> Option<Self> {
        let (address, bits) = text.split_once('/')?;
        let canonical = bits == "0" || !bits.starts_with(['0', '+', '-']);
        let (address, bits) = (parse_ip(address)?, bits.parse::<u8>().ok().filter(|_| canonical)?);
        (bits <= width(address)).then_some(Self { address, bits })
    }

    fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(address) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() & mask))
            }
            IpAddr::V6(address) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & mask))
            }
        };
        Self { address, ..self }
    }

    fn contains(self, address: IpAddr) -> bool {
        width(address) == width(self.address) && Self { address, ..self }.masked().address == self.masked().address
    }
}

fn width(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// Addresses of one family written as those of the other are none.
fn parse_ip(text: &str) -> Option<IpAddr> {
    match text.parse().ok()? {
        IpAddr::V6(address) if address.to_ipv4_mapped().is_some() => None,
        address => Some(address),
    }
}

fn ip<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text)] = args else { return no_overload() };
    match parse_ip(text) {
        Some(address) => Ok(Value::Ip(address)),
        None => error(format!("IP Address {} parse error during conversion from string", quote(text))),
    }
}

fn is_ip<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text)] = args else { return no_overload() };
    Ok(Value::Bool(parse_ip(text).is_some()))
}

fn is_canonical<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match (ip(cx, args)?, args) {
        (Value::Ip(address), [Value::String(text)]) => Ok(Value::Bool(address.to_string() == **text)),
        _ => no_overload(),
    }
}

fn family<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Ip(address)] = args else { return no_overload() };
    Ok(Value::Int(if address.is_ipv4() { 4 } else { 6 }))
}

fn test<'a>(args: &[Value<'a>], test: fn(&IpAddr) -> bool) -> Outcome<Value<'a>> {
    let [Value::Ip(address)] = args else { return no_overload() };
    Ok(Value::Bool(test(address)))
}

fn is_unspecified<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    test(args, IpAddr::is_unspecified)
}

fn is_loopback<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    test(args, IpAddr::is_loopback)
}

fn is_link_local_multicast<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    test(args, |address| match address {
        IpAddr::V4(address) => address.octets().starts_with(&[224, 0, 0]),
        IpAddr::V6(address) => address.segments()[0] & 0xff0f == 0xff02,
    })
}

fn link_local(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    }
}

fn is_link_local_unicast<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    test(args, link_local)
}

fn is_global_unicast<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    test(args, |address| {
        let others = address.is_unspecified() || address.is_loopback() || address.is_multicast() || link_local(address);
        !others && *address != IpAddr::V4(Ipv4Addr::BROADCAST)
    })
}

fn cidr<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text)] = args else { return no_overload() };
    match Cidr::parse(text) {
        Some(cidr) => Ok(Value::Cidr(cidr)),
        None => error(format!("network address parse error during conversion from string: {}", quote(text))),
    }
}

fn is_cidr<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::String(text)] = args else { return no_overload() };
    Ok(Value::Bool(Cidr::parse(text).is_some()))
}

fn contains_ip<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Cidr(cidr), Value::Ip(address)] => Ok(Value::Bool(cidr.contains(*address))),
        [cidr, text @ Value::String(_)] => {
            let address = ip(cx, std::slice::from_ref(text))?;
            contains_ip(cx, &[cidr.clone(), address])
        }
        _ => no_overload(),
    }
}

fn contains_cidr<'a>(cx: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    match args {
        [Value::Cidr(cidr), Value::Cidr(other)] => {
            Ok(Value::Bool(cidr.bits <= other.bits && cidr.contains(other.masked().address)))
        }
        [outer, text @ Value::String(_)] => {
            let inner = cidr(cx, std::slice::from_ref(text))?;
            contains_cidr(cx, &[outer.clone(), inner])
        }
        _ => no_overload(),
    }
}

fn ip_of_cidr<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Cidr(cidr)] = args else { return no_overload() };
    Ok(Value::Ip(cidr.address))
}

fn masked<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Cidr(cidr)] = args else { return no_overload() };
    Ok(Value::Cidr(cidr.masked()))
}

fn prefix_length<'a>(_: &mut Cx<'a>, args: &[Value<'a>]) -> Outcome<Value<'a>> {
    let [Value::Cidr(cidr)] = args else { return no_overload() };
    Ok(Value::Int(cidr.bits.into()))
}
