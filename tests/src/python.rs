//! Python programs from PyPI, in virtual environments below `target/`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::instance::target_dir;

/// A Python that has these packages, named with their versions as pip does. The first call
/// installs them; `name` tells one set of packages from another.
///
/// # Errors
///
/// Says what to install if there is no Python, or what pip said.
pub fn with(name: &str, packages: &[&str]) -> io::Result<PathBuf> {
    below(&target_dir()?, name, packages)
}

/// As [`with`], for a program that is no test: below this `target` directory.
///
/// # Errors
///
/// As [`with`].
pub fn below(target: &Path, name: &str, packages: &[&str]) -> io::Result<PathBuf> {
    let venv = target.join(name);
    let python = venv.join("bin/python3");
    let complete = venv.join("complete");
    // Several tests may ask at once; the lock ends with the file.
    let lock = File::create(target.join(format!("{name}.lock")))?;
    lock.lock()?;
    if complete.exists() {
        return Ok(python);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    run(
        &mut create,
        "Python 3.10 or newer with venv is needed: apt install python3 python3-venv",
    )?;
    let mut install = Command::new(&python);
    install
        .args(["-m", "pip", "install", "--quiet"])
        .arg("--disable-pip-version-check")
        .args(packages);
    run(
        &mut install,
        &format!("installing {} from PyPI failed", packages.join(", ")),
    )?;
    fs::write(complete, "")?;
    Ok(python)
}

fn run(command: &mut Command, hint: &str) -> io::Result<()> {
    let output = command
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{hint} ({error})")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{hint}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}
