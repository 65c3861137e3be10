//! JSON as Go's encoding/json writes it, and the `data` bytes of a ControllerRevision.

use serde_json::Value;

/// Compact JSON with sorted keys and Go's string escapes (HTML escaping on).
pub fn json(value: &Value) -> Vec<u8> {
    let _ = value;
    todo!("canonical")
}

/// The bytes of `ControllerRevision.data` for a DaemonSet as stored: its template as a replacing patch.
pub fn revision_data(daemonset: &Value) -> Vec<u8> {
    let _ = daemonset;
    todo!("canonical")
}
