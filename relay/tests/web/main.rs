//! The HTTP server over real sockets: accounts, invitations, rates, health, and what clients do wrong.

#![allow(clippy::unwrap_used)]

mod clients;
#[path = "../mail_user/mod.rs"]
mod mail_user;
mod new;
mod odd;
mod program;
mod server;
