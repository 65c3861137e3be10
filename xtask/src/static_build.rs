//! The program without any library of the machine's: it runs on whatever Linux there is.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::steps::{apt_install, cargo, is_installed, step};

#[cfg(target_arch = "x86_64")]
const TARGET: &str = "x86_64-unknown-linux-musl";
#[cfg(target_arch = "aarch64")]
const TARGET: &str = "aarch64-unknown-linux-musl";

/// Builds it with this profile (`dev` or `release`), and lets it show that it works.
pub fn run(profile: &str) -> Result<()> {
    ensure!(target_is_here()?, "the standard library for {TARGET} is not here: run `rustup target add {TARGET}`");
    if !is_installed("musl-gcc") {
        apt_install(&["musl-tools"])?;
    }
    let mut build = cargo(&["build", "--profile", profile, "--package", "backstay", "--target", TARGET]);
    build.env(format!("CC_{}", TARGET.replace('-', "_")), "musl-gcc");
    step("static build", "see what the compiler says", build)?;
    let folder = if profile == "dev" { "debug" } else { profile };
    let program = PathBuf::from(std::env::var("CARGO_TARGET_DIR").unwrap_or_else(|_| "target".into()))
        .join(TARGET)
        .join(folder)
        .join("backstay");
    let bytes = std::fs::read(&program).with_context(|| format!("cannot read {}", program.display()))?;
    ensure!(!wants_a_loader(&bytes)?, "{} is not static: it names a dynamic loader", program.display());
    let mut tour = Command::new(&program);
    tour.arg("tour");
    step("tour of the static build", "see what the tour says", tour)?;
    println!("{}", program.display());
    Ok(())
}

/// As part of CI: where the toolchain has no such target, says so.
pub fn check() -> Result<()> {
    if target_is_here()? {
        return run("dev");
    }
    println!("\n== static build\nSKIPPED: the toolchain has no {TARGET}; `rustup target add {TARGET}` adds it");
    Ok(())
}

fn target_is_here() -> Result<bool> {
    let asked = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let asked = asked.context("cannot run rustc")?;
    Ok(asked.status.success() && PathBuf::from(String::from_utf8_lossy(&asked.stdout).trim()).is_dir())
}

/// Whether an ELF file of 64 bits, little end first, has a program header of the kind `PT_INTERP`.
fn wants_a_loader(elf: &[u8]) -> Result<bool> {
    const INTERP: u32 = 3;
    let short = || "the file ends too early";
    ensure!(elf.starts_with(b"\x7fELF\x02\x01"), "this is no ELF file of 64 bits");
    let u16_at = |at: usize| elf.get(at..at + 2).map(|bytes| usize::from(u16::from_le_bytes([bytes[0], bytes[1]])));
    let start = elf.get(0x20..0x28).context(short())?.try_into().map(u64::from_le_bytes)?;
    let (size, count) = (u16_at(0x36).context(short())?, u16_at(0x38).context(short())?);
    for number in 0..count {
        let at = usize::try_from(start)? + number * size;
        let Some(kind) = elf.get(at..at + 4) else { bail!(short()) };
        if kind == INTERP.to_le_bytes() {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loader_is_noticed() {
        let shell = std::fs::read("/bin/sh").unwrap();
        assert!(wants_a_loader(&shell).unwrap(), "Debian's shell is linked dynamically");
        assert!(wants_a_loader(b"#!/bin/sh").is_err());
        assert!(wants_a_loader(&shell[..0x30]).is_err());
    }
}
