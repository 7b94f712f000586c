//! Whose request it is, and health.

use super::server::{Server, ask_on};

const LIMIT: &str = "max_network_signups_per_hour = 1";

#[tokio::test]
async fn a_unix_socket_and_trusted_proxies_tell_the_clients_address() {
    let server = Server::start(LIMIT).await;
    assert_eq!(server.ask_for("192.0.2.7", "POST /new").await.status, 200);
    let spoofed = "198.51.100.1, 192.0.2.8";
    assert_eq!(server.ask_for(spoofed, "POST /new").await.status, 429);
    let mut proxy = server.connect_tcp().await;
    assert_eq!(
        ask_on(&mut proxy, "POST /new", "192.0.2.9").await.status,
        429
    );
    let mut proxy = server.connect_tcp().await;
    assert_eq!(
        ask_on(&mut proxy, "POST /new", "2001:db8::7").await.status,
        200
    );
    let mut proxy = server.connect_tcp().await;
    // Another network within the /56: the same site.
    let neighbour = ask_on(&mut proxy, "POST /new", "2001:db8:0:0:1::8").await;
    assert_eq!(neighbour.status, 429);
    // Who does not say is unknown, and limited by the rate of all alone.
    for _ in 0..2 {
        assert_eq!(server.ask_for("", "POST /new").await.status, 200);
    }
}

#[tokio::test]
async fn nobody_else_is_believed() {
    let server = Server::start(&format!("{LIMIT}\ntrusted_proxies = 192.0.2.1")).await;
    let mut client = server.connect_tcp().await;
    assert_eq!(
        ask_on(&mut client, "POST /new", "192.0.2.7").await.status,
        200
    );
    let mut client = server.connect_tcp().await;
    assert_eq!(
        ask_on(&mut client, "POST /new", "198.51.100.7")
            .await
            .status,
        429
    );
}

#[tokio::test]
async fn health_is_200_until_something_cannot_be_written_to() {
    let server = Server::start("").await;
    let answer = server.ask("GET /healthz").await;
    assert_eq!(
        (answer.status, answer.body.as_str()),
        (200, r#"{"status":"ok"}"#)
    );
    assert_eq!(server.ask("HEAD /healthz").await.body, "");

    let spool = server.config.mailboxes().push_spool();
    std::fs::remove_dir(&spool).unwrap();
    let answer = server.ask("GET /healthz").await;
    assert_eq!(answer.status, 503);
    assert!(answer.reason().contains("push spool"), "{answer:?}");
    std::fs::write(&spool, "").unwrap();
    assert!(
        server
            .ask("GET /healthz")
            .await
            .reason()
            .contains("not a directory")
    );

    std::fs::remove_dir_all(&server.config.mailboxes_dir).unwrap();
    let reason = server.ask("GET /healthz").await.reason();
    assert!(reason.contains("the mailboxes: "), "{reason}");
    assert!(reason.contains("; the push spool: "), "{reason}");
}
