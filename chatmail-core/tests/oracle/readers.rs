//! What mail-parser makes of a message that passed.

use chatmail_core::filter::{Accepted, Class, Direction};
use mail_parser::{
    Address, HeaderName, Message, MessageParser, MessagePart, MimeHeaders, PartType,
};

use super::{SENDER, armor};

pub(super) fn mail_parser_agrees(
    direction: Direction,
    message: &[u8],
    accepted: &Accepted,
) -> Result<(), String> {
    let parsed = MessageParser::default()
        .parse(message)
        .ok_or("mail-parser: no message at all")?;
    leaves(direction, &parsed, accepted.class)?;
    header(direction, &parsed, accepted)
}

/// Checks that mail-parser finds an encrypted message and nothing else.
pub(super) fn encrypted_only(direction: Direction, message: &[u8]) -> Result<(), String> {
    let parsed = MessageParser::default()
        .parse(message)
        .ok_or("mail-parser: no message at all")?;
    leaves(direction, &parsed, Class::Encrypted)
}

fn leaves(direction: Direction, parsed: &Message<'_>, class: Class) -> Result<(), String> {
    let (root, leaves) = parsed.parts.split_first().ok_or("mail-parser: no part")?;
    let PartType::Multipart(children) = &root.body else {
        return Err(format!("mail-parser: no multipart but {:?}", root.body));
    };
    if children.len() != leaves.len() {
        return Err("mail-parser: parts inside of parts".to_owned());
    }
    for leaf in leaves {
        let name = leaf.attachment_name().unwrap_or_default();
        let exchange = [
            "PGPMIME version identification",
            "PGPMIME Versions Identification",
        ];
        let exchange = exchange
            .iter()
            .any(|known| name.eq_ignore_ascii_case(known));
        let exchange = exchange && direction == Direction::Incoming;
        if name.len() > 40 || name.contains([' ', '\n']) && !exchange {
            return Err(format!("mail-parser: a file name of {name:?}"));
        }
    }
    match (class, leaves) {
        (Class::Encrypted, [version, encrypted]) => {
            if text(version)?.trim() != "Version: 1" {
                return Err(format!("mail-parser: first part {:?}", text(version)));
            }
            armor::is_message(direction, text(encrypted)?)
        }
        (Class::SecureJoinRequest, [request]) => {
            let PartType::Text(text) = &request.body else {
                return Err(format!("mail-parser: {:?}", request.body));
            };
            let line = text.trim().to_ascii_lowercase();
            match line.as_str() {
                "secure-join: vc-request" | "secure-join: vg-request" => Ok(()),
                _ => Err(format!("mail-parser: the request reads {line:?}")),
            }
        }
        _ => Err(format!("mail-parser: {} parts", leaves.len())),
    }
}

/// Checks that mail-parser finds a delivery report in which nothing is readable but a short text,
/// fields and a header.
pub(super) fn is_report(message: &[u8]) -> Result<(), String> {
    let parsed = MessageParser::default()
        .parse(message)
        .ok_or("mail-parser: no message at all")?;
    let (root, parts) = parsed.parts.split_first().ok_or("mail-parser: no part")?;
    let PartType::Multipart(children) = &root.body else {
        return Err(format!("mail-parser: no multipart but {:?}", root.body));
    };
    if children.len() != parts.len() {
        return Err("mail-parser: parts inside of parts".to_owned());
    }
    let [text, status, returned @ ..] = parts else {
        return Err(format!("mail-parser: {} parts", parts.len()));
    };
    let PartType::Text(text) = &text.body else {
        return Err(format!("mail-parser: the text is {:?}", text.body));
    };
    if text.chars().count() > 4096 {
        return Err(format!("mail-parser: a text of {} bytes", text.len()));
    }
    is_short(status, 8192)?;
    match returned {
        [] => Ok(()),
        [returned] => match &returned.body {
            PartType::Message(nested) => is_returned(nested),
            _ => is_short(returned, 32 * 1024),
        },
        _ => Err(format!("mail-parser: {} parts", parts.len())),
    }
}

fn is_short(part: &MessagePart<'_>, most: usize) -> Result<(), String> {
    let short = match &part.body {
        PartType::Text(text) => text.len() <= most,
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => bytes.len() <= most,
        _ => false,
    };
    match short {
        true => Ok(()),
        false => Err(format!("mail-parser: a part reads {:?}", part.body)),
    }
}

/// A returned message is encrypted, or a Secure-Join request, or has no body.
fn is_returned(nested: &Message<'_>) -> Result<(), String> {
    let blank = nested.parts.iter().all(|part| match &part.body {
        PartType::Text(text) => text.trim().is_empty(),
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => bytes.trim_ascii().is_empty(),
        PartType::Multipart(children) => children.is_empty(),
        _ => false,
    });
    if blank || leaves(Direction::Incoming, nested, Class::SecureJoinRequest).is_ok() {
        return Ok(());
    }
    leaves(Direction::Incoming, nested, Class::Encrypted)
}

/// The content of an attachment.
fn text<'a>(part: &'a MessagePart<'_>) -> Result<&'a str, String> {
    match &part.body {
        PartType::Binary(bytes) | PartType::InlineBinary(bytes) => {
            std::str::from_utf8(bytes).map_err(|_| "mail-parser: 8-bit bytes in a part".to_owned())
        }
        shown => Err(format!("mail-parser: shows a part: {shown:?}")),
    }
}

fn header(direction: Direction, parsed: &Message<'_>, accepted: &Accepted) -> Result<(), String> {
    for name in [HeaderName::From, HeaderName::ContentType] {
        let count = parsed.headers().iter().filter(|field| field.name == name);
        if count.count() != 1 {
            return Err(format!("mail-parser: not one {}", name.as_str()));
        }
    }
    let authors = match parsed.from() {
        Some(Address::List(list)) => list.iter().collect(),
        // mail-parser takes the colon of a bare IPv6 literal for the end of a group's name.
        Some(Address::Group(_)) if accepted.author.contains(':') => return Ok(()),
        Some(Address::Group(_)) => return Err("mail-parser: From is a group".to_owned()),
        None => Vec::new(),
    };
    let [author] = authors[..] else {
        return Err(format!("mail-parser: From has {authors:?}"));
    };
    let author = bare(author.address.as_deref().unwrap_or_default());
    let ours = direction == Direction::Incoming || author.eq_ignore_ascii_case(SENDER);
    if author != accepted.author || !ours {
        return Err(format!("mail-parser: From is {author:?}"));
    }
    Ok(())
}

/// An address as mail-parser finds it, less the blanks around the `@` and the quotes around the
/// localpart, which mail-parser keeps.
fn bare(address: &str) -> String {
    let Some((localpart, domain)) = address.rsplit_once('@') else {
        return address.to_owned();
    };
    let localpart = localpart.trim_end_matches([' ', '\t']);
    let quoted = localpart
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    let domain = domain.trim_start_matches([' ', '\t']);
    format!("{}@{domain}", quoted.unwrap_or(localpart))
}
