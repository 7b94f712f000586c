use super::*;
use crate::address::Address;
use crate::config::Config;
use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::UNIX_EPOCH;

mod failed_sign_up;

/// Noon, so that no login of a whole number of days ago lies on a limit.
const NOW: u64 = 20_500 * DAY + DAY / 2;

struct Relay {
    base: tempfile::TempDir,
    config: Config,
}

impl Relay {
    fn new() -> Relay {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().join("mail");
        fs::create_dir(&dir).unwrap();
        let ini = format!(
            "[params]\nmail_domain = chat.example\nmailboxes_dir = {}\nnocreate_file = {}/nocreate\n\
             max_load_1m = inf\nmin_available_memory = 0\nmin_free_disk_space = 0\n\
             max_signups_per_hour = inf\n",
            dir.display(),
            base.path().display()
        );
        let config = Config::parse("chatmail.ini".as_ref(), &ini).unwrap();
        Relay { base, config }
    }

    fn mailboxes(&self) -> Mailboxes {
        self.config.mailboxes()
    }

    fn mailbox(&self, localpart: &str) -> Mailbox {
        let address = format!("{localpart}@chat.example");
        let mailboxes = self.mailboxes();
        let address = Address::parse(address.as_bytes(), mailboxes.domain()).unwrap();
        mailboxes.mailbox(&address)
    }

    /// An account whose last login was so many days ago.
    fn account(&self, localpart: &str, days: u64) -> Mailbox {
        let mailbox = self.mailbox(localpart);
        mailbox.create("x", at(NOW - days * DAY)).unwrap();
        mailbox
    }

    fn expiry(&self, mode: Mode) -> Expiry {
        Expiry::new(&self.config, at(NOW), mode)
    }

    /// What a run that removes does to one mailbox. One that does not must have told it before.
    fn expire(&self, mailbox: &Mailbox) -> (Fate, Expired) {
        let before = files(self.base.path());
        let [dry, wet] = [Mode::DryRun, Mode::Remove].map(|mode| {
            let mut expired = Expired::default();
            let fate = self
                .expiry(mode)
                .mailbox(mailbox, &mut Census::default(), &mut expired)
                .unwrap();
            if mode == Mode::DryRun {
                assert_eq!(files(self.base.path()), before);
            }
            (fate, expired)
        });
        assert_eq!(dry, wet);
        wet
    }
}

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn name(age: u64, size: u64) -> String {
    format!("{}.M0P1.host,S={size},W={size}:2,S", NOW - age)
}

/// An empty file that Dovecot would call a message of that age in seconds and size in bytes.
fn message(mailbox: &Mailbox, part: &str, age: u64, size: u64) -> PathBuf {
    file(mailbox, &format!("{part}/{}", name(age, size)))
}

fn file(mailbox: &Mailbox, name: &str) -> PathBuf {
    let path = mailbox.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, "").unwrap();
    path
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(files(&entry.path()));
        }
        found.insert(entry.path());
    }
    found
}

#[test]
fn messages_go_after_their_time_in_all_folders_and_maildirsize_with_them() {
    let relay = Relay::new();
    let alice = relay.account("alice", 0);
    let (old, young) = (20 * DAY + 1, 20 * DAY - 1);
    let gone = ["cur", "new", "tmp", ".DeltaChat/cur", ".a.b/new"]
        .map(|part| message(&alice, part, old, 1000));
    let kept = ["cur", "new", "tmp", ".DeltaChat/cur", ".a.b/new"]
        .map(|part| message(&alice, part, young, 1000));
    // Neither is a directory of messages.
    let others = ["plain/cur", ".DeltaChat/sub/cur", "dbox"]
        .map(|part| message(&alice, part, 300 * DAY, 1000));
    let size = file(&alice, "maildirsize");
    let (fate, expired) = relay.expire(&alice);
    assert_eq!(fate, Fate::Kept);
    let expected = Expired {
        messages: 5,
        bytes: 5000,
        ..Expired::default()
    };
    assert_eq!(expired, expected);
    assert!(gone.iter().all(|path| !path.exists()));
    assert!(kept.iter().chain(&others).all(|path| path.exists()));
    assert!(!size.exists());

    fs::write(&size, "").unwrap();
    assert_eq!(relay.expire(&alice).1, Expired::default());
    assert!(size.exists());
}

#[test]
fn large_messages_go_earlier_if_they_have_been_seen() {
    let relay = Relay::new();
    let alice = relay.account("alice", 0);
    let week = 7 * DAY;
    let gone = [
        message(&alice, "cur", week + 1, 200_001),
        message(&alice, ".DeltaChat/cur", week + 1, 1_000_000),
    ];
    let kept = [
        message(&alice, "cur", week - 1, 200_001),
        message(&alice, "cur", week + 1, 200_000),
        message(&alice, "new", week + 1, 200_001),
        message(&alice, "tmp", week + 1, 200_001),
    ];
    let (_, expired) = relay.expire(&alice);
    assert_eq!((expired.messages, expired.large_messages), (0, 2));
    assert_eq!(expired.bytes, 1_200_001);
    assert!(gone.iter().all(|path| !path.exists()));
    assert!(kept.iter().all(|path| path.exists()));
    // In the end they are old.
    let older = message(&alice, "cur", 20 * DAY + 1, 200_001);
    let (_, expired) = relay.expire(&alice);
    assert_eq!((expired.messages, expired.large_messages), (1, 0));
    assert!(!older.exists());
}

#[test]
fn what_the_name_does_not_tell_is_asked_from_the_file() {
    let relay = Relay::new();
    let alice = relay.account("alice", 0);
    let aged = |name: &str, age: u64, size: u64| {
        let path = file(&alice, name);
        let modified = FileTimes::new().set_modified(at(NOW - age));
        let file = File::options().write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
        file.set_times(modified).unwrap();
        path
    };
    let future = NOW + DAY;
    let gone = [
        aged("cur/message", 21 * DAY, 1),
        aged(&format!("cur/{future}.M1P1.host,S=5:2,"), 21 * DAY, 1),
        // A number of other software's.
        aged("cur/17.host,S=5:2,", 21 * DAY, 1),
        aged("cur/picture", 8 * DAY, 200_001),
        aged(&format!("cur/{}.M1P1.host:2,S", NOW - 8 * DAY), 0, 200_001),
    ];
    let kept = [
        aged("cur/young", 19 * DAY, 1),
        aged("cur/1.host,S=5:2,", 19 * DAY, 1),
        // Put back from a backup that kept no times, or stored with an old date.
        aged(&format!("cur/{}", name(19 * DAY, 1)), 300 * DAY, 1),
        aged("cur/.hidden", 300 * DAY, 1),
    ];
    let restored = aged(&format!("new/{}", name(21 * DAY, 1)), 0, 1);
    let (_, expired) = relay.expire(&alice);
    assert_eq!((expired.messages, expired.large_messages), (4, 2));
    assert!(gone.iter().chain([&restored]).all(|path| !path.exists()));
    assert!(kept.iter().all(|path| path.exists()));
}

#[test]
fn nothing_is_followed_out_of_a_mailbox() {
    let relay = Relay::new();
    let alice = relay.account("alice", 0);
    let outside = relay.base.path().join("outside");
    fs::create_dir_all(outside.join("cur")).unwrap();
    let precious = outside.join("cur").join(name(300 * DAY, 1));
    fs::write(&precious, "").unwrap();
    symlink(outside.join("cur"), alice.path().join("cur")).unwrap();
    symlink(&outside, alice.path().join(".link")).unwrap();
    fs::create_dir(alice.path().join("new")).unwrap();
    let link = alice.path().join("new").join(name(300 * DAY, 1));
    symlink(&precious, &link).unwrap();
    fs::create_dir(alice.path().join("new/1.host,S=1")).unwrap();
    assert_eq!(relay.expire(&alice), (Fate::Kept, Expired::default()));

    // Nor when it goes as a whole.
    alice.note_login(at(NOW - 91 * DAY)).unwrap();
    assert_eq!(relay.expire(&alice).0, Fate::Removed);
    assert!(precious.exists());
}

#[test]
fn a_mailbox_nobody_uses_goes_as_a_whole() {
    let relay = Relay::new();
    let limit = relay.account("limit", 90);
    let kept = relay.account("bob", 89);
    let gone = relay.account("carol", 91);
    for part in ["cur", ".DeltaChat/new"] {
        message(&gone, part, 3 * DAY, 700);
    }
    file(&gone, "dovecot-uidlist");
    // Whether it may be entered makes no difference.
    file(&gone, "DISABLED");
    let (fate, expired) = relay.expire(&gone);
    assert_eq!(fate, Fate::Removed);
    let expected = Expired {
        mailboxes: 1,
        bytes: 1400,
        ..Expired::default()
    };
    assert_eq!(expired, expected);
    assert_eq!(relay.expire(&kept), (Fate::Kept, Expired::default()));
    // The day of the login began before its hour did: it counts from midnight.
    assert_eq!(relay.expire(&limit).0, Fate::Removed);
    let left: Vec<_> = fs::read_dir(relay.mailboxes().dir()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(relay.expire(&gone).0, Fate::Absent);
}

#[test]
fn a_mailbox_on_another_disk_is_looked_at_and_goes_there() {
    let relay = Relay::new();
    let disk = relay.base.path().join("disk2");
    fs::create_dir(&disk).unwrap();
    let alice = relay.account("alice", 0);
    fs::rename(alice.path(), disk.join("alice")).unwrap();
    symlink("../disk2/alice", alice.path()).unwrap();
    message(&alice, "cur", 21 * DAY, 1);
    assert_eq!(relay.expire(&alice).1.messages, 1);
    alice.note_login(at(NOW - 91 * DAY)).unwrap();
    assert_eq!(relay.expire(&alice).0, Fate::Removed);
    assert_eq!(fs::read_dir(&disk).unwrap().count(), 0);
    assert_eq!(fs::read_dir(relay.mailboxes().dir()).unwrap().count(), 0);
}

#[test]
fn a_directory_without_a_password_goes_if_it_is_empty() {
    let relay = Relay::new();
    let [empty, full, link] = ["empty", "full", "link"].map(|name| relay.mailbox(name));
    fs::create_dir(empty.path()).unwrap();
    let old = message(&full, "cur", 300 * DAY, 1);
    let elsewhere = relay.base.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, link.path()).unwrap();
    let expected = Expired {
        empty_directories: 1,
        ..Expired::default()
    };
    assert_eq!(relay.expire(&empty), (Fate::Removed, expected));
    let left = (Fate::NoAccount, Expired::default());
    assert_eq!(relay.expire(&full), left);
    assert_eq!(relay.expire(&link), left);
    assert!(!empty.path().exists() && old.exists() && link.path().exists());
}

#[test]
fn a_password_that_is_not_a_file_is_an_error_and_nothing_is_removed() {
    let relay = Relay::new();
    let secret = relay.base.path().join("secret");
    fs::write(&secret, "").unwrap();
    let [linked, directory] = ["linked", "directory"].map(|name| relay.account(name, 200));
    for mailbox in [&linked, &directory] {
        fs::remove_file(mailbox.path().join("password")).unwrap();
    }
    symlink(&secret, linked.path().join("password")).unwrap();
    fs::create_dir(directory.path().join("password")).unwrap();
    for mailbox in [linked, directory] {
        let mut expired = Expired::default();
        let result =
            relay
                .expiry(Mode::Remove)
                .mailbox(&mailbox, &mut Census::default(), &mut expired);
        let error = result.unwrap_err().to_string();
        assert!(
            error.ends_with("password: is not a regular file"),
            "{error}"
        );
        assert!(mailbox.path().exists());
    }
}

#[test]
fn days_ago_everything_was_younger() {
    let relay = Relay::new();
    let alice = relay.account("alice", 95);
    let old = message(&alice, "cur", 25 * DAY, 1);
    let at = |days| {
        let expiry = relay.expiry(Mode::DryRun).days_ago(days);
        let mut expired = Expired::default();
        (
            expiry
                .mailbox(&alice, &mut Census::default(), &mut expired)
                .unwrap(),
            expired,
        )
    };
    assert_eq!(at(5).0, Fate::Removed);
    assert_eq!(at(6).0, Fate::Kept);
    alice.note_login(self::at(NOW)).unwrap();
    assert_eq!((at(4).1.messages, at(6).1.messages), (1, 0));
    assert!(old.exists());
}

#[test]
fn what_cannot_be_read_is_an_error_that_names_it() {
    if rustix::process::geteuid().is_root() {
        eprintln!("left out: root reads everything");
        return;
    }
    let relay = Relay::new();
    let alice = relay.account("alice", 0);
    let old = message(&alice, "new", 21 * DAY, 1);
    let cur = alice.path().join("cur");
    fs::create_dir(&cur).unwrap();
    fs::set_permissions(&cur, fs::Permissions::from_mode(0o000)).unwrap();
    let mut expired = Expired::default();
    let error = relay
        .expiry(Mode::Remove)
        .mailbox(&alice, &mut Census::default(), &mut expired)
        .unwrap_err();
    assert!(error.to_string().contains("alice@chat.example"), "{error}");
    assert!(old.exists());
    fs::set_permissions(&cur, fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn a_loop_of_links_is_an_error_and_nobody_is_removed_for_it() {
    let relay = Relay::new();
    let alice = relay.mailbox("alice");
    symlink("alice@chat.example", alice.path()).unwrap();
    let mut expired = Expired::default();
    let result = relay
        .expiry(Mode::Remove)
        .mailbox(&alice, &mut Census::default(), &mut expired);
    let error = result.unwrap_err().to_string();
    assert!(error.contains("alice@chat.example"), "{error}");
    let bob = relay.account("bob", 91);
    fs::remove_file(bob.path().join("password")).unwrap();
    symlink("password", bob.path().join("password")).unwrap();
    assert!(
        relay
            .expiry(Mode::Remove)
            .mailbox(&bob, &mut Census::default(), &mut expired)
            .is_err()
    );
    assert_eq!(expired, Expired::default());
}

#[test]
fn somebody_who_logs_in_this_moment_keeps_the_mailbox() {
    let relay = Relay::new();
    for _ in 0..50 {
        let alice = relay.account("alice", 91);
        message(&alice, "cur", DAY, 1);
        let barrier = Barrier::new(21);
        let (noted, fate) = thread::scope(|scope| {
            let logins: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        alice.note_login(at(NOW)).is_ok()
                    })
                })
                .collect();
            barrier.wait();
            let mut expired = Expired::default();
            let fate =
                relay
                    .expiry(Mode::Remove)
                    .mailbox(&alice, &mut Census::default(), &mut expired);
            let noted = logins.into_iter().map(|login| login.join().unwrap());
            (noted.filter(|noted| *noted).count(), fate.unwrap())
        });
        match fate {
            Fate::Kept => {
                assert_eq!(noted, 20);
                assert!(alice.path().join("cur").exists());
                fs::remove_dir_all(alice.path()).unwrap();
            }
            _ => {
                assert_eq!((noted, fate), (0, Fate::Removed));
                assert!(!alice.path().exists());
            }
        }
    }
}

#[cfg(feature = "auth")]
#[test]
fn a_login_that_races_ends_with_a_whole_account_or_none() {
    use crate::auth::{Authenticator, Login};

    let relay = Relay::new();
    let now = SystemTime::now();
    let expiry = Expiry::new(&relay.config, now, Mode::Remove);
    let address = b"alice1234@chat.example";
    let alice = relay.mailbox("alice1234");
    let auth = Authenticator::new(&relay.config);
    auth.login(address, b"the password", None).unwrap();
    for round in 0..40 {
        alice
            .note_login(now - Duration::from_secs(200 * DAY))
            .unwrap();
        fs::create_dir_all(alice.path().join("cur")).unwrap();
        fs::write(alice.path().join("cur/message"), "").unwrap();
        let barrier = Barrier::new(21);
        let removed = thread::scope(|scope| {
            let logins: Vec<_> = (0..20)
                .map(|_| {
                    scope.spawn(|| {
                        barrier.wait();
                        auth.login(address, b"the password", None).unwrap()
                    })
                })
                .collect();
            barrier.wait();
            let mut expired = Expired::default();
            expiry
                .mailbox(&alice, &mut Census::default(), &mut expired)
                .unwrap();
            for login in logins {
                let login = login.join().unwrap();
                assert!(
                    matches!(login, Login::Known(_) | Login::Created(..)),
                    "{login:?}"
                );
            }
            expired.mailboxes == 1
        });
        // All of them are in, so the account is there, with all its mail or as a new one.
        assert!(alice.last_login().unwrap() >= Some(now - Duration::from_secs(2 * DAY)));
        assert!(alice.enforces_encryption().unwrap());
        let mail = alice.path().join("cur/message").exists();
        assert_eq!(mail, !removed, "round {round}");
    }
}

#[test]
fn a_creation_that_races_with_the_removal_of_its_empty_directory_succeeds() {
    let relay = Relay::new();
    for round in 0..50 {
        let name = format!("user{round}");
        let mailbox = relay.mailbox(&name);
        fs::create_dir(mailbox.path()).unwrap();
        let barrier = Barrier::new(2);
        thread::scope(|scope| {
            scope.spawn(|| {
                barrier.wait();
                mailbox.create("x", at(NOW)).unwrap();
            });
            barrier.wait();
            let mut expired = Expired::default();
            relay
                .expiry(Mode::Remove)
                .mailbox(&mailbox, &mut Census::default(), &mut expired)
                .unwrap();
        });
        assert!(mailbox.exists().unwrap() && mailbox.enforces_encryption().unwrap());
    }
}

#[test]
fn one_run_at_a_time() {
    let relay = Relay::new();
    let mailboxes = relay.mailboxes();
    let outer = exclusively(&mailboxes, || exclusively(&mailboxes, || ()).unwrap());
    assert_eq!(outer.unwrap(), Some(None));
    assert_eq!(exclusively(&mailboxes, || 7).unwrap(), Some(7));
}

#[test]
fn a_clock_that_is_far_ahead_is_doubted() {
    let relay = Relay::new();
    let expiry = relay.expiry(Mode::Remove);
    let census = |accounts: &[u64]| {
        let mut census = Census::default();
        for (number, days) in accounts.iter().enumerate() {
            let mailbox = relay.account(&format!("user{number}"), *days);
            census.add(&expiry, &mailbox);
            fs::remove_dir_all(mailbox.path()).unwrap();
        }
        census
    };
    assert_eq!(census(&[]).doubt(&expiry), None);
    assert_eq!(census(&[13, 100]).doubt(&expiry), None);
    let doubt = census(&[14, 3000]).doubt(&expiry);
    assert_eq!(doubt, Some(Doubt::NobodyForDays(14)));

    // On a small relay all others may leave.
    let mut accounts = vec![100; 10];
    accounts.push(0);
    assert_eq!(census(&accounts).doubt(&expiry), None);
    accounts.push(100);
    let expected = Doubt::TooMany {
        inactive: 11,
        accounts: 12,
    };
    assert_eq!(census(&accounts).doubt(&expiry), Some(expected));
    accounts.extend([1; 10]);
    assert_eq!(census(&accounts).doubt(&expiry), None);

    let mut sum = census(&[5, 100]);
    sum.merge(&census(&[3]));
    assert_eq!((sum.directories, sum.accounts, sum.inactive), (3, 3, 1));
    assert_eq!(sum.last_login, Some(at(NOW - NOW % DAY - 3 * DAY)));
}
