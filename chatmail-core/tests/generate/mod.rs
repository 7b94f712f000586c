//! Messages for properties: built by a grammar in which nearly every choice has an odd variant, and
//! messages of the corpus, both changed a little.

#![allow(dead_code, unreachable_pub, reason = "each user needs another part")]

use std::sync::LazyLock;

use proptest::prelude::*;
use proptest::sample::{Index, select, subsequence};

#[path = "../corpus/mod.rs"]
pub mod corpus;

/// All messages of the corpus that fit a property test.
static ALL: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut messages: Vec<_> = corpus::rows().iter().map(|row| row.message()).collect();
    messages.retain(|message| message.len() < 20_000);
    messages
});

/// Those that pass as encrypted, with CRLF.
static ENCRYPTED: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let encrypted = corpus::Expected::Accepted("encrypted".to_owned());
    let rows = corpus::rows().into_iter();
    rows.filter(|row| row.expected == encrypted && !row.name.starts_with("raw-"))
        .map(|row| row.message())
        .collect()
});

/// The armor of each of those.
static ARMORS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let cut = |message: &Vec<u8>| {
        let text = String::from_utf8_lossy(message).replace("\r\n", "\n");
        let start = text.find("-----BEGIN PGP MESSAGE-----")?;
        let end = text.find("-----END PGP MESSAGE-----")?;
        Some(text.get(start..end + 25)?.to_owned())
    };
    ENCRYPTED.iter().filter_map(cut).collect()
});

/// Any message of the corpus.
pub fn any_of_the_corpus() -> impl Strategy<Value = Vec<u8>> {
    select(&**ALL)
}

/// A message of the corpus that passes as encrypted in one direction at least.
pub fn encrypted_of_the_corpus() -> impl Strategy<Value = Vec<u8>> {
    select(&**ENCRYPTED)
}

/// A delivery report of the corpus, good or bad.
pub fn reports_of_the_corpus() -> impl Strategy<Value = Vec<u8>> {
    static REPORTS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let rows = corpus::rows();
        let named = |row: &&corpus::Row| row.name.contains("report");
        rows.iter()
            .filter(named)
            .map(corpus::Row::message)
            .collect()
    });
    select(&**REPORTS)
}

/// A message of either kind with some changes.
pub fn messages() -> impl Strategy<Value = Vec<u8>> {
    let whole = prop_oneof![1 => encrypted_of_the_corpus(), 3 => built()];
    (whole, changes()).prop_map(|(message, changes)| changed(&message, &changes))
}

/// One of the good, now and then one of the odd.
fn mostly(good: &'static [&'static str], odd: &'static [&'static str]) -> BoxedStrategy<String> {
    let good = select(good).prop_map(str::to_owned);
    prop_oneof![30 => good, 1 => select(odd).prop_map(str::to_owned)].boxed()
}

/// Nothing, now and then something else.
fn rarely(odd: &'static [&'static str]) -> BoxedStrategy<String> {
    mostly(&[""], odd)
}

/// A message put together choice by choice. `@` stands for the boundary, `~` for a fold.
fn built() -> impl Strategy<Value = Vec<u8>> {
    let boundary = mostly(
        &[
            "b",
            "=_x",
            "0__=(a)",
            "----------1",
            "a'b+c.d/e:f=g?h",
            "b b",
        ],
        &[
            "b ",
            "b  b",
            " b",
            "b\"",
            "-",
            "---END PGP MESSAGE-----",
            "=?utf-8?q?b?=",
        ],
    );
    let armor = (
        select(&**ARMORS),
        rarely(ARMOR_HEADERS),
        rarely(INSIDE),
        0..9_usize,
    );
    let armor = armor.prop_map(|(armor, header, inside, at)| {
        let armor = armor.replacen("MESSAGE-----\n", &format!("MESSAGE-----\n{header}"), 1);
        let mut lines: Vec<&str> = armor.split('\n').collect();
        lines.insert(lines.len().saturating_sub(at), &inside);
        lines.retain(|line| *line != "-");
        lines.join("\n").replace("\n\n\n", "\n\n")
    });
    let head = (header(), top_type(), rarely(TOP_FIELDS), any::<bool>());
    let first = (
        mostly(
            &[
                "",
                "\n",
                "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)\n",
            ],
            PROSE,
        ),
        mostly(&["--@\n"], DELIMITERS),
        mostly(
            &[
                "Content-Type: application/pgp-encrypted\n",
                "Content-Type: application/pgp-encrypted; charset=\"utf-8\"\n",
            ],
            PART_TYPES,
        ),
        mostly(GOOD_FIELDS, PART_FIELDS),
        mostly(
            &["\nVersion: 1\n", "\nVersion: 1\n\n", "\n\nVersion: 1 \n"],
            VERSIONS,
        ),
    );
    let second = (
        mostly(&["--@\n", "--@ \n"], DELIMITERS),
        mostly(
            &[
                "Content-Type: application/octet-stream\n",
                "Content-Type: application/octet-stream;~name=\"encrypted.asc\"\n",
                "content-type:application/octet-stream\n",
            ],
            PART_TYPES,
        ),
        mostly(GOOD_FIELDS, PART_FIELDS),
        mostly(&["\n", "\n\n"], PROSE),
        armor,
        mostly(&["\n", "\n\n", "  \n"], PROSE),
        // The width of its lines and what ends those inside, if it is in base64.
        prop_oneof![
            3 => Just(None),
            1 => (1..100_usize, select(&["\n", "\r\n"][..])).prop_map(Some),
        ],
    );
    let last = (
        mostly(&["--@--\n", "--@--", "--@-- \n\n"], DELIMITERS),
        mostly(&["", "\n"], PROSE),
        select(&["\r\n", "\r\n", "\r\n", "\n"][..]),
        select(&["\n ", "\n\t", " "][..]),
    );
    (boundary, head, first, second, last).prop_map(|(boundary, head, first, second, last)| {
        let (header, top_type, field, type_first) = head;
        let mut text = String::new();
        if type_first {
            text += &top_type;
        }
        text += &header;
        text += &field;
        if !type_first {
            text += &top_type;
        }
        text.push('\n');
        for piece in [first.0, first.1, first.2, first.3, first.4] {
            text += &piece;
        }
        for piece in [second.0, second.1, second.2] {
            text += &piece;
        }
        let content = second.4 + &second.5;
        text += &match second.6 {
            None => second.3 + &content,
            Some((width, inside)) => in_base64(&content.replace('\n', inside), width),
        };
        let (delimiter, epilogue, line_end, fold) = last;
        text += &delimiter;
        text += &epilogue;
        let text = text
            .replace('@', &boundary)
            .replace("alice#", "alice@")
            .replace("bob#", "bob@")
            .replace('$', "@");
        text.replace('~', fold).replace('\n', line_end).into_bytes()
    })
}

/// The end of a part's header, and content in lines of base64.
fn in_base64(content: &str, width: usize) -> String {
    use base64::Engine;
    let encoded = base64::engine::general_purpose::STANDARD.encode(content);
    let mut text = "Content-Transfer-Encoding: base64\n\n".to_owned();
    for line in encoded.as_bytes().chunks(width) {
        text += &String::from_utf8_lossy(line);
        text.push('\n');
    }
    text
}

/// Fields of the header but Content-Type, in any order.
fn header() -> impl Strategy<Value = String> {
    let from = mostly(
        &[
            "From: <alice#chat.test>\n",
            "From: alice#chat.test\n",
            "From: \"A, B\" <alice#chat.test>\n",
            "from:~=?utf-8?q?Al?= <alice#chat.test>\n",
            "From: (A) <alice#chat.test>\n",
            "From: A (B) < alice $~chat.test >\n",
            "From: alice $ chat.test\n",
            "From: A <\"alice\"$chat.test (B)>\n",
        ],
        &[
            "From: alice#chat.test, bob#chat.test\n",
            "From: alice#chat.test (<bob#chat.test>)\n",
            "From : alice#chat.test\n",
            "From: A: alice#chat.test;\n",
            "From: \"alice#chat.test\" <bob#chat.test>\n",
            "From: <alice#chat.test>\nFrom: <bob#chat.test>\n",
            "From: (x) alice#chat.test (y)\n",
            "From: (bob#chat.test) alice#chat.test\n",
            "From: (<bob#chat.test>)~<alice#chat.test>\n",
            "From: \"alice\"$chat.test\n",
            "From: <\"al ice\"$chat.test>\n",
            "From: alice(x)$chat.test\n",
            "From: alice~$chat.test\n",
            "From: bob alice $chat.test\n",
            "",
        ],
    );
    let others = subsequence(
        &[
            "MIME-Version: 1.0\n",
            "Subject: [...]\n",
            "Subject: Attack at dawn\n",
            "X-Mailer: Catapult 3\n",
            "Received: from catapult\n",
            "Date: Sun, 15 Nov 2026 16:43:21 +0000\n",
            "To: \"hidden-recipients\": ;\n",
            "Chat-Version: 1.0\n",
            "Message-ID: <1#localhost>\n",
            "Content-Transfer-Encoding: 7bit\n",
            "Autocrypt: addr=alice#chat.test;~keydata=mDME\n",
        ][..],
        0..=11,
    );
    (from, others.prop_shuffle()).prop_map(|(from, others)| from + &others.concat())
}

fn top_type() -> impl Strategy<Value = String> {
    mostly(
        &[
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=\"@\"\n",
            "Content-Type: multipart/encrypted;~boundary=\"@\";~protocol=\"application/pgp-encrypted\"\n",
            "content-type:Multipart/Encrypted; charset=utf-8; Protocol=\"application/pgp-encrypted\";~Boundary=\"@\";\n",
        ],
        &[
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=@\n",
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=@; boundary=x\n",
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=x; boundary*=utf-8''@\n",
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary*0=@; boundary*1=\"\"\n",
            "Content-Type: multipart/encrypted (; boundary=x); protocol=\"application/pgp-encrypted\"; boundary=\"@\"\n",
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=\"\\@\"\n",
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary =\"@\"\n",
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=\"@\"; x=\"Attack at dawn\"\n",
            "Content-Type : multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=\"@\"\n",
            "Content-Type: multipart/encrypted; protocol=\"application/pgp-encrypted\"; boundary=\"@\"\nContent-Type: text/plain\n",
            "Content-Type: multipart/mixed; boundary=\"@\"\n",
            "Content-Type: text/plain; protocol=\"application/pgp-encrypted\"; boundary=\"@\"\n",
        ],
    )
}

const TOP_FIELDS: &[&str] = &[
    "Content-Transfer-Encoding: base64\n",
    "Content-Transfer-Encoding: 8bit~\n",
    "Content-Type\n",
    "X: y\n~\n",
    "Attack at dawn.\n",
    "X:\rAttack at dawn.\n",
    "X: \x0b\n",
    " \n",
    "Content-Disposition: inline; filename=attack.txt\n",
    "MIME-Version: 2.0 (Attack at dawn)\n",
    "Resent-From: <bob#chat.test>\n",
];
const PROSE: &[&str] = &[
    "Attack at dawn.\n",
    "\nAttack at dawn.\n\n",
    "\n\n\n\n\n\n\n\n\n\n",
    " \n",
    "\t\n",
    "-- \nAttack at dawn.\n",
    "QXR0YWNrIGF0IGRhd24u\n",
    "--@\nContent-Type: text/plain\n\nAttack at dawn.\n",
    "--x\n",
    "\rAttack at dawn.\n",
    "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156). Attack at dawn.\n",
];
const DELIMITERS: &[&str] = &[
    "",
    "--@--\n",
    "--@\n",
    "--@x\n",
    "--@ x\n",
    "-- @\n",
    " --@\n",
    "--@\n--@\n",
    "--@\x0b\n",
    "---@\n",
];
const PART_TYPES: &[&str] = &[
    "",
    "Content-Type: text/plain\n",
    "Content-Type: text/plain; charset=utf-8; format=flowed\n",
    "Content-Type: message/rfc822\n",
    "Content-Type: multipart/mixed; boundary=@\n",
    "Content-Type: multipart/mixed; boundary=x\n",
    "Content-Type: application/pgp-encrypted\n",
    "Content-Type: application/octet-stream\n",
    "Content-Type: application/octet-stream; name=\"Attack at dawn.asc\"\n",
    "Content-Type: application/octet-stream; name*=utf-8''Attack%20at%20dawn.asc\n",
    "Content-Type: application/octet-stream; charset=utf-7\n",
    "Content-Type: application/octet-stream\nContent-Type: text/plain\n",
    "Content-Type: application/pgp-encrypted (Attack at dawn)\n",
    "Content-Type:\n",
];
const GOOD_FIELDS: &[&str] = &[
    "",
    "",
    "Content-Transfer-Encoding: 7bit\n",
    "Content-Disposition: inline;~filename=\"encrypted.asc\"\n",
    "Content-Disposition: attachment; filename=msg.asc\n",
    "MIME-Version: 1.0\n",
    "Content-ID: <1.alice#chat.test>\n",
    "X-Attachment-Id: f_m9ldlyuc0\n",
    "Content-Disposition: inline; filename=\"\"\n",
    "Content-Disposition: attachment; filename=ATT00001\n",
];
const PART_FIELDS: &[&str] = &[
    "Content-Transfer-Encoding: base64\n",
    "Content-Transfer-Encoding: quoted-printable\n",
    "Content-Transfer-Encoding: x-uuencode\n",
    "Content-Description: Attack at dawn\n",
    "Content-Disposition: inline; filename=\"Attack at dawn\"\n",
    "Content-Disposition: inline; filename*0=Attack; filename*1=Dawn\n",
    "Content-ID: <Attack at$dawn>\n",
    "Content-ID: <a>, <b>\n",
    "X-Attachment-Id: Attack at dawn\n",
    "Subject: Attack at dawn\n",
    "Attack at dawn\n",
    "~Attack at dawn\n",
    " \n",
    "X:\n",
    "\n",
];
const VERSIONS: &[&str] = &[
    "\n",
    "",
    "\nVersion: 2\n",
    "\nversion: 1\n",
    "\nVersion: 1 Attack at dawn\n",
    "\nVersion: 1\nAttack at dawn\n",
    "\nVersion: 1\rAttack at dawn\n",
    "Version: 1\n\n",
];
const ARMOR_HEADERS: &[&str] = &[
    "Comment: Attack at dawn\n",
    "Version: 1\nHash: SHA256\n",
    "Attack: dawn\n",
    "X-Tool: 1\n",
    "Attack at: dawn\n",
    "Attack at dawn\n",
    " \n",
    "Comment: \x1b[2J\n",
    "Comment:\tx\n",
    "Comment: =?utf-8?q?Attack?=\n",
];
const INSIDE: &[&str] = &[
    "-",
    "Attack at dawn.",
    " ",
    "QXR0YWNrIGF0IGRhd24u",
    "QXR0YWNrIGF0IGRhd24=",
    "=aB+/",
    "-----BEGIN PGP MESSAGE-----",
    "-----END PGP MESSAGE-----",
    "-----END PGP MESSAGE-----\nAttack at dawn.",
    "--@",
    "--@--",
];

/// Lines that mean something to some part of the grammar, or to a reader.
const LINES: &[&str] = &[
    "",
    " ",
    "Attack at dawn.",
    " Attack at dawn.",
    "--",
    "--@",
    "--@--",
    "--@ ",
    "--@x",
    "From: <eve@chat.test>",
    "Subject: Attack at dawn",
    "Content-Type: text/plain",
    "Content-Type: text/plain; charset=utf-8",
    "Content-Type: message/rfc822",
    "Content-Type: multipart/mixed; boundary=\"@\"",
    "Content-Type: multipart/mixed; boundary=\"x\"",
    "Content-Type: application/pgp-encrypted",
    "Content-Type: application/octet-stream",
    "Content-Transfer-Encoding: base64",
    "Content-Transfer-Encoding: 7bit",
    "Content-Disposition: inline",
    "MIME-Version: 1.0",
    "Version: 1",
    "Secure-Join: vc-request",
    "-----BEGIN PGP MESSAGE-----",
    "-----END PGP MESSAGE-----",
    "Comment: Attack at dawn",
    "QXR0YWNrIGF0IGRhd24u",
    "QXR0YWNrIGF0IGRhd24=",
    "=aB+/",
    "=",
    "==",
    "AAAA",
    "Content-ID: <a>",
    "X-Tool: 1",
    "This is an OpenPGP/MIME encrypted message (RFC 4880 and 3156)",
];

/// One change of a message, line by line.
#[derive(Debug, Clone)]
pub enum Change {
    Insert(Index, &'static str),
    Delete(Index),
    Double(Index),
    Move(Index, Index),
    Join(Index),
    Cut(Index),
    Byte(Index, u8),
}

/// Up to three changes, mostly none.
pub fn changes() -> impl Strategy<Value = Vec<Change>> {
    let at = any::<Index>;
    let change = prop_oneof![
        4 => (at(), select(LINES)).prop_map(|(at, line)| Change::Insert(at, line)),
        1 => at().prop_map(Change::Delete),
        1 => at().prop_map(Change::Double),
        1 => (at(), at()).prop_map(|(from, to)| Change::Move(from, to)),
        1 => at().prop_map(Change::Join),
        1 => at().prop_map(Change::Cut),
        2 => (at(), any::<u8>()).prop_map(|(at, byte)| Change::Byte(at, byte)),
    ];
    proptest::collection::vec(change, 0..4)
}

/// The boundary of a message, as its first delimiter shows it.
fn boundary(message: &[u8]) -> Vec<u8> {
    message
        .split(|&byte| byte == b'\n')
        .skip_while(|line| !line.trim_ascii().is_empty())
        .find_map(|line| line.trim_ascii().strip_prefix(b"--"))
        .unwrap_or(b"b")
        .to_vec()
}

/// The message with these changes.
pub fn changed(message: &[u8], changes: &[Change]) -> Vec<u8> {
    let boundary = boundary(message);
    let mut lines: Vec<Vec<u8>> = message
        .split_inclusive(|&b| b == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    for change in changes {
        let size = lines.len();
        match change {
            Change::Insert(at, text) => {
                let mut line = Vec::new();
                for &byte in text.as_bytes() {
                    match byte {
                        b'@' if text.starts_with("--") || text.contains("boundary") => {
                            line.extend_from_slice(&boundary);
                        }
                        _ => line.push(byte),
                    }
                }
                line.extend(b"\r\n");
                lines.insert(at.index(size + 1), line);
            }
            Change::Delete(at) if size > 1 => drop(lines.remove(at.index(size))),
            Change::Double(at) => lines.insert(at.index(size), lines[at.index(size)].clone()),
            Change::Move(from, to) => {
                let line = lines.remove(from.index(size));
                lines.insert(to.index(size), line);
            }
            Change::Join(at) => {
                let line = &mut lines[at.index(size)];
                line.truncate(line.trim_ascii_end().len());
            }
            Change::Cut(at) => lines.truncate(at.index(size) + 1),
            Change::Byte(at, byte) => {
                let line = &mut lines[at.index(size)];
                let place = at.index(line.len().max(1));
                if let Some(place) = line.get_mut(place) {
                    *place = *byte;
                }
            }
            Change::Delete(_) => {}
        }
    }
    lines.concat()
}
