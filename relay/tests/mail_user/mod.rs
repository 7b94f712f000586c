//! Mailboxes whose owner is not root, also where root runs the tests: commands refuse to work as root.

use std::fs;
use std::os::unix::fs::lchown;
use std::path::Path;

/// `nobody`.
const MAIL_USER: u32 = 65_534;

/// Gives `path` and all below it to the mail user. Without root it is the test's own user who owns them.
pub(crate) fn hand_over(path: &Path) {
    if rustix::process::geteuid().is_root() {
        give(path);
    }
}

fn give(path: &Path) {
    // A service that is running may have removed it.
    let _ = lchown(path, Some(MAIL_USER), Some(MAIL_USER));
    let is_directory = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
    if is_directory {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            give(&entry.path());
        }
    }
}
