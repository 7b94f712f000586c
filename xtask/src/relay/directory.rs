//! The directory of an instance: who may get there, how long its path is, and who works in it.

use std::fs::{self, File, Permissions, TryLockError};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::privilege::give_to_caller;
use crate::terminal::say;

/// Where an instance lives whose own place does not do.
const ELSEWHERE: &str = "/var/lib/chatmail-relay";
/// Unix sockets have paths of at most 107 bytes (`sun_path`, unix(7)); the longest of ours below the directory has 44.
const LONGEST: usize = 60;
/// Marks a directory as one that this command made and may write to.
const MARK: &str = ".chatmail-relay";

/// The directory of an instance; nobody else runs one in it while this lives.
pub(crate) struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Takes the directory, which is made if it does not exist.
    pub(crate) fn take(requested: &Path) -> Result<Directory> {
        let path = place(requested)?;
        let lock_file = path.join(MARK);
        if !lock_file.exists()
            && fs::read_dir(&path).is_ok_and(|mut entries| entries.next().is_some())
        {
            bail!(
                "{} is not empty, and no directory of a private relay. Choose another --dir",
                path.display()
            );
        }
        let lock = File::create(&lock_file)
            .with_context(|| format!("cannot create {}", lock_file.display()))?;
        match lock.try_lock() {
            Ok(()) => Ok(Directory { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => {
                let shown = requested.display();
                bail!(
                    "a relay runs in {shown} already. Stop it with `cargo xtask relay --stop {shown}`, or choose another --dir"
                )
            }
            Err(TryLockError::Error(e)) => {
                Err(e).with_context(|| format!("cannot lock {}", lock_file.display()))
            }
        }
    }

    /// Absolute, without symbolic links.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

/// The directory of an instance that ran, or runs. Fails if there never was one.
pub(crate) fn existing(requested: &Path) -> Result<PathBuf> {
    let path = fs::canonicalize(requested)
        .with_context(|| format!("no relay in {}", requested.display()))?;
    if !path.join(MARK).exists() {
        bail!("{} is no directory of a private relay", requested.display());
    }
    Ok(path)
}

/// Makes the directory, in the place asked for or elsewhere with a symbolic link.
fn place(requested: &Path) -> Result<PathBuf> {
    let wanted = std::path::absolute(requested)
        .with_context(|| format!("{}: no such path", requested.display()))?;
    if let Ok(path) = fs::canonicalize(&wanted) {
        if !path.is_dir() {
            bail!("{} is no directory. Choose another --dir", wanted.display());
        }
        if obstacle(&path).is_none() {
            return Ok(path);
        }
        // Also says so if there is something in it.
        fs::remove_dir(&path).with_context(|| {
            format!(
                "the servers cannot work in {}, and it cannot be replaced. Choose another --dir",
                path.display()
            )
        })?;
    }
    let parent = wanted
        .parent()
        .with_context(|| format!("{} cannot hold a relay", wanted.display()))?;
    make_parents(parent)?;
    let parent =
        fs::canonicalize(parent).with_context(|| format!("cannot open {}", parent.display()))?;
    let wanted = parent.join(
        wanted
            .file_name()
            .with_context(|| format!("{} has no name", wanted.display()))?,
    );
    let Some(why) = obstacle(&wanted) else {
        make(&wanted)?;
        return Ok(wanted);
    };
    let elsewhere = Path::new(ELSEWHERE).join(format!(
        "{:016x}",
        fnv1a(wanted.as_os_str().as_encoded_bytes())
    ));
    make(&elsewhere)?;
    let _ = fs::remove_file(&wanted); // a link to nowhere
    std::os::unix::fs::symlink(&elsewhere, &wanted)
        .with_context(|| format!("cannot make the symbolic link {}", wanted.display()))?;
    give_to_caller(&wanted)?;
    say(format_args!(
        "note: {why}, so the relay lives in {} and {} is a link to it.",
        elsewhere.display(),
        wanted.display()
    ));
    Ok(elsewhere)
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    fs::set_permissions(directory, Permissions::from_mode(0o755))
        .with_context(|| format!("cannot set the mode of {}", directory.display()))
}

/// Missing directories above the instance belong to the caller, as `target/` does.
fn make_parents(directory: &Path) -> Result<()> {
    if directory.exists() {
        return Ok(());
    }
    if let Some(above) = directory.parent() {
        make_parents(above)?;
    }
    fs::create_dir(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    give_to_caller(directory)
}

/// Why the mail user, Postfix and Dovecot could not work in this directory.
fn obstacle(path: &Path) -> Option<String> {
    if path.as_os_str().len() > LONGEST {
        return Some("the path is too long for Unix sockets".to_owned());
    }
    // The servers' configuration languages give other characters a meaning of their own.
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    if !path.to_str().is_some_and(|text| text.chars().all(plain)) {
        return Some(
            "the path has characters that a mail server's configuration cannot hold".to_owned(),
        );
    }
    let closed = path
        .ancestors()
        .find(|d| fs::metadata(d).is_ok_and(|m| m.mode() & 0o001 == 0))?;
    Some(format!(
        "the mail servers' users cannot enter {}",
        closed.display()
    ))
}

/// The 64-bit FNV-1a hash: the same name for the same path, in every version of this program.
fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_parent_or_a_long_path_is_an_obstacle() {
        let directory = tempfile::Builder::new()
            .prefix("x")
            .tempdir_in("/tmp")
            .expect("directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o700)).expect("close it");
        assert!(
            obstacle(&directory.path().join("relay"))
                .is_some_and(|why| why.contains("cannot enter"))
        );
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("open it");
        assert_eq!(obstacle(&directory.path().join("relay")), None);
        assert!(
            obstacle(&directory.path().join("r".repeat(60)))
                .is_some_and(|why| why.contains("too long"))
        );
    }

    #[test]
    fn one_directory_holds_one_relay_at_a_time() {
        let directory = tempfile::Builder::new()
            .prefix("x")
            .tempdir_in("/tmp")
            .expect("directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("open it");
        let first = Directory::take(directory.path()).expect("free");
        assert!(
            Directory::take(directory.path()).is_err_and(|e| e.to_string().contains("already"))
        );
        drop(first);
        Directory::take(directory.path()).expect("free again");
    }

    #[test]
    fn a_directory_with_other_things_in_it_is_left_alone() {
        let directory = tempfile::Builder::new()
            .prefix("x")
            .tempdir_in("/tmp")
            .expect("directory");
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).expect("open it");
        fs::write(directory.path().join("thesis.txt"), "").expect("file");
        assert!(
            Directory::take(directory.path()).is_err_and(|e| e.to_string().contains("not empty"))
        );
    }
}
