//! An address for whoever tries the relay, as a link that Delta Chat reads.

use std::fs::File;
use std::io::{IsTerminal, Read};

use anyhow::{Context, Result};
use chatmail_tests::Endpoints;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;

const LETTERS: &[u8; 32] = b"abcdefghijkmnopqrstuvwxyz2345678";

/// An address and its password; the first login creates it.
pub(crate) struct Account {
    pub(crate) address: String,
    pub(crate) password: String,
}

/// How long the parts of a new account are, in characters.
#[derive(Clone, Copy)]
pub(crate) struct Lengths {
    pub(crate) localpart: usize,
    pub(crate) password: usize,
}

impl Account {
    /// A random one.
    pub(crate) fn random(domain: &str, lengths: Lengths) -> Result<Account> {
        Ok(Account {
            address: format!("{}@{domain}", random(lengths.localpart)?),
            password: random(lengths.password)?,
        })
    }

    /// `dclogin:`: Delta Chat logs in with this by itself. The certificate is one that no authority knows (`ic=3`).
    pub(crate) fn link(&self, endpoints: &Endpoints) -> String {
        let Endpoints {
            host, imaps, smtps, ..
        } = endpoints;
        let password = utf8_percent_encode(&self.password, NON_ALPHANUMERIC);
        format!(
            "dclogin:{}?p={password}&v=1&ih={host}&ip={imaps}&is=ssl&sh={host}&sp={smtps}&ss=ssl&ic=3",
            self.address
        )
    }
}

/// A QR code for a terminal, whatever its colours are; for a log, one that suits a dark background.
pub(crate) fn qr_code(text: &str) -> Result<String> {
    let code = QrCode::with_error_correction_level(text, qrcode::EcLevel::L)
        .context("the link is too long for a QR code")?;
    let drawn = code
        .render::<Dense1x2>()
        .dark_color(Dense1x2::Light)
        .light_color(Dense1x2::Dark)
        .build();
    if !std::io::stdout().is_terminal() {
        return Ok(drawn);
    }
    // White on black (ECMA-48 SGR), since blocks are drawn in the colour of the text.
    let lines = drawn
        .lines()
        .map(|line| format!("\x1b[97;40m{line}\x1b[0m"));
    Ok(lines.collect::<Vec<_>>().join("\n"))
}

fn random(length: usize) -> Result<String> {
    let mut bytes = vec![0; length];
    File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .context("cannot read /dev/urandom")?;
    Ok(bytes
        .iter()
        .map(|byte| char::from(LETTERS[usize::from(byte % 32)]))
        .collect())
}
