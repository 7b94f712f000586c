//! What core tells unasked.

use std::fmt;

use serde::Deserialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::Rpc;

/// Events that wait for whoever takes them.
const WAITING: usize = 256;

/// Something happened to an account.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// The account.
    #[serde(rename = "contextId")]
    pub account: u32,
    /// What happened.
    #[serde(rename = "event")]
    pub kind: EventKind,
}

/// What happened. Core knows many more; what nobody here waits for is [`EventKind::Other`].
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "kind", rename_all_fields = "camelCase")]
pub enum EventKind {
    /// A message has come, all of it.
    IncomingMsg {
        /// Its chat.
        chat_id: u32,
        /// The message.
        msg_id: u32,
    },
    /// Messages have changed, or come in part.
    MsgsChanged,
    /// The relay has taken a message of ours.
    MsgDelivered {
        /// Its chat.
        chat_id: u32,
        /// The message.
        msg_id: u32,
    },
    /// The relay will not take a message of ours.
    MsgFailed {
        /// Its chat.
        chat_id: u32,
        /// The message.
        msg_id: u32,
    },
    /// An invitation of ours is being followed: 1000 is the end.
    SecurejoinInviterProgress {
        /// Who follows it.
        contact_id: u32,
        /// In thousandths.
        progress: u16,
    },
    /// We follow an invitation: 1000 is the end, 0 a failure.
    SecurejoinJoinerProgress {
        /// Who invited.
        contact_id: u32,
        /// In thousandths.
        progress: u16,
    },
    /// The connection to the relay came or went.
    ConnectivityChanged,
    /// Nothing to fetch: the client waits for mail.
    ImapInboxIdle,
    /// Something did not work, and may be tried again.
    Warning {
        /// What, and why.
        msg: Words,
    },
    /// Anything else.
    #[serde(other)]
    Other,
}

/// Core's own words, which may hold addresses and content: they stay out of `Debug`.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Words(String);

impl Words {
    /// Without the place in core's source that they begin with.
    pub fn text(&self) -> &str {
        let place = self.0.strip_prefix("src/");
        let rest = place.and_then(|place| place.split_once(": "));
        rest.map_or(self.0.as_str(), |(_, text)| text)
    }
}

impl fmt::Debug for Words {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Words")
    }
}

/// The events of all accounts, from now on, but [`EventKind::Other`]. The channel ends when the other side
/// has gone. Core keeps events only for one who asks: to be called once for each server.
pub fn events(rpc: &Rpc) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(WAITING);
    let rpc = rpc.clone();
    tokio::spawn(async move {
        while let Ok(batch) = rpc
            .wait::<Vec<Event>>("get_next_event_batch", json!([]))
            .await
        {
            for event in batch {
                if event.kind != EventKind::Other && sender.send(event).await.is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_warning_are_shown_to_who_asks_and_begin_with_no_place_in_the_source() {
        for (msg, text) in [
            (
                "src/smtp/connect.rs:132: no route: to a@b",
                "no route: to a@b",
            ),
            ("no route: to a@b", "no route: to a@b"),
        ] {
            let event = json!({"contextId": 1, "event": {"kind": "Warning", "msg": msg}});
            let event: Event = serde_json::from_value(event).unwrap();
            assert!(!format!("{event:?}").contains("a@b"));
            match event.kind {
                EventKind::Warning { msg } => assert_eq!(msg.text(), text),
                other => panic!("{other:?}"),
            }
        }
    }
}
