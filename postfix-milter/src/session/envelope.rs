//! The envelope of one message: sender and recipients, and which recipients are refused.
//!
//! Nothing is decided at MAIL, because Postfix applies its own restrictions, such as the need for a
//! login, only at RCPT. A client that has not logged in learns nothing about any user from a submission
//! port, and nothing is counted.

use std::net::IpAddr;

use chatmail_core::filter::{Origin, Reply};

use super::Route;
use crate::policy::{Addressee, Policy, Refused};

/// Sender and recipients of a message.
#[derive(Debug)]
pub(super) struct Envelope {
    route: Route,
    /// The login; empty without one.
    login: Box<[u8]>,
    /// The network address of the client, if it is known.
    client: Option<IpAddr>,
    /// Envelope sender.
    sender: Box<[u8]>,
    /// Whether the user may send this message; `None` before the first recipient.
    allowed: Option<Result<(), Refused>>,
    recipients: Recipients,
}

/// Why a recipient is refused.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Objection {
    /// Because of the sender's account or rate, for the first time in this message: logged.
    Sender(Refused),
    /// Because of the sender, again or for lack of the right login: not logged.
    SenderAgain(Refused),
    /// Because of the recipient.
    Recipient(Refused),
}

/// What the recipients so far have in common. Memory does not grow with their number.
#[derive(Debug, Default)]
struct Recipients {
    elsewhere: bool,
    ours: bool,
    /// Whether a recipient of this relay gets the mail, or why not; `None` if none was checked.
    reached: Option<Result<(), Refused>>,
}

impl Envelope {
    pub(super) fn new(
        route: Route,
        login: &[u8],
        client: Option<IpAddr>,
        sender: &[u8],
    ) -> Envelope {
        Envelope {
            route,
            login: login.into(),
            client,
            sender: sender.into(),
            allowed: None,
            recipients: Recipients::default(),
        }
    }

    pub(super) fn sender(&self) -> &[u8] {
        &self.sender
    }

    pub(super) fn into_sender(self) -> Box<[u8]> {
        self.sender
    }

    /// The origin for the check; `None` if there is no check.
    pub(super) fn origin(&self) -> Option<Origin<'_>> {
        match self.route {
            Route::Outgoing => Some(Origin::Outgoing { login: &self.login }),
            Route::Incoming => Some(Origin::Incoming {
                client: self.client,
            }),
            Route::Internal => None,
        }
    }

    /// One more recipient.
    pub(super) fn recipient(&mut self, policy: &Policy, address: &[u8]) -> Result<(), Objection> {
        match self.route {
            Route::Outgoing => self.outgoing(policy, address),
            Route::Incoming => incoming(policy, address).map_err(Objection::Recipient),
            Route::Internal => {
                self.recipients.add(&policy.addressee(address));
                Ok(())
            }
        }
    }

    /// A recipient of a user's message. One of this relay that does not exist is accepted, as one of
    /// another domain would be: clients fail a message to a whole group when one recipient is refused.
    /// See [`reaches`](Envelope::reaches).
    fn outgoing(&mut self, policy: &Policy, address: &[u8]) -> Result<(), Objection> {
        self.check_identity()?;
        let addressee = policy.addressee(address);
        if addressee == Addressee::Ambiguous {
            return Err(Objection::Recipient(ambiguous()));
        }
        match &self.allowed {
            Some(Ok(())) => {}
            Some(Err(refused)) => return Err(Objection::SenderAgain(refused.clone())),
            None => {
                let allowed = policy.may_send(&self.login);
                self.allowed = Some(allowed.clone());
                allowed.map_err(Objection::Sender)?;
            }
        }
        self.recipients.add(&addressee);
        if let Addressee::Ours(address) = &addressee {
            self.recipients
                .look(|| policy.may_receive(address.as_ref()));
        }
        Ok(())
    }

    fn check_identity(&self) -> Result<(), Objection> {
        let Some(origin) = self.origin() else {
            return Ok(());
        };
        origin.check_sender(&self.sender).map_err(|reason| {
            // Strangers may try thousands.
            Objection::SenderAgain(Refused::new(reason.reply(), reason.name()))
        })
    }

    /// Whether all recipients are of this relay.
    pub(super) fn stays_here(&self) -> bool {
        self.recipients.ours && !self.recipients.elsewhere
    }

    /// Whether a message reaches at least one of its recipients, as far as this relay knows. For the
    /// others its author gets a bounce.
    ///
    /// # Errors
    ///
    /// It reaches none, or it is not known whether it reaches any.
    pub(super) fn reaches(&self) -> Result<(), &Refused> {
        match &self.recipients.reached {
            Some(Err(refused)) if self.stays_here() => Err(refused),
            _ => Ok(()),
        }
    }
}

impl Recipients {
    fn add(&mut self, addressee: &Addressee) {
        match addressee {
            Addressee::Ours(_) => self.ours = true,
            Addressee::Elsewhere | Addressee::Ambiguous => self.elsewhere = true,
        }
    }

    /// Checks a recipient of this relay, unless the message is known to reach somebody.
    fn look(&mut self, may_receive: impl FnOnce() -> Result<(), Refused>) {
        let is_final = |reply: &Reply| reply.code >= 500;
        self.reached = Some(match self.reached.take() {
            _ if self.elsewhere => Ok(()),
            None => may_receive(),
            Some(Ok(())) => Ok(()),
            // A temporary failure for one defers the message, unless it reaches another.
            Some(Err(before)) => match may_receive() {
                Err(now) if is_final(&before.reply) && !is_final(&now.reply) => Err(now),
                Err(_) => Err(before),
                Ok(()) => Ok(()),
            },
        });
    }
}

/// A recipient of another host's message: one that does not exist is rejected at RCPT, because a bounce
/// could go to a stranger.
fn incoming(policy: &Policy, address: &[u8]) -> Result<(), Refused> {
    match policy.addressee(address) {
        Addressee::Ours(address) => policy.may_receive(address.as_ref()),
        Addressee::Elsewhere => Err(Refused::new(Reply::relay_denied(), "elsewhere")),
        Addressee::Ambiguous => Err(ambiguous()),
    }
}

fn ambiguous() -> Refused {
    Refused::new(Reply::ambiguous_recipient(), "ambiguous")
}
