//! Reads what `cargo bench` prints: divan's trees of names, one row of times each.

use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Serialize;

/// One micro-benchmark, as divan names and times it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Micro {
    pub name: String,
    pub fastest: String,
    pub median: String,
}

pub fn read(file: &Path) -> Result<Vec<Micro>> {
    let text = std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let micros = rows(&text);
    if micros.is_empty() {
        bail!("{} holds no results of micro-benchmarks", file.display());
    }
    Ok(micros)
}

fn rows(text: &str) -> Vec<Micro> {
    let mut path: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    for line in text.lines() {
        let Some((depth, rest)) = branch(line) else { continue };
        let cells: Vec<&str> = rest.split('│').map(str::trim).collect();
        let [first, _, median, ..] = cells.as_slice() else { continue };
        let (name, fastest) = first.split_once(char::is_whitespace).unwrap_or((first, ""));
        path.truncate(depth);
        path.push(name.to_string());
        // Names of groups have no times.
        if depth > 0 && !median.is_empty() {
            let (fastest, median) = (fastest.trim().to_string(), (*median).to_string());
            rows.push(Micro { name: path.join(" "), fastest, median });
        }
    }
    rows
}

/// The depth in the tree, and what stands behind its branches. None for what belongs to the branch above: divan tells
/// of throughput there.
fn branch(line: &str) -> Option<(usize, &str)> {
    let (mut depth, mut rest) = (0, line);
    loop {
        if let Some(tail) = rest.strip_prefix("├─ ").or_else(|| rest.strip_prefix("╰─ ")) {
            return Some((depth + 1, tail));
        }
        match rest.strip_prefix("│  ").or_else(|| rest.strip_prefix("   ")) {
            Some(tail) => (depth, rest) = (depth + 1, tail),
            None => return (depth == 0).then_some((0, rest)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_of_divan_are_read() {
        let text = "\
store          fastest       │ slowest       │ median        │ mean          │ samples │ iters
├─ commit                    │               │               │               │         │
│  ├─ 1        1.1 ms        │ 2.1 ms        │ 1.5 ms        │ 1.6 ms        │ 20      │ 20
│  │           900 item/s    │ 400 item/s    │ 600 item/s    │ 600 item/s    │         │
│  ╰─ 8        2 ms          │ 3 ms          │ 2.5 ms        │ 2.5 ms        │ 20      │ 20
╰─ alone       7 ns          │ 9 ns          │ 8 ns          │ 8 ns          │ 20      │ 20
";
        let micro = |name: &str, fastest: &str, median: &str| Micro {
            name: name.into(),
            fastest: fastest.into(),
            median: median.into(),
        };
        let expected = [
            micro("store commit 1", "1.1 ms", "1.5 ms"),
            micro("store commit 8", "2 ms", "2.5 ms"),
            micro("store alone", "7 ns", "8 ns"),
        ];
        assert_eq!(rows(text), expected);
    }
}
