//! What DKIM costs: a relay that signs and verifies beside one with `dkim = false`.

use anyhow::Result;
use chatmail_tests::Mail;
use chatmail_tests::dkim::Signer;
use chatmail_tests::dns::zone;

use super::figures::{column, interleaved};
use super::mail::{KINDS, first_account, message, one_by_one};
use super::pair::Pair;
use super::table::{Compared, Row};
use super::{OUTSIDE, OUTSIDER};

/// Bits of the RSA key of the other server: what nearly all of them have.
const BITS: u32 = 2048;
/// Seconds for which the filter remembers the key: longer than anything is measured here.
const TTL: u32 = 86_400;

/// A message of another server with a signature, whose key the relay can find.
pub(super) fn signed(pair: &Pair, to: &str, ciphertext: usize) -> Result<Mail> {
    let signer = Signer::rsa(OUTSIDE, BITS);
    let line = zone::txt(&signer.name(), TTL, &signer.record());
    zone::replace(&pair.ours.endpoints, &line)?;
    Ok(signer.sign(&message(OUTSIDER, to, ciphertext)))
}

pub(super) fn measure(pair: &mut Pair, rounds: u32) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let to = first_account(pair)?;
    let file = pair.ours.directory.join("message");
    for kind in &KINDS {
        let incoming = signed(pair, &to, kind.ciphertext)?;
        let outgoing = message(&to, &to, kind.ciphertext);
        for (verb, mail, from) in [
            ("verified", incoming, OUTSIDER),
            ("signed", outgoing, to.as_str()),
        ] {
            let what = format!("mail that is {verb}, {}", kind.name);
            let load = kind.load(&mail, from, &to, &file)?;
            let seconds = interleaved(&what, rounds, pair, |_, relay| {
                let port = match from {
                    OUTSIDER => relay.endpoints.smtp,
                    _ => relay.outgoing_port,
                };
                kind.spend(relay, &load, port)
            })?;
            let unit = "s CPU per 1000";
            rows.push(Row::new(
                format!("{what}; dkim = false"),
                unit,
                column(&seconds, |[postfix, filter]| postfix + filter),
                Compared::Ratio,
            ));
            rows.push(Row::new(
                "  of which in the filter",
                unit,
                column(&seconds, |[_, filter]| *filter),
                Compared::Difference,
            ));
        }
    }
    let message = signed(pair, &to, 0)?.to_bytes();
    let [p50, p95] = one_by_one(pair, rounds, &to, &message)?;
    for (name, figures) in [("p50", p50), ("p95", p95)] {
        let what = format!("one 3 KB message, verified, {name}; dkim = false");
        rows.push(Row::new(what, "ms", figures, Compared::Difference));
    }
    Ok(rows)
}
