//! Connections to the push service: one for all requests where it speaks HTTP/2, a bounded number where
//! it speaks HTTP/1.1 only. Which of the two, the service says when TLS starts (ALPN).
//!
//! A connection is made when a request needs one; a burst of requests shares one attempt to connect, and its
//! failure. One that ends takes nothing with it: its requests go once more, on another.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

/// Connections to a service without HTTP/2; each carries one request at a time.
pub(super) const HTTP_1_CONNECTIONS: usize = 32;

/// One address of the service may take so long to accept; then the next is tried.
const ACCEPT: Duration = Duration::from_secs(5);

/// All of it: name, addresses, TLS.
const CONNECT: Duration = Duration::from_secs(20);

/// A connection that died silently is noticed after so long without an answer to a ping.
const PING: Duration = Duration::from_secs(10);

type Body = Full<Bytes>;
type Shared = http2::SendRequest<Body>;
type Single = http1::SendRequest<Body>;

/// Why there is no connection, or no answer on it. Names the host at most.
#[derive(Debug, Clone)]
pub(super) struct Broken(Arc<str>);

impl Broken {
    fn new(what: &str, why: &dyn Error) -> Broken {
        let mut text = format!("{what}: {why}");
        let mut cause = why.source();
        while let Some(error) = cause {
            text = format!("{text}: {error}");
            cause = error.source();
        }
        Broken(text.into())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where the push service is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) host: String,
    pub(super) port: u16,
    /// `None`: without TLS, which is for this host alone.
    pub(super) tls: Option<(Arc<ClientConfig>, ServerName<'static>)>,
}

/// All connections to one service.
#[derive(Debug)]
pub(super) struct Connections {
    place: Place,
    /// Held while connecting: others wait for what comes of it.
    shared: tokio::sync::Mutex<Connecting>,
    /// What the service was last heard to speak.
    version: Mutex<Option<Version>>,
    idle: Mutex<Vec<Single>>,
    singles: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Connecting {
    open: Option<Shared>,
    failed: Option<(Instant, Broken)>,
}

/// Leave to send one request.
pub(super) enum Lease {
    Shared(Shared),
    Single(Single, OwnedSemaphorePermit),
}

impl Connections {
    pub(super) fn new(place: Place) -> Connections {
        Connections {
            version: Mutex::new(place.version()),
            place,
            shared: tokio::sync::Mutex::default(),
            idle: Mutex::default(),
            singles: Arc::new(Semaphore::new(HTTP_1_CONNECTIONS)),
        }
    }

    /// HTTP/2 or HTTP/1.1; `None` before the first connection.
    pub(super) fn version(&self) -> Option<Version> {
        *locked(&self.version)
    }

    /// Waits for a place on a connection, and makes one if there is none.
    pub(super) async fn lease(&self) -> Result<Lease, Broken> {
        if self.version() == Some(Version::HTTP_11) {
            return self.single().await;
        }
        let begin = Instant::now();
        let mut shared = self.shared.lock().await;
        if let Some(open) = shared.open.as_ref().filter(|open| !open.is_closed()) {
            return Ok(Lease::Shared(open.clone()));
        }
        // Tried while this one waited for its turn.
        if let Some((at, why)) = &shared.failed
            && *at >= begin
        {
            return Err(why.clone());
        }
        if self.version() == Some(Version::HTTP_11) {
            drop(shared);
            return self.single().await;
        }
        shared.open = None;
        let made = self.connect().await;
        match made {
            Ok(Lease::Shared(open)) => {
                shared.open = Some(open.clone());
                Ok(Lease::Shared(open))
            }
            Err(why) => {
                shared.failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
            single => single,
        }
    }

    /// One of the connections that carry a request each.
    async fn single(&self) -> Result<Lease, Broken> {
        let permit = Arc::clone(&self.singles)
            .acquire_owned()
            .await
            .map_err(|closed| Broken::new("no connection", &closed))?;
        while let Some(single) = locked(&self.idle).pop() {
            if !single.is_closed() {
                return Ok(Lease::Single(single, permit));
            }
        }
        self.connect_with(permit).await
    }

    /// A connection that is of no use for the moment: for the next request.
    pub(super) fn give_back(&self, lease: Lease) {
        if let Lease::Single(single, _permit) = lease
            && single.is_ready()
        {
            locked(&self.idle).push(single);
        }
    }

    /// Makes new connections from now on: on these nobody answers.
    pub(super) fn start_anew(&self) {
        if let Ok(mut shared) = self.shared.try_lock() {
            shared.open = None;
        }
        locked(&self.idle).clear();
        // It may have learnt HTTP/2 since.
        *locked(&self.version) = self.place.version();
    }

    async fn connect(&self) -> Result<Lease, Broken> {
        // All may be taken by requests of before, when the service spoke HTTP/1.1.
        match Arc::clone(&self.singles).acquire_owned().await {
            Ok(permit) => self.connect_with(permit).await,
            Err(closed) => Err(Broken::new("no connection", &closed)),
        }
    }

    async fn connect_with(&self, permit: OwnedSemaphorePermit) -> Result<Lease, Broken> {
        let connecting = timeout(CONNECT, self.place.connect());
        let connected = connecting
            .await
            .map_err(|late| Broken::new("cannot connect", &late))?;
        let (stream, is_http_2) = connected.map_err(|why| Broken::new("cannot connect", &why))?;
        *locked(&self.version) = Some(match is_http_2 {
            true => Version::HTTP_2,
            false => Version::HTTP_11,
        });
        let stream = TokioIo::new(stream);
        if is_http_2 {
            let (sender, connection) = http2::Builder::new(TokioExecutor::new())
                .timer(TokioTimer::new())
                .keep_alive_interval(PING)
                .keep_alive_timeout(PING)
                .handshake(stream)
                .await
                .map_err(|why| Broken::new("HTTP/2", &why))?;
            // Requests tell what went wrong with it.
            tokio::spawn(async move { drop(connection.await) });
            Ok(Lease::Shared(sender))
        } else {
            let (sender, connection) = http1::handshake(stream)
                .await
                .map_err(|why| Broken::new("HTTP/1.1", &why))?;
            tokio::spawn(async move { drop(connection.await) });
            Ok(Lease::Single(sender, permit))
        }
    }
}

impl Lease {
    /// Sends a request and waits for the status line. HTTP/1.1 has no authority in the request line.
    pub(super) async fn send(
        &mut self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, Broken> {
        let answer = match self {
            Lease::Shared(shared) => shared.send_request(request).await,
            Lease::Single(single, _) => {
                let target = request.uri().path_and_query().map(|path| path.as_str());
                if let Some(Ok(target)) = target.map(str::parse) {
                    *request.uri_mut() = target;
                }
                single.send_request(request).await
            }
        };
        answer.map_err(|why| Broken::new("no answer", &why))
    }

    /// Waits until the connection can take another request; not if it has ended.
    pub(super) async fn settle(&mut self) {
        if let Lease::Single(single, _) = self {
            let _ = single.ready().await;
        }
    }
}

/// A stream with TLS or without.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

impl Place {
    /// Without TLS there is nothing to choose from.
    fn version(&self) -> Option<Version> {
        self.tls.is_none().then_some(Version::HTTP_11)
    }

    /// Connects, and tells whether the service chose HTTP/2.
    async fn connect(&self) -> io::Result<(Box<dyn Stream>, bool)> {
        let tcp = self.reach().await?;
        // A notification is one small packet, and urgent.
        tcp.set_nodelay(true)?;
        let Some((config, name)) = &self.tls else {
            return Ok((Box::new(tcp), false));
        };
        let connector = TlsConnector::from(Arc::clone(config));
        let stream = connector.connect(name.clone(), tcp).await?;
        let is_http_2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok((Box::new(stream), is_http_2))
    }

    /// The first address that accepts.
    async fn reach(&self) -> io::Result<TcpStream> {
        let addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
        for address in addresses {
            match accepted(address).await {
                Ok(stream) => return Ok(stream),
                Err(why) => failure = why,
            }
        }
        Err(failure)
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accepted(address: SocketAddr) -> io::Result<TcpStream> {
    match timeout(ACCEPT, TcpStream::connect(address)).await {
        Ok(connected) => connected,
        Err(_late) => Err(io::ErrorKind::TimedOut.into()),
    }
}
