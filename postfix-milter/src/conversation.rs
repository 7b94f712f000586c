//! One filter connection without its socket: octets of the MTA in, octets of the filter out.

use std::sync::Arc;

use chatmail_core::filter::{HeaderEdit, Reply};
use tracing::error;

use crate::dkim;

use crate::policy::Policy;
use crate::protocol::{
    Answers, Command, Decoder, InvalidEdit, Negotiated, Piece, ProtocolError, actions, steps,
};
use crate::session::{Changes, Decision, OutOfOrder, Route, Session};

/// Longer "queue ids" are none: Postfix's long form has about 20 characters.
const MAX_QUEUE_ID: usize = 64;

/// Translates between the protocol and a [`Session`].
#[derive(Debug)]
pub struct Conversation {
    route: Route,
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
    /// The login, between the macros of MAIL and MAIL itself.
    login: Vec<u8>,
}

/// Whether the MTA has more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// More may come.
    Open,
    /// Nothing may come before [`Conversation::decide`] has given its answer.
    Deciding,
    /// The MTA said goodbye.
    Closed,
}

impl Conversation {
    /// A new connection on the socket of this direction.
    pub fn new(route: Route, policy: Arc<Policy>) -> Conversation {
        Conversation {
            route,
            decoder: Decoder::new(),
            state: State {
                session: Session::new(route, policy),
                negotiated: None,
                queue_id: None,
                login: Vec::new(),
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
                        .command(self.route, command, parsed, &mut self.answers)?
                }
            };
            match flow {
                Flow::Open => {}
                // The MTA waits for the answer, so this was the last of its octets.
                Flow::Deciding if !input.is_empty() => return Err(ProtocolError::Impatient),
                Flow::Deciding | Flow::Closed => return Ok(flow),
            }
        }
        Ok(Flow::Open)
    }

    /// Waits for the decision on a message and answers it. Takes 20 s at most.
    pub async fn decide(&mut self) {
        let decision = self.state.session.decide().await;
        self.state.answer(decision, &mut self.answers);
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
        route: Route,
        octet: u8,
        command: Command<'_>,
        answers: &mut Answers,
    ) -> Result<Flow, ProtocolError> {
        if let Command::Negotiate(offer) = command {
            if self.negotiated.is_some() {
                return Err(ProtocolError::NotNegotiated);
            }
            let unless = |needed: bool, step: u32| if needed { 0 } else { step };
            let negotiated = offer.accept(
                unless(route.asks_for_client(), steps::NO_CONNECT)
                    | unless(route.answers_recipients(), steps::NO_REPLY_RECIPIENT),
            )?;
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
            Command::Connect(client) => {
                self.session.connected(client);
                go_on_unless(steps::NO_REPLY_CONNECT);
            }
            Command::Macros { queue_id, login } => {
                if let Some(queue_id) = queue_id {
                    self.queue_id = readable_queue_id(queue_id);
                }
                self.login = login.unwrap_or_default().to_vec();
            }
            Command::Mail(sender) => {
                // A login applies only to the command that it came with.
                let login = std::mem::take(&mut self.login);
                self.session.mail(&login, sender);
                go_on_unless(steps::NO_REPLY_MAIL);
            }
            Command::Recipient(address) => {
                match self.session.recipient(address).map_err(out_of_order)? {
                    None => go_on_unless(steps::NO_REPLY_RECIPIENT),
                    Some(reply) => answers.reply(&reply.to_string()),
                }
            }
            Command::Header { name, value } => {
                match agreed.space() {
                    "" => self.session.header(name, value),
                    // What the MTA has cut off is one space, most probably.
                    space => {
                        let value = [space.as_bytes(), value].concat();
                        self.session.header(name, &value)
                    }
                }
                .map_err(out_of_order)?;
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
                let decision = self.session.end_of_message(queue_id);
                match decision.map_err(out_of_order)? {
                    Some(decision) => self.answer(decision, answers),
                    None => return Ok(Flow::Deciding),
                }
            }
            Command::Abort => {
                self.session.abort();
                self.queue_id = None;
            }
            Command::QuitNewConnection => {
                self.session.connected(None);
                self.queue_id = None;
            }
            Command::Uninteresting => answers.go_on(),
            Command::Negotiate(_) | Command::Quit => {}
        }
        Ok(Flow::Open)
    }

    fn answer(&self, decision: Decision, answers: &mut Answers) {
        match (decision, self.negotiated) {
            (Decision::Accept(changes), Some(agreed)) => accept(&changes, agreed, answers),
            (Decision::Reply(reply), _) => answers.reply(&reply.to_string()),
            // Messages come after negotiation.
            (Decision::Accept(_), None) => answers.reply(&Reply::temporary().to_string()),
        }
    }

    fn agreed(&self) -> Result<Negotiated, ProtocolError> {
        self.negotiated.ok_or(ProtocolError::NotNegotiated)
    }
}

/// All changes or none: a message that cannot be cleaned up does not pass. (Postfix forgets edits of
/// a message that is refused after them.)
fn accept(changes: &Changes, agreed: Negotiated, answers: &mut Answers) {
    match write(changes, agreed, answers) {
        Ok(()) => answers.go_on(),
        Err(invalid) => {
            error!(%invalid, "the message is deferred");
            answers.reply(&Reply::temporary().to_string());
        }
    }
}

fn write(changes: &Changes, agreed: Negotiated, answers: &mut Answers) -> Result<(), InvalidEdit> {
    // With the white space left to us, ours is what people expect.
    let space = match agreed.space() {
        "" => " ",
        _ => "",
    };
    for edit in &changes.edits {
        match edit {
            HeaderEdit::Delete { name, index } => answers.delete_header(name, *index)?,
            HeaderEdit::Replace { name, index, value } => {
                answers.replace_header(name, *index, &format!("{space}{value}"))?;
            }
        }
    }
    if let Some(signature) = &changes.signature {
        if !agreed.may(actions::ADD_HEADERS) {
            return Err(InvalidEdit);
        }
        let value = format!("{space}{}", signature.replace("\r\n", "\n"));
        answers.insert_header(dkim::FIELD, &value)?;
    }
    if changes.without_sender {
        if !agreed.may(actions::CHANGE_SENDER) {
            return Err(InvalidEdit);
        }
        answers.remove_sender();
    }
    Ok(())
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
