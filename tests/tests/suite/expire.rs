//! What the expiry removes, as Dovecot and its users see it.

use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chatmail_tests::imap::Imap;
use chatmail_tests::instance::Account;
use chatmail_tests::{Instance, wait};
use serde_json::Value;

const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

#[test]
fn a_user_sees_what_is_left_and_the_quota_is_true() {
    let relay = Instance::start();
    let bob = relay.new_account("bob");
    let mut imap = selected(&relay, &bob);
    let created = imap.command("CREATE DeltaChat");
    created.and_then(|answer| answer.ok()).expect("CREATE");
    for days in [1, 6, 19, 21, 40] {
        message(&relay, &bob, "cur", days, 4_000, ":2,S");
        message(&relay, &bob, ".DeltaChat/cur", days, 3_000, ":2,");
    }
    message(&relay, &bob, "new", 30, 5_000, "");
    // Large ones go after a week, if a device has seen them.
    message(&relay, &bob, "cur", 8, 250_000, ":2,S");
    message(&relay, &bob, "cur", 6, 250_000, ":2,S");
    wait::until_true("all messages in the INBOX", || {
        imap.select_inbox().expect("SELECT") == 8
    });
    let before = imap.quota_used().expect("GETQUOTAROOT");
    let told = expire(&relay, &[]);
    let kept = told["mailboxes"].clone();
    assert_eq!((&told["dry_run"], kept), (&true.into(), 1.into()));
    assert_eq!(imap.select_inbox().expect("SELECT"), 8);
    assert_eq!(imap.quota_used().expect("GETQUOTAROOT"), before);

    let told = expire(&relay, &["--remove"]);
    assert_eq!(told["removed"]["messages"], 2 + 2 + 1, "{told}");
    assert_eq!(told["removed"]["large_messages"], 1);
    assert_eq!(told["removed"]["bytes"], 2 * 7_000 + 5_000 + 250_000);
    // A session that had the folder open, and one that comes now.
    let mut other = selected(&relay, &bob);
    for imap in [&mut imap, &mut other] {
        wait::until_true("the folder without what went", || {
            imap.select_inbox().expect("SELECT") == 4
        });
        let used = u64::div_ceil(3 * 7_000 + 250_000, 1024);
        assert_eq!(imap.quota_used().expect("GETQUOTAROOT"), used);
        for number in 1..=4 {
            imap.message(number).expect("FETCH");
        }
    }
    let answer = other.command("STATUS DeltaChat (MESSAGES)");
    let answer = answer.and_then(|answer| answer.ok()).expect("STATUS");
    let status = &answer.untagged[0].line;
    assert!(status.ends_with("(MESSAGES 3)"), "{status}");
    // New mail comes in as ever, and is counted.
    relay.send_encrypted(&bob, &bob);
    wait::until_true("new mail", || other.select_inbox().expect("SELECT") == 5);
    assert_eq!(relay.log("dovecot").matches("Error:").count(), 0);
}

#[test]
fn an_account_nobody_used_is_gone_and_its_address_is_free() {
    let relay = Instance::start();
    let [bob, carol] = ["bob", "carol"].map(|name| relay.new_account(name));
    let session = selected(&relay, &carol);
    message(&relay, &carol, "cur", 1, 4_000, ":2,S");
    drop(session);
    selected(&relay, &bob);
    last_login(&relay, &carol, 92);
    let told = expire(&relay, &["--remove"]);
    assert_eq!(told["removed"]["mailboxes"], 1, "{told}");
    assert!(!relay.mailbox(&carol).exists());
    assert!(!relay.addresses().contains(&carol.address));
    // A login makes it anew, with nothing in it.
    let mut imap = relay.imap(&carol);
    assert_eq!(imap.select_inbox().expect("SELECT"), 0);
    assert_eq!(relay.log("dovecot").matches("Error:").count(), 0);
}

#[test]
fn who_comes_back_on_the_last_day_keeps_everything() {
    let relay = Instance::start();
    let bob = relay.new_account("bob");
    selected(&relay, &bob);
    message(&relay, &bob, "cur", 1, 4_000, ":2,S");
    last_login(&relay, &bob, 200);
    let mut imap = selected(&relay, &bob);
    let told = expire(&relay, &["--remove"]);
    assert_eq!(told["removed"]["mailboxes"], 0, "{told}");
    assert_eq!(imap.select_inbox().expect("SELECT"), 1);
}

/// `chatmail expire`, from the program that serves this relay, run by root.
fn expire(relay: &Instance, options: &[&str]) -> Value {
    let endpoints = relay.endpoints();
    let serve = format!("/proc/{}/exe", endpoints.serve_pid);
    let output = Command::new(fs::read_link(serve).expect("chatmail serve"))
        .arg("expire")
        .arg("--config")
        .arg(&endpoints.config)
        .arg("--json")
        .args(options)
        .output()
        .expect("chatmail expire");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{}: {said}", output.status);
    serde_json::from_slice(&output.stdout).expect("JSON")
}

fn selected(relay: &Instance, account: &Account) -> Imap {
    let mut imap = relay.imap(account);
    imap.select_inbox().expect("SELECT");
    imap
}

/// Puts a message where Dovecot would have, so many days and an hour ago.
fn message(relay: &Instance, account: &Account, folder: &str, days: u64, size: usize, flags: &str) {
    let home = relay.mailbox(account);
    let stored = seconds_ago(days * DAY + HOUR);
    let seconds = stored.duration_since(UNIX_EPOCH).expect("clock").as_secs();
    let name = format!("{seconds}.M{size}P1.test,S={size},W={size}{flags}");
    let mut text = b"Subject: [...]\n\n".to_vec();
    text.resize(size - 1, b'x');
    text.push(b'\n');
    // Not where Dovecot would see half of it.
    let tmp = home.join("tmp").join("test");
    fs::write(&tmp, text).expect("message");
    let owner = fs::metadata(&home).expect("mailbox");
    chown(&tmp, Some(owner.uid()), Some(owner.gid())).expect("message");
    fs::rename(&tmp, home.join(folder).join(name)).expect("message");
}

fn last_login(relay: &Instance, account: &Account, days: u64) {
    let password = relay.mailbox(account).join("password");
    touch(&password, seconds_ago(days * DAY));
}

fn touch(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path).expect("password");
    let times = FileTimes::new().set_modified(time);
    file.set_times(times).expect("password");
}

fn seconds_ago(seconds: u64) -> SystemTime {
    SystemTime::now() - Duration::from_secs(seconds)
}
