//! The messages of one SMTP session, one after the other, as the relay sees them: sender,
//! recipients, header, body, decision. No wire format is known here.
//!
//! There is no way from *could not decide* to *accept*: an error of the check, and even a panic in
//! it, is answered with a temporary failure.

use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use chatmail_core::filter::{Direction, HeaderEdit, MessageFilter, Reply, Verdict};
use tracing::info;

use crate::policy::Policy;

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It passes, with these edits, to be applied in this order.
    Accept(Vec<HeaderEdit>),
    /// It does not pass, or not now: the SMTP reply.
    Reply(Reply),
}

/// A call that makes no sense at this time, such as a recipient without a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfOrder;

/// One SMTP session.
#[derive(Debug)]
pub struct Session {
    direction: Direction,
    policy: Arc<Policy>,
    message: Option<Box<Message>>,
}

#[derive(Debug)]
struct Message {
    /// `None` after a panic in it.
    filter: Option<MessageFilter>,
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

impl Session {
    /// A session without a message.
    pub fn new(direction: Direction, policy: Arc<Policy>) -> Session {
        Session {
            direction,
            policy,
            message: None,
        }
    }

    /// Whether [`mail`](Session::mail) may answer with anything but `None`.
    pub fn answers_mail(direction: Direction) -> bool {
        direction == Direction::Outgoing
    }

    /// Whether a message is on its way: the next answer about it is still to come.
    pub fn is_open(&self) -> bool {
        self.message.is_some()
    }

    /// A new message from this envelope sender, instead of one that may be open. `Some`: it may
    /// not come, and no message is open.
    pub fn mail(&mut self, sender: &[u8]) -> Option<Reply> {
        self.message = None;
        if self.direction == Direction::Outgoing {
            let refused = match guarded(|| self.policy.may_send(sender)) {
                Some(Ok(())) => None,
                Some(Err(refused)) => Some((refused.reply, refused.reason)),
                None => Some((Reply::temporary(), "panic")),
            };
            if let Some((reply, reason)) = refused {
                self.policy.metrics().sender_refused(reason);
                info!(
                    queue_id = "-",
                    direction = direction_name(self.direction),
                    verdict = if reply.code < 500 {
                        "deferred"
                    } else {
                        "refused"
                    },
                    reason,
                    size = 0,
                    ms = 0,
                    "message"
                );
                return Some(reply);
            }
        }
        self.message = Some(Box::new(Message {
            filter: guarded(|| MessageFilter::new(self.direction, sender)),
            stage: Stage::Envelope,
            size: 0,
            started: Instant::now(),
        }));
        None
    }

    /// One more recipient of the open message.
    ///
    /// # Errors
    ///
    /// There is no open message, or its content has begun.
    pub fn recipient(&mut self, address: &[u8]) -> Result<(), OutOfOrder> {
        let message = self.open(Stage::Envelope)?;
        message.feed(|filter| filter.recipient(address));
        Ok(())
    }

    /// One header field.
    ///
    /// # Errors
    ///
    /// There is no open message, or its body has begun.
    pub fn header(&mut self, name: &[u8], value: &[u8]) -> Result<(), OutOfOrder> {
        let message = self.open(Stage::Header)?;
        message.size += (name.len() + value.len() + 3) as u64;
        message.feed(|filter| filter.header(name, value));
        Ok(())
    }

    /// The end of the header.
    ///
    /// # Errors
    ///
    /// There is no open message, or its header has ended before.
    pub fn end_of_headers(&mut self) -> Result<(), OutOfOrder> {
        let message = self.open(Stage::Header)?;
        message.begin_body();
        Ok(())
    }

    /// More of the body. The end of the header may have been left out.
    ///
    /// # Errors
    ///
    /// There is no open message.
    pub fn body(&mut self, octets: &[u8]) -> Result<(), OutOfOrder> {
        let message = self.open(Stage::Body)?;
        message.size += octets.len() as u64;
        message.feed(|filter| filter.body(octets));
        Ok(())
    }

    /// The end of the message: the decision, which also goes to the log. No message is open then.
    ///
    /// # Errors
    ///
    /// There is no open message.
    pub fn end_of_message(&mut self, queue_id: Option<&str>) -> Result<Decision, OutOfOrder> {
        self.open(Stage::Body)?;
        let Message {
            filter,
            size,
            started,
            ..
        } = *self.message.take().ok_or(OutOfOrder)?;
        let mailboxes = self.policy.mailboxes();
        let finished = filter.and_then(|filter| guarded(|| filter.finish(&mailboxes)));
        // The reason names a rule, never a word of the message or an address.
        let (verdict, reason, decision) = match finished {
            Some(Ok(Verdict::Accepted(accepted))) => {
                let reason = accepted.class.name().to_owned();
                ("accepted", reason, Decision::Accept(accepted.edits))
            }
            Some(Ok(Verdict::Refused(refusal))) => {
                let reason = refusal.to_string();
                ("refused", reason, Decision::Reply(refusal.reply()))
            }
            Some(Err(undecided)) => {
                let reason = format!("undecided: {}", cause(&undecided));
                ("deferred", reason, Decision::Reply(undecided.reply()))
            }
            None => (
                "deferred",
                "panic".to_owned(),
                Decision::Reply(Reply::temporary()),
            ),
        };
        info!(
            queue_id = queue_id.unwrap_or("-"),
            direction = direction_name(self.direction),
            verdict,
            reason,
            size,
            ms = started.elapsed().as_millis(),
            "message"
        );
        Ok(decision)
    }

    /// The message, if one is open, will not come.
    pub fn abort(&mut self) {
        self.message = None;
    }

    /// The open message, which moves on to `stage` if it is not there yet.
    fn open(&mut self, stage: Stage) -> Result<&mut Message, OutOfOrder> {
        let message = self.message.as_mut().ok_or(OutOfOrder)?;
        match (message.stage, stage) {
            (Stage::Envelope, Stage::Envelope) => {}
            (Stage::Envelope, Stage::Header) => message.begin_content(),
            (Stage::Envelope, Stage::Body) => {
                message.begin_content();
                message.begin_body();
            }
            (Stage::Header, Stage::Header) => {}
            (Stage::Header, Stage::Body) => message.begin_body(),
            (Stage::Body, Stage::Body) => {}
            (Stage::Header | Stage::Body, Stage::Envelope) | (Stage::Body, Stage::Header) => {
                return Err(OutOfOrder);
            }
        }
        Ok(message)
    }
}

impl Message {
    fn begin_content(&mut self) {
        self.stage = Stage::Header;
        self.started = Instant::now();
    }

    fn begin_body(&mut self) {
        self.stage = Stage::Body;
        self.feed(MessageFilter::end_of_headers);
    }

    fn feed(&mut self, feed: impl FnOnce(&mut MessageFilter)) {
        if let Some(filter) = &mut self.filter
            && guarded(|| feed(filter)).is_none()
        {
            self.filter = None;
        }
    }
}

/// Runs a piece of the core; `None` if it panicked. What it was working on is not used again.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
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

fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Outgoing => "outgoing",
        Direction::Incoming => "incoming",
    }
}

#[cfg(test)]
mod tests;
