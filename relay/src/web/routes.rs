//! Which path answers what.

use std::net::IpAddr;
use std::sync::Arc;

use chatmail_core::config::Config;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, HeaderMap, HeaderValue};
use hyper::{Method, Request, StatusCode};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use super::answer::{self, Answer};
use super::body;
use super::client::Proxies;
use super::health::Health;
use super::metrics::{Format, Metrics};
use super::new::NewAccounts;

/// Every path of the server.
pub(super) struct Routes {
    proxies: Proxies,
    new: NewAccounts,
    health: Health,
    pub(super) metrics: Option<Arc<Metrics>>,
    /// One monitor at a time: what it asks for may block.
    monitors: Arc<Semaphore>,
}

impl Routes {
    pub(super) fn new(config: &Config) -> Routes {
        Routes {
            proxies: Proxies::new(config),
            new: NewAccounts::new(config),
            health: Health::new(config),
            metrics: None,
            monitors: Arc::new(Semaphore::new(1)),
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
            "/metrics" if reads && self.metrics.is_some() => self.metrics(&head.headers).await,
            "/healthz" | "/metrics" if !reads => answer::not_allowed("GET, HEAD"),
            _ => answer::reason(StatusCode::NOT_FOUND, "There is nothing here."),
        }
    }

    async fn health(&self) -> Answer {
        let health = self.health.clone();
        self.in_turn(move || health.answer()).await
    }

    async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let Some(metrics) = self.metrics.clone() else {
            return answer::reason(StatusCode::NOT_FOUND, "There is nothing here.");
        };
        let format = format(headers);
        let text = self.in_turn(move || metrics.render(format)).await;
        let kind = HeaderValue::from_static(format.content_type());
        answer::text(StatusCode::OK, kind, text)
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        // Never closed; held until the work is done, also when the monitor goes away meanwhile.
        let turn = Arc::clone(&self.monitors).acquire_owned().await;
        let work = move || {
            let _turn = turn;
            work()
        };
        blocking(work).await
    }
}

/// What the client wants. A field that is there several times is one list.
fn format(headers: &HeaderMap) -> Format {
    let accept = headers.get_all(ACCEPT).into_iter();
    let accept: Vec<&str> = accept.filter_map(|field| field.to_str().ok()).collect();
    Format::of_accept(&accept.join(","))
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
