//! Delta Chat itself.

use std::process::{Command, Stdio};

use chatmail_tests::instance::Builder;
use chatmail_tests::{Instance, deltachat};

#[derive(serde::Deserialize)]
struct Times {
    onboarding: f64,
    joining: f64,
    one_way_median: f64,
    one_way_max: f64,
    messages: usize,
}

#[test]
fn two_profiles_onboard_join_by_invite_link_and_see_the_padlock() {
    let relay = roomy().start();
    talk(&relay, &relay);
}

#[test]
fn profiles_on_different_relays_join_by_invite_link_and_see_the_padlock() {
    let here = roomy().param("mail_domain", "here.test").start();
    let there = roomy()
        .param("mail_domain", "there.test")
        .peer(&here)
        .start();
    talk(&here, &there);
}

/// Twenty messages and the handshake leave within seconds.
fn roomy() -> Builder {
    Instance::with()
        .param("max_user_send_per_minute", 600)
        .param("max_user_send_burst_size", 100)
}

fn talk(alices: &Instance, bobs: &Instance) {
    let python = deltachat::python().unwrap_or_else(|error| panic!("{error}"));
    let profiles = tempfile::tempdir().expect("temporary directory");
    let links = [(alices, "alice"), (bobs, "bob")]
        .map(|(relay, name)| deltachat::login_link(relay.endpoints(), &relay.new_account(name)));

    let output = Command::new(python)
        .arg(deltachat::scripts().join("two_profiles.py"))
        .arg(profiles.path().join("accounts"))
        .args(links)
        .stderr(Stdio::inherit())
        .output()
        .expect("running Python");

    assert!(output.status.success(), "Delta Chat: {}", output.status);
    let times: Times = serde_json::from_slice(&output.stdout).expect("times");
    println!(
        "onboarding {:.2} s, secure-join {:.2} s, one-way message {:.3} s median, {:.3} s at most ({} messages)",
        times.onboarding, times.joining, times.one_way_median, times.one_way_max, times.messages
    );
    assert_eq!(times.messages, 20);
}
