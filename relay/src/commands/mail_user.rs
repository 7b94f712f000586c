//! Working as the owner of the mailboxes, whoever starts a command.

use chatmail_core::config::Config;
use chatmail_relay::mail_user::MailUser;
use rustix::process::geteuid;

use crate::exit::{Exit, Failure};

/// If root runs the command, goes on as the owner of `MAILBOXES_DIR`. New files then belong to the mail user, and that
/// user cannot plant a file that leads root astray. Call it before any thread is started.
///
/// # Errors
///
/// The owner cannot be determined, or is root; or root's privileges cannot be dropped.
pub(crate) fn become_mail_user(config: &Config) -> Result<(), Failure> {
    if !is_root() {
        return Ok(());
    }
    let user = MailUser::of(&config.mailboxes_dir)
        .map_err(|why| not_permitted(&format!("mailboxes_dir: {why}")))?;
    user.become_it()
        .map_err(|why| not_permitted(&format!("cannot become the mail user: {why}")))
}

pub(crate) fn is_root() -> bool {
    geteuid().is_root()
}

fn not_permitted(why: &str) -> Failure {
    Failure(Exit::NoPermission, why.to_owned())
}
