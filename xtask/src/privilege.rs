//! Root and the one who called: mail servers are started by root, while what is built belongs to the caller.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::terminal::say;

/// What the builds and the tests need of the caller's environment. sudo drops all of it.
const KEPT: &[&str] = &[
    "PATH",
    "HOME",
    "CARGO",
    "CARGO_HOME",
    "CARGO_TARGET_DIR",
    "RUSTUP_HOME",
    "RUSTUP_TOOLCHAIN",
    "RUSTFLAGS",
    "CI",
    "TERM",
    "RUST_BACKTRACE",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "PIP_INDEX_URL",
    "SSL_CERT_FILE",
    crate::build::WITH_TESTS,
];

/// Returns at once for root; otherwise replaces this process by the same command under sudo.
pub(crate) fn become_root(why: &str) -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    say(format_args!(
        "{why} takes root: running the same command through sudo."
    ));
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let mut sudo = Command::new("sudo");
    if !crate::terminal::interactive() {
        sudo.arg("--non-interactive");
    }
    sudo.arg("--").arg("env");
    for name in KEPT {
        if let Some(value) = std::env::var_os(name) {
            let mut setting = OsString::from(name);
            setting.push("=");
            setting.push(value);
            sudo.arg(setting);
        }
    }
    let failure = sudo.arg(program).args(std::env::args_os().skip(1)).exec();
    bail!("cannot run sudo ({failure}). Run this command as root, or install sudo")
}

/// A command that runs as the one who called sudo, so that `target/` stays theirs. Without sudo: as root.
pub(crate) fn as_caller(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    if let Some((uid, gid)) = caller() {
        command.uid(uid).gid(gid);
    }
    command
}

/// The user behind sudo, as (uid, gid).
pub(crate) fn caller() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    match (number("SUDO_UID")?, number("SUDO_GID")?) {
        (0, _) => None,
        both => Some(both),
    }
}

/// Gives a file made by root to the one who called sudo.
pub(crate) fn give_to_caller(path: &std::path::Path) -> Result<()> {
    if let Some((uid, gid)) = caller() {
        std::os::unix::fs::lchown(path, Some(uid), Some(gid))
            .with_context(|| format!("cannot give {} to the calling user", path.display()))?;
    }
    Ok(())
}

/// What servers need to inherit: files that others may read, and enough of them open at a time.
pub(crate) fn prepare_process() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};
    umask(rustix::fs::Mode::from_raw_mode(0o022));
    let limit = getrlimit(Resource::Nofile);
    // Some programs close every possible descriptor at their start: no more than is of use.
    let wanted = limit
        .maximum
        .map_or(OPEN_FILES, |most| most.min(OPEN_FILES));
    if limit.current.is_some_and(|now| now < wanted) {
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: limit.maximum,
            },
        );
    }
}

/// Open files of one process; enough for a load test with thousands of connections.
const OPEN_FILES: u64 = 65_536;
