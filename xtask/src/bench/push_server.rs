//! A push service on loopback that speaks HTTP/2 over TLS and answers after a while.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

/// More than the relay has on its way at one time.
const STREAMS: u32 = 1000;

/// A request, and when it was there.
pub(super) struct Arrival {
    pub(super) token: String,
    pub(super) at: Instant,
}

/// The running server. It ends with the process.
pub(super) struct PushServer {
    pub(super) url: String,
    /// PEM of the authority that signed its certificate.
    pub(super) authority: String,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    /// In milliseconds.
    delay: AtomicU64,
    connections: AtomicUsize,
    arrivals: Mutex<Vec<Arrival>>,
}

impl PushServer {
    /// Answers at once.
    pub(super) fn start() -> Result<PushServer> {
        let (tls, authority) = certificates().context("cannot make a certificate")?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("no port")?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let shared = Arc::<Shared>::default();
        let server = PushServer {
            url: format!("https://localhost:{port}/notify"),
            authority,
            shared: Arc::clone(&shared),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("no runtime for the push service")?;
        thread::spawn(move || {
            runtime.block_on(async move {
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let (stream, _) = listener.accept().await?;
                    tokio::spawn(talk(stream, tls.clone(), Arc::clone(&shared)));
                }
                #[allow(unreachable_code)]
                std::io::Result::Ok(())
            })
        });
        Ok(server)
    }

    /// From now on answers after this time.
    pub(super) fn answer_after(&self, delay: Duration) {
        let milliseconds = delay.as_millis().try_into().unwrap_or(u64::MAX);
        self.shared.delay.store(milliseconds, Relaxed);
    }

    /// How many requests came since the last [`PushServer::take`].
    pub(super) fn count(&self) -> usize {
        self.shared.arrivals().len()
    }

    /// Those requests; they are counted no more.
    pub(super) fn take(&self) -> Vec<Arrival> {
        std::mem::take(&mut *self.shared.arrivals())
    }

    /// Connections that were ever made.
    pub(super) fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }
}

impl Shared {
    fn arrivals(&self) -> MutexGuard<'_, Vec<Arrival>> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn talk(stream: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>) {
    shared.connections.fetch_add(1, Relaxed);
    let _ = stream.set_nodelay(true);
    let Ok(stream) = tls.accept(stream).await else {
        return;
    };
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let served = http2::Builder::new(TokioExecutor::new())
        .max_concurrent_streams(STREAMS)
        .serve_connection(TokioIo::new(stream), service);
    // The relay may stop in the middle.
    let _ = served.await;
}

async fn answer(
    request: Request<Incoming>,
    shared: Arc<Shared>,
) -> Result<Response<Empty<Bytes>>, Infallible> {
    if let Ok(body) = request.into_body().collect().await {
        let token = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        let at = Instant::now();
        shared.arrivals().push(Arrival { token, at });
    }
    let delay = Duration::from_millis(shared.delay.load(Relaxed));
    if !delay.is_zero() {
        tokio::time::sleep(delay).await;
    }
    Ok(Response::new(Empty::new()))
}

fn certificates() -> Result<(TlsAcceptor, String)> {
    let authority_key = rcgen::KeyPair::generate()?;
    let mut authority = rcgen::CertificateParams::new(Vec::new())?;
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = authority.self_signed(&authority_key)?.pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let key = rcgen::KeyPair::generate()?;
    let certificate =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()])?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let mut tls = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    tls.alpn_protocols = vec![b"h2".to_vec()];
    Ok((TlsAcceptor::from(Arc::new(tls)), pem))
}
