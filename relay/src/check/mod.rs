//! `chatmail check`: why a message passes the filter, or where it breaks which rule.
//!
//! It asks the same [`chatmail_core::filter`] as `chatmail-milter`, so it answers "why was this
//! refused?" without a mail server. Files are read as a stream: memory does not grow with them.
//!
//! | module | what it does |
//! |---|---|
//! | `arguments` | the command line and its manual |
//! | `message` | one message through the filter; finds the line of a fault |
//! | `report` | the answer in words and as JSON |
//! | `explain` | one sentence for each rule |

mod arguments;
mod explain;
mod message;
mod report;

use std::fs::File;
use std::io::{self, BufReader, Write};
use std::path::Path;

use chatmail_core::address::MailDomain;
use chatmail_core::config::Config;
use chatmail_core::mailbox::Mailboxes;

pub use arguments::Arguments;

use message::{Checked, Envelope};
use report::Report;

/// How a run ended that could ask about every file: the exit code, see sysexits(3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ended {
    /// All messages pass: 0.
    Accepted,
    /// One is refused: 1.
    Refused,
    /// For one it could not be found out whether a recipient accepts cleartext: 75.
    Undecided,
    /// A file cannot be read: 66.
    Unreadable,
}

impl Ended {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Ended::Accepted => 0,
            Ended::Refused => 1,
            Ended::Undecided => 75,
            Ended::Unreadable => 66,
        }
    }
}

/// Why a run ended early.
#[derive(Debug)]
pub enum Stopped {
    /// The configuration has an error.
    Configuration(String),
    /// Nothing more can be written.
    Output(io::Error),
}

/// Checks each file and writes what it found to `output`.
pub fn run(arguments: &Arguments, output: &mut dyn Write) -> Result<Ended, Stopped> {
    let mailboxes = match &arguments.config {
        Some(path) => {
            let config =
                Config::load(path).map_err(|error| Stopped::Configuration(error.to_string()))?;
            for warning in &config.warnings {
                eprintln!("chatmail: warning: {warning}");
            }
            config.mailboxes()
        }
        // No recipient is at this domain, so none accepts cleartext, which is also the default of new
        // mailboxes.
        None => {
            let domain = MailDomain::parse("invalid")
                .ok_or_else(|| Stopped::Configuration("no mail domain".to_owned()))?;
            Mailboxes::new("/nonexistent".into(), domain)
        }
    };
    let envelope = Envelope {
        direction: arguments.direction(),
        sender: arguments.sender.as_deref(),
        login: arguments.login.as_deref(),
        client: arguments.client,
        recipients: &arguments.recipients,
    };
    let mut ended = Ended::Accepted;
    for path in &arguments.files {
        let checked = open_and_check(path, &envelope, &mailboxes);
        ended = ended.max(match &checked {
            Ok(Checked::Accepted { .. }) => Ended::Accepted,
            Ok(Checked::Refused { .. }) => Ended::Refused,
            Ok(Checked::Undecided(_)) => Ended::Undecided,
            Err(_) => Ended::Unreadable,
        });
        let report = Report {
            file: path,
            direction: envelope.direction,
            checked: &checked,
        };
        let written = match arguments.json {
            true => report.json(output),
            false => report.words(output),
        };
        written.map_err(Stopped::Output)?;
    }
    output.flush().map_err(Stopped::Output)?;
    Ok(ended)
}

fn open_and_check(
    path: &Path,
    envelope: &Envelope<'_>,
    mailboxes: &Mailboxes,
) -> io::Result<Checked> {
    if path.as_os_str() == "-" {
        return message::check(&mut io::stdin().lock(), envelope, mailboxes);
    }
    let mut file = BufReader::new(File::open(path)?);
    message::check(&mut file, envelope, mailboxes)
}
