//! What each step does.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::log::Log;
use super::{Login, Partner, Settings, Step, Why};
use crate::deltachat::event::{Event, EventKind, events};
use crate::deltachat::{Account, Error, Message, Outgoing, Rpc};

/// Of the file, in bytes. As large as a picture that somebody sends; core sends it in one message.
const FILE_SIZE: usize = 100_000;

/// What no event told of is found this often.
const LOOK: Duration = Duration::from_millis(500);

/// Events that are on their way come within this time, and are not more than that.
const LATE: Duration = Duration::from_millis(200);
const LATE_MAX: usize = 1000;

/// Progress of an invitation when it has come to its end, and when core has given it up.
const JOINED: u16 = 1000;
const GIVEN_UP: u16 = 0;

/// From here downwards JSON-RPC has the codes of calls that were wrong themselves.
const WRONG_CALL: i64 = -32_000;

impl From<Error> for Why {
    fn from(error: Error) -> Why {
        match error {
            Error::Gone => Why::Program("has ended".to_owned()),
            // Of another version than those that are known here: nothing to blame the relay for.
            Error::Unexpected { .. }
            | Error::Refused {
                code: ..=WRONG_CALL,
                ..
            } => Why::Program(format!("cannot be used: {error}")),
            Error::Refused { words, .. } => Why::Failed(words),
            Error::Silent { .. } => Why::Failed(error.to_string()),
        }
    }
}

/// One life of core.
pub(super) struct Session<'a> {
    settings: &'a Settings,
    rpc: &'a Rpc,
    events: mpsc::Receiver<Event>,
    seen: Seen,
    /// What is missing if the time is over now.
    awaited: &'static str,
}

/// What events have told. Messages are those of accounts.
#[derive(Debug, Default)]
struct Seen {
    /// Accounts that wait for mail.
    idle: BTreeSet<u32>,
    /// How far the invitation is.
    joining: Option<u16>,
    delivered: BTreeSet<(u32, u32)>,
    failed: Option<(u32, u32)>,
    /// The last one, in core's words.
    warning: Option<String>,
}

impl Seen {
    fn note(&mut self, event: &Event) {
        match &event.kind {
            EventKind::ImapInboxIdle => drop(self.idle.insert(event.account)),
            EventKind::SecurejoinJoinerProgress { progress, .. } => self.joining = Some(*progress),
            EventKind::MsgDelivered { msg_id, .. } => {
                self.delivered.insert((event.account, *msg_id));
            }
            EventKind::MsgFailed { msg_id, .. } => self.failed = Some((event.account, *msg_id)),
            // This one says what the call answers with.
            EventKind::Warning { msg } if msg.text().starts_with("configure failed") => {}
            EventKind::Warning { msg } => self.warning = Some(msg.text().to_owned()),
            _ => {}
        }
    }
}

/// Who talks to whom.
struct Line {
    from: Account,
    /// In which chat of `from`.
    chat: u32,
    /// Who gets what `from` wrote; with an echo bot, `from` itself.
    to: Account,
}

/// Tries all steps. May be dropped at any time.
pub(super) async fn run(
    settings: &Settings,
    directory: &Path,
    rpc: &Rpc,
    log: &mut Log<'_>,
) -> Result<(), Why> {
    let greeting = rpc.call::<Value>("get_system_info", json!([]));
    match timeout(settings.timeout, greeting).await {
        Ok(Ok(_)) => {}
        Ok(Err(why)) => return Err(Why::Program(format!("did not start: {why}"))),
        Err(_) => return Err(Why::Program("does not answer".to_owned())),
    }
    let mut session = Session {
        settings,
        rpc,
        events: events(rpc),
        seen: Seen::default(),
        awaited: "an answer",
    };
    let session = &mut session;
    let (from, partner) = log
        .within(session, Step::Account, async |session| {
            let from = session.log_in(&settings.account).await?;
            let partner = match &settings.partner {
                Partner::EchoBot(_) => None,
                Partner::Account(login) => Some(session.log_in(login).await?),
            };
            Ok((from, partner))
        })
        .await?;
    let line = log
        .within(session, Step::Join, async |session| {
            session.join(from, partner).await
        })
        .await?;
    log.within(session, Step::Text, async |session| {
        session.send_text(&line).await
    })
    .await?;
    log.within(session, Step::File, async |session| {
        session.send_file(&line, directory).await
    })
    .await
}

impl Session<'_> {
    /// For each step.
    pub(super) fn timeout(&self) -> Duration {
        self.settings.timeout
    }

    /// To be called before each step.
    pub(super) fn begin(&mut self) {
        self.seen.warning = None;
    }

    /// Why a step failed, with what core warned of last; without words of its own, the time is over.
    pub(super) async fn explained(&mut self, words: Option<String>) -> String {
        let mut words = words.unwrap_or_else(|| {
            let seconds = self.settings.timeout.as_secs();
            format!("{seconds} s without {}", self.awaited)
        });
        // They come a little later than the answer of the call that made them.
        for _ in 0..LATE_MAX {
            match timeout(LATE, self.events.recv()).await {
                Ok(Some(event)) => self.seen.note(&event),
                _ => break,
            }
        }
        if let Some(warning) = &self.seen.warning
            && !words.contains(warning.trim_end_matches('.'))
        {
            words.push_str("; core: ");
            words.push_str(warning);
        }
        words
    }

    async fn log_in(&mut self, login: &Login) -> Result<Account, Why> {
        self.awaited = "an end of the login";
        let account = Account::add(self.rpc).await?;
        // All that comes back comes whole.
        account.set_config("download_limit", "0").await?;
        let transport = self
            .settings
            .relay
            .transport(&login.address, &login.password);
        let set = account.set_transport(&transport).await;
        set.map_err(|error| self.refused(error.into()))?;
        account.start().await?;
        // What comes before core has looked into the mailbox for the first time is old mail to it, and
        // not shown.
        self.awaited = "a connection that waits for mail";
        while !self.seen.idle.contains(&account.id()) {
            self.look().await?;
        }
        Ok(account)
    }

    /// Why a login failed, with what an operator may have to look at.
    fn refused(&self, why: Why) -> Why {
        let Why::Failed(words) = why else {
            return why;
        };
        let relay = &self.settings.relay;
        let (host, imap, smtp) = (&relay.host, relay.imap_port, relay.smtp_port);
        let hint = match &self.settings.refusal_hint {
            Some(hint) => format!("; {hint}"),
            None => String::new(),
        };
        Why::Failed(format!(
            "{words} (at {host}, ports {imap} and {smtp}{hint})"
        ))
    }

    async fn join(&mut self, from: Account, partner: Option<Account>) -> Result<Line, Why> {
        self.awaited = "an answer to the invitation";
        let (link, to) = match (&self.settings.partner, partner) {
            (Partner::EchoBot(link), _) => (link.clone(), from.clone()),
            (Partner::Account(_), Some(partner)) => (partner.invite_link().await?, partner),
            (Partner::Account(_), None) => return Err(Why::Failed("nobody to join".to_owned())),
        };
        let chat = from.join(&link).await?;
        loop {
            match self.seen.joining {
                Some(JOINED) => break,
                Some(GIVEN_UP) => return Err(Why::Failed("core gave up".to_owned())),
                Some(_) => self.awaited = "a confirmation of the other side, who has answered",
                None => {}
            }
            self.look().await?;
        }
        match from.chat(chat).await?.is_encrypted {
            true => Ok(Line { from, chat, to }),
            false => Err(Why::Failed("the chat is not encrypted".to_owned())),
        }
    }

    async fn send_text(&mut self, line: &Line) -> Result<(), Why> {
        let text = format!("chatmail test {}", random_word()?);
        let outgoing = Outgoing {
            text: Some(text.clone()),
            ..Outgoing::default()
        };
        self.exchange(line, &outgoing, |message| message.text == text)
            .await?;
        Ok(())
    }

    async fn send_file(&mut self, line: &Line, directory: &Path) -> Result<(), Why> {
        let name = format!("chatmail-test-{}.bin", random_word()?);
        let path = directory.join(&name);
        let mut content = vec![0; FILE_SIZE];
        fill(&mut content)?;
        fs::write(&path, &content).map_err(|why| here(&path, &why))?;
        let outgoing = Outgoing {
            // Core would make nothing else of it.
            viewtype: Some("File".to_owned()),
            file: path.to_str().map(str::to_owned),
            filename: Some(name.clone()),
            ..Outgoing::default()
        };
        let is_it = |message: &Message| message.file_name.as_ref() == Some(&name);
        let message = self.exchange(line, &outgoing, is_it).await?;
        let came = message.file.unwrap_or_default();
        let came = fs::read(&came).map_err(|why| here(came.as_ref(), &why))?;
        match came == content {
            true => Ok(()),
            false => Err(Why::Failed(format!(
                "it came with other content, {} bytes of {FILE_SIZE}",
                came.len()
            ))),
        }
    }

    /// Sends a message and waits until `is_it` knows one that has come.
    async fn exchange(
        &mut self,
        line: &Line,
        outgoing: &Outgoing,
        is_it: impl Fn(&Message) -> bool,
    ) -> Result<Message, Why> {
        self.awaited = "the relay taking the message";
        let sent = line.from.send(line.chat, outgoing).await?;
        loop {
            for id in line.to.fresh_messages().await? {
                let message = line.to.message(id).await?;
                let is_here = message.download_state == "Done" && message.is_from_a_contact();
                if is_here && is_it(&message) {
                    return match message.show_padlock {
                        true => Ok(message),
                        false => Err(Why::Failed("it came unencrypted".to_owned())),
                    };
                }
            }
            if self.seen.delivered.contains(&(line.from.id(), sent)) {
                self.awaited = match self.settings.partner {
                    Partner::EchoBot(_) => "an echo, though the relay took the message",
                    Partner::Account(_) => "its arrival, though the relay took the message",
                };
            }
            self.look().await?;
        }
    }

    /// Waits for an event, but not for long.
    async fn look(&mut self) -> Result<(), Why> {
        match timeout(LOOK, self.events.recv()).await {
            Ok(Some(event)) => self.seen.note(&event),
            Ok(None) => return Err(Error::Gone.into()),
            Err(_) => {}
        }
        let Some((account, message)) = self.seen.failed else {
            return Ok(());
        };
        let why = Account::known(self.rpc, account).message(message).await;
        let why = why.ok().and_then(|message| message.error);
        let why = why.unwrap_or_else(|| "core does not say why".to_owned());
        Err(Why::Failed(format!("the relay refused a message: {why}")))
    }
}

fn here(path: &Path, why: &io::Error) -> Why {
    Why::Failed(format!("{}: {why}", path.display()))
}

fn fill(bytes: &mut [u8]) -> Result<(), Why> {
    getrandom::fill(bytes).map_err(|why| Why::Failed(format!("no randomness: {why}")))
}

/// Nobody else says this.
fn random_word() -> Result<String, Why> {
    let mut bytes = [0; 12];
    fill(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests;
