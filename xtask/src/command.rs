//! Commands that are run for their effect: cargo and make.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::interrupt;
use crate::privilege::as_caller;

/// The root of the repository.
pub(crate) fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap_or(Path::new("."))
}

/// The directory that holds `debug` and `release`. This program itself lies in one of them.
pub(crate) fn target_directory() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot find the path of this program")?;
    let profile = program.ancestors().find(|directory| {
        let name = directory.file_name();
        name.is_some_and(|name| name == "debug" || name == "release")
    });
    match profile.and_then(Path::parent) {
        Some(parent) => Ok(parent.to_owned()),
        None => bail!(
            "{} does not lie in a cargo target directory: run it through `cargo xtask`",
            program.display()
        ),
    }
}

/// Runs `cargo WORDS` in the root of the repository, as the calling user.
pub(crate) fn cargo(words: &str) -> Result<()> {
    run(&mut with_words(as_caller(cargo_program()), words)?)
}

/// Runs `cargo WORDS` with another target directory.
pub(crate) fn cargo_into(target: &Path, words: &str) -> Result<()> {
    run(with_words(as_caller(cargo_program()), words)?.env("CARGO_TARGET_DIR", target))
}

/// Runs `cargo WORDS` for tests of which none may leave itself out because a program is missing.
pub(crate) fn cargo_strictly(words: &str) -> Result<()> {
    run(with_words(as_caller(cargo_program()), words)?.env("CI", "true"))
}

/// Runs `cargo WORDS` as root, for tests that start servers. What it runs should be built already.
pub(crate) fn cargo_as_root(words: &str, environment: &[(&str, &str)]) -> Result<()> {
    let mut command = with_words(Command::new(cargo_program()), words)?;
    run(command.envs(environment.iter().copied()))
}

/// Beginnings of the names of what cargo tells a program about its package.
const OF_A_PACKAGE: &[&str] = &[
    "CARGO_PKG_",
    "CARGO_MANIFEST_",
    "CARGO_CRATE_",
    "CARGO_BIN_",
    "CARGO_PRIMARY_",
    "OUT_DIR",
];

fn cargo_program() -> std::ffi::OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}

fn with_words(mut command: Command, words: &str) -> Result<Command> {
    command.current_dir(workspace()).args(words.split(' '));
    // What it builds must be where this program looks for it, however this program was started.
    command
        .env("CARGO_TARGET_DIR", target_directory()?)
        .env_remove("CARGO_BUILD_TARGET");
    // `cargo run` and `cargo test` tell their program about its package. A cargo that inherits that takes it for a
    // change in the environment of some build scripts, and builds much again.
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if OF_A_PACKAGE.iter().any(|start| text.starts_with(start)) {
            command.env_remove(&name);
        }
    }
    Ok(command)
}

/// Runs a command to its end and fails if it does. A request to stop ends it, with all it started.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = shown(command);
    let mut child = command
        .stdin(Stdio::null())
        .process_group(0)
        .spawn()
        .with_context(|| format!("cannot run `{shown}`"))?;
    let mut told = false;
    let status = loop {
        if let Some(status) = child.try_wait().with_context(|| format!("`{shown}`"))? {
            break status;
        }
        if interrupt::requested() && !told {
            told = true;
            let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            // It may have ended in this moment.
            let _ = group.map(|group| kill_process_group(group, Signal::TERM));
        }
        thread::sleep(Duration::from_millis(20));
    };
    interrupt::check()?;
    if !status.success() {
        bail!("`{shown}` failed: {status}");
    }
    Ok(())
}

fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let name = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(name)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy())
        // A script is not for a message of one line.
        .map(|word| {
            if word.contains('\n') {
                "…".into()
            } else {
                word
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}
