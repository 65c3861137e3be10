//! Addresses of services: every service that wants one gets a cluster address, and node ports where its type has them.
//!
//! Nothing here routes traffic; the addresses are kept apart, so that clients that rely on them being there and unique
//! can. Addresses are chosen and written under one lock; where another server has written a service meanwhile, they are
//! chosen anew.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use backstay_api::status::Cause;
use backstay_api::validation::invalid_kind;
use backstay_api::{Entropy, Status, meta};
use backstay_store::{Entry, Range};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::call::Call;
use crate::catalog::Served;
use crate::encode;
use crate::problem;
use crate::registry::Beside;

/// The range of cluster addresses, `10.96.0.0/16`, by its first two bytes.
const RANGE: [u8; 2] = [10, 96];
/// The lower part of the range is left to services that name their address. Source: KEP-3070.
const FIRST_CHOSEN: u16 = 257;
const LAST_CHOSEN: u16 = 65_534;
/// Source: `--service-node-port-range`.
const FIRST_PORT: u16 = 30_000;
const LAST_PORT: u16 = 32_767;

/// Held while addresses are chosen and until they are written.
pub type Lock = Mutex<()>;

/// Completes a service with what it lacks; the guard is to be held until it is written. None for other kinds.
pub async fn reserve<'a>(call: &'a Call, served: &Served, service: &mut Value) -> Result<Option<Beside<'a>>, Status> {
    if !served.is("", "services") || meta::str_at(service, &["spec", "type"]) == "ExternalName" {
        return Ok(None);
    }
    let turn = call.core.addresses.lock().await;
    let snapshot = call.core.store.snapshot();
    let others: Vec<_> = snapshot.list(&Range::all("services"), None, 0);
    let others: Vec<&Entry> = others.iter().map(|entry| &**entry).filter(|entry| !is(entry, service)).collect();
    address(&others, service, &call.core.entropy)?;
    ports(&others, service, &call.core.entropy)?;
    Ok(Some(Beside { seen: snapshot.revision(), _turn: turn }))
}

fn is(entry: &Entry, service: &Value) -> bool {
    meta::namespace(service) == Some(&*entry.key.namespace) && meta::name(service) == &*entry.key.name
}

fn address(others: &[&Entry], service: &mut Value, entropy: &Entropy) -> Result<(), Status> {
    let taken: BTreeSet<&str> = others.iter().filter_map(|entry| entry.index.fields.get("spec.clusterIP")).collect();
    let address = match meta::str_at(service, &["spec", "clusterIP"]) {
        "None" => return Ok(()),
        "" => choose(FIRST_CHOSEN, LAST_CHOSEN, entropy, |offset| !taken.contains(&*of_offset(offset)))
            .map(of_offset)
            .ok_or_else(|| Status::internal("the range of service addresses is full"))?,
        given => return check_given(service, given, &taken),
    };
    let spec = meta::map_mut(service, &["spec"]);
    spec.insert("clusterIP".into(), json!(address));
    spec.insert("clusterIPs".into(), json!([address]));
    Ok(())
}

fn check_given(service: &Value, given: &str, taken: &BTreeSet<&str>) -> Result<(), Status> {
    let in_range = given.parse::<Ipv4Addr>().is_ok_and(|address| address.octets()[..2] == RANGE);
    let why = match (in_range, taken.contains(given)) {
        (true, false) => return Ok(()),
        (true, true) => "provided IP is already allocated".to_string(),
        (false, _) => {
            let [a, b] = RANGE;
            format!("the provided IP ({given}) is not in the valid range. The range of valid IPs is {a}.{b}.0.0/16")
        }
    };
    let why = format!("failed to allocate IP {given}: {why}");
    Err(invalid(service, problem::invalid("spec.clusterIPs", &format!("[{given:?}]"), &why)))
}

fn ports(others: &[&Entry], service: &mut Value, entropy: &Entropy) -> Result<(), Status> {
    if !matches!(meta::str_at(service, &["spec", "type"]), "NodePort" | "LoadBalancer") {
        return Ok(());
    }
    let mut taken: BTreeSet<i64> = others.iter().flat_map(|entry| node_ports(&encode::parse(entry))).collect();
    for (at, given) in node_ports(service).into_iter().enumerate() {
        if !taken.insert(given) {
            let field = format!("spec.ports[{at}].nodePort");
            let cause = problem::invalid(&field, &given.to_string(), "provided port is already allocated");
            return Err(invalid(service, cause));
        }
    }
    let entries = meta::map_mut(service, &["spec"]).get_mut("ports").and_then(Value::as_array_mut);
    for entry in entries.into_iter().flatten().filter(|entry| meta::int_at(entry, &["nodePort"]).is_none()) {
        let free = choose(FIRST_PORT, LAST_PORT, entropy, |port| !taken.contains(&i64::from(port)));
        let port = free.ok_or_else(|| Status::internal("the range of node ports is full"))?;
        taken.insert(port.into());
        meta::map_mut(entry, &[]).insert("nodePort".into(), json!(port));
    }
    Ok(())
}

fn node_ports(service: &Value) -> Vec<i64> {
    meta::list_at(service, &["spec", "ports"]).iter().filter_map(|port| meta::int_at(port, &["nodePort"])).collect()
}

/// A free number of the range, looked for from a random place on.
fn choose(first: u16, last: u16, entropy: &Entropy, is_free: impl Fn(u16) -> bool) -> Option<u16> {
    let size = u64::from(last - first) + 1;
    let start = entropy.next_u64() % size;
    (0..size).map(|step| first + ((start + step) % size) as u16).find(|number| is_free(*number))
}

fn of_offset(offset: u16) -> String {
    let [high, low] = offset.to_be_bytes();
    Ipv4Addr::new(RANGE[0], RANGE[1], high, low).to_string()
}

fn invalid(service: &Value, cause: Cause) -> Status {
    invalid_kind("", "Service", meta::name(service), vec![cause])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_range_gives_nothing_and_the_last_free_number_is_found() {
        let entropy = Entropy::new(|| 2);
        assert_eq!(choose(10, 12, &entropy, |_| true), Some(12));
        assert_eq!(choose(10, 12, &entropy, |number| number == 11), Some(11));
        assert_eq!(choose(10, 12, &entropy, |_| false), None);
        assert_eq!(of_offset(FIRST_CHOSEN), "10.96.1.1");
    }
}
