//! Runs programs inside a Debian tree.
//!
//! Each has a mount namespace of its own (mount_namespaces(7)), in which the directories it works with stand where they
//! stand outside. Paths, sockets, users and process ids are the same on both sides, and nothing stays mounted.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

const ENTER: &str = include_str!("enter.sh");
/// The host's users: the numbers that own mailboxes and sockets must have the same names on both sides.
const USERS: [&str; 2] = ["/etc/passwd", "/etc/group"];
/// util-linux and the shell do what else would take system calls of our own.
const OWN_NAMESPACE: [&str; 5] = ["unshare", "--mount", "--propagation", "private", "--"];

/// What stands before a command line that is to run in the tree with its own users and nothing of the host's files.
pub(super) fn alone(tree: &Path) -> Result<Vec<String>> {
    words(tree, &[])
}

/// What stands before a command line that is to run in the tree, with the host's users and these directories.
pub(super) fn with(tree: &Path, directories: &[&Path]) -> Result<Vec<String>> {
    let mut same = directories.to_vec();
    same.sort_unstable();
    // What lies below another one is there already; mounting it once more would double what is mounted in it.
    same.dedup_by(|this, above| this.starts_with(above));
    same.extend(USERS.map(Path::new));
    words(tree, &same)
}

fn words(tree: &Path, same: &[&Path]) -> Result<Vec<String>> {
    let mut words = OWN_NAMESPACE.map(str::to_owned).to_vec();
    words.extend(["sh", "-c", ENTER, "enter"].map(str::to_owned));
    for path in [&[tree], same].concat() {
        let text = path.to_str();
        words.push(
            text.with_context(|| format!("{} is not UTF-8", path.display()))?
                .to_owned(),
        );
    }
    words.push("--".to_owned());
    Ok(words)
}

/// Runs this one with mounts of its own, so that what it forgets to unmount is gone with it.
pub(super) fn own_namespace(program: &str) -> Command {
    let [unshare, options @ ..] = OWN_NAMESPACE;
    let mut command = Command::new(unshare);
    command.args(options).arg(program);
    command
}

/// Whether this system lets root mount and change the root directory; most containers do not. The error says why.
pub(super) fn is_possible() -> std::result::Result<(), String> {
    let tried = own_namespace("sh")
        .args(["-c", "mount --bind / / && exec chroot / true"])
        .stdin(Stdio::null())
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(why) => Err(format!("unshare: {why}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_below_another_directory_is_mounted_once() {
        let tree = Path::new("/t");
        let directories = ["/tmp/a/b", "/srv/x", "/tmp/a", "/tmp/ab", "/srv/x"].map(Path::new);
        let words = with(tree, &directories).expect("UTF-8");
        let from = words.iter().position(|word| word == "/t").expect("tree");
        let expected = [
            "/t",
            "/srv/x",
            "/tmp/a",
            "/tmp/ab",
            "/etc/passwd",
            "/etc/group",
            "--",
        ];
        assert_eq!(words[from..], expected.map(str::to_owned));
    }
}
