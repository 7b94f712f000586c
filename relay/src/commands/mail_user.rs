//! Working as the owner of the mailboxes, whoever starts a command.

use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use chatmail_core::config::Config;
use chatmail_relay::mail_user::MailUser;
use rustix::process::{getegid, geteuid, getgid, getgroups, getuid};

use crate::exit::{Exit, Failure};

/// The environment variable that tells the restarted program the user it must be running as: `UID:GID`.
const MARK: &str = "CHATMAIL_MAIL_USER";

/// If root runs the command, restarts it as the owner of `MAILBOXES_DIR`. New files then belong to the mail
/// user, and that user cannot plant a file that leads root astray. Call it before anything is read from
/// standard input, because it starts the program again.
///
/// # Errors
///
/// The owner cannot be determined, or is root; or root's privileges cannot be dropped.
pub(crate) fn become_mail_user(config: &Config) -> Result<(), Failure> {
    let Some(mut command) = as_mail_user(config)? else {
        return Ok(());
    };
    let mut arguments = env::args_os();
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let why = command.args(arguments).exec();
    Err(not_permitted(&format!(
        "cannot go on as the mail user: {why}"
    )))
}

/// A command that runs this program as the owner of `MAILBOXES_DIR`, without the groups of root. `None` if root is not
/// running it now.
///
/// # Errors
///
/// As for [`become_mail_user`].
pub(crate) fn as_mail_user(config: &Config) -> Result<Option<Command>, Failure> {
    if let Some(mark) = env::var_os(MARK) {
        return check(&mark).map(|()| None);
    }
    if !geteuid().is_root() {
        return Ok(None);
    }
    let user = MailUser::of(&config.mailboxes_dir)
        .map_err(|why| not_permitted(&format!("mailboxes_dir: {why}")))?;
    let mut command = Command::new("/proc/self/exe");
    command.env(MARK, mark(user.uid, user.gid));
    // This also drops root's supplementary groups, because std clears them when root sets a uid.
    command.uid(user.uid).gid(user.gid);
    Ok(Some(command))
}

/// Whether root has restarted this program, which then has read `chatmail.ini` before.
pub(crate) fn is_started_anew() -> bool {
    env::var_os(MARK).is_some()
}

fn mark(uid: u32, gid: u32) -> OsString {
    format!("{uid}:{gid}").into()
}

/// Checks that no privilege of root is left.
fn check(expected: &OsString) -> Result<(), Failure> {
    let (uid, gid) = (geteuid(), getegid());
    let groups = getgroups().map_err(|why| not_permitted(&why.to_string()))?;
    let is_whole = getuid() == uid && getgid() == gid && groups.iter().all(|group| *group == gid);
    match is_whole && !uid.is_root() && *expected == mark(uid.as_raw(), gid.as_raw()) {
        true => Ok(()),
        false => Err(not_permitted("cannot give up what root may do")),
    }
}

fn not_permitted(why: &str) -> Failure {
    Failure(Exit::NoPermission, why.to_owned())
}
