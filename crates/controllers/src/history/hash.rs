//! The short name of a template.
//!
//! Kubernetes hashes a dump of Go structs, which nobody else can reproduce and nobody needs to: a revision is recognised
//! by its `data`, and the hash is then read from its label. Ours is FNV-1a over `data`, in the same letters.

/// Digits and letters that form no words. Source: `k8s.io/apimachinery/pkg/util/rand`.
const ALPHABET: &[u8; 27] = b"bcdfghjklmnpqrstvwxz2456789";

/// The hash of a template, given the canonical bytes of its `data`. `collision_count` moves it away from a name that
/// is taken by other data.
pub fn of(data: &[u8], collision_count: Option<u32>) -> String {
    let probe = collision_count.map(|count| u64::from(count).to_le_bytes());
    let bytes = data.iter().chain(probe.iter().flatten());
    safe_encode(&fnv1a(bytes).to_string())
}

fn fnv1a<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

fn safe_encode(digits: &str) -> String {
    digits.bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn hashes_are_fnv1a_in_safe_letters() {
        let check = |data: &str, count, expected| assert_eq!(super::of(data.as_bytes(), count), expected, "{data:?}");
        check("", None, "65bb57b6b5");
        check("a", None, "7d6b446664");
        check("hello", None, "5779d75c67");
        check("hello", Some(1), "9dd854bb");
    }
}
