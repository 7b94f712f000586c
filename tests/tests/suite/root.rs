//! A relay whose mail user plants links for root's commands and looks into them, and whose sign-ups fail half-way.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::io::{PipeReader, PipeWriter, Write, pipe};
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime};

use chatmail_tests::instance::Account;
use chatmail_tests::{Instance, process, wait};
use rustix::io::ioctl_fionbio;

#[test]
fn a_relay_goes_on_while_root_works_among_links_to_its_own_files() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.new_account(name));
    for account in [&alice, &bob] {
        relay.imap(account).select_inbox().expect("SELECT");
    }
    let canary = tempfile::tempdir().expect("a directory of root's");
    fs::create_dir(canary.path().join("cur")).expect("cur");
    for name in ["password", "cur/1600000000.M1P1.host,S=5:2,S"] {
        fs::write(canary.path().join(name), "root's").expect("a file of root's");
    }
    let before = snapshot(canary.path());
    let mail = relay.mailbox(&bob).parent().expect("mailboxes").to_owned();
    let own = owner(&mail);
    let carol = relay.new_account("carol").address;
    for name in [carol.as_str(), ".removed-1", ".import-1"] {
        link(canary.path(), &mail.join(name), own);
    }
    for (name, target) in [
        (".Links", ""),
        ("password.tmp", "password"),
        ("tmp/x", "password"),
    ] {
        link(
            &canary.path().join(target),
            &relay.mailbox(&bob).join(name),
            own,
        );
    }
    for words in [
        &["expire"][..],
        &["expire", "--remove", "--force"],
        &["usage"],
        &["user", "list"],
        &["user", "disable", &alice.address],
        &["user", "enable", &alice.address],
        &["user", "password", &bob.address, "--generate"],
        &["user", "delete", &alice.address, "--yes"],
    ] {
        let output = chatmail(&relay, words);
        assert_eq!(snapshot(canary.path()), before, "{words:?}: {output:?}");
    }
    assert_eq!(owner(&relay.mailbox(&bob).join("password")), own);
    // A login makes the account anew that was deleted, and mail comes in.
    let mut imap = relay.imap(&alice);
    relay.send_encrypted(&alice, &alice);
    wait::until_true("mail", || imap.select_inbox().expect("SELECT") == 1);
}

#[test]
fn the_mail_user_cannot_look_into_a_command_that_root_runs() {
    let relay = Instance::start();
    let alice = relay.account("alice");
    let mail = relay
        .mailbox(&alice)
        .parent()
        .expect("mailboxes")
        .to_owned();
    let own = owner(&mail);
    let alice = alice.address;
    // To be complained about.
    let unreadable = mail.join("carol@chat.test");
    fs::create_dir(&unreadable).expect("a directory");
    fs::set_permissions(&unreadable, fs::Permissions::from_mode(0)).expect("its mode");
    lchown(&unreadable, Some(own.0), Some(own.1)).expect("its owner");
    // What is not protected, it sees: as long as a program that it runs itself.
    let mut plain = Command::new("sleep");
    plain.arg("60").uid(own.0).gid(own.1);
    let mut plain = plain.spawn().expect("sleep");
    assert_eq!(seen(plain.id(), own), ["environ", "fd/0"]);
    plain.kill().expect("kill");
    plain.wait().expect("sleep");
    let textfile = tempfile::tempdir().expect("a directory of root's");
    let textfile = textfile.path().display().to_string();
    for words in [
        &["user", "password", &alice, "--stdin"][..],
        &["user", "create", "dave@chat.test", "--stdin"],
        &["user", "list"],
        &["user", "show", &alice],
        &["user", "export", &alice],
        &["user", "import", "--as", "erin@chat.test"],
        &["user", "invite", "list", "--json"],
        &["echobot", "--create-account", "--password-file", "-"],
        &["import-sqlite", "--dry-run"],
        &["expire"],
        &["usage"],
        &["usage", "--textfile", &textfile],
    ] {
        let (input, writer) = pipe().expect("a pipe");
        let (_unread, full) = full_pipe();
        let mut child = command(&relay, words)
            .env("ROOTS_SECRET", "hunter2")
            .stdin(input)
            .stdout(full.try_clone().expect("a descriptor"))
            .stderr(full)
            .spawn()
            .expect("chatmail");
        let _held_open = writer;
        let worker = wait::until("a process of the mail user", || {
            let tree = process::tree(child.id());
            let mut all = tree.into_iter().map(|process| process.pid);
            all.find(|pid| fs_owner(*pid) == Some(own))
        });
        assert_eq!(seen(worker, own), [""; 0], "{words:?}");
        child.kill().expect("kill");
        let _ = process::signal(worker, process::Signal::KILL);
        child.wait().expect("chatmail");
    }
}

#[test]
fn a_login_goes_over_whatever_an_earlier_one_left_that_was_killed() {
    let relay = Instance::start();
    let own = owner_of_mailboxes(&relay);
    for (number, files) in STATES.iter().enumerate() {
        let account = relay.new_account(&format!("bob{number}"));
        half_made(&relay, &account, files, own);
        let mut imap = relay.imap(&account);
        assert_eq!(imap.select_inbox().expect("SELECT"), 0, "{files:?}");
        let home = relay.mailbox(&account);
        assert!(home.join("enforceE2EEincoming").exists());
        assert!(!home.join("password.tmp").exists(), "{files:?}");
    }
}

#[test]
fn what_nobody_came_back_for_is_expired_and_a_sign_up_that_runs_is_not() {
    let relay = Instance::start();
    let own = owner_of_mailboxes(&relay);
    let accounts: Vec<Account> = (0..STATES.len())
        .map(|number| relay.new_account(&format!("bob{number}")))
        .collect();
    let expire = || chatmail(&relay, &["expire", "--remove"]);
    for (account, files) in accounts.iter().zip(STATES) {
        half_made(&relay, account, files, own);
    }
    assert!(expire().status.success());
    for account in &accounts {
        assert!(relay.mailbox(account).exists());
        age(&relay.mailbox(account));
    }
    // A login holds the lock of its directory.
    let held = File::open(relay.mailbox(&accounts[0])).expect("a directory");
    held.lock().expect("its lock");
    assert_eq!(expire().status.code(), Some(75));
    for (number, account) in accounts.iter().enumerate() {
        assert_eq!(relay.mailbox(account).exists(), number == 0);
    }
    drop(held);
    assert!(expire().status.success());
    assert!(!relay.mailbox(&accounts[0]).exists());
    relay.imap(&accounts[0]).select_inbox().expect("SELECT");
}

/// The files there are between the steps of a sign-up.
const STATES: [&[&str]; 3] = [
    &["enforceE2EEincoming"],
    &["enforceE2EEincoming", "password.tmp"],
    &["password.tmp"],
];

fn half_made(relay: &Instance, account: &Account, files: &[&str], own: (u32, u32)) {
    let home = relay.mailbox(account);
    fs::create_dir(&home).expect("a mailbox");
    fs::set_permissions(&home, fs::Permissions::from_mode(0o700)).expect("its mode");
    for name in files {
        fs::write(home.join(name), "{SHA512-CR").expect("a file");
        lchown(home.join(name), Some(own.0), Some(own.1)).expect("its owner");
    }
    lchown(&home, Some(own.0), Some(own.1)).expect("its owner");
}

/// As if it were two hours old.
fn age(home: &Path) {
    let ago = SystemTime::now() - Duration::from_secs(2 * 3600);
    let times = FileTimes::new().set_modified(ago);
    let entries = fs::read_dir(home).expect("a mailbox");
    let files = entries.map(|entry| entry.expect("a file").path());
    let files: Vec<PathBuf> = files.collect();
    for path in files.iter().chain([&home.to_owned()]) {
        let file = File::open(path).expect("a file");
        file.set_times(times).expect("its time");
    }
}

/// Makes a link in place of what is there, for its owner.
fn link(target: &Path, at: &Path, own: (u32, u32)) {
    let _ = fs::remove_file(at);
    symlink(target, at).expect("a link");
    lchown(at, Some(own.0), Some(own.1)).expect("its owner");
}

/// The owner of the mailboxes, as (uid, gid).
fn owner_of_mailboxes(relay: &Instance) -> (u32, u32) {
    let first = relay.new_account("alice");
    relay.imap(&first);
    owner(relay.mailbox(&first).parent().expect("mailboxes"))
}

fn owner(path: &Path) -> (u32, u32) {
    let found = fs::symlink_metadata(path).expect("a file");
    (found.uid(), found.gid())
}

fn chatmail(relay: &Instance, words: &[&str]) -> Output {
    command(relay, words).output().expect("chatmail")
}

/// The command of the program that serves this relay, run by root.
fn command(relay: &Instance, words: &[&str]) -> Command {
    let endpoints = relay.endpoints();
    let serve = format!("/proc/{}/exe", endpoints.serve_pid);
    let mut command = Command::new(fs::read_link(serve).expect("chatmail serve"));
    command.args(words).arg("--config").arg(&endpoints.config);
    command
}

/// A pipe whose writer waits.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = pipe().expect("a pipe");
    ioctl_fionbio(&writer, true).expect("a pipe that does not wait");
    while writer.write(&[0; 4096]).is_ok() {}
    ioctl_fionbio(&writer, false).expect("a pipe that waits");
    (reader, writer)
}

/// What a process of this user sees of another process: proc(5) asks the same as ptrace(2) does.
fn seen(pid: u32, (uid, gid): (u32, u32)) -> Vec<&'static str> {
    let sees = |name: &str| {
        let path = format!("/proc/{pid}/{name}");
        let mut look = match name.starts_with("fd/") {
            true => Command::new("readlink"),
            false => Command::new("cat"),
        };
        look.arg(path).uid(uid).gid(gid);
        let looked = look.stdout(Stdio::null()).stderr(Stdio::null()).status();
        looked.expect("cat or readlink").success()
    };
    let mut all = vec!["environ", "fd/0"];
    all.retain(|name| sees(name));
    all
}

/// The user and group by whose rights a process works on files.
fn fs_owner(pid: u32) -> Option<(u32, u32)> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let id = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().last()?.parse().ok()
    };
    Some((id("Uid:")?, id("Gid:")?))
}

/// Type, mode, owner, times and content of everything below a directory.
fn snapshot(path: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    describe(path, &mut found);
    found
}

fn describe(path: &Path, found: &mut BTreeMap<PathBuf, String>) {
    let stat = fs::symlink_metadata(path).expect("a file");
    let content = match stat.is_file() {
        true => fs::read_to_string(path).expect("its content"),
        false => String::new(),
    };
    let times = (
        stat.mtime(),
        stat.mtime_nsec(),
        stat.ctime(),
        stat.ctime_nsec(),
    );
    let owner = (stat.uid(), stat.gid());
    found.insert(
        path.to_owned(),
        format!("{:o} {owner:?} {times:?} {content}", stat.mode()),
    );
    if stat.is_dir() {
        for entry in fs::read_dir(path).expect("a directory") {
            describe(&entry.expect("a file").path(), found);
        }
    }
}
