//! Directories of mailboxes as they may be found on a relay, odd ones included.

use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use proptest::prelude::*;
use tempfile::TempDir;

pub(crate) const DOMAIN: &str = "chat.test";
const DAY: u64 = 86_400;

/// A relay's directory, its chatmail.ini, and nothing else of a relay.
pub(crate) struct Tree {
    base: TempDir,
    now: u64,
}

/// What stands in for a file name of Dovecot's.
#[derive(Debug, Clone)]
pub(crate) enum Name {
    /// Time and size.
    Whole,
    NoSize,
    NoTime,
    Future,
    Nonsense(String),
    Hidden,
}

/// What is found in a directory of messages.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    File,
    Directory,
    Link,
}

/// Something in a mailbox.
#[derive(Debug, Clone)]
pub(crate) struct Item {
    folder: &'static str,
    part: &'static str,
    name: Name,
    kind: Kind,
    /// Half days.
    age: u64,
    /// Of the file, half days.
    modified: u64,
    size: u64,
    flags: &'static str,
}

/// One directory.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    prefix: &'static str,
    /// Days since the last login.
    login: Option<u64>,
    items: Vec<Item>,
    moved: bool,
    maildirsize: bool,
}

pub(crate) fn mailbox() -> impl Strategy<Value = Mailbox> {
    let login = prop_oneof![
        1 => Just(None),
        6 => prop_oneof![0..8_u64, 80..100_u64, Just(89), Just(90), Just(91), 140..160_u64].prop_map(Some),
    ];
    let prefix = prop_oneof![Just("user"), Just("ci-"), Just("ac_"), Just("ci")];
    let items = prop::collection::vec(item(), 0..12);
    (
        prefix,
        login,
        items,
        prop::bool::weighted(0.1),
        any::<bool>(),
    )
        .prop_map(|(prefix, login, items, moved, maildirsize)| Mailbox {
            prefix,
            login,
            items,
            moved,
            maildirsize,
        })
}

fn item() -> impl Strategy<Value = Item> {
    let folder = prop::sample::select(vec!["", "", "", ".DeltaChat", ".a.b", "plain", "..odd"]);
    let part = prop::sample::select(vec!["cur", "cur", "cur", "new", "tmp", "dbox"]);
    let name = prop_oneof![
        8 => Just(Name::Whole),
        1 => Just(Name::NoSize),
        1 => Just(Name::NoTime),
        1 => Just(Name::Future),
        1 => "[0-9.,SM=x]{1,30}".prop_filter("a name", |name| !name.starts_with('.')).prop_map(Name::Nonsense),
        1 => "[0-9]{1,10}\\.(M[0-9]{0,7})?[a-z]{1,3}(,S=[0-9]{0,20})?".prop_map(Name::Nonsense),
        1 => Just(Name::Hidden),
    ];
    let kind =
        prop_oneof![10 => Just(Kind::File), 1 => Just(Kind::Directory), 1 => Just(Kind::Link)];
    let size = prop_oneof![0..5000_u64, 199_998..200_004_u64, 1..20_000_000_u64];
    let flags = prop::sample::select(vec!["", ":2,", ":2,S", ":2,FS", ":1,x"]);
    // Half days are not near any limit.
    (
        folder,
        part,
        name,
        kind,
        0..100_u64,
        0..100_u64,
        size,
        flags,
    )
        .prop_map(
            |(folder, part, name, kind, age, modified, size, flags)| Item {
                folder,
                part,
                name,
                kind,
                age,
                modified,
                size,
                flags,
            },
        )
}

impl Tree {
    pub(crate) fn new() -> Tree {
        let base = TempDir::new().unwrap();
        let dir = base.path().join("mail");
        fs::create_dir(&dir).unwrap();
        fs::create_dir(base.path().join("disk2")).unwrap();
        let ini = format!(
            "[params]\nmail_domain = {DOMAIN}\nmailboxes_dir = {}\n",
            dir.display()
        );
        fs::write(base.path().join("chatmail.ini"), ini).unwrap();
        Tree { base, now: now() }
    }

    pub(crate) fn of(mailboxes: &[Mailbox]) -> Tree {
        let tree = Tree::new();
        for (number, mailbox) in mailboxes.iter().enumerate() {
            let name = format!("{}{number}", mailbox.prefix);
            let mut home = tree.mailbox(&name);
            if mailbox.moved {
                let target = tree.base().join("disk2").join(&name);
                fs::create_dir(&target).unwrap();
                symlink(format!("../disk2/{name}"), &home).unwrap();
                home = target;
            } else {
                fs::create_dir(&home).unwrap();
            }
            for item in &mailbox.items {
                tree.item(&home, item);
            }
            if mailbox.maildirsize {
                fs::write(home.join("maildirsize"), "1000S\n").unwrap();
            }
            if let Some(days) = mailbox.login {
                tree.password(&home, days);
            }
        }
        tree
    }

    fn item(&self, home: &Path, item: &Item) {
        let parent = home.join(item.folder).join(item.part);
        fs::create_dir_all(&parent).unwrap();
        let time = self.now - item.age * DAY / 2 - 3600;
        let (size, flags) = (item.size, item.flags);
        let name = match &item.name {
            Name::Whole => format!("{time}.M{}P1.host,S={size},W={size}{flags}", item.modified),
            Name::NoSize => format!("{time}.M1P1.host{flags}"),
            Name::NoTime => format!("message{},S={size}{flags}", item.age),
            Name::Future => format!("{}.M1P1.host,S={size}{flags}", self.now + 99 * DAY),
            Name::Nonsense(name) => format!("{name}{flags}"),
            Name::Hidden => format!(".{time}.M1P1.host,S={size}{flags}"),
        };
        let path = parent.join(name);
        if path.symlink_metadata().is_ok() {
            return;
        }
        match item.kind {
            Kind::Directory => fs::create_dir(&path).unwrap(),
            Kind::Link => symlink("/etc/passwd", &path).unwrap(),
            Kind::File => {
                let file = File::create(&path).unwrap();
                // Another size than the name says; no block of the disk is used.
                file.set_len(item.size + 7).unwrap();
                let modified = self.now - item.modified * DAY / 2 - 3600;
                file.set_times(FileTimes::new().set_modified(at(modified)))
                    .unwrap();
            }
        }
    }

    fn password(&self, home: &Path, days: u64) {
        let file = File::create(home.join("password")).unwrap();
        let day = self.now - self.now % DAY - days * DAY;
        file.set_times(FileTimes::new().set_modified(at(day)))
            .unwrap();
    }

    /// An account whose last login was so many days ago.
    pub(crate) fn account(&self, name: &str, days: u64) {
        let home = self.mailbox(name);
        fs::create_dir(&home).unwrap();
        self.password(&home, days);
    }

    /// An empty file with the name of a message.
    pub(crate) fn message(&self, name: &str, part: &str, days: u64, size: u64) {
        let dir = self.mailbox(name).join(part);
        fs::create_dir_all(&dir).unwrap();
        let time = self.now - days * DAY - 3600;
        File::create(dir.join(format!("{time}.M{size}P1.host,S={size}:2,S"))).unwrap();
    }

    pub(crate) fn base(&self) -> &Path {
        self.base.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.base().join("chatmail.ini")
    }

    /// MAILBOXES_DIR.
    pub(crate) fn dir(&self) -> PathBuf {
        self.base().join("mail")
    }

    pub(crate) fn mailbox(&self, name: &str) -> PathBuf {
        self.dir().join(format!("{name}@{DOMAIN}"))
    }

    /// What stands in MAILBOXES_DIR.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir()).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.collect();
        names.sort();
        names
    }

    pub(crate) fn accounts(&self) -> usize {
        self.names()
            .iter()
            .filter(|name| name.contains('@'))
            .count()
    }

    /// Everything, with what kind of thing it is; without the state of the relay's processes.
    pub(crate) fn files(&self) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        self.collect(self.base(), &mut found);
        found.retain(|line| !line.contains("/.chatmail") && !line.ends_with("chatmail.ini"));
        found
    }

    fn collect(&self, dir: &Path, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).unwrap() {
            let entry = entry.unwrap();
            let kind = entry.file_type().unwrap();
            let path = entry.path();
            let name = path
                .strip_prefix(self.base())
                .unwrap()
                .display()
                .to_string();
            let sort = match (kind.is_dir(), kind.is_symlink()) {
                (true, _) => "directory",
                (_, true) => "link",
                _ => "file",
            };
            found.insert(format!("{sort} {name}"));
            if kind.is_dir() {
                self.collect(&path, found);
            }
        }
    }
}

/// When the tests began, and so the same in all trees; cut to the hour, so that nothing is in the future.
fn now() -> u64 {
    static NOW: OnceLock<u64> = OnceLock::new();
    *NOW.get_or_init(|| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        now.as_secs() / 3600 * 3600
    })
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}
