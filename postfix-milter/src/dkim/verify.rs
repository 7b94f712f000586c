//! Whether somebody else's message carries a signature of its From domain.

use std::time::{SystemTime, UNIX_EPOCH};

use mail_auth::common::crypto::Algorithm;
use mail_auth::dkim::Signature;
use tokio::time::timeout;

use super::body::{BodyHash, BodyHasher};
use super::header::RawHeader;
use super::keys::{Key, Keys, NoKey, Source, VERIFICATION};
use super::sign::FIELD;
use super::{Dkim, tags};

/// Signatures of one domain that are looked at (a number). Each may cost a look-up.
const SIGNATURES: usize = 8;

/// Names in `h=` (a number): fields and those that are kept from being added.
const SIGNED_NAMES: usize = 1000;

/// What became of the signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// One holds.
    Pass,
    /// None holds. Why the first one does not.
    Fail(Cause),
    /// Without an answer of the DNS it cannot be told.
    DnsTrouble,
}

/// Why a signature does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// The message has no `DKIM-Signature` field.
    NoSignature,
    /// Every signature is of another domain than From.
    OtherDomain,
    /// It is not written as the standard demands, or says too little: no `v=1`, From not signed.
    Malformed,
    /// RSA with SHA-1 (RFC 8301).
    Algorithm,
    /// `x=` has passed.
    Expired,
    /// `l=` leaves something of the body out.
    PartialBody,
    /// The body is another.
    BodyHash,
    /// The DNS has no key for it, or one that is not for this.
    Key,
    /// The header was changed, no key of the selector made this signature, or the key is too small.
    Signature,
}

/// Takes in a message.
#[derive(Debug, Default)]
pub struct Verifier {
    header: RawHeader,
    candidates: Vec<Candidate>,
    /// One for each way of reading a body that a signature names: two at most.
    bodies: Vec<BodyHasher>,
}

/// A signature and the field it stands in.
#[derive(Debug)]
struct Candidate {
    field: usize,
    signature: Signature,
}

/// All of a message that its signatures are about.
#[derive(Debug)]
pub struct Verification {
    header: RawHeader,
    candidates: Vec<Candidate>,
    bodies: Vec<BodyHash>,
}

impl Verifier {
    /// One header field: name without colon, value with the white space behind the colon.
    pub fn header(&mut self, name: &[u8], value: &[u8]) {
        self.header.push(name, value);
    }

    /// The header has ended.
    pub fn end_of_headers(&mut self) {
        let mut is_signed = false;
        for (field, value) in signatures(&self.header) {
            is_signed = true;
            if !tags::has_duplicates(value)
                && let Ok(signature) = Signature::parse(value)
            {
                self.candidates.push(Candidate { field, signature });
            }
        }
        for Candidate { signature, .. } in &self.candidates {
            let is_known = |body: &BodyHasher| body.canonicalization() == signature.cb;
            if !self.bodies.iter().any(is_known) {
                self.bodies.push(BodyHasher::new(signature.cb));
            }
        }
        if !is_signed {
            self.header = RawHeader::default();
        }
    }

    /// More of the body.
    pub fn body(&mut self, octets: &[u8]) {
        for body in &mut self.bodies {
            body.update(octets);
        }
    }

    /// The message has ended.
    pub fn finish(self) -> Verification {
        Verification {
            header: self.header,
            candidates: self.candidates,
            bodies: self.bodies.into_iter().map(BodyHasher::finish).collect(),
        }
    }
}

impl Verification {
    /// Whether a signature of this domain holds. Asks the DNS, for 20 s at most.
    pub async fn outcome(self, domain: &str, dkim: &Dkim) -> Outcome {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let decided = self.decide(domain, &dkim.keys, now);
        timeout(VERIFICATION, decided)
            .await
            .unwrap_or(Outcome::DnsTrouble)
    }

    async fn decide(&self, domain: &str, keys: &Keys, now: u64) -> Outcome {
        let mut failure = None;
        let mut trouble = false;
        let candidates = self
            .candidates
            .iter()
            .filter(|candidate| candidate.signature.d.eq_ignore_ascii_case(domain));
        for candidate in candidates.take(SIGNATURES) {
            match self.check(candidate, keys, now).await {
                Outcome::Pass => return Outcome::Pass,
                Outcome::Fail(cause) => {
                    failure.get_or_insert(cause);
                }
                Outcome::DnsTrouble => trouble = true,
            }
        }
        match trouble {
            true => Outcome::DnsTrouble,
            false => Outcome::Fail(failure.unwrap_or_else(|| self.absence(domain))),
        }
    }

    /// Why no signature of this domain could be checked. A malformed field may be a signature of this
    /// domain, unless its `d=` says otherwise.
    fn absence(&self, domain: &str) -> Cause {
        let mut cause = Cause::NoSignature;
        for (field, value) in signatures(&self.header) {
            let is_read = self.candidates.iter().any(|known| known.field == field);
            let may_be_ours = || {
                tags::value(value, b"d").is_none_or(|d| d.eq_ignore_ascii_case(domain.as_bytes()))
            };
            if !is_read && may_be_ours() {
                return Cause::Malformed;
            }
            cause = Cause::OtherDomain;
        }
        cause
    }

    async fn check(&self, candidate: &Candidate, keys: &Keys, now: u64) -> Outcome {
        // What needs no look-up comes first.
        if let Err(cause) = check_claims(&candidate.signature, now)
            .and_then(|()| self.check_body(&candidate.signature))
        {
            return Outcome::Fail(cause);
        }
        let Signature { s, d, .. } = &candidate.signature;
        let mut source = Source::Any;
        loop {
            match keys.get(s, d, source).await {
                Ok((keys, found)) => match self.check_header(candidate, &keys) {
                    Ok(()) => return Outcome::Pass,
                    // The domain may have a new key by now.
                    Err(_) if found == Source::Any => source = Source::Dns,
                    Err(cause) => return Outcome::Fail(cause),
                },
                Err(NoKey::None) => return Outcome::Fail(Cause::Key),
                Err(NoKey::Trouble) => return Outcome::DnsTrouble,
            }
        }
    }

    fn check_body(&self, signature: &Signature) -> Result<(), Cause> {
        let hash = self
            .bodies
            .iter()
            .find(|body| body.canonicalization == signature.cb)
            .ok_or(Cause::BodyHash)?;
        // An `l=` of 0 is no different from none: it covers an empty body, or nothing.
        if signature.l != 0 && signature.l != hash.length {
            return Err(Cause::PartialBody);
        }
        match signature.bh == hash.digest {
            true => Ok(()),
            false => Err(Cause::BodyHash),
        }
    }

    /// One matching key is enough. Otherwise the cause is that of the last key.
    fn check_header(&self, candidate: &Candidate, keys: &[Key]) -> Result<(), Cause> {
        let mut checked = Err(Cause::Key);
        for key in keys {
            checked = self.check_key(candidate, key);
            if checked.is_ok() {
                break;
            }
        }
        checked
    }

    fn check_key(&self, candidate: &Candidate, key: &Key) -> Result<(), Cause> {
        let signature = &candidate.signature;
        if !identity_fits(signature, key.is_strict) {
            return Err(Cause::Key);
        }
        let (name, value) = self.header.get(candidate.field).ok_or(Cause::Malformed)?;
        let value = tags::without_signature(value);
        let mut signed = self
            .header
            .signed(&signature.h)
            .into_iter()
            .chain([(name, value.as_slice())]);
        key.key
            .p
            .verify(&mut signed, &signature.b, signature.ch, signature.a)
            .map_err(|_| Cause::Signature)
    }
}

/// The DKIM-Signature fields of this header, malformed ones included: index and value.
fn signatures(header: &RawHeader) -> impl Iterator<Item = (usize, &[u8])> {
    header
        .fields()
        .enumerate()
        .filter(|(_, (name, _))| name.eq_ignore_ascii_case(FIELD.as_bytes()))
        .map(|(field, (_, value))| (field, value))
}

/// What a signature says of itself, and what the library leaves to us.
fn check_claims(signature: &Signature, now: u64) -> Result<(), Cause> {
    // Section 3.5, `v=`: required; the parser takes no other version.
    if signature.v != 1 || signature.h.len() > SIGNED_NAMES {
        return Err(Cause::Malformed);
    }
    // Section 5.4: From must be signed.
    if !signature
        .h
        .iter()
        .any(|name| name.eq_ignore_ascii_case("from"))
    {
        return Err(Cause::Malformed);
    }
    if !identity_fits(signature, false) {
        return Err(Cause::Malformed);
    }
    if signature.a == Algorithm::RsaSha1 {
        return Err(Cause::Algorithm);
    }
    if signature.x != 0 && (signature.x <= now || signature.x <= signature.t) {
        return Err(Cause::Expired);
    }
    Ok(())
}

/// Whether `i=` is of the domain `d=`, or of one below it unless that is forbidden (section 3.5,
/// `i=`).
fn identity_fits(signature: &Signature, is_strict: bool) -> bool {
    if signature.i.is_empty() {
        return true;
    }
    let Some((_, domain)) = signature.i.rsplit_once('@') else {
        return false;
    };
    let (domain, ours) = (domain.as_bytes(), signature.d.as_bytes());
    match domain.len().checked_sub(ours.len()) {
        Some(0) => domain.eq_ignore_ascii_case(ours),
        Some(at) if !is_strict => {
            let (below, rest) = domain.split_at(at);
            below.ends_with(b".") && rest.eq_ignore_ascii_case(ours)
        }
        _ => false,
    }
}

impl Cause {
    /// For the log.
    pub fn name(self) -> &'static str {
        match self {
            Cause::NoSignature => "no-signature",
            Cause::OtherDomain => "other-domain",
            Cause::Malformed => "malformed",
            Cause::Algorithm => "algorithm",
            Cause::Expired => "expired",
            Cause::PartialBody => "partial-body",
            Cause::BodyHash => "body-hash",
            Cause::Key => "key",
            Cause::Signature => "signature",
        }
    }
}
