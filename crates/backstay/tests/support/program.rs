//! Client programs in other languages, which check a server and may ask for trouble.
//!
//! A program prints `ok: NAME` or `FAILED: NAME: WHY` for each of its checks, and ends with an exit code. After a line
//! `do: WORD` it waits on its standard input for `done`.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

use super::PATIENCE;

/// Runs a program to its end; `act` does what it asks for.
///
/// # Panics
/// If a check failed, the program was silent for too long, or it ended with anything but success.
pub fn play(command: &mut Command, mut act: impl FnMut(&str)) -> Vec<String> {
    let mut program = Running::start(command);
    let (mut passed, mut failed) = (Vec::new(), Vec::new());
    while let Some(line) = program.next_line() {
        println!("{line}");
        if let Some(word) = line.strip_prefix("do: ") {
            act(word);
            program.answer();
        } else if let Some(name) = line.strip_prefix("ok: ") {
            passed.push(name.to_string());
        } else if line.starts_with("FAILED: ") {
            failed.push(line);
        }
    }
    let status = program.child.wait().expect("it ends");
    assert!(failed.is_empty(), "{} checks failed:\n{}", failed.len(), failed.join("\n"));
    assert!(status.success(), "{command:?} ended with {status}");
    passed
}

struct Running {
    child: Child,
    lines: Receiver<String>,
}

impl Running {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines }
    }

    /// Checks have limits of their own, and a few waits each; beyond three of them the program hangs.
    fn next_line(&self) -> Option<String> {
        match self.lines.recv_timeout(PATIENCE * 3) {
            Ok(line) => Some(line),
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => panic!("a client program says nothing more"),
        }
    }

    fn answer(&mut self) {
        let stdin = self.child.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"done\n").expect("the program listens");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Killing one that has ended already is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
