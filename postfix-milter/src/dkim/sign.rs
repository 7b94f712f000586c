//! Our signature.

use std::time::{SystemTime, UNIX_EPOCH};

use chatmail_core::filter::HeaderEdit;
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey, SigningKey};
use mail_auth::common::headers::{Writable, Writer};
use mail_auth::dkim::{Canonicalization, Signature};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::Dkim;
use super::body::BodyHasher;
use super::header::RawHeader;

/// The field a signature stands in.
pub const FIELD: &str = "DKIM-Signature";

/// Signed once more than they are there: nobody can add one without breaking the signature.
const OVERSIGNED: &[&str] = &[
    "from",
    "reply-to",
    "subject",
    "date",
    "to",
    "cc",
    "resent-date",
    "resent-from",
    "resent-sender",
    "resent-to",
    "resent-cc",
    "in-reply-to",
    "references",
    "list-id",
    "list-help",
    "list-unsubscribe",
    "list-subscribe",
    "list-post",
    "list-owner",
    "list-archive",
    "autocrypt",
];

/// Not signed: the way there changes or removes them (RFC 6376 section 5.4.1).
const UNSIGNED: &[&str] = &[
    "received",
    "return-path",
    "dkim-signature",
    "arc-seal",
    "arc-message-signature",
    "arc-authentication-results",
    "authentication-results",
    "bcc",
    "resent-bcc",
];

/// In whose name is signed, and with what.
pub(super) struct Identity {
    domain: String,
    selector: String,
    key: DkimKey,
}

/// A message could not be signed. The library's reasons say nothing about the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningError;

/// Takes in a message.
#[derive(Debug)]
pub struct Signer {
    header: RawHeader,
    body: BodyHasher,
}

impl Identity {
    /// # Errors
    ///
    /// What is wrong with the key.
    pub(super) fn new(domain: &str, selector: &str, pem: &[u8]) -> Result<Identity, String> {
        let key = PrivateKeyDer::from_pem_slice(pem)
            .map_err(|_| "no private key in PEM form is in it".to_owned())?;
        Ok(Identity {
            domain: domain.to_owned(),
            selector: selector.to_owned(),
            key: signing_key(key)?,
        })
    }

    pub(super) fn domain(&self) -> &str {
        &self.domain
    }
}

fn signing_key(key: PrivateKeyDer<'_>) -> Result<DkimKey, String> {
    if let PrivateKeyDer::Pkcs8(der) = &key
        && let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(der.secret_pkcs8_der())
    {
        return Ok(key.into());
    }
    RsaKey::from_key_der(key)
        .map(DkimKey::from)
        .map_err(|e| format!("neither an RSA key of 2048 bits or more nor an Ed25519 key: {e}"))
}

impl Default for Signer {
    fn default() -> Signer {
        Signer {
            header: RawHeader::default(),
            // Relaxed headers survive refolding; a body that was encrypted is not reflowed.
            body: BodyHasher::new(Canonicalization::Simple),
        }
    }
}

impl Signer {
    /// One header field: name without colon, value with the white space behind the colon.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        self.header.push(name, value);
    }

    /// More of the body.
    pub fn body(&mut self, octets: &[u8]) {
        self.body.update(octets);
    }

    /// The values of all fields of this name.
    pub fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.header
            .fields()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value)
    }

    /// The value of a `DKIM-Signature` field over the message as it is after these edits: folded
    /// with CRLF, without the space behind the colon.
    ///
    /// # Errors
    ///
    /// There is no key, the header was too long to be kept, or the library failed.
    pub fn finish(mut self, edits: &[HeaderEdit], dkim: &Dkim) -> Result<String, SigningError> {
        let identity = dkim.identity.as_ref().ok_or(SigningError)?;
        if self.header.is_overflown() {
            return Err(SigningError);
        }
        self.header.edit(edits);
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let mut signature = Signature {
            v: 1,
            a: identity.key.algorithm(),
            d: identity.domain.clone(),
            s: identity.selector.clone(),
            h: signed_names(&self.header),
            bh: self.body.finish().digest,
            t: now,
            ch: Canonicalization::Relaxed,
            cb: Canonicalization::Simple,
            ..Signature::default()
        };
        signature.b = identity
            .key
            .sign(ToBeSigned {
                header: &self.header,
                signature: &signature,
            })
            .map_err(|_| SigningError)?;
        let mut field = Vec::with_capacity(1024);
        signature.write(&mut field, true);
        let field = String::from_utf8(field).map_err(|_| SigningError)?;
        field
            .strip_prefix("DKIM-Signature: ")
            .and_then(|value| value.strip_suffix("\r\n"))
            .map(str::to_owned)
            .ok_or(SigningError)
    }
}

/// Names for `h=`: each field there is, from below, as they are hashed; then what shall not be
/// added.
fn signed_names(header: &RawHeader) -> Vec<String> {
    header
        .fields()
        .rev()
        .map(|(name, _)| String::from_utf8_lossy(name).to_ascii_lowercase())
        .filter(|name| is_signed(name))
        .chain(OVERSIGNED.iter().map(|&name| name.to_owned()))
        .collect()
}

/// A name may hold a semicolon (RFC 5322 section 3.6.8) but not in `h=`.
fn is_signed(name: &str) -> bool {
    !UNSIGNED.contains(&name)
        && name
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet))
}

/// The canonical header fields, and the signature's own field without the signature (section 3.7).
struct ToBeSigned<'a> {
    header: &'a RawHeader,
    signature: &'a Signature,
}

impl Writable for ToBeSigned<'_> {
    fn write(self, writer: &mut impl Writer) {
        let fields = self.header.signed(&self.signature.h);
        self.signature
            .ch
            .canonicalize_headers(fields.into_iter(), writer);
        // Nothing is folded in this form, so it is the canonical one.
        self.signature.write(writer, false);
    }
}
