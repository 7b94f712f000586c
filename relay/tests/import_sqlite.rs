//! `chatmail import-sqlite`, with databases that Python makes.

#![allow(clippy::unwrap_used)]

mod mail_user;

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Instant;

use serde_json::{Value, json};
use tempfile::TempDir;

/// Of `correct horse`.
const HASH: &str = "{SHA512-CRYPT}$6$abcdefgh$OeYVHUxKb6EqWe4N4sGfWY3QnaRB1I7mLfTgZsYOy/qn719CSRdX9C52gDZ339K7zVnb5zkqzm2eYztkdL.kx0";

/// The table as relays made it.
const NEW: &str = "CREATE TABLE users (addr TEXT PRIMARY KEY, password TEXT, last_login INTEGER)";
const OLD: &str = "CREATE TABLE users (addr TEXT PRIMARY KEY, password TEXT)";

struct Relay {
    base: TempDir,
}

impl Relay {
    fn new() -> Relay {
        let base = tempfile::tempdir().unwrap();
        let path = |name| base.path().join(name).display().to_string();
        let ini = format!(
            "[params]\nmail_domain = chat.example\nmailboxes_dir = {}\npassdb_path = {}\n",
            path("mail"),
            path("passdb.sqlite")
        );
        fs::write(base.path().join("chatmail.ini"), ini).unwrap();
        Relay { base }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    fn mailbox(&self, localpart: &str) -> PathBuf {
        self.path(&format!("mail/{localpart}@chat.example"))
    }

    /// Runs Python with `db`, a connection to the database, and HASH. `None` without Python.
    fn python(&self, code: &str) -> Option<()> {
        let code = format!(
            "import sqlite3\ndb = sqlite3.connect({:?}, isolation_level=None)\nHASH = {HASH:?}\n{code}\n",
            self.path("passdb.sqlite").display().to_string()
        );
        let output = match Command::new("python3").args(["-c", &code]).output() {
            Ok(output) => output,
            Err(why) if std::env::var_os("CI").is_none() => {
                eprintln!("left out: python3: {why}");
                return None;
            }
            Err(why) => panic!("python3: {why}"),
        };
        assert!(output.status.success(), "{output:?}");
        Some(())
    }

    fn run(&self, options: &[&str]) -> Output {
        mail_user::hand_over(self.base.path());
        Command::new(env!("CARGO_BIN_EXE_chatmail"))
            .args(["import-sqlite", "--json", "--config"])
            .arg(self.path("chatmail.ini"))
            .args(options)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn json(&self, options: &[&str], code: i32) -> Value {
        let output = self.run(options);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn password(&self, localpart: &str) -> Option<String> {
        fs::read_to_string(self.mailbox(localpart).join("password")).ok()
    }

    fn last_login(&self, localpart: &str) -> i64 {
        let file = self.mailbox(localpart).join("password");
        fs::metadata(file).unwrap().mtime()
    }
}

#[test]
fn the_table_of_newer_relays_is_taken_over_with_its_last_logins() {
    let relay = Relay::new();
    let rows = r#"
rows = [("alice@chat.example", HASH, 1700000000), ("bob@chat.example", HASH, ""), ("carol@chat.example", HASH, None),
    ("dave@chat.example", HASH, "1700000000"), ("erin@chat.example", HASH, 1700000000.5), ("future@chat.example", HASH, 99999999999),
    ("exists@chat.example", HASH, 1), ("empty@chat.example", "", 5), ("null@chat.example", None, 5), ("plain@chat.example", "secret", 5),
    ("ci-abc@chat.example", HASH, 5), ("ac_def@chat.example", HASH, 5), ("alice@other.example", HASH, 5), ("../x@chat.example", HASH, 5)]
db.executemany("INSERT INTO users VALUES (?, ?, ?)", rows)
"#;
    let Some(()) = relay.python(&format!(
        "db.execute('PRAGMA journal_mode=wal')\ndb.execute('{NEW}')\n{rows}"
    )) else {
        return;
    };
    fs::create_dir_all(relay.mailbox("exists")).unwrap();
    fs::write(relay.mailbox("exists").join("password"), "theirs").unwrap();
    // What such a relay has of a user: mail, and no password.
    fs::create_dir_all(relay.mailbox("alice").join("cur")).unwrap();
    fs::write(relay.mailbox("alice").join("cur/1.M1P1.host:2,S"), "mail").unwrap();

    let dry = relay.json(&["--dry-run"], 0);
    assert_eq!(relay.password("alice"), None);
    let expected = json!({
        "rows": 14, "imported": 9, "blocked": 3, "existing": 1, "ci": 2, "foreign": 1, "invalid": [{
            "address": "../x@chat.example", "reason": "the localpart may hold only a-z, 0-9, '.', '_' and '-'"
        }], "renamed_to": null
    });
    assert_eq!(dry, expected);
    let mut done = relay.json(&[], 0);
    assert_eq!(
        done["renamed_to"].take(),
        json!(relay.path("passdb.sqlite.old"))
    );
    assert_eq!(done, expected);

    assert_eq!(relay.password("alice").as_deref(), Some(HASH));
    assert!(relay.mailbox("alice").join("cur/1.M1P1.host:2,S").exists());
    assert!(relay.mailbox("alice").join("enforceE2EEincoming").exists());
    let day = 1_700_000_000 - 1_700_000_000 % 86_400;
    for localpart in ["alice", "dave", "erin"] {
        assert_eq!(relay.last_login(localpart), day, "{localpart}");
    }
    let today = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let today = i64::try_from(today.unwrap().as_secs()).unwrap();
    for localpart in ["bob", "carol", "future"] {
        assert!(
            today - relay.last_login(localpart) < 2 * 86_400,
            "{localpart}"
        );
    }
    assert_eq!(relay.password("exists").as_deref(), Some("theirs"));
    assert_eq!(relay.password("empty").as_deref(), Some(""));
    assert_eq!(relay.password("null").as_deref(), Some(""));
    assert_eq!(fs::read_dir(relay.path("mail")).unwrap().count(), 10);
    assert!(!relay.path("passdb.sqlite").exists());
    assert_eq!(relay.json(&[], 0), Value::Null);
}

#[test]
fn an_address_that_no_account_may_have_is_listed_with_its_rule_and_not_imported() {
    let relay = Relay::new();
    let rows = "for a in ('.alice', 'alice.', '-alice', 'al+ice', 'exists+x', 'Bob', '\\x1b[2J'):\n    \
                db.execute('INSERT INTO users VALUES (?, ?)', (a + '@chat.example', HASH))";
    let Some(()) = relay.python(&format!("db.execute('{OLD}')\n{rows}")) else {
        return;
    };
    fs::create_dir_all(relay.mailbox("exists+x")).unwrap();
    fs::write(relay.mailbox("exists+x").join("password"), "theirs").unwrap();
    let dry = relay.json(&["--dry-run"], 0);
    let invalid: Vec<_> = dry["invalid"].as_array().unwrap().iter().collect();
    let address = |row: &&Value| row["address"].as_str().unwrap().to_owned();
    assert_eq!(
        invalid.iter().map(address).collect::<Vec<_>>(),
        [".alice", "alice.", "-alice", "al+ice", "\\u{1b}[2J"]
            .map(|name| format!("{name}@chat.example"))
    );
    let reason = invalid[2]["reason"].as_str().unwrap();
    assert!(
        reason.contains("must not begin with '.' or '-'"),
        "{reason}"
    );

    let output = Command::new(env!("CARGO_BIN_EXE_chatmail"))
        .args(["import-sqlite", "--config"])
        .arg(relay.path("chatmail.ini"))
        .output()
        .unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(
        words.contains("\n5 cannot be imported; their users need other addresses:\n"),
        "{words}"
    );
    assert!(
        words.contains(&format!("\n  -alice@chat.example: {reason}\n")),
        "{words}"
    );
    assert_eq!(relay.password("bob").as_deref(), Some(HASH));
    assert_eq!(relay.password("exists+x").as_deref(), Some("theirs"));
    for odd in [".alice", "alice.", "-alice", "al+ice"] {
        assert!(!relay.mailbox(odd).exists(), "{odd}");
    }
}

#[test]
fn the_table_of_older_relays_has_no_last_logins() {
    let relay = Relay::new();
    let code = format!(
        "db.execute('{OLD}')\ndb.execute('INSERT INTO users VALUES (?, ?)', ('alice@chat.example', HASH))"
    );
    let Some(()) = relay.python(&code) else {
        return;
    };
    assert_eq!(relay.json(&[], 0)["imported"], 1);
    assert_eq!(relay.password("alice").as_deref(), Some(HASH));
}

#[test]
fn what_was_interrupted_goes_on_where_it_ended() {
    let relay = Relay::new();
    let code = format!(
        "db.execute('{OLD}')\nfor i in range(50): db.execute('INSERT INTO users VALUES (?, ?)', (f'user{{i}}@chat.example', HASH))"
    );
    let Some(()) = relay.python(&code) else {
        return;
    };
    // As a kill leaves it: some done, one begun.
    for number in 0..20 {
        let mailbox = relay.mailbox(&format!("user{number}"));
        fs::create_dir_all(&mailbox).unwrap();
        fs::write(mailbox.join("password"), HASH).unwrap();
    }
    fs::create_dir_all(relay.mailbox("user20")).unwrap();
    fs::write(relay.mailbox("user20").join("password.tmp-adopted"), "").unwrap();
    let done = relay.json(&[], 0);
    assert_eq!(
        (&done["imported"], &done["existing"]),
        (&json!(30), &json!(20))
    );
    assert_eq!(relay.password("user20").as_deref(), Some(HASH));
}

#[test]
fn a_write_ahead_log_that_was_left_is_read_and_kept() {
    let relay = Relay::new();
    // The process ends without closing the database.
    let code = format!(
        "import os\ndb.execute('PRAGMA journal_mode=wal')\ndb.execute('{OLD}')\ndb.execute('INSERT INTO users VALUES (?, ?)', ('alice@chat.example', HASH))\nos._exit(0)"
    );
    let Some(()) = relay.python(&code) else {
        return;
    };
    assert!(relay.path("passdb.sqlite-wal").exists());
    assert_eq!(relay.json(&[], 0)["imported"], 1);
    for name in ["passdb.sqlite", "passdb.sqlite-wal", "passdb.sqlite-shm"] {
        assert!(!relay.path(name).exists(), "{name}");
    }
    assert!(relay.path("passdb.sqlite.old").exists());
    assert!(relay.path("passdb.sqlite.old-wal").exists());
}

#[test]
fn a_database_that_cannot_be_used_is_left_where_it_is() {
    let insert = "db.executemany('INSERT INTO users VALUES (?, ?)', [(f'user{i}@chat.example', HASH) for i in range(2000)])";
    let damage = "db.close()\nf = open(path, 'r+b')\nf.seek(4096 * 5)\nf.write(b'\\x55' * 4096 * 20)\nf.close()";
    let cases = [
        (
            "db.execute('CREATE TABLE other (a)')".to_owned(),
            "there is no users(addr, password)",
        ),
        (
            "db.execute('CREATE TABLE users (name TEXT)')".to_owned(),
            "there is no users(addr, password)",
        ),
        (
            format!(
                "db.execute('{OLD}')\ndb.execute('INSERT INTO users VALUES (?, ?)', ('a@other.example', HASH))"
            ),
            "no address of this relay",
        ),
        (
            format!(
                "db.execute('{OLD}')\n{insert}\npath = db.execute('PRAGMA database_list').fetchone()[2]\n{damage}"
            ),
            "damaged",
        ),
    ];
    for (code, why) in cases {
        let relay = Relay::new();
        let Some(()) = relay.python(&code) else {
            return;
        };
        let before = fs::read(relay.path("passdb.sqlite")).unwrap();
        let error = relay.json(&[], 65);
        let text = error["error"].as_str().unwrap();
        assert!(
            text.contains("passdb.sqlite: ") && text.contains(why),
            "{text}"
        );
        assert!(!relay.path("mail").exists(), "{why}");
        assert_eq!(fs::read(relay.path("passdb.sqlite")).unwrap(), before);
    }
    let relay = Relay::new();
    fs::write(
        relay.path("passdb.sqlite"),
        "text, and not at all a database of SQLite".repeat(40),
    )
    .unwrap();
    let error = relay.json(&[], 65);
    assert!(
        error["error"]
            .as_str()
            .unwrap()
            .contains("not a SQLite database"),
        "{error}"
    );
}

#[test]
fn an_older_database_is_not_overwritten() {
    let relay = Relay::new();
    let code = format!(
        "db.execute('{OLD}')\ndb.execute('INSERT INTO users VALUES (?, ?)', ('alice@chat.example', HASH))"
    );
    let Some(()) = relay.python(&code) else {
        return;
    };
    fs::write(relay.path("passdb.sqlite.old"), "older").unwrap();
    let error = relay.json(&[], 73);
    assert!(
        error["error"].as_str().unwrap().contains("in the way"),
        "{error}"
    );
    assert_eq!(relay.password("alice"), None);
    assert_eq!(fs::read(relay.path("passdb.sqlite.old")).unwrap(), b"older");
}

#[test]
fn ten_thousand_accounts_take_seconds() {
    let relay = Relay::new();
    let code = format!(
        "db.execute('{NEW}')\ndb.execute('BEGIN')\ndb.executemany('INSERT INTO users VALUES (?, ?, ?)', [(f'user{{i}}@chat.example', HASH, 1700000000 + i) for i in range(10000)])\ndb.execute('COMMIT')"
    );
    let Some(()) = relay.python(&code) else {
        return;
    };
    let before = Instant::now();
    let done = relay.json(&[], 0);
    let took = before.elapsed();
    println!("10000 accounts in {took:?}");
    assert_eq!(done["imported"], 10_000);
    // Seconds on a disk that has nothing else to do.
    assert!(took.as_secs() < 300, "{took:?}");
    assert_eq!(relay.password("user9999").as_deref(), Some(HASH));
}
