//! What the bot says to a message, and to which it says nothing.

use crate::deltachat::{Chat, ChatKind, Message, Outgoing};

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// This is sent to its chat.
    Send(Outgoing),
    /// Nothing; the word is for the log.
    Ignore(&'static str),
    /// Its attachment is still at the relay: to be asked for.
    Fetch,
    /// Its attachment is on its way: look again when it is here.
    Wait,
}

/// Decides, knowing `help`, what `/help` is answered with.
///
/// A bot that answered bots, mailing lists or what core itself writes would talk to itself for ever.
/// In a group everybody would get everything twice.
pub(super) fn reply_to(message: &Message, chat: &Chat, help: &str) -> Reply {
    if !message.is_from_a_contact() || message.is_info {
        return Reply::Ignore("not from a contact");
    }
    if message.is_bot || message.sender.is_bot {
        return Reply::Ignore("from a bot");
    }
    if chat.chat_type != ChatKind::Single || chat.is_self_talk || chat.is_device_chat {
        return Reply::Ignore("not from a chat of two");
    }
    match message.download_state.as_str() {
        "Done" => {}
        "Undecipherable" => return Reply::Ignore("not decipherable"),
        // After a failure core does not try again by itself.
        "Available" | "Failure" => return Reply::Fetch,
        _ => return Reply::Wait,
    }
    if !message.show_padlock {
        return Reply::Ignore("not encrypted");
    }
    if message.view_type == "Call" {
        return Reply::Ignore("a call");
    }
    if message.text.trim().eq_ignore_ascii_case("/help") {
        return Reply::Send(text(help));
    }
    echo(message)
}

fn text(text: &str) -> Outgoing {
    Outgoing {
        text: Some(text.to_owned()),
        ..Outgoing::default()
    }
}

fn echo(message: &Message) -> Reply {
    let Some(file) = &message.file else {
        return match message.text.is_empty() {
            true => Reply::Ignore("empty"),
            false => Reply::Send(text(&message.text)),
        };
    };
    // Core tells most kinds from the file, but not what the sender meant a sound or a picture to be.
    let viewtype = match message.view_type.as_str() {
        kind @ ("Voice" | "Sticker") => Some(kind.to_owned()),
        _ => None,
    };
    Reply::Send(Outgoing {
        text: Some(message.text.clone()).filter(|text| !text.is_empty()),
        viewtype,
        file: Some(file.clone()),
        filename: message.file_name.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deltachat::account::Contact;

    const HELP: &str = "Help yourself.";

    fn from_bob(text: &str) -> Message {
        Message {
            id: 12,
            chat_id: 11,
            from_id: 10,
            text: text.to_owned(),
            view_type: "Text".to_owned(),
            download_state: "Done".to_owned(),
            show_padlock: true,
            ..Message::default()
        }
    }

    fn with_bob() -> Chat {
        Chat {
            id: 11,
            chat_type: ChatKind::Single,
            is_contact_request: false,
            is_self_talk: false,
            is_device_chat: false,
            is_encrypted: true,
        }
    }

    fn reply(message: &Message) -> Reply {
        reply_to(message, &with_bob(), HELP)
    }

    #[track_caller]
    fn assert_ignored(why: &str, change: impl FnOnce(&mut Message, &mut Chat)) {
        let (mut message, mut chat) = (from_bob("Hello"), with_bob());
        change(&mut message, &mut chat);
        match reply_to(&message, &chat, HELP) {
            Reply::Ignore(word) => assert_eq!(word, why),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_text_comes_back_as_it_is() {
        for words in ["Hello", " two\nlines ", "/helpful", "🐘"] {
            assert_eq!(reply(&from_bob(words)), Reply::Send(text(words)));
        }
    }

    #[test]
    fn a_file_comes_back_with_its_name_and_its_text() {
        let mut message = from_bob("see here");
        message.view_type = "File".to_owned();
        message.file = Some("/var/lib/bot/blobs/0123.pdf".to_owned());
        message.file_name = Some("report.pdf".to_owned());
        let expected = Outgoing {
            text: Some("see here".to_owned()),
            viewtype: None,
            file: message.file.clone(),
            filename: message.file_name.clone(),
        };
        assert_eq!(reply(&message), Reply::Send(expected.clone()));

        message.text.clear();
        message.view_type = "Voice".to_owned();
        let expected = Outgoing {
            text: None,
            viewtype: Some("Voice".to_owned()),
            ..expected
        };
        assert_eq!(reply(&message), Reply::Send(expected));
    }

    #[test]
    fn help_is_asked_for_in_any_case() {
        for words in ["/help", "/HELP", " /Help\n"] {
            assert_eq!(reply(&from_bob(words)), Reply::Send(text(HELP)));
        }
    }

    #[test]
    fn a_file_at_the_relay_is_asked_for_and_one_on_its_way_is_waited_for() {
        for (state, expected) in [
            ("Available", Reply::Fetch),
            ("Failure", Reply::Fetch),
            ("InProgress", Reply::Wait),
        ] {
            let mut message = from_bob("see here");
            message.download_state = state.to_owned();
            assert_eq!(reply(&message), expected, "{state}");
        }
    }

    #[test]
    fn nobody_has_a_file_fetched_that_will_not_go_back() {
        for change in [
            (|message, _| message.is_bot = true) as fn(&mut Message, &mut Chat),
            |message, _| message.is_info = true,
            |_, chat| chat.chat_type = ChatKind::Group,
        ] {
            let (mut message, mut chat) = (from_bob("see here"), with_bob());
            message.download_state = "Available".to_owned();
            change(&mut message, &mut chat);
            let reply = reply_to(&message, &chat, HELP);
            assert!(matches!(reply, Reply::Ignore(_)), "{reply:?}");
        }
    }

    #[test]
    fn nothing_is_said_to_bots_lists_groups_and_what_core_writes() {
        assert_ignored("from a bot", |message, _| message.is_bot = true);
        assert_ignored("from a bot", |message, _| {
            message.sender = Contact { is_bot: true };
        });
        for special in [1, 2, 5, 9] {
            assert_ignored("not from a contact", |message, _| message.from_id = special);
        }
        assert_ignored("not from a contact", |message, _| message.is_info = true);
        for kind in [ChatKind::Group, ChatKind::Other] {
            assert_ignored("not from a chat of two", |_, chat| chat.chat_type = kind);
        }
        assert_ignored("not from a chat of two", |_, chat| chat.is_self_talk = true);
        assert_ignored("not from a chat of two", |_, chat| {
            chat.is_device_chat = true;
        });
        assert_ignored("not encrypted", |message, _| message.show_padlock = false);
        assert_ignored("empty", |message, _| message.text.clear());
        assert_ignored("a call", |message, _| message.view_type = "Call".to_owned());
        assert_ignored("not decipherable", |message, _| {
            message.download_state = "Undecipherable".to_owned();
        });
    }
}
