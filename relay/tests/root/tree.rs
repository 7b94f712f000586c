//! Mailboxes whose owner attacks root, and a directory of root that must not change.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

pub(crate) const MAIL_USER: u32 = 65_534;
pub(crate) const ALICE: &str = "alice@chat.test";

const PROGRAM: &str = env!("CARGO_BIN_EXE_chatmail");

/// A message that is too old.
const MESSAGE: &str = "1600000000.M1P1.host,S=5,W=5:2,S";

pub(crate) struct Tree {
    base: TempDir,
}

impl Tree {
    /// `None`, and a note on standard error, unless root runs the test.
    pub(crate) fn new() -> Option<Tree> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("left out: only root has something to lose");
            return None;
        }
        let tree = Tree {
            base: tempfile::tempdir().unwrap(),
        };
        fs::set_permissions(tree.path(""), Permissions::from_mode(0o755)).unwrap();
        let ini = format!(
            "[params]\nmail_domain = chat.test\nmailboxes_dir = {}\npassdb_path = {}\nmax_signups_per_hour = inf\n",
            tree.mail().display(),
            tree.path("home/passdb.sqlite").display()
        );
        fs::write(tree.path("chatmail.ini"), ini).unwrap();
        let alice = tree.mail().join(ALICE);
        fs::create_dir_all(alice.join("cur")).unwrap();
        fs::write(alice.join("cur").join(MESSAGE), "hello").unwrap();
        forgotten(&alice.join("password"));
        tree.give(&tree.path("home"));
        // Only root may look at it, and it looks like mailboxes itself.
        let canary = tree.canary();
        for directory in [
            "cur",
            "alice@chat.test/cur",
            "chat.test/alice@chat.test/cur",
        ] {
            let directory = canary.join(directory);
            fs::create_dir_all(&directory).unwrap();
            fs::write(directory.join(MESSAGE), "root's").unwrap();
            forgotten(&directory.parent().unwrap().join("password"));
        }
        fs::write(canary.join("counters"), "root's").unwrap();
        fs::set_permissions(&canary, Permissions::from_mode(0o700)).unwrap();
        Some(tree)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    /// `MAILBOXES_DIR`.
    pub(crate) fn mail(&self) -> PathBuf {
        self.path("home/mail/chat.test")
    }

    /// Root's.
    pub(crate) fn canary(&self) -> PathBuf {
        self.path("canary")
    }

    /// Gives a path, and what is below it, to the mail user.
    pub(crate) fn give(&self, path: &Path) {
        lchown(path, Some(MAIL_USER), Some(MAIL_USER)).unwrap();
        if fs::symlink_metadata(path).unwrap().is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                self.give(&entry.unwrap().path());
            }
        }
    }

    /// A link of the mail user's, in place of what is there.
    pub(crate) fn link(&self, link: &Path, target: &Path) {
        self.clear(link);
        symlink(target, link).unwrap();
        self.give(link);
    }

    pub(crate) fn fifo(&self, path: &Path) {
        self.clear(path);
        let mode = Mode::RUSR | Mode::WUSR;
        mknodat(CWD, path, FileType::Fifo, mode, 0).unwrap();
        self.give(path);
    }

    fn clear(&self, path: &Path) {
        let _ = fs::remove_file(path).or_else(|_| fs::remove_dir_all(path));
    }

    /// `chatmail`, run by root, which has to end within 20 seconds.
    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("timeout");
        command.args(["20", PROGRAM]);
        self.with_words(command, words)
    }

    pub(crate) fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// `chatmail`, run by root, as a child of the test. A signal for `timeout` that comes right behind its
    /// fork(2) ends `timeout` alone.
    pub(crate) fn service(&self, words: &[&str]) -> Command {
        self.with_words(Command::new(PROGRAM), words)
    }

    fn with_words(&self, mut command: Command, words: &[&str]) -> Command {
        command
            .args(words)
            .arg("--config")
            .arg(self.path("chatmail.ini"))
            .stdin(Stdio::null());
        command
    }

    /// Everything that belongs to root: type, mode, owner, size, time and content of each file.
    pub(crate) fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let mut found = BTreeMap::new();
        describe(&self.canary(), &mut found);
        found
    }
}

fn describe(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let stat = fs::symlink_metadata(path).unwrap();
    let content = if stat.is_file() {
        fs::read_to_string(path).unwrap()
    } else {
        String::new()
    };
    let owner = (stat.uid(), stat.gid());
    let times = (
        stat.mtime(),
        stat.mtime_nsec(),
        stat.ctime(),
        stat.ctime_nsec(),
    );
    let line = format!(
        "{:o} {owner:?} {} {times:?} {content}",
        stat.mode(),
        stat.nlink()
    );
    found.insert(path.to_owned(), line);
    if stat.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            describe(&entry.unwrap().path(), found);
        }
    }
}

/// A `password` that has not been used for a long time.
fn forgotten(path: &Path) {
    let file = File::create(path).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(200 * 86_400);
    file.set_times(FileTimes::new().set_modified(long_ago))
        .unwrap();
}
