//! The relay's own HTTP server, behind nginx or another proxy that does TLS.
//!
//! | path | answer |
//! |---|---|
//! | `/new`, `/cgi-bin/newemail.py` | a new account, see [`new`] |
//! | `/healthz` | whether the relay can store mail and notifications |
//! | `/metrics` | numbers for Prometheus, see [`metrics`] |
//!
//! HTTP/1.1 on Unix sockets and loopback ports. Everything is bounded: connections, the time they last,
//! the time a request takes to come, its header and its body, and accounts being made. No log line names a client,
//! an address or a token.

mod answer;
mod body;
mod client;
mod connection;
mod health;
pub mod listener;
pub mod metrics;
mod new;
mod routes;

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use chatmail_core::config::Config;
use chatmail_sockets::{Listener, Stream};
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};
use tracing::warn;

use metrics::Metrics;
use routes::Routes;

/// At a time; others wait in the kernel's queue. A proxy needs one for each request that is under way.
const MOST_CONNECTIONS: usize = 128;

/// How long requests that are under way may take after a stop was asked for.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(10);

/// Pause after a connection could not be accepted, usually for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The web server of one relay.
pub struct Web {
    listeners: Vec<Listener>,
    routes: Routes,
}

impl Web {
    /// For the relay of `config`, on these sockets.
    pub fn new(config: &Config, listeners: Vec<Listener>) -> Web {
        Web {
            listeners,
            routes: Routes::new(config),
        }
    }

    /// Adds `/metrics`. It is asked on a thread that may block.
    pub fn with_metrics(mut self, metrics: Metrics) -> Web {
        self.routes.metrics = Some(Arc::new(metrics));
        self
    }

    /// Answers until `shutdown` is ready. Then no new connection is accepted, idle ones are closed, and
    /// requests that are under way come to their end, within 10 seconds.
    ///
    /// # Errors
    ///
    /// A bug: an answer panicked.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Web { listeners, routes } = self;
        let routes = Arc::new(routes);
        let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
        let (stop, stopping) = watch::channel(false);
        let mut connections = JoinSet::new();
        tokio::pin!(shutdown);
        loop {
            let next = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (accept(&listeners).await, place)
            };
            let (accepted, place) = tokio::select! {
                () = &mut shutdown => break,
                accepted = next => accepted,
                Some(ended) = connections.join_next() => {
                    survived(ended)?;
                    continue;
                }
            };
            match accepted {
                Ok(stream) => {
                    let (routes, stopping) = (Arc::clone(&routes), stopping.clone());
                    connections.spawn(async move {
                        connection::serve(stream, &routes, stopping).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    warn!("cannot accept an HTTP connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listeners);
        stop.send_replace(true);
        let all_ended = async {
            while let Some(ended) = connections.join_next().await {
                survived(ended)?;
            }
            Ok(())
        };
        match timeout(SHUTDOWN_GRACE, all_ended).await {
            Ok(ended) => ended,
            Err(_) => {
                warn!("requests that did not end were cut off");
                Ok(())
            }
        }
    }
}

/// The next connection on any of the sockets; never without one.
async fn accept(listeners: &[Listener]) -> io::Result<Stream> {
    let accepting = listeners.iter().map(|listener| Box::pin(listener.accept()));
    match accepting.len() {
        0 => std::future::pending().await,
        _ => futures_util::future::select_all(accepting).await.0,
    }
}

/// A connection that failed has told the log itself; one that panicked ends the service.
fn survived(ended: Result<(), JoinError>) -> io::Result<()> {
    ended.map_err(io::Error::other)
}
