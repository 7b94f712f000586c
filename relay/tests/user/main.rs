//! `chatmail user`, as an operator runs it.

#![allow(clippy::unwrap_used)]

mod addresses;
#[path = "../mail_user/mod.rs"]
mod mail_user;
mod terminal;

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Value, json};
use tempfile::TempDir;

/// A relay's `chatmail.ini` and an empty directory of mailboxes.
struct Relay {
    base: TempDir,
}

impl Relay {
    fn new() -> Relay {
        let base = tempfile::tempdir().unwrap();
        let ini = format!(
            "[params]\nmail_domain = chat.example\nmailboxes_dir = {}\n",
            base.path().join("mail").display()
        );
        fs::write(base.path().join("chatmail.ini"), ini).unwrap();
        fs::create_dir(base.path().join("mail")).unwrap();
        Relay { base }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        mail_user::hand_over(self.base.path());
        let is_option = |word: &&str| word.starts_with('-');
        let count = arguments.iter().take_while(|word| !is_option(word)).count();
        let (words, options) = arguments.split_at(count);
        let mut user = Command::new(env!("CARGO_BIN_EXE_chatmail"));
        user.arg("user")
            .args(words)
            .arg("--config")
            .arg(self.base.path().join("chatmail.ini"))
            .args(options);
        user
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // It may end before it has read all of it.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Its answer, after it has ended with this code.
    #[track_caller]
    fn words(&self, words: &str, input: &[u8], code: i32) -> (String, String) {
        let output = self.run(&Vec::from_iter(words.split(' ')), input);
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
        assert_eq!(output.status.code(), Some(code), "{words}: {out}{err}");
        (out, err)
    }

    /// Its answer in JSON.
    #[track_caller]
    fn json(&self, words: &str, input: &[u8], code: i32) -> Value {
        let (out, _) = self.words(&format!("{words} --json"), input, code);
        serde_json::from_str(&out).unwrap_or_else(|why| panic!("{words}: {why}: {out}"))
    }

    fn mailbox(&self, localpart: &str) -> PathBuf {
        let name = format!("{localpart}@chat.example");
        self.base.path().join("mail").join(name)
    }

    #[track_caller]
    fn create(&self, localpart: &str) {
        let words = format!("create {localpart}@chat.example --stdin");
        self.words(&words, b"correct horse\n", 0);
    }

    fn state(&self, localpart: &str) -> Value {
        self.json(&format!("show {localpart}@chat.example"), b"", 0)["state"].take()
    }
}

#[test]
fn an_account_is_made_and_shown() {
    let relay = Relay::new();
    let created = relay.json("create alice@chat.example --stdin", b"correct horse\n", 0);
    assert_eq!(
        created,
        json!({"address": "alice@chat.example", "result": "created"})
    );
    let mut shown = relay.json("show Alice@Chat.Example", b"", 0);
    let day = shown["last_login"].take();
    assert_eq!(day.as_str().unwrap().len(), 10);
    assert_eq!(
        shown,
        json!({
            "address": "alice@chat.example", "state": "active", "last_login": null, "cleartext": false,
            "bytes": null, "path": relay.mailbox("alice"), "limit": 524_288_000, "devices": 0
        })
    );
    let (words, _) = relay.words("show alice@chat.example", b"", 0);
    assert!(words.contains("cleartext   refused\n"), "{words}");
    assert!(!words.contains("SHA512"), "{words}");

    let error = relay.json("create alice@chat.example --generate", b"", 73);
    assert_eq!(
        error,
        json!({"error": "alice@chat.example exists already", "exit": 73})
    );
    for (bad, why) in [
        ("bob@other.example", "no address of chat.example"),
        ("../bob@chat.example", "the localpart may hold only"),
    ] {
        let (out, err) = relay.words(&format!("create {bad} --generate"), b"", 64);
        assert_eq!(out, "");
        assert!(err.contains(why), "{err}");
    }
    for password in ["short", "", "with a\ttab in it", &"x".repeat(600)] {
        let (_, err) = relay.words("create bob@chat.example --stdin", password.as_bytes(), 65);
        assert!(!err.contains("tab in"), "{err}");
    }
    assert!(!relay.mailbox("bob").exists());
    // Not a terminal.
    let (_, err) = relay.words("create bob@chat.example", b"correct horse\n", 64);
    assert!(err.contains("--stdin or --generate"), "{err}");
}

#[test]
fn a_random_account_comes_with_its_password() {
    let relay = Relay::new();
    let created = relay.json("create", b"", 0);
    let (address, password) = (
        created["address"].as_str().unwrap(),
        created["password"].as_str().unwrap(),
    );
    assert_eq!((address.find('@'), password.len()), (Some(9), 12));
    relay.json(&format!("show {address}"), b"", 0);
    let (words, _) = relay.words("create bob@chat.example --generate", b"", 0);
    assert!(
        words.starts_with("created bob@chat.example\npassword: "),
        "{words}"
    );
}

#[test]
fn another_password_keeps_the_day_of_the_last_login() {
    let relay = Relay::new();
    relay.create("alice");
    let file = relay.mailbox("alice").join("password");
    let old = fs::read(&file).unwrap();
    let times = fs::File::open(&file).unwrap();
    times
        .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(86_400 * 20_000))
        .unwrap();
    let changed = relay.json("password alice@chat.example --stdin", b"battery staple", 0);
    assert_eq!(changed["result"], "changed");
    assert_ne!(fs::read(&file).unwrap(), old);
    assert_eq!(fs::metadata(&file).unwrap().mtime(), 86_400 * 20_000);
    let generated = relay.json("password alice@chat.example --generate", b"", 0);
    assert_eq!(generated["password"].as_str().unwrap().len(), 12);
    relay.json("password nobody@chat.example --generate", b"", 67);
    assert!(!relay.mailbox("nobody").exists());
}

#[test]
fn both_ways_to_block_are_told_and_what_helps() {
    let relay = Relay::new();
    relay.create("alice");
    let result = |words: &str| relay.json(&format!("{words} alice@chat.example"), b"", 0);
    assert_eq!(result("disable")["result"], "changed");
    assert_eq!(result("disable")["result"], "unchanged");
    assert!(relay.mailbox("alice").join("DISABLED").exists());
    assert_eq!(relay.state("alice"), "disabled");
    assert_eq!(
        result("enable"),
        json!({"address": "alice@chat.example", "result": "changed", "state": "active"})
    );
    fs::write(relay.mailbox("alice").join("password"), "").unwrap();
    assert_eq!(relay.state("alice"), "no-password");
    let (blocked, _) = relay.words("list --blocked", b"", 0);
    assert!(blocked.contains("no-password") && blocked.ends_with("  alice@chat.example\n"));
    let (words, _) = relay.words("enable alice@chat.example", b"", 0);
    assert!(words.contains("chatmail user password --config"), "{words}");
    relay.words("password alice@chat.example --stdin", b"correct horse", 0);
    assert_eq!(relay.state("alice"), "active");
    for words in ["disable", "enable"] {
        relay.json(&format!("{words} nobody@chat.example"), b"", 67);
    }
}

#[test]
fn cleartext_is_allowed_and_refused() {
    let relay = Relay::new();
    relay.create("alice");
    let allowed = relay.json("allow-cleartext alice@chat.example on", b"", 0);
    assert_eq!(
        (&allowed["result"], &allowed["cleartext"]),
        (&json!("changed"), &json!(true))
    );
    assert!(!relay.mailbox("alice").join("enforceE2EEincoming").exists());
    relay.words("allow-cleartext alice@chat.example off", b"", 0);
    assert!(relay.mailbox("alice").join("enforceE2EEincoming").exists());
    relay.words("allow-cleartext alice@chat.example perhaps", b"", 64);
}

#[test]
fn an_account_is_deleted_with_what_waits_for_its_devices() {
    let relay = Relay::new();
    for localpart in ["alice", "bob"] {
        relay.create(localpart);
    }
    let spool = relay.base.path().join("mail/pending_notifications");
    fs::create_dir(&spool).unwrap();
    for (name, localpart) in [("1", "alice"), ("2", "bob"), ("3", "alice")] {
        let content = format!("{localpart}@chat.example\n1775324677\ntoken");
        fs::write(spool.join(name), content).unwrap();
    }
    let (_, err) = relay.words("delete alice@chat.example", b"yes\n", 64);
    assert!(err.contains("--yes"), "{err}");
    assert!(relay.mailbox("alice").exists());
    let deleted = relay.json("delete alice@chat.example --yes", b"", 0);
    assert_eq!(deleted["result"], "deleted");
    let names = |path: PathBuf| {
        let entries = fs::read_dir(path).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(spool), ["2"]);
    let mail = names(relay.base.path().join("mail"));
    assert_eq!(
        mail,
        [".chatmail", "bob@chat.example", "pending_notifications"]
    );
    relay.json("delete alice@chat.example --yes", b"", 67);
}

#[test]
fn accounts_are_listed_by_filters() {
    let relay = Relay::new();
    for localpart in ["alice", "bob", "carol"] {
        relay.create(localpart);
    }
    let old = fs::File::open(relay.mailbox("bob").join("password")).unwrap();
    let day = Duration::from_secs(86_400);
    old.set_modified(SystemTime::now() - day * 40).unwrap();
    let size = "524288000S\n2097153 1\n";
    fs::write(relay.mailbox("carol").join("maildirsize"), size).unwrap();
    relay.words("disable alice@chat.example", b"", 0);
    fs::create_dir(relay.mailbox("torso")).unwrap();
    for (filter, expected) in [
        ("", &["alice", "bob", "carol"][..]),
        (" --blocked", &["alice"]),
        (" --inactive 39", &["bob"]),
        (" --inactive 42", &[]),
        (" --larger 2M", &["carol"]),
        (" --larger 3M", &[]),
    ] {
        let (out, _) = relay.words(&format!("list --json{filter}"), b"", 0);
        let address = |line: &str| serde_json::from_str::<Value>(line).unwrap()["address"].take();
        let mut found: Vec<_> = out.lines().map(address).collect();
        found.sort_by_key(ToString::to_string);
        let expected: Vec<_> = expected
            .iter()
            .map(|localpart| json!(format!("{localpart}@chat.example")))
            .collect();
        assert_eq!(found, expected, "{filter}");
    }
    // Who reads only the beginning has enough.
    let mut child = relay
        .command(&["list"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_list_of_many_accounts_is_quick() {
    const MANY: usize = 5000;
    let relay = Relay::new();
    for number in 0..MANY {
        let mailbox = relay.mailbox(&format!("user{number}"));
        fs::create_dir(&mailbox).unwrap();
        fs::write(mailbox.join("password"), "").unwrap();
    }
    let before = Instant::now();
    let (out, _) = relay.words("list", b"", 0);
    assert_eq!(out.lines().count(), MANY);
    // A hundred times what it needs.
    assert!(
        before.elapsed() < Duration::from_secs(10),
        "{:?}",
        before.elapsed()
    );
}

#[test]
fn an_account_moves_through_a_stream() {
    let relay = Relay::new();
    relay.create("alice");
    let folder = relay.mailbox("alice").join("cur");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("1775324677.M44P30.host,S=5:2,S"), "hello").unwrap();
    let export = relay.run(&["export", "alice@chat.example", "--json"], b"");
    assert!(export.status.success());
    let summary: Value = serde_json::from_slice(&export.stderr).unwrap();
    assert_eq!(
        (&summary["result"], &summary["messages"]),
        (&json!("exported"), &json!(1))
    );

    relay.json("import", &export.stdout, 73);
    let imported = relay.json("import --as bob@chat.example", &export.stdout, 0);
    assert_eq!(
        (&imported["address"], &imported["messages"]),
        (&json!("bob@chat.example"), &json!(1))
    );
    let message = relay
        .mailbox("bob")
        .join("cur/1775324677.M44P30.host,S=5:2,S");
    assert_eq!(fs::read(message).unwrap(), b"hello");
    let cut = &export.stdout[..export.stdout.len() / 2];
    let error = relay.json("import --as carol@chat.example", cut, 65);
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .starts_with("not a complete export")
    );
    assert!(!relay.mailbox("carol").exists());
    relay.words("export nobody@chat.example", b"", 67);
}

#[test]
fn what_root_makes_belongs_to_the_owner_of_the_mailboxes() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let nobody = 65_534;
    let relay = Relay::new();
    let mail = relay.base.path().join("mail");
    chown(&mail, Some(nobody), Some(nobody)).unwrap();
    chown(relay.base.path(), Some(nobody), Some(nobody)).unwrap();
    relay.create("alice");
    relay.words("disable alice@chat.example", b"", 0);
    relay.words("password alice@chat.example --generate", b"", 0);
    let export = relay.run(&["export", "alice@chat.example"], b"").stdout;
    relay.words("import --as bob@chat.example", &export, 0);
    let mut checked = 0;
    let mut directories = vec![mail];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::symlink_metadata(&path).unwrap();
            assert_eq!(
                (metadata.uid(), metadata.gid()),
                (nobody, nobody),
                "{path:?}"
            );
            let private = if metadata.is_dir() { 0o700 } else { 0o600 };
            assert_eq!(metadata.mode() & 0o777, private, "{path:?}");
            checked += 1;
            if metadata.is_dir() {
                directories.push(path);
            }
        }
    }
    assert!(checked > 8);
}

#[test]
fn people_are_invited() {
    let relay = Relay::new();
    let invite = relay.json("invite create --uses 3 --days 7", b"", 0);
    let token = invite["token"].as_str().unwrap();
    assert_eq!(
        (&invite["uses"], &invite["usable"]),
        (&json!(3), &json!(true))
    );
    let (link, _) = relay.words("invite create --unlimited", b"", 0);
    assert!(
        link.starts_with("dcaccount:https://chat.example/new?token="),
        "{link}"
    );
    let (list, _) = relay.words("invite list --json", b"", 0);
    assert_eq!(list.lines().count(), 2);
    let (list, _) = relay.words("invite list", b"", 0);
    assert!(
        list.contains(token) && list.contains("    0 of any    never"),
        "{list}"
    );
    relay.words(&format!("invite revoke {token}"), b"", 0);
    relay.json(&format!("invite revoke {token}"), b"", 67);
    let (list, _) = relay.words("invite list", b"", 0);
    assert!(!list.contains(token), "{list}");
    relay.words("invite create --uses 0", b"", 64);
}
