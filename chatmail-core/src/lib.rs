//! What a chatmail relay decides.
//!
//! A chatmail relay is a mail server for Delta Chat: accounts are created by their first login,
//! only end-to-end encrypted mail enters or leaves, and new mail wakes the phone. This library
//! holds those decisions and nothing else: it has no network, no thread, no global and no async
//! runtime, so that it can live inside a Dovecot process as well as inside a Postfix filter.
//!
//! # Map
//!
//! | module | what it knows |
//! |---|---|
//! | [`config`] | `chatmail.ini` |
//! | [`address`] | `localpart@mail_domain`, and what may never become a path |
//! | [`mailbox`] | the directory of one address: the only place that knows its file names |
//! | [`account`] | random new accounts, for whoever asks on the web |
//! | [`auth`] | login, creation of accounts, password hashes |
//! | [`signup`] | who may have a new address |
//! | [`counters`] | what happened how often, in all processes of the relay |
//! | [`expire`] | which messages and mailboxes are too old, and their removal |
//! | [`filter`] | one message's session: sender, recipients, header, body, verdict |
//! | [`invite`] | invitations: tokens that make an account where nothing else does |
//! | [`metadata`] | device tokens and server values behind IMAP METADATA |
//! | [`push`] | the spool of pending notifications and its retry schedule |
//! | [`usage`] | what all mailboxes hold, and who uses them |
//!
//! # Conventions
//!
//! A refusal is a value with a reason; an `Err` means *could not decide*, and every caller turns
//! it into a temporary failure: never an accept, never a bounce.

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(feature = "auth")]
pub mod account;
pub mod address;
#[cfg(feature = "auth")]
pub mod auth;
pub mod config;
pub mod counters;
#[cfg(feature = "housekeeping")]
pub mod expire;
#[cfg(feature = "filter")]
pub mod filter;
#[cfg(feature = "auth")]
pub mod invite;
pub mod mailbox;
#[cfg(feature = "metadata")]
pub mod metadata;
#[cfg(feature = "push")]
pub mod push;
#[cfg(feature = "auth")]
pub mod signup;
mod state;
#[cfg(feature = "housekeeping")]
pub mod usage;
