//! A whole IMAP session, in the shipped configuration and in Dovecot's own.

use anyhow::Result;

use super::figures::{column, interleaved};
use super::imap::{Client, Door};
use super::login::per_operation;
use super::pair::Pair;
use super::table::{Compared, Row, Target};

/// Sessions per round.
const SESSIONS: u32 = 200;

pub(super) fn measure(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (name, tls) in [("", false), (" over TLS", true)] {
        let what = format!("IMAP LOGIN + LOGOUT, known user{name}; Dovecot's defaults");
        let ms = interleaved(&what, rounds, pair, |pair, relay| {
            let door = match tls {
                true => Door::tls(&relay.endpoints)?,
                false => Door::Plain,
            };
            let mut users = pair.accounts.iter().cycle().take(SESSIONS as usize);
            per_operation(relay, SESSIONS, || {
                users.try_for_each(|user| Client::log_in(&relay.endpoints, &door, user)?.log_out())
            })
        })?;
        let row = Row::new(what, "ms CPU", column(&ms, |ms| *ms), Compared::Ratio);
        rows.push(row.target(Target::Ratio(0.25)));
    }
    Ok(rows)
}
