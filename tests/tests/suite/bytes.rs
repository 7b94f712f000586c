//! Any bytes in a user name, a password, a key, a value or a message: an answer, and nothing else.
//!
//! The bytes are the same in each run. A failing test prints its seed; set `CHATMAIL_TEST_SEED` to
//! another one for other bytes.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::Mutex;
use std::thread;

use chatmail_tests::imap::{Imap, Security};
use chatmail_tests::instance::Account;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::odd::Odd;
use chatmail_tests::services;
use chatmail_tests::smtp::{Door, Smtp};
use chatmail_tests::{Instance, Mail};

/// Tries per test.
const TRIES: usize = 300;

/// Dovecot makes those wait who cannot say their password.
const NO_WAITING: &str = "auth_failure_delay = 0";

#[test]
fn any_user_name_and_password_is_let_in_or_refused() {
    let relay = Instance::with()
        .param("max_network_signups_per_hour", 10_000)
        .dovecot_settings(NO_WAITING)
        .start();
    let mut odd = Odd::new(1);
    let tries: Vec<_> = (0..TRIES)
        .map(|_| {
            let name = format!("{}@{}", odd.letters(9), relay.endpoints().domain);
            let address = odd.near(name.as_bytes());
            (name, address, odd.near(b"correct horse"))
        })
        .collect();
    // Refusals take half a second all the same; they may take it together.
    let answers = Mutex::new(BTreeMap::new());
    thread::scope(|scope| {
        for some in tries.chunks(TRIES / 12) {
            let (relay, answers) = (&relay, &answers);
            scope.spawn(move || {
                for (number, (name, address, password)) in some.iter().enumerate() {
                    let door = ["LOGIN", "AUTHENTICATE", "AUTH"][number % 3];
                    let let_in = log_in(relay, door, name, address, password);
                    let mut answers = answers.lock().expect("answers");
                    *answers.entry((door, let_in)).or_insert(0) += 1;
                }
            });
        }
    });
    // Both answers through every door, or the bytes were not worth the name.
    let answers = answers.into_inner().expect("answers");
    assert_eq!(answers.len(), 6, "{answers:?}");
    unharmed(&relay);
}

/// Whether these bytes are let in. What is let in is an address, with a mailbox; what is refused
/// has left none.
#[track_caller]
fn log_in(relay: &Instance, door: &str, name: &str, address: &[u8], password: &[u8]) -> bool {
    let let_in = match door {
        "LOGIN" => imap(relay, |imap| imap.login(address, password)),
        "AUTHENTICATE" => imap(relay, |imap| imap.authenticate(address, password)),
        _ => smtp(relay, address, password),
    };
    let what = (shown(address), shown(password));
    if let_in {
        assert!(is_address(relay, address), "{what:?}");
        let address = String::from_utf8_lossy(address).to_ascii_lowercase();
        assert!(relay.addresses().contains(&address), "{what:?}");
    } else if address == name.as_bytes() {
        assert!(!relay.addresses().contains(name), "{what:?}");
    }
    let_in
}

#[test]
fn any_metadata_key_and_value_is_taken_or_refused() {
    const KEYS: [&[u8]; 6] = [
        b"/private/devicetoken",
        b"/private/devicetoken",
        b"/shared/vendor/deltachat/irohrelay",
        b"/shared/vendor/deltachat/turn",
        b"/shared/comment",
        b"/private/vendor/vendor.dovecot/pvt/server/x",
    ];
    let relay = Instance::start();
    let account = relay.account("alice");
    let mut odd = Odd::new(2);
    let mut stored = 0;
    let mut session = relay.imap(&account);
    for _ in 0..TRIES {
        let mut key = odd.pick(&KEYS).to_vec();
        if odd.below(2) == 0 {
            key = odd.near(&key);
        }
        let value = odd.near(b"openpgp:wcBMA1K+/AAAA==");
        let mailbox = *odd.pick(&[&"INBOX", &"INBOX", &"\"\"", &"Trash"]);
        let answer = if odd.below(3) == 0 {
            session.command_with_literals(&format!("GETMETADATA {mailbox}"), &[&key])
        } else {
            let command = format!("SETMETADATA {mailbox} (");
            session.command_with_literals_and(&command, &[&key, &value], ")")
        };
        match answer {
            Ok(answer) => {
                let token = key.eq_ignore_ascii_case(KEYS[0]) && mailbox == "INBOX";
                stored += usize::from(token && answer.is_ok());
            }
            // Dovecot hangs up on who talks nonsense.
            Err(_) => session = relay.imap(&account),
        }
    }
    assert!(stored > TRIES / 20, "{stored}");
    let json = relay.metadata_json(&account);
    for token in json["devicetoken"].as_object().expect("tokens").keys() {
        assert!(!token.contains(char::is_control), "{token:?}");
        assert!((1..=4096).contains(&token.chars().count()), "{token:?}");
    }
    unharmed(&relay);
    relay.imap(&account);
}

#[test]
fn any_recipient_and_message_is_delivered_or_refused() {
    let relay = Instance::start();
    let account = relay.account("alice");
    let mut imap = relay.imap(&account);
    let token = imap.set_metadata("INBOX", "/private/devicetoken", "token");
    assert!(token.expect("SETMETADATA").is_ok());
    let mail = Mail::encrypted("bob000001@chat.test", &account.address).to_bytes();
    let mut odd = Odd::new(3);
    let mut delivered = 0;
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    for _ in 0..TRIES {
        let from = odd.near(b"bob000001@chat.test");
        let to = odd.near(account.address.as_bytes());
        let message = odd.near(&mail);
        match lmtp.deliver(&from, &to, &message) {
            Ok(reply) => delivered += usize::from(reply.code == 250),
            Err(_) => lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP"),
        }
    }
    assert!(delivered > TRIES / 20, "{delivered}");
    // A line end in a recipient may make two recipients of it, so there may be more.
    let messages = relay.wait_for_messages(&account, delivered);
    assert!(messages.len() >= delivered, "{}", messages.len());
    unharmed(&relay);
}

/// Whether a new connection was let in; one that Dovecot closed was not.
fn imap(
    relay: &Instance,
    login: impl FnOnce(&mut Imap) -> io::Result<chatmail_tests::imap::Answer>,
) -> bool {
    let mut imap = Imap::connect(relay.endpoints(), Security::Tls).expect("IMAP");
    login(&mut imap).is_ok_and(|answer| {
        assert_ne!(answer.code(), Some("UNAVAILABLE"), "{answer}");
        answer.is_ok()
    })
}

fn smtp(relay: &Instance, address: &[u8], password: &[u8]) -> bool {
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtps).expect("SMTP");
    let reply = smtp.login(address, password);
    reply.is_ok_and(|reply| reply.code == 235)
}

/// An address of ours as a client may write it.
fn is_address(relay: &Instance, bytes: &[u8]) -> bool {
    let domain = format!("@{}", relay.endpoints().domain);
    let text = String::from_utf8_lossy(bytes).to_ascii_lowercase();
    text.strip_suffix(&domain).is_some_and(|localpart| {
        localpart.len() == 9
            && localpart
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
    })
}

fn shown(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// No process of Dovecot's failed, there are mailboxes of addresses only, and a new user is served.
#[track_caller]
fn unharmed(relay: &Instance) {
    assert_eq!(services::crashes(relay), [] as [String; 0]);
    let entries = fs::read_dir(&relay.endpoints().mailboxes_dir).expect("mailboxes");
    for entry in entries {
        let name = entry.expect("mailboxes").file_name();
        let ours = [".chatmail", "pending_notifications"]
            .iter()
            .any(|dir| name == *dir);
        let bytes = name.as_encoded_bytes();
        assert!(ours || is_address(relay, bytes), "{:?}", shown(bytes));
        assert_eq!(bytes, bytes.to_ascii_lowercase(), "{:?}", shown(bytes));
    }
    let new: Account = relay.account("new");
    assert_eq!(relay.imap(&new).select_inbox().expect("INBOX"), 0);
}
