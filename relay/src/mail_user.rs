//! Finds the owner of the mailboxes, in a way by which that owner cannot deceive root, and becomes that user.
//!
//! Root runs commands that work on mailboxes, but everything in `MAILBOXES_DIR` belongs to the mail user, and
//! usually so does its parent directory. So a command first becomes the owner of `MAILBOXES_DIR`. The path is walked
//! by descriptors, one directory at a time: only links of root are followed, and the path must end at a directory of
//! a user and a group other than root.
//!
//! The process itself changes its user; it does not execute a program as that user. The kernel lets the processes of
//! a user look into each other: memory, environment and open files, which here are those of root, its terminal among
//! them. It keeps a process that has changed its user out of their reach, until that process executes a program.

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, Stat, fstat, openat, readlinkat};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, dumpable_behavior, set_dumpable_behavior};
use rustix::process::{Gid, Uid, getegid, geteuid, getgid, getgroups, getuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};

/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;

/// The user and group that own the mailboxes. Never those of root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MailUser {
    /// User ID.
    pub uid: u32,
    /// Group ID.
    pub gid: u32,
}

/// Why root refuses to work on the mailboxes.
#[derive(Debug)]
pub enum Unsafe {
    /// A link in the path does not belong to root, or the directory itself is a link.
    Link(PathBuf),
    /// The directory belongs to root.
    RootUser(PathBuf),
    /// The directory belongs to the group of root.
    RootGroup(PathBuf),
    /// The path cannot be examined.
    Io(PathBuf, io::Error),
}

impl fmt::Display for Unsafe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remedy = "run: install -d -o vmail -g vmail -m 0700";
        match self {
            Unsafe::Link(path) => {
                let path = path.display();
                write!(
                    f,
                    "{path}: is a link that root does not follow; name the directory that it leads to"
                )
            }
            Unsafe::RootUser(path) => {
                let path = path.display();
                write!(
                    f,
                    "{path}: belongs to root instead of the mail user; {remedy} {path}"
                )
            }
            Unsafe::RootGroup(path) => {
                let path = path.display();
                write!(
                    f,
                    "{path}: belongs to the group of root instead of the mail user's; {remedy} {path}"
                )
            }
            Unsafe::Io(path, why) => write!(f, "{}: {why}", path.display()),
        }
    }
}

impl std::error::Error for Unsafe {}

impl MailUser {
    /// The owner of `MAILBOXES_DIR`. The first account creates that directory; until then, the owner of the directory
    /// above it counts.
    ///
    /// # Errors
    ///
    /// [`Unsafe`]: a command run by root must stop.
    pub fn of(mailboxes_dir: &Path) -> Result<MailUser, Unsafe> {
        let opened = match open_directory(mailboxes_dir, LastLink::Refuse) {
            Err(Unsafe::Io(_, why)) if why.kind() == io::ErrorKind::NotFound => {
                let above = mailboxes_dir.parent().unwrap_or(mailboxes_dir);
                open_directory(above, LastLink::Refuse)
            }
            opened => opened,
        };
        let (_, stat) = opened?;
        match (stat.st_uid, stat.st_gid) {
            (0, _) => Err(Unsafe::RootUser(mailboxes_dir.to_owned())),
            (_, 0) => Err(Unsafe::RootGroup(mailboxes_dir.to_owned())),
            (uid, gid) => Ok(MailUser { uid, gid }),
        }
    }

    /// Makes this process, which root runs, one of the mail user's: with that user's group and no other, for good,
    /// and out of reach of the user's other processes.
    ///
    /// # Errors
    ///
    /// The kernel does not allow it, or there is a second thread, which would go on as root. The process may have
    /// changed in part: it must end.
    pub fn become_it(self) -> io::Result<()> {
        // The system calls change the calling thread alone.
        if fs::read_dir("/proc/self/task")?.count() != 1 {
            return Err(io::Error::other("another thread would go on as root"));
        }
        let (uid, gid) = (Uid::from_raw(self.uid), Gid::from_raw(self.gid));
        set_thread_groups(&[])?;
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
        // The kernel has done this by itself, unless fs.suid_dumpable says otherwise.
        set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
        let is_whole = (getuid(), geteuid()) == (uid, uid)
            && (getgid(), getegid()) == (gid, gid)
            && getgroups()?.is_empty()
            && dumpable_behavior()? == DumpableBehavior::NotDumpable
            && set_thread_res_uid(None, Uid::ROOT, None).is_err();
        match is_whole {
            true => Ok(()),
            false => Err(io::Error::other("some of what root may do is left")),
        }
    }
}

/// Whether the directory itself may be a link of root.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LastLink {
    /// It is an error.
    Refuse,
    /// It is followed, like other links in the path.
    Follow,
}

/// Opens the directory at `path` with `O_PATH`, and returns the descriptor and its metadata. Links that do not belong
/// to root are not followed.
///
/// # Errors
///
/// [`Unsafe::Link`] or [`Unsafe::Io`].
pub fn open_directory(path: &Path, last: LastLink) -> Result<(OwnedFd, Stat), Unsafe> {
    let mut steps = steps(path);
    let (mut walked, mut links) = (PathBuf::new(), 0);
    let failed = |at: &Path, error: Errno| Unsafe::Io(at.to_owned(), error.into());
    let mut at = open(CWD, ".").map_err(|error| failed(path, error))?;
    while let Some(step) = steps.pop() {
        if step == "/" {
            walked = PathBuf::new();
        }
        walked.push(&step);
        let next = open(&at, &step).map_err(|error| failed(&walked, error))?;
        let stat = fstat(&next).map_err(|error| failed(&walked, error))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => at = next,
            FileType::Symlink => {
                let is_refused = steps.is_empty() && last == LastLink::Refuse;
                links += 1;
                if stat.st_uid != 0 || is_refused {
                    return Err(Unsafe::Link(walked));
                }
                if links > LINKS_MAX {
                    return Err(failed(&walked, Errno::LOOP));
                }
                let target =
                    readlinkat(&next, "", Vec::new()).map_err(|error| failed(&walked, error))?;
                walked.pop();
                let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
                steps.extend(self::steps(&target));
            }
            _ => return Err(failed(&walked, Errno::NOTDIR)),
        }
    }
    let stat = fstat(&at).map_err(|error| failed(path, error))?;
    Ok((at, stat))
}

/// The components of a path, the last first.
fn steps(path: &Path) -> Vec<OsString> {
    let kept = path
        .components()
        .filter(|step| *step != Component::CurDir)
        .map(|step| step.as_os_str().to_owned());
    let mut steps: Vec<_> = kept.collect();
    steps.reverse();
    steps
}

fn open(at: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(at, name, flags, Mode::empty())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt, chown, lchown, symlink};

    const VMAIL: u32 = 64_001;
    const ALICE: u32 = 64_002;

    /// `None`, and a note on standard error, unless root runs the test.
    fn base() -> Option<tempfile::TempDir> {
        let base = tempfile::tempdir().unwrap();
        let is_root = fs::metadata(base.path()).unwrap().uid() == 0;
        if !is_root {
            eprintln!("left out: only root can give files away");
        }
        Some(base).filter(|_| is_root)
    }

    fn directory(path: &Path, uid: u32, gid: u32) {
        fs::create_dir_all(path).unwrap();
        chown(path, Some(uid), Some(gid)).unwrap();
    }

    #[test]
    fn the_owner_of_the_mailboxes_is_the_mail_user() {
        let Some(base) = base() else { return };
        let home = base.path().join("vmail");
        let mail = home.join("mail");
        directory(&home, VMAIL, VMAIL);
        let user = MailUser {
            uid: VMAIL,
            gid: VMAIL,
        };
        assert_eq!(MailUser::of(&mail).unwrap(), user);
        directory(&mail, VMAIL, VMAIL);
        assert_eq!(MailUser::of(&mail).unwrap(), user);
        assert_eq!(MailUser::of(&home.join("./mail/../mail/")).unwrap(), user);
        // Root may lay out the disk with links.
        symlink("vmail", base.path().join("data")).unwrap();
        assert_eq!(MailUser::of(&base.path().join("data/mail")).unwrap(), user);
        let missing = MailUser::of(&home.join("no/mail")).unwrap_err();
        assert!(matches!(missing, Unsafe::Io(..)), "{missing}");
    }

    #[test]
    fn root_and_the_group_of_root_are_not_the_mail_user() {
        let Some(base) = base() else { return };
        let mail = base.path().join("mail");
        let missing = MailUser::of(&mail).unwrap_err();
        assert!(matches!(missing, Unsafe::RootUser(_)), "{missing}");
        directory(&mail, 0, VMAIL);
        let why = MailUser::of(&mail).unwrap_err().to_string();
        let path = mail.display().to_string();
        assert!(
            why.contains("belongs to root") && why.ends_with(&path),
            "{why}"
        );
        directory(&mail, VMAIL, 0);
        let why = MailUser::of(&mail).unwrap_err();
        assert!(matches!(why, Unsafe::RootGroup(_)), "{why}");
    }

    #[test]
    fn no_link_of_the_mail_user_is_followed_and_none_in_place_of_the_mailboxes() {
        let Some(base) = base() else { return };
        let home = base.path().join("vmail");
        let other = base.path().join("alice");
        directory(&home, VMAIL, VMAIL);
        directory(&other.join("chat.test"), ALICE, ALICE);
        for target in ["../alice", "/", "/root", "."] {
            let link = home.join("mail");
            symlink(target, &link).unwrap();
            lchown(&link, Some(VMAIL), Some(VMAIL)).unwrap();
            for path in [link.clone(), link.join("chat.test")] {
                let why = MailUser::of(&path).unwrap_err();
                assert!(matches!(why, Unsafe::Link(ref at) if *at == link), "{why}");
            }
            fs::remove_file(&link).unwrap();
        }
        let link = base.path().join("mail");
        symlink(other.join("chat.test"), &link).unwrap();
        let why = MailUser::of(&link).unwrap_err();
        assert!(matches!(why, Unsafe::Link(_)), "{why}");
        assert!(open_directory(&link, LastLink::Follow).is_ok());
        symlink("loop", base.path().join("loop")).unwrap();
        assert!(MailUser::of(&base.path().join("loop/x")).is_err());
    }
}
