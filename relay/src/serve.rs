//! `chatmail serve`: what a relay needs besides Postfix and Dovecot, in one process.

use std::future::Future;
use std::io;

use chatmail_core::config::Config;

use crate::push::Delivery;

/// The service of one relay.
pub struct Service {
    push: Delivery,
}

impl Service {
    /// For the relay of `config`.
    ///
    /// The error names the key of `chatmail.ini` or the directory that is wrong.
    pub fn new(config: &Config) -> Result<Service, String> {
        Ok(Service {
            push: Delivery::new(config)?,
        })
    }

    /// Runs until `shutdown` is ready.
    ///
    /// An error means that it cannot go on: the spool cannot be read.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        self.push.run(shutdown).await
    }
}
