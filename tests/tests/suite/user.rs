//! `chatmail user` beside a relay that runs: what an operator changes holds at once.

use std::fs;
use std::io::Write;
use std::process::{Output, Stdio};
use std::thread;

use chatmail_tests::dkim::Signer;
use chatmail_tests::imap::Imap;
use chatmail_tests::instance::Account;
use chatmail_tests::smtp::{Door, Reply, Smtp};
use chatmail_tests::{Instance, Mail, wait};

const STRANGER: &str = "carol@elsewhere.test";

const DEVICE_TOKEN: &str = "/private/devicetoken";

/// Runs `chatmail user` with these words on a relay.
fn run(relay: &Instance, words: &str, input: &[u8]) -> Output {
    let mut child = relay
        .chatmail()
        .arg("user")
        .args(words.split(' '))
        .arg("--config")
        .arg(&relay.endpoints().config)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("chatmail");
    let mut stdin = child.stdin.take().expect("stdin");
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("chatmail");
    // It may end before it has read all of it.
    let _ = writer.join().expect("writer");
    output
}

/// As [`run`], and it does what it is told.
#[track_caller]
fn done(relay: &Instance, words: &str, input: &[u8]) -> Vec<u8> {
    let output = run(relay, words, input);
    assert!(output.status.success(), "{words}: {output:?}");
    output.stdout
}

#[track_caller]
fn user(relay: &Instance, command: &str, account: &Account) {
    done(relay, &format!("{command} {}", account.address), b"");
}

/// As another server would, on port 25.
fn deliver(relay: &Instance, to: &Account, mail: &Mail) -> Reply {
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtp).expect("SMTP");
    smtp.send(STRANGER, &[&to.address], &mail.to_bytes())
        .expect("SMTP")
}

#[track_caller]
fn refused(relay: &Instance, account: &Account) {
    let answer = relay.try_imap(&account.address, &account.password);
    assert_eq!(answer.code(), Some("AUTHENTICATIONFAILED"), "{answer}");
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Submission).expect("SMTP");
    let reply = smtp
        .login(&account.address, &account.password)
        .expect("AUTH");
    assert_eq!(reply.code, 535, "{reply}");
}

#[test]
fn a_new_account_can_be_used_where_nobody_may_sign_up() {
    let relay = Instance::with().param("registration", "closed").start();
    let account = relay.new_account("alice");
    refused(&relay, &account);
    let words = format!("create {} --stdin", account.address);
    done(&relay, &words, account.password.as_bytes());
    relay.imap(&account);
    let created = done(&relay, "create --json", b"");
    let created: serde_json::Value = serde_json::from_slice(&created).expect("JSON");
    let text = |key: &str| created[key].as_str().expect("text").to_owned();
    let random = Account {
        address: text("address"),
        password: text("password"),
    };
    relay.imap(&random);
    relay.send_encrypted(&account, &random);
    relay.wait_for_messages(&random, 1);
}

#[test]
fn a_disabled_account_gets_neither_in_nor_mail_until_it_is_enabled() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    user(&relay, "disable", &bob);
    refused(&relay, &bob);
    let mail = Mail::encrypted(STRANGER, &bob.address);
    let mail = signer(&relay).sign(&mail);
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtp).expect("SMTP");
    let reply = smtp.envelope(STRANGER, &[&bob.address]).expect("RCPT");
    assert_eq!(reply.code, 550, "{reply}");
    user(&relay, "enable", &bob);
    let reply = deliver(&relay, &bob, &mail);
    assert_eq!(reply.code, 250, "{reply}");
    assert_eq!(relay.wait_for_messages(&bob, 1).len(), 1);

    // The other way that operators know, and the way out of it.
    fs::write(relay.mailbox(&bob).join("password"), "").expect("password");
    refused(&relay, &bob);
    let words = format!("password {} --stdin", bob.address);
    done(&relay, &words, bob.password.as_bytes());
    relay.send_encrypted(&alice, &bob);
    relay.wait_for_messages(&bob, 2);
}

#[test]
fn another_password_holds_at_once_also_where_the_old_one_was_just_used() {
    let relay = Instance::start();
    let old = relay.account("alice");
    // However many workers there are, this one is known to some.
    for _ in 0..10 {
        relay.imap(&old).command("LOGOUT").expect("LOGOUT");
    }
    let new = Account {
        password: "battery staple".to_owned(),
        ..old.clone()
    };
    let words = format!("password {} --stdin", new.address);
    done(&relay, &words, new.password.as_bytes());
    for _ in 0..10 {
        refused(&relay, &old);
        relay.imap(&new).command("LOGOUT").expect("LOGOUT");
    }
}

#[test]
fn a_deleted_account_begins_anew_and_empty() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    relay.send_encrypted(&alice, &bob);
    relay.wait_for_messages(&bob, 1);
    let mut imap = relay.imap(&bob);
    imap.set_metadata("INBOX", DEVICE_TOKEN, "token")
        .expect("SETMETADATA");
    imap.command("LOGOUT").expect("LOGOUT");
    // Dovecot writes its indexes when the session has ended.
    wait::until_true("the session to end", || sessions(&relay, &bob) == 0);
    user(&relay, "delete --yes", &bob);
    assert!(!relay.mailbox(&bob).exists());
    let answer = relay.try_imap(&bob.address, "short");
    assert!(!answer.is_ok(), "{answer}");
    let mut imap = relay.imap(&bob);
    assert_eq!(imap.select_inbox().expect("INBOX"), 0);
    assert!(imap.device_tokens().expect("tokens").is_empty());
    relay.send_encrypted(&alice, &bob);
    relay.wait_for_messages(&bob, 1);
}

#[test]
fn a_session_that_is_open_while_its_account_is_deleted_is_ended_first() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut imap = relay.imap(&bob);
    imap.select_inbox().expect("INBOX");
    user(&relay, "disable", &bob);
    // Dovecot lets it go on.
    assert!(imap.command("NOOP").expect("NOOP").is_ok());
    let kicked = relay
        .dovecot("doveadm")
        .arg("-c")
        .arg(&relay.endpoints().dovecot_conf)
        .args(["kick", &bob.address])
        .output()
        .expect("doveadm");
    assert!(kicked.status.success(), "{kicked:?}");
    wait::until_true("the session to end", || sessions(&relay, &bob) == 0);
    user(&relay, "delete --yes", &bob);
    assert!(!relay.mailbox(&bob).exists());
    relay.imap(&bob);
}

#[test]
fn sessions_that_are_open_while_their_account_is_deleted_are_ended() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut idling = relay.imap(&bob);
    idling.select_inbox().expect("INBOX");
    let mut idle = idling.idle().expect("IDLE");
    let mut busy = relay.imap(&bob);
    busy.select_inbox().expect("INBOX");
    user(&relay, "delete --yes", &bob);
    wait::until_true("BYE", || {
        idle.line().is_ok_and(|line| line.starts_with("BYE"))
    });
    busy.command("NOOP").expect_err("the session goes on");
    assert!(!relay.mailbox(&bob).exists());
    assert_eq!(relay.imap(&bob).select_inbox().expect("INBOX"), 0);
}

#[test]
fn a_directory_that_a_session_leaves_after_its_account_was_deleted_is_deleted_as_well() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    // It has not opened a folder yet.
    let mut late = relay.imap(&bob);
    user(&relay, "delete --yes", &bob);
    assert!(!relay.mailbox(&bob).exists());
    late.select_inbox().expect("INBOX");
    late.command("LOGOUT").expect("LOGOUT");
    wait::until_true("the session to end", || sessions(&relay, &bob) == 0);
    // Dovecot has made it; it is nobody's account.
    let answer = relay.try_imap(&bob.address, &bob.password);
    assert_eq!(answer.code(), Some("UNAVAILABLE"), "{answer}");
    user(&relay, "delete --yes", &bob);
    relay.imap(&bob);
}

#[test]
fn cleartext_comes_in_for_whom_it_is_allowed() {
    let relay = Instance::start();
    let [bob, carl] = ["bob", "carl"].map(|name| relay.account(name));
    let signer = signer(&relay);
    let send = |to: &Account| {
        let mail = Mail::cleartext(STRANGER, &to.address);
        deliver(&relay, to, &signer.sign(&mail)).code
    };
    assert_eq!(send(&bob), 523);
    let allow = |switch: &str| {
        let words = format!("allow-cleartext {} {switch}", bob.address);
        done(&relay, &words, b"");
    };
    allow("on");
    assert_eq!(send(&bob), 250);
    assert_eq!(send(&carl), 523);
    relay.wait_for_messages(&bob, 1);
    allow("off");
    assert_eq!(send(&bob), 523);
}

#[test]
fn an_account_moves_to_another_relay_and_its_clients_notice_nothing() {
    let here = Instance::start();
    let there = Instance::with().param("mail_domain", "moved.test").start();
    let [alice, bob] = ["alice", "bob"].map(|name| here.account(name));
    for count in 1..=4 {
        here.send_encrypted(&alice, &bob);
        here.wait_for_messages(&bob, count);
    }
    let mut imap = here.imap(&bob);
    imap.set_metadata("INBOX", DEVICE_TOKEN, "openpgp:dG9rZW4=")
        .expect("SETMETADATA");
    imap.select_inbox().expect("INBOX");
    for command in [
        "CREATE DeltaChat",
        "SUBSCRIBE DeltaChat",
        "STORE 1 +FLAGS (\\Seen $Forwarded)",
        "MOVE 2 DeltaChat",
        "STORE 2 +FLAGS (\\Deleted)",
        "EXPUNGE",
    ] {
        assert!(imap.command(command).expect(command).is_ok(), "{command}");
    }
    // And one that no client has seen.
    imap.command("LOGOUT").expect("LOGOUT");
    let before = state(&here, &bob);
    here.send_encrypted(&alice, &bob);
    wait::until_true("the last message", || {
        let new = here.mailbox(&bob).join("new");
        fs::read_dir(new).expect("new").next().is_some()
    });

    let stream = done(&here, &format!("export {}", bob.address), b"");
    let moved = Account {
        address: bob.address.replace("chat.test", "moved.test"),
        ..bob.clone()
    };
    assert_eq!(run(&there, "import", &stream).status.code(), Some(64));
    let cut = run(
        &there,
        &format!("import --as {}", moved.address),
        &stream[..stream.len() / 2],
    );
    assert_eq!(cut.status.code(), Some(65), "{cut:?}");
    assert!(!there.mailbox(&moved).exists());
    done(&there, &format!("import --as {}", moved.address), &stream);

    let after = state(&there, &moved);
    assert_eq!(after.deltachat, before.deltachat);
    assert_eq!(after.inbox[..before.inbox.len()], before.inbox);
    assert_eq!(after.inbox.len(), before.inbox.len() + 1);
    assert_eq!(after.validity, before.validity);
    assert_eq!(after.subscribed, before.subscribed);
    assert!(before.inbox[0].contains("$Forwarded"), "{before:?}");
    // It goes on with the next UID, as if nothing had happened.
    assert_eq!(state(&here, &bob).inbox, after.inbox);
    assert_eq!(
        there.imap(&moved).inbox().expect("INBOX"),
        here.imap(&bob).inbox().expect("INBOX")
    );
    let tokens = there.imap(&moved).device_tokens().expect("tokens");
    assert_eq!(tokens, ["openpgp:dG9rZW4=".to_owned()].into());
    assert!(
        !there.log("dovecot").contains("Error"),
        "{}",
        there.log("dovecot")
    );
    let carol = there.account("carol");
    there.send_encrypted(&carol, &moved);
    there.wait_for_messages(&moved, after.inbox.len() + 1);
}

#[test]
fn an_export_beside_deliveries_and_a_client_at_work_is_complete() {
    let relay = Instance::with()
        .param("max_user_send_burst_size", 1000)
        .start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    const EARLIER: usize = 30;
    let mut smtp = relay.smtp(Door::Smtps, &alice);
    let mut send = || {
        let mail = Mail::encrypted(&alice.address, &bob.address);
        let sent = smtp.send(&alice.address, &[&bob.address], &mail.to_bytes());
        assert_eq!(sent.expect("SMTP").code, 250);
    };
    for _ in 0..EARLIER {
        send();
    }
    relay.wait_for_messages(&bob, EARLIER);
    let streams = thread::scope(|scope| {
        let exports = scope.spawn(|| {
            let export = |_| done(&relay, &format!("export {}", bob.address), b"");
            (0..10).map(export).collect::<Vec<_>>()
        });
        let mut imap = relay.imap(&bob);
        imap.select_inbox().expect("INBOX");
        while !exports.is_finished() {
            send();
            for command in ["STORE 1:* +FLAGS (\\Seen)", "STORE 1:* -FLAGS (\\Seen)"] {
                assert!(imap.command(command).expect("STORE").is_ok());
            }
        }
        exports.join().expect("exports")
    });
    for (number, stream) in streams.iter().enumerate() {
        let copy = relay.new_account("copy");
        done(&relay, &format!("import --as {}", copy.address), stream);
        let copy = Account {
            password: bob.password.clone(),
            ..copy
        };
        let count = relay.imap(&copy).select_inbox().expect("INBOX");
        assert!(count >= EARLIER, "{number}: {count}");
    }
    assert!(
        !relay.log("dovecot").contains("Error"),
        "{}",
        relay.log("dovecot")
    );
}

fn signer(relay: &Instance) -> Signer {
    let signer = Signer::ed25519("elsewhere.test");
    signer.publish(relay);
    signer
}

/// Sessions of a user that Dovecot knows of.
fn sessions(relay: &Instance, account: &Account) -> usize {
    let output = relay
        .dovecot("doveadm")
        .arg("-c")
        .arg(&relay.endpoints().dovecot_conf)
        .args(["who", "-1", &account.address])
        .output()
        .expect("doveadm");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines().filter(|line| line.contains('@')).count()
}

/// What clients remember of a mailbox.
#[derive(Debug)]
struct State {
    validity: Vec<String>,
    inbox: Vec<String>,
    deltachat: Vec<String>,
    subscribed: Vec<String>,
}

fn state(relay: &Instance, account: &Account) -> State {
    let mut imap = relay.imap(account);
    let mut validity = Vec::new();
    let mut folder = |imap: &mut Imap, name: &str| {
        let selected = imap.command(&format!("SELECT {name}")).expect("SELECT");
        let lines = selected.untagged.iter().map(|line| line.line.clone());
        validity.extend(lines.filter(|line| line.contains("UIDVALIDITY")));
        lines_of(imap, "FETCH 1:* (UID FLAGS INTERNALDATE RFC822.SIZE)")
            .into_iter()
            // Whoever looks first is told of new mail.
            .map(|line| {
                line.replace("\\Recent", "")
                    .replace("( ", "(")
                    .replace(" )", ")")
            })
            .collect()
    };
    State {
        inbox: folder(&mut imap, "INBOX"),
        deltachat: folder(&mut imap, "DeltaChat"),
        subscribed: lines_of(&mut imap, "LSUB \"\" *"),
        validity,
    }
}

fn lines_of(imap: &mut Imap, command: &str) -> Vec<String> {
    let answer = imap.command(command).expect(command);
    assert!(answer.is_ok(), "{command}: {answer}");
    answer.untagged.into_iter().map(|line| line.line).collect()
}
