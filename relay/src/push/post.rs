//! One POST to the push service.

use std::time::Duration;

use chatmail_core::config::Config;
use reqwest::{Certificate, Client, StatusCode, redirect};

/// What the push service said to one token.
#[derive(Debug)]
pub(super) enum Answer {
    /// 200: the notification is its business now.
    Taken,
    /// 410: no such device any more.
    Gone,
    /// Another status: this notification is not taken, others may be.
    NotTaken(StatusCode),
    /// Nobody answered, or the service is unwell (429, 5xx).
    Unwell(String),
}

/// Connections to the push service, shared by all attempts.
#[derive(Debug, Clone)]
pub(super) struct PushService {
    client: Client,
    url: reqwest::Url,
}

impl PushService {
    /// The service at `push_url`. The error names the key of `chatmail.ini` that is wrong.
    pub(super) fn new(config: &Config) -> Result<PushService, String> {
        let url = config
            .push_url
            .parse()
            .map_err(|why| format!("push_url = {}: {why}", config.push_url))?;
        let mut client = Client::builder()
            .user_agent(concat!("chatmail/", env!("CARGO_PKG_VERSION")))
            .timeout(config.push_timeout)
            // Tokens go to the host of push_url and nowhere else.
            .redirect(redirect::Policy::none())
            .no_proxy()
            // A connection that died silently must not cost every notification its time-out.
            .http2_keep_alive_interval(Duration::from_secs(30))
            .http2_keep_alive_timeout(Duration::from_secs(10));
        if let Some(file) = &config.push_ca_file {
            let wrong =
                |why: &dyn std::fmt::Display| format!("push_ca_file = {}: {why}", file.display());
            let pem = std::fs::read(file).map_err(|why| wrong(&why))?;
            let certificates = Certificate::from_pem_bundle(&pem).map_err(|why| wrong(&why))?;
            if certificates.is_empty() {
                return Err(wrong(&"no certificate in it"));
            }
            for certificate in certificates {
                client = client.add_root_certificate(certificate);
            }
        }
        let client = client
            .build()
            .map_err(|why| format!("TLS: {}", reasons(&why)))?;
        Ok(PushService { client, url })
    }

    /// Sends one token as the body and waits for the status line, push_timeout at most.
    pub(super) async fn post(&self, token: String) -> Answer {
        let sent = self.client.post(self.url.clone()).body(token).send().await;
        let mut response = match sent {
            Ok(response) => response,
            Err(why) => return Answer::Unwell(reasons(&why.without_url())),
        };
        let status = response.status();
        // An HTTP/1.1 connection is used again only when its body was read; a long one is not worth it.
        let mut read = 0;
        while read < 4096
            && let Ok(Some(chunk)) = response.chunk().await
        {
            read += chunk.len();
        }
        match status {
            StatusCode::OK => Answer::Taken,
            StatusCode::GONE => Answer::Gone,
            StatusCode::TOO_MANY_REQUESTS => Answer::Unwell(status.to_string()),
            _ if status.is_server_error() => Answer::Unwell(status.to_string()),
            _ => Answer::NotTaken(status),
        }
    }
}

/// An error with its causes: reqwest's own text stops at "error sending request".
fn reasons(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
