//! `chatmail serve`: what a relay needs besides Postfix and Dovecot, in one process.

use std::future::Future;
use std::io;

use chatmail_core::config::Config;
use chatmail_sockets::Listener;
use tokio::sync::watch;
use tokio::task::JoinSet;

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
        let mut pieces = JoinSet::new();
        pieces.spawn(self.push.run(stopped(stopping.clone())));
        pieces.spawn(self.web.run(stopped(stopping.clone())));
        pieces.spawn(async move {
            self.housekeeping.run(stopped(stopping)).await;
            Ok(())
        });
        tokio::pin!(shutdown);
        let mut result = tokio::select! {
            () = &mut shutdown => Ok(()),
            Some(ended) = pieces.join_next() => flatten(ended),
        };
        stop.send_replace(true);
        while let Some(ended) = pieces.join_next().await {
            // The first error is the one to tell.
            result = result.and(flatten(ended));
        }
        result
    }
}

/// Ready when the pieces are to stop.
async fn stopped(mut stopping: watch::Receiver<bool>) {
    // An error means that the service is gone; then there is nothing to wait for either.
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

fn flatten(ended: Result<io::Result<()>, tokio::task::JoinError>) -> io::Result<()> {
    ended.map_err(io::Error::other)?
}
