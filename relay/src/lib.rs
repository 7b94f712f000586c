//! The operator's side of a chatmail relay: configuration and the long-running service.
//!
//! | module | what it does |
//! |---|---|
//! | [`render`] | writes the configuration of Dovecot and Postfix |
//! | [`serve`] | delivers push notifications |
//!
//! The command `chatmail` is a thin layer over both.

#![forbid(unsafe_code)]

pub mod render;
pub mod serve;
