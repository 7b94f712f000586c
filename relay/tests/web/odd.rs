//! Clients that do not speak HTTP, say too much, say nothing, or say it slowly.

use tokio::io::AsyncWriteExt;
use tokio::time::{Duration, Instant, sleep};

use super::server::{PATIENCE, Server, parse, rest};

#[tokio::test]
async fn other_paths_and_methods_are_refused_in_json() {
    let server = Server::start("").await;
    for (line, status, allow) in [
        ("GET /", 404, ""),
        ("POST /", 404, ""),
        ("POST /new/", 404, ""),
        ("POST /NEW", 404, ""),
        ("POST //new", 404, ""),
        ("POST /new/../new", 404, ""),
        ("POST /ne%77", 404, ""),
        ("GET /etc/passwd", 404, ""),
        ("PUT /new", 405, "GET, HEAD, POST"),
        ("DELETE /new", 405, "GET, HEAD, POST"),
        ("OPTIONS /new", 405, "GET, HEAD, POST"),
        ("new /new", 405, "GET, HEAD, POST"),
        ("POST /healthz", 405, "GET, HEAD"),
        ("POST /metrics", 405, "GET, HEAD"),
    ] {
        let answer = server.ask(line).await;
        assert_eq!(
            (answer.status, answer.field("allow")),
            (status, allow),
            "{line}"
        );
        assert!(!answer.reason().is_empty(), "{line}");
    }
    assert_eq!(server.mailboxes(), 0);
}

#[tokio::test]
async fn what_is_not_http_gets_no_account() {
    let server = Server::start("").await;
    let long = "a".repeat(100_000);
    for request in [
        "",
        "\r\n\r\n",
        "POST /new\r\n\r\n",
        "POST /new HTTP/3.0\r\n\r\n",
        "MAIL FROM:<a@b>\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "POST /new HTTP/1.1\r\nHost: x\r\n",
        "POST /new HTTP/1.1\r\nHost: x\r\nContent-Length: x\r\n\r\n",
        "POST /new HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        "POST /new HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nshort",
        "POST /new HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nnonsense\r\n",
        "POST /new HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        "POST /new HTTP/1.1\r\nHost : x\r\n\r\n",
        &format!("POST /new?{long} HTTP/1.1\r\nHost: x\r\n\r\n"),
        &format!("POST /new HTTP/1.1\r\nHost: x\r\nX: {long}\r\n\r\n"),
        &format!("POST /new HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(100)),
        &format!("POST /new HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n{long}"),
        &format!(
            "POST /new HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n186a0\r\n{long}\r\n0\r\n\r\n"
        ),
    ] {
        let answer = server.raw(request.as_bytes()).await;
        assert!(!answer.contains("200 OK"), "{request:.60}: {answer}");
        assert!(!answer.contains("password"), "{request:.60}: {answer}");
    }
    assert_eq!(server.mailboxes(), 0);
    assert_eq!(server.ask("POST /new").await.status, 200);
}

#[tokio::test]
async fn a_body_is_read_if_it_is_short() {
    let server = Server::start("").await;
    let with_body = |length: usize| {
        let body = "a".repeat(length);
        format!("POST /new HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    for (length, status) in [(0, 200), (4096, 200), (4097, 413), (50_000, 413)] {
        let answer = parse(&server.talk(with_body(length).as_bytes()).await);
        assert_eq!(answer.status, status, "{length}");
        assert_eq!(answer.json()["password"].is_string(), status == 200);
    }
    let chunked = "POST /new HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n3\r\na=b\r\n0\r\n\r\n";
    assert_eq!(parse(&server.talk(chunked.as_bytes()).await).status, 200);
    assert_eq!(server.mailboxes(), 3);
}

#[tokio::test]
async fn requests_that_come_in_one_go_are_answered_one_by_one() {
    let server = Server::start("").await;
    let one = "POST /new HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answers = server
        .talk(format!("{}{last}", one.repeat(5)).as_bytes())
        .await;
    let statuses: Vec<&str> = answers
        .split("HTTP/1.1 ")
        .skip(1)
        .map(|answer| &answer[..3])
        .collect();
    assert_eq!(statuses, ["200", "200", "200", "200", "200", "404"]);
    assert_eq!(server.mailboxes(), 5);
}

/// On a clock that jumps ahead when everybody waits.
#[tokio::test(start_paused = true)]
async fn a_request_that_comes_slowly_is_cut_off() {
    let server = Server::start("").await;
    for (begin, each, answer) in [
        ("POST /new HTTP/1.1\r\nHost: x\r\n", "X: y\r\n", ""),
        (
            "POST /new HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n",
            "a",
            "408",
        ),
        ("", "", ""),
    ] {
        let started = Instant::now();
        let mut stream = server.connect().await;
        stream.write_all(begin.as_bytes()).await.unwrap();
        let (mut reader, mut writer) = stream.into_split();
        let drip = async {
            while writer.write_all(each.as_bytes()).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        };
        let heard = tokio::select! {
            () = drip => rest(&mut reader).await,
            heard = rest(&mut reader) => heard,
        };
        assert!(
            heard.contains(answer) && !heard.contains("200 OK"),
            "{heard}"
        );
        assert!(
            started.elapsed() < Duration::from_secs(15),
            "{:?}",
            started.elapsed()
        );
    }
    assert_eq!(server.mailboxes(), 0);
}

/// On a clock that jumps ahead when everybody waits.
#[tokio::test(start_paused = true)]
async fn clients_that_say_nothing_hold_up_others_for_a_while_only() {
    let server = Server::start("").await;
    let started = Instant::now();
    let mut silent = Vec::new();
    for _ in 0..128 {
        silent.push(server.connect().await);
    }
    assert_eq!(server.ask("GET /healthz").await.status, 200);
    let waited = started.elapsed();
    assert!(waited >= Duration::from_secs(9), "{waited:?}");
    assert!(waited < Duration::from_secs(15), "{waited:?}");
}

/// On a clock that jumps ahead when everybody waits.
#[tokio::test(start_paused = true)]
async fn a_connection_does_not_last_for_ever() {
    let server = Server::start("").await;
    let started = Instant::now();
    let mut stream = server.connect().await;
    let request = b"GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n";
    while stream.write_all(request).await.is_ok() {
        sleep(Duration::from_secs(2)).await;
        assert!(started.elapsed() < Duration::from_secs(90));
    }
    assert!(started.elapsed() >= Duration::from_secs(58));
}

#[tokio::test]
async fn a_stop_lets_requests_end_that_are_under_way_and_nothing_else() {
    let mut server = Server::start("").await;
    let held = server.hold_up();
    let mut idle = server.connect().await;
    let mut busy = server.connect().await;
    let request = b"POST /new HTTP/1.1\r\nHost: x\r\n\r\n";
    busy.write_all(request).await.unwrap();
    // Until the server has read it.
    sleep(Duration::from_millis(200)).await;
    server.stop();
    let hung_up = tokio::time::timeout(PATIENCE, rest(&mut idle)).await;
    assert_eq!(hung_up.unwrap(), "");
    assert!(
        tokio::net::UnixStream::connect(server.socket())
            .await
            .is_err()
    );
    assert!(!server.ended.is_finished());
    drop(held);
    let answer = parse(&rest(&mut busy).await);
    assert_eq!(answer.status, 200, "{answer:?}");
    let ended = tokio::time::timeout(PATIENCE, &mut server.ended).await;
    ended.unwrap().unwrap().unwrap();
}
