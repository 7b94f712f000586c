//! One module for each command: its options, its manual, and what it prints. What it does is in the
//! library.

pub(crate) mod check;
mod client;
pub(crate) mod echobot;
pub(crate) mod expire;
pub(crate) mod import_sqlite;
pub(crate) mod layout;
mod link;
pub(crate) mod mail_user;
mod progress;
pub(crate) mod render;
pub(crate) mod serve;
pub(crate) mod test;
pub(crate) mod usage;
pub(crate) mod user;

use std::io::Write;

use crate::exit::{Exit, Failure};

/// Writes the answer of a command to standard output.
fn print(text: &str) -> Result<(), Failure> {
    let mut output = std::io::stdout().lock();
    let written = output
        .write_all(text.as_bytes())
        .and_then(|()| output.flush());
    written.map_err(|why| Failure(Exit::CannotWrite, format!("standard output: {why}")))
}
