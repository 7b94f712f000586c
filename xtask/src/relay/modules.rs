//! Puts our modules where Dovecot looks for them.
//!
//! Mail plugins are loaded from a directory that the configuration names, so that each instance has its own. Where
//! the auth server looks is compiled in: that one module is shared by all instances of the host.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::build::Artifacts;
use crate::packages;
use crate::terminal::say;

/// Tells how the installed Dovecot was built; comes with dovecot-dev.
const DOVECOT_CONFIG: &str = "/usr/lib/dovecot/dovecot-config";
const AUTH: &str = "libauthdb_chatmail.so";
const MAIL: &str = "lib90_chatmail_plugin.so";

/// Where the modules are.
pub(crate) struct Modules {
    /// The stock mail plugins and ours.
    pub(crate) mail_plugin_dir: PathBuf,
}

impl Modules {
    /// Installs both modules, the mail plugin into `mail_plugin_dir`.
    pub(crate) fn install(artifacts: &Artifacts, mail_plugin_dir: &Path) -> Result<Modules> {
        let stock = stock_directory()?;
        install_auth(&artifacts.auth_module, &stock.join("auth").join(AUTH))?;
        if mail_plugin_dir.exists() {
            fs::remove_dir_all(mail_plugin_dir)
                .with_context(|| format!("cannot empty {}", mail_plugin_dir.display()))?;
        }
        fs::create_dir_all(mail_plugin_dir)
            .with_context(|| format!("cannot create {}", mail_plugin_dir.display()))?;
        let entries =
            fs::read_dir(&stock).with_context(|| format!("cannot list {}", stock.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("cannot list {}", stock.display()))?;
            if entry.file_name() != OsStr::new(MAIL) {
                symlink(entry.path(), mail_plugin_dir.join(entry.file_name()))
                    .context("cannot link to a stock plugin")?;
            }
        }
        replace(&artifacts.mail_plugin, &mail_plugin_dir.join(MAIL))?;
        Ok(Modules {
            mail_plugin_dir: mail_plugin_dir.to_owned(),
        })
    }
}

fn stock_directory() -> Result<PathBuf> {
    let text = fs::read_to_string(DOVECOT_CONFIG)
        .with_context(|| format!("cannot read {DOVECOT_CONFIG}: is dovecot-dev installed?"))?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("dovecot_moduledir="));
    let directory = line
        .with_context(|| format!("{DOVECOT_CONFIG} does not name the directory of the modules"))?;
    Ok(PathBuf::from(directory.trim_matches(['"', '\''])))
}

fn install_auth(from: &Path, to: &Path) -> Result<()> {
    let new = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    if let Some(package) = packages::owner_of(to) {
        bail!(
            "{} belongs to the package {package} and is another version: remove that package to run a private relay",
            to.display()
        );
    }
    say(format_args!(
        "==> installing {} (Dovecot loads auth modules from nowhere else)",
        to.display()
    ));
    replace(from, to)
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
