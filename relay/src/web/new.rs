//! `/new`: an account for whoever asks, or who brings an invitation.
//!
//! `POST` answers `{"email": …, "password": …}`, with a self-signed certificate also `dclogin_url`. `GET` takes a browser
//! to Delta Chat, which then posts. Delta Chat would not trust a self-signed certificate then, so
//! relays with one have a web page that gets its link by `GET`, and `GET` answers as `POST` does.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use chatmail_core::account::{Made, Refusal, Registrar, dclogin_url};
use chatmail_core::config::{Config, HourlyRate, TlsMode};
use chatmail_core::counters::{Counter, Counters};
use chatmail_core::invite::{NotInvited, is_token};
use chatmail_core::signup::NotCreated;
use hyper::{Method, StatusCode};
use serde_json::json;
use tokio::sync::Semaphore;
use tracing::{error, info, warn};

use super::answer::{self, Answer};
use super::routes::blocking;

/// Accounts being made at a time. Each hashes a password for 2 ms, and then waits for the disk.
const WORKERS: usize = 2;

/// Requests that are made an account for or wait for it: at most some tenths of a second.
const QUEUE: usize = 32;

/// Seconds until a host that is busy may be idle again.
const BUSY: u32 = 60;

/// Seconds until the queue has moved on.
const QUEUE_FULL: u32 = 2;

/// Makes accounts, so many at a time.
pub(super) struct NewAccounts {
    config: Config,
    registrar: Arc<Registrar>,
    counters: Arc<Counters>,
    workers: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl NewAccounts {
    pub(super) fn new(config: &Config) -> NewAccounts {
        NewAccounts {
            registrar: Arc::new(Registrar::new(config)),
            counters: Arc::new(Counters::new(&config.mailboxes())),
            config: config.clone(),
            workers: Arc::new(Semaphore::new(WORKERS)),
            queue: Arc::new(Semaphore::new(QUEUE)),
        }
    }

    /// Answers a request with this query of this client.
    pub(super) async fn answer(
        &self,
        method: &Method,
        query: Option<&str>,
        client: Option<IpAddr>,
    ) -> Answer {
        let token = query.and_then(token);
        let redirects = self.config.tls.mode != TlsMode::SelfSigned;
        match *method {
            Method::GET | Method::HEAD if redirects => self.redirect(token),
            Method::POST | Method::GET => self.make(client, token.map(str::to_owned)).await,
            _ if redirects => answer::not_allowed("GET, HEAD, POST"),
            _ => answer::not_allowed("GET, POST"),
        }
    }

    /// To Delta Chat, with the invitation if it looks like one: nothing else of the request comes back.
    fn redirect(&self, token: Option<&str>) -> Answer {
        let domain = self.config.mail_domain.bare();
        let query = match token.filter(|token| is_token(token)) {
            Some(token) => format!("?token={token}"),
            None => String::new(),
        };
        answer::moved(&format!("dcaccount:https://{domain}/new{query}"))
    }

    async fn make(&self, client: Option<IpAddr>, token: Option<String>) -> Answer {
        let Ok(place) = Arc::clone(&self.queue).try_acquire_owned() else {
            return self.queue_full().await;
        };
        // Never closed.
        let worker = Arc::clone(&self.workers).acquire_owned().await;
        let registrar = Arc::clone(&self.registrar);
        let created = blocking(move || {
            // Held until it is done, also when the client goes away meanwhile.
            let _held = (place, worker);
            registrar.create(client, token.as_deref())
        });
        match created.await {
            Ok(Ok(made)) => self.made(&made),
            Ok(Err(refusal)) => {
                info!(reason = refusal.word(), "no new account: {refusal}");
                self.refused(&refusal)
            }
            Err(why) => undecided(&why),
        }
    }

    async fn queue_full(&self) -> Answer {
        info!(
            reason = "busy",
            "no new account: too many requests at a time"
        );
        let counters = Arc::clone(&self.counters);
        blocking(move || counters.count(Counter::NewRefusedBusy)).await;
        let text = "This relay is busy. Please try again.";
        answer::later(StatusCode::SERVICE_UNAVAILABLE, text, QUEUE_FULL)
    }

    fn made(&self, made: &Made) -> Answer {
        for warning in &made.warnings {
            warn!("new account: {warning}");
        }
        info!("new account");
        let account = &made.account;
        let mut value = json!({
            "email": account.address.as_str(),
            "password": account.password,
        });
        if let Some(url) = dclogin_url(&self.config, account) {
            value["dclogin_url"] = url.into();
        }
        answer::json(StatusCode::OK, &value)
    }

    fn refused(&self, refusal: &Refusal) -> Answer {
        let text = refusal.reply();
        match refusal {
            Refusal::NotInvited(NotInvited::Unknown | NotInvited::Expired | NotInvited::UsedUp)
            | Refusal::NotCreated(
                NotCreated::SwitchedOff
                | NotCreated::Closed
                | NotCreated::InviteOnly
                | NotCreated::Automatic,
            ) => answer::reason(StatusCode::FORBIDDEN, text),
            Refusal::NotCreated(NotCreated::NetworkRate) => {
                let wait = wait(self.config.max_network_signups_per_hour);
                answer::later(StatusCode::TOO_MANY_REQUESTS, text, wait)
            }
            Refusal::NotCreated(NotCreated::TotalRate) => {
                let wait = wait(self.config.max_signups_per_hour);
                answer::later(StatusCode::TOO_MANY_REQUESTS, text, wait)
            }
            Refusal::NotCreated(
                NotCreated::Load(_) | NotCreated::Memory(_) | NotCreated::Disk(_),
            ) => answer::later(StatusCode::SERVICE_UNAVAILABLE, text, BUSY),
            // The configuration makes accounts that it refuses: only the operator can help.
            Refusal::NotCreated(
                NotCreated::Password
                | NotCreated::LocalpartLength
                | NotCreated::LocalpartCharacters,
            ) => {
                error!("no new account: chatmail.ini refuses what it makes: {refusal}");
                answer::later(StatusCode::SERVICE_UNAVAILABLE, text, BUSY)
            }
        }
    }
}

fn undecided(why: &io::Error) -> Answer {
    error!(
        reason = "undecided",
        "no new account: {}",
        without_address(why)
    );
    let text = "This relay cannot make an account now. Please try again later.";
    answer::later(StatusCode::SERVICE_UNAVAILABLE, text, BUSY)
}

/// The error as it is, unless it names a mailbox.
fn without_address(why: &io::Error) -> String {
    let text = why.to_string();
    match text.contains('@') {
        true => why.kind().to_string(),
        false => text,
    }
}

/// Seconds until the rate allows one more.
fn wait(rate: HourlyRate) -> u32 {
    match rate {
        HourlyRate::AtMost(number) => 3600_u32.div_ceil(number.max(1)),
        HourlyRate::Unlimited => 1,
    }
}

/// The first `token` of a query. A token needs no encoding, so what is encoded is none.
fn token(query: &str) -> Option<&str> {
    query
        .split('&')
        .find_map(|field| field.strip_prefix("token="))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_query_has_a_token_or_none(before in "[a-z=]{0,9}", token in "[0-9A-Za-z]{0,30}", after in "\\PC{0,9}") {
            let query = format!("x{before}&token={token}&{after}");
            prop_assert_eq!(super::token(&query), Some(token.as_str()));
            let _ = super::token(&after);
        }
    }

    #[test]
    fn a_token_is_one_field_of_the_query() {
        assert_eq!(token("token=abc"), Some("abc"));
        assert_eq!(token("t=1&token=abc&token=x"), Some("abc"));
        assert_eq!(token("token="), Some(""));
        assert_eq!(token("xtoken=abc"), None);
        assert_eq!(token("token"), None);
        assert_eq!(token(""), None);
    }

    #[test]
    fn an_error_names_a_file_but_no_mailbox() {
        let error = |text: &str| io::Error::new(io::ErrorKind::StorageFull, text);
        let state = "/mail/.chatmail/invites: line 2 is no invitation";
        assert_eq!(without_address(&error(state)), state);
        let mailbox = without_address(&error("/mail/a@chat.example/password: no space"));
        assert_eq!(mailbox, "no storage space");
    }

    #[test]
    fn the_wait_is_as_long_as_the_rate_makes_it() {
        assert_eq!(wait(HourlyRate::AtMost(100)), 36);
        assert_eq!(wait(HourlyRate::AtMost(1000)), 4);
        assert_eq!(wait(HourlyRate::AtMost(0)), 3600);
        assert_eq!(wait(HourlyRate::AtMost(u32::MAX)), 1);
    }
}
