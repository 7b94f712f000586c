//! What logins cost Dovecot.

use anyhow::Result;

use super::clients::{Sasl, imap_login_logout};
use super::figures::{Figures, column, interleaved};
use super::pair::{Pair, Relay};
use super::table::{Compared, Row};
use super::usage::spent;

/// Operations per round: enough CPU time to be told from the kernel's rounding.
const SASL: u32 = 400;
const FIRST: u32 = 40;
const IMAP: u32 = 200;

pub(super) fn measure(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    let known = interleaved("SASL logins of known users", rounds, pair, |pair, relay| {
        let mut sasl = Sasl::connect(&relay.auth_socket)?;
        let accounts = pair.accounts.iter().cycle().take(SASL as usize);
        per_operation(relay, SASL, || {
            accounts.into_iter().try_for_each(|a| sasl.login(a))
        })
    })?;
    let known = column(&known, |ms| *ms);
    let first = interleaved(
        "first logins, which create accounts",
        rounds,
        pair,
        |_, relay| {
            if relay.parts.is_none() {
                return Ok(f64::NAN); // a passwd-file does not create accounts
            }
            let new = (0..FIRST).map(|_| relay.new_account());
            let new = new.collect::<Result<Vec<_>>>()?;
            let mut sasl = Sasl::connect(&relay.auth_socket)?;
            per_operation(relay, FIRST, || new.iter().try_for_each(|a| sasl.login(a)))
        },
    )?;
    let first = Figures {
        bare: Vec::new(),
        ..column(&first, |ms| *ms)
    };
    let share = Figures {
        ours: known
            .ours
            .iter()
            .zip(&first.ours)
            .map(|(known, first)| known / first)
            .collect(),
        bare: Vec::new(),
    };
    let imap = interleaved(
        "IMAP LOGIN and LOGOUT of known users",
        rounds,
        pair,
        |pair, relay| {
            let mut accounts = pair.accounts.iter().cycle().take(IMAP as usize);
            per_operation(relay, IMAP, || {
                accounts.try_for_each(|a| imap_login_logout(&relay.endpoints, a))
            })
        },
    )?;
    let ms = "ms CPU";
    Ok(vec![
        Row::new("SASL login, known user", ms, known, Compared::Ratio).reference("1.88"),
        Row::new(
            "SASL login that creates the account",
            ms,
            first,
            Compared::Alone,
        ),
        Row::new(
            "  known user's part of that",
            "fraction",
            share,
            Compared::Alone,
        )
        .target("<= 0.05"),
        Row::new(
            "IMAP LOGIN + LOGOUT, known user",
            ms,
            column(&imap, |ms| *ms),
            Compared::Ratio,
        )
        .reference("7.7"),
    ])
}

/// Milliseconds of Dovecot's CPU time for each operation of some work.
fn per_operation(relay: &Relay, operations: u32, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let [seconds] = spent([relay.dovecot], work)?;
    Ok(seconds * 1e3 / f64::from(operations))
}
