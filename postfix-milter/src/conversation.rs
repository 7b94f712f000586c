//! One filter connection without its socket: octets of the MTA in, octets of the filter out.

use std::sync::Arc;

use chatmail_core::filter::{Direction, HeaderEdit, Reply};
use tracing::error;

use crate::policy::Policy;
use crate::protocol::{
    Answers, Command, Decoder, InvalidEdit, Negotiated, Piece, ProtocolError, steps,
};
use crate::session::{Decision, OutOfOrder, Session};

/// Longer "queue ids" are none: Postfix's long form has about 20 characters.
const MAX_QUEUE_ID: usize = 64;

/// Translates between the protocol and a [`Session`].
#[derive(Debug)]
pub struct Conversation {
    direction: Direction,
    decoder: Decoder,
    state: State,
    answers: Answers,
}

/// All but the decoder and the answers, which are borrowed while a command is worked on.
#[derive(Debug)]
struct State {
    session: Session,
    negotiated: Option<Negotiated>,
    queue_id: Option<String>,
}

/// Whether the MTA has more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// More may come.
    Open,
    /// The MTA said goodbye.
    Closed,
}

impl Conversation {
    /// A new connection on the socket of this direction.
    pub fn new(direction: Direction, policy: Arc<Policy>) -> Conversation {
        Conversation {
            direction,
            decoder: Decoder::new(),
            state: State {
                session: Session::new(direction, policy),
                negotiated: None,
                queue_id: None,
            },
            answers: Answers::default(),
        }
    }

    /// Whether a message is on its way.
    pub fn is_open(&self) -> bool {
        self.state.session.is_open()
    }

    /// What is to be sent; whoever sends it calls [`sent`](Conversation::sent).
    pub fn answers(&self) -> &[u8] {
        self.answers.octets()
    }

    /// The answers are on their way.
    pub fn sent(&mut self) {
        self.answers.clear();
    }

    /// Takes octets of the MTA, cut anywhere.
    ///
    /// # Errors
    ///
    /// The connection has to be closed. Answers to what came before the error may be waiting.
    pub fn receive(&mut self, mut input: &[u8]) -> Result<Flow, ProtocolError> {
        while let Some(piece) = self.decoder.next(&mut input)? {
            let flow = match piece {
                Piece::Body(octets) => self.state.body(octets)?,
                Piece::Frame { command, payload } => {
                    let parsed = Command::parse(command, payload)?;
                    self.state
                        .command(self.direction, command, parsed, &mut self.answers)?
                }
            };
            if flow == Flow::Closed {
                return Ok(Flow::Closed);
            }
        }
        Ok(Flow::Open)
    }
}

impl State {
    fn body(&mut self, octets: &[u8]) -> Result<Flow, ProtocolError> {
        self.agreed()?;
        match self.session.body(octets) {
            Ok(()) => Ok(Flow::Open),
            Err(OutOfOrder) => Err(ProtocolError::OutOfOrder(b'B')),
        }
    }

    fn command(
        &mut self,
        direction: Direction,
        octet: u8,
        command: Command<'_>,
        answers: &mut Answers,
    ) -> Result<Flow, ProtocolError> {
        if let Command::Negotiate(offer) = command {
            if self.negotiated.is_some() {
                return Err(ProtocolError::NotNegotiated);
            }
            let negotiated = offer.accept(Session::answers_mail(direction))?;
            answers.negotiated(negotiated);
            self.negotiated = Some(negotiated);
            return Ok(Flow::Open);
        }
        if command == Command::Quit {
            return Ok(Flow::Closed);
        }
        let agreed = self.agreed()?;
        let out_of_order = |OutOfOrder| ProtocolError::OutOfOrder(octet);
        let mut go_on_unless = |no_reply: u32| {
            if agreed.expects_answer(no_reply) {
                answers.go_on();
            }
        };
        match command {
            Command::Macros { queue_id } => {
                if let Some(queue_id) = queue_id {
                    self.queue_id = readable_queue_id(queue_id);
                }
            }
            Command::Mail(sender) => match self.session.mail(sender) {
                None => go_on_unless(steps::NO_REPLY_MAIL),
                Some(reply) => answers.reply(&reply.to_string()),
            },
            Command::Recipient(address) => {
                self.session.recipient(address).map_err(out_of_order)?;
                go_on_unless(steps::NO_REPLY_RECIPIENT);
            }
            Command::Header { name, value } => {
                self.session.header(name, value).map_err(out_of_order)?;
                go_on_unless(steps::NO_REPLY_HEADER);
            }
            Command::EndOfHeaders => {
                self.session.end_of_headers().map_err(out_of_order)?;
                go_on_unless(steps::NO_REPLY_END_OF_HEADERS);
            }
            Command::BodyEnd => {
                // An empty chunk is as good as any.
                self.session.body(&[]).map_err(out_of_order)?;
                go_on_unless(steps::NO_REPLY_BODY);
            }
            Command::EndOfMessage => {
                let queue_id = self.queue_id.take();
                let decision = self.session.end_of_message(queue_id.as_deref());
                match decision.map_err(out_of_order)? {
                    Decision::Reply(reply) => answers.reply(&reply.to_string()),
                    Decision::Accept(edits) => accept(&edits, answers),
                }
            }
            Command::Abort | Command::QuitNewConnection => {
                self.session.abort();
                self.queue_id = None;
            }
            Command::Uninteresting => answers.go_on(),
            Command::Negotiate(_) | Command::Quit => {}
        }
        Ok(Flow::Open)
    }

    fn agreed(&self) -> Result<Negotiated, ProtocolError> {
        self.negotiated.ok_or(ProtocolError::NotNegotiated)
    }
}

/// All edits or none: a message that cannot be cleaned up does not pass. (Postfix forgets edits of
/// a message that is refused after them.)
fn accept(edits: &[HeaderEdit], answers: &mut Answers) {
    let written: Result<(), InvalidEdit> = edits.iter().try_for_each(|edit| match edit {
        HeaderEdit::Delete { name, index } => answers.delete_header(name, *index),
        HeaderEdit::Replace { name, index, value } => answers.replace_header(name, *index, value),
    });
    match written {
        Ok(()) => answers.go_on(),
        Err(invalid) => {
            error!(%invalid, "the message is deferred");
            answers.reply(&Reply::temporary().to_string());
        }
    }
}

/// A queue id as it may stand in a log.
fn readable_queue_id(octets: &[u8]) -> Option<String> {
    let readable = (1..=MAX_QUEUE_ID).contains(&octets.len())
        && octets
            .iter()
            .all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(c));
    readable.then(|| String::from_utf8_lossy(octets).into_owned())
}

#[cfg(test)]
mod tests;
