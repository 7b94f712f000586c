//! One connection: hyper with our bounds.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use chatmail_sockets::Stream;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tracing::debug;

use super::routes::Routes;

/// For the header of a request to come, from the opening of the connection or the end of the
/// request before it.
const HEADER_PATIENCE: Duration = Duration::from_secs(10);

/// A proxy that keeps connections open gets a new one after this.
const LIFETIME: Duration = Duration::from_secs(60);

/// What is under way then, or a client that does not read, has this long.
const LAST_PATIENCE: Duration = Duration::from_secs(20);

/// Octets of a request's header.
const HEADER_MAX: usize = 8 * 1024;

/// Fields of a request's header. Proxies add a dozen.
const FIELDS_MAX: usize = 64;

/// Serves a connection until it ends, its time is over, or it is idle while the service stops.
pub(super) async fn serve(stream: Stream, routes: &Routes, mut stopping: watch::Receiver<bool>) {
    let peer = stream.peer_ip();
    let service =
        service_fn(async |request| Ok::<_, Infallible>(routes.answer(peer, request).await));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_PATIENCE)
        .max_buf_size(HEADER_MAX)
        .max_headers(FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let time_to_end = async {
        tokio::select! {
            // An error means that the service is gone; then there is nothing to wait for either.
            _ = stopping.wait_for(|stopping| *stopping) => {}
            () = sleep(LIFETIME) => {}
        }
    };
    let served = tokio::select! {
        served = connection.as_mut() => Ok(served),
        () = time_to_end => {
            connection.as_mut().graceful_shutdown();
            timeout(LAST_PATIENCE, connection).await
        }
    };
    match served {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!("an HTTP connection failed: {error}"),
        Err(_) => debug!("an HTTP connection took too long"),
    }
}
