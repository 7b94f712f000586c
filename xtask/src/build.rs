//! Builds what a relay is made of: two programs, and two Dovecot modules with the Rust library linked in.
//!
//! The library is built twice, with the features that each module needs: a Dovecot process maps nothing it does not
//! use. Cargo keeps both builds apart by their features, so nothing is compiled again while the sources stay the same.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::command::{cargo, run, target_directory, workspace};
use crate::privilege::{as_caller, give_to_caller};
use crate::terminal::stage;

/// What the auth module needs of the library.
const AUTH_FEATURES: &str = "auth";
/// What the mail module needs of the library.
const MAIL_FEATURES: &str = "metadata,push";

/// The Dovecot that the modules and the configuration templates are written for.
const DOVECOT: &str = "2.3.";

/// What a relay is made of.
pub(crate) struct Artifacts {
    /// `chatmail`, the operator's command and service.
    pub(crate) chatmail: PathBuf,
    /// `chatmail-milter`.
    pub(crate) milter: PathBuf,
    /// `libauthdb_chatmail.so`.
    pub(crate) auth_module: PathBuf,
    /// `lib90_chatmail_plugin.so`.
    pub(crate) mail_plugin: PathBuf,
}

/// Builds everything a relay runs; does next to nothing if it is built already.
pub(crate) fn relay() -> Result<Artifacts> {
    supported_dovecot()?;
    let target = target_directory()?;
    let ours = target.join("chatmail");
    let _one_at_a_time = exclusive(&ours)?;
    stage(
        "building chatmail and chatmail-milter (the first time takes a few minutes)",
        || cargo("build --release --package chatmail-relay --package chatmail-milter --bins"),
    )?;
    let auth = stage("building the library for Dovecot's auth module", || {
        library(&target, &ours, "auth", AUTH_FEATURES)
    })?;
    let mail = stage("building the library for Dovecot's mail module", || {
        library(&target, &ours, "mail", MAIL_FEATURES)
    })?;
    let modules = ours.join("dovecot-plugin");
    stage("building the Dovecot modules", || {
        dovecot_modules(&modules, &auth, &mail)
    })?;
    Ok(Artifacts {
        chatmail: existing(target.join("release/chatmail"))?,
        milter: existing(target.join("release/chatmail-milter"))?,
        auth_module: existing(modules.join("auth/libauthdb_chatmail.so"))?,
        mail_plugin: existing(modules.join("lib90_chatmail_plugin.so"))?,
    })
}

/// Says at once what would otherwise show as a compiler's or a server's complaint.
fn supported_dovecot() -> Result<()> {
    let output = Command::new("dovecot")
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .context("cannot run dovecot: is dovecot-core installed?")?;
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    if !version.starts_with(DOVECOT) {
        bail!(
            "this is Dovecot {version}; the modules and the configuration are for {DOVECOT}x, which Debian 12 has"
        );
    }
    Ok(())
}

/// Two instances that start at the same time must not copy and link over each other.
fn exclusive(directory: &Path) -> Result<File> {
    create_directory(directory)?;
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    give_to_caller(&path)?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// The static library with some features, in a place of its own.
///
/// As its one crate type: with a shared library beside it, whose name is fixed, cargo would keep one build only.
fn library(target: &Path, ours: &Path, name: &str, features: &str) -> Result<PathBuf> {
    cargo(&format!(
        "rustc --release --package chatmail-ffi --lib --crate-type staticlib --no-default-features --features {features}"
    ))?;
    let directory = ours.join(name);
    create_directory(&directory)?;
    let (from, to) = (
        target.join("release/libchatmail.a"),
        directory.join("libchatmail.a"),
    );
    let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    // make goes by the time of the file: an unchanged one stays as it is.
    if fs::read(&to).ok().as_ref() != Some(&bytes) {
        fs::write(&to, &bytes).with_context(|| format!("cannot write {}", to.display()))?;
        give_to_caller(&to)?;
    }
    Ok(to)
}

fn dovecot_modules(build: &Path, auth: &Path, mail: &Path) -> Result<()> {
    create_directory(build)?;
    let setting = |name: &str, path: &Path| {
        let mut setting = std::ffi::OsString::from(name);
        setting.push("=");
        setting.push(path);
        setting
    };
    let mut make = as_caller("make");
    make.args(["--silent", "--directory"])
        .arg(workspace().join("dovecot-plugin"));
    make.args([
        setting("BUILD", build),
        setting("LIBCHATMAIL_AUTH", auth),
        setting("LIBCHATMAIL_MAIL", mail),
    ]);
    // Variables of an outer make, or of a person's habit, must not decide what is built.
    make.env_remove("MAKEFLAGS")
        .env_remove("CFLAGS")
        .env_remove("LDFLAGS");
    run(&mut make)
}

fn create_directory(directory: &Path) -> Result<()> {
    if !directory.is_dir() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        give_to_caller(directory)?;
    }
    Ok(())
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!(
            "the build succeeded, and yet there is no {}",
            path.display()
        );
    }
    Ok(path)
}
