//! Collects the edits that `policy` demands in one message header.

use super::form::{Form, Room};
use super::limits;
use super::policy::{self, Action, Rule};
use super::verdict::{Direction, HeaderEdit, Reason};

/// Counts the fields seen, and records those to drop or replace.
#[derive(Debug)]
pub(super) struct Edits {
    /// How many fields there were for each row of the policy.
    counts: [u16; policy::RULES.len()],
    /// Rows with an outgoing field that stays, one bit each.
    stayed: u64,
    /// Fields to drop: the row, and which of the fields of that name.
    dropped: Vec<(u8, u16)>,
    /// Fields without a row, which are all dropped: name and number.
    others: Vec<(Box<[u8]>, u32)>,
    /// The row whose first field gets another value, and the name as the message spells it.
    replaced: Option<(usize, Box<[u8]>)>,
    /// The bytes used so far of the limits that all fields share.
    room: Room,
}

// `stayed` has one bit for each.
const _: () = assert!(policy::RULES.len() <= 64);

impl Edits {
    pub(super) fn new() -> Edits {
        Edits {
            counts: [0; policy::RULES.len()],
            stayed: 0,
            dropped: Vec::new(),
            others: Vec::new(),
            replaced: None,
            room: Room::default(),
        }
    }

    /// Applies the rule of its row to one field. `Err` if the message needs the field but it is not in
    /// its form.
    pub(super) fn field(
        &mut self,
        row: usize,
        name: &[u8],
        value: &[u8],
        author: &[u8],
    ) -> Result<(), Reason> {
        if policy::is_others(row) {
            self.other(name);
            return Ok(());
        }
        let (Some(rule), Some(count)) = (policy::RULES.get(row), self.counts.get_mut(row)) else {
            return Ok(());
        };
        *count += 1;
        let count = *count;
        let stays = match rule.action {
            Action::Keep(form) => return self.stay(row, rule, form, name, value, author),
            Action::Limit(form) => self.stay(row, rule, form, name, value, author).is_ok(),
            Action::Drop => false,
            Action::Replace(text) => {
                if count == 1 && value != text.as_bytes() {
                    self.replaced = Some((row, name.into()));
                }
                count == 1
            }
        };
        if !stays {
            // There are fewer rows than 256.
            self.dropped.push((row as u8, count));
        }
        Ok(())
    }

    /// Whether a field can stay; if not, why.
    fn stay(
        &mut self,
        row: usize,
        rule: &Rule,
        form: Form,
        name: &[u8],
        value: &[u8],
        author: &[u8],
    ) -> Result<(), Reason> {
        let room = form.room_in(value, author).ok_or(Reason::HeaderField)?;
        if rule.direction == Direction::Incoming {
            return Ok(());
        }
        let bit = 1 << row;
        if self.stayed & bit != 0 || !value.is_ascii() {
            return Err(Reason::HeaderField);
        }
        if !has_short_lines(name, value) {
            return Err(Reason::HeaderLine);
        }
        let text = self.room.text + room.text;
        let addresses = self.room.addresses + room.addresses;
        if text > limits::NAMES_BYTES || addresses > limits::ADDRESSES_BYTES {
            return Err(Reason::HeaderField);
        }
        self.room = Room { text, addresses };
        self.stayed |= bit;
        Ok(())
    }

    fn other(&mut self, name: &[u8]) {
        let mut name = Box::<[u8]>::from(name);
        name.make_ascii_lowercase();
        match self.others.iter_mut().find(|(known, _)| *known == name) {
            Some((_, count)) => *count += 1,
            None => self.others.push((name, 1)),
        }
    }

    /// The edits of a message that passes. Moves the names of dropped fields out, because a hostile
    /// header has many long ones.
    pub(super) fn take(&mut self) -> Vec<HeaderEdit> {
        let others = std::mem::take(&mut self.others);
        let count: u32 = others.iter().map(|(_, count)| *count).sum();
        let replaced = usize::from(self.replaced.is_some());
        let mut edits = Vec::with_capacity(count as usize + self.dropped.len() + replaced);
        for (name, count) in others {
            let name = into_text(name);
            for index in (2..=count).rev() {
                let name = name.clone();
                edits.push(HeaderEdit::Delete { name, index });
            }
            edits.push(HeaderEdit::Delete { name, index: 1 });
        }
        edits.extend(self.dropped.iter().rev().filter_map(|(row, index)| {
            let rule = policy::RULES.get(usize::from(*row))?;
            Some(HeaderEdit::Delete {
                name: rule.field.to_ascii_lowercase(),
                index: u32::from(*index),
            })
        }));
        if let Some((row, name)) = self.replaced.take()
            && let Some(rule) = policy::RULES.get(row)
            && let Action::Replace(value) = rule.action
        {
            edits.push(HeaderEdit::Replace {
                name: into_text(name),
                index: 1,
                value: value.to_owned(),
            });
        }
        edits
    }
}

fn into_text(name: Box<[u8]>) -> String {
    String::from_utf8(name.into_vec())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

/// Whether no line of a field is longer than an SMTP client sends unchanged: a longer one would be
/// folded after it is signed.
fn has_short_lines(name: &[u8], value: &[u8]) -> bool {
    // The name, a colon and a space, which `value` does not begin with.
    let first = name.len() + b": ".len();
    if first + value.len() <= limits::LINE_BYTES {
        return true;
    }
    let mut before = first;
    value.split(|byte| *byte == b'\n').all(|line| {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        std::mem::take(&mut before) + line.len() <= limits::LINE_BYTES
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_ends_where_an_smtp_client_would_break_it() {
        let most = limits::LINE_BYTES;
        let a = |size: usize| "a".repeat(size);
        for (value, short) in [
            (a(most - 4), true),
            (a(most - 3), false),
            (format!("{}\n {}", a(most - 4), a(most - 1)), true),
            (format!("{}\r\n {}", a(most - 4), a(most - 1)), true),
            (format!("{}\n {}", a(most - 4), a(most)), false),
            (format!("{}\n {}", a(most - 3), a(10)), false),
        ] {
            let found = has_short_lines(b"To", value.as_bytes());
            assert_eq!(found, short, "{} {}", value.len(), short);
        }
    }
}
