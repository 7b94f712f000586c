//! What each rule means, and where to look: for people who did not read the grammar.

use chatmail_core::filter::{Class, Direction, Reason};

/// The rule in one sentence, and what to look at.
pub(super) struct Explanation {
    pub(super) rule: &'static str,
    pub(super) look: &'static str,
}

const fn rule(rule: &'static str, look: &'static str) -> Option<Explanation> {
    Some(Explanation { rule, look })
}

/// `None`: the filter knows a rule that is not explained here yet.
pub(super) fn explain(reason: &Reason, direction: Direction) -> Option<Explanation> {
    let outgoing = direction == Direction::Outgoing;
    match reason {
        Reason::NotLoggedIn => rule(
            "A client logs in before it sends mail.",
            "A program without a password for this account, or another host that delivers to a submission port instead of port 25.",
        ),
        Reason::SenderMismatch { .. } => rule(
            "The envelope sender is the address that the user has logged in as.",
            "Another account, another spelling of the address, or a detail behind a `+`.",
        ),
        Reason::InvalidFrom(_) => rule(
            "There is exactly one From field, with exactly one plain address in it.",
            "Lists, groups, comments before the address, quoted localparts and empty fields are read differently by different programs.",
        ),
        Reason::FromMismatch { .. } => rule(
            "The address in From is the envelope sender.",
            "A program that sends for several accounts has to log in with the one in From.",
        ),
        Reason::HeaderTooLarge => rule(
            "The header has at most 256 fields and 128 KiB, one field at most 32 KiB and its name 76 bytes.",
            "Mostly a field that grew on the way, such as References or a long list of recipients.",
        ),
        Reason::NotEncrypted if outgoing => rule(
            "Outgoing mail is OpenPGP/MIME: Content-Type multipart/encrypted with protocol application/pgp-encrypted.",
            "The message is cleartext, inline PGP or S/MIME, or only signed: the sender's program did not encrypt.",
        ),
        Reason::NotEncrypted => rule(
            "Incoming mail is OpenPGP/MIME, unless every recipient's mailbox accepts cleartext, or it is a delivery report: Content-Type multipart/report with report-type=delivery-status and a plain boundary.",
            "The message is cleartext, inline PGP or S/MIME, or only signed. Whether recipients accept cleartext is asked with --config and --recipient.",
        ),
        Reason::HeaderField => rule(
            "Each field of the header is `name: value`, without control characters, as long as its kind needs and once where it may stand once.",
            "A line without a colon, a second Content-Type or MIME-Version, or free text in a field that holds one word.",
        ),
        Reason::HeaderLine => rule(
            "A line of a field that stays has at most 998 bytes, its name included (RFC 5322 section 2.1.1).",
            "A long To or Cc that is not folded. Postfix would fold the line after the message is signed.",
        ),
        Reason::ContentType => rule(
            "A Content-Type is read in one way by every program, and has only the parameters it needs.",
            "Comments, encoded words, repeated or split parameters, values that lack their quotes, a boundary with odd characters, a charset that is not ASCII or UTF-8.",
        ),
        Reason::TransferEncoding => rule(
            "Content-Transfer-Encoding is 7bit, 8bit or binary: armor needs no second encoding.",
            "A base64 or quoted-printable field, often put there by a gateway or mailing list that rewrites mail.",
        ),
        Reason::Preamble if outgoing => rule(
            "Nothing but empty lines stands before the first part.",
            "A sentence for old mail programs; readers do not show it, the server can read it.",
        ),
        Reason::Preamble => rule(
            "Before the first part stands nothing but empty lines and one of the fixed sentences of mail programs.",
            "Text before the first delimiter, or a sentence this version does not know: compare it letter by letter, and report it if a program writes it.",
        ),
        Reason::Epilogue => rule(
            "Nothing but empty lines stands behind the last delimiter.",
            "A footer of a mailing list, an antivirus notice or advertising of a mail provider.",
        ),
        Reason::Delimiter => rule(
            "A line that begins with the boundary is a delimiter and nothing else.",
            "Text behind the boundary on the same line, or a boundary that begins like another.",
        ),
        Reason::Parts => rule(
            "There are exactly the parts of RFC 3156, two, and a closing delimiter.",
            "A part that was added, removed or nested on the way, or a message that was cut off.",
        ),
        Reason::PartHeader => rule(
            "The header of a part has only the Content fields and fixed texts that mail programs write there.",
            "A field, description or file name with free text, a field twice, or text before the empty line.",
        ),
        Reason::VersionPart => rule(
            "The first part is the line `Version: 1` and nothing else.",
            "Other text in the part of type application/pgp-encrypted.",
        ),
        Reason::Line => rule(
            "A line has at most 998 bytes, and lines end with CRLF, or all of them with LF.",
            "An armor without line breaks, a lone CR, or a file whose line ends were changed in a part of it.",
        ),
        Reason::Armor => rule(
            "The second part is one ASCII-armored OpenPGP message and nothing else.",
            "Text before BEGIN or behind END, a second armor block, a line that is not base64, or a missing END.",
        ),
        Reason::ArmorHeader if outgoing => rule(
            "The armor of outgoing mail has no header lines.",
            "A Version or Comment line: GnuPG's options no-emit-version and no-comments leave them out.",
        ),
        Reason::ArmorHeader => rule(
            "Header lines of the armor are Version, Comment, Hash, Charset or MessageID, together at most 512 bytes.",
            "An unknown or long line, or no empty line before the base64 data.",
        ),
        Reason::Packet => rule(
            "The armor holds session keys, then one packet of encrypted and integrity-protected data (SEIPD), and ends there.",
            "A message that is only signed or compressed, old encryption without integrity protection, LibrePGP's OCB packet, or data that were cut off.",
        ),
        Reason::SessionKeyPacket => rule(
            "Each session key packet has exactly the size its algorithm needs, and all together at most 1 MiB.",
            "An algorithm this version does not know, versions that do not belong to the data packet, or text where a key should be.",
        ),
        Reason::SecureJoin => rule(
            "A Secure-Join request is its one fixed line and one invite number.",
            "Anything beside the line `Secure-Join: vc-request` or `vg-request`, or another step in the header than in the body.",
        ),
        Reason::Report => rule(
            "A delivery report has a null envelope sender, one recipient, From mailer-daemon or postmaster, Auto-Submitted auto-replied or auto-generated, and a header of at most 32 KiB.",
            "A report that was forwarded, or sent by a person. Give the recipient with --recipient and the null sender with --sender ''.",
        ),
        Reason::ReportText => rule(
            "The first part of a delivery report is at most 4096 bytes of plain text, decoded.",
            "A server that repeats much of what others replied, or of the message.",
        ),
        Reason::DeliveryStatus => rule(
            "The second part of a delivery report has the fields of RFC 3464: a group about the message, one for each recipient, at most 8 KiB together and 1 KiB each.",
            "A missing Reporting-MTA, Final-Recipient, Action or Status, a field of another name than X-, or a value of another form.",
        ),
        Reason::Returned => rule(
            "The third part of a delivery report is the header of the lost message, at most 32 KiB, or the message itself if that passes.",
            "A returned message that is not encrypted, has been cut off or encoded, or text behind returned headers.",
        ),
        Reason::ForeignLiteral => rule(
            "Readable mail of an address literal comes from the host with that address.",
            "A host with several addresses, or mail that went through another host. Give the client's address with --client.",
        ),
        Reason::OwnLiteral => rule(
            "On a relay without a domain name nobody could sign a user's mail, so none comes in from other hosts.",
            "Another host that writes a user of this relay into From. Is it outgoing mail? Then give --outgoing.",
        ),
        _ => None,
    }
}

/// Why a message of this class passes.
pub(super) fn class(class: Class) -> &'static str {
    match class {
        Class::Encrypted => "OpenPGP/MIME, and every byte of it is accounted for",
        Class::SecureJoinRequest => "the first message of a Secure-Join, with nothing beside it",
        Class::DeliveryReport => "a delivery report, whose text is short",
        Class::Cleartext => "not encrypted, but every recipient accepts cleartext",
    }
}

#[cfg(test)]
mod tests {
    use chatmail_core::filter::limits;

    use super::*;

    #[test]
    fn numbers_are_those_of_the_filter() {
        for (reason, direction, text) in [
            (
                Reason::HeaderTooLarge,
                Direction::Incoming,
                format!("{} fields", limits::HEADER_FIELDS),
            ),
            (
                Reason::HeaderTooLarge,
                Direction::Incoming,
                format!("{} KiB, ", limits::HEADER_BYTES / 1024),
            ),
            (
                Reason::HeaderTooLarge,
                Direction::Incoming,
                format!("{} KiB and", limits::HEADER_FIELD_BYTES / 1024),
            ),
            (
                Reason::HeaderTooLarge,
                Direction::Incoming,
                format!("{} bytes", limits::HEADER_NAME_BYTES),
            ),
            (
                Reason::Line,
                Direction::Incoming,
                format!("{} bytes", limits::LINE_BYTES),
            ),
            (
                Reason::Report,
                Direction::Incoming,
                format!("{} KiB", limits::REPORT_HEADER_BYTES / 1024),
            ),
            (
                Reason::ReportText,
                Direction::Incoming,
                format!("{} bytes", limits::REPORT_TEXT_BYTES),
            ),
            (
                Reason::DeliveryStatus,
                Direction::Incoming,
                format!(
                    "{} KiB together and {} KiB each",
                    limits::REPORT_STATUS_BYTES / 1024,
                    limits::REPORT_FIELD_BYTES / 1024
                ),
            ),
            (
                Reason::Returned,
                Direction::Incoming,
                format!("{} KiB", limits::REPORT_HEADER_BYTES / 1024),
            ),
            (
                Reason::ArmorHeader,
                Direction::Incoming,
                format!("{} bytes", limits::ARMOR_HEADER_BYTES),
            ),
            (
                Reason::SessionKeyPacket,
                Direction::Incoming,
                format!("{} MiB", limits::SESSION_KEY_BYTES / 1024 / 1024),
            ),
        ] {
            let rule = explain(&reason, direction).expect("explained").rule;
            assert!(rule.contains(&text), "{text} is not in: {rule}");
        }
    }
}
