//! Push delivery against a push service on loopback.

mod support;

use std::time::{Duration, SystemTime};

use chatmail_core::config::Config;
use chatmail_relay::push::Delivery;
use hyper::Version;
use support::{Answer, PushServer, Relay, eventually};
use tokio::task::JoinHandle;

const NEW: Duration = Duration::ZERO;

/// Runs the service in the background of the test, with retries after milliseconds.
fn serve(relay: &Relay) -> JoinHandle<()> {
    run(service(relay))
}

fn run(service: Delivery) -> JoinHandle<()> {
    tokio::spawn(async move { service.run(std::future::pending()).await.expect("runs") })
}

fn service(relay: &Relay) -> Delivery {
    let config = Config::load(&relay.config_file()).expect("chatmail.ini");
    let schedule = |since: SystemTime, failures: u32, now: SystemTime| {
        let pause = [0, 10, 20, 40, 80].get(failures as usize)?;
        let age = now.duration_since(since).unwrap_or_default();
        (age < Duration::from_secs(3600)).then_some(Duration::from_millis(*pause))
    };
    Delivery::new(&config)
        .expect("a service")
        .with_schedule(schedule)
}

#[tokio::test]
async fn each_token_is_posted_once_whether_it_came_before_the_start_or_after() {
    let server = PushServer::https(&["h2", "http/1.1"], |_, _| Answer::Status(200)).await;
    let relay = Relay::new(&server);
    let mut tokens: Vec<_> = (0..200).map(|n| format!("openpgp:token{n:03}")).collect();
    for token in &tokens[..100] {
        relay.notify(token, NEW);
    }
    let service = serve(&relay);
    eventually("the first half", || server.received().len() >= 100).await;
    for token in &tokens[100..] {
        relay.notify(token, NEW);
    }
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    tokens.sort();
    assert_eq!(server.tokens(), tokens);
    for request in server.received() {
        assert_eq!(
            (request.method.as_str(), request.version),
            ("POST", Version::HTTP_2)
        );
    }
    assert!(!service.is_finished());
}

#[tokio::test]
async fn a_push_service_without_http_2_is_spoken_to_in_http_1() {
    let server = PushServer::https(&["http/1.1"], |_, _| Answer::Status(200)).await;
    let relay = Relay::new(&server);
    relay.notify("openpgp:a", NEW);
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:a"]);
    assert_eq!(server.received()[0].version, Version::HTTP_11);
}

#[tokio::test]
async fn a_push_service_without_tls_works_too() {
    let server = PushServer::http(|_, _| Answer::Status(200)).await;
    let relay = Relay::new(&server);
    relay.notify("openpgp:a", NEW);
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:a"]);
}

#[tokio::test]
async fn an_error_is_tried_again_and_holds_nobody_else_up() {
    let server = PushServer::http(|token, before| match (token, before) {
        ("openpgp:unlucky", 0) => Answer::Status(500),
        ("openpgp:unlucky", 1) => Answer::Status(403),
        ("openpgp:unlucky", 2) => Answer::Status(302),
        _ => Answer::Status(200),
    })
    .await;
    let relay = Relay::new(&server);
    relay.notify("openpgp:unlucky", NEW);
    relay.notify("openpgp:lucky", NEW);
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    let unlucky = "openpgp:unlucky";
    assert_eq!(
        server.tokens(),
        ["openpgp:lucky", unlucky, unlucky, unlucky, unlucky]
    );
}

#[tokio::test]
async fn silence_is_tried_again_after_the_time_out() {
    let server = PushServer::http(|_, before| match before {
        0 => Answer::Silence,
        _ => Answer::Status(200),
    })
    .await;
    let relay = Relay::new(&server);
    relay.notify("openpgp:a", NEW);
    serve(&relay);
    eventually("the first request", || server.received().len() == 1).await;
    assert_eq!(relay.spooled().len(), 1, "not delivered yet");
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:a", "openpgp:a"]);
}

#[tokio::test]
async fn after_the_last_delay_of_the_schedule_a_notification_is_given_up() {
    let server = PushServer::http(|_, _| Answer::Status(500)).await;
    let relay = Relay::new(&server);
    relay.notify("openpgp:a", NEW);
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(
        server.received().len(),
        5,
        "the first attempt and four retries"
    );
}

#[tokio::test]
async fn a_device_that_is_gone_loses_its_token_and_no_other_does() {
    let server = PushServer::http(|token, _| match token {
        "openpgp:gone" => Answer::Status(410),
        _ => Answer::Status(200),
    })
    .await;
    let relay = Relay::new(&server);
    let metadata = relay.mailbox().join("metadata.json");
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let text =
        format!(r#"{{"devicetoken":{{"openpgp:gone":{now},"openpgp:here":{now}}},"other":7}}"#);
    std::fs::write(&metadata, text).expect("metadata.json");
    relay.notify("openpgp:gone", NEW);
    relay.notify("openpgp:here", NEW);
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:gone", "openpgp:here"]);
    let text = std::fs::read_to_string(&metadata).expect("metadata.json");
    let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let expected = serde_json::json!({"devicetoken": {"openpgp:here": now}, "other": 7});
    assert_eq!(json, expected);
}

#[tokio::test]
async fn a_gone_device_of_a_removed_mailbox_is_no_trouble() {
    let server = PushServer::http(|_, _| Answer::Status(410)).await;
    let relay = Relay::new(&server);
    std::fs::remove_dir_all(relay.mailbox()).expect("removed");
    relay.notify("openpgp:gone", NEW);
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn a_message_older_than_the_deadline_notifies_nobody() {
    let server = PushServer::http(|_, _| Answer::Status(200)).await;
    let relay = Relay::new(&server);
    relay.notify("openpgp:old", Duration::from_secs(3601));
    relay.notify("openpgp:young", Duration::from_secs(3000));
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:young"]);
}

#[tokio::test]
async fn what_is_no_notification_is_cleared_away() {
    let server = PushServer::http(|_, _| Answer::Status(200)).await;
    let relay = Relay::new(&server);
    let odd: [&[u8]; 4] = [
        b"",
        b"one line",
        b"alice@chat.test\nyesterday\nopenpgp:a",
        b"\xff\xfe\n1\n\xff",
    ];
    for (n, bytes) in odd.iter().enumerate() {
        std::fs::write(relay.spool().join(format!("odd{n}")), bytes).expect("spool");
    }
    relay.notify("openpgp:good", NEW);
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:good"]);
}

#[tokio::test]
async fn a_file_the_watch_does_not_tell_of_is_found_by_the_sweep() {
    let server = PushServer::http(|_, _| Answer::Status(200)).await;
    let relay = Relay::new(&server);
    relay.notify("openpgp:first", NEW);
    run(service(&relay).with_sweep_every(Duration::from_millis(50)));
    eventually("the start", || relay.spooled().is_empty()).await;
    // A link is no rename.
    let file = relay.notify("openpgp:linked", NEW);
    let elsewhere = relay.directory.path().join("elsewhere");
    std::fs::rename(&file, &elsewhere).expect("away before the service looks");
    std::fs::hard_link(&elsewhere, relay.spool().join("linked")).expect("a link");
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:first", "openpgp:linked"]);
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_not_trusted() {
    let server = PushServer::https(&["http/1.1"], |_, _| Answer::Status(200)).await;
    let other = PushServer::https(&["http/1.1"], |_, _| Answer::Status(200)).await;
    let relay = Relay::new(&server);
    std::fs::write(
        relay.directory.path().join("authority.pem"),
        &other.authority,
    )
    .expect("authority");
    relay.notify("openpgp:a", NEW);
    serve(&relay);
    // Four retries, all in vain, and the notification is given up.
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert!(server.received().is_empty());
}
