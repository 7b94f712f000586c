//! New mail wakes the phone, once.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use chatmail_tests::instance::Account;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::process::{self, Signal};
use chatmail_tests::sink::Sink;
use chatmail_tests::{Instance, Mail, wait};

#[test]
fn a_delivered_message_makes_one_post_per_token_and_a_self_sent_one_none() {
    let sink = Sink::start().expect("sink");
    let relay = relay_with(&sink);
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    add_tokens(&relay, &bob, &["first", "second"]);

    relay.send_encrypted(&alice, &bob);
    wait::until_true("both tokens", || sink.posts().len() >= 2);
    assert_eq!(sink.tokens(), ["first", "second"]);
    assert!(sink.posts().iter().all(|post| post.path == "/notify"));

    relay.send_encrypted(&bob, &bob);
    relay.wait_for_messages(&bob, 2);
    // Whatever the self-sent message caused would be posted before this one's.
    relay.send_encrypted(&alice, &bob);
    wait::until_true("both tokens again", || sink.posts().len() >= 4);
    wait::until_true("an empty spool", || spool(&relay).is_empty());
    assert_eq!(sink.tokens(), ["first", "first", "second", "second"]);
}

#[test]
fn a_token_the_push_service_calls_gone_is_forgotten() {
    let sink = Sink::start().expect("sink");
    sink.answer_to("gone", 410);
    let relay = relay_with(&sink);
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    add_tokens(&relay, &bob, &["stays", "gone"]);

    relay.send_encrypted(&alice, &bob);
    wait::until_true("the token to be forgotten", || {
        tokens(&relay, &bob) == ["stays"]
    });
    wait::until_true("an empty spool", || spool(&relay).is_empty());
    assert_eq!(sink.tokens(), ["gone", "stays"]);
}

#[test]
fn a_notification_the_push_service_cannot_take_now_is_kept_and_tried_again() {
    let sink = Sink::start().expect("sink");
    sink.answer(500);
    let relay = relay_with(&sink);
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    add_tokens(&relay, &bob, &["patient"]);

    relay.send_encrypted(&alice, &bob);
    wait::until_true("the first try", || !sink.posts().is_empty());
    let [file] = &spool(&relay)[..] else {
        panic!("not one file: {:?}", spool(&relay));
    };
    let content = fs::read_to_string(file).expect("spool file");
    let lines: Vec<_> = content.lines().collect();
    assert_eq!([lines[0], lines[2]], [bob.address.as_str(), "patient"]);
    assert!(lines[1].parse::<u64>().is_ok(), "{content:?}");
    assert_eq!(tokens(&relay, &bob), ["patient"]);

    sink.answer(200);
    wait::until_true("the second try", || spool(&relay).is_empty());
    let posts = sink.posts();
    assert_eq!(posts.len(), 2, "{posts:?}");
    let pause = posts[1].at - posts[0].at;
    assert!(pause.as_secs_f64() >= 7.9, "{pause:?}");
}

#[test]
fn a_killed_service_loses_no_notification() {
    let sink = Sink::start().expect("sink");
    let relay = relay_with(&sink);
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let names: BTreeSet<_> = (0..10).map(|n| format!("token-{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    add_tokens(&relay, &bob, &names);

    let victim = relay.endpoints().serve_pid;
    process::signal(victim, Signal::STOP).expect("stopping the service");
    for _ in 0..3 {
        relay.send_encrypted(&alice, &bob);
    }
    // The notifications of the second and third message replaced those that waited.
    relay.wait_for_messages(&bob, 3);
    wait::until_true("a full spool", || spool(&relay).len() == 10);
    assert_eq!(sink.tokens(), [] as [&str; 0]);
    process::signal(victim, Signal::KILL).expect("killing the service");

    wait::until_true("an empty spool", || spool(&relay).is_empty());
    // One request for the three messages of each device.
    assert_eq!(sink.tokens(), names);
    // It has delivered before the supervisor tells of it.
    wait::until_true("another service", || {
        let now = relay.current_endpoints().expect("endpoints");
        now.serve_pid != victim
    });
}

#[test]
fn of_one_message_for_several_each_hears_once() {
    let sink = Sink::start().expect("sink");
    let relay = relay_with(&sink);
    let [bob, carol] = ["bob", "carol"].map(|name| relay.account(name));
    add_tokens(&relay, &bob, &["bob's"]);
    add_tokens(&relay, &carol, &["carol's"]);
    let mail = Mail::encrypted("dave@elsewhere.test", &bob.address).to_bytes();
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    // Bob twice: the list and he himself were named.
    let to = [&bob, &carol, &bob].map(|account| account.address.as_str());
    let replies = lmtp.deliver_to_each("dave@elsewhere.test", &to, &mail);
    for reply in replies.expect("LMTP") {
        assert_eq!(reply.code, 250, "{reply}");
    }
    wait::until_true("an empty spool", || {
        sink.posts().len() >= 2 && spool(&relay).is_empty()
    });
    assert_eq!(sink.tokens(), ["bob's", "carol's"]);
    assert_eq!(relay.wait_for_messages(&bob, 1).len(), 1);
}

#[test]
fn a_spool_that_cannot_be_written_holds_no_message_up() {
    let sink = Sink::start().expect("sink");
    let relay = relay_with(&sink);
    let bob = relay.account("bob");
    add_tokens(&relay, &bob, &["bob's"]);
    let dir = spool_dir(&relay);

    // Somebody else's directory: what a restore as root leaves behind.
    let owner = fs::metadata(&relay.endpoints().mailboxes_dir).expect("mailboxes");
    fs::create_dir_all(&dir).expect("spool");
    chown(&dir, Some(0), Some(0)).expect("spool");
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o500)).expect("spool");
    deliver(&relay, &bob);
    wait::until_true("the error in the log", || {
        failures(&relay, "Permission denied") == 1
    });

    chown(&dir, Some(owner.uid()), Some(owner.gid())).expect("spool");
    fs::set_permissions(&dir, PermissionsExt::from_mode(0o700)).expect("spool");
    deliver(&relay, &bob);
    wait::until_true("the notification", || !sink.posts().is_empty());
    wait::until_true("an empty spool", || spool(&relay).is_empty());
    assert_eq!(sink.tokens(), ["bob's"]);
    assert_eq!(failures(&relay, ""), 1);
    assert_eq!(relay.wait_for_messages(&bob, 2).len(), 2);
}

#[test]
fn a_full_disk_under_the_spool_holds_no_message_up() {
    const THIS: &str = "push::a_full_disk_under_the_spool_holds_no_message_up";
    const INSIDE: &str = "CHATMAIL_TEST_INSIDE";
    if env::var_os(INSIDE).is_none() {
        // Again, where nobody else sees what is mounted and nothing of it stays.
        let output = Command::new("unshare")
            .args(["--mount", "--propagation", "private"])
            .arg(env::current_exe().expect("this test"))
            .args(["--exact", THIS, "--nocapture"])
            .env(INSIDE, "1")
            .output()
            .expect("unshare");
        let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success(), "{said}");
        // A name that fits nothing would pass as well.
        assert!(said.contains("1 passed"), "{said}");
        return;
    }
    let sink = Sink::start().expect("sink");
    let relay = relay_with(&sink);
    let bob = relay.account("bob");
    add_tokens(&relay, &bob, &["bob's"]);
    // The first delivery makes the spool, and starts the process that makes the next ones.
    deliver(&relay, &bob);
    wait::until_true("the notification", || !sink.posts().is_empty());
    wait::until_true("an empty spool", || spool(&relay).is_empty());

    let dir = spool_dir(&relay);
    let owner = fs::metadata(&dir).expect("spool");
    let options = format!("size=4k,mode=700,uid={},gid={}", owner.uid(), owner.gid());
    let path = dir.to_str().expect("UTF-8");
    let master = dovecot(&relay);
    in_mounts_of(
        master,
        &["mount", "-t", "tmpfs", "-o", &options, "tmpfs", path],
    );
    let filler = format!("of={path}/filler");
    in_mounts_of(
        master,
        &["dd", "if=/dev/zero", &filler, "bs=4096", "count=1"],
    );
    deliver(&relay, &bob);
    wait::until_true("the error in the log", || {
        failures(&relay, "No space left on device") == 1
    });
    // Not even an empty file is left in it.
    let left = seen_by(master, &dir).map(|dir| fs::read_dir(dir).expect("tmpfs").count());
    assert_eq!(left, Some(1));

    in_mounts_of(master, &["umount", path]);
    deliver(&relay, &bob);
    wait::until_true("the next notification", || sink.posts().len() >= 2);
    assert_eq!(sink.tokens(), ["bob's", "bob's"]);
    assert_eq!(failures(&relay, ""), 1);
    assert_eq!(relay.wait_for_messages(&bob, 3).len(), 3);
}

/// The process whose mounts are those of all of Dovecot's.
fn dovecot(relay: &Instance) -> u32 {
    let processes = process::tree(relay.supervisor_pid());
    let master = processes.iter().find(|process| process.name == "dovecot");
    master.expect("Dovecot").pid
}

fn in_mounts_of(pid: u32, command: &[&str]) {
    let output = Command::new("nsenter")
        .args(["--mount", "--root", "--target", &pid.to_string(), "--"])
        .args(command)
        .output()
        .expect("nsenter");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// A path as a process sees it.
fn seen_by(pid: u32, path: &Path) -> Option<PathBuf> {
    let path = path.strip_prefix("/").ok()?;
    Some(
        Path::new("/proc")
            .join(pid.to_string())
            .join("root")
            .join(path),
    )
}

/// Over LMTP: the message is stored, whatever becomes of the notification.
#[track_caller]
fn deliver(relay: &Instance, to: &Account) {
    let from = "dave@elsewhere.test";
    let mail = Mail::encrypted(from, &to.address).to_bytes();
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let reply = lmtp.deliver(from, &to.address, &mail).expect("LMTP");
    assert_eq!(reply.code, 250, "{reply}");
}

/// How many notifications could not be spooled, by Dovecot's log, for this reason.
fn failures(relay: &Instance, why: &str) -> usize {
    let log = relay.log("dovecot");
    let lines = log.lines().filter(|line| {
        line.contains("Error: chatmail: Couldn't spool push notifications: ")
            && line.contains("pending_notifications")
            && line.contains(why)
    });
    lines.count()
}

fn relay_with(sink: &Sink) -> Instance {
    Instance::with().push_url(sink.url()).start()
}

fn add_tokens(relay: &Instance, account: &Account, tokens: &[&str]) {
    let mut imap = relay.imap(account);
    for token in tokens {
        let answer = imap.set_metadata("INBOX", "/private/devicetoken", token);
        assert!(answer.expect("SETMETADATA").is_ok());
    }
}

fn tokens(relay: &Instance, account: &Account) -> Vec<String> {
    let json = relay.metadata_json(account);
    let tokens = json["devicetoken"].as_object().expect("tokens with times");
    tokens.keys().cloned().collect()
}

/// The finished files of the spool.
fn spool(relay: &Instance) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(spool_dir(relay)) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "tmp"))
        .collect()
}

fn spool_dir(relay: &Instance) -> PathBuf {
    let mailboxes = &relay.endpoints().mailboxes_dir;
    mailboxes.join("pending_notifications")
}
