//! The operator's side of a chatmail relay: configuration and the long-running service.
//!
//! | module | what it does |
//! |---|---|
//! | [`check`] | says why the filter lets a message pass, or not |
//! | [`deltachat`] | a client of Delta Chat's core |
//! | [`echobot`] | the bot that sends back what it is sent |
//! | [`housekeeping`] | removes what is too old, and reports on all mailboxes |
//! | [`import`] | takes over the user table of an old relay |
//! | [`mail_user`] | the owner of the mailboxes, which root becomes before it touches one |
//! | [`push`] | delivers push notifications |
//! | [`render`] | writes the configuration of Dovecot and Postfix |
//! | [`serve`] | the long-running service: all of it that never ends |
//! | [`trial`] | tries a relay out as somebody with Delta Chat would |
//! | [`user`] | one account: what an operator is told of it, and moving it |
//! | [`web`] | answers HTTP: new accounts, health, metrics |
//!
//! The command `chatmail` is a thin layer over them.

#![forbid(unsafe_code)]

pub mod check;
pub mod deltachat;
pub mod echobot;
pub mod housekeeping;
pub mod import;
pub mod mail_user;
pub mod push;
pub mod render;
pub mod serve;
pub mod trial;
pub mod user;
pub mod web;
