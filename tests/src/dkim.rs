//! Signs messages as outside domains do (DKIM, RFC 6376 and RFC 8463), with every tag as a test
//! wants it.
//!
//! None of this is the code the relay verifies with: what both get wrong alike would not show.

use std::fs;
use std::io::{self, Write};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair};
use tempfile::NamedTempFile;

use crate::dns::zone;
use crate::mail::base64;
use crate::{Instance, Mail};

/// Fields that are signed. `From` stands twice: one more cannot be added unnoticed.
const FIELDS: &[&str] = &[
    "From",
    "From",
    "To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
];

/// Seconds for which the filter may keep a key: longer than a test takes.
const TTL: u32 = 3600;

/// A key of a domain, known to nobody until it is published.
pub struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Ed25519(Box<Ed25519KeyPair>),
    Rsa { pem: NamedTempFile, public: Vec<u8> },
}

impl Signer {
    /// A fresh Ed25519 key.
    ///
    /// # Panics
    ///
    /// If the system has no random numbers.
    pub fn ed25519(domain: &str) -> Signer {
        let pair = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new())
            .and_then(|pkcs8| Ok(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref())?))
            .unwrap_or_else(|error| panic!("no Ed25519 key: {error}"));
        Signer::new(domain, Key::Ed25519(Box::new(pair)))
    }

    /// A fresh RSA key of that many bits, made by openssl(1).
    ///
    /// # Panics
    ///
    /// If openssl does not make one.
    pub fn rsa(domain: &str, bits: u32) -> Signer {
        let make = || -> io::Result<Key> {
            let pem = NamedTempFile::new()?;
            let size = format!("rsa_keygen_bits:{bits}");
            let private = openssl(&["genpkey", "-algorithm", "RSA", "-pkeyopt", &size], &[])?;
            fs::write(&pem, &private)?;
            let public = openssl(&["pkey", "-pubout", "-outform", "DER"], &private)?;
            Ok(Key::Rsa { pem, public })
        };
        match make() {
            Ok(key) => Signer::new(domain, key),
            Err(error) => panic!("no RSA key: {error}"),
        }
    }

    fn new(domain: &str, key: Key) -> Signer {
        static COUNT: AtomicU32 = AtomicU32::new(1);
        Signer {
            domain: domain.to_owned(),
            selector: format!("s{}", COUNT.fetch_add(1, Ordering::Relaxed)),
            key,
        }
    }

    /// The same key under the selector of another: as after a key was replaced.
    pub fn with_selector_of(mut self, other: &Signer) -> Signer {
        self.selector.clone_from(&other.selector);
        self
    }

    /// Where the public key belongs in DNS.
    pub fn name(&self) -> String {
        format!("{}._domainkey.{}", self.selector, self.domain)
    }

    /// The tags of the public key (RFC 6376 section 3.6.1).
    pub fn record(&self) -> String {
        format!("v=DKIM1; {}", self.record_without_version())
    }

    /// As [`Signer::record`], without `v=`, which is optional.
    pub fn record_without_version(&self) -> String {
        match &self.key {
            Key::Ed25519(pair) => format!("k=ed25519; p={}", base64(pair.public_key().as_ref())),
            Key::Rsa { public, .. } => format!("k=rsa; p={}", base64(public)),
        }
    }

    /// Tells a relay's DNS the key, instead of one that may be there.
    ///
    /// # Panics
    ///
    /// If the zone cannot be changed.
    #[track_caller]
    pub fn publish(&self, relay: &Instance) {
        let line = zone::txt(&self.name(), TTL, &self.record());
        zone::replace(relay.endpoints(), &line).expect("zone");
    }

    /// The message with a good signature on top.
    pub fn sign(&self, mail: &Mail) -> Mail {
        self.signature().put_on(mail)
    }

    /// A signature to come, to be changed before it is made.
    pub fn signature(&self) -> Signature<'_> {
        Signature {
            signer: self,
            domain: self.domain.clone(),
            fields: FIELDS.iter().map(|&name| name.to_owned()).collect(),
            length: None,
        }
    }

    fn algorithm(&self) -> &'static str {
        match self.key {
            Key::Ed25519(_) => "ed25519-sha256",
            Key::Rsa { .. } => "rsa-sha256",
        }
    }

    fn make(&self, signed: &[u8]) -> Vec<u8> {
        match &self.key {
            // RFC 8463 section 3: the hash is signed, not the text.
            Key::Ed25519(pair) => pair
                .sign(digest(&SHA256, signed).as_ref())
                .as_ref()
                .to_vec(),
            Key::Rsa { pem, .. } => {
                let pem = pem.path().to_string_lossy();
                openssl(&["dgst", "-sha256", "-sign", &pem], signed)
                    .unwrap_or_else(|error| panic!("no RSA signature: {error}"))
            }
        }
    }
}

/// A signature that is about to be made: relaxed header, simple body.
pub struct Signature<'a> {
    signer: &'a Signer,
    domain: String,
    fields: Vec<String>,
    length: Option<usize>,
}

impl Signature<'_> {
    /// `d=`, instead of the signer's own domain.
    pub fn domain(mut self, domain: &str) -> Self {
        domain.clone_into(&mut self.domain);
        self
    }

    /// `h=`, instead of the usual fields.
    pub fn fields(mut self, fields: &[&str]) -> Self {
        self.fields = fields.iter().map(|&name| name.to_owned()).collect();
        self
    }

    /// `l=`: only so many octets of the body are signed.
    pub fn body_length(mut self, octets: usize) -> Self {
        self.length = Some(octets);
        self
    }

    /// Makes the signature and puts it on top of the message.
    pub fn put_on(self, mail: &Mail) -> Mail {
        let body = simple_body(mail.body());
        let length = self.length.unwrap_or(body.len()).min(body.len());
        let mut value = format!(
            "v=1; a={}; c=relaxed/simple; d={}; s={};\r\n\th={};",
            self.signer.algorithm(),
            self.domain,
            self.signer.selector,
            self.fields.join(":")
        );
        if self.length.is_some() {
            value.push_str(&format!(" l={length};"));
        }
        let hash = base64(digest(&SHA256, &body[..length]).as_ref());
        value.push_str(&format!("\r\n\tbh={hash};\r\n\tb="));

        // RFC 6376 section 3.7: the named fields, then this one with an empty b=.
        let mut signed = String::new();
        for field in chosen(mail.fields(), &self.fields) {
            signed.push_str(&field);
            signed.push_str("\r\n");
        }
        signed.push_str(&relaxed("DKIM-Signature", &value));
        let octets = base64(&self.signer.make(signed.as_bytes()));
        for line in octets.as_bytes().chunks(70) {
            value.push_str("\r\n\t");
            value.push_str(&String::from_utf8_lossy(line));
        }
        mail.clone().add("DKIM-Signature", &value)
    }
}

/// The fields that `h=` names: of several with one name the last first, and nothing when there are
/// no more (RFC 6376 section 5.4.2).
fn chosen(fields: &[(String, String)], names: &[String]) -> Vec<String> {
    let mut left: Vec<_> = fields.iter().collect();
    let mut chosen = Vec::new();
    for wanted in names {
        let last = left
            .iter()
            .rposition(|(name, _)| name.eq_ignore_ascii_case(wanted));
        if let Some(at) = last {
            let (name, value) = left.remove(at);
            chosen.push(relaxed(name, value));
        }
    }
    chosen
}

/// RFC 6376 section 3.4.2, without the line end.
fn relaxed(name: &str, value: &str) -> String {
    let words: Vec<_> = value
        .split([' ', '\t', '\r', '\n'])
        .filter(|word| !word.is_empty())
        .collect();
    format!("{}:{}", name.to_ascii_lowercase(), words.join(" "))
}

/// RFC 6376 section 3.4.3: empty lines at the end count as none, and a last line has its end.
fn simple_body(body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    while body.ends_with(b"\r\n\r\n") {
        body.truncate(body.len() - 2);
    }
    if !body.ends_with(b"\r\n") {
        body.extend_from_slice(b"\r\n");
    }
    body
}

fn openssl(arguments: &[&str], input: &[u8]) -> io::Result<Vec<u8>> {
    let mut child = Command::new("openssl")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input)?;
    }
    let output = child.wait_with_output()?;
    match output.status.success() {
        true => Ok(output.stdout),
        false => Err(io::Error::other(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dkimpy;

    #[test]
    fn canonical_forms_are_those_of_rfc_6376_section_3_4_5() {
        assert_eq!(relaxed("A", " X"), "a:X");
        assert_eq!(relaxed("B ".trim(), " Y\t\r\n\tZ  "), "b:Y Z");
        assert_eq!(
            simple_body(b" C \r\nD \t E\r\n\r\n\r\n"),
            b" C \r\nD \t E\r\n"
        );
        assert_eq!(simple_body(b""), b"\r\n");
        assert_eq!(simple_body(b"\r\n\r\n"), b"\r\n");
    }

    #[test]
    fn a_field_named_twice_is_signed_twice_or_as_often_as_it_is_there() {
        let fields = [("A", "1"), ("B", "2"), ("A", "3")];
        let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let names = ["a", "a", "a", "b"].map(str::to_owned);
        assert_eq!(chosen(&fields, &names), ["a:3", "a:1", "b:2"]);
    }

    #[test]
    fn another_implementation_agrees() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("zone");
        let mail = Mail::encrypted("carol@elsewhere.test", "bob@chat.test")
            .add("Received", "from  a\r\n\tby b")
            .set("Date", "Fri,  02 Jan 2026\r\n  12:00:00 +0000");
        for signer in [
            Signer::ed25519("elsewhere.test"),
            Signer::rsa("elsewhere.test", 1024),
        ] {
            let line = zone::txt(&signer.name(), 0, &signer.record());
            zone::replace_in(&path, &line).expect("zone");
            let signed = signer.sign(&mail);
            let [signature] = &dkimpy::verify(&path, &signed.to_bytes())[..] else {
                panic!("not one signature");
            };
            assert!(signature.valid, "{signature:?}");
            let tampered = signed.clone().set("Subject", "Lunch");
            assert!(!dkimpy::verify(&path, &tampered.to_bytes())[0].valid);
            let tampered = signed.body_is(b"Attack at dawn.\r\n");
            assert!(!dkimpy::verify(&path, &tampered.to_bytes())[0].valid);
        }
    }
}
