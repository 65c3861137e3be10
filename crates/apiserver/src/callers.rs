//! How many connections each address has open, so that one cannot have all of them.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone)]
pub struct Callers {
    per_address_max: usize,
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// An open connection; dropping it ends the count of it.
pub struct Caller {
    callers: Callers,
    address: IpAddr,
}

impl Callers {
    pub fn new(per_address_max: usize) -> Self {
        Self { per_address_max, counts: Arc::default() }
    }

    /// None: this address has as many as one may.
    pub fn connect(&self, address: IpAddr) -> Option<Caller> {
        let mut counts = self.counts();
        let count = counts.entry(address).or_default();
        if *count >= self.per_address_max {
            return None;
        }
        *count += 1;
        Some(Caller { callers: self.clone(), address })
    }

    fn counts(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        let mut counts = self.callers.counts();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_leaves_room_for_others_and_is_forgotten() {
        let callers = Callers::new(2);
        let [one, two] = ["10.0.0.1", "10.0.0.2"].map(|text| text.parse().expect("an address"));
        let first = callers.connect(one);
        let open = [callers.connect(one), callers.connect(two)];
        assert!(open.iter().all(Option::is_some) && callers.connect(one).is_none());
        drop(first);
        assert!(callers.connect(one).is_some(), "a place is free again");
        drop(open);
        assert!(callers.counts().is_empty());
    }
}
