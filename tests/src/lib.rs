//! What a black-box test of a relay needs: a private relay, mail clients that show exact replies,
//! sample messages, and a push service that records what it is told.
//!
//! # Map
//!
//! | module | what it knows |
//! |---|---|
//! | [`dovecot`](mod@dovecot) | which Dovecot is under test |
//! | [`endpoints`] | where a running private relay listens and keeps its files |
//! | [`host`] | a whole Debian system with systemd or OpenRC, and a relay on it |
//! | [`instance`] | starts one through `cargo xtask relay`, stops it, shows its logs on failure |
//! | [`dns`] | a DNS server on loopback that says what a file says, and counts |
//! | [`imap`] | an IMAP client, one command at a time |
//! | [`smtp`] | an SMTP client, one command at a time |
//! | [`lmtp`] | an LMTP client, one command at a time |
//! | [`http`] | a request to the HTTP server of `chatmail serve`, or to a web server in front of it |
//! | [`nginx`] | nginx in front of a relay, with the configuration that is shipped for it |
//! | [`mail`] | encrypted and cleartext sample messages |
//! | [`process`] | the processes and sockets of a relay, and how to kill them |
//! | [`services`] | the processes of a relay's Dovecot, and how they ended |
//! | [`odd`] | odd bytes, the same in each run |
//! | [`sink`] | a push service on loopback: records posts, answers what the test wants |
//! | [`wait`] | waiting for something with a deadline, never for a time |
//! | [`dkim`] | signatures of outside domains, good and bad |
//! | [`filter`] | the filter process, made to fail |
//! | [`milter_log`] | what the filter logs about each message |
//! | [`dkimpy`] | another implementation of DKIM, from PyPI |
//! | [`outside`] | a mail server of another domain: takes mail, refuses it, shows what came |
//! | [`python`] | programs from PyPI, in a virtual environment |
//! | [`deltachat`] | Delta Chat itself |
//! | [`echobot`] | echo bots of a relay, with a user of their own |
//!
//! The clients return [`std::io::Error`] only if the connection fails or the peer breaks the
//! protocol. A refusal by the server is a value.

pub mod deltachat;
pub mod dkim;
pub mod dkimpy;
pub mod dns;
pub mod dovecot;
pub mod echobot;
pub mod endpoints;
pub mod filter;
pub mod host;
pub mod http;
pub mod imap;
pub mod instance;
pub mod lmtp;
mod loopback;
pub mod mail;
pub mod milter_log;
pub mod nginx;
pub mod odd;
pub mod outside;
pub mod process;
pub mod python;
pub mod services;
pub mod sink;
pub mod smtp;
pub mod wait;
mod wire;

pub use dovecot::dovecot;
pub use endpoints::Endpoints;
pub use instance::Instance;
pub use mail::Mail;
