//! A push service and a relay's directories, for the tests of `chatmail serve`.

// Each test program uses a part of it.
#![allow(dead_code)]

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

pub(crate) const ADDRESS: &str = "alice@chat.test";

/// What the push service does with a request.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Status(u16),
    Silence,
}

/// What to do with a token that was received so many times before.
type Answering = dyn Fn(&str, usize) -> Answer + Send + Sync;

/// One request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    pub(crate) token: String,
    pub(crate) version: Version,
    pub(crate) method: hyper::Method,
}

/// A push service on loopback, in the runtime of the test.
pub(crate) struct PushServer {
    pub(crate) url: String,
    /// PEM of the authority that signed its certificate.
    pub(crate) authority: String,
    received: Arc<Mutex<Vec<Received>>>,
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
        let received = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&received);
        let answer: Arc<Answering> = Arc::new(answer);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, log, answer) = (tls.clone(), Arc::clone(&log), Arc::clone(&answer));
                tokio::spawn(async move {
                    let service = hyper::service::service_fn(move |request| {
                        serve(request, Arc::clone(&log), Arc::clone(&answer))
                    });
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A client that goes away in the middle is part of the tests.
                    let _ = match tls {
                        None => server.serve_connection(TokioIo::new(stream), service).await,
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => {
                                server.serve_connection(TokioIo::new(stream), service).await
                            }
                            Err(_) => return,
                        },
                    };
                });
            }
        });
        PushServer {
            url: format!("{scheme}://localhost:{port}/notify"),
            authority,
            received,
        }
    }

    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("not poisoned").clone()
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

async fn serve(
    request: Request<Incoming>,
    log: Arc<Mutex<Vec<Received>>>,
    answer: Arc<Answering>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    let (version, method) = (request.version(), request.method().clone());
    let Ok(body) = request.into_body().collect().await else {
        std::future::pending().await
    };
    let token = String::from_utf8(body.to_bytes().to_vec()).expect("a token");
    let before = {
        let mut log = log.lock().expect("not poisoned");
        let before = log.iter().filter(|request| request.token == token).count();
        log.push(Received {
            token: token.clone(),
            version,
            method,
        });
        before
    };
    match answer(&token, before) {
        Answer::Silence => std::future::pending().await,
        Answer::Status(status) => {
            let mut response = Response::new(Empty::new());
            *response.status_mut() = status.try_into().expect("a status");
            Ok(response)
        }
    }
}

/// The directories of a relay with one mailbox, [`ADDRESS`].
pub(crate) struct Relay {
    pub(crate) directory: TempDir,
}

impl Relay {
    /// A relay that posts to `server`, with a time-out of one second.
    pub(crate) fn new(server: &PushServer) -> Relay {
        let relay = Relay {
            directory: tempfile::tempdir().expect("a directory"),
        };
        std::fs::create_dir_all(relay.mailbox()).expect("mailbox");
        std::fs::write(relay.mailbox().join("password"), "").expect("password");
        std::fs::create_dir_all(relay.spool()).expect("spool");
        let mut ini = format!(
            "[params]\nmail_domain = chat.test\nmailboxes_dir = {}\npush_url = {}\npush_timeout = 1\n",
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
        let path = self
            .spool()
            .join(format!("random-{}", token.replace(':', "-")));
        let temporary = path.with_extension("tmp");
        std::fs::write(
            &temporary,
            format!("{ADDRESS}\n{}\n{token}", since.as_secs()),
        )
        .expect("spool");
        std::fs::rename(&temporary, &path).expect("spool");
        path
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
