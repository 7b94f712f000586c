//! libchatmail: the C ABI of chatmail-core.
//!
//! The manual for C is `include/chatmail.h`. It is generated from this crate, so the comments on
//! exported items speak C.
//!
//! # Map
//!
//! One family of C types per file, and two files under all of them: `pointers` is the only place
//! that turns pointers into references and back, `guard` the only place where a panic stops and
//! where a `Result` becomes a status. Exported functions hold no decisions: these are in the core.
//!
//! # Conventions
//!
//! - Every exported body runs in `guard::status` or `guard::answer`.
//! - Arguments are converted with the macros `bytes!`, `shared!`, `exclusive!` and `output!`,
//!   outputs first: what is wrong with an argument is found before anything is done.
//! - Exported functions are `unsafe`; what they ask of the caller is the header's "Conventions".

// C's names, so that the header needs no renaming table.
#![allow(non_camel_case_types)]
// See "Conventions" above.
#![allow(clippy::missing_safety_doc)]
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(panic = "abort")]
compile_error!("libchatmail stops panics at its edge and cannot be built with panic = \"abort\"");

#[macro_use]
mod pointers;
mod guard;

// In the order of the header.
pub mod version;

pub mod error;

pub mod config;

#[cfg(feature = "auth")]
pub mod auth;

#[cfg(feature = "auth")]
pub mod login;

pub mod users;

pub mod mailbox;

#[cfg(feature = "metadata")]
pub mod metadata;

pub mod bytes;

#[cfg(feature = "push")]
pub mod push;

#[cfg(feature = "filter")]
pub mod message;

#[cfg(feature = "filter")]
pub mod verdict;

#[cfg(all(test, feature = "filter"))]
mod corpus;
