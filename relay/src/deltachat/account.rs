//! What one account can be asked. Method names and fields are core's, of 2.65.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Error, Rpc};

/// Contacts up to this number are no people: 1 is oneself, 2 what core says, 5 the device.
const LAST_SPECIAL_CONTACT: u32 = 9;

/// Oneself, as a contact.
const SELF: u32 = 1;

/// One account of a server.
#[derive(Debug, Clone)]
pub struct Account {
    rpc: Rpc,
    id: u32,
}

/// Where an account gets and sends its mail. A field that is `None` is for core to find out.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Transport {
    /// `localpart@domain`.
    pub addr: String,
    /// For IMAP and SMTP.
    pub password: String,
    /// Host name or address.
    pub imap_server: Option<String>,
    /// TCP.
    pub imap_port: Option<u16>,
    /// `ssl`, `starttls` or `plain`.
    pub imap_security: Option<String>,
    /// Host name or address.
    pub smtp_server: Option<String>,
    /// TCP.
    pub smtp_port: Option<u16>,
    /// As for IMAP.
    pub smtp_security: Option<String>,
    /// `strict` or `acceptInvalidCertificates`.
    pub certificate_checks: Option<String>,
}

impl fmt::Debug for Transport {
    /// Without the password: this ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transport").finish_non_exhaustive()
    }
}

/// A message, as far as somebody here asks. `Debug` leaves out what people write.
#[derive(Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Message {
    /// Its number, greater than those of older ones.
    pub id: u32,
    /// The chat it is in.
    pub chat_id: u32,
    /// The contact it is from, see [`Message::is_from_a_contact`].
    pub from_id: u32,
    /// What it says; may be empty.
    pub text: String,
    /// `Text`, `File`, `Image`, `Voice`, `Call` and so on.
    pub view_type: String,
    /// `Done` if it is here with all its parts.
    pub download_state: String,
    /// Encrypted, and signed by its author.
    pub show_padlock: bool,
    /// Core wrote it, of a change to the chat for example.
    pub is_info: bool,
    /// A program wrote it.
    pub is_bot: bool,
    /// The path of its attachment, in the account's directory.
    pub file: Option<String>,
    /// The attachment's name.
    pub file_name: Option<String>,
    /// Why it could not be sent, in words of core or of the relay.
    pub error: Option<String>,
    /// Who sent it.
    pub sender: Contact,
}

impl Message {
    /// Whether somebody else wrote it, and not core itself.
    pub fn is_from_a_contact(&self) -> bool {
        self.from_id > LAST_SPECIAL_CONTACT
    }

    /// Whether we wrote it.
    pub fn is_ours(&self) -> bool {
        self.from_id == SELF && !self.is_info
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("view_type", &self.view_type)
            .finish_non_exhaustive()
    }
}

/// The author of a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Contact {
    /// A program.
    pub is_bot: bool,
}

/// A chat, as far as somebody here asks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Chat {
    /// Its number.
    pub id: u32,
    /// With whom.
    pub chat_type: ChatKind,
    /// Nobody has accepted it yet.
    pub is_contact_request: bool,
    /// With oneself.
    pub is_self_talk: bool,
    /// With core.
    pub is_device_chat: bool,
    /// Nothing in it is ever sent in cleartext.
    pub is_encrypted: bool,
}

/// With whom a chat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum ChatKind {
    /// One other.
    Single,
    /// Some.
    Group,
    /// A mailing list, a channel, or what later versions of core know.
    #[serde(other)]
    Other,
}

/// A message to send.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outgoing {
    /// What it says.
    pub text: Option<String>,
    /// Without it, core looks at the attachment.
    pub viewtype: Option<String>,
    /// The path of an attachment, which is copied.
    pub file: Option<String>,
    /// Its name.
    pub filename: Option<String>,
}

impl fmt::Debug for Outgoing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outgoing").finish_non_exhaustive()
    }
}

/// What every method here may fail with: [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

impl Account {
    /// The first account there is; a new one if there is none.
    pub async fn only(rpc: &Rpc) -> Result<Account> {
        let ids: Vec<u32> = rpc.call("get_all_account_ids", json!([])).await?;
        match ids.first() {
            Some(id) => Ok(Account::known(rpc, *id)),
            None => Account::add(rpc).await,
        }
    }

    /// The account of an event.
    pub fn known(rpc: &Rpc, id: u32) -> Account {
        let rpc = rpc.clone();
        Account { rpc, id }
    }

    /// A new account.
    pub async fn add(rpc: &Rpc) -> Result<Account> {
        let id = rpc.call("add_account", json!([])).await?;
        Ok(Account::known(rpc, id))
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// A setting; `None` if it was never set.
    pub async fn config(&self, key: &str) -> Result<Option<String>> {
        self.rpc.call("get_config", json!([self.id, key])).await
    }

    /// Changes a setting. Keys that begin with `ui.` are ours to choose; they are kept with the messages,
    /// and in the same order as changes to those.
    pub async fn set_config(&self, key: &str, value: &str) -> Result<()> {
        let params = json!([self.id, key, value]);
        self.rpc.call("set_config", params).await
    }

    /// Where it gets and sends mail; none in a new account.
    pub async fn transports(&self) -> Result<Vec<Transport>> {
        self.rpc.call("list_transports", json!([self.id])).await
    }

    /// Sets where it gets and sends mail, after a login to both that succeeded.
    pub async fn set_transport(&self, transport: &Transport) -> Result<()> {
        let params = json!([self.id, transport]);
        self.rpc.call("add_or_update_transport", params).await
    }

    /// Starts getting and sending mail.
    pub async fn start(&self) -> Result<()> {
        self.rpc.call("start_io", json!([self.id])).await
    }

    /// Below 2000 there is no connection, below 3000 it is being made.
    pub async fn connectivity(&self) -> Result<u32> {
        self.rpc.call("get_connectivity", json!([self.id])).await
    }

    /// The link by which others get to know this account. The same as long as the account lives.
    pub async fn invite_link(&self) -> Result<String> {
        let params = json!([self.id, Value::Null]);
        self.rpc.call("get_chat_securejoin_qr_code", params).await
    }

    /// The numbers of the messages that were not marked as seen yet, the oldest first.
    pub async fn fresh_messages(&self) -> Result<Vec<u32>> {
        let mut fresh: Vec<u32> = self.rpc.call("get_fresh_msgs", json!([self.id])).await?;
        fresh.sort_unstable();
        Ok(fresh)
    }

    /// One message.
    pub async fn message(&self, id: u32) -> Result<Message> {
        self.rpc.call("get_message", json!([self.id, id])).await
    }

    /// One chat.
    pub async fn chat(&self, id: u32) -> Result<Chat> {
        let params = json!([self.id, id]);
        self.rpc.call("get_basic_chat_info", params).await
    }

    /// The numbers of all messages of a chat.
    pub async fn messages_of(&self, chat: u32) -> Result<Vec<u32>> {
        let params = json!([self.id, chat, false, false]);
        self.rpc.call("get_message_ids", params).await
    }

    /// Accepts what somebody wrote who was unknown.
    pub async fn accept(&self, chat: u32) -> Result<()> {
        self.rpc.call("accept_chat", json!([self.id, chat])).await
    }

    /// Follows an invitation; returns the chat.
    pub async fn join(&self, link: &str) -> Result<u32> {
        self.rpc.call("secure_join", json!([self.id, link])).await
    }

    /// Sends a message, as soon as there is a connection; returns its number.
    pub async fn send(&self, chat: u32, message: &Outgoing) -> Result<u32> {
        let params = json!([self.id, chat, message]);
        self.rpc.call("send_msg", params).await
    }

    /// Has the attachment of a message fetched.
    pub async fn download(&self, message: u32) -> Result<()> {
        let params = json!([self.id, message]);
        self.rpc.call("download_full_message", params).await
    }

    /// Marks a message as seen.
    pub async fn mark_seen(&self, message: u32) -> Result<()> {
        let params = json!([self.id, [message]]);
        self.rpc.call("markseen_msgs", params).await
    }
}
