//! Option negotiation: which steps the MTA leaves out, which answers it does not wait for.
//!
//! Asked for is the exact white space after a header field's colon (`SMFIP_HDR_LEADSPC`), which some
//! DKIM signatures cover. With that option the MTA adds none to the fields that it is told to write.

use super::ProtocolError;

/// What a filter may do to a message.
pub mod actions {
    /// Add header fields.
    pub const ADD_HEADERS: u32 = 1 << 0;
    /// Change and delete header fields.
    pub const CHANGE_HEADERS: u32 = 1 << 4;
    /// Change the envelope sender.
    pub const CHANGE_SENDER: u32 = 1 << 6;
    /// Say which macros it wants.
    pub const SET_MACROS: u32 = 1 << 8;
}

/// Steps the filter does not want, and those it will not answer (`NO_REPLY_…`).
pub mod steps {
    /// The connection of an SMTP client.
    pub const NO_CONNECT: u32 = 1 << 0;
    /// HELO and EHLO.
    pub const NO_HELO: u32 = 1 << 1;
    /// Commands unknown to SMTP.
    pub const NO_UNKNOWN: u32 = 1 << 8;
    /// DATA.
    pub const NO_DATA: u32 = 1 << 9;
    /// Header fields.
    pub const NO_REPLY_HEADER: u32 = 1 << 7;
    /// The connection of an SMTP client.
    pub const NO_REPLY_CONNECT: u32 = 1 << 12;
    /// MAIL.
    pub const NO_REPLY_MAIL: u32 = 1 << 14;
    /// RCPT.
    pub const NO_REPLY_RECIPIENT: u32 = 1 << 15;
    /// End of the header.
    pub const NO_REPLY_END_OF_HEADERS: u32 = 1 << 18;
    /// Body chunks. Signing this away gives up SMFIR_SKIP too, which could save the rest of a
    /// message that is refused: accepted mail is read to its end anyway, and it is the rule.
    pub const NO_REPLY_BODY: u32 = 1 << 19;
    /// Header values come with the white space after the colon.
    pub const LEADING_SPACE: u32 = 1 << 20;
}

/// The version we speak.
const VERSION: u32 = 6;

/// MAIL, among the stages for which macros can be requested.
const STAGE_MAIL: u32 = 2;

/// What the MTA offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Protocol version.
    pub version: u32,
    /// Bits of [`actions`].
    pub actions: u32,
    /// Bits of [`steps`].
    pub steps: u32,
}

/// What was agreed upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Negotiated {
    version: u32,
    actions: u32,
    steps: u32,
}

impl Offer {
    /// Three numbers of four octets. Newer MTAs may append more.
    pub(super) fn parse(payload: &[u8]) -> Option<Offer> {
        let (version, rest) = payload.split_first_chunk()?;
        let (actions, rest) = rest.split_first_chunk()?;
        let (steps, _) = rest.split_first_chunk()?;
        Some(Offer {
            version: u32::from_be_bytes(*version),
            actions: u32::from_be_bytes(*actions),
            steps: u32::from_be_bytes(*steps),
        })
    }

    /// Accepts from the offer what a message filter needs: connection, MAIL, RCPT, header, body, end of
    /// message. Bits of `spared` skip the connection, or the answers to RCPT.
    ///
    /// # Errors
    ///
    /// [`ProtocolError::Unsupported`] if the filter could not do its work.
    pub fn accept(self, spared: u32) -> Result<Negotiated, ProtocolError> {
        if self.version < 2 || self.actions & actions::CHANGE_HEADERS == 0 {
            return Err(ProtocolError::Unsupported);
        }
        let wanted = steps::NO_HELO
            | steps::NO_REPLY_CONNECT
            | steps::NO_REPLY_MAIL
            | steps::NO_UNKNOWN
            | steps::NO_DATA
            | steps::NO_REPLY_HEADER
            | steps::NO_REPLY_END_OF_HEADERS
            | steps::NO_REPLY_BODY
            | steps::LEADING_SPACE
            | spared & (steps::NO_CONNECT | steps::NO_REPLY_RECIPIENT);
        let changes = actions::ADD_HEADERS | actions::CHANGE_HEADERS | actions::CHANGE_SENDER;
        Ok(Negotiated {
            version: self.version.min(VERSION),
            actions: self.actions & (changes | actions::SET_MACROS),
            steps: self.steps & wanted,
        })
    }
}

impl Negotiated {
    /// Whether the MTA waits for an answer, given the step's `NO_REPLY_…` bit.
    pub fn expects_answer(self, no_reply: u32) -> bool {
        self.steps & no_reply == 0
    }

    /// Whether the filter may do this; a bit of [`actions`].
    pub fn may(self, action: u32) -> bool {
        self.actions & action != 0
    }

    /// What comes before a header value: nothing if the white space after the colon is part of it.
    /// If it is not, the MTA has cut off one space, and puts one before what it is told to write.
    pub fn space(self) -> &'static str {
        match self.steps & steps::LEADING_SPACE {
            0 => " ",
            _ => "",
        }
    }

    /// The payload of our answer. It requests two macros: the queue ID, `i`, once it is known, and the
    /// login with MAIL.
    pub(super) fn payload(self) -> Vec<u8> {
        let mut payload = Vec::with_capacity(32);
        for number in [self.version, self.actions, self.steps] {
            payload.extend_from_slice(&number.to_be_bytes());
        }
        if self.actions & actions::SET_MACROS != 0 {
            // Stages: connect, HELO, MAIL, RCPT, DATA, end of message, end of headers. An empty
            // list would mean the MTA's default list.
            for stage in 0u32..7 {
                payload.extend_from_slice(&stage.to_be_bytes());
                payload.extend_from_slice(match stage {
                    STAGE_MAIL => b"i {auth_authen}\0",
                    _ => b"i\0",
                });
            }
        }
        payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POSTFIX: Offer = Offer {
        version: 6,
        actions: 0x1ff,
        steps: 0x1f_ffff,
    };

    #[test]
    fn only_recipients_and_the_end_of_a_message_are_answered() {
        let agreed = POSTFIX.accept(0).unwrap();
        assert!(agreed.expects_answer(steps::NO_REPLY_RECIPIENT));
        for step in [
            steps::NO_REPLY_CONNECT,
            steps::NO_REPLY_MAIL,
            steps::NO_REPLY_HEADER,
            steps::NO_REPLY_END_OF_HEADERS,
            steps::NO_REPLY_BODY,
        ] {
            assert!(!agreed.expects_answer(step));
        }
        assert_eq!(agreed.steps & steps::NO_CONNECT, 0);
        let agreed = POSTFIX.accept(steps::NO_CONNECT).unwrap();
        assert_eq!(agreed.steps & steps::NO_CONNECT, steps::NO_CONNECT);
        let agreed = POSTFIX.accept(steps::NO_REPLY_RECIPIENT).unwrap();
        assert!(!agreed.expects_answer(steps::NO_REPLY_RECIPIENT));
    }

    #[test]
    fn nothing_is_asked_for_that_was_not_offered() {
        let old = Offer {
            version: 2,
            actions: 0x3f,
            steps: 0x7f,
        };
        let agreed = old.accept(0).unwrap();
        assert_eq!(agreed.version, 2);
        assert_eq!(agreed.actions & !old.actions, 0);
        assert_eq!(agreed.steps & !old.steps, 0);
        assert!(agreed.expects_answer(steps::NO_REPLY_HEADER));
        assert_eq!(agreed.payload().len(), 12);
        assert_eq!(agreed.space(), " ");
        assert!(agreed.may(actions::ADD_HEADERS));
        assert!(!agreed.may(actions::CHANGE_SENDER));
    }

    #[test]
    fn an_mta_that_forbids_header_changes_is_turned_away() {
        let offer = Offer {
            actions: 0,
            ..POSTFIX
        };
        assert_eq!(offer.accept(0), Err(ProtocolError::Unsupported));
    }
}
