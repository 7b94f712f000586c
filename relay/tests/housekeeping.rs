//! `chatmail expire` and `chatmail usage` through the command: the same verdicts as those of a script that has
//! the rules once more, kills, exit codes.

#![allow(clippy::unwrap_used)]

mod mail_user;
#[path = "housekeeping/tree.rs"]
mod tree;

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::{Value, json};
use tree::Tree;

#[derive(Clone, Copy)]
enum Rules {
    Ours,
    /// The script's.
    Plain,
}

fn command(tree: &Tree, words: &[&str]) -> Command {
    mail_user::hand_over(tree.base());
    let (name, options) = words.split_first().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatmail"));
    command
        .arg(name)
        .arg("--config")
        .arg(tree.config())
        .args(options)
        .stdin(Stdio::null());
    command
}

fn run(tree: &Tree, words: &[&str]) -> Output {
    command(tree, words).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn answer(output: &Output) -> Value {
    let shown = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

fn ask(tree: &Tree, rules: Rules, words: &[&str]) -> Value {
    let output = match rules {
        Rules::Ours => {
            let mut words = words.to_vec();
            words.push("--json");
            if words.contains(&"--remove") {
                words.push("--force");
            }
            run(tree, &words)
        }
        Rules::Plain => {
            let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/housekeeping/rules.py");
            let mut python = Command::new("python3");
            python
                .arg(script)
                .arg(words[0])
                .arg(tree.dir())
                .arg(tree::DOMAIN);
            if words[0] == "expire" {
                python.args(["20", "7", "90"]);
            }
            python.args(&words[1..]).output().unwrap()
        }
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    answer(&output)
}

/// Those parts of an answer that the other one has, too.
fn common(mut answer: Value, other: &Value) -> Value {
    if let (Value::Object(answer), Value::Object(other)) = (&mut answer, other) {
        answer.retain(|key, _| other.contains_key(key));
    }
    answer
}

fn has_python() -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok();
    assert!(
        there || std::env::var_os("CI").is_none(),
        "python3 is not installed"
    );
    if !there {
        eprintln!("left out: python3 is not installed (Debian: apt install python3)");
    }
    there
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 100, ..ProptestConfig::default() })]

    #[test]
    fn both_readings_of_the_rules_agree(mailboxes in prop::collection::vec(tree::mailbox(), 0..8)) {
        if !has_python() {
            return Ok(());
        }
        let [ours, theirs] = [(); 2].map(|()| Tree::of(&mailboxes));
        let before = ours.files();
        prop_assert_eq!(&before, &theirs.files());

        let plain = ask(&theirs, Rules::Plain, &["usage"]);
        prop_assert_eq!(common(ask(&ours, Rules::Ours, &["usage"]), &plain), plain);

        let plain = ask(&theirs, Rules::Plain, &["expire"]);
        prop_assert_eq!(common(ask(&ours, Rules::Ours, &["expire"]), &plain), plain);
        prop_assert_eq!(&ours.files(), &before);

        let plain = ask(&theirs, Rules::Plain, &["expire", "--remove"]);
        prop_assert_eq!(common(ask(&ours, Rules::Ours, &["expire", "--remove"]), &plain), plain);
        prop_assert_eq!(ours.files(), theirs.files());
    }
}

#[test]
fn a_dry_run_tells_and_a_real_one_removes_and_counts() {
    let tree = Tree::new();
    tree.account("alice", 0);
    tree.account("bob", 100);
    for number in 0..10 {
        tree.message("alice", "cur", number * 3, 1000);
    }
    fs::create_dir(tree.mailbox("torso")).unwrap();
    let before = tree.files();
    let output = run(&tree, &["expire"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(code(&output), 0);
    assert!(text.contains("             3  old messages\n"), "{text}");
    assert!(text.contains("Nothing was changed"), "{text}");
    assert!(output.stderr.is_empty());
    assert_eq!(tree.files(), before);

    let output = run(&tree, &["expire", "--remove", "--json"]);
    let expected = json!({
        "dry_run": false,
        "mailboxes": 3,
        "removed": {"mailboxes": 1, "empty_directories": 1, "messages": 3, "large_messages": 0, "bytes": 3000},
        "no_account": 0,
        "failed": 0,
        "doubt": null,
    });
    assert_eq!((code(&output), answer(&output)), (0, expected));
    let counters = fs::read_to_string(tree.dir().join(".chatmail/counters")).unwrap();
    let counted = |name: &str| {
        let line = counters.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap().trim().to_owned()
    };
    assert_eq!(counted("chatmail_expired_total{what=\"messages\"}"), "3");
    assert_eq!(counted("chatmail_expired_total{what=\"mailboxes\"}"), "1");
    assert_eq!(counted("chatmail_expired_bytes_total"), "3000");
}

#[test]
fn a_clock_that_is_years_ahead_removes_nothing_unless_it_is_forced() {
    let tree = Tree::new();
    for name in ["alice", "bob"] {
        tree.account(name, 400);
        tree.message(name, "cur", 400, 1000);
    }
    let before = tree.files();
    let output = run(&tree, &["expire", "--json"]);
    assert_eq!(code(&output), 0);
    let doubt = answer(&output)["doubt"].to_string();
    assert!(
        doubt.contains("nobody has logged in for 400 days"),
        "{doubt}"
    );

    let output = run(&tree, &["expire", "--remove"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code(&output), 1, "{said}");
    assert!(said.contains("--force"), "{said}");
    let mut after = tree.files();
    after.retain(|line| !line.contains(".chatmail"));
    assert_eq!(after, before);

    assert_eq!(code(&run(&tree, &["expire", "--force"])), 64);
    let output = run(&tree, &["expire", "--remove", "--force", "--json"]);
    assert_eq!(answer(&output)["removed"]["mailboxes"], 2);
}

#[test]
fn a_mailbox_that_cannot_be_worked_on_is_named_and_the_others_go_on() {
    let tree = Tree::new();
    for name in ["alice", "bob", "carol"] {
        tree.account(name, 0);
        tree.message(name, "cur", 21, 1000);
    }
    // Whoever reads this, root included.
    let password = tree.mailbox("bob").join("password");
    fs::remove_file(&password).unwrap();
    symlink("password", &password).unwrap();
    tree.message("torso", "cur", 21, 1000);
    let output = run(&tree, &["expire", "--remove", "--json"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(code(&output), 75, "{said}");
    let answer = answer(&output);
    assert_eq!(
        (&answer["failed"], &answer["no_account"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(answer["removed"]["messages"], 2);
    assert!(said.contains("bob@chat.test: "), "{said}");
    assert!(
        said.contains("torso@chat.test: holds files but no password"),
        "{said}"
    );
    let output = run(&tree, &["usage", "--json"]);
    assert_eq!(code(&output), 75);
    assert_eq!(self::answer(&output)["unreadable"], 1);
}

#[test]
fn a_directory_nobody_may_read_is_named_and_the_others_go_on() {
    let tree = Tree::new();
    for name in ["alice", "bob"] {
        tree.account(name, 0);
        tree.message(name, "cur", 21, 1000);
    }
    let cur = tree.mailbox("bob").join("cur");
    fs::set_permissions(&cur, fs::Permissions::from_mode(0o000)).unwrap();
    let output = run(&tree, &["expire", "--remove", "--json"]);
    fs::set_permissions(&cur, fs::Permissions::from_mode(0o700)).unwrap();
    assert_eq!(code(&output), 75);
    assert_eq!(answer(&output)["removed"]["messages"], 1);
}

#[test]
fn a_run_that_is_killed_is_finished_by_the_next_one() {
    for round in 0..8 {
        let tree = Tree::new();
        tree.account("alice", 0);
        for number in 0..8 {
            let name = format!("user{number}");
            tree.account(&name, 100);
            for message in 0..200 {
                tree.message(&name, "cur", message, 1000);
            }
        }
        let words = ["expire", "--remove", "--json"];
        let mut child = command(&tree, &words)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Somewhere on its way: at once, or after some mailboxes.
        let gone = |tree: &Tree| 9 - tree.accounts();
        let end = Instant::now() + Duration::from_secs(20);
        while gone(&tree) < round && Instant::now() < end {
            thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        // What is left is whole, or out of sight.
        for name in tree.names() {
            if name.contains('@') && !name.starts_with("alice") {
                let mailbox = tree.dir().join(&name);
                assert!(mailbox.join("password").exists(), "{name}");
                assert_eq!(fs::read_dir(mailbox.join("cur")).unwrap().count(), 200);
            }
        }
        let left = tree.accounts() - 1;
        let output = run(&tree, &words);
        assert_eq!(
            code(&output),
            0,
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        assert_eq!(answer(&output)["removed"]["mailboxes"], left);
        assert_eq!(tree.names(), [".chatmail", "alice@chat.test"]);
    }
}

#[test]
fn two_runs_at_a_time_are_not_possible() {
    let tree = Tree::new();
    tree.account("alice", 0);
    assert_eq!(code(&run(&tree, &["expire", "--remove"])), 0);
    let lock = fs::File::open(tree.dir().join(".chatmail/expiry")).unwrap();
    lock.lock().unwrap();
    let output = run(&tree, &["expire", "--remove"]);
    assert_eq!(code(&output), 75);
    assert!(String::from_utf8_lossy(&output.stderr).contains("another process"));
    // Nothing is changed by a dry run, which may look at any time.
    assert_eq!(code(&run(&tree, &["expire"])), 0);
    drop(lock);
    assert_eq!(code(&run(&tree, &["expire", "--remove"])), 0);
}

#[test]
fn no_mailboxes_at_all_is_a_temporary_failure() {
    let tree = Tree::new();
    fs::remove_dir(tree.dir()).unwrap();
    for words in [&["expire"][..], &["expire", "--remove"], &["usage"]] {
        let output = run(&tree, words);
        assert_eq!(code(&output), 75);
        assert!(String::from_utf8_lossy(&output.stderr).contains("/mail"));
    }
    assert!(!tree.dir().exists());
}

#[test]
fn the_report_is_written_where_it_is_wanted() {
    let tree = Tree::new();
    tree.account("alice", 0);
    tree.account("ci-1", 0);
    tree.message("alice", "cur", 2, 600_000);
    let out = tree.base().join("out");
    fs::create_dir(&out).unwrap();
    let legacy = out.join("metrics");
    let words = [
        "usage",
        "--textfile",
        out.to_str().unwrap(),
        "--legacy-metrics",
        legacy.to_str().unwrap(),
    ];
    let output = run(&tree, &words);
    assert_eq!((code(&output), output.stdout.len()), (0, 0));
    let textfile = out.join("fsreport.prom");
    let text = fs::read_to_string(&textfile).unwrap();
    assert!(
        text.contains("\nchatmail_accounts{kind=\"user\"} 1\n"),
        "{text}"
    );
    assert!(
        text.contains("\nchatmail_messages_bytes{min_size=\"524288\"} 600000\n"),
        "{text}"
    );
    assert!(
        fs::read_to_string(&legacy)
            .unwrap()
            .contains("\nci_accounts 1\n")
    );
    assert_eq!(fs::metadata(&textfile).unwrap().mode() & 0o777, 0o644);
    assert_eq!(fs::read_dir(&out).unwrap().count(), 2);

    let output = run(&tree, &["usage"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.contains("Messages by age"), "{text}");
    let output = run(&tree, &["usage", "--textfile", "/nonexistent/x.prom"]);
    assert_eq!(code(&output), 73);
}

#[test]
fn memory_does_not_grow_with_the_number_of_messages() {
    if !has_python() {
        return;
    }
    let tree = Tree::new();
    tree.account("alice", 0);
    for number in 0..30_000 {
        tree.message("alice", "cur", 1 + number % 19, 1000 + number);
    }
    // ru_maxrss of a child is that of whoever started it, until exec.
    let script = "import os, sys; pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ); \
                  _, status, usage = os.wait4(pid, 0); print(usage.ru_maxrss); sys.exit(status != 0)";
    for words in [["expire", "--json"], ["usage", "--json"]] {
        let ours = command(&tree, &words);
        let output = Command::new("python3")
            .args(["-c", script])
            .arg(ours.get_program())
            .args(ours.get_args())
            .output()
            .unwrap();
        assert!(output.status.success());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let peak: u64 = text.lines().last().unwrap().parse().unwrap();
        assert!(peak < 16 * 1024, "{words:?}: {peak} KiB");
    }
}
