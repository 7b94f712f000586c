//! The addresses that `chatmail user` accepts for accounts, and its errors for others.

use std::fs;
use std::process::Output;

use super::Relay;

/// Localparts that mail servers accept only in quotes, or not at all, and the rule that each breaks.
const UNFIT: [(&str, &str); 17] = [
    (".abcdefgh", "must not begin with '.'"),
    ("abcdefgh.", "end with '.'"),
    ("-abcdefgh", "or '-'"),
    ("abc..efgh", "or hold '..'"),
    ("al+ice", "may hold only a-z"),
    ("al'ice", "may hold only a-z"),
    ("al=ice", "may hold only a-z"),
    ("al#ice", "may hold only a-z"),
    ("al!ice", "may hold only a-z"),
    ("al~ice", "may hold only a-z"),
    ("al&ice", "may hold only a-z"),
    ("al%ice", "may hold only a-z"),
    ("{alice}", "may hold only a-z"),
    ("al/ice", "may hold only a-z"),
    ("al@ice", "may hold only a-z"),
    ("älice", "may hold only a-z"),
    (
        "a23456789b123456789c123456789d123456789e123456789f123456789g12345",
        "1 to 64 characters",
    ),
];

#[track_caller]
fn refused(output: &Output, words: [&str; 3]) {
    let error = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(output.status.code(), Some(64), "{error}");
    for word in words {
        assert!(error.contains(word), "no {word:?} in {error}");
    }
    assert_eq!(output.stdout, b"");
}

#[test]
fn an_address_that_could_not_be_used_is_refused_with_its_rule_and_a_remedy() {
    let relay = Relay::new();
    relay.create("alice");
    let stream = relay.run(&["export", "alice@chat.example"], b"").stdout;
    for (localpart, rule) in UNFIT {
        let address = format!("{localpart}@chat.example");
        let said = [&format!("{address}: "), rule, "choose another address"];
        let created = relay.run(&["create", "--generate", "--", &address], b"");
        refused(&created, said);
        let imported = relay.run(&["import", &format!("--as={address}")], &stream);
        refused(&imported, said);
    }
    let mail = fs::read_dir(relay.base.path().join("mail")).unwrap();
    let accounts = mail.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_string_lossy().contains('@')
    });
    assert_eq!(accounts.count(), 1);
}

#[test]
fn an_account_is_made_in_lower_case() {
    let relay = Relay::new();
    relay.create("Bob.B_b-2");
    assert!(relay.mailbox("bob.b_b-2").join("password").exists());
    let stream = relay.run(&["export", "BOB.b_b-2@chat.example"], b"").stdout;
    relay.words("import --as Carol@Chat.Example", &stream, 0);
    assert!(relay.mailbox("carol").join("password").exists());
}

#[test]
fn an_account_with_an_older_name_is_managed_and_moves_to_a_new_one() {
    let relay = Relay::new();
    for odd in [".alice", "-alice", "al+ice", "{alice}"] {
        relay.create("alice");
        fs::rename(relay.mailbox("alice"), relay.mailbox(odd)).unwrap();
        let address = format!("{odd}@chat.example");
        for command in ["show", "disable", "enable"] {
            let output = relay.run(&[command, "--", &address], b"");
            assert!(output.status.success(), "{command} {odd}: {output:?}");
        }
        let stream = relay.run(&["export", "--", &address], b"").stdout;
        fs::rename(relay.mailbox(odd), relay.base.path().join("away")).unwrap();
        let imported = relay.run(&["import"], &stream);
        refused(
            &imported,
            [&format!("{address}: "), "the localpart m", "--as names"],
        );
        assert!(!relay.mailbox(odd).exists());
        relay.words("import --as bob@chat.example", &stream, 0);
        for name in ["mail/bob@chat.example", "away"] {
            fs::remove_dir_all(relay.base.path().join(name)).unwrap();
        }
    }
}

#[test]
fn no_address_in_a_stream_reaches_the_terminal_as_it_is() {
    let relay = Relay::new();
    relay.create("alice");
    let mut stream = relay.run(&["export", "alice@chat.example"], b"").stdout;
    let at = stream.windows(5).position(|five| five == b"alice").unwrap();
    // In JSON; as long as the name it takes the place of.
    stream.splice(at..at + 11, *b"\\u001b[2J@x");
    let output = relay.run(&["import"], &stream);
    refused(
        &output,
        ["\\u{1b}[2J", "not an address of this relay", "--as names"],
    );
}
