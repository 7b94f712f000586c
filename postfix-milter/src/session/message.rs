//! One message: what is fed with it, and what comes of that.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use chatmail_core::address::header_address;
use chatmail_core::filter::{Accepted, MessageFilter, Reply, Verdict};

use super::envelope::{Envelope, Objection};
use super::record::{Findings, Record, Signature};
use super::{Changes, Decision, OutOfOrder, Route, guarded, guarded_async};
use crate::dkim::{self, Cause, Dkim, Outcome, Signer, Verification, Verifier};
use crate::policy::{Policy, Refused};

/// A message on its way.
#[derive(Debug)]
pub(super) struct Message {
    route: Route,
    envelope: Envelope,
    /// `None` after a panic in one.
    checks: Option<Checks>,
    stage: Stage,
    /// Octets of header and body. A field counts as its name, value, colon and CRLF.
    size: u64,
    /// Of the content: before the first field the client may take all the time of the world.
    started: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Envelope,
    Header,
    Body,
}

/// What a message is fed to.
#[derive(Debug)]
struct Checks {
    /// Internal mail is not checked.
    filter: Option<MessageFilter>,
    signature: Work,
}

/// What is to be done about signatures. The keys are those of the time at which the content began.
#[derive(Debug)]
enum Work {
    None,
    /// There is a key, but all recipients are of this relay, which does not verify its own signatures.
    Local,
    Sign(Arc<Dkim>, Box<Signer>),
    Verify(Arc<Dkim>, Box<Verifier>),
}

/// The end of a message.
pub(super) enum Ended {
    Decided(Decision),
    /// The check accepts it; its signature may need the DNS.
    Pending(Box<Pending>),
}

/// A message of another host whose signature may need the DNS.
#[derive(Debug)]
pub(super) struct Pending {
    unverified: Unverified,
    sender: Box<[u8]>,
    record: Record,
}

/// A message that is accepted but for its signature.
#[derive(Debug)]
struct Unverified {
    accepted: Accepted,
    dkim: Arc<Dkim>,
    verification: Verification,
}

type Decided = (Findings, Decision);

/// What the checks come to.
enum Judged {
    Decided(Box<Decided>),
    Unverified(Unverified),
}

impl Message {
    pub(super) fn new(route: Route, envelope: Envelope) -> Message {
        let checks = guarded(|| Checks {
            filter: envelope
                .origin()
                .map(|origin| MessageFilter::new(origin, envelope.sender())),
            signature: Work::None,
        });
        Message {
            route,
            envelope,
            checks,
            stage: Stage::Envelope,
            size: 0,
            started: Instant::now(),
        }
    }

    pub(super) fn is_envelope(&self) -> bool {
        self.stage == Stage::Envelope
    }

    pub(super) fn recipient(&mut self, policy: &Policy, address: &[u8]) -> Result<(), Objection> {
        self.envelope.recipient(policy, address)?;
        self.feed(|checks| {
            if let Some(filter) = &mut checks.filter {
                filter.recipient(address);
            }
        });
        Ok(())
    }

    pub(super) fn header(
        &mut self,
        policy: &Policy,
        name: &[u8],
        value: &[u8],
    ) -> Result<(), OutOfOrder> {
        self.begin_header(policy)?;
        self.size += (name.len() + value.len() + 3) as u64;
        self.feed(|checks| {
            if let Some(filter) = &mut checks.filter {
                filter.header(name, value);
            }
            match &mut checks.signature {
                Work::None | Work::Local => {}
                Work::Sign(_, signer) => signer.header(name, value),
                Work::Verify(_, verifier) => verifier.header(name, value),
            }
        });
        Ok(())
    }

    pub(super) fn end_of_headers(&mut self, policy: &Policy) -> Result<(), OutOfOrder> {
        self.begin_header(policy)?;
        self.begin_body(policy);
        Ok(())
    }

    pub(super) fn body(&mut self, policy: &Policy, octets: &[u8]) {
        self.begin_body(policy);
        self.size += octets.len() as u64;
        self.feed(|checks| {
            if let Some(filter) = &mut checks.filter {
                filter.body(octets);
            }
            match &mut checks.signature {
                Work::None | Work::Local => {}
                Work::Sign(_, signer) => signer.body(octets),
                Work::Verify(_, verifier) => verifier.body(octets),
            }
        });
    }

    /// The decision, written into the log; or what it still needs.
    pub(super) fn end(mut self, policy: &Policy, record: Record) -> Ended {
        self.begin_body(policy);
        let record = record.measured(self.size, self.started);
        let Message {
            checks, envelope, ..
        } = self;
        let judged = checks.and_then(|checks| guarded(|| checks.judge(&envelope, policy)));
        let (findings, decision) = match judged.unwrap_or_else(|| Judged::Decided(panicked())) {
            Judged::Decided(decided) => *decided,
            Judged::Unverified(unverified) => {
                let pending = Pending {
                    unverified,
                    sender: envelope.into_sender(),
                    record,
                };
                return Ended::Pending(Box::new(pending));
            }
        };
        record.write(policy.metrics(), &findings);
        Ended::Decided(decision)
    }

    fn begin_header(&mut self, policy: &Policy) -> Result<(), OutOfOrder> {
        match self.stage {
            Stage::Envelope => {
                self.stage = Stage::Header;
                self.started = Instant::now();
                let work = guarded(|| Work::new(self.route, self.envelope.stays_here(), policy));
                match work {
                    Some(work) => self.feed(|checks| checks.signature = work),
                    None => self.checks = None,
                }
                Ok(())
            }
            Stage::Header => Ok(()),
            Stage::Body => Err(OutOfOrder),
        }
    }

    /// Whatever was left out.
    fn begin_body(&mut self, policy: &Policy) {
        if self.begin_header(policy).is_err() {
            return;
        }
        self.stage = Stage::Body;
        self.feed(|checks| {
            if let Some(filter) = &mut checks.filter {
                filter.end_of_headers();
            }
            if let Work::Verify(_, verifier) = &mut checks.signature {
                verifier.end_of_headers();
            }
        });
    }

    fn feed(&mut self, feed: impl FnOnce(&mut Checks)) {
        if let Some(checks) = &mut self.checks
            && guarded(|| feed(checks)).is_none()
        {
            self.checks = None;
        }
    }

    /// Panics where the checks are fed.
    #[cfg(test)]
    pub(super) fn break_checks(&mut self) {
        self.feed(|_| std::panic::panic_any("no"));
    }
}

impl Checks {
    fn judge(self, envelope: &Envelope, policy: &Policy) -> Judged {
        let sender = envelope.sender();
        let Some(filter) = self.filter else {
            return Judged::Decided(internal(self.signature));
        };
        let accepted = match filter.finish(&policy.mailboxes()) {
            Ok(Verdict::Accepted(accepted)) => accepted,
            Ok(Verdict::Refused(refusal)) => {
                let rule = refusal.reason.name();
                let findings = Findings::new("refused", rule).because(refusal.to_string());
                return decided(findings, Decision::Reply(refusal.reply()));
            }
            Err(undecided) => {
                let reason = format!("undecided: {}", cause(&undecided));
                let findings = Findings::new("deferred", "undecided").because(reason);
                return decided(findings, Decision::Reply(undecided.reply()));
            }
        };
        // A message that is refused for its content must not be sent to others instead.
        if let Err(refused) = envelope.reaches() {
            let (findings, reply) = unreachable(refused);
            return decided(findings, Decision::Reply(reply));
        }
        match self.signature {
            Work::Local => Judged::Decided(accept(accepted, &[], Signature::Local)),
            Work::None => Judged::Decided(accept(accepted, sender, Signature::None)),
            Work::Sign(dkim, signer) => Judged::Decided(sign(accepted, *signer, &dkim)),
            Work::Verify(..) if dkim::is_literal(dkim::domain_of(&accepted.author)) => {
                Judged::Decided(accept(accepted, sender, Signature::Exempt))
            }
            Work::Verify(dkim, verifier) => Judged::Unverified(Unverified {
                accepted,
                dkim,
                verification: verifier.finish(),
            }),
        }
    }
}

impl Work {
    fn new(route: Route, stays_here: bool, policy: &Policy) -> Work {
        match policy.dkim() {
            None => Work::None,
            Some(dkim) if route == Route::Incoming => Work::Verify(dkim, Box::default()),
            Some(dkim) if dkim.signs() && stays_here => Work::Local,
            Some(dkim) if dkim.signs() => Work::Sign(dkim, Box::default()),
            Some(_) => Work::None,
        }
    }
}

impl Pending {
    /// The decision, written into the log.
    pub(super) async fn decide(self, policy: &Policy) -> Decision {
        let Pending {
            unverified,
            sender,
            record,
        } = self;
        let Unverified {
            accepted,
            dkim,
            verification,
        } = unverified;
        let domain = dkim::domain_of(&accepted.author).to_owned();
        let outcome = guarded_async(verification.outcome(&domain, &dkim)).await;
        let (findings, decision) = match outcome {
            Some(Outcome::Pass) => *accept(accepted, &sender, Signature::Verified(Outcome::Pass)),
            Some(outcome) => {
                let (verdict, rule, reply) = match outcome {
                    Outcome::DnsTrouble => ("deferred", "dns-trouble", Reply::dns_trouble()),
                    Outcome::Fail(Cause::NoSignature) => ("refused", "dkim", Reply::no_signature()),
                    _ => ("refused", "dkim", Reply::no_valid_signature()),
                };
                let signature = Signature::Verified(outcome);
                let findings = Findings::new(verdict, rule);
                (
                    Findings {
                        signature,
                        ..findings
                    },
                    Decision::Reply(reply),
                )
            }
            None => *panicked(),
        };
        record.write(policy.metrics(), &findings);
        decision
    }
}

/// Mail of others, or of ours that needs no signature. A bounce must not go to somebody who did not
/// write the message: the envelope sender is not verified, its From field is.
fn accept(accepted: Accepted, sender: &[u8], signature: Signature) -> Box<Decided> {
    let is_author = sender.eq_ignore_ascii_case(accepted.author.as_bytes());
    let findings = Findings {
        signature,
        seipd: accepted.seipd,
        ..Findings::new("accepted", accepted.class.name())
    };
    let changes = Changes {
        edits: accepted.edits,
        signature: None,
        without_sender: !sender.is_empty() && !is_author,
    };
    Box::new((findings, Decision::Accept(changes)))
}

/// Mail of our users.
fn sign(accepted: Accepted, signer: Signer, dkim: &Dkim) -> Box<Decided> {
    // Nobody's bounces: the check has seen that author and envelope sender are one.
    if !dkim.signs_for(dkim::domain_of(&accepted.author)) {
        return accept(accepted, &[], Signature::None);
    }
    match signer.finish(&accepted.edits, dkim) {
        Ok(field) => with_signature(accept(accepted, &[], Signature::Signed), field),
        Err(_) => unsigned(),
    }
}

/// Mail of the MTA: signed if it is in our name, and never looked at.
fn internal(work: Work) -> Box<Decided> {
    let findings = Findings::new("accepted", "internal");
    let mut accepted = Box::new((findings, Decision::Accept(Changes::default())));
    let (dkim, signer) = match work {
        Work::Sign(dkim, signer) => (dkim, signer),
        Work::Local => {
            accepted.0.signature = Signature::Local;
            return accepted;
        }
        Work::None | Work::Verify(..) => return accepted,
    };
    let is_ours = {
        let mut authors = signer.values("from");
        let author = authors.next().and_then(header_address);
        authors.next().is_none()
            && author.is_some_and(|author| dkim.signs_for(dkim::domain_of(&author)))
    };
    if !is_ours {
        return accepted;
    }
    match signer.finish(&[], &dkim) {
        Ok(field) => with_signature(accepted, field),
        Err(_) => unsigned(),
    }
}

fn with_signature(mut accepted: Box<Decided>, field: String) -> Box<Decided> {
    let (findings, decision) = &mut *accepted;
    findings.signature = Signature::Signed;
    if let Decision::Accept(changes) = decision {
        changes.signature = Some(field);
    }
    accepted
}

/// A user's message that would reach none of its recipients.
fn unreachable(refused: &Refused) -> (Findings, Reply) {
    let verdict = match refused.reply.code {
        ..500 => "deferred",
        _ => "refused",
    };
    (
        Findings::new(verdict, refused.reason),
        refused.reply.clone(),
    )
}

fn unsigned() -> Box<Decided> {
    let findings = Findings::new("deferred", "cannot-sign");
    Box::new((findings, Decision::Reply(Reply::temporary())))
}

fn panicked() -> Box<Decided> {
    let findings = Findings::new("deferred", "panic");
    Box::new((findings, Decision::Reply(Reply::temporary())))
}

fn decided(findings: Findings, decision: Decision) -> Judged {
    Judged::Decided(Box::new((findings, decision)))
}

impl Findings {
    fn new(verdict: &'static str, rule: &'static str) -> Findings {
        Findings {
            verdict,
            rule,
            reason: rule.to_owned(),
            signature: Signature::None,
            seipd: None,
        }
    }

    fn because(self, reason: String) -> Findings {
        Findings { reason, ..self }
    }
}

/// The kind of an I/O error: its text may name a mailbox.
fn cause(error: &(dyn Error + 'static)) -> io::ErrorKind {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return error.kind();
        }
        cause = error.source();
    }
    io::ErrorKind::Other
}
