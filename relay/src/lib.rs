//! The operator's side of a chatmail relay: its configuration.
//!
//! | module | what it does |
//! |---|---|
//! | [`render`] | writes the configuration of Dovecot and Postfix |
//!
//! The command `chatmail` is a thin layer over it.

#![forbid(unsafe_code)]

pub mod render;
