//! The fuzz targets, on any toolchain and for a bounded number of cases: seeds as they are, seeds with faults in them,
//! and bytes without sense. `PROPTEST_CASES` asks for more; a thorough search is `cargo fuzz` in `fuzz/`.

#[path = "../../../fuzz/src/lib.rs"]
mod targets;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use targets::{TARGETS, Target};

/// Cases for each target when nobody asks for more.
const CASES: u32 = 200;
/// Repetition finds work that grows faster than its input; this is as much of it as a slow build bears.
const REPEATED_BYTES_MAX: usize = 32 << 10;

/// What makes grammars turn.
const TOKENS: [&str; 28] = [
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "\\u0000",
    "null",
    "0",
    "-1",
    "1e999",
    "9223372036854775808",
    "- ",
    "? ",
    "&a ",
    "*a ",
    "|\n ",
    "\n",
    "%",
    "/",
    "~1",
    "$patch",
    "\0",
    "\u{fffd}",
    "\u{e9}",
    "nan",
];

/// A fault to put into a seed; places are taken modulo the length.
#[derive(Clone, Debug)]
enum Fault {
    Flip(usize, u8),
    Cut(usize, usize),
    Insert(usize, usize),
    Repeat(usize, usize, usize),
    Splice(usize, usize, usize),
}

fn fault() -> impl Strategy<Value = Fault> {
    let at = || any::<prop::sample::Index>().prop_map(|index| index.index(usize::MAX >> 1));
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(at, byte)| Fault::Flip(at, byte)),
        (at(), 1..20_usize).prop_map(|(at, length)| Fault::Cut(at, length)),
        (at(), 0..TOKENS.len()).prop_map(|(at, token)| Fault::Insert(at, token)),
        (at(), 1..30_usize, 2..4_000_usize).prop_map(|(at, length, times)| Fault::Repeat(at, length, times)),
        (at(), at(), at()).prop_map(|(at, seed, from)| Fault::Splice(at, seed, from)),
    ]
}

impl Fault {
    fn apply(&self, seeds: &[Vec<u8>], bytes: &mut Vec<u8>) {
        let place = |at: usize, bytes: &[u8]| at % (bytes.len() + 1);
        match *self {
            Fault::Flip(at, byte) => {
                let at = place(at, bytes);
                if let Some(old) = bytes.get_mut(at) {
                    *old ^= byte;
                }
            }
            Fault::Cut(at, length) => {
                let at = place(at, bytes);
                bytes.drain(at..bytes.len().min(at + length));
            }
            Fault::Insert(at, token) => {
                let at = place(at, bytes);
                bytes.splice(at..at, TOKENS[token].bytes());
            }
            Fault::Repeat(at, length, times) => {
                let at = place(at, bytes);
                let part = bytes[at..bytes.len().min(at + length)].to_vec();
                let times = times.min(REPEATED_BYTES_MAX / part.len().max(1));
                bytes.splice(at..at, part.repeat(times));
            }
            Fault::Splice(at, seed, from) => {
                let other = &seeds[seed % seeds.len()];
                let at = place(at, bytes);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[place(from, other)..]);
            }
        }
    }
}

fn check(name: &str) {
    let target: &Target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let seeds = target.seeds();
    assert!(!seeds.is_empty(), "{name} has no seeds");
    seeds.iter().for_each(|seed| (target.run)(seed));
    let near = (0..seeds.len(), prop::collection::vec(fault(), 1..4)).prop_map({
        let seeds = seeds.clone();
        move |(seed, faults)| {
            let mut bytes = seeds[seed].clone();
            faults.iter().for_each(|fault| fault.apply(&seeds, &mut bytes));
            bytes
        }
    });
    let input = prop_oneof![4 => near, 1 => prop::collection::vec(any::<u8>(), 0..300)];
    let config = Config {
        cases: if std::env::var_os("PROPTEST_CASES").is_some() { Config::default().cases } else { CASES },
        failure_persistence: None,
        ..Config::default()
    };
    let outcome = TestRunner::new(config).run(&input, |bytes| {
        (target.run)(&bytes);
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{name}: {}", error.to_string().chars().take(4_000).collect::<String>());
    }
}

macro_rules! tests {
    ($($name:ident)*) => { $(#[test] fn $name() { check(stringify!($name)); })* };
}

tests!(json yaml protobuf patch apply selector text definition jsonpath kubeconfig request frames image layer);

#[test]
fn every_target_is_a_test() {
    let source = include_str!("parsers.rs");
    let tests = source.lines().find(|line| line.starts_with("tests!(")).expect("the list of tests");
    for Target { name, .. } in &TARGETS {
        let program =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../fuzz/fuzz_targets/{name}.rs"));
        assert!(tests.contains(name) && program.is_file(), "{name}");
    }
}
