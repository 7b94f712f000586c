//! One imap process serves many users, one after the other, and none of them meets another there.

use std::collections::BTreeSet;

use chatmail_tests::dovecot::Version;
use chatmail_tests::imap::{DEVICE_TOKEN, Imap};
use chatmail_tests::instance::Account;
use chatmail_tests::{Instance, Mail, dovecot, services, wait};

const USERS: usize = 12;

/// Message-IDs and subjects are not all of one length.
const SLACK: usize = 16;

#[test]
fn users_of_one_process_see_their_own_tokens_quota_and_mail() {
    // However idle, the one process stays for the next user.
    let idle = match dovecot() {
        Version::V2_3 => "idle_kill",
        Version::V2_4 => "idle_kill_interval",
    };
    let settings = format!(
        "service imap {{\n  process_min_avail = 0\n  process_limit = 1\n  {idle} = 10 mins\n}}"
    );
    let relay = Instance::with().dovecot_settings(&settings).start();
    let users: Vec<_> = (0..USERS).map(|_| relay.new_account("user")).collect();

    // Each session finds what its user had, which is nothing the first time, and leaves more.
    for round in 0..2 {
        for (number, user) in users.iter().enumerate() {
            let mut imap = relay.imap(user);
            let before: Vec<_> = (0..round).map(|round| token(number, round)).collect();
            let tokens = imap.device_tokens().expect("GETMETADATA");
            assert_eq!(tokens, before.into_iter().collect(), "{user:?}");
            assert_eq!(subjects(&mut imap).len(), round * (number + 1), "{user:?}");
            assert_eq!(imap.quota_used().expect("QUOTA") > 0, round > 0, "{user:?}");

            let token = token(number, round);
            let answer = imap.set_metadata("INBOX", DEVICE_TOKEN, &token);
            assert!(answer.expect("SETMETADATA").is_ok());
            // Another number of messages of another size for each.
            for copy in 0..=number {
                append(&mut imap, user, &format!("{number}.{copy}"), number);
            }
            let own = format!("{number}.");
            let seen = subjects(&mut imap);
            assert!(
                seen.iter().all(|subject| subject.starts_with(&own)),
                "{seen:?}"
            );
            assert_eq!(seen.len(), (round + 1) * (number + 1));
            imap.command("LOGOUT").expect("LOGOUT");
        }
    }
    // By the count of Dovecot, twice what the user put there.
    for (number, user) in users.iter().enumerate() {
        let mut imap = relay.imap(user);
        let sent = message(user, &format!("{number}.0"), number);
        let lines = sent.iter().filter(|&&b| b == b'\n').count();
        let all = 2 * (number + 1) * sent.len();
        // Line ends may be counted as one byte or two, and kilobytes up or down.
        let least = all - 2 * (number + 1) * (lines + SLACK) - 1024;
        let most = all + 2 * (number + 1) * SLACK + 1024;
        let used = imap.quota_used().expect("QUOTA") as usize * 1024;
        assert!((least..=most).contains(&used), "{number}: {used} {all}");
        imap.command("LOGOUT").expect("LOGOUT");
    }

    let sessions = 3 * USERS;
    wait::until_true("the ends of all sessions in the log", || {
        services::ended_sessions(&relay, "imap").len() >= sessions
    });
    let ended = services::ended_sessions(&relay, "imap");
    let pids: BTreeSet<_> = ended.iter().rev().take(sessions).collect();
    assert_eq!(pids.len(), 1, "{ended:?}");
}

fn token(user: usize, round: usize) -> String {
    format!("token{round}-of-{user}")
}

fn message(user: &Account, subject: &str, size: usize) -> Vec<u8> {
    let mail = Mail::encrypted_of_size(&user.address, &user.address, 1000 * (size + 1));
    mail.set("Subject", subject).to_bytes()
}

fn append(imap: &mut Imap, user: &Account, subject: &str, size: usize) {
    let message = message(user, subject, size);
    let answer = imap.command_with_literals("APPEND INBOX", &[&message]);
    let answer = answer.expect("APPEND");
    assert!(answer.is_ok(), "{answer}");
}

fn subjects(imap: &mut Imap) -> Vec<String> {
    if imap.select_inbox().expect("INBOX") == 0 {
        return Vec::new();
    }
    let fields = imap.header_fields("SUBJECT").expect("FETCH").into_iter();
    fields
        .map(|header| {
            let text = String::from_utf8_lossy(&header);
            text.trim().trim_start_matches("Subject: ").to_owned()
        })
        .collect()
}
