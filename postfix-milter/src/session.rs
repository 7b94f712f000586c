//! The messages of one SMTP session, one after the other, as the relay sees them: sender,
//! recipients, header, body, decision. No wire format is known here.
//!
//! There is no way from *could not decide* to *accept*: an error of the check, and even a panic in
//! it, is answered with a temporary failure.
//!
//! Most decisions fall at once. Mail of others may need a key from the DNS; then
//! [`Session::decide`] waits for it, and nothing else does.

mod envelope;
mod message;
mod record;

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use chatmail_core::filter::{HeaderEdit, Reply};

use crate::policy::{Policy, Refused};
use envelope::{Envelope, Objection};
use message::{Ended, Message, Pending};
use record::Record;

/// Which way mail goes. Each has a socket of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// From users who are logged in. Checked and signed.
    Outgoing,
    /// From other hosts. Checked, and its signature is.
    Incoming,
    /// From the MTA itself: bounces. Only signed.
    Internal,
}

impl Route {
    /// For logs and counters.
    pub fn name(self) -> &'static str {
        match self {
            Route::Outgoing => "outgoing",
            Route::Incoming => "incoming",
            Route::Internal => "internal",
        }
    }

    /// Whether [`Session::recipient`] may answer with anything but `None`.
    pub fn answers_recipients(self) -> bool {
        self != Route::Internal
    }

    /// Whether this direction needs the network address of the client.
    pub fn asks_for_client(self) -> bool {
        self == Route::Incoming
    }
}

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// It passes, with these changes.
    Accept(Changes),
    /// It does not pass, or not now: the SMTP reply.
    Reply(Reply),
}

/// Changes of a message that passes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// Edits of the header, to be applied in this order.
    pub edits: Vec<HeaderEdit>,
    /// After them, a new field on top: the value of `DKIM-Signature`, folded with CRLF, without
    /// the space behind the colon.
    pub signature: Option<String>,
    /// The envelope sender becomes the null sender.
    pub without_sender: bool,
}

/// A call that makes no sense at this time, such as a recipient without a sender.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutOfOrder;

/// One SMTP session.
#[derive(Debug)]
pub struct Session {
    route: Route,
    policy: Arc<Policy>,
    /// The network address of the client, if it is known.
    client: Option<IpAddr>,
    message: Option<Box<Message>>,
    pending: Option<Box<Pending>>,
}

impl Session {
    /// A session without a message.
    pub fn new(route: Route, policy: Arc<Policy>) -> Session {
        Session {
            route,
            policy,
            client: None,
            message: None,
            pending: None,
        }
    }

    /// Whether a message is on its way: the next answer about it is still to come.
    pub fn is_open(&self) -> bool {
        self.message.is_some() || self.pending.is_some()
    }

    /// A new SMTP client, which replaces any earlier one, and its network address, if it is known.
    pub fn connected(&mut self, client: Option<IpAddr>) {
        self.abort();
        self.client = client;
    }

    /// A new message from this envelope sender, which replaces any open one. `login` is empty if the
    /// client has not logged in. Whether the sender may send is decided with the first recipient.
    pub fn mail(&mut self, login: &[u8], sender: &[u8]) {
        self.abort();
        let envelope = Envelope::new(self.route, login, self.client, sender);
        self.message = Some(Box::new(Message::new(self.route, envelope)));
    }

    /// One more recipient of the open message. `Some` if it is refused, because of itself or the sender.
    ///
    /// # Errors
    ///
    /// There is no open message, or its content has begun.
    pub fn recipient(&mut self, address: &[u8]) -> Result<Option<Reply>, OutOfOrder> {
        let message = self.message.as_mut().ok_or(OutOfOrder)?;
        if !message.is_envelope() {
            return Err(OutOfOrder);
        }
        let policy = &self.policy;
        let answer = guarded(|| message.recipient(policy, address)).unwrap_or_else(|| {
            let refused = Refused::new(Reply::temporary(), "panic");
            Err(Objection::Recipient(refused))
        });
        Ok(answer.err().map(|objection| {
            // Not logged here: the MTA logs every refusal, and strangers may try thousands.
            let metrics = policy.metrics();
            match objection {
                Objection::Sender(refused) => {
                    metrics.sender_refused(refused.reason);
                    record::sender_refused(self.route, &refused);
                    refused.reply
                }
                Objection::SenderAgain(refused) => {
                    metrics.sender_refused(refused.reason);
                    refused.reply
                }
                Objection::Recipient(refused) => {
                    metrics.recipient_refused(refused.reason);
                    refused.reply
                }
            }
        }))
    }

    /// One header field: name without colon, value with the white space behind the colon.
    ///
    /// # Errors
    ///
    /// There is no open message, or its body has begun.
    pub fn header(&mut self, name: &[u8], value: &[u8]) -> Result<(), OutOfOrder> {
        let message = self.message.as_mut().ok_or(OutOfOrder)?;
        message.header(&self.policy, name, value)
    }

    /// The end of the header.
    ///
    /// # Errors
    ///
    /// There is no open message, or its header has ended before.
    pub fn end_of_headers(&mut self) -> Result<(), OutOfOrder> {
        let message = self.message.as_mut().ok_or(OutOfOrder)?;
        message.end_of_headers(&self.policy)
    }

    /// More of the body. The end of the header may have been left out.
    ///
    /// # Errors
    ///
    /// There is no open message.
    pub fn body(&mut self, octets: &[u8]) -> Result<(), OutOfOrder> {
        let message = self.message.as_mut().ok_or(OutOfOrder)?;
        message.body(&self.policy, octets);
        Ok(())
    }

    /// The end of the message: the decision, which also goes to the log, and no message is open
    /// any more. `None`: [`decide`](Session::decide) has to be asked for it.
    ///
    /// # Errors
    ///
    /// There is no open message.
    pub fn end_of_message(
        &mut self,
        queue_id: Option<String>,
    ) -> Result<Option<Decision>, OutOfOrder> {
        let message = self.message.take().ok_or(OutOfOrder)?;
        let record = Record::new(self.route, queue_id);
        Ok(match message.end(&self.policy, record) {
            Ended::Decided(decision) => Some(decision),
            Ended::Pending(pending) => {
                self.pending = Some(pending);
                None
            }
        })
    }

    /// The decision that [`end_of_message`](Session::end_of_message) owes, which also goes to the
    /// log. Takes 20 s at most. If it is owed nothing, a temporary failure.
    pub async fn decide(&mut self) -> Decision {
        let Some(pending) = self.pending.take() else {
            return Decision::Reply(Reply::temporary());
        };
        // A shutdown waits for open messages.
        let policy = Arc::clone(&self.policy);
        pending.decide(&policy).await
    }

    /// The message, if one is open, will not come.
    pub fn abort(&mut self) {
        self.message = None;
        self.pending = None;
    }
}

/// Runs a piece of the work on a message; `None` if it panicked. What it was working on is not
/// used again.
fn guarded<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

/// The same for work that waits.
async fn guarded_async<T>(work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    poll_fn(|cx| match guarded(|| work.as_mut().poll(cx)) {
        Some(Poll::Pending) => Poll::Pending,
        Some(Poll::Ready(result)) => Poll::Ready(Some(result)),
        None => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests;
