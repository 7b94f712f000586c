//! Puts our modules where Dovecot looks for them.
//!
//! Mail plugins are loaded from a directory that the configuration names, so that each instance has its own. Where
//! the auth server looks is compiled in, and where 2.4 looks for names of settings: those modules are shared by all
//! instances of the host, or of the tree that Dovecot runs in.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::build::{Artifacts, DOVECOT_CONFIG};
use crate::dovecot::Dovecot;
use crate::packages;
use crate::terminal::say;

const AUTH: &str = "auth/libauthdb_chatmail.so";
const SETTINGS: &str = "settings/libchatmail_settings.so";
const MAIL: &str = "lib90_chatmail_plugin.so";

/// Where the modules are.
pub(crate) struct Modules {
    /// The stock mail plugins and ours.
    pub(crate) mail_plugin_dir: PathBuf,
}

impl Modules {
    /// Installs all modules, the mail plugin into `mail_plugin_dir`.
    pub(crate) fn install(artifacts: &Artifacts, mail_plugin_dir: &Path) -> Result<Modules> {
        let dovecot = &artifacts.dovecot;
        let stock = stock_directory(dovecot)?;
        install(dovecot, &artifacts.auth_module, &stock.join(AUTH))?;
        if let Some(settings) = &artifacts.settings_module {
            install(dovecot, settings, &stock.join(SETTINGS))?;
        }
        if mail_plugin_dir.exists() {
            fs::remove_dir_all(mail_plugin_dir)
                .with_context(|| format!("cannot empty {}", mail_plugin_dir.display()))?;
        }
        fs::create_dir_all(mail_plugin_dir)
            .with_context(|| format!("cannot create {}", mail_plugin_dir.display()))?;
        let seen = dovecot.outside(&stock);
        let entries =
            fs::read_dir(&seen).with_context(|| format!("cannot list {}", seen.display()))?;
        for entry in entries {
            let name = entry
                .with_context(|| format!("cannot list {}", seen.display()))?
                .file_name();
            if name != OsStr::new(MAIL) {
                // As Dovecot sees it.
                symlink(stock.join(&name), mail_plugin_dir.join(&name))
                    .context("cannot link to a stock plugin")?;
            }
        }
        replace(&artifacts.mail_plugin, &mail_plugin_dir.join(MAIL))?;
        Ok(Modules {
            mail_plugin_dir: mail_plugin_dir.to_owned(),
        })
    }
}

/// As Dovecot names it.
fn stock_directory(dovecot: &Dovecot) -> Result<PathBuf> {
    let text = fs::read_to_string(dovecot.outside(Path::new(DOVECOT_CONFIG)))
        .with_context(|| format!("cannot read {DOVECOT_CONFIG}: is dovecot-dev installed?"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("dovecot_moduledir="));
    let directory = line
        .with_context(|| format!("{DOVECOT_CONFIG} does not name the directory of the modules"))?;
    Ok(PathBuf::from(directory.trim_matches(['"', '\''])))
}

fn install(dovecot: &Dovecot, from: &Path, to: &Path) -> Result<()> {
    let to = &dovecot.outside(to);
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if !dovecot.is_of_host() {
        make_parent(to)?;
        return replace(from, to);
    }
    if let Some(package) = packages::owner_of(to) {
        bail!(
            "{} belongs to the package {package} and is another version: remove that package to run a private relay",
            to.display()
        );
    }
    say(format_args!(
        "==> installing {} (Dovecot loads such modules from nowhere else)",
        to.display()
    ));
    make_parent(to)?;
    replace(from, to)
}

/// No package of ours has one for settings.
fn make_parent(file: &Path) -> Result<()> {
    let directory = file.parent().context("a module has no directory")?;
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))
}

/// By rename: a Dovecot that runs keeps the file it has mapped.
fn replace(from: &Path, to: &Path) -> Result<()> {
    // Not `*.so`: Dovecot must not take it for a module. The process id keeps parallel starts apart.
    let temporary = to.with_extension(format!("new-{}", std::process::id()));
    let copied = fs::copy(from, &temporary)
        .map(|_| ())
        .and_then(|()| fs::set_permissions(&temporary, Permissions::from_mode(0o644)));
    let done = copied.and_then(|()| fs::rename(&temporary, to));
    if done.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    done.with_context(|| format!("cannot install {}", to.display()))
}
