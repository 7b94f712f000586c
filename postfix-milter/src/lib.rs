//! The Postfix filter of a chatmail relay: only end-to-end encrypted mail enters or leaves.
//!
//! Postfix hands every message to this process over the milter protocol, after the final dot and
//! before it says yes to the client. What is allowed is decided by
//! [`chatmail_core::filter`]; here is the way to it and back.
//!
//! # Map
//!
//! | module | what it knows |
//! |---|---|
//! | [`protocol`] | the milter protocol: frames, commands, answers; nothing of mail |
//! | [`session`] | one message after the other: sender, recipients, content, decision; nothing of the protocol |
//! | [`conversation`] | how the two translate: one connection without its socket |
//! | [`dkim`] | signatures: ours on what leaves, others' on what comes |
//! | [`policy`] | what all sessions share: the rules of the moment, the rate limit |
//! | [`metrics`] | what is counted |
//! | [`server`] | [`run`]: connections and the orderly end |
//!
//! # Invariants
//!
//! - No path leads from *could not decide* to *accept*: errors, panics, garbage on the socket
//!   and a daemon that is down all end in a temporary failure. (For the last two Postfix has to be
//!   told `default_action=tempfail`, its own default.)
//! - No message is held: its body goes through one buffer per worker thread into a check
//!   whose memory does not grow with the message. If the check is slower than Postfix,
//!   Postfix waits in its write.
//! - The log and the metrics name queue ids, sizes and rules: no address, no word of a message.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod conversation;
pub mod dkim;
pub mod metrics;
pub mod policy;
pub mod protocol;
pub mod server;
pub mod session;

pub use chatmail_sockets::{Access, Endpoint, Listener};
pub use metrics::Metrics;
pub use policy::Policy;
pub use server::{Listeners, run};
