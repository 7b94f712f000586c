//! The HTTP server over real sockets: accounts, invitations, rates, health, and what clients do wrong.

#![allow(clippy::unwrap_used)]

mod clients;
mod new;
mod odd;
mod program;
mod server;
