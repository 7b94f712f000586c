//! The program itself: exit codes, signals, keys, log, metrics.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::process::Command;

use common::daemon::{
    ALICE, BOB, Daemon, KEY, PROGRAM, command, exit_code, http, selector, sign, sign_and_ask,
};
use common::dns::Dns;
use common::signer::Key;
use common::{Answer, Mail, Mta, Relay, socket};
use rustix::process::Signal;

#[test]
fn wrong_usage_exits_with_64() {
    let relay = Relay::new();
    assert_eq!(exit_code(command(&relay).arg("--verbose")).0, Some(64));
    let group = command(&relay)
        .args(["--socket-group", "no such group"])
        .output();
    assert_eq!(group.unwrap().status.code(), Some(64));
}

#[test]
fn a_missing_configuration_exits_with_78_and_is_named() {
    let relay = Relay::new();
    std::fs::remove_file(relay.config()).unwrap();
    let (code, text) = exit_code(&mut command(&relay));
    assert_eq!(code, Some(78));
    assert!(text.contains("chatmail.ini"), "{text}");
}

#[test]
fn help_teaches_how_postfix_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_chatmail-milter"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("default_action=tempfail"), "{text}");
}

/// The options in a text, each of which begins with `prefix` there.
fn options(text: &str, prefix: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
    text.split(prefix)
        .skip(1)
        .map(|rest| rest.split(|c| !is_name(c)).next().unwrap().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn the_manual_explains_every_option_and_no_other() {
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../man/chatmail-milter.8");
    let manual = std::fs::read_to_string(manual).unwrap();
    let explained: String = manual.lines().filter(|l| l.starts_with(".It Fl")).collect();
    let (synopsis, _) = manual.split_once(".Sh DESCRIPTION").unwrap();
    let known = options(&help, " --");
    assert!(known.len() >= 8, "{known:?}");
    assert_eq!(options(&explained, "\\-"), known);
    assert_eq!(options(synopsis, "\\-"), known);
}

#[test]
fn the_log_has_one_line_for_a_message_and_names_nobody() {
    let relay = Relay::new();
    let daemon = Daemon::start(&relay);
    let mut mta = Mta::connect(&socket(&relay, "outgoing"));
    mta.transaction(ALICE, &[BOB], &Mail::encrypted(ALICE));
    mta.transaction(ALICE, &[BOB], &Mail::cleartext(ALICE));
    mta.transaction(ALICE, &[BOB], &Mail::encrypted("eve@chat.test"));
    drop(mta);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0));
    let messages: Vec<&String> = log.iter().filter(|l| l.contains("queue_id=")).collect();
    assert_eq!(messages.len(), 3, "{log:#?}");
    for (line, verdict) in messages.iter().zip([
        "verdict=\"accepted\" reason=\"encrypted\"",
        "verdict=\"refused\" reason=\"not-encrypted",
        "verdict=\"refused\" reason=\"from-mismatch",
    ]) {
        assert!(line.contains("queue_id=\"4DFF6990062\""), "{line}");
        assert!(line.contains("direction=\"outgoing\""), "{line}");
        assert!(line.contains(verdict), "{line}");
        assert!(line.contains("size=") && line.contains("ms="), "{line}");
    }
    for line in &log {
        for secret in ["alice", "bob", "eve", "lunch", "Lunch", "\u{1b}"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[test]
fn a_broken_configuration_is_reported_and_the_old_one_stays() {
    let relay = Relay::with("max_user_send_per_minute = 1\nmax_user_send_burst_size = 1");
    let daemon = Daemon::start(&relay);
    relay.configure("max_user_send_burst_size = 5\nmax_mailbox_size = lots");
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for("the old configuration stays");
    for named in ["chatmail.ini", "max_mailbox_size", "lots"] {
        assert!(line.contains(named), "{line}");
    }
    let mut mta = Mta::connect(&socket(&relay, "outgoing"));
    let mut sent = || {
        mta.mail(ALICE);
        let answer = mta.recipient(BOB);
        mta.send(b'A', b"");
        answer
    };
    assert_eq!(sent(), Answer::Continue);
    assert!(matches!(sent(), Answer::Reply(_)));

    relay.configure("max_user_send_per_minute = 1\nmax_user_send_burst_size = 5");
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration read again");
    assert_eq!(sent(), Answer::Continue);
}

#[test]
fn a_message_on_its_way_comes_to_its_end_before_the_daemon_does() {
    let relay = Relay::new();
    let daemon = Daemon::start(&relay);
    let mail = Mail::encrypted(ALICE);
    let mut idle = Mta::connect(&socket(&relay, "outgoing"));
    let mut mta = Mta::connect(&socket(&relay, "outgoing"));
    mta.mail(ALICE);
    mta.recipient(BOB);
    mta.content(&mail);
    daemon.signal(Signal::TERM);
    daemon.wait_for("stopping");
    assert!(idle.is_hung_up());
    assert_eq!(mta.end().last(), Some(&Answer::Continue));
    assert!(mta.is_hung_up());
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log:#?}");
    for direction in ["outgoing", "incoming"] {
        assert!(!socket(&relay, direction).exists());
    }
}

#[test]
fn a_daemon_without_a_sound_dkim_key_does_not_start() {
    let relay = Relay::new();
    sign(&relay, "one");
    let key = relay.path("dkim.pem");
    for broken in [None, Some(""), Some("no key"), Some(&KEY[..60])] {
        match broken {
            Some(text) => std::fs::write(&key, text).unwrap(),
            None => std::fs::remove_file(&key).unwrap(),
        }
        let (code, text) = exit_code(&mut command(&relay));
        assert_eq!(code, Some(78), "{text}");
        for named in ["chatmail.ini", "dkim_key_file", "dkim.pem"] {
            assert!(text.contains(named), "{text}");
        }
        assert!(!text.contains("MC4CAQ"), "{text}");
    }
}

#[test]
fn a_bounce_of_ours_is_signed_and_not_checked() {
    let relay = Relay::new();
    sign(&relay, "one");
    let internal = socket(&relay, "internal");
    let mut command = command(&relay);
    command.arg(format!("--internal=unix:{}", internal.display()));
    let daemon = Daemon::run(&mut command);
    let mut mta = Mta::connect(&internal);
    let bounce = Mail::cleartext("mailer-daemon@chat.test");
    let answers = mta.transaction("", &["eve@elsewhere.test"], &bounce);
    assert_eq!(answers.last(), Some(&Answer::Continue), "{answers:?}");
    let signed =
        |answer: &Answer| matches!(answer, Answer::Insert(name, _) if name == "DKIM-Signature");
    assert!(answers.iter().any(signed), "{answers:?}");
    let line = daemon.wait_for("queue_id=\"4DFF6990062\"");
    assert!(
        line.contains("direction=\"internal\" verdict=\"accepted\""),
        "{line}"
    );
    daemon.stop();
    assert!(!internal.exists());
}

#[test]
fn the_longest_log_does_not_tell_who_wrote_either() {
    let relay = Relay::new();
    let dns = Dns::start();
    let (key, name) = (Key::fresh(), "sel._domainkey.elsewhere.test");
    dns.text(name, &key.record());
    sign_and_ask(&relay, "one", dns.address);
    let metrics = relay.path("metrics.sock");
    let mut command = command(&relay);
    command.args(["--log-level", "debug"]);
    command.arg(format!("--metrics=unix:{}", metrics.display()));
    let daemon = Daemon::run(&mut command);
    let mut mta = Mta::connect(&socket(&relay, "incoming"));
    let eve = "eve@elsewhere.test";
    for selector in ["sel", "unknown"] {
        let mail = Mail::encrypted(eve).signed(&key, "elsewhere.test", selector);
        mta.transaction(eve, &[ALICE], &mail);
    }
    assert!(dns.asked().iter().any(|asked| asked == name));
    http(&metrics, "eve@elsewhere.test\r\n\r\n");
    mta.write(&[0xff; 4]);
    drop(mta);
    let (_, log) = daemon.stop();
    assert!(
        log.iter().any(|line| line.contains("dkim=\"pass\"")),
        "{log:#?}"
    );
    for line in &log {
        for secret in ["eve", "elsewhere", "alice", "_domainkey"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[test]
fn a_broken_dkim_key_is_reported_and_the_old_one_signs_on() {
    let relay = Relay::new();
    sign(&relay, "one");
    let daemon = Daemon::start(&relay);
    let mut mta = Mta::connect(&socket(&relay, "outgoing"));
    assert_eq!(selector(&mut mta), "one");

    sign(&relay, "two");
    std::fs::write(relay.path("dkim.pem"), "no key").unwrap();
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for("the old configuration stays");
    for named in ["chatmail.ini", "dkim_key_file", "dkim.pem"] {
        assert!(line.contains(named), "{line}");
    }
    // Neither the key nor what else the configuration says.
    assert_eq!(selector(&mut mta), "one");

    sign(&relay, "two");
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration read again");
    assert_eq!(selector(&mut mta), "two");
}

#[test]
fn the_metrics_count_messages_and_name_nobody() {
    let relay = Relay::with("max_user_send_per_minute = 1\nmax_user_send_burst_size = 2");
    let metrics = relay.path("metrics.sock");
    let mut command = command(&relay);
    command.arg(format!("--metrics=unix:{}", metrics.display()));
    let daemon = Daemon::run(&mut command);
    let mut mta = Mta::connect(&socket(&relay, "outgoing"));
    mta.transaction(ALICE, &[BOB], &Mail::encrypted(ALICE));
    mta.transaction(ALICE, &[BOB], &Mail::cleartext(ALICE));
    mta.mail(ALICE);
    assert!(matches!(mta.recipient(BOB), Answer::Reply(_)));
    mta.send(b'A', b"");
    mta.mail_as("", ALICE);
    assert!(matches!(mta.recipient(BOB), Answer::Reply(_)));
    mta.send(b'A', b"");
    mta.transaction(BOB, &["nobody@chat.test"], &Mail::encrypted(BOB));
    let mut incoming = Mta::connect(&socket(&relay, "incoming"));
    incoming.transaction("", &["nobody@chat.test"], &Mail::encrypted(BOB));
    let text = http(&metrics, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for line in [
        "chatmail_milter_messages_total{direction=\"outgoing\",verdict=\"accepted\",reason=\"encrypted\"} 1",
        "chatmail_milter_messages_total{direction=\"outgoing\",verdict=\"refused\",reason=\"not-encrypted\"} 1",
        "chatmail_milter_messages_total{direction=\"outgoing\",verdict=\"refused\",reason=\"unknown\"} 1",
        "chatmail_milter_message_size_bytes_count{direction=\"outgoing\"} 3",
        "chatmail_milter_message_duration_seconds_count{direction=\"outgoing\"} 3",
        "chatmail_milter_recipients_refused_total{reason=\"unknown\"} 1",
        "chatmail_milter_senders_refused_total{reason=\"rate-limit\"} 1",
        "chatmail_milter_senders_refused_total{reason=\"not-logged-in\"} 1",
        "chatmail_milter_connections{direction=\"outgoing\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(text.contains("chatmail_milter_seipd_total{direction=\"outgoing\",version=\""));
    for secret in ["alice", "bob", "chat.test", "Lunch"] {
        assert!(!text.contains(secret), "{text}");
    }
    daemon.stop();
    assert!(!metrics.exists());
}
