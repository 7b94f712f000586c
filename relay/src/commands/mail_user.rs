//! Working as the owner of the mailboxes, whoever starts a command.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::Command;

use chatmail_core::config::Config;

use crate::exit::{Exit, Failure};

/// Goes on as the owner of `MAILBOXES_DIR` if root runs the command: what is made is the mail user's then,
/// and a file that user has put in the way leads root nowhere. Starts the program anew to that end, so it comes
/// before anything is read from standard input.
pub(crate) fn become_mail_user(config: &Config) -> Result<(), Failure> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let dir = &config.mailboxes_dir;
    let above = dir.parent().unwrap_or(dir);
    // Made by the first account; then its owner is that of the directory above.
    let owner = fs::metadata(dir).or_else(|_| fs::metadata(above));
    let owner = owner.map_err(|why| {
        let why = format!("mailboxes_dir = {}: {why}", dir.display());
        Failure(Exit::Configuration, why)
    })?;
    if owner.uid() == 0 {
        return Ok(());
    }
    let mut arguments = env::args_os();
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    // Also drops the groups of root.
    command.args(arguments).uid(owner.uid()).gid(owner.gid());
    let why = command.exec();
    Err(Failure(
        Exit::NoPermission,
        format!("cannot go on as the mail user: {why}"),
    ))
}
