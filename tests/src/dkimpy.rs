//! DKIM by dkimpy, an implementation that shares nothing with ours.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::dns::zone;
use crate::{Instance, Mail, python};

const PACKAGES: [&str; 4] = [
    "dkimpy==1.1.8",
    "dnspython==2.7.0",
    "authres==1.2.0",
    "pynacl==1.5.0",
];

/// One signature of a message.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Signature {
    /// `d=`
    pub domain: String,
    /// `s=`
    pub selector: String,
    /// `a=`
    pub algorithm: String,
    /// `c=`
    pub canonicalization: String,
    /// `h=`, in lower case.
    pub fields: Vec<String>,
    /// Whether it is a good one.
    pub valid: bool,
}

#[derive(Deserialize)]
struct Signed {
    name: String,
    record: String,
    signature: String,
}

/// The signatures of a raw message, from the top; keys come from a zone file.
///
/// # Panics
///
/// If dkimpy cannot be installed or run.
#[track_caller]
pub fn verify(zone: &Path, message: &[u8]) -> Vec<Signature> {
    run(&["verify", &zone.to_string_lossy()], message)
}

/// Signs with a fresh key, and publishes it in the zone of a relay. `bits` is the size of an RSA key.
///
/// # Panics
///
/// If dkimpy cannot be installed or run.
#[track_caller]
pub fn sign(
    relay: &Instance,
    domain: &str,
    algorithm: &str,
    canonicalization: &str,
    bits: u32,
    mail: &Mail,
) -> Mail {
    let bits = bits.to_string();
    let signed: Signed = run(
        &["sign", domain, algorithm, canonicalization, &bits],
        &mail.to_bytes(),
    );
    let line = zone::txt(&signed.name, 0, &signed.record);
    zone::replace(relay.endpoints(), &line).expect("zone");
    mail.clone().add("DKIM-Signature", &signed.signature)
}

#[track_caller]
fn run<T: DeserializeOwned>(arguments: &[&str], input: &[u8]) -> T {
    try_run(arguments, input).unwrap_or_else(|error| panic!("dkimpy: {error}"))
}

fn try_run<T: DeserializeOwned>(arguments: &[&str], input: &[u8]) -> io::Result<T> {
    let python = python::with("dkimpy-1.1.8", &PACKAGES)?;
    let mut child = Command::new(python)
        .arg(script())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input)?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        return Err(io::Error::other(output.status.to_string()));
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("dkimpy/dkimpy.py")
}
