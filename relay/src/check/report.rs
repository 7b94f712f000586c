//! What was found, in words and as JSON.

use std::io::{self, Write};
use std::path::Path;

use chatmail_core::filter::{Accepted, Direction, HeaderEdit, Part, Refusal};
use serde::Serialize;

use super::explain::{self, explain};
use super::message::Checked;

/// One file's answer.
pub(super) struct Report<'a> {
    pub(super) file: &'a Path,
    pub(super) direction: Direction,
    pub(super) checked: &'a io::Result<Checked>,
}

/// One line of `--json`. The names are documented in the manual of the command and stay.
#[derive(Serialize)]
struct Line<'a> {
    file: String,
    direction: &'static str,
    #[serde(flatten)]
    verdict: Verdict<'a>,
}

#[derive(Serialize)]
#[serde(tag = "verdict", rename_all = "lowercase")]
enum Verdict<'a> {
    Accepted {
        class: &'static str,
        seipd: Option<u8>,
        author: &'a str,
        edits: Vec<Edit<'a>>,
    },
    Refused {
        reason: &'static str,
        part: String,
        offset: u64,
        line: Option<u64>,
        reply: String,
    },
    Undecided {
        error: String,
    },
    Unreadable {
        error: String,
    },
}

#[derive(Serialize)]
struct Edit<'a> {
    action: &'static str,
    field: &'a str,
    index: u32,
    value: Option<&'a str>,
}

impl<'a> From<&'a HeaderEdit> for Edit<'a> {
    fn from(edit: &'a HeaderEdit) -> Edit<'a> {
        match edit {
            HeaderEdit::Delete { name, index } => Edit {
                action: "delete",
                field: name,
                index: *index,
                value: None,
            },
            HeaderEdit::Replace { name, index, value } => Edit {
                action: "replace",
                field: name,
                index: *index,
                value: Some(value),
            },
        }
    }
}

impl Report<'_> {
    pub(super) fn json(&self, output: &mut dyn Write) -> io::Result<()> {
        let verdict = match self.checked {
            Ok(Checked::Accepted(accepted)) => Verdict::Accepted {
                class: accepted.class.name(),
                seipd: accepted.seipd,
                author: &accepted.author,
                edits: accepted.edits.iter().map(Edit::from).collect(),
            },
            Ok(Checked::Refused { refusal, line, .. }) => Verdict::Refused {
                reason: refusal.reason.name(),
                part: refusal.part.to_string(),
                offset: refusal.offset,
                line: *line,
                reply: refusal.reply().to_string(),
            },
            Ok(Checked::Undecided(undecided)) => Verdict::Undecided {
                error: undecided.to_string(),
            },
            Err(why) => Verdict::Unreadable {
                error: why.to_string(),
            },
        };
        let line = Line {
            file: self.name(),
            direction: self.direction(),
            verdict,
        };
        let text = serde_json::to_string(&line)?;
        writeln!(output, "{text}")
    }

    pub(super) fn words(&self, output: &mut dyn Write) -> io::Result<()> {
        let (name, direction) = (self.name(), self.direction());
        match self.checked {
            Ok(Checked::Accepted(accepted)) => {
                let class = accepted.class.name();
                writeln!(output, "{name}: accepted as {direction} mail: {class}")?;
                self.accepted(accepted, output)
            }
            Ok(Checked::Refused {
                refusal,
                line,
                is_mbox,
            }) => {
                let reason = refusal.reason.name();
                writeln!(output, "{name}: refused as {direction} mail: {reason}")?;
                writeln!(output, "  where: {}", place(refusal, *line))?;
                if let Some(explanation) = explain(&refusal.reason, self.direction) {
                    writeln!(output, "  rule:  {}", explanation.rule)?;
                    writeln!(output, "  look:  {}", explanation.look)?;
                }
                if *is_mbox {
                    let hint = "The file begins with the `From ` line of an mbox file, which is no part of the message: take it out.";
                    writeln!(output, "  note:  {hint}")?;
                }
                writeln!(output, "  reply: {}", refusal.reply())
            }
            Ok(Checked::Undecided(undecided)) => {
                writeln!(output, "{name}: undecided: {undecided}")?;
                writeln!(output, "  reply: {}", undecided.reply())
            }
            Err(why) => {
                eprintln!("chatmail: {name}: {why}");
                Ok(())
            }
        }
    }

    fn accepted(&self, accepted: &Accepted, output: &mut dyn Write) -> io::Result<()> {
        writeln!(output, "  why:   {}", explain::class(accepted.class))?;
        if let Some(version) = accepted.seipd {
            writeln!(output, "  data:  SEIPD version {version}")?;
        }
        for edit in &accepted.edits {
            match edit {
                HeaderEdit::Delete { name, index } => {
                    writeln!(output, "  edit:  {name} number {index} would be dropped")?;
                }
                HeaderEdit::Replace { name, value, .. } => {
                    writeln!(output, "  edit:  {name} would become `{value}`")?;
                }
            }
        }
        Ok(())
    }

    fn name(&self) -> String {
        self.file.to_string_lossy().into_owned()
    }

    fn direction(&self) -> &'static str {
        match self.direction {
            Direction::Outgoing => "outgoing",
            Direction::Incoming => "incoming",
        }
    }
}

/// `line 14, part 2 (byte 311 of the body)`.
fn place(refusal: &Refusal, line: Option<u64>) -> String {
    let line = line
        .map(|line| format!("line {line}, "))
        .unwrap_or_default();
    let offset = refusal.offset;
    match refusal.part {
        Part::Envelope => "envelope".to_owned(),
        Part::Header if offset == 0 => "header".to_owned(),
        Part::Header => format!("{line}field {offset} of the header"),
        Part::Body => format!("{line}outside of the parts (byte {offset} of the body)"),
        Part::BodyPart(number) => format!("{line}part {number} (byte {offset} of the body)"),
    }
}
