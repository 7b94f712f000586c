//! A plain reading of a message that passed, line by line: every line is one of a few kinds.
//!
//! It knows less of MIME than the check does, so it also sees what a reader might that splits the
//! message at other places.

use chatmail_core::filter::{Accepted, Class, Direction, HeaderEdit};

/// Fields in the header of a part, lower case.
const PART_FIELDS: [&str; 8] = [
    "content-type:",
    "content-description:",
    "content-disposition:",
    "content-transfer-encoding:",
    "mime-version:",
    "content-id:",
    "x-attachment-id:",
    "x-att-id:",
];

pub(super) fn account_for_every_line(
    direction: Direction,
    message: &[u8],
    class: Class,
) -> Result<(), String> {
    let text: Vec<u8> = message
        .iter()
        .filter(|&&byte| byte != b'\r')
        .copied()
        .collect();
    if message
        .windows(2)
        .any(|pair| pair[0] == b'\r' && pair[1] != b'\n')
    {
        return Err("lines: CR alone".to_owned());
    }
    let control = |byte: &u8| (*byte < b' ' && !b"\t\n".contains(byte)) || *byte == 0x7f;
    if text.iter().any(control) {
        return Err("lines: a control character".to_owned());
    }
    let (header, body) = match text.windows(2).position(|pair| pair == b"\n\n") {
        Some(at) => (&text[..at], &text[at + 2..]),
        None => return Err("lines: no body".to_owned()),
    };
    for line in header.split(|&byte| byte == b'\n') {
        let field = line.contains(&b':');
        if !field && !line.starts_with(b" ") && !line.starts_with(b"\t") {
            return Err("lines: a header line without a colon".to_owned());
        }
    }
    let body = std::str::from_utf8(body).map_err(|_| "lines: 8-bit bytes in the body")?;
    let mut blank = 0;
    let mut seen = [0_u32; 4];
    // `Version: 1` cannot be seen then.
    let mut base64 = false;
    // Armor of incoming mail may have any header.
    let headers = direction == Direction::Incoming && class == Class::Encrypted;
    for line in body.lines() {
        let line = line.trim_end_matches([' ', '\t']);
        let lower = line.to_ascii_lowercase();
        let kind = if line.is_empty() {
            blank += 1;
            continue;
        } else if line.starts_with("--") {
            if line.len() > 80 {
                return Err(format!("lines: a delimiter of {} bytes", line.len()));
            }
            continue;
        } else if line.trim() == "Version: 1" {
            0
        } else if !headers
            && (lower.trim() == "secure-join: vc-request"
                || lower.trim() == "secure-join: vg-request")
        {
            1
        } else if line.starts_with("This ") && direction == Direction::Incoming && line.len() < 65 {
            2
        } else if PART_FIELDS.iter().any(|field| lower.starts_with(field))
            || line.starts_with([' ', '\t'])
        {
            if line.len() > 512 {
                return Err("lines: a long field in a part".to_owned());
            }
            base64 |= direction == Direction::Incoming && lower.contains("base64");
            continue;
        } else if line
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"+/=".contains(&b))
        {
            3
        } else if headers && line.contains(':') {
            // A header line of the armor: looked at where armor is read.
            continue;
        } else {
            return Err(format!("lines: {line:?}"));
        };
        seen[kind] += 1;
    }
    let sound = match class {
        // The armor of incoming mail may say it again.
        Class::Encrypted => {
            matches!(seen, [0..=2, 0, 0..=1, 1..=u32::MAX]) && (seen[0] > 0 || base64)
        }
        _ => matches!(seen, [0, 1, 0..=1, 0]),
    };
    let most = match direction {
        Direction::Outgoing => 60,
        // At each of seven places, and those that end a header.
        Direction::Incoming => 7 * 32 + 4,
    };
    match sound && blank <= most {
        true => Ok(()),
        false => Err(format!("lines: {seen:?} of each kind, {blank} empty")),
    }
}

/// Checks that nothing of an outgoing header speaks after the edits that should not: Subject is
/// `[...]`, and fields that tell of the sender's host and program are gone.
pub(super) fn edits_are_complete(message: &[u8], accepted: &Accepted) -> Result<(), String> {
    let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
    let (header, _) = text.split_once("\n\n").ok_or("lines: no body")?;
    let begins = |line: &&str| !line.starts_with([' ', '\t']);
    let fields = header.split('\n').filter(begins);
    let fields: Vec<(String, &str)> = fields
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value))
        .collect();
    let deleted = |name: &str| {
        let edits = accepted.edits.iter();
        edits
            .filter(|edit| matches!(edit, HeaderEdit::Delete { name: gone, .. } if gone == name))
            .count()
    };
    let replaced = accepted.edits.iter().any(|edit| {
        matches!(edit, HeaderEdit::Replace { name, index: 1, value }
            if name.eq_ignore_ascii_case("subject") && value == "[...]")
    });
    for (name, value) in &fields {
        let count = fields.iter().filter(|(other, _)| other == name).count();
        let stays = count - deleted(name).min(count);
        let private = [
            "received",
            "user-agent",
            "comments",
            "keywords",
            "dkim-signature",
        ];
        let private = private.contains(&&**name) || name.starts_with("x-");
        if private && stays > 0 {
            return Err(format!("lines: {name} stays"));
        }
        if name == "subject" {
            // The first one stays.
            let first = fields.iter().find(|(other, _)| other == name);
            let right = first.is_some_and(|(_, value)| value.trim() == "[...]");
            if stays != 1 || !(right || replaced) {
                return Err(format!("lines: Subject stays {value:?}"));
            }
        }
    }
    Ok(())
}
