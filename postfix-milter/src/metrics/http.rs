//! `GET /metrics`: one request for each connection, bounded in size, time and number.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use chatmail_sockets::{Listener, Stream};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD");

/// From the first octet of the request to the last one of the answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Octets of a request that are read. It has no use for a body.
const MOST_OCTETS: usize = 8 * 1024;

/// Connections at a time; others wait. One monitor opens one.
const MOST_CONNECTIONS: usize = 8;

/// Pause after a connection could not be accepted, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Answers monitors with what `encode` says at that moment, for ever.
pub async fn serve(listener: Listener, encode: impl Fn() -> String + Send + Sync + 'static) {
    let encode = Arc::new(encode);
    let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    // The semaphore is never closed.
    while let Ok(place) = Arc::clone(&places).acquire_owned().await {
        match listener.accept().await {
            Ok(stream) => {
                let encode = Arc::clone(&encode);
                tokio::spawn(async move {
                    if timeout(PATIENCE, connection(stream, &*encode))
                        .await
                        .is_err()
                    {
                        debug!("a request for metrics took too long");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                warn!(%error, "cannot accept a connection for metrics");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

async fn connection(stream: Stream, encode: &(impl Fn() -> String + Sync)) {
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(&request, encode)));
    let served = http1::Builder::new()
        .keep_alive(false)
        // The time is bounded as a whole.
        .header_read_timeout(None)
        .max_buf_size(MOST_OCTETS)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        debug!(%error, "a request for metrics failed");
    }
}

fn answer(request: &Request<Incoming>, encode: impl Fn() -> String) -> Response<String> {
    let text = |status, name: HeaderName, value, body: String| {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        response.headers_mut().insert(name, value);
        response
    };
    let known = request.method() == Method::GET || request.method() == Method::HEAD;
    match request.uri().path() {
        "/metrics" if known => text(StatusCode::OK, CONTENT_TYPE, OPEN_METRICS, encode()),
        "/metrics" => text(
            StatusCode::METHOD_NOT_ALLOWED,
            ALLOW,
            METHODS,
            String::new(),
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            CONTENT_TYPE,
            PLAIN,
            "Only /metrics is here.\n".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chatmail_sockets::{Access, Endpoint};
    use std::net::SocketAddr;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    /// A server on a port of its own, as long as the runtime lives.
    async fn server() -> SocketAddr {
        let endpoint: Endpoint = "inet:0@127.0.0.1".parse().unwrap();
        let access = Access {
            mode: 0o600,
            group: None,
        };
        let listener = Listener::bind(&endpoint, access).unwrap();
        let address = listener.tcp_address().unwrap();
        tokio::spawn(serve(listener, || "# EOF\n".to_owned()));
        address
    }

    /// Whatever comes back before the server hangs up.
    async fn ask(request: &[u8]) -> String {
        let mut stream = TcpStream::connect(server().await).await.unwrap();
        // A server that has heard enough may hang up in the middle.
        let _ = stream.write_all(request).await;
        read(&mut stream).await
    }

    async fn read(stream: &mut TcpStream) -> String {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8(answer).unwrap()
    }

    #[tokio::test]
    async fn a_monitor_gets_open_metrics() {
        let answer = ask(b"GET /metrics?x=1 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        assert!(answer.contains("content-type: application/openmetrics-text; version=1.0.0"));
        assert!(answer.ends_with("\r\n\r\n# EOF\n"), "{answer}");
        let answer = ask(b"HEAD /metrics HTTP/1.0\r\n\r\n").await;
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{answer}");
    }

    #[tokio::test]
    async fn everything_else_is_turned_away() {
        for (request, status) in [
            ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
            ("GET /metrics/ HTTP/1.1\r\nHost: x\r\n\r\n", "404 Not Found"),
            ("GET /etc/passwd HTTP/1.0\r\n\r\n", "404 Not Found"),
            (
                "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na=b",
                "405 Method Not Allowed\r\nallow: GET, HEAD",
            ),
            ("MAIL FROM:<x@y>\r\n\r\n", "400 Bad Request"),
        ] {
            let answer = ask(request.as_bytes()).await;
            let line = answer.split_once(' ').map_or("", |(_, rest)| rest);
            assert!(line.starts_with(status), "{request:?}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn a_request_that_does_not_end_is_cut_off() {
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "a".repeat(100_000));
        let answer = ask(long.as_bytes()).await;
        assert!(!answer.contains("200 OK"), "{answer}");
    }

    /// On a clock that jumps ahead when everybody waits.
    #[tokio::test(start_paused = true)]
    async fn clients_that_say_nothing_hold_up_others_for_a_while_only() {
        let started = tokio::time::Instant::now();
        let address = server().await;
        let mut silent = Vec::new();
        for _ in 0..MOST_CONNECTIONS {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let mut monitor = TcpStream::connect(address).await.unwrap();
        let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
        monitor.write_all(request).await.unwrap();
        let answer = read(&mut monitor).await;
        assert!(answer.contains("200 OK"), "{answer}");
        assert!(started.elapsed() >= PATIENCE);
        for mut stream in silent {
            assert_eq!(read(&mut stream).await, "");
        }
        assert!(started.elapsed() < PATIENCE * 2);
    }
}
