//! What DKIM costs: a relay that signs and verifies beside one with `dkim = false`.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use chatmail_tests::Mail;
use chatmail_tests::dkim::Signer;
use chatmail_tests::dns::zone;

use super::figures::{Figures, column, interleaved};
use super::mail::{KINDS, first_account, message, one_by_one};
use super::pair::Pair;
use super::table::{Compared, Row, Target};
use super::{OUTSIDE, OUTSIDER, SENDER};

/// Bits of the RSA keys, ours and the other server's: what nearly all of them have.
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
    let user = first_account(pair)?;
    let user = user.as_str();
    let file = pair.ours.directory.join("message");
    for kind in &KINDS {
        let incoming = signed(pair, user, kind.ciphertext)?;
        let outgoing = message(SENDER, OUTSIDER, kind.ciphertext);
        for (verb, mail, from, to) in [
            ("verified", incoming, OUTSIDER, user),
            ("signed", outgoing, SENDER, OUTSIDER),
        ] {
            let what = format!("mail that is {verb}, {}", kind.name);
            let load = kind.load(&mail, from, to, &file)?;
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
    rows.push(signature(pair, rounds, &file)?);
    let message = signed(pair, user, 0)?.to_bytes();
    let [p50, p95] = one_by_one(pair, rounds, user, &message)?;
    for (name, figures) in [("p50", p50), ("p95", p95)] {
        let what = format!("one 3 KB message, verified, {name}; dkim = false");
        rows.push(Row::new(what, "ms", figures, Compared::Difference));
    }
    Ok(rows)
}

/// The time that the filter spends on signing a message of 3 KB, hashes included, next to what OpenSSL spends on RSA
/// alone.
fn signature(pair: &mut Pair, rounds: u32, file: &Path) -> Result<Row> {
    // On kept connections hardly anything else is done.
    let [_, kind, ..] = &KINDS;
    let mail = message(SENDER, OUTSIDER, 0);
    let load = kind.load(&mail, SENDER, OUTSIDER, file)?;
    let rounds = interleaved("one signature", rounds, pair, |_, relay| {
        let [_, filter] = kind.spend(relay, &load, relay.outgoing_port)?;
        Ok((filter, openssl()?))
    })?;
    let figures = Figures {
        ours: rounds.iter().map(|[ours, bare]| ours.0 - bare.0).collect(),
        bare: rounds
            .iter()
            .map(|[ours, bare]| f64::midpoint(ours.1, bare.1))
            .collect(),
    };
    let what = format!("one signature, 3 KB; openssl speed rsa{BITS}");
    Ok(Row::new(what, "ms CPU", figures, Compared::Ratio).target(Target::Ratio(1.3)))
}

/// Milliseconds of CPU time that openssl(1) takes for a signature with RSA.
fn openssl() -> Result<f64> {
    let output = Command::new("openssl")
        .args(["speed", "-mr", "-seconds", "1", &format!("rsa{BITS}")])
        .stderr(Stdio::null())
        .output()
        .context("cannot run openssl")?;
    let text = String::from_utf8_lossy(&output.stdout);
    per_second(&text)
        .map(|rate| 1e3 / rate)
        .with_context(|| format!("openssl speed says nothing about RSA: {text:?}"))
}

/// Signatures per second, in what `openssl speed -mr` prints: number of the key, bits, signatures, verifications.
fn per_second(output: &str) -> Option<f64> {
    let line = output.lines().find_map(|line| line.strip_prefix("+F2:"))?;
    let rate: f64 = line.split(':').nth(2)?.parse().ok()?;
    (rate > 0.0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_figures_of_openssl_are_read_whatever_stands_behind_them() {
        let old = "+F2:2:2048:1332.584270:44582.105263\n";
        assert_eq!(per_second(old), Some(1332.584270));
        let new = "+DTP:2048:private:rsa sign:1\n+F2:1:2048:4000.5:1.0:2.0:3.0\n";
        assert_eq!(per_second(new), Some(4000.5));
        for none in ["", "+F2:2:2048\n", "+F2:2:2048:0.0:0.0\n", "+F3:1:2:3:4"] {
            assert_eq!(per_second(none), None, "{none}");
        }
    }
}
