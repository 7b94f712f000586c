//! All end-to-end tests in one program: they run side by side across files, and link once.
//!
//! Each test has relays of its own. One file: `cargo test -p chatmail-tests --test suite login::`

mod abi;
mod addresses;
mod burst;
mod bytes;
mod corpus;
mod deltachat;
mod dkim;
mod dkim_outgoing;
mod echobot;
mod envelope;
mod expire;
mod failure;
mod filter_failure;
mod header_channel;
mod host;
mod identity;
mod idle;
mod kill;
mod listeners;
mod log;
mod login;
mod mail;
mod metadata;
mod metrics;
mod new;
mod nginx;
mod panic;
mod peers;
mod processes;
mod proxy_defects;
mod push;
mod push_kill;
mod quota;
mod reports;
mod reuse;
mod root;
mod signup;
mod takeover;
mod tokens;
mod trial;
mod user;
mod valgrind;
