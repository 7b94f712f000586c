//! One line in the log for each message, and its counters. They name rules and sizes: no address,
//! no word of a message.

use std::time::{Duration, Instant};

use tracing::info;

use crate::dkim::{Cause, Outcome};
use crate::metrics::{MessageEvent, Metrics};
use crate::policy::Refused;

use super::Route;

/// What is known of a message whatever its verdict.
#[derive(Debug)]
pub(super) struct Record {
    route: Route,
    queue_id: Option<String>,
    /// Octets of header and body.
    size: u64,
    started: Option<Instant>,
}

/// A verdict and what it rests on.
#[derive(Debug)]
pub(super) struct Findings {
    /// `accepted`, `refused` or `deferred`.
    pub(super) verdict: &'static str,
    /// The rule that decided, or the class of a message that passed.
    pub(super) rule: &'static str,
    /// The same for the log, with more words perhaps.
    pub(super) reason: String,
    pub(super) signature: Signature,
    /// Version of the SEIPD packet.
    pub(super) seipd: Option<u8>,
}

/// What DKIM had to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signature {
    /// Nothing: it is switched off, or the message was turned away before.
    None,
    /// We signed.
    Signed,
    /// All recipients are of this relay, so nobody would verify a signature.
    Local,
    /// The From domain is an IPv4 literal.
    Exempt,
    /// We verified.
    Verified(Outcome),
}

impl Record {
    pub(super) fn new(route: Route, queue_id: Option<String>) -> Record {
        Record {
            route,
            queue_id,
            size: 0,
            started: None,
        }
    }

    pub(super) fn measured(self, size: u64, started: Instant) -> Record {
        Record {
            size,
            started: Some(started),
            ..self
        }
    }

    pub(super) fn write(&self, metrics: &Metrics, findings: &Findings) {
        let elapsed = self.started.map_or(Duration::ZERO, |since| since.elapsed());
        metrics.message(&MessageEvent {
            direction: self.route.name(),
            verdict: findings.verdict,
            reason: findings.rule,
            size: self.size,
            elapsed,
            seipd: findings.seipd,
        });
        if let Some(result) = findings.signature.label() {
            metrics.dkim(result);
        }
        info!(
            queue_id = self.queue_id.as_deref().unwrap_or("-"),
            direction = self.route.name(),
            verdict = findings.verdict,
            reason = findings.reason,
            dkim = findings.signature.words(),
            size = self.size,
            ms = elapsed.as_millis(),
            "message"
        );
    }
}

/// A message that ends with its first recipient.
pub(super) fn sender_refused(route: Route, refused: &Refused) {
    info!(
        queue_id = "-",
        direction = route.name(),
        verdict = match refused.reply.code {
            ..500 => "deferred",
            _ => "refused",
        },
        reason = refused.reason,
        size = 0,
        ms = 0,
        "message"
    );
}

impl Signature {
    /// For the counter.
    fn label(self) -> Option<&'static str> {
        Some(match self {
            Signature::None => return None,
            Signature::Signed => "signed",
            Signature::Local => "local",
            Signature::Exempt => "exempt",
            Signature::Verified(Outcome::Pass) => "pass",
            Signature::Verified(Outcome::Fail(Cause::NoSignature)) => "none",
            Signature::Verified(Outcome::Fail(cause @ (Cause::OtherDomain | Cause::Malformed))) => {
                cause.name()
            }
            Signature::Verified(Outcome::Fail(_)) => "fail",
            Signature::Verified(Outcome::DnsTrouble) => "dns-trouble",
        })
    }

    /// For the log.
    fn words(self) -> &'static str {
        match self {
            Signature::Verified(Outcome::Fail(cause)) => cause.name(),
            other => other.label().unwrap_or("-"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_and_counter_say_whether_there_was_a_signature_at_all() {
        let said = |cause| {
            let signature = Signature::Verified(Outcome::Fail(cause));
            (signature.words(), signature.label())
        };
        assert_eq!(said(Cause::NoSignature), ("no-signature", Some("none")));
        assert_eq!(said(Cause::Malformed), ("malformed", Some("malformed")));
        assert_eq!(
            said(Cause::OtherDomain),
            ("other-domain", Some("other-domain"))
        );
        assert_eq!(said(Cause::Expired), ("expired", Some("fail")));
    }
}
