//! Where state is kept when nobody says.

use std::path::PathBuf;

/// `/var/lib/backstay` as root, else `$XDG_STATE_HOME/backstay`, else `~/.local/state/backstay`.
pub fn default() -> PathBuf {
    choose(rustix::process::geteuid().is_root(), |name| std::env::var_os(name).map(PathBuf::from))
}

/// Where an agent keeps its state: beside that of a server.
pub fn agent() -> PathBuf {
    default().with_file_name("backstay-agent")
}

fn choose(root: bool, variable: impl Fn(&str) -> Option<PathBuf>) -> PathBuf {
    if root {
        return PathBuf::from("/var/lib/backstay");
    }
    let state = variable("XDG_STATE_HOME").filter(|dir| dir.is_absolute());
    let home = || variable("HOME").unwrap_or_else(|| PathBuf::from("/"));
    state.unwrap_or_else(|| home().join(".local/state")).join("backstay")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults() {
        let check = |root: bool, state: Option<&str>, home: Option<&str>, expected: &str| {
            let found = choose(root, |name| match name {
                "XDG_STATE_HOME" => state.map(PathBuf::from),
                "HOME" => home.map(PathBuf::from),
                _ => None,
            });
            assert_eq!(found, PathBuf::from(expected));
        };
        check(true, Some("/s"), Some("/h"), "/var/lib/backstay");
        check(false, Some("/s"), Some("/h"), "/s/backstay");
        check(false, Some("relative"), Some("/h"), "/h/.local/state/backstay");
        check(false, None, Some("/h"), "/h/.local/state/backstay");
        assert_eq!(agent().parent(), default().parent());
    }
}
