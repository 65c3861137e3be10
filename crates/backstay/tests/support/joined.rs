//! Agents in processes of their own, which have joined by a token.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::{Server, backstay, traces};

/// An agent, killed when dropped; its pods are ended too.
pub struct Agent {
    child: Option<Child>,
    pub dir: tempfile::TempDir,
}

impl Agent {
    /// With the words of a command that `backstay token create` has printed, or of a later start.
    pub fn start(name: &str, words: &[&str]) -> Self {
        let mut agent = Self::new();
        agent.resume(name, words);
        agent
    }

    /// One that has not been started yet.
    pub fn new() -> Self {
        Self { child: None, dir: tempfile::tempdir().unwrap() }
    }

    /// Starts it with what it has.
    pub fn resume(&mut self, name: &str, words: &[&str]) {
        let mut command = agent_command(self.dir.path(), name, words);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        self.child = Some(command.spawn().expect("the agent starts"));
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
        traces::end_pods(self.dir.path());
    }
}

pub fn agent_command(dir: &Path, name: &str, words: &[&str]) -> Command {
    let mut command = backstay();
    command.arg("agent").args(words).args(["--node-name", name, "--runtime", "process", "--data-dir"]).arg(dir);
    command.env("BACKSTAY_LOG", std::env::var("BACKSTAY_LOG").unwrap_or("warn".into()));
    command
}

/// The words after `backstay agent` of the command that is printed.
pub fn joining(server: &Server, arguments: &[&str]) -> Vec<String> {
    let arguments = [&["token", "create"], arguments].concat();
    let printed = server.backstay(&arguments).ok();
    let words: Vec<&str> = printed.split_whitespace().collect();
    assert_eq!(words[..2], ["backstay", "agent"], "{printed}");
    words[2..].iter().map(|word| word.to_string()).collect()
}

pub fn words(owned: &[String]) -> Vec<&str> {
    owned.iter().map(String::as_str).collect()
}
