//! The command line of `chatmail check`, and its manual.

use std::net::IpAddr;
use std::path::PathBuf;

use chatmail_core::filter::Direction;
use clap::Parser;

/// Say whether the filter lets a message pass, and if not, which rule it breaks where.
///
/// Asks the same check that chatmail-milter makes of every message, without a mail server. Of a
/// message that passes it prints its class and what the filter would do to its header; of one that
/// does not, the rule, the place, what the rule means, and the reply that the sender got.
///
/// Without --incoming or --outgoing a message is checked as incoming mail. Give the message as the
/// relay received it, header and all. Line ends may be CRLF, as mail has them, or LF, as files have
/// them; but only one of them in one file, because readers of a mixture see different lines. The
/// verdict is the same for both. Offsets count bytes of the file as it stands.
///
/// DKIM signatures are not looked at: chatmail-milter verifies them in incoming mail after this check,
/// by a DNS lookup. A message that passes here can still be rejected with `No DKIM signature found` or
/// `No valid DKIM signature found`. Rate limits, quotas and the existence of recipients are not checked either.
#[derive(Debug, Parser)]
#[command(
    group = clap::ArgGroup::new("direction").args(["incoming", "outgoing"]),
    after_help = "Exit codes: 0 all messages pass, 1 one is refused, 64 wrong usage, 66 a file cannot be read, \
74 nothing can be written, 75 a mailbox could not be asked, 78 wrong chatmail.ini.",
    after_long_help = "\
Exit codes: 0 all messages pass, 1 one is refused, 64 wrong usage, 66 a file cannot be read, \
74 nothing can be written, 75 a mailbox could not be asked, 78 wrong chatmail.ini.

With --json one object per message and line, fields in any order:
  file       as given
  direction  incoming, outgoing
  verdict    accepted, refused, undecided, unreadable
accepted:
  class      encrypted, secure-join-request, delivery-report, cleartext
  seipd      version of the encrypted data packet, 1 or 2; null unless encrypted
  author     the address in From
  edits      what would be done to the header, in this order. A list of objects:
               action  delete, replace
               field   its name in lower case
               index   which of the fields with this name, from 1
               value   the new one; null for delete
refused:
  reason     name of the rule, as in the log and the counters of chatmail-milter
  part       envelope, header, body (outside of its parts), part 1, part 2, part 3
  offset     in the header: number of the field from 1, 0 for the header as a whole;
             in the body: bytes from its start to the line that breaks the rule; else 0
  line       of the file, from 1; null for the envelope and for the header as a whole
  reply      what the sender got
undecided, unreadable:
  error      in words

Examples:
  Why did a user's program get `523 Encryption Needed`?
    chatmail check --outgoing message.eml
  What of a message in Postfix's queue?
    postcat -bhq 4Xy7Vz0qJ1z9 | chatmail check --incoming -
  Would this cleartext reach Bob, who switched off enforcement?
    chatmail check --config /etc/chatmail.ini --recipient bob@chat.example message.eml
  Which messages of a directory would be refused, and why?
    chatmail check --json saved/*.eml | jq -r 'select(.verdict == \"refused\") | .file, .reason'"
)]
pub struct Arguments {
    /// As mail from another host, on port 25; this is the default
    #[arg(long)]
    incoming: bool,
    /// As mail from a user who is logged in, on port 587 or 465
    #[arg(long)]
    outgoing: bool,
    /// One JSON object per message instead of words
    #[arg(long)]
    pub(super) json: bool,
    /// Envelope sender [default: the address in From]
    #[arg(long, value_name = "ADDRESS")]
    pub(super) sender: Option<String>,
    /// Address that the user of outgoing mail has logged in as [default: the envelope sender]
    #[arg(
        long,
        value_name = "ADDRESS",
        requires = "outgoing",
        conflicts_with = "incoming"
    )]
    pub(super) login: Option<String>,
    /// IP address of the host that sends incoming mail [default: unknown]
    #[arg(long, value_name = "IP", conflicts_with = "outgoing")]
    pub(super) client: Option<IpAddr>,
    /// Envelope recipient; repeat for several. Matters for incoming reports, and for incoming cleartext
    /// together with --config
    #[arg(long = "recipient", value_name = "ADDRESS")]
    pub(super) recipients: Vec<String>,
    /// chatmail.ini: ask the recipients' mailboxes whether they accept cleartext. Without it, none does
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    /// Messages; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(super) files: Vec<PathBuf>,
}

impl Arguments {
    pub(super) fn direction(&self) -> Direction {
        match self.outgoing {
            true => Direction::Outgoing,
            false => Direction::Incoming,
        }
    }
}
