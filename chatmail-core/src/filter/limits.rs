//! Every limit of the check, in bytes unless it says otherwise. How much each outgoing header field
//! may hold stands beside its rule in `policy`.
//!
//! They bound memory and leave no room for a second message inside the first. All are far above
//! what mail programs write.

use super::verdict::Direction;

/// Fields of the message header (a number). Mailing lists reach about 60.
pub const HEADER_FIELDS: usize = 256;
/// All fields of the message header together, names and values.
pub const HEADER_BYTES: usize = 128 * 1024;
/// One field of the message header. Autocrypt keys and long recipient lists reach 10 KiB.
pub const HEADER_FIELD_BYTES: usize = 32 * 1024;
/// A field name: RFC 5322 lines are at most 78 long where possible, 76 and a colon fit.
pub const HEADER_NAME_BYTES: usize = 76;
/// Consecutive white space in an outgoing field that stays, folds included. Mail programs write one
/// space, or a line break and up to eight.
pub const SPACE_RUN: usize = 10;
/// Names beside addresses in an outgoing field, each: forty characters of any script.
pub const NAME_BYTES: usize = 384;
/// Names of addresses, and links with their names, in all outgoing fields together: enough for more
/// than a hundred members of a group.
pub const NAMES_BYTES: usize = 4096;
/// An address, outgoing (RFC 5321 section 4.5.3.1.3).
pub const ADDRESS_BYTES: usize = 254;
/// Addresses in all outgoing fields together: enough for a thousand recipients, the most that Delta
/// Chat sends to at once.
pub const ADDRESSES_BYTES: usize = 32 * 1024;
/// A link inside angle brackets, outgoing.
pub const LINK_BYTES: usize = 320;
/// A message id inside angle brackets, outgoing.
pub const ID_BYTES: usize = 160;
/// The message ids of one outgoing field together.
pub const THREAD_BYTES: usize = 2048;
/// The packets of an Autocrypt key, outgoing. Delta Chat's have 700, RSA keys of 4096 bits 2,500,
/// post-quantum keys 4,000, and keys that sign with post-quantum algorithms up to 14,000.
pub const KEY_BYTES: usize = 16 * 1024;
/// Subkeys of an Autocrypt key, outgoing (a number). Most have one, some two.
pub const KEY_SUBKEYS: usize = 8;
/// The addresses of its owner in an Autocrypt key of Delta Chat, outgoing: at most a handful.
pub const KEY_RELAYS_BYTES: usize = 1024;
/// Fewest characters of a line of an Autocrypt key, except the first and the last, outgoing.
pub const KEY_LINE: usize = 32;
/// A date, outgoing.
pub const DATE_BYTES: usize = 64;
/// A line without its line end (RFC 5322 section 2.1.1): of the body, and of an outgoing field with
/// its name. Postfix breaks longer ones after they are signed (`smtp_line_length_limit`).
pub const LINE_BYTES: usize = 998;
/// A boundary (RFC 2046 section 5.1.1).
pub const BOUNDARY_BYTES: usize = 70;
/// The value of Content-Type or another structured MIME field, folds included.
pub const MIME_VALUE_BYTES: usize = 512;
/// Consecutive empty lines where the grammar allows any (a number), outgoing: their number can carry
/// text, too.
pub const BLANK_LINES: u32 = 8;
/// The same, incoming: gateways add some around what they pass on.
pub const BLANK_LINES_INCOMING: u32 = 32;
/// White space at the end of a delimiter or a line of the armor, where standards allow any amount.
pub const TRAILING_SPACE: usize = 8;
/// A file name in `name=` or `filename=`, incoming.
pub const FILE_NAME_BYTES: usize = 40;
/// The identifier in Content-ID or X-Attachment-Id of a part, brackets included, incoming. That of
/// Exchange has about 70.
pub const PART_ID_BYTES: usize = 100;
/// All header lines of the armor together, incoming.
pub const ARMOR_HEADER_BYTES: usize = 512;
/// All session key packets of a message together. A thousand recipients with post-quantum keys
/// (about 1.2 KB each) do not fit; eight hundred do.
pub const SESSION_KEY_BYTES: u64 = 1024 * 1024;
/// Packets before the encrypted data (a number).
pub const PACKETS: u32 = 2048;
/// All Padding and Marker packets together.
pub const PADDING_BYTES: u64 = 4096;
/// A session key packet with a longer run of printable ASCII is text. A random packet of 1 MiB
/// has one of 32 with probability 2^-25.
pub const PRINTABLE_RUN: usize = 32;
/// Session key packets that are together at least this long are text if three of four bytes are
/// printable ASCII; of random bytes three of eight are.
pub const PRINTABLE_SAMPLE: u64 = 128;
/// Addresses of all recipients whose mailbox must be asked about cleartext, together. Beyond it
/// cleartext is refused; encrypted mail has no such limit.
pub const RECIPIENT_BYTES: usize = 16 * 1024;
/// The header of a delivery report, and the header that it returns, each.
pub const REPORT_HEADER_BYTES: usize = 32 * 1024;
/// The text of a delivery report, decoded, each line with CRLF. Postfix writes 700, and 150 for each
/// recipient; sendmail quotes the replies of two servers.
pub const REPORT_TEXT_BYTES: usize = 4096;
/// The fields of a delivery report about the message and its recipients, each line with CRLF. Postfix
/// writes about 300 for each recipient.
pub const REPORT_STATUS_BYTES: usize = 8192;
/// One of these fields that holds text, the reply of a server. Long replies of Gmail and Exchange have
/// about 700.
pub const REPORT_FIELD_BYTES: usize = 1024;
/// An identifier or another word in a field of a delivery status.
pub const REPORT_WORD_BYTES: usize = 250;
/// One of these fields that names a host, perhaps with a comment.
pub const REPORT_NAME_BYTES: usize = 255;
/// The header of one part of a delivery report, each line with CRLF.
pub const REPORT_PART_HEADER_BYTES: usize = 512;
/// The description of one part of a delivery report.
pub const REPORT_DESCRIPTION_BYTES: usize = 64;
/// All free text in a delivery report. The rest is delimiters, empty lines and the body of a returned
/// message, which is encrypted itself.
pub const REPORT_BYTES: usize = 2 * REPORT_HEADER_BYTES
    + REPORT_TEXT_BYTES
    + REPORT_STATUS_BYTES
    + 3 * REPORT_PART_HEADER_BYTES;
/// What a reply repeats of an address or a From field.
pub const REPLY_QUOTE: usize = 255;

/// Consecutive empty lines where the grammar allows any.
pub(super) fn blank_lines(direction: Direction) -> u32 {
    match direction {
        Direction::Outgoing => BLANK_LINES,
        Direction::Incoming => BLANK_LINES_INCOMING,
    }
}
