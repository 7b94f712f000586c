//! One life of core: settings, login, and then one message after the other.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{debug, info, warn};

use super::answer::{Reply, reply_to};
use super::health::Health;
use super::mark::Mark;
use super::pause::Pause;
use super::state::{Readers, put_line};
use super::{Settings, Stopped};
use crate::deltachat::event::{Event, EventKind, events};
use crate::deltachat::{Account, Error, Message, Outgoing, Rpc, Transport};

/// Core keeps messages for so long, in seconds: long enough to answer them.
const KEEP: &str = "86400";

/// Larger messages, in bytes, are fetched after all others, and a file in a message of its own only when
/// the bot asks for it.
///
/// A large file comes in two messages: first the text, then the file. Core adds a file to its text, but
/// drops a text that it reads after the file; and to a bot it reads them as the relay stored them, which may
/// be the other way round, for a relay delivers several messages at once. Above the limit the order does not
/// matter, as long as both are in the mailbox. It is the lowest that user interfaces offer: core keeps the
/// message with the text below it. What can be compressed to less is fetched as it was stored.
const FETCH_LATER: &str = "163840";

/// Core's key for the [`Mark`].
const MARK: &str = "ui.chatmail.answering";

/// Core's key for what the avatar was made from.
const AVATAR: &str = "ui.chatmail.avatar";

/// How often a message is tried to be answered.
const TRIES: u32 = 3;

/// Messages that no event told of are found this often, and the link looked at.
const SWEEP: Duration = Duration::from_secs(60);

/// Why a session ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// Core did not answer the first question.
    Early(Error),
    /// Core ended later, or stopped answering.
    Later(Error),
    /// Only the operator can put it right.
    Wrong(String),
}

impl From<Error> for Ended {
    fn from(error: Error) -> Ended {
        Ended::Later(error)
    }
}

/// What is known as long as core lives.
pub(super) struct Session<'a> {
    settings: &'a Settings,
    account: Account,
    help: String,
    /// The number of the last answer.
    sent: u32,
    /// Answered, and not marked as seen yet.
    answered: BTreeSet<u32>,
    /// What was being answered when core ended, and was not.
    doubt: Option<Mark>,
    failures: HashMap<u32, u32>,
    health: Health,
}

impl<'a> Session<'a> {
    /// Runs until core ends or something is wrong. May be dropped at any time.
    pub(super) async fn run(settings: &'a Settings, transport: &Transport, rpc: &Rpc) -> Ended {
        let Err(ended) = Session::live(settings, transport, rpc).await;
        ended
    }

    async fn live(
        settings: &'a Settings,
        transport: &Transport,
        rpc: &Rpc,
    ) -> Result<std::convert::Infallible, Ended> {
        let system: Value = rpc
            .call("get_system_info", json!([]))
            .await
            .map_err(Ended::Early)?;
        let version = system["deltachat_core_version"].as_str().unwrap_or("?");
        info!("Delta Chat core {version}");
        let events = events(rpc);
        let mut session = Session {
            settings,
            account: Account::only(rpc).await?,
            help: help(&settings.domain),
            sent: 0,
            answered: BTreeSet::new(),
            doubt: None,
            failures: HashMap::new(),
            health: Health::default(),
        };
        session.configure().await?;
        session.log_in(transport).await?;
        session.recover().await?;
        session.account.start().await?;
        session.publish_link().await?;
        info!("ready");
        session.answer_until_the_end(events).await
    }

    async fn configure(&self) -> Result<(), Ended> {
        let wanted = [
            ("bot", "1"),
            ("displayname", self.settings.display_name.as_str()),
            ("delete_device_after", KEEP),
            ("download_limit", FETCH_LATER),
        ];
        for (key, value) in wanted {
            if self.account.config(key).await?.as_deref() != Some(value) {
                self.account.set_config(key, value).await?;
            }
        }
        match &self.settings.avatar {
            Some(path) => self.set_avatar(path).await,
            None => Ok(()),
        }
    }

    /// Sets the picture if the file is another than last time: everybody is sent a new one.
    async fn set_avatar(&self, path: &Path) -> Result<(), Ended> {
        let wrong = |why: &dyn std::fmt::Display| {
            Ended::Wrong(format!("--avatar {}: {why}", path.display()))
        };
        let full = fs::canonicalize(path).map_err(|why| wrong(&why))?;
        let found = fs::metadata(&full).map_err(|why: io::Error| wrong(&why))?;
        let source = format!("{} {} {}", full.display(), found.len(), found.mtime());
        if self.account.config(AVATAR).await?.as_ref() == Some(&source) {
            return Ok(());
        }
        let full = full.to_str().ok_or_else(|| wrong(&"is not UTF-8"))?;
        match self.account.set_config("selfavatar", full).await {
            Err(error) if !error.is_final() => return Err(wrong(&"is no picture")),
            result => result?,
        }
        Ok(self.account.set_config(AVATAR, &source).await?)
    }

    /// Logs in, unless core knows how already. A relay that does not answer is asked again.
    async fn log_in(&self, transport: &Transport) -> Result<(), Ended> {
        let known = self.account.transports().await?;
        if known.iter().any(|known| known.addr != transport.addr) {
            return Err(Ended::Wrong(format!(
                "{}: is the state of a bot with another address; give each its own --state-dir",
                self.settings.state_dir.display()
            )));
        }
        if known.first() == Some(transport) {
            return Ok(());
        }
        let mut pause = Pause::default();
        loop {
            match self.account.set_transport(transport).await {
                Err(error) if !error.is_final() => {
                    let pause = pause.after(Duration::ZERO);
                    warn!(
                        "cannot log in, trying again in {pause:?}: {}",
                        self.said(&error)
                    );
                    tokio::time::sleep(pause).await;
                }
                result => return Ok(result?),
            }
        }
    }

    /// What core said of a login. There is nobody's address in it but the bot's.
    fn said(&self, error: &Error) -> String {
        let words = error.words().unwrap_or_default();
        words
            .replace(&self.settings.address, "the bot")
            .replace('\n', " ")
    }

    /// Finds out whether the last answer was sent before core ended.
    async fn recover(&mut self) -> Result<(), Ended> {
        let text = self.account.config(MARK).await?.unwrap_or_default();
        let Ok(mark) = text.parse::<Mark>() else {
            return Ok(());
        };
        self.sent = mark.sent_before;
        let messages = match self.account.messages_of(mark.chat).await {
            // The chat may be gone.
            Err(error) if !error.is_final() => Vec::new(),
            result => result?,
        };
        let mut answered = false;
        for id in messages.into_iter().filter(|id| *id > mark.sent_before) {
            if self.account.message(id).await?.is_ours() {
                answered = true;
                self.sent = self.sent.max(id);
            }
        }
        match answered {
            true => drop(self.answered.insert(mark.message)),
            false => self.doubt = Some(mark),
        }
        Ok(())
    }

    async fn publish_link(&self) -> Result<(), Ended> {
        let link = self.account.invite_link().await?;
        put_line(&self.settings.invite_link_file(), &link, Readers::Owner)
            .map_err(|why| Ended::Wrong(Stopped::State(why).to_string()))?;
        if let Some(path) = &self.settings.link_file
            && let Err(why) = put_line(path, &link, Readers::All)
        {
            warn!("cannot write the invite link: {why}");
        }
        Ok(())
    }

    async fn answer_until_the_end(
        &mut self,
        mut events: mpsc::Receiver<Event>,
    ) -> Result<std::convert::Infallible, Ended> {
        let mut sweeps = interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                event = events.recv() => match event.map(|event| event.kind) {
                    // A text whose file is still at the relay is but a change.
                    Some(EventKind::IncomingMsg { .. } | EventKind::MsgsChanged) => {
                        self.answer_all().await?;
                    }
                    Some(EventKind::MsgFailed { msg_id, .. }) => {
                        warn!(id = msg_id, "the relay did not take an answer");
                    }
                    Some(EventKind::ConnectivityChanged) => self.look_after_connection().await?,
                    Some(_) => {}
                    None => return Err(Error::Gone.into()),
                },
                _ = sweeps.tick() => {
                    self.answer_all().await?;
                    self.look_after_connection().await?;
                    self.publish_link().await?;
                }
            }
        }
    }

    async fn look_after_connection(&mut self) -> Result<(), Error> {
        let connectivity = self.account.connectivity().await?;
        self.health.is(connectivity, Instant::now());
        Ok(())
    }

    /// Answers what was not answered yet, in the order in which it came.
    async fn answer_all(&mut self) -> Result<(), Error> {
        for id in self.account.fresh_messages().await? {
            match self.handle(id).await {
                Err(error) if error.is_final() => return Err(error),
                Err(error) => self.note_failure(id, &error).await?,
                Ok(()) => {}
            }
        }
        Ok(())
    }

    async fn handle(&mut self, id: u32) -> Result<(), Error> {
        if !self.answered.contains(&id) {
            let message = self.account.message(id).await?;
            let chat = self.account.chat(message.chat_id).await?;
            match reply_to(&message, &chat, &self.help) {
                Reply::Fetch => return self.account.download(id).await,
                Reply::Wait => return Ok(()),
                Reply::Ignore(why) => debug!(id, "not answered: {why}"),
                Reply::Send(answer) => {
                    if chat.is_contact_request {
                        self.account.accept(chat.id).await?;
                    }
                    self.answer(&message, &answer).await?;
                }
            }
        }
        self.account.mark_seen(id).await?;
        self.answered.remove(&id);
        self.failures.remove(&id);
        Ok(())
    }

    async fn answer(&mut self, message: &Message, answer: &Outgoing) -> Result<(), Error> {
        let tries = match self.doubt.take() {
            Some(doubt) if doubt.message == message.id => doubt.tries + 1,
            _ => 0,
        };
        if tries >= TRIES {
            warn!(id = message.id, "not answered: core ended each time");
            return Ok(());
        }
        let mark = Mark {
            message: message.id,
            chat: message.chat_id,
            sent_before: self.sent,
            tries,
        };
        self.account.set_config(MARK, &mark.to_string()).await?;
        self.sent = self.account.send(message.chat_id, answer).await?;
        self.answered.insert(message.id);
        debug!(id = message.id, answer = self.sent, "answered");
        Ok(())
    }

    /// Leaves a message for later, or for good after some tries.
    async fn note_failure(&mut self, id: u32, error: &Error) -> Result<(), Error> {
        let failures = self.failures.entry(id).or_default();
        *failures += 1;
        if *failures < TRIES {
            debug!(id, "not answered yet: {error}");
            return Ok(());
        }
        warn!(id, "not answered: {error}");
        self.failures.remove(&id);
        match self.account.mark_seen(id).await {
            Err(error) if error.is_final() => Err(error),
            // It will be tried again, and told again.
            _ => Ok(()),
        }
    }
}

/// What `/help` is answered with.
fn help(domain: &str) -> String {
    format!(
        "I am the echo bot of the chatmail relay {domain}. Whatever you send me in this chat, text or file, \
         comes back as it is: so you see that messages travel both ways. I answer in chats of two only, \
         and forget everything after a day.\n\n/help shows this."
    )
}
