use super::*;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::thread;

pub(super) const HASH: &str = "{SHA512-CRYPT}$6$salt$hash";

pub(super) struct Relay {
    _base: tempfile::TempDir,
    pub(super) mailboxes: Mailboxes,
}

impl Relay {
    pub(super) fn new() -> Relay {
        let base = tempfile::tempdir().unwrap();
        let domain = MailDomain::parse("chat.example").unwrap();
        let mailboxes = Mailboxes::new(base.path().join("mail"), domain);
        Relay {
            _base: base,
            mailboxes,
        }
    }

    pub(super) fn mailbox(&self, localpart: &str) -> Mailbox {
        let address = format!("{localpart}@chat.example");
        let address = Address::parse(address.as_bytes(), self.mailboxes.domain()).unwrap();
        self.mailboxes.mailbox(&address)
    }

    /// A directory with these empty files in it and no password.
    pub(super) fn torso(&self, localpart: &str, files: &[&str]) -> Mailbox {
        let mailbox = self.mailbox(localpart);
        fs::create_dir_all(mailbox.path()).unwrap();
        for name in files {
            let path = mailbox.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        mailbox
    }
}

pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

pub(super) fn names(mailbox: &Mailbox) -> Vec<String> {
    let entries = fs::read_dir(mailbox.path()).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_new_account_is_private_complete_and_encrypted_only() {
    let relay = Relay::new();
    let alice = relay.mailbox("alice");
    assert!(!alice.exists().unwrap());
    assert!(!alice.enforces_encryption().unwrap());
    assert_eq!(alice.password().unwrap(), None);
    assert_eq!(alice.last_login().unwrap(), None);

    let now = at(20_000 * DAY + 4_711);
    assert_eq!(alice.create(HASH, now).unwrap(), Creation::Created);
    assert!(alice.exists().unwrap());
    assert!(alice.enforces_encryption().unwrap());
    assert!(!alice.is_disabled().unwrap());
    assert_eq!(alice.password().unwrap().as_deref(), Some(HASH.as_bytes()));
    assert_eq!(alice.last_login().unwrap(), Some(at(20_000 * DAY)));
    assert_eq!(names(&alice), ["enforceE2EEincoming", "password"]);

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(relay.mailboxes.dir()), 0o700);
    assert_eq!(mode(alice.path()), 0o700);
    assert_eq!(mode(&alice.path().join("password")), 0o600);
    assert_eq!(mode(&alice.path().join("enforceE2EEincoming")), 0o600);
    assert_eq!(
        fs::read(alice.path().join("enforceE2EEincoming")).unwrap(),
        b""
    );
}

#[test]
fn an_existing_password_is_never_overwritten() {
    let relay = Relay::new();
    for content in ["", "{SHA512-CRYPT}$6$other", "!"] {
        let mailbox = relay.torso("alice", &[]);
        fs::write(mailbox.path().join("password"), content).unwrap();
        assert_eq!(mailbox.create(HASH, at(0)).unwrap(), Creation::Existed);
        assert_eq!(
            mailbox.password().unwrap().as_deref(),
            Some(content.as_bytes())
        );
        assert!(!mailbox.enforces_encryption().unwrap());
    }
}

#[test]
fn a_directory_with_mail_but_no_password_is_nobodys_new_account() {
    let relay = Relay::new();
    for file in [
        "cur/1775324677.M44P30.host:2,S",
        "dovecot.index",
        "metadata.json",
        "DISABLED",
    ] {
        let mailbox = relay.torso("bob", &[file]);
        let before = names(&mailbox);
        let error = mailbox.create(HASH, at(0)).unwrap_err();
        assert!(
            error.to_string().contains("bob@chat.example: holds files"),
            "{error}"
        );
        assert_eq!(names(&mailbox), before);
        fs::remove_dir_all(mailbox.path()).unwrap();
    }
}

#[test]
fn an_unfinished_creation_is_finished_by_the_next_one() {
    let relay = Relay::new();
    for (number, leftovers) in [
        &[][..],
        &["enforceE2EEincoming"],
        &["password.tmp", "enforceE2EEincoming"],
        &["password.tmp-4711", "password.lock"],
    ]
    .into_iter()
    .enumerate()
    {
        let mailbox = relay.torso(&format!("user{number}"), leftovers);
        assert_eq!(mailbox.create(HASH, at(0)).unwrap(), Creation::Created);
        assert!(!names(&mailbox).iter().any(|name| name.contains(".tmp")));
    }
}

#[test]
fn no_account_is_made_on_a_disk_that_is_not_mounted() {
    let base = tempfile::tempdir().unwrap();
    let domain = MailDomain::parse("chat.example").unwrap();
    let address = Address::parse(b"alice@chat.example", &domain).unwrap();
    let mailboxes = Mailboxes::new(base.path().join("mnt/mail"), domain);
    assert!(mailboxes.mailbox(&address).create(HASH, at(0)).is_err());
    assert!(!base.path().join("mnt").exists());
}

#[test]
fn ten_creations_at_once_make_one_account() {
    let relay = Relay::new();
    let alice = relay.mailbox("alice");
    let created: Vec<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..10)
            .map(|i| {
                let alice = &alice;
                scope.spawn(move || {
                    let password = format!("{HASH}{i}");
                    (alice.create(&password, at(0)).unwrap() == Creation::Created)
                        .then_some(password)
                })
            })
            .collect();
        threads
            .into_iter()
            .filter_map(|thread| thread.join().unwrap())
            .collect()
    });
    assert_eq!(created.len(), 1);
    assert_eq!(
        alice.password().unwrap().as_deref(),
        Some(created[0].as_bytes())
    );
}

#[test]
fn the_disk_knows_the_day_of_the_last_login_and_not_the_hour() {
    let relay = Relay::new();
    let alice = relay.mailbox("alice");
    alice.create(HASH, at(0)).unwrap();
    let times = || {
        let metadata = fs::metadata(alice.path().join("password")).unwrap();
        (metadata.mtime(), metadata.atime(), metadata.ctime_nsec())
    };

    alice.note_login(at(20_000 * DAY + 86_399)).unwrap();
    let day = 20_000 * DAY as i64;
    let first = times();
    assert_eq!((first.0, first.1), (day, day));
    alice.password().unwrap();
    assert_eq!(times(), first, "reading the password leaves a trace");

    // ctime stands still: nothing was written, so nothing that watches the file is woken.
    alice.note_login(at(20_000 * DAY + 1)).unwrap();
    assert_eq!(times(), first);

    alice.note_login(at(20_001 * DAY + 1)).unwrap();
    assert_eq!(alice.last_login().unwrap(), Some(at(20_001 * DAY)));
    assert!(relay.mailbox("nobody").note_login(at(0)).is_err());
}

#[test]
fn the_operators_files_are_seen() {
    let relay = Relay::new();
    let mailbox = relay.torso("carol", &["DISABLED", "password"]);
    assert!(mailbox.is_disabled().unwrap());
    assert!(mailbox.exists().unwrap());
    assert!(!mailbox.enforces_encryption().unwrap());
}

#[test]
fn usage_is_what_dovecot_has_counted() {
    let relay = Relay::new();
    let alice = relay.torso("alice", &["password"]);
    assert_eq!(alice.usage().unwrap(), None);
    let file = alice.path().join("maildirsize");
    fs::write(&file, "524288000S\n3235 1\n").unwrap();
    assert_eq!(alice.usage().unwrap(), Some(3235));
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let error = alice.usage().unwrap_err().to_string();
    assert!(error.contains("maildirsize"), "{error}");
}

#[test]
fn what_cannot_be_told_is_an_error() {
    let relay = Relay::new();
    fs::create_dir(relay.mailboxes.dir()).unwrap();
    let file = relay.mailbox("file");
    fs::write(file.path(), "").unwrap();
    assert!(file.exists().is_err());
    assert!(file.password().is_err());
    assert!(file.create(HASH, at(0)).is_err());

    let odd = relay.torso("odd", &["password/x"]);
    let error = odd.password().unwrap_err().to_string();
    assert!(error.contains("odd@chat.example/password: "), "{error}");
}

#[test]
fn a_password_file_of_any_length_is_read_up_to_a_limit() {
    let relay = Relay::new();
    let mailbox = relay.torso("long", &[]);
    fs::write(mailbox.path().join("password"), vec![b'x'; 100_000]).unwrap();
    assert_eq!(
        mailbox.password().unwrap().unwrap().len() as u64,
        PASSWORD_MAX + 1
    );
    fs::write(mailbox.path().join("password"), format!("{HASH}\r\n")).unwrap();
    assert_eq!(
        mailbox.password().unwrap().as_deref(),
        Some(HASH.as_bytes())
    );
}

#[test]
fn the_list_of_addresses_holds_mailboxes_only() {
    let relay = Relay::new();
    assert!(relay.mailboxes.addresses().is_err());
    for name in ["alice", "bob"] {
        relay.mailbox(name).create(HASH, at(0)).unwrap();
    }
    let dir = relay.mailboxes.dir();
    for name in [
        "pending_notifications",
        "Carol@chat.example",
        "dave@other.example",
        "..x@chat.example",
    ] {
        fs::create_dir(dir.join(name)).unwrap();
    }
    fs::write(dir.join("file@chat.example"), "").unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), dir.join("moved@chat.example")).unwrap();
    let mut addresses: Vec<_> = relay
        .mailboxes
        .addresses()
        .unwrap()
        .map(|a| a.unwrap().to_string())
        .collect();
    addresses.sort();
    assert_eq!(
        addresses,
        [
            "alice@chat.example",
            "bob@chat.example",
            "moved@chat.example"
        ]
    );
    assert_eq!(
        relay.mailboxes.push_spool(),
        dir.join("pending_notifications")
    );
}
