//! Signs as other domains do, with every tag as a test wants it. Word by word after RFC 6376, on
//! messages that are held: none of it is the code under test.

use ring::digest::{SHA256, digest};
use ring::rand::SystemRandom;
use ring::signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::Mail;

/// Keys for tests. Nothing else is signed with them.
pub const RSA: &str = include_str!("../keys/rsa.pem");
/// The same in the form of PKCS#1.
pub const RSA_PKCS1: &str = include_str!("../keys/rsa-pkcs1.pem");
/// Too short a key to sign with.
pub const RSA_1024: &str = include_str!("../keys/rsa1024.pem");
/// A key behind a passphrase.
pub const ENCRYPTED: &str = include_str!("../keys/encrypted.pem");
pub const ED25519: &str = include_str!("../keys/ed25519.pem");

pub enum Key {
    Rsa(RsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    pub fn rsa() -> Key {
        let PrivateKeyDer::Pkcs8(der) = PrivateKeyDer::from_pem_slice(RSA.as_bytes()).unwrap()
        else {
            panic!("not PKCS#8");
        };
        Key::Rsa(RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap())
    }

    /// Another one each time.
    pub fn fresh() -> Key {
        let der = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Key::Ed25519(Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap())
    }

    /// The public key as it stands in the DNS.
    pub fn record(&self) -> String {
        match self {
            Key::Rsa(pair) => format!("v=DKIM1; p={}", base64(pair.public_key().as_ref())),
            Key::Ed25519(pair) => format!("k=ed25519; p={}", base64(pair.public_key().as_ref())),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Key::Rsa(_) => "rsa-sha256",
            Key::Ed25519(_) => "ed25519-sha256",
        }
    }

    fn sign(&self, octets: &[u8]) -> Vec<u8> {
        match self {
            Key::Rsa(pair) => {
                let mut signature = vec![0; pair.public_key().modulus_len()];
                pair.sign(
                    &RSA_PKCS1_SHA256,
                    &SystemRandom::new(),
                    octets,
                    &mut signature,
                )
                .unwrap();
                signature
            }
            Key::Ed25519(pair) => {
                let hash = digest(&SHA256, octets);
                pair.sign(hash.as_ref()).as_ref().to_vec()
            }
        }
    }

    /// Tags of a signature that leaves nothing to be desired.
    pub fn tags(&self, domain: &str, selector: &str) -> String {
        format!(
            "v=1; a={}; c=relaxed/relaxed; d={domain}; s={selector}; \
             h=From:Subject:MIME-Version:Content-Type:From",
            self.name()
        )
    }
}

impl Mail {
    /// With one more signature on top.
    pub fn signed(mut self, key: &Key, domain: &str, selector: &str) -> Mail {
        let tags = key.tags(domain, selector);
        let signature = self.signature(key, &tags);
        self.fields
            .insert(0, ("DKIM-Signature".to_owned(), signature));
        self
    }

    /// The value of a field with these tags, `bh=` and `b=`.
    pub fn signature(&self, key: &Key, tags: &str) -> String {
        let tag = |name: &str| {
            let tags = tags.split(';').map(str::trim);
            let mut values = tags.filter_map(|tag| tag.strip_prefix(name)?.strip_prefix('='));
            values.next().unwrap_or("").to_owned()
        };
        let c = tag("c");
        let (header, body) = c.split_once('/').unwrap_or((&c, "simple"));
        let hash = digest(&SHA256, &canonical_body(&self.body, body == "relaxed"));
        let value = format!("{tags};\n\tbh={}; b=", base64(hash.as_ref()));
        let mut left: Vec<&(String, String)> = self.fields.iter().collect();
        let mut octets = String::new();
        for name in tag("h").split(':').map(str::trim) {
            let at = left.iter().rposition(|(n, _)| n.eq_ignore_ascii_case(name));
            if let Some(at) = at {
                let (name, value) = left.remove(at);
                octets += &canonical_field(name, value, header == "relaxed");
                octets += "\r\n";
            }
        }
        octets += &canonical_field("DKIM-Signature", &value, header == "relaxed");
        value + &base64(&key.sign(octets.as_bytes()))
    }
}

/// A field with one space behind its colon.
fn canonical_field(name: &str, value: &str, relaxed: bool) -> String {
    let value = value.replace('\n', "\r\n");
    match relaxed {
        false => format!("{name}: {value}"),
        true => {
            let words: Vec<&str> = value.split_ascii_whitespace().collect();
            format!("{}:{}", name.to_ascii_lowercase(), words.join(" "))
        }
    }
}

fn canonical_body(body: &[u8], relaxed: bool) -> Vec<u8> {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let mut lines: Vec<String> = text.split("\r\n").map(str::to_owned).collect();
    if relaxed {
        for line in &mut lines {
            let is_indented = line.starts_with([' ', '\t']);
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            let space = if is_indented && !words.is_empty() {
                " "
            } else {
                ""
            };
            *line = format!("{space}{}", words.join(" "));
        }
    }
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    let mut canonical: String = lines.into_iter().map(|line| line + "\r\n").collect();
    if canonical.is_empty() && !relaxed {
        canonical = "\r\n".to_owned();
    }
    canonical.into_bytes()
}

pub fn base64(octets: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in octets.chunks(3) {
        let bits = group
            .iter()
            .chain([&0, &0])
            .take(3)
            .fold(0, |bits, octet| bits << 8 | usize::from(*octet));
        for sextet in 0..4 {
            text.push(match sextet <= group.len() {
                true => char::from(ALPHABET[bits >> (18 - 6 * sextet) & 63]),
                false => '=',
            });
        }
    }
    text
}
