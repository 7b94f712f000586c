//! `/new`: who gets an account, and what the others hear.

use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, SystemTime};

use chatmail_core::auth::{Authenticator, Login};
use chatmail_core::counters::Counters;
use chatmail_core::invite::Invites;

use tokio::io::AsyncWriteExt;

use super::server::{PATIENCE, Server};

const PATHS: [&str; 2] = ["/new", "/cgi-bin/newemail.py"];

#[tokio::test]
async fn a_post_makes_an_account_that_can_log_in() {
    let server = Server::start("username_max_length = 12\npassword_min_length = 10").await;
    for path in PATHS {
        let answer = server.ask(&format!("POST {path}")).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.field("content-type"), "application/json");
        assert_eq!(answer.field("cache-control"), "no-store");
        let json = answer.json();
        let email = json["email"].as_str().unwrap();
        let password = json["password"].as_str().unwrap();
        assert_eq!(email.len(), 12 + "@chat.example".len(), "{email}");
        assert_eq!(password.len(), 13);
        assert_eq!(json.as_object().unwrap().len(), 2, "{json}");
        let auth = Authenticator::new(&server.config);
        let login = auth.login(email.as_bytes(), password.as_bytes(), None);
        assert!(matches!(login.unwrap(), Login::Known(_)));
        let mailbox = server.config.mailboxes_dir.join(email);
        let mode = std::fs::metadata(mailbox).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o700);
    }
    assert_eq!(server.mailboxes(), 2);
}

#[tokio::test]
async fn a_browser_is_led_to_delta_chat_with_its_invitation() {
    let server = Server::start("registration = invite").await;
    let token = "0123456789abcdefghiJKL";
    for path in PATHS {
        for (query, kept) in [
            (String::new(), String::new()),
            (format!("?token={token}"), format!("?token={token}")),
            (format!("?x=1&token={token}&y"), format!("?token={token}")),
            ("?token=x".to_owned(), String::new()),
            ("?token=0123456789abcdefghi%0d%0a".to_owned(), String::new()),
            ("?t=1w_7wDjgjelxeX884x96v3".to_owned(), String::new()),
        ] {
            for method in ["GET", "HEAD"] {
                let answer = server.ask(&format!("{method} {path}{query}")).await;
                assert_eq!(answer.status, 301, "{answer:?}");
                let link = format!("dcaccount:https://chat.example/new{kept}");
                assert_eq!(answer.field("location"), link);
            }
        }
    }
    assert_eq!(server.mailboxes(), 0);
}

#[tokio::test]
async fn a_self_signed_relay_gives_a_link_to_its_web_page_too() {
    for (domain, hosts) in [
        ("_chat.example", ""),
        ("127.0.0.1", "&ih=127.0.0.1&sh=127.0.0.1"),
    ] {
        let server = Server::of(domain, "").await;
        for method in ["GET", "POST"] {
            let answer = server.ask(&format!("{method} /new")).await;
            assert_eq!(answer.status, 200, "{answer:?}");
            let json = answer.json();
            let (email, url) = (&json["email"], json["dclogin_url"].as_str().unwrap());
            let begin = format!("dclogin:{}?p=", email.as_str().unwrap());
            assert!(url.starts_with(&begin), "{url}");
            assert!(url.ends_with(&format!("&v=1{hosts}&ic=3")), "{url}");
        }
        assert_eq!(server.ask("HEAD /new").await.status, 405);
        assert_eq!(server.mailboxes(), 2);
    }
}

#[tokio::test]
async fn each_refusal_has_a_status_and_a_reason_to_show() {
    for (keys, status, reason, retry) in [
        ("registration = closed", 403, "takes no new accounts", ""),
        ("registration = invite", 403, "need an invitation", ""),
        (
            "max_network_signups_per_hour = 0",
            429,
            "your network",
            "3600",
        ),
        (
            "max_signups_per_hour = 0",
            429,
            "Too many new accounts",
            "3600",
        ),
        ("max_load_1m = 0", 503, "busy", "60"),
        ("min_available_memory = 9999999G", 503, "busy", "60"),
        (
            "username_min_length = 10",
            503,
            "cannot make accounts",
            "60",
        ),
    ] {
        let server = Server::start(keys).await;
        let answer = server.ask("POST /new").await;
        // An idle machine has no load at all at times.
        if keys == "max_load_1m = 0" && answer.status == 200 {
            continue;
        }
        assert_eq!(answer.status, status, "{keys}: {answer:?}");
        assert!(answer.reason().contains(reason), "{keys}: {answer:?}");
        assert_eq!(answer.field("retry-after"), retry, "{keys}");
        assert_eq!(answer.field("content-type"), "application/json");
        assert_eq!(server.mailboxes(), 0);
    }
}

#[tokio::test]
async fn the_kill_switch_counts_at_once() {
    let server = Server::start("").await;
    assert_eq!(server.ask("POST /new").await.status, 200);
    let switch = server.dir.path().join("nocreate");
    std::fs::write(&switch, "").unwrap();
    assert_eq!(server.ask("POST /new").await.status, 403);
    std::fs::remove_file(&switch).unwrap();
    assert_eq!(server.ask("POST /new").await.status, 200);
}

#[tokio::test]
async fn what_cannot_be_told_is_put_off_without_a_word_of_files() {
    let server = Server::start("").await;
    let mail = server.dir.path().join("mail");
    std::fs::remove_dir_all(&mail).unwrap();
    std::fs::write(&mail, "").unwrap();
    let answer = server.ask("POST /new").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.field("retry-after"), "60");
    assert!(!answer.body.contains('/'), "{answer:?}");
}

#[tokio::test]
async fn an_invitation_is_good_once_and_the_rest_hear_why_not() {
    let server = Server::start("registration = invite").await;
    let one = server.invite(1);
    let invites = Invites::new(&server.config.mailboxes());
    let past = SystemTime::now() - Duration::from_secs(1);
    let over = invites.create(None, Some(past)).unwrap();
    let ask = async |token: &str| {
        let answer = server.ask(&format!("POST /new?token={token}")).await;
        (answer.status, answer.reason())
    };
    assert_eq!(ask(&one.token).await.0, 200);
    let (status, reason) = ask(&one.token).await;
    assert_eq!((status, reason.contains("used")), (403, true), "{reason}");
    let (status, reason) = ask(&over.token).await;
    assert_eq!(
        (status, reason.contains("expired")),
        (403, true),
        "{reason}"
    );
    for unknown in ["", "x", "0123456789abcdefghijkl", "%30", &"a".repeat(4000)] {
        let (status, reason) = ask(unknown).await;
        assert_eq!(
            (status, reason.contains("not known")),
            (403, true),
            "{reason}"
        );
    }
    assert_eq!(server.mailboxes(), 1);
}

#[tokio::test]
async fn of_twenty_at_a_time_with_one_invitation_one_gets_an_account() {
    let server = Server::start("registration = invite").await;
    let line = format!("POST /new?token={}", server.invite(1).token);
    let answers = futures_util::future::join_all((0..20).map(|_| server.ask(&line))).await;
    let made = answers.iter().filter(|answer| answer.status == 200);
    assert_eq!(made.count(), 1);
    let refused = answers.iter().filter(|answer| answer.status == 403);
    assert_eq!(refused.count(), 19);
    assert_eq!(server.mailboxes(), 1);
}

#[tokio::test]
async fn accounts_of_a_network_are_limited_whoever_asks_at_a_time() {
    let server = Server::start("max_network_signups_per_hour = 5\nmax_signups_per_hour = 8").await;
    let ask = async |network: u8| {
        let clients = (0..20).map(|host| format!("192.0.{network}.{host}"));
        let asked = clients.map(|client| async move { client });
        let asked = asked.map(|client| async { server.ask_for(&client.await, "POST /new").await });
        let answers = futures_util::future::join_all(asked).await;
        let limited = answers.iter().filter(|answer| answer.status == 429);
        let made = answers.iter().filter(|answer| answer.status == 200);
        let waits = answers.iter().find(|answer| answer.status == 429);
        (
            made.count(),
            limited.count(),
            waits.unwrap().field("retry-after").to_owned(),
        )
    };
    assert_eq!(ask(2).await, (5, 15, "720".to_owned()));
    assert_eq!(ask(3).await, (3, 17, "450".to_owned()));
    assert_eq!(server.mailboxes(), 8);
}

#[tokio::test]
async fn guesses_at_invitations_are_limited() {
    let server = Server::start("registration = invite\nmax_network_signups_per_hour = 3").await;
    let good = server.invite(1);
    for _ in 0..3 {
        assert_eq!(server.ask("POST /new?token=guess").await.status, 403);
    }
    let good = format!("POST /new?token={}", good.token);
    assert_eq!(server.ask(&good).await.status, 429);
    assert_eq!(server.ask_for("192.0.3.7", &good).await.status, 200);
}

/// A web server hangs up when its client does.
#[tokio::test]
async fn clients_that_go_away_leave_no_work_behind() {
    let server = Server::start("").await;
    let held = server.hold_up();
    for _ in 0..100 {
        let mut stream = server.connect().await;
        let request = b"POST /new HTTP/1.1\r\nHost: x\r\n\r\n";
        stream.write_all(request).await.unwrap();
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    drop(held);
    let answer = server.ask("POST /new").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // Two were being made already when their clients went away.
    assert!(server.mailboxes() <= 3, "{}", server.mailboxes());
}

#[tokio::test]
async fn too_many_at_a_time_hear_so_at_once_and_the_others_are_served() {
    let server = Server::start("").await;
    let held = server.hold_up();
    let mut asked: Vec<_> = (0..40).map(|_| Box::pin(server.ask("POST /new"))).collect();
    // 32 wait for the lock, or for those that do.
    for _ in 0..8 {
        let first = futures_util::future::select_all(asked);
        let (answer, _, others) = tokio::time::timeout(PATIENCE, first).await.unwrap();
        assert_eq!(answer.status, 503, "{answer:?}");
        assert_eq!(answer.field("retry-after"), "2");
        asked = others;
    }
    drop(held);
    let answers = futures_util::future::join_all(asked).await;
    assert!(
        answers.iter().all(|answer| answer.status == 200),
        "{answers:?}"
    );
    assert_eq!(server.mailboxes(), 32);
    let counted = Counters::new(&server.config.mailboxes()).read().unwrap();
    let of = |name: &str| counted.iter().find(|(known, _)| *known == name).unwrap().1;
    assert_eq!(of(r#"chatmail_accounts_new_total{by="web"}"#), 32);
    assert_eq!(of(r#"chatmail_new_refused_total{reason="busy"}"#), 8);
}
