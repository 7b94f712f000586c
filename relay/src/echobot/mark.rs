//! Which message was being answered when the bot, or core, ended.
//!
//! An answer is sent first and its message marked as seen second. Between the two a kill would have the
//! message answered again. So before each answer a mark is left in core's own database, which keeps
//! the order of what is written to it even when the power fails: whoever finds the mark looks whether the
//! chat holds an answer that was not there when the mark was made.

use std::fmt;
use std::str::FromStr;

/// Before an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// The message that is being answered.
    pub(super) message: u32,
    /// Its chat.
    pub(super) chat: u32,
    /// The number of the last answer that was sent before, to anybody: numbers only grow.
    pub(super) sent_before: u32,
    /// How often it was tried before: a message may be the reason why core ended.
    pub(super) tries: u32,
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Mark {
            message,
            chat,
            sent_before,
            tries,
        } = self;
        write!(f, "{message} {chat} {sent_before} {tries}")
    }
}

/// Not a mark.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoMark;

impl FromStr for Mark {
    type Err = NoMark;

    fn from_str(text: &str) -> Result<Mark, NoMark> {
        let numbers: Result<Vec<u32>, _> = text.split(' ').map(str::parse).collect();
        match numbers.as_deref() {
            Ok(&[message, chat, sent_before, tries]) => Ok(Mark {
                message,
                chat,
                sent_before,
                tries,
            }),
            _ => Err(NoMark),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_anything_else_is_none() {
        let mark = Mark {
            message: 17,
            chat: 11,
            sent_before: 15,
            tries: 2,
        };
        assert_eq!(mark.to_string().parse(), Ok(mark));
        for text in [
            "",
            "17",
            "17 11 15",
            "17 11 15 2 9",
            "17 11 -1 2",
            "17  11 15 2",
            "99999999999 1 1 1",
        ] {
            assert_eq!(text.parse::<Mark>(), Err(NoMark), "{text:?}");
        }
    }
}
