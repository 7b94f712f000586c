//! Every command that reads `chatmail.ini` warns of likely mistakes in it.

#![allow(clippy::unwrap_used)]

mod mail_user;

use std::fs;
use std::process::Command;

#[test]
fn every_command_that_reads_the_configuration_shows_its_warnings() {
    let base = tempfile::tempdir().unwrap();
    let path = |name: &str| base.path().join(name).display().to_string();
    let ini = path("chatmail.ini");
    let text = format!(
        "[params]\nmail_domain = chat.example\nmailboxes_dir = {}\npassdb_path = {}\n\
         imap_rawlog = yes\ndelete_large_after = 0\nkey_of_the_future = 1\n",
        path("mail"),
        path("no.sqlite")
    );
    fs::write(&ini, text).unwrap();
    fs::create_dir(path("mail")).unwrap();
    fs::write(path("empty.eml"), "").unwrap();
    fs::write(path("layout.json"), r#"{"dovecot": {"version": "2.3"}}"#).unwrap();
    mail_user::hand_over(base.path());
    for command in [
        "render --layout layout.json --out out",
        "check --config chatmail.ini --incoming empty.eml",
        "expire",
        "usage",
        "user list",
        "user create --generate",
        "user show bob@chat.example",
        "user invite list",
        "import-sqlite",
        "test --address bob@other.example --password-file empty.eml",
    ] {
        let mut words: Vec<&str> = command.split(' ').collect();
        if !words.contains(&"--config") {
            words.extend(["--config", "chatmail.ini"]);
        }
        let output = Command::new(env!("CARGO_BIN_EXE_chatmail"))
            .args(words)
            .current_dir(base.path())
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let warnings: Vec<&str> = said
            .lines()
            .filter_map(|line| line.strip_prefix("chatmail: warning: chatmail.ini: "))
            .collect();
        let [large, rawlog, unknown] = warnings[..] else {
            panic!("{command}: {said}");
        };
        assert!(large.starts_with("delete_large_after = \"0\": "), "{large}");
        assert!(rawlog.starts_with("imap_rawlog = \"yes\": "), "{rawlog}");
        assert_eq!(unknown, "unknown key key_of_the_future");
    }
}
