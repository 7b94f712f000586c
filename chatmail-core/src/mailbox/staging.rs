//! Putting a mailbox together that comes from elsewhere: beside the mailboxes, where nobody sees it, and
//! then in one step to its place.

use std::fs::{self, DirBuilder, File, FileTimes};
use std::io::{self, ErrorKind, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::time::{Duration, SystemTime};

use rustix::fs::{Mode, OFlags, mkdirat, openat};
use rustix::io::Errno;

use super::create::{DIR_MODE, make_dir};
use super::files::FILE_MODE;
use super::lock::lock;
use super::parts::Part;
use super::remove::{STAGING, remove_tree, unique};
use super::{Creation, ENFORCE, Mailbox, MailboxLock, Mailboxes, named};

/// What every folder has.
const DIRS: [&str; 3] = ["cur", "new", "tmp"];

/// A mailbox that is not in its place yet. Dropped before it is, it is removed.
#[derive(Debug)]
pub struct Staging {
    mailbox: Mailbox,
    root: OwnedFd,
    /// The directory of the last file: the next one is mostly in the same.
    last: Option<((Vec<u8>, &'static str), OwnedFd)>,
    placed: bool,
    /// Lets nobody sweep it away; in its place, it is the lock of the mailbox.
    _lock: MailboxLock,
}

impl Mailboxes {
    /// An empty mailbox beside the others. `MAILBOXES_DIR` is made if it is missing, as for a new account.
    ///
    /// # Errors
    ///
    /// Nothing can be made there.
    pub fn stage(&self) -> io::Result<Staging> {
        let path = self.dir.join(unique(STAGING));
        make_dir(&self.dir)?;
        let mut builder = DirBuilder::new();
        let made = builder.mode(DIR_MODE).create(&path);
        made.map_err(|error| named(&path, error))?;
        let lock = lock(&path, Duration::ZERO).map_err(|error| named(&path, error))?;
        let root = File::open(&path).map_err(|error| named(&path, error))?;
        let mut staging = Staging {
            mailbox: Mailbox { path },
            root: root.into(),
            last: None,
            placed: false,
            _lock: lock,
        };
        staging.directory(b".", "cur")?;
        Ok(staging)
    }
}

impl Staging {
    /// What is there so far, to be looked at.
    pub fn mailbox(&self) -> &Mailbox {
        &self.mailbox
    }

    /// Adds a file and answers its size in bytes. Its folder is made if it is new.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidData`] if `path` is no file that belongs to a mailbox, was there before, or is
    /// too long. Else those of `content` and of writing.
    pub fn put(
        &mut self,
        path: &[u8],
        modified: SystemTime,
        content: &mut dyn Read,
    ) -> io::Result<u64> {
        let refused = |why: &str| {
            let path = path.escape_ascii();
            io::Error::new(ErrorKind::InvalidData, format!("{path}: {why}"))
        };
        let part = Part::parse(path).ok_or_else(|| refused("no file of a mailbox that moves"))?;
        let folder = part.folder.unwrap_or(b".");
        let dir = self.directory(folder, part.dir.unwrap_or("."))?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = match openat(dir, part.name, flags, Mode::from_raw_mode(FILE_MODE)) {
            Ok(file) => File::from(file),
            Err(Errno::EXIST) => return Err(refused("is there twice")),
            Err(error) => return Err(error.into()),
        };
        let limit = part.limit.unwrap_or(u64::MAX - 1);
        let size = io::copy(&mut content.take(limit + 1), &mut file)?;
        if size > limit {
            return Err(refused("too long"));
        }
        file.set_times(
            FileTimes::new()
                .set_accessed(modified)
                .set_modified(modified),
        )?;
        Ok(size)
    }

    /// Makes it the mailbox of an address that does not exist, in one step, when all of it is on the disk.
    ///
    /// # Errors
    ///
    /// It has no password, or something is in the place of the mailbox that is no account.
    pub fn place(mut self, mailbox: &Mailbox) -> io::Result<Creation> {
        if !self.mailbox.exists()? {
            let why = "a mailbox without a password";
            return Err(io::Error::new(ErrorKind::InvalidData, why));
        }
        rustix::fs::syncfs(&self.root)?;
        let _lock = mailbox.make_and_lock()?;
        if mailbox.exists()? {
            return Ok(Creation::Existed);
        }
        mailbox.clear_leftovers()?;
        for name in [ENFORCE, "password.lock"] {
            match fs::remove_file(mailbox.path.join(name)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(named(&mailbox.path, error));
                }
                _ => {}
            }
        }
        // Takes the place of the empty directory, and of no other.
        fs::rename(&self.mailbox.path, &mailbox.path)
            .map_err(|error| named(&mailbox.path, error))?;
        self.placed = true;
        if let Some(above) = mailbox.path.parent() {
            File::open(above)?.sync_all()?;
        }
        Ok(Creation::Created)
    }

    fn directory(&mut self, folder: &[u8], dir: &'static str) -> io::Result<&OwnedFd> {
        let place = (folder.to_owned(), dir);
        let known = self.last.take().filter(|last| last.0 == place);
        let fd = match known {
            Some((_, fd)) => fd,
            None => {
                make(&self.root, folder)?;
                let folder = open(&self.root, folder)?;
                for dir in DIRS {
                    make(&folder, dir.as_bytes())?;
                }
                open(&folder, dir.as_bytes())?
            }
        };
        Ok(&self.last.insert((place, fd)).1)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if !self.placed {
            // What is left is swept some other time.
            let _ = remove_tree(&self.mailbox.path);
        }
    }
}

fn make(at: &OwnedFd, name: &[u8]) -> io::Result<()> {
    match mkdirat(at, name, Mode::from_raw_mode(DIR_MODE)) {
        Err(Errno::EXIST) => Ok(()),
        result => Ok(result?),
    }
}

fn open(at: &OwnedFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(openat(at, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{HASH, Relay, at, names};
    use super::*;
    use std::os::unix::fs::{MetadataExt, symlink};

    fn carry_all(from: &Mailbox, to: &mut Staging) -> Option<u64> {
        from.carry(&mut |part| to.put(part.path, part.modified, part.content).map(drop))
            .unwrap()
    }

    #[test]
    fn a_mailbox_moves_with_all_that_matters() {
        let relay = Relay::new();
        let files = [
            "cur/1.M1P1.host,S=5:2,S",
            "new/2.M1P1.host",
            ".DeltaChat/maildirfolder",
            ".DeltaChat/dovecot-uidlist",
            ".DeltaChat/cur/3.M1P1.host:2,RSa",
            ".Empty/maildirfolder",
            ".Empty/new/.keep",
            "dovecot-keywords",
            "dovecot-uidvalidity",
            "dovecot-uidvalidity.69a1b2c3",
            "subscriptions",
            "metadata.json",
            "DISABLED",
        ];
        let left_behind = [
            "maildirsize",
            "dovecot.index.log",
            "tmp/4.M1P1.host",
            ".DeltaChat/dovecot.index",
            "cur/.hidden",
            "..odd/cur/5.M1P1.host",
        ];
        let alice = relay.torso("alice", &[&files[..], &left_behind].concat());
        let uids = "3 V1 N3 G1\n1 :1.M1P1.host,S=5\n2 :2.M1P1.host\n";
        fs::write(
            alice.path().join("dovecot-uidlist"),
            format!("{uids}3 :3.M1P"),
        )
        .unwrap();
        symlink("/etc/passwd", alice.path().join("cur/6.M1P1.host:2,")).unwrap();
        fs::write(alice.path().join("cur/1.M1P1.host,S=5:2,S"), "hello").unwrap();
        alice
            .adopt(HASH, at(86_400))
            .unwrap()
            .unwrap()
            .finish()
            .unwrap();
        let message = File::open(alice.path().join("cur/1.M1P1.host,S=5:2,S"));
        message.unwrap().set_modified(at(77)).unwrap();

        let mut staging = relay.mailboxes.stage().unwrap();
        assert_eq!(carry_all(&alice, &mut staging), Some(3));
        let bob = relay.mailbox("bob");
        assert!(!bob.path().exists());
        assert_eq!(staging.place(&bob).unwrap(), Creation::Created);
        for file in files.iter().filter(|file| !file.ends_with(".keep")) {
            assert!(bob.path().join(file).exists(), "{file}");
        }
        for file in left_behind.iter().chain(&["cur/6.M1P1.host:2,"]) {
            assert!(!bob.path().join(file).is_symlink(), "{file}");
            assert!(!bob.path().join(file).exists(), "{file}");
        }
        assert_eq!(bob.password().unwrap().as_deref(), Some(HASH.as_bytes()));
        assert_eq!(bob.last_login().unwrap(), Some(at(86_400)));
        let read = |name| fs::read_to_string(bob.path().join(name)).unwrap();
        assert_eq!(read("dovecot-uidlist"), uids);
        assert_eq!(read("cur/1.M1P1.host,S=5:2,S"), "hello");
        let message = fs::metadata(bob.path().join("cur/1.M1P1.host,S=5:2,S")).unwrap();
        assert_eq!(message.mtime(), 77);
        assert_eq!((message.mode() & 0o7777, bob.lock().is_ok()), (0o600, true));
        assert_eq!(fs::metadata(bob.path()).unwrap().mode() & 0o7777, 0o700);
        for dir in [".DeltaChat/tmp", ".Empty/cur", "tmp"] {
            assert!(bob.path().join(dir).is_dir(), "{dir}");
        }
        assert_eq!(fs::read_dir(relay.mailboxes.dir()).unwrap().count(), 2);
    }

    #[test]
    fn a_message_that_is_moved_or_expunged_meanwhile_stops_nothing() {
        let relay = Relay::new();
        let alice = relay.torso(
            "alice",
            &["new/1.h", "cur/2.h:2,", "cur/3.h:2,", "password"],
        );
        fs::create_dir_all(alice.path().join(".Folder/cur")).unwrap();
        let mut seen = Vec::new();
        let messages = alice.carry(&mut |part| {
            seen.push(String::from_utf8(part.path.to_owned()).unwrap());
            if part.path == b"new/1.h" {
                for (from, to) in [
                    ("new/1.h", "cur/1.h:2,S"),
                    ("cur/2.h:2,", ".Folder/cur/9.h"),
                ] {
                    fs::rename(alice.path().join(from), alice.path().join(to))?;
                }
                fs::remove_file(alice.path().join("cur/3.h:2,"))?;
                fs::write(alice.path().join("new/4.h"), "")?;
            }
            Ok(())
        });
        assert_eq!(messages.unwrap(), Some(3));
        seen.sort();
        assert_eq!(seen, [".Folder/cur/9.h", "new/1.h", "new/4.h", "password"]);
    }

    #[test]
    fn what_is_not_complete_leaves_nothing() {
        let relay = Relay::new();
        relay.mailbox("alice").create(HASH, at(0)).unwrap();
        let mut staging = relay.mailboxes.stage().unwrap();
        staging.put(b"cur/1.h", at(0), &mut &b"x"[..]).unwrap();
        let error = staging.place(&relay.mailbox("bob")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidData);

        let mut staging = relay.mailboxes.stage().unwrap();
        for path in [
            &b"../x"[..],
            b"/etc/x",
            b"tmp/1.h",
            b"cur/../x",
            b"maildirsize",
        ] {
            let error = staging.put(path, at(0), &mut &b"x"[..]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
        staging.put(b"password", at(0), &mut &b"x"[..]).unwrap();
        for content in [&b"x"[..], &[b'x'; 2000]] {
            let error = staging.put(b"password", at(0), &mut &*content).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidData);
        }
        let error = staging.put(b"DISABLED", at(0), &mut &[b'x'; 2000][..]);
        assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidData);
        assert_eq!(relay.mailboxes.sweep().unwrap(), 0);
        drop(staging);
        assert_eq!(fs::read_dir(relay.mailboxes.dir()).unwrap().count(), 1);
    }

    #[test]
    fn an_account_or_anybodys_mail_is_never_replaced() {
        let relay = Relay::new();
        let alice = relay.mailbox("alice");
        alice.create(HASH, at(0)).unwrap();
        let stage = || {
            let mut staging = relay.mailboxes.stage().unwrap();
            staging
                .put(b"password", at(0), &mut &b"theirs"[..])
                .unwrap();
            staging
        };
        assert_eq!(stage().place(&alice).unwrap(), Creation::Existed);
        assert_eq!(alice.password().unwrap().as_deref(), Some(HASH.as_bytes()));
        let torso = relay.torso("bob", &["cur/1.h"]);
        assert!(stage().place(&torso).is_err());
        assert_eq!(names(&torso), ["cur"]);
        let begun = relay.torso("carol", &["enforceE2EEincoming", "password.tmp"]);
        assert_eq!(stage().place(&begun).unwrap(), Creation::Created);
        assert_eq!(names(&begun), ["cur", "new", "password", "tmp"]);
    }
}
