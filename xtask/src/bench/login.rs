//! What logins cost Dovecot.

use anyhow::Result;

use super::clients::Sasl;
use super::figures::{Figures, column, interleaved};
use super::imap::{Client, Door};
use super::pair::{Pair, Relay};
use super::population::known_users;
use super::table::{Compared, Row, Target};
use super::usage::{spent, spent_by};

/// Operations per round: enough CPU time to be told from the kernel's rounding.
const SASL: u32 = 400;
const FIRST: u32 = 60;
const IMAP: u32 = 200;

pub(super) fn measure(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    let known = interleaved("SASL logins of known users", rounds, pair, |pair, relay| {
        let mut sasl = Sasl::connect(&relay.auth_socket)?;
        let accounts = pair.accounts.iter().cycle().take(SASL as usize);
        each(relay, SASL, || {
            accounts.into_iter().try_for_each(|a| sasl.login(a))
        })
    })?;
    let known_users = known_users(pair, (rounds as usize + 1) * FIRST as usize)?;
    // Their accounts were made by a login.
    pair.restart_ours()?;
    pair.restart_bare()?;
    let (mut of_ours, mut of_bare) = (known_users.iter(), known_users.iter());
    let what = "SASL logins of known users, each the first since the start";
    let first = interleaved(what, rounds, pair, |_, relay| {
        let unseen = match relay.parts {
            Some(_) => &mut of_ours,
            None => &mut of_bare,
        };
        let mut sasl = Sasl::connect(&relay.auth_socket)?;
        each(relay, FIRST, || {
            let mut unseen = unseen.take(FIRST as usize);
            unseen.try_for_each(|user| sasl.login(user))
        })
    })?;
    let what = "first logins, which create accounts";
    let created = interleaved(what, rounds, pair, |_, relay| {
        if relay.parts.is_none() {
            return Ok(f64::NAN); // a passwd-file does not create accounts
        }
        let new = (0..FIRST).map(|_| relay.new_account());
        let new = new.collect::<Result<Vec<_>>>()?;
        let mut sasl = Sasl::connect(&relay.auth_socket)?;
        per_operation(relay, FIRST, || new.iter().try_for_each(|a| sasl.login(a)))
    })?;
    let alone = |ours| Figures {
        ours,
        bare: Vec::new(),
    };
    let created = alone(column(&created, |ms| *ms).ours);
    let part = |figure: fn(&Login) -> f64| {
        let both = known.iter().zip(&first);
        alone(both.map(|([k, _], [f, _])| figure(k) / figure(f)).collect())
    };
    let imap = interleaved(
        "IMAP LOGIN and LOGOUT of known users",
        rounds,
        pair,
        |pair, relay| {
            let mut accounts = pair.accounts.iter().cycle().take(IMAP as usize);
            per_operation(relay, IMAP, || {
                accounts
                    .try_for_each(|a| Client::log_in(&relay.endpoints, &Door::Plain, a)?.log_out())
            })
        },
    )?;
    let ms = "ms CPU";
    Ok(vec![
        Row::new(
            "SASL login, known user, repeated",
            ms,
            column(&known, |login| login.dovecot),
            Compared::Ratio,
        )
        .reference("1.88")
        .target(Target::Ratio(0.1)),
        Row::new(
            "SASL login, known user, the first since the start",
            ms,
            column(&first, |login| login.dovecot),
            Compared::Ratio,
        ),
        Row::new(
            "  repeated, as part of that",
            "fraction",
            part(|login| login.dovecot),
            Compared::Alone,
        )
        .target(Target::AtMost(0.1)),
        Row::new(
            "  the same in auth and its workers alone",
            "fraction",
            part(|login| login.auth),
            Compared::Alone,
        )
        .target(Target::AtMost(0.05)),
        Row::new(
            "SASL login that creates the account",
            ms,
            created,
            Compared::Alone,
        ),
        Row::new(
            "IMAP LOGIN + LOGOUT, known user",
            ms,
            column(&imap, |ms| *ms),
            Compared::Ratio,
        )
        .reference("7.7"),
    ])
}

/// What a login costs, in milliseconds of CPU time.
struct Login {
    dovecot: f64,
    /// The auth service and its workers, which carry its name.
    auth: f64,
}

fn each(relay: &Relay, operations: u32, work: impl FnOnce() -> Result<()>) -> Result<Login> {
    let mut auth = 0.0;
    let dovecot = per_operation(relay, operations, || {
        auth = spent_by(relay.dovecot, "auth", work)?;
        Ok(())
    })?;
    let auth = auth * 1e3 / f64::from(operations);
    Ok(Login { dovecot, auth })
}

/// Milliseconds of Dovecot's CPU time for each operation of some work.
pub(super) fn per_operation(
    relay: &Relay,
    operations: u32,
    work: impl FnOnce() -> Result<()>,
) -> Result<f64> {
    let [seconds] = spent([relay.dovecot], work)?;
    Ok(seconds * 1e3 / f64::from(operations))
}
