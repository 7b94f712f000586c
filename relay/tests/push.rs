//! Push delivery against a push service on loopback.

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime};

use chatmail_core::config::Config;
use chatmail_core::counters::{Counter, Counters};
use chatmail_core::push::Spool;
use chatmail_relay::push::Delivery;
use hyper::Version;
use support::{ADDRESS, Answer, PushServer, Relay, eventually};
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
        .with_first_pause(Duration::from_millis(20))
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
    let relay = Relay::with_timeout(&server, 1);
    relay.notify("openpgp:a", NEW);
    serve(&relay);
    eventually("the first request", || server.received().len() == 1).await;
    assert_eq!(relay.spooled().len(), 1, "not delivered yet");
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:a", "openpgp:a"]);
}

#[tokio::test]
async fn after_the_last_delay_of_the_schedule_a_notification_is_given_up() {
    let server = PushServer::http(|_, _| Answer::Status(403)).await;
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
async fn what_is_no_notification_is_moved_aside() {
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
    std::fs::create_dir(relay.spool().join("odd4")).expect("spool");
    relay.notify("openpgp:good", NEW);
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:good"]);
    assert_eq!(relay.aside(), ["odd0", "odd1", "odd2", "odd3", "odd4"]);
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
    let service = service(&relay);
    let status = service.status();
    run(service);
    eventually("the pause", || status.paused()).await;
    assert!(server.received().is_empty());
    assert_eq!(relay.spooled().len(), 1);
}

/// Tokens `openpgp:0`, `openpgp:1` …, sorted.
fn spooled_tokens(relay: &Relay, count: usize) -> Vec<String> {
    let mut tokens: Vec<_> = (0..count).map(|n| format!("openpgp:{n}")).collect();
    for token in &tokens {
        relay.notify(token, NEW);
    }
    tokens.sort();
    tokens
}

fn different(tokens: Vec<String>) -> Vec<String> {
    BTreeSet::from_iter(tokens).into_iter().collect()
}

#[tokio::test]
async fn many_requests_share_one_http_2_connection() {
    let slow = Answer::Slow(200, Duration::from_millis(20));
    let server = PushServer::https(&["h2", "http/1.1"], move |_, _| slow.clone()).await;
    let relay = Relay::new(&server);
    let tokens = spooled_tokens(&relay, 1500);
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), tokens);
    assert_eq!(server.connections(), 1);
    let most = server.most_at_once();
    assert!((200..=320).contains(&most), "{most} at once");
}

#[tokio::test]
async fn http_1_connections_are_few_and_used_again() {
    for tls in [true, false] {
        let slow = Answer::Slow(200, Duration::from_millis(5));
        let server = match tls {
            true => PushServer::https(&["http/1.1"], move |_, _| slow.clone()).await,
            false => PushServer::http(move |_, _| slow.clone()).await,
        };
        let relay = Relay::new(&server);
        let tokens = spooled_tokens(&relay, 300);
        let service = serve(&relay);
        eventually("an empty spool", || relay.spooled().is_empty()).await;
        assert_eq!(server.tokens(), tokens);
        let connections = server.connections();
        assert!((2..=32).contains(&connections), "{connections}");
        service.abort();
    }
}

#[tokio::test]
async fn a_connection_that_goes_away_in_the_middle_loses_nothing() {
    for politely in [true, false] {
        let slow = Answer::Slow(200, Duration::from_millis(50));
        let server = PushServer::https(&["h2"], move |_, _| slow.clone()).await;
        let relay = Relay::new(&server);
        let tokens = spooled_tokens(&relay, 900);
        let service = service(&relay);
        let status = service.status();
        let service = run(service);
        for round in [200, 500] {
            eventually("some", || server.received().len() >= round).await;
            match politely {
                true => server.go_away().await,
                false => server.hang_up().await,
            }
        }
        eventually("an empty spool", || relay.spooled().is_empty()).await;
        assert_eq!(different(server.tokens()), tokens);
        let connections = server.connections();
        assert!((2..=3).contains(&connections), "{connections}");
        assert!(!status.paused());
        service.abort();
    }
}

#[tokio::test]
async fn retry_after_is_waited_for_in_seconds_and_to_a_date() {
    let server = PushServer::http(|token, before| match (token, before) {
        ("openpgp:seconds", 0) => Answer::RetryAfter(503, "1".to_owned()),
        ("openpgp:date", 0) => {
            let date = SystemTime::now() + Duration::from_secs(2);
            Answer::RetryAfter(403, httpdate::fmt_http_date(date))
        }
        _ => Answer::Status(200),
    })
    .await;
    let relay = Relay::new(&server);
    relay.notify("openpgp:seconds", NEW);
    relay.notify("openpgp:date", NEW);
    serve(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    for token in ["openpgp:seconds", "openpgp:date"] {
        let received = server.received().into_iter();
        let times: Vec<_> = received.filter(|one| one.token == token).collect();
        let [first, second] = times.as_slice() else {
            panic!("{token}: {} requests", times.len());
        };
        let pause = second.at - first.at;
        assert!(pause >= Duration::from_millis(990), "{token}: {pause:?}");
        assert!(pause < Duration::from_secs(4), "{token}: {pause:?}");
    }
}

#[tokio::test]
async fn an_outage_uses_up_no_retries_and_is_asked_after_by_one_request_at_a_time() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server = PushServer::https(&["h2"], move |_, _| match is_well.load(Relaxed) {
        true => Answer::Status(200),
        false => Answer::Status(503),
    })
    .await;
    let relay = Relay::new(&server);
    let tokens = spooled_tokens(&relay, 400);
    let service = service(&relay);
    let status = service.status();
    run(service);
    eventually("the pause", || status.paused() && status.in_flight() == 0).await;
    let at_first = server.received().len();
    assert!(at_first < 400, "{at_first} requests before the pause");
    // 20, 40, 80 … 640 ms and a little more.
    tokio::time::sleep(Duration::from_millis(1900)).await;
    let asked: Vec<_> = server.received().split_off(at_first);
    assert!((4..=7).contains(&asked.len()), "{} probes", asked.len());
    let who: BTreeSet<_> = asked.iter().map(|one| &one.token).collect();
    assert_eq!(who.len(), asked.len(), "each probe is another one");
    assert_eq!(relay.spooled().len(), 400);
    assert_eq!(status.pending(), 400);
    let age = SystemTime::now().duration_since(status.oldest().expect("a time"));
    assert!(age.expect("past") < Duration::from_secs(20));

    well.store(true, Relaxed);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(different(server.tokens()), tokens);
    eventually("the end of the pause", || !status.paused()).await;
    eventually("nothing pending", || status.pending() == 0).await;
    assert_eq!(status.oldest(), None);
}

#[tokio::test]
async fn nobody_there_at_first_is_an_outage_like_any_other() {
    let server = PushServer::https(&["h2"], |_, _| Answer::Status(200)).await;
    let relay = Relay::new(&server);
    let ini = std::fs::read_to_string(relay.config_file()).expect("chatmail.ini");
    let gate = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let port = gate.expect("a port").local_addr().expect("address").port();
    let (_, real) = server.url.rsplit_once(':').expect("a port");
    let real: u16 = real.trim_end_matches("/notify").parse().expect("a port");
    let ini = ini.replace(&real.to_string(), &port.to_string());
    std::fs::write(relay.config_file(), ini).expect("chatmail.ini");
    let tokens = spooled_tokens(&relay, 100);
    let service = service(&relay);
    let status = service.status();
    run(service);
    eventually("the pause", || status.paused()).await;
    let gate = tokio::net::TcpListener::bind(("127.0.0.1", port)).await;
    let gate = gate.expect("the same port");
    tokio::spawn(async move {
        while let Ok((mut client, _)) = gate.accept().await {
            let server = tokio::net::TcpStream::connect(("127.0.0.1", real)).await;
            let mut server = server.expect("the server");
            tokio::spawn(async move {
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), tokens);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn equal_notifications_in_the_spool_are_sent_once_and_go_together() {
    let server = PushServer::https(&["h2"], |_, before| match before {
        0 => Answer::Status(403),
        _ => Answer::Slow(200, Duration::from_millis(300)),
    })
    .await;
    let relay = Relay::new(&server);
    for _ in 0..5 {
        relay.notify("openpgp:a", NEW);
    }
    serve(&relay);
    eventually("the second try", || server.received().len() == 2).await;
    assert_eq!(relay.spooled().len(), 5, "none goes before the answer");
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:a", "openpgp:a"]);
}

#[tokio::test]
async fn what_comes_after_a_request_is_sent_a_second_later_in_one() {
    let server = PushServer::http(|_, _| Answer::Status(200)).await;
    let relay = Relay::new(&server);
    serve(&relay);
    relay.notify("openpgp:a", NEW);
    eventually("the first", || relay.spooled().is_empty()).await;
    for _ in 0..5 {
        relay.notify("openpgp:a", NEW);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    relay.notify("openpgp:b", NEW);
    eventually("the other device", || server.received().len() == 2).await;
    assert_eq!(relay.spooled().len(), 5, "they wait");
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    let received = server.received();
    let tokens: Vec<_> = received.iter().map(|one| one.token.as_str()).collect();
    assert_eq!(tokens, ["openpgp:a", "openpgp:b", "openpgp:a"]);
    let pause = received[2].at - received[0].at;
    assert!(pause >= Duration::from_millis(990), "{pause:?}");
}

#[tokio::test]
async fn a_message_stored_during_the_request_wakes_the_device_once_more() {
    let server = PushServer::http(|_, _| Answer::Slow(200, Duration::from_millis(300))).await;
    let relay = Relay::new(&server);
    let spool = Spool::open(&relay.spool()).expect("spool");
    let add = || {
        let now = SystemTime::now();
        spool.add(ADDRESS, "openpgp:a", now).expect("spool")
    };
    serve(&relay);
    assert!(!add().replaced);
    eventually("the request", || server.received().len() == 1).await;
    // A notification that is being sent is never replaced; one that waits is.
    assert!(!add().replaced);
    assert!(add().replaced);
    assert_eq!(relay.spooled().len(), 2, "one on its way, one that waits");
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:a", "openpgp:a"]);
}

#[tokio::test]
async fn a_message_takes_the_place_of_a_notification_that_failed_and_is_tried_at_once() {
    let server = PushServer::http(|_, before| match before {
        0 => Answer::Status(403),
        _ => Answer::Status(200),
    })
    .await;
    let relay = Relay::new(&server);
    let spool = Spool::open(&relay.spool()).expect("spool");
    let config = Config::load(&relay.config_file()).expect("chatmail.ini");
    let hour = |_: SystemTime, failures: u32, _: SystemTime| {
        Some(Duration::from_secs(3600) * failures.min(1))
    };
    let service = Delivery::new(&config)
        .expect("a service")
        .with_schedule(hour);
    run(service);
    let add = || spool.add(ADDRESS, "openpgp:a", SystemTime::now());
    add().expect("spool");
    eventually("the first try", || server.received().len() == 1).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    add().expect("spool");
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.tokens(), ["openpgp:a", "openpgp:a"]);
}

#[tokio::test]
async fn a_shutdown_waits_for_no_answer_and_leaves_the_files() {
    let server = PushServer::https(&["h2"], |_, _| Answer::Silence).await;
    let relay = Relay::new(&server);
    spooled_tokens(&relay, 20);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let service = service(&relay);
    let running = tokio::spawn(service.run(async move { drop(stopped.await) }));
    eventually("the requests", || server.received().len() == 20).await;
    let begin = Instant::now();
    stop.send(()).expect("it runs");
    running.await.expect("no panic").expect("runs");
    assert!(begin.elapsed() < Duration::from_millis(500));
    assert_eq!(relay.spooled().len(), 20);
}

#[tokio::test]
async fn what_becomes_of_notifications_is_counted_for_all_processes() {
    let server = PushServer::https(&["h2"], |token, before| match (token, before) {
        ("openpgp:gone", _) => Answer::Status(410),
        ("openpgp:never", _) | ("openpgp:twice", 0) => Answer::Status(403),
        _ => Answer::Status(200),
    })
    .await;
    let relay = Relay::new(&server);
    for token in ["gone", "never", "twice", "fine", "fine", "fine"] {
        relay.notify(&format!("openpgp:{token}"), NEW);
    }
    std::fs::write(relay.spool().join("odd"), "odd").expect("spool");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = tokio::spawn(service(&relay).run(async move { drop(stopped.await) }));
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    stop.send(()).expect("it runs");
    running.await.expect("no panic").expect("runs");
    let config = Config::load(&relay.config_file()).expect("chatmail.ini");
    let counters = Counters::new(&config.mailboxes()).read().expect("counters");
    let count = |counter: Counter| {
        let found = counters.iter().find(|(name, _)| *name == counter.name());
        found.expect("a counter").1
    };
    let counted = [
        Counter::PushDelivered,
        Counter::PushMerged,
        Counter::PushDeviceGone,
        Counter::PushGivenUp,
        Counter::PushUnreadable,
        Counter::PushRetry,
    ];
    assert_eq!(counted.map(count), [2, 2, 1, 1, 1, 5]);
}
