//! A push service and a relay's directories, for the tests of `chatmail serve`.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::header::RETRY_AFTER;
use hyper::service::service_fn;
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

pub(crate) const ADDRESS: &str = "alice@chat.test";

/// What the push service does with a request.
#[derive(Clone)]
pub(crate) enum Answer {
    Status(u16),
    /// After a while.
    Slow(u16, Duration),
    /// With this Retry-After.
    RetryAfter(u16, String),
    Silence,
}

/// What becomes of the connections there are.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Serve,
    /// Answer what has come, and take no more.
    GoAway,
    /// Nothing more is said.
    HangUp,
}

/// What to do with a token that was received so many times before.
type Answering = dyn Fn(&str, usize) -> Answer + Send + Sync;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) at: Instant,
    pub(crate) token: String,
    pub(crate) version: Version,
    pub(crate) method: hyper::Method,
}

/// A push service on loopback, in the runtime of the test.
pub(crate) struct PushServer {
    pub(crate) url: String,
    /// PEM of the authority that signed its certificate.
    pub(crate) authority: String,
    log: Arc<Log>,
    orders: watch::Sender<Order>,
}

/// What came, and how.
#[derive(Default)]
struct Log {
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    unanswered: AtomicUsize,
    most_unanswered: AtomicUsize,
}

impl PushServer {
    /// Speaks HTTPS with these ALPN protocols. `answer` is given the token and how many requests
    /// with it came before.
    pub(crate) async fn https(
        protocols: &[&str],
        answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> PushServer {
        let authority_key = rcgen::KeyPair::generate().expect("key");
        let mut authority = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority_pem = authority
            .self_signed(&authority_key)
            .expect("authority")
            .pem();
        let issuer = rcgen::Issuer::new(authority, authority_key);
        let key = rcgen::KeyPair::generate().expect("key");
        let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()])
            .expect("parameters")
            .signed_by(&key, &issuer)
            .expect("certificate");
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .expect("certificate");
        tls.alpn_protocols = protocols
            .iter()
            .map(|name| name.as_bytes().to_vec())
            .collect();
        PushServer::start(
            Some(TlsAcceptor::from(Arc::new(tls))),
            authority_pem,
            answer,
        )
        .await
    }

    /// Speaks HTTP without TLS.
    pub(crate) async fn http(
        answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> PushServer {
        PushServer::start(None, String::new(), answer).await
    }

    async fn start(
        tls: Option<TlsAcceptor>,
        authority: String,
        answer: impl Fn(&str, usize) -> Answer + Send + Sync + 'static,
    ) -> PushServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("address").port();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let log = Arc::new(Log::default());
        let answer: Arc<Answering> = Arc::new(answer);
        let (orders, obeyed) = watch::channel(Order::Serve);
        let to = Arc::clone(&log);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, log, answer) = (tls.clone(), Arc::clone(&to), Arc::clone(&answer));
                let orders = obeyed.clone();
                log.connections.fetch_add(1, Relaxed);
                tokio::spawn(async move {
                    // A client that goes away in the middle is part of the tests.
                    let Some(tls) = tls else {
                        return talk(stream, log, answer, orders).await;
                    };
                    if let Ok(stream) = tls.accept(stream).await {
                        talk(stream, log, answer, orders).await;
                    }
                });
            }
        });
        PushServer {
            url: format!("{scheme}://localhost:{port}/notify"),
            authority,
            log,
            orders,
        }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.log.received.lock().expect("not poisoned").clone()
    }

    /// Connections that were made.
    pub(crate) fn connections(&self) -> usize {
        self.log.connections.load(Relaxed)
    }

    /// The most requests that waited for their answers at one time.
    pub(crate) fn most_at_once(&self) -> usize {
        self.log.most_unanswered.load(Relaxed)
    }

    /// Ends the connections there are after the answers to what has come; new ones are served.
    pub(crate) async fn go_away(&self) {
        self.order(Order::GoAway).await;
    }

    /// Ends the connections there are at once; new ones are served.
    pub(crate) async fn hang_up(&self) {
        self.order(Order::HangUp).await;
    }

    async fn order(&self, order: Order) {
        self.orders.send_replace(order);
        // Each connection has a look before the next one is accepted.
        tokio::task::yield_now().await;
    }

    pub(crate) fn tokens(&self) -> Vec<String> {
        let mut tokens: Vec<_> = self
            .received()
            .into_iter()
            .map(|request| request.token)
            .collect();
        tokens.sort();
        tokens
    }
}

/// Serves one connection to its end.
async fn talk(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    log: Arc<Log>,
    answer: Arc<Answering>,
    mut orders: watch::Receiver<Order>,
) {
    let service = service_fn(move |request| serve(request, Arc::clone(&log), Arc::clone(&answer)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http2().max_concurrent_streams(1000);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    orders.mark_unchanged();
    loop {
        tokio::select! {
            _ = connection.as_mut() => return,
            Ok(()) = orders.changed() => {
                let order = *orders.borrow_and_update();
                match order {
                    Order::Serve => {}
                    Order::GoAway => connection.as_mut().graceful_shutdown(),
                    Order::HangUp => return,
                }
            }
        }
    }
}

async fn serve(
    request: Request<Incoming>,
    log: Arc<Log>,
    answer: Arc<Answering>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (version, method) = (request.version(), request.method().clone());
    let Ok(body) = request.into_body().collect().await else {
        std::future::pending().await
    };
    let token = String::from_utf8(body.to_bytes().to_vec()).expect("a token");
    let before = {
        let mut received = log.received.lock().expect("not poisoned");
        let same = received.iter().filter(|request| request.token == token);
        let before = same.count();
        received.push(Received {
            at: Instant::now(),
            token: token.clone(),
            version,
            method,
        });
        before
    };
    let unanswered = log.unanswered.fetch_add(1, Relaxed) + 1;
    log.most_unanswered.fetch_max(unanswered, Relaxed);
    let mut response = Response::new(Empty::new());
    let status = match answer(&token, before) {
        Answer::Silence => std::future::pending().await,
        Answer::Status(status) => status,
        Answer::Slow(status, time) => {
            tokio::time::sleep(time).await;
            status
        }
        Answer::RetryAfter(status, value) => {
            let value = value.parse().expect("a header value");
            response.headers_mut().insert(RETRY_AFTER, value);
            status
        }
    };
    log.unanswered.fetch_sub(1, Relaxed);
    *response.status_mut() = status.try_into().expect("a status");
    Ok(response)
}

/// The directories of a relay with one mailbox, [`ADDRESS`].
pub(crate) struct Relay {
    pub(crate) directory: TempDir,
}

impl Relay {
    /// A relay that posts to `server`, with a time-out that no test waits for.
    pub(crate) fn new(server: &PushServer) -> Relay {
        Relay::with_timeout(server, 60)
    }

    /// The same, with a time-out in seconds.
    pub(crate) fn with_timeout(server: &PushServer, timeout: u32) -> Relay {
        let relay = Relay {
            directory: tempfile::tempdir().expect("a directory"),
        };
        std::fs::create_dir_all(relay.mailbox()).expect("mailbox");
        std::fs::write(relay.mailbox().join("password"), "").expect("password");
        std::fs::create_dir_all(relay.spool()).expect("spool");
        let mut ini = format!(
            "[params]\nmail_domain = chat.test\nmailboxes_dir = {}\npush_url = {}\npush_timeout = {timeout}\n",
            relay.directory.path().join("mail").display(),
            server.url
        );
        if !server.authority.is_empty() {
            let file = relay.directory.path().join("authority.pem");
            std::fs::write(&file, &server.authority).expect("authority");
            ini += &format!("push_ca_file = {}\n", file.display());
        }
        std::fs::write(relay.config_file(), ini).expect("chatmail.ini");
        relay
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.directory.path().join("chatmail.ini")
    }

    pub(crate) fn mailbox(&self) -> PathBuf {
        self.directory.path().join("mail").join(ADDRESS)
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.directory.path().join("mail/pending_notifications")
    }

    /// Leaves a notification in the spool as Dovecot does; `age` is that of the message.
    pub(crate) fn notify(&self, token: &str, age: Duration) -> PathBuf {
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .expect("after 1970")
            - age;
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let count = COUNT.fetch_add(1, Relaxed);
        // As the relay names them, and others.
        let name = match count % 2 {
            0 => format!("{count:032x}"),
            _ => format!("random-{count}"),
        };
        let path = self.spool().join(name);
        let temporary = path.with_extension("tmp");
        std::fs::write(
            &temporary,
            format!("{ADDRESS}\n{}\n{token}", since.as_secs()),
        )
        .expect("spool");
        std::fs::rename(&temporary, &path).expect("spool");
        path
    }

    /// Names of what was moved out of the spool.
    pub(crate) fn aside(&self) -> Vec<String> {
        let directory = self.directory.path().join("mail/.chatmail");
        let mut names = names(&directory.join("unreadable_notifications"));
        names.sort();
        names
    }

    /// Names of the files in the spool.
    pub(crate) fn spooled(&self) -> Vec<String> {
        names(&self.spool())
    }
}

fn names(directory: &Path) -> Vec<String> {
    std::fs::read_dir(directory)
        .expect("a directory")
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect()
}

/// Waits until `condition` holds, 20 seconds at most.
pub(crate) async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
