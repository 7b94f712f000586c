//! Our signature.

use std::time::{SystemTime, UNIX_EPOCH};

use chatmail_core::filter::HeaderEdit;
use mail_auth::common::crypto::SigningKey;
use mail_auth::common::headers::{Writable, Writer};
use mail_auth::dkim::{Canonicalization, Signature};

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
    "content-type",
    "content-transfer-encoding",
    "mime-version",
    "message-id",
    "secure-join",
    "secure-join-auth",
    "secure-join-fingerprint",
    "secure-join-group",
    "secure-join-invitenumber",
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

/// Octets of a name in `h=`, which is folded only between names. Before a first name that does not
/// fit in a line of 76, the library folds twice, and then what it signs is not the canonical form.
const NAME_BYTES: usize = 70;

/// A message could not be signed. The library's reasons say nothing about the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SigningError;

/// Takes in a message.
#[derive(Debug)]
pub struct Signer {
    header: RawHeader,
    body: BodyHasher,
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
        && name.len() <= NAME_BYTES
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
