//! `chatmail user export`, `chatmail user import`.

use std::io::{self, BufWriter, IsTerminal};

use chatmail_relay::user::{self, Moved, NotImported};
use clap::Parser;
use serde::Serialize;

use super::{Common, EXITS, failed, no_account};
use crate::commands::progress::Progress;
use crate::exit::{Exit, Failure};

/// Write an account as a tar stream to standard output, to move it to another relay.
///
/// In it are the password's hash, device tokens, whether it is disabled and takes cleartext, and all messages with
/// flags, folders, times and UIDs, so that clients download nothing again. Keep it secret: `umask 077` first.
///
/// The relay may run meanwhile; what arrives later is not in it. To lose nothing: disable the account, end its
/// sessions with `doveadm kick ADDRESS`, export, import, enable it there.
///
/// JSON, on standard error: {"address", "messages", "bytes", "result": "exported"}
#[derive(Parser)]
#[command(
    after_help = EXITS,
    after_long_help = const_format(),
)]
pub(super) struct Export {
    #[command(flatten)]
    pub(super) common: Common,
    /// Whom
    address: String,
}

fn const_format() -> String {
    format!(
        "{EXITS}

Example, to another host:
  chatmail user export --config /etc/chatmail.ini alice@a.example |
    ssh b.example chatmail user import --config /etc/chatmail.ini --as alice@b.example"
    )
}

#[derive(Serialize)]
struct Finished {
    #[serde(flatten)]
    moved: Moved,
    result: &'static str,
}

impl Export {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if io::stdout().is_terminal() {
            let why = "standard output is a terminal: send it to a file";
            return Err(Failure(Exit::Usage, why.to_owned()));
        }
        let relay = self.common.open()?;
        let address = relay.address(&self.address)?;
        let output = BufWriter::with_capacity(1 << 18, io::stdout().lock());
        let mut line = Progress::new();
        let mut progress = |bytes| line.show(|| format!("{} MB", bytes >> 20));
        let moved = user::export(&relay.mailboxes, &address, output, &mut progress);
        drop(line);
        let moved = moved.map_err(failed)?.ok_or_else(|| no_account(&address))?;
        let (messages, bytes) = (moved.messages, moved.bytes);
        let finished = Finished {
            moved,
            result: "exported",
        };
        match self.common.json {
            true => eprintln!("{}", serde_json::json!(finished)),
            false => eprintln!("exported {address}: {messages} messages, {bytes} bytes"),
        }
        Ok(())
    }
}

/// Make an account of a tar stream on standard input, as `export` writes it.
///
/// Nothing of it is seen until all was read and looked at. An account that exists is never touched, a stream
/// that was cut off or holds anything else than a mailbox leaves nothing.
///
/// JSON: {"address", "messages", "bytes", "result": "imported"}
#[derive(Parser)]
#[command(after_help = EXITS)]
pub(super) struct Import {
    #[command(flatten)]
    pub(super) common: Common,
    /// The address it gets; else the one it had
    #[arg(long = "as", value_name = "ADDRESS")]
    to: Option<String>,
}

impl Import {
    pub(super) fn run(&self) -> Result<(), Failure> {
        if io::stdin().is_terminal() {
            let why = "standard input is a terminal: give it the output of export";
            return Err(Failure(Exit::Usage, why.to_owned()));
        }
        let relay = self.common.open()?;
        let to = self.to.as_ref().map(|to| relay.new_address(to));
        let to = to.transpose()?;
        // What an earlier one left that was killed; not a reason to stop.
        let _ = relay.mailboxes.sweep();
        let mut line = Progress::new();
        let mut progress = |bytes| line.show(|| format!("{} MB", bytes >> 20));
        let input = io::stdin().lock();
        let moved = user::import(&relay.mailboxes, to.as_ref(), input, &mut progress);
        drop(line);
        let moved = moved.map_err(|why| match why {
            NotImported::Exists(_) => Failure(Exit::CannotCreate, why.to_string()),
            NotImported::Unfit(..) => Failure(Exit::Usage, why.to_string()),
            NotImported::Damaged(_) => Failure(Exit::Data, why.to_string()),
            NotImported::Failed(error) => failed(error),
        })?;
        let words = format!(
            "imported {}: {} messages, {} bytes",
            moved.address, moved.messages, moved.bytes
        );
        let finished = Finished {
            moved,
            result: "imported",
        };
        relay.answer(&finished, || words)
    }
}
