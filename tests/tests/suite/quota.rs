//! A mailbox that fills up loses its oldest mail before new mail is refused.

use std::collections::BTreeSet;
use std::fs;
use std::mem;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chatmail_tests::imap::{Answer, Imap};
use chatmail_tests::instance::Account;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::{Instance, Mail, wait};

/// max_mailbox_size.
const LIMIT: u64 = 1 << 20;
const FULL: u64 = LIMIT * 75 / 100;
const TARGET: u64 = LIMIT * 70 / 100;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[test]
fn a_delivery_that_fills_the_mailbox_makes_room() {
    let relay = relay();
    let [bob, carol] = ["bob", "carol"].map(|name| account(&relay, name));
    for account in [&bob, &carol] {
        for days in 2..62 {
            message(&relay, account, "cur", days * DAY, 9_000, ":2,S");
        }
    }
    let large = message(&relay, &bob, "cur", 2 * DAY, 200_001, ":2,S");
    let unseen = message(&relay, &bob, "new", 3 * DAY, 1_000, "");
    let young = message(&relay, &bob, "cur", 23 * HOUR, 10_000, ":2,S");
    let others = messages(&relay, &carol);
    let before = messages(&relay, &bob);
    assert!(total(&before) < FULL);

    let mut imap = selected(&relay, &bob);
    let mut other = selected(&relay, &bob);
    let idle = imap.idle().expect("IDLE");
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");

    // The first to go over is the large message that was seen, although it is the youngest.
    let mut delivered = 0;
    while large.exists() {
        assert!(total(&messages(&relay, &bob)) <= FULL);
        deliver(&mut lmtp, &bob, 8_000);
        delivered += 1;
    }
    let now = messages(&relay, &bob);
    assert_eq!(now.len(), before.len() - 1 + delivered);
    let told = idle.done().expect("DONE");
    expunges_are_told(&mut imap, told);
    quota_is_true(&relay, &bob, &mut imap);

    // Then the oldest, until seven tenths are filled.
    let mut old = ages(&now);
    while messages(&relay, &bob).is_superset(&now) {
        deliver(&mut lmtp, &bob, 8_000);
    }
    let now = messages(&relay, &bob);
    let used = total(&now);
    assert!((TARGET - 9_000..=TARGET).contains(&used), "{used}");
    old.retain(|age| ages(&now).contains(age));
    assert_eq!(
        old.len() + 1,
        old.iter().max().map_or(0, |oldest| index(*oldest))
    );
    assert!(young.exists() && (unseen.exists() || moved(&unseen).exists()));
    assert_eq!(messages(&relay, &carol), others);
    // Whoever has the folder open sees the same, and so does the count.
    for imap in [&mut imap, &mut other] {
        wait::until_true("the folder without what went", || {
            imap.select_inbox().expect("SELECT") == now.len()
        });
        quota_is_true(&relay, &bob, imap);
    }
    // What goes later is counted off once.
    let answer = imap.command("STORE 1:3 +FLAGS.SILENT (\\Deleted)");
    answer.and_then(|answer| answer.ok()).expect("STORE");
    let answer = imap.command("EXPUNGE");
    answer.and_then(|answer| answer.ok()).expect("EXPUNGE");
    quota_is_true(&relay, &bob, &mut imap);
    assert_eq!(relay.log("dovecot").matches("Error:").count(), 0);
}

#[test]
fn what_a_client_stores_itself_makes_room_too() {
    let relay = relay();
    let bob = account(&relay, "bob");
    let mut imap = relay.imap(&bob);
    let answer = imap.command("CREATE DeltaChat");
    answer.and_then(|answer| answer.ok()).expect("CREATE");
    let first = message(&relay, &bob, ".DeltaChat/cur", 40 * DAY, 60_000, ":2,S");
    let second = message(&relay, &bob, "cur", 39 * DAY, 60_000, ":2,S");
    let rest: Vec<_> = (2..10)
        .map(|days| message(&relay, &bob, "cur", days * DAY, 80_000, ":2,"))
        .collect();
    assert!(total(&messages(&relay, &bob)) < FULL);

    let mut imap = selected(&relay, &bob);
    let mail = Mail::encrypted_of_size(&bob.address, &bob.address, 20_000).to_bytes();
    let append = |imap: &mut Imap| {
        let answer = imap.command_with_literals("APPEND DeltaChat", &[&mail]);
        answer.and_then(|answer| answer.ok()).expect("APPEND");
    };
    while first.exists() {
        append(&mut imap);
    }
    let used = total(&messages(&relay, &bob));
    assert!((TARGET - 60_000..=TARGET).contains(&used), "{used}");
    quota_is_true(&relay, &bob, &mut imap);
    // Copies count as well.
    while second.exists() {
        let answer = imap.command("COPY * DeltaChat");
        answer.and_then(|answer| answer.ok()).expect("COPY");
    }
    assert!(rest.iter().any(|path| path.exists()));
    quota_is_true(&relay, &bob, &mut imap);
}

#[test]
fn mail_of_the_last_day_stays_and_what_does_not_fit_is_refused() {
    let relay = relay();
    let [bob, carol] = ["bob", "carol"].map(|name| account(&relay, name));
    for minutes in 0..10 {
        message(
            &relay,
            &bob,
            "cur",
            23 * HOUR + minutes * 60,
            102_400,
            ":2,S",
        );
    }
    let before = messages(&relay, &bob);
    let mail = Mail::encrypted_of_size("dave@elsewhere.test", &bob.address, 30_000).to_bytes();
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let to = [bob.address.as_str(), carol.address.as_str()];
    let replies = lmtp.deliver_to_each("dave@elsewhere.test", &to, &mail);
    let [refused, stored] = &replies.expect("LMTP")[..] else {
        panic!("not two replies");
    };
    assert!(refused.to_string().starts_with("552 5.2.2 "), "{refused}");
    assert_eq!(stored.code, 250, "{stored}");
    assert_eq!(messages(&relay, &bob), before);
    assert_eq!(messages(&relay, &carol).len(), 1);

    // What is still smaller than the room that is left goes in.
    deliver(&mut lmtp, &bob, 5_000);
    assert_eq!(messages(&relay, &bob).len(), before.len() + 1);
    quota_is_true(&relay, &bob, &mut selected(&relay, &bob));
}

/// The note `trim-not-before` beside the messages spares deliveries the look, and nothing else.
#[test]
fn a_mailbox_full_of_young_mail_is_looked_through_again_when_some_of_it_may_go() {
    let relay = relay();
    let bob = account(&relay, "bob");
    let home = relay.mailbox(&bob);
    let young = 23 * HOUR + 50 * 60;
    for seconds in 0..10 {
        message(&relay, &bob, "cur", young + seconds, 96_000, ":2,S");
    }
    let note = home.join("trim-not-before");
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    deliver(&mut lmtp, &bob, 5_000);
    let noted = fs::metadata(&note).expect("a note");
    let wait = noted
        .modified()
        .expect("a time")
        .duration_since(SystemTime::now());
    let minutes = wait.expect("a time to come").as_secs() / 60;
    assert!((8..10).contains(&minutes), "{minutes} minutes");
    assert_eq!(noted.uid(), fs::metadata(&home).expect("mailbox").uid());

    // What it says holds: a message that could go is not looked for.
    let old = message(&relay, &bob, "cur", 40 * DAY, 9_000, ":2,S");
    deliver(&mut lmtp, &bob, 5_000);
    assert!(old.exists());
    // The time has come.
    let past = SystemTime::now() - Duration::from_secs(1);
    let file = fs::File::open(&note).expect("the note");
    file.set_modified(past).expect("another time");
    deliver(&mut lmtp, &bob, 5_000);
    assert!(!old.exists());
    assert!(
        fs::metadata(&note)
            .expect("a note")
            .modified()
            .expect("a time")
            > past
    );
    // Nonsense spares nobody the look.
    let old = message(&relay, &bob, "cur", 40 * DAY, 9_000, ":2,S");
    let far = SystemTime::now() + Duration::from_secs(365 * DAY);
    file.set_modified(far).expect("another time");
    deliver(&mut lmtp, &bob, 5_000);
    assert!(!old.exists());
    assert_eq!(messages(&relay, &bob).len(), 10 + 4);
    assert_eq!(relay.log("dovecot").matches("Error:").count(), 0);
}

fn relay() -> Instance {
    Instance::with().param("max_mailbox_size", "1M").start()
}

/// An account whose INBOX has its directories.
fn account(relay: &Instance, name: &str) -> Account {
    let account = relay.new_account(name);
    selected(relay, &account);
    account
}

fn selected(relay: &Instance, account: &Account) -> Imap {
    let mut imap = relay.imap(account);
    imap.select_inbox().expect("SELECT");
    imap
}

#[track_caller]
fn deliver(lmtp: &mut Lmtp, to: &Account, size: usize) {
    let from = "dave@elsewhere.test";
    let mail = Mail::encrypted_of_size(from, &to.address, size).to_bytes();
    let reply = lmtp.deliver(from, &to.address, &mail).expect("LMTP");
    assert_eq!(reply.code, 250, "{reply}");
}

/// Puts a message where Dovecot would have, some seconds ago.
fn message(
    relay: &Instance,
    account: &Account,
    folder: &str,
    age: u64,
    size: u64,
    flags: &str,
) -> PathBuf {
    let home = relay.mailbox(account);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let stored = now.expect("clock") - Duration::from_secs(age);
    let seconds = stored.as_secs();
    let name = format!("{seconds}.M{age}P1.test,S={size},W={size}{flags}");
    let path = home.join(folder).join(name);
    let mut text = b"Subject: [...]\n\n".to_vec();
    text.resize(size as usize - 1, b'x');
    text.push(b'\n');
    // Not where Dovecot would see half of it.
    let tmp = home.join("tmp").join("test");
    fs::write(&tmp, text).expect("message");
    let owner = fs::metadata(&home).expect("mailbox");
    chown(&tmp, Some(owner.uid()), Some(owner.gid())).expect("message");
    fs::rename(&tmp, &path).expect("message");
    path
}

/// The same message after a client has looked.
fn moved(new: &Path) -> PathBuf {
    let name = new.file_name().expect("name").to_string_lossy();
    let home = new.ancestors().nth(2).expect("mailbox");
    home.join("cur").join(format!("{name}:2,"))
}

/// All messages: folder and name, without flags. A copy has the name of what it was made from.
fn messages(relay: &Instance, account: &Account) -> BTreeSet<String> {
    let home = relay.mailbox(account);
    let mut found = BTreeSet::new();
    for folder in ["", ".DeltaChat"] {
        // In this order none is missed that a client's session moves from the one to the other meanwhile.
        for part in ["new", "cur"] {
            let Ok(entries) = fs::read_dir(home.join(folder).join(part)) else {
                continue;
            };
            for entry in entries {
                let name = entry.expect("entry").file_name();
                let name = name.to_string_lossy();
                let name = name.split(':').next().unwrap_or(&name);
                found.insert(format!("{folder}/{name}"));
            }
        }
    }
    found
}

fn total(messages: &BTreeSet<String>) -> u64 {
    messages.iter().map(|name| number(name, "S=")).sum()
}

/// Those of the messages the test made, in seconds.
fn ages(messages: &BTreeSet<String>) -> Vec<u64> {
    let made = messages
        .iter()
        .filter(|name| name.contains("P1.test,S=9000,"));
    made.map(|name| number(name, "M")).collect()
}

/// Of the messages of 2, 3, 4, … days, how many there are up to that age, and one.
fn index(age: u64) -> usize {
    usize::try_from(age / DAY).expect("days")
}

fn number(name: &str, key: &str) -> u64 {
    let (_, rest) = name.split_once(key).expect("a file name of Dovecot's");
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().expect("a number")
}

/// A client is told what went, at the latest a second later: Dovecot does not read a directory
/// again that it has read in the second in which that changed.
#[track_caller]
fn expunges_are_told(imap: &mut Imap, mut told: Answer) {
    wait::until_true("an EXPUNGE", || {
        let last = mem::replace(&mut told, imap.command("NOOP").expect("NOOP"));
        let mut untagged = last.untagged.iter();
        untagged.any(|untagged| untagged.line.ends_with(" EXPUNGE"))
    });
}

/// What the server says is what the files say, to the kilobyte.
#[track_caller]
fn quota_is_true(relay: &Instance, account: &Account, imap: &mut Imap) {
    let used = imap.quota_used().expect("GETQUOTAROOT");
    assert_eq!(used, total(&messages(relay, account)).div_ceil(1024));
}
