//! Sockets that the relay's services listen on: made by themselves, or passed on by systemd.
//!
//! | module | what it knows |
//! |---|---|
//! | [`access`] | permissions and group of Unix sockets |
//! | [`listener`] | Unix and TCP sockets: where they are, what is in the way |
//! | [`inherited`] | sockets that systemd passes on by name |

#![forbid(unsafe_code)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod access;
pub mod inherited;
pub mod listener;
mod problem;

pub use access::Access;
pub use inherited::{Inherited, Need};
pub use listener::{Endpoint, Listener, Stream};
pub use problem::{Kind, Problem};
