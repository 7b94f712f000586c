use super::*;
use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

struct Relay {
    dir: TempDir,
    policy: Policy,
}

impl Relay {
    fn with(lines: &str) -> Relay {
        let dir = tempfile::tempdir().unwrap();
        let policy = Policy::new(&config(&dir, lines)).unwrap();
        Relay { dir, policy }
    }

    fn mailbox(&self, address: &str) -> PathBuf {
        let path = self.dir.path().join("mail").join(address);
        fs::create_dir_all(&path).unwrap();
        let password = chatmail_core::auth::hash_password(b"correct horse").unwrap();
        fs::write(path.join("password"), password).unwrap();
        path
    }

    fn recipient(&self, address: &str) -> Option<String> {
        match self.policy.addressee(address.as_bytes()) {
            Addressee::Ours(address) => refused(self.policy.may_receive(address.as_ref())),
            other => Some(format!("{other:?}")),
        }
    }

    fn sender(&self, address: &str) -> Option<String> {
        refused(self.policy.may_send(address.as_bytes()))
    }
}

fn config(dir: &TempDir, lines: &str) -> Config {
    let mail = dir.path().join("mail");
    let text = format!(
        "[params]\nmail_domain = chat.test\nmailboxes_dir = {}\ndkim = false\n{lines}\n",
        mail.display()
    );
    Config::parse("chatmail.ini".as_ref(), &text).unwrap()
}

/// The reason and the reply of a refusal.
fn refused(answer: Result<(), Refused>) -> Option<String> {
    let refused = answer.err()?;
    Some(format!("{}: {}", refused.reason, refused.reply))
}

const UNKNOWN: &str = "unknown: 550 5.1.1 No such mailbox";
const DISABLED: &str = "disabled: 550 5.7.1 This account is disabled";
const LATER: &str = "undecided: 451 4.3.0 Temporary failure, try again later";

#[test]
fn mail_to_an_account_passes_however_its_address_is_written() {
    let relay = Relay::with("");
    relay.mailbox("alice@chat.test");
    for address in [
        "alice@chat.test",
        "Alice@Chat.TEST",
        "alice+news@chat.test",
        "ALICE+a+b@chat.test",
        "alice+@chat.test",
        "alice",
        "alice+news",
        "\"alice\"@chat.test",
        "alice@chat.test.",
        "@elsewhere.test:alice@chat.test",
    ] {
        assert_eq!(relay.recipient(address), None, "{address}");
    }
}

#[test]
fn mail_to_an_address_of_ours_without_an_account_is_refused() {
    let relay = Relay::with("");
    relay.mailbox("alice@chat.test");
    // Mail, but no password: no account.
    fs::create_dir_all(relay.dir.path().join("mail/torso@chat.test/cur")).unwrap();
    for address in [
        "bob@chat.test",
        "alic@chat.test",
        "bob+alice@chat.test",
        "+alice@chat.test",
        "torso@chat.test",
        // What Postfix makes one of.
        "bob",
        "\"bob\"@chat.test",
        "bob@chat.test.",
        "@elsewhere.test:bob@chat.test",
        // Names that no mailbox can have.
        "@chat.test",
        "../../etc@chat.test",
        "\"b ob\"@chat.test",
        "b\0ob@chat.test",
        "bób@chat.test",
    ] {
        assert_eq!(
            relay.recipient(address).as_deref(),
            Some(UNKNOWN),
            "{address}"
        );
    }
}

#[test]
fn addresses_that_are_not_ours_are_for_others_to_judge() {
    let relay = Relay::with("");
    let elsewhere = Some("Elsewhere");
    for address in [
        "bob@elsewhere.test",
        "bob@chat.test.elsewhere.test",
        "bob@chat.test@elsewhere.test",
        "@chat.test:bob@elsewhere.test",
        "bob@[203.0.113.7]",
        "b\0ób@elsewhere.test",
    ] {
        assert_eq!(relay.recipient(address).as_deref(), elsewhere, "{address}");
    }
    let addressee = relay.policy.addressee(b"b\xffob@elsewhere.test");
    assert_eq!(addressee, Addressee::Elsewhere);
}

#[test]
fn a_disabled_account_neither_receives_nor_sends() {
    let relay = Relay::with("");
    fs::write(relay.mailbox("alice@chat.test").join("DISABLED"), "").unwrap();
    for address in [
        "alice@chat.test",
        "Alice+x@CHAT.test",
        "\"alice\"@chat.test.",
    ] {
        assert_eq!(
            relay.recipient(address).as_deref(),
            Some("disabled: 550 5.1.1 No such mailbox")
        );
    }
    assert_eq!(relay.sender("Alice@chat.test").as_deref(), Some(DISABLED));
    // So is an account whose password matches nothing; the operator must repair a truncated password.
    let password = relay.mailbox("bob@chat.test").join("password");
    for (content, receives, sends) in [
        ("", "disabled: 550 5.1.1 No such mailbox", Some(DISABLED)),
        ("!", "disabled: 550 5.1.1 No such mailbox", Some(DISABLED)),
        ("{SHA512-CRYPT}$6$salt$half", LATER, None),
    ] {
        fs::write(&password, content).unwrap();
        assert_eq!(relay.recipient("bob@chat.test").as_deref(), Some(receives));
        assert_eq!(relay.sender("bob@chat.test").as_deref(), sends, "{content}");
    }
}

#[test]
fn a_mailbox_is_full_when_it_holds_what_it_may() {
    let relay = Relay::with("max_mailbox_size = 1M");
    let maildirsize = relay.mailbox("alice@chat.test").join("maildirsize");
    assert_eq!(relay.recipient("alice@chat.test"), None);
    fs::write(&maildirsize, "1048576S\n1048575 7\n").unwrap();
    assert_eq!(relay.recipient("alice@chat.test"), None);
    fs::write(&maildirsize, "1048576S\n1048575 7\n1 1\n").unwrap();
    assert_eq!(
        relay.recipient("alice@chat.test").as_deref(),
        Some("over-quota: 552 5.2.2 Mailbox is full")
    );
    // A full mailbox still sends, and a larger one has room again.
    assert_eq!(relay.sender("alice@chat.test"), None);
    relay
        .policy
        .replace(&config(&relay.dir, "max_mailbox_size = 2M"))
        .unwrap();
    assert_eq!(relay.recipient("alice@chat.test"), None);
    // What Dovecot will count anew stops nobody.
    fs::write(&maildirsize, "1048576S\nnonsense\n").unwrap();
    assert_eq!(relay.recipient("alice@chat.test"), None);
}

#[test]
fn what_cannot_be_told_is_put_off() {
    let relay = Relay::with("");
    let mailbox = relay.mailbox("alice@chat.test");
    fs::create_dir(mailbox.join("maildirsize")).unwrap();
    assert_eq!(relay.recipient("alice@chat.test").as_deref(), Some(LATER));
    // A file where a directory should be.
    fs::write(relay.dir.path().join("mail/bob@chat.test"), "").unwrap();
    assert_eq!(relay.recipient("bob@chat.test").as_deref(), Some(LATER));
    assert_eq!(relay.sender("bob@chat.test").as_deref(), Some(LATER));
}

#[test]
fn case_opens_no_second_bucket() {
    let relay = Relay::with("max_user_send_per_minute = 1\nmax_user_send_burst_size = 2");
    assert_eq!(relay.sender("alice@chat.test"), None);
    assert_eq!(relay.sender("Alice@chat.test"), None);
    assert_eq!(
        relay.sender("ALICE@Chat.test").as_deref(),
        Some("rate-limit: 450 4.7.1: Too much mail from <ALICE@Chat.test>")
    );
    assert_eq!(relay.sender("bob@chat.test"), None);
}

#[test]
fn a_disabled_account_uses_up_no_rate() {
    let relay = Relay::with("max_user_send_per_minute = 1\nmax_user_send_burst_size = 1");
    let disabled = relay.mailbox("alice@chat.test").join("DISABLED");
    fs::write(&disabled, "").unwrap();
    assert!(relay.sender("alice@chat.test").is_some());
    fs::remove_file(&disabled).unwrap();
    assert_eq!(relay.sender("alice@chat.test"), None);
}

#[test]
fn only_a_changed_rate_lets_senders_start_afresh() {
    let relay = Relay::with("max_user_send_per_minute = 1\nmax_user_send_burst_size = 1");
    assert_eq!(relay.sender("alice@chat.test"), None);
    let same = "max_user_send_per_minute = 1\nmax_user_send_burst_size = 1\nmax_mailbox_size = 1";
    relay.policy.replace(&config(&relay.dir, same)).unwrap();
    assert!(relay.sender("alice@chat.test").is_some());
    relay
        .policy
        .replace(&config(&relay.dir, "max_user_send_burst_size = 5"))
        .unwrap();
    assert_eq!(relay.sender("alice@chat.test"), None);
}
