//! Accounts are created by their first login, and by nothing else.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chatmail_tests::Instance;
use chatmail_tests::imap::{Answer, Imap, Security};
use chatmail_tests::instance::Account;
use chatmail_tests::smtp::{Door, Smtp};
use chatmail_tests::wait;

const DAY: u64 = 86_400;

#[test]
fn the_first_imap_login_creates_the_account() {
    let relay = Instance::start();
    for (name, security) in [("tls", Security::Tls), ("start", Security::StartTls)] {
        let account = relay.new_account(name);
        let mailbox = relay.mailbox(&account);
        assert!(!mailbox.exists());

        let mut imap = Imap::connect(relay.endpoints(), security).expect("IMAP");
        let answer = imap.login(&account.address, &account.password);
        assert!(answer.expect("LOGIN").is_ok());

        let password = fs::read_to_string(mailbox.join("password")).expect("password file");
        assert!(password.starts_with("{SHA512-CRYPT}$6$"), "{password:?}");
        let enforce =
            fs::metadata(mailbox.join("enforceE2EEincoming")).expect("enforceE2EEincoming");
        assert_eq!(enforce.len(), 0);
        let owner = fs::metadata(&relay.endpoints().mailboxes_dir)
            .expect("tree")
            .uid();
        assert_ne!(owner, 0);
        for path in [
            mailbox.clone(),
            mailbox.join("password"),
            mailbox.join("enforceE2EEincoming"),
        ] {
            assert_eq!(
                fs::metadata(&path).expect("file").uid(),
                owner,
                "{}",
                path.display()
            );
        }
        relay.imap(&account);
    }
}

#[test]
fn the_first_smtp_login_creates_the_account() {
    let relay = Instance::start();
    for door in [Door::Smtps, Door::Submission] {
        let account = relay.new_account("smtp");
        relay.smtp(door, &account);
        let mailbox = relay.mailbox(&account);
        assert!(mailbox.join("password").exists());
        assert!(mailbox.join("enforceE2EEincoming").exists());
        relay.imap(&account);
    }
}

#[test]
fn a_wrong_password_is_refused_and_changes_nothing() {
    let relay = Instance::start();
    let account = relay.new_account("alice");
    // Over SMTP: an IMAP session would go on writing its own files for a while.
    relay.smtp(Door::Smtps, &account);
    let mailbox = relay.mailbox(&account);
    // As if the last login were long ago.
    set_last_login(&mailbox, 3);
    let before = snapshot(&mailbox);
    let tree = listing(&relay.endpoints().mailboxes_dir);

    for password in ["correct horse", "correct horse 1 ", "Correct horse 1"] {
        let mut smtp = Smtp::connect(relay.endpoints(), Door::Submission).expect("SMTP");
        let reply = smtp.login(&account.address, password).expect("AUTH");
        assert_eq!(reply.code, 535, "{reply}");
    }
    let answer = relay.try_imap(&account.address, "correct horse battery");
    assert_eq!(answer.code(), Some("AUTHENTICATIONFAILED"), "{answer}");

    assert_eq!(snapshot(&mailbox), before);
    assert_eq!(listing(&relay.endpoints().mailboxes_dir), tree);
    relay.smtp(Door::Smtps, &account);
}

#[test]
fn ten_simultaneous_first_logins_make_one_account_and_one_password_wins() {
    let relay = Instance::start();
    let account = relay.new_account("race");
    let passwords: Vec<_> = (0..10).map(|n| format!("password of racer {n}")).collect();

    let answers = at_once(&relay, &account.address, &passwords);

    let winners: Vec<_> = answers
        .iter()
        .filter(|(_, answer)| answer.is_ok())
        .collect();
    assert_eq!(winners.len(), 1, "{answers:?}");
    for (_, answer) in answers.iter().filter(|(_, answer)| !answer.is_ok()) {
        assert_eq!(answer.code(), Some("AUTHENTICATIONFAILED"), "{answer}");
    }
    assert_eq!(relay.addresses(), [account.address.clone()].into());
    let winner = Account {
        password: winners[0].0.clone(),
        ..account
    };
    relay.imap(&winner);
}

#[test]
fn ten_simultaneous_first_logins_of_one_user_all_succeed() {
    let relay = Instance::start();
    let account = relay.new_account("eager");
    let passwords = vec![account.password.clone(); 10];
    for (_, answer) in at_once(&relay, &account.address, &passwords) {
        assert!(answer.is_ok(), "{answer}");
    }
    assert_eq!(relay.addresses(), [account.address].into());
}

#[test]
fn what_is_no_address_of_ours_is_refused_and_creates_nothing() {
    let relay = Instance::start();
    let before = listing(relay.dir());
    let good = "long enough";
    let refused = [
        ("shortpass@chat.test", "8 chars."),
        ("eight888@chat.test", good),
        ("ten1010101@chat.test", good),
        ("al+ce0001@chat.test", good),
        ("al ce0001@chat.test", good),
        ("älice001@chat.test", good),
        ("alice0001@elsewhere.test", good),
        ("alice0001@chat.test.elsewhere.test", good),
        ("alice0001@sub.chat.test", good),
        ("alice0001", good),
        ("@chat.test", good),
        ("", good),
        ("alice@002@chat.test", good),
        ("alice0001@chat.test@chat.test", good),
        ("ali/e0001@chat.test", good),
        ("../ice001@chat.test", good),
        ("a/../e001@chat.test", good),
        ("alice0001@chat.test/../evil00001@chat.test", good),
        ("/alice001@chat.test", good),
        ("alice0001@chat.test/", good),
        ("..@chat.test", good),
        ("ali\ne0001@chat.test", good),
        ("ali\\e0001@chat.test", good),
    ];

    // Each refusal takes its time, to slow down guessing; they may take it together.
    thread::scope(|scope| {
        for (address, password) in refused {
            let relay = &relay;
            scope.spawn(move || {
                let answer = relay.try_imap(address, password);
                assert!(!answer.is_ok(), "{address:?} was let in");
                assert_ne!(answer.code(), Some("UNAVAILABLE"), "{address:?}: {answer}");
            });
        }
    });

    assert_eq!(relay.addresses(), BTreeSet::new());
    let strays: Vec<_> = listing(relay.dir())
        .difference(&before)
        .filter(|path| path.to_string_lossy().contains('@'))
        .cloned()
        .collect();
    assert_eq!(strays, [] as [PathBuf; 0]);
}

#[test]
fn the_kill_switch_stops_new_accounts_and_nobody_else() {
    let relay = Instance::start();
    let config = fs::read_to_string(&relay.endpoints().config).expect("chatmail.ini");
    let switch = config
        .lines()
        .find_map(|line| line.strip_prefix("nocreate_file = "))
        .expect("the instance's own kill switch");
    let old = relay.account("old");
    let new = relay.new_account("new");

    File::create(switch).expect("kill switch");
    assert!(!relay.try_imap(&new.address, &new.password).is_ok());
    assert!(!relay.mailbox(&new).exists());
    relay.imap(&old);

    fs::remove_file(switch).expect("kill switch");
    relay.imap(&new);
}

#[test]
fn a_host_short_of_memory_takes_no_new_accounts() {
    let relay = Instance::with()
        .param("min_available_memory", "1000000G")
        .start();
    let account = relay.new_account("late");
    assert!(!relay.try_imap(&account.address, &account.password).is_ok());
    assert!(!relay.mailbox(&account).exists());
}

#[test]
fn an_emptied_password_file_blocks_the_address_and_stays_empty() {
    let relay = Instance::start();
    let account = relay.account("blocked");
    let password = relay.mailbox(&account).join("password");
    fs::write(&password, "").expect("emptying the password file");

    assert!(!relay.try_imap(&account.address, &account.password).is_ok());
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtps).expect("SMTP");
    let reply = smtp.login(&account.address, &account.password);
    assert_eq!(reply.expect("AUTH").code, 535);
    assert_eq!(fs::read(&password).expect("password file"), b"");
}

#[test]
fn a_password_may_hold_quotes_backslashes_and_slashes() {
    let relay = Instance::start();
    let account = Account {
        password: "\"\\/' %$ {x} ü]".to_owned(),
        ..relay.new_account("quoter")
    };
    relay.imap(&account);
    relay.smtp(Door::Smtps, &account);
    assert!(!relay.try_imap(&account.address, "\"\\/' %$ {x} ü)").is_ok());
}

#[test]
fn the_last_login_is_the_password_files_mtime_to_the_day() {
    let relay = Instance::start();
    let account = relay.account("daily");
    let mailbox = relay.mailbox(&account);
    set_last_login(&mailbox, 3);
    let password = mailbox.join("password");
    let hash = fs::read(&password).expect("password file");

    let before = today();
    relay.imap(&account);
    wait::until_true("the last login to be today", || {
        // The day may change while the test runs.
        [before, today()].contains(&mtime(&password))
    });
    assert_eq!(fs::read(&password).expect("password file"), hash);

    let stamp = fs::metadata(&password).expect("password file");
    let day = today();
    relay.imap(&account).command("LOGOUT").expect("LOGOUT");
    let again = fs::metadata(&password).expect("password file");
    if today() == day && mtime(&password) == day {
        let changed = |meta: &fs::Metadata| (meta.ino(), meta.ctime(), meta.ctime_nsec());
        assert_eq!(
            changed(&again),
            changed(&stamp),
            "a second login the same day wrote"
        );
    }
}

/// Logs in with every password at the same moment.
fn at_once(relay: &Instance, address: &str, passwords: &[String]) -> Vec<(String, Answer)> {
    let start = Barrier::new(passwords.len());
    thread::scope(|scope| {
        let logins: Vec<_> = passwords
            .iter()
            .map(|password| {
                let start = &start;
                scope.spawn(move || {
                    let mut imap = Imap::connect(relay.endpoints(), Security::Tls).expect("IMAP");
                    start.wait();
                    let answer = imap.login(address, password).expect("LOGIN");
                    (password.clone(), answer)
                })
            })
            .collect();
        logins
            .into_iter()
            .map(|login| login.join().expect("login"))
            .collect()
    })
}

/// Every path below a directory.
fn listing(dir: &Path) -> BTreeSet<PathBuf> {
    let mut paths = BTreeSet::new();
    let mut dirs = vec![dir.canonicalize().expect("directory")];
    while let Some(dir) = dirs.pop() {
        // Postfix's and Dovecot's own files come and go.
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path());
            }
            paths.insert(entry.path());
        }
    }
    paths
}

/// Everything about the files of a mailbox that a login could change.
fn snapshot(mailbox: &Path) -> Vec<(PathBuf, SystemTime, u64, Vec<u8>)> {
    listing(mailbox)
        .into_iter()
        .map(|path| {
            let meta = fs::metadata(&path).expect("file");
            let content = match meta.is_dir() {
                true => Vec::new(),
                false => fs::read(&path).expect("file"),
            };
            let modified = meta.modified().expect("mtime");
            (path, modified, meta.ino(), content)
        })
        .collect()
}

fn set_last_login(mailbox: &Path, days_ago: u64) {
    let then = UNIX_EPOCH + Duration::from_secs(today() - days_ago * DAY);
    let set = |path: PathBuf| -> io::Result<()> {
        File::options().append(true).open(path)?.set_modified(then)
    };
    set(mailbox.join("password")).expect("setting the last login");
}

fn mtime(path: &Path) -> u64 {
    let meta = fs::metadata(path).expect("file");
    u64::try_from(meta.mtime()).expect("after 1970")
}

/// The last midnight, UTC.
fn today() -> u64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    now.as_secs() / DAY * DAY
}
