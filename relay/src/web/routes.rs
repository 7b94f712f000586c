//! Which path answers what.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use chatmail_core::config::Config;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tracing::error;

use super::Numbers;
use super::answer::{self, Answer};
use super::body;
use super::client::Proxies;
use super::health::Health;
use super::new::NewAccounts;

const PLAIN: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

/// Every path of the server.
pub(super) struct Routes {
    proxies: Proxies,
    new: NewAccounts,
    health: Health,
    pub(super) numbers: Option<Arc<Numbers>>,
    /// One monitor at a time: what it asks for may block.
    monitors: Semaphore,
}

impl Routes {
    pub(super) fn new(config: &Config) -> Routes {
        Routes {
            proxies: Proxies::new(config),
            new: NewAccounts::new(config),
            health: Health::new(config),
            numbers: None,
            monitors: Semaphore::new(1),
        }
    }

    /// The answer to one request.
    pub(super) async fn answer(&self, peer: Option<IpAddr>, request: Request<Incoming>) -> Answer {
        let (head, content) = request.into_parts();
        if let Err(refused) = body::discard(content).await {
            return refused;
        }
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        match head.uri.path() {
            "/new" | "/cgi-bin/newemail.py" => {
                let client = self.proxies.client(peer, &head.headers);
                self.new
                    .answer(&head.method, head.uri.query(), client)
                    .await
            }
            "/healthz" if reads => self.health().await,
            "/metrics" if reads && self.numbers.is_some() => self.metrics().await,
            "/healthz" | "/metrics" if !reads => answer::not_allowed("GET, HEAD"),
            _ => answer::reason(StatusCode::NOT_FOUND, "There is nothing here."),
        }
    }

    async fn health(&self) -> Answer {
        let _turn = self.monitors.acquire().await;
        let health = self.health.clone();
        blocking(move || health.answer()).await
    }

    async fn metrics(&self) -> Answer {
        let Some(numbers) = self.numbers.clone() else {
            return answer::reason(StatusCode::NOT_FOUND, "There is nothing here.");
        };
        let _turn = self.monitors.acquire().await;
        match blocking(move || numbers()).await {
            Ok(text) => answer::text(StatusCode::OK, PLAIN, text),
            Err(why) => unreadable(&why),
        }
    }
}

fn unreadable(why: &io::Error) -> Answer {
    error!("the metrics cannot be read: {why}");
    let text = "The metrics cannot be read now.";
    answer::reason(StatusCode::SERVICE_UNAVAILABLE, text)
}

/// Runs on a thread that may block. A panic there is one here: it ends the service.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and this task with it.
            Err(_) => std::future::pending().await,
        },
    }
}
