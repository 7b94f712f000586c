//! `chatmail serve`: what a relay needs besides Postfix and Dovecot, in one process.

use std::future::Future;
use std::io;

use chatmail_core::config::Config;
use chatmail_sockets::Listener;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};

use crate::housekeeping::Housekeeping;
use crate::push::Delivery;
use crate::web::Web;
use crate::web::metrics::Metrics;

/// The service of one relay.
pub struct Service {
    push: Delivery,
    housekeeping: Housekeeping,
    web: Web,
}

impl Service {
    /// For the relay of `config`, with its HTTP server on these sockets.
    ///
    /// The error names the key of `chatmail.ini` or the directory that is wrong.
    pub fn new(config: &Config, http: Vec<Listener>) -> Result<Service, String> {
        let push = Delivery::new(config)?;
        let housekeeping = Housekeeping::new(config);
        let metrics = Metrics::new(config, push.status(), housekeeping.latest());
        Ok(Service {
            push,
            housekeeping,
            web: Web::new(config, http).with_metrics(metrics),
        })
    }

    /// Runs until `shutdown` is ready, and then until each piece has come to its end.
    ///
    /// # Errors
    ///
    /// One of them cannot go on: the spool cannot be read, or there is a bug and it panicked. The others are stopped
    /// in order then: a service that is half there helps nobody, and one that ended is started again.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let (stop, stopping) = watch::channel(false);
        let mut pieces = Pieces::new();
        pieces.spawn(self.push.run(stopped(stopping.clone())));
        pieces.spawn(self.web.run(stopped(stopping.clone())));
        pieces.spawn(async move {
            self.housekeeping.run(stopped(stopping)).await;
            Ok(())
        });
        all(pieces, stop, shutdown).await
    }
}

/// What runs side by side.
type Pieces = JoinSet<io::Result<()>>;

/// Ready when the pieces are to stop.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the service is gone; then there is nothing to wait for either.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// Until `shutdown` is ready or one of the pieces ends, and then until all have.
async fn all(
    mut pieces: Pieces,
    stop: watch::Sender<bool>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let mut result = tokio::select! {
        () = shutdown => Ok(()),
        Some(ended) = pieces.join_next() => {
            let early = || io::Error::other("a part of the service ended by itself");
            flatten(ended).and_then(|()| Err(early()))
        }
    };
    stop.send_replace(true);
    while let Some(ended) = pieces.join_next().await {
        // The first error is the one to tell.
        result = result.and(flatten(ended));
    }
    result
}

fn flatten(ended: Result<io::Result<()>, JoinError>) -> io::Result<()> {
    ended.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    /// How the service ends with this piece beside one that runs until it is stopped.
    async fn beside(piece: impl Future<Output = io::Result<()>> + Send + 'static) -> String {
        let (stop, stopping) = watch::channel(false);
        let in_order = Arc::new(AtomicBool::new(false));
        let other = Arc::clone(&in_order);
        let mut pieces = Pieces::new();
        pieces.spawn(async move {
            stopped(stopping).await;
            other.store(true, Ordering::SeqCst);
            Ok(())
        });
        pieces.spawn(piece);
        let ended = all(pieces, stop, pending()).await;
        assert!(in_order.load(Ordering::SeqCst), "the other one was stopped");
        ended.expect_err("an early end").to_string()
    }

    #[tokio::test]
    async fn a_piece_that_cannot_go_on_ends_the_service() {
        assert_eq!(
            beside(ready(Err(io::Error::other("no spool")))).await,
            "no spool"
        );
        assert!(beside(ready(Ok(()))).await.contains("by itself"));
        let panic = beside(async { panic!("a bug") }).await;
        assert!(panic.contains("panicked"), "{panic}");
    }

    #[tokio::test]
    async fn an_error_after_the_stop_is_told_as_well() {
        let (stop, stopping) = watch::channel(false);
        let mut pieces = Pieces::new();
        pieces.spawn(async move {
            stopped(stopping).await;
            Err(io::Error::other("late"))
        });
        let ended = all(pieces, stop, ready(())).await;
        assert_eq!(ended.expect_err("late").to_string(), "late");
    }
}
