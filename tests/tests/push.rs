//! New mail wakes the phone, once.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use chatmail_tests::instance::Account;
use chatmail_tests::process::{self, Signal};
use chatmail_tests::sink::Sink;
use chatmail_tests::{Instance, wait};

#[test]
fn a_delivered_message_makes_one_post_per_token_and_a_self_sent_one_none() {
    let sink = Sink::start().expect("sink");
    let relay = relay_with(&sink);
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    add_tokens(&relay, &bob, &["first", "second"]);

    relay.send_encrypted(&alice, &bob);
    wait::until_true("both tokens", || sink.posts().len() >= 2);
    assert_eq!(sink.tokens(), ["first", "second"]);
    assert!(sink.posts().iter().all(|post| post.path == "/notify"));

    relay.send_encrypted(&bob, &bob);
    relay.wait_for_messages(&bob, 2);
    // Whatever the self-sent message caused would be posted before this one's.
    relay.send_encrypted(&alice, &bob);
    wait::until_true("both tokens again", || sink.posts().len() >= 4);
    wait::until_true("an empty spool", || spool(&relay).is_empty());
    assert_eq!(sink.tokens(), ["first", "first", "second", "second"]);
}

#[test]
fn a_token_the_push_service_calls_gone_is_forgotten() {
    let sink = Sink::start().expect("sink");
    sink.answer_to("gone", 410);
    let relay = relay_with(&sink);
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    add_tokens(&relay, &bob, &["stays", "gone"]);

    relay.send_encrypted(&alice, &bob);
    wait::until_true("the token to be forgotten", || {
        tokens(&relay, &bob) == ["stays"]
    });
    wait::until_true("an empty spool", || spool(&relay).is_empty());
    assert_eq!(sink.tokens(), ["gone", "stays"]);
}

#[test]
fn a_notification_the_push_service_cannot_take_now_is_kept_and_tried_again() {
    let sink = Sink::start().expect("sink");
    sink.answer(500);
    let relay = relay_with(&sink);
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    add_tokens(&relay, &bob, &["patient"]);

    relay.send_encrypted(&alice, &bob);
    wait::until_true("the first try", || !sink.posts().is_empty());
    let [file] = &spool(&relay)[..] else {
        panic!("not one file: {:?}", spool(&relay));
    };
    let content = fs::read_to_string(file).expect("spool file");
    let lines: Vec<_> = content.lines().collect();
    assert_eq!([lines[0], lines[2]], [bob.address.as_str(), "patient"]);
    assert!(lines[1].parse::<u64>().is_ok(), "{content:?}");
    assert_eq!(tokens(&relay, &bob), ["patient"]);

    sink.answer(200);
    wait::until_true("the second try", || spool(&relay).is_empty());
    let posts = sink.posts();
    assert_eq!(posts.len(), 2, "{posts:?}");
    let pause = posts[1].at - posts[0].at;
    assert!(pause.as_secs_f64() >= 7.9, "{pause:?}");
}

#[test]
fn a_killed_service_loses_no_notification() {
    let sink = Sink::start().expect("sink");
    let relay = relay_with(&sink);
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let names: BTreeSet<_> = (0..10).map(|n| format!("token-{n}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    add_tokens(&relay, &bob, &names);

    let victim = relay.endpoints().serve_pid;
    process::signal(victim, Signal::STOP).expect("stopping the service");
    for _ in 0..3 {
        relay.send_encrypted(&alice, &bob);
    }
    wait::until_true("a full spool", || spool(&relay).len() == 30);
    assert_eq!(sink.tokens(), [] as [&str; 0]);
    process::signal(victim, Signal::KILL).expect("killing the service");

    wait::until_true("an empty spool", || spool(&relay).is_empty());
    let mut expected: Vec<_> = names.iter().flat_map(|name| [*name; 3]).collect();
    expected.sort_unstable();
    assert_eq!(sink.tokens(), expected);
    let now = relay.current_endpoints().expect("endpoints");
    assert_ne!(now.serve_pid, victim);
}

fn relay_with(sink: &Sink) -> Instance {
    Instance::with().push_url(sink.url()).start()
}

fn add_tokens(relay: &Instance, account: &Account, tokens: &[&str]) {
    let mut imap = relay.imap(account);
    for token in tokens {
        let answer = imap.set_metadata("INBOX", "/private/devicetoken", token);
        assert!(answer.expect("SETMETADATA").is_ok());
    }
}

fn tokens(relay: &Instance, account: &Account) -> Vec<String> {
    let json = relay.metadata_json(account);
    let tokens = json["devicetoken"].as_object().expect("tokens with times");
    tokens.keys().cloned().collect()
}

/// The finished files of the spool.
fn spool(relay: &Instance) -> Vec<PathBuf> {
    let dir = relay
        .endpoints()
        .mailboxes_dir
        .join("pending_notifications");
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .map(|entry| entry.expect("entry").path())
        .filter(|path| path.extension().is_none_or(|extension| extension != "tmp"))
        .collect()
}
