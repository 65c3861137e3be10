//! fleetbench: a load that knows nothing of this project, and that other servers have been measured with.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::steps::{Listing, Step, Steps};

pub fn run(program: &Path, kubeconfig: &Path, nodes: usize, is_simulated: bool) -> Result<Steps> {
    let mut command = Command::new(program);
    command.arg("--kubeconfig").arg(kubeconfig).args(["--nodes", &nodes.to_string(), "--max-unavailable", "100%"]);
    if is_simulated {
        command.arg("--no-kubelet");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().with_context(|| format!("cannot run {command:?}"))?;
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().context("it has no output")?).lines() {
        said += &line.context("cannot read what it prints")?;
        said.push('\n');
        if said.contains("\ndelete ") {
            break;
        }
    }
    // Its end may take for ever: a kubelet of it that is behind then begins to watch again and again.
    let _ = child.kill();
    child.wait().context("it does not end")?;
    steps(&said).with_context(|| format!("{command:?} failed, or said something else than expected: {said}"))
}

/// Reads lines such as `create nodes=100 seconds=0.52 pods_per_s=192`. It does not tell of writes and bytes.
fn steps(said: &str) -> Option<Steps> {
    let number = |step: &str, field: &str| -> Option<f64> {
        let line = said.lines().find(|line| line.split(' ').next() == Some(step))?;
        line.split(' ').find_map(|word| word.strip_prefix(field)?.strip_prefix('='))?.parse().ok()
    };
    let step = |name: &str| Some(Step { seconds: number(name, "seconds")?, writes: 0 });
    Some(Steps {
        create: step("create")?,
        update: step("update")?,
        undo: step("undo")?,
        list: Listing { seconds: number("list_pods", "ms")? / 1e3, bytes: 0, is_decoded: true },
        delete: step("delete")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_lines_are_read() {
        let said = "nodes_registered n=2 seconds=0.10 writes_per_s=60\ncreate nodes=2 seconds=0.25 pods_per_s=8\n\
            update nodes=2 seconds=0.50 pods_per_s=4\nundo nodes=2 seconds=0.75 pods_per_s=3\n\
            list_pods n=2 ms=31.5\ndelete nodes=2 seconds=1.00\n";
        let read = steps(said).expect("steps");
        assert_eq!((read.create.seconds, read.update.seconds, read.undo.seconds), (0.25, 0.5, 0.75));
        assert_eq!((read.list.seconds, read.delete.seconds), (0.0315, 1.0));
        assert!(steps(&said.replace("undo ", "redo ")).is_none());
    }
}
