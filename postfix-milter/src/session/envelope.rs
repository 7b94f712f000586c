//! The envelope of one message: who sends it to whom, and which recipients are refused.
//!
//! Nothing is decided at MAIL: Postfix applies its own restrictions, a login included, not before
//! RCPT. To a client that has not logged in, a submission port says nothing about any user, and
//! nothing is counted.

use std::net::IpAddr;

use chatmail_core::filter::{Origin, Reply};

use super::Route;
use crate::policy::{Addressee, Policy, Refused};

/// Who sends a message to whom.
#[derive(Debug)]
pub(super) struct Envelope {
    route: Route,
    /// Who has logged in; empty: nobody.
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
    /// Because of the sender, and the first time in this message.
    Sender(Refused),
    /// Because of the sender, as before.
    SenderAgain(Refused),
    /// Because of the recipient.
    Recipient(Refused),
}

/// What the recipients so far have in common. Memory does not grow with their number.
#[derive(Debug, Default)]
struct Recipients {
    elsewhere: bool,
    ours: bool,
    /// Whether mail arrives at one of ours, or why not; `None` if none was looked at.
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

    /// What the check has to know; `None`: there is none.
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

    /// Of a user's message. A dead recipient of ours is accepted, as one elsewhere would be: clients
    /// give up a message to a whole group when one recipient is refused. See
    /// [`reaches`](Envelope::reaches).
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

    /// Whether a message reaches one of its recipients at least, as far as this relay can tell. What
    /// the others miss, a report tells its author.
    ///
    /// # Errors
    ///
    /// It reaches none, or for none it could be told that it does.
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

    /// Looks at one of ours, unless it is known already that the message reaches somebody.
    fn look(&mut self, may_receive: impl FnOnce() -> Result<(), Refused>) {
        let is_final = |reply: &Reply| reply.code >= 500;
        self.reached = Some(match self.reached.take() {
            _ if self.elsewhere => Ok(()),
            None => may_receive(),
            Some(Ok(())) => Ok(()),
            // Trouble with one is trouble with the message, unless it reaches another.
            Some(Err(before)) => match may_receive() {
                Err(now) if is_final(&before.reply) && !is_final(&now.reply) => Err(now),
                Err(_) => Err(before),
                Ok(()) => Ok(()),
            },
        });
    }
}

/// Of another host's message: dead recipients are refused before there could be a report to a
/// stranger.
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
