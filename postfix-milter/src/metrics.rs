//! What the daemon counts, as OpenMetrics.
//!
//! Labels come from fixed sets of names: a `&'static str` cannot be an address or a word of a
//! message.
//!
//! ```
//! use std::time::Duration;
//! use chatmail_milter::metrics::{MessageEvent, Metrics};
//!
//! let metrics = Metrics::new();
//! metrics.message(&MessageEvent {
//!     direction: "outgoing",
//!     verdict: "accepted",
//!     reason: "encrypted",
//!     size: 3_235,
//!     elapsed: Duration::from_millis(2),
//!     seipd: Some(2),
//! });
//! let text = metrics.encode();
//! assert!(text.contains("chatmail_milter_messages_total{"));
//! ```

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

mod http;

pub use http::serve;

/// Octets: Secure-Join and chat messages, pictures, and files up to the usual limit of 30 MB.
const SIZES: [f64; 8] = [
    1_024.0,
    4_096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    8_388_608.0,
    33_554_432.0,
];

/// Seconds: the check alone takes well below a millisecond, DNS tens of them, a resolver that
/// does not answer its time-out.
const SECONDS: [f64; 11] = [
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0, 30.0,
];

/// What became of one message.
#[derive(Debug, Clone, Copy)]
pub struct MessageEvent {
    /// `outgoing`, `incoming` or `internal`.
    pub direction: &'static str,
    /// `accepted`, `refused` or `deferred`.
    pub verdict: &'static str,
    /// The rule that decided, or the class of a message that passed.
    pub reason: &'static str,
    /// Octets of header and body.
    pub size: u64,
    /// From the first header field to the verdict.
    pub elapsed: Duration,
    /// Version of the SEIPD packet of an encrypted message that passed.
    pub seipd: Option<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MessageLabels {
    direction: &'static str,
    verdict: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DirectionLabel {
    direction: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SeipdLabels {
    direction: &'static str,
    version: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

/// All counters and histograms of the process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    messages: Family<MessageLabels, Counter>,
    sizes: Family<DirectionLabel, Histogram, fn() -> Histogram>,
    seconds: Family<DirectionLabel, Histogram, fn() -> Histogram>,
    dkim: Family<ResultLabel, Counter>,
    seipd: Family<SeipdLabels, Counter>,
    recipients_refused: Family<ReasonLabel, Counter>,
    senders_refused: Family<ReasonLabel, Counter>,
    connections: Family<DirectionLabel, Gauge>,
    reloads: Family<ResultLabel, Counter>,
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix("chatmail_milter");
        registry.register(
            "build",
            "The running program",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        let messages = Family::default();
        registry.register(
            "messages",
            "Messages decided on, by direction, verdict and the rule or class that decided",
            messages.clone(),
        );
        let sizes: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SIZES));
        registry.register_with_unit(
            "message_size",
            "Size of header and body of the messages decided on",
            Unit::Bytes,
            sizes.clone(),
        );
        let seconds: Family<_, _, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(SECONDS));
        registry.register_with_unit(
            "message_duration",
            "Time from the first header field of a message to the verdict",
            Unit::Seconds,
            seconds.clone(),
        );
        let dkim = Family::default();
        registry.register(
            "dkim",
            "DKIM: signatures made, and results of verification",
            dkim.clone(),
        );
        let seipd = Family::default();
        registry.register(
            "seipd",
            "Encrypted messages that passed, by version of their SEIPD packet",
            seipd.clone(),
        );
        let recipients_refused = Family::default();
        registry.register(
            "recipients_refused",
            "Recipients refused or deferred at RCPT",
            recipients_refused.clone(),
        );
        let senders_refused = Family::default();
        registry.register(
            "senders_refused",
            "Senders refused or deferred at RCPT",
            senders_refused.clone(),
        );
        let connections = Family::default();
        registry.register(
            "connections",
            "Open connections of the mail server",
            connections.clone(),
        );
        let reloads = Family::default();
        registry.register(
            "configuration_reloads",
            "Configurations read again at SIGHUP: accepted or refused",
            reloads.clone(),
        );
        Metrics {
            registry,
            messages,
            sizes,
            seconds,
            dkim,
            seipd,
            recipients_refused,
            senders_refused,
            connections,
            reloads,
        }
    }

    /// One message has its verdict.
    pub fn message(&self, event: &MessageEvent) {
        let MessageEvent {
            direction,
            verdict,
            reason,
            ..
        } = *event;
        let labels = MessageLabels {
            direction,
            verdict,
            reason,
        };
        self.messages.get_or_create(&labels).inc();
        let direction = DirectionLabel { direction };
        // Exact up to 2^53 octets.
        let size = event.size as f64;
        self.sizes.get_or_create(&direction).observe(size);
        let seconds = event.elapsed.as_secs_f64();
        self.seconds.get_or_create(&direction).observe(seconds);
        if let Some(version) = event.seipd {
            let labels = SeipdLabels {
                direction: event.direction,
                version: match version {
                    1 => "1",
                    2 => "2",
                    _ => "other",
                },
            };
            self.seipd.get_or_create(&labels).inc();
        }
    }

    /// A message was signed (`signed`), left unsigned because it stays on this relay (`local`), or verified
    /// with this result: `pass`, `exempt`, `dns-trouble`, `none`, `other-domain`, `malformed`, `fail`.
    pub fn dkim(&self, result: &'static str) {
        self.dkim.get_or_create(&ResultLabel { result }).inc();
    }

    /// A recipient was rejected or deferred.
    pub fn recipient_refused(&self, reason: &'static str) {
        let label = ReasonLabel { reason };
        self.recipients_refused.get_or_create(&label).inc();
    }

    /// A recipient was rejected or deferred because of the sender.
    pub fn sender_refused(&self, reason: &'static str) {
        let label = ReasonLabel { reason };
        self.senders_refused.get_or_create(&label).inc();
    }

    /// A connection on the socket of this direction, until the answer is dropped.
    pub fn connected(&self, direction: &'static str) -> Connected {
        let gauge = self
            .connections
            .get_or_create_owned(&DirectionLabel { direction });
        gauge.inc();
        Connected { gauge }
    }

    /// The configuration was read again: `accepted` or `refused`.
    pub fn reloaded(&self, result: &'static str) {
        self.reloads.get_or_create(&ResultLabel { result }).inc();
    }

    /// All of it in the text format of OpenMetrics 1.0.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        // The only error is that of the writer, and a string has none.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// Counts as an open connection as long as it lives.
#[derive(Debug)]
#[must_use]
pub struct Connected {
    gauge: Gauge,
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(metrics: &Metrics, verdict: &'static str, seipd: Option<u8>) {
        metrics.message(&MessageEvent {
            direction: "incoming",
            verdict,
            reason: "encrypted",
            size: 5_000,
            elapsed: Duration::from_millis(3),
            seipd,
        });
    }

    #[test]
    fn messages_are_counted_by_verdict_size_latency_and_seipd_version() {
        let metrics = Metrics::new();
        message(&metrics, "accepted", Some(1));
        message(&metrics, "accepted", Some(2));
        message(&metrics, "accepted", Some(2));
        message(&metrics, "deferred", None);
        let text = metrics.encode();
        for line in [
            "chatmail_milter_messages_total{direction=\"incoming\",verdict=\"accepted\",reason=\"encrypted\"} 3",
            "chatmail_milter_messages_total{direction=\"incoming\",verdict=\"deferred\",reason=\"encrypted\"} 1",
            "chatmail_milter_seipd_total{direction=\"incoming\",version=\"1\"} 1",
            "chatmail_milter_seipd_total{direction=\"incoming\",version=\"2\"} 2",
            "chatmail_milter_message_size_bytes_sum{direction=\"incoming\"} 20000.0",
            "chatmail_milter_message_size_bytes_bucket{le=\"4096.0\",direction=\"incoming\"} 0",
            "chatmail_milter_message_size_bytes_bucket{le=\"16384.0\",direction=\"incoming\"} 4",
            "chatmail_milter_message_duration_seconds_bucket{le=\"0.0025\",direction=\"incoming\"} 0",
            "chatmail_milter_message_duration_seconds_bucket{le=\"0.005\",direction=\"incoming\"} 4",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert!(text.ends_with("# EOF\n"), "{text}");
    }

    #[test]
    fn a_connection_counts_until_it_is_closed() {
        let metrics = Metrics::new();
        let open = |n: u8| {
            let line = format!("chatmail_milter_connections{{direction=\"outgoing\"}} {n}");
            metrics.encode().lines().any(|l| l == line)
        };
        let first = metrics.connected("outgoing");
        let second = metrics.connected("outgoing");
        assert!(open(2));
        drop(first);
        assert!(open(1));
        drop(second);
        assert!(open(0));
    }

    #[test]
    fn the_manual_explains_every_number_and_no_other() {
        let metrics = Metrics::new();
        message(&metrics, "accepted", Some(2));
        metrics.dkim("pass");
        metrics.recipient_refused("unknown");
        metrics.sender_refused("disabled");
        metrics.reloaded("accepted");
        let _connected = metrics.connected("incoming");
        let text = metrics.encode();
        let mut counted: Vec<String> = text
            .lines()
            .filter_map(|line| line.strip_prefix("# TYPE "))
            .map(|line| match line.split_once(' ') {
                Some((name, "counter")) => format!("{name}_total"),
                Some((name, "info")) => format!("{name}_info"),
                Some((name, _)) => name.to_owned(),
                None => panic!("{line}"),
            })
            .collect();
        let manual = include_str!("../../man/chatmail-milter.8");
        let mut explained: Vec<&str> = manual
            .lines()
            .filter_map(|line| line.strip_prefix(".It Ic "))
            .filter(|name| name.starts_with("chatmail_milter_"))
            .collect();
        counted.sort_unstable();
        explained.sort_unstable();
        assert_eq!(explained, counted);
    }
}
