//! A mail server's side of the milter protocol, a relay's files, and sample messages.

// Each test binary uses a part of it; a relay without its files is no relay.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

pub mod daemon;
pub mod dns;
pub mod filter;
pub mod signer;
pub mod site;

use std::fs;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Far beyond what any step takes, even on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// One PKESK and one SEIPD packet, armored.
const PGP_MESSAGE: &str = include_str!("../../../tests/fixtures/encrypted.asc");

/// A domain's configuration and mailboxes in a temporary directory.
pub struct Relay {
    dir: TempDir,
}

impl Relay {
    /// With the default limits. Alice and Bob have mailboxes that accept cleartext.
    pub fn new() -> Relay {
        Relay::with("")
    }

    /// With these lines in `chatmail.ini`.
    pub fn with(lines: &str) -> Relay {
        let relay = Relay {
            dir: tempfile::tempdir().unwrap(),
        };
        fs::create_dir(relay.mailboxes()).unwrap();
        relay.configure(lines);
        for user in ["alice@chat.test", "bob@chat.test"] {
            relay.mailbox(user);
        }
        relay
    }

    /// That signs with [`signer::RSA`] and asks this DNS server for keys.
    pub fn with_dkim(dns: SocketAddr, lines: &str) -> Relay {
        let relay = Relay::new();
        let key = relay.path("key");
        fs::write(&key, signer::RSA).unwrap();
        relay.configure(&format!(
            "dkim = true\ndkim_key_file = {}\ndns_resolver = {dns}\n{lines}",
            key.display()
        ));
        relay
    }

    /// Replaces these lines of `chatmail.ini`. DKIM is off unless they say something about it.
    pub fn configure(&self, lines: &str) {
        let mailboxes = self.mailboxes();
        let dkim = match lines.contains("dkim = ") {
            true => "",
            false => "dkim = false",
        };
        let text = format!(
            "[params]\nmail_domain = chat.test\nmailboxes_dir = {}\n{dkim}\n{lines}\n",
            mailboxes.display()
        );
        fs::write(self.config(), text).unwrap();
    }

    /// `chatmail.ini`.
    pub fn config(&self) -> PathBuf {
        self.path("chatmail.ini")
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn mailboxes(&self) -> PathBuf {
        self.path("mail")
    }

    /// A mailbox that accepts cleartext.
    pub fn mailbox(&self, address: &str) -> PathBuf {
        let dir = self.mailboxes().join(address);
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("password"), PASSWORD).unwrap();
        dir
    }

    /// A mailbox as it is created: cleartext is turned away.
    pub fn strict_mailbox(&self, address: &str) {
        fs::write(self.mailbox(address).join("enforceE2EEincoming"), "").unwrap();
    }
}

/// The daemon's sockets, unless a test wants others.
pub fn socket(relay: &Relay, direction: &str) -> PathBuf {
    relay.path(&format!("{direction}.sock"))
}

/// Calls `done` until it says yes. Panics when patience is at its end.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A message: fields and a body with CRLF line ends.
#[derive(Clone)]
pub struct Mail {
    pub fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Mail {
    fn new(from: &str, content_type: &str, body: &str) -> Mail {
        let fields = [
            ("From", format!("<{from}>")),
            ("Subject", "Lunch".to_owned()),
            ("User-Agent", "Mailer of the user".to_owned()),
            ("MIME-Version", "1.0".to_owned()),
            ("Content-Type", content_type.to_owned()),
        ];
        Mail {
            fields: fields.map(|(n, v)| (n.to_owned(), v)).to_vec(),
            body: body.replace('\n', "\r\n").into_bytes(),
        }
    }

    /// An encrypted message (RFC 3156).
    pub fn encrypted(from: &str) -> Mail {
        let body = format!(
            "--b0\nContent-Type: application/pgp-encrypted\n\nVersion: 1\n\n\
             --b0\nContent-Type: application/octet-stream\n\n{PGP_MESSAGE}\n--b0--\n"
        );
        // Folded as milters hand it over.
        let content_type =
            "multipart/encrypted; protocol=\"application/pgp-encrypted\";\n\tboundary=\"b0\"";
        Mail::new(from, content_type, &body)
    }

    /// A message anybody can read.
    pub fn cleartext(from: &str) -> Mail {
        Mail::new(from, "text/plain; charset=utf-8", "Shall we have lunch?\n")
    }
}

/// A hash that no password has, which is an account all the same.
const PASSWORD: &str = concat!(
    "{SHA512-CRYPT}$6$saltsalt$",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA1"
);

/// What Postfix 3.7 offers.
pub const POSTFIX: [u32; 3] = [6, 0x1ff, 0x1f_ffff];
/// What Sendmail 8.13 offered: no step can be left unanswered.
pub const ANCIENT: [u32; 3] = [2, 0x3f, 0x7f];

const NO_REPLY_MAIL: u32 = 1 << 14;
const NO_REPLY_RECIPIENT: u32 = 1 << 15;
const NO_REPLY_BODY: u32 = 1 << 19;
const LEADING_SPACE: u32 = 1 << 20;

/// The filter's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Continue,
    Reply(String),
    /// Name, occurrence, new value; empty deletes.
    Change(String, u32, String),
    /// Name and value of a field above all others.
    Insert(String, String),
    /// New envelope sender.
    Sender(String),
}

/// A mail server's connection to the filter.
pub struct Mta {
    stream: UnixStream,
    /// Steps agreed upon.
    pub steps: u32,
}

impl Mta {
    /// Connects and negotiates as Postfix does.
    pub fn connect(socket: &Path) -> Mta {
        Mta::connect_as(socket, POSTFIX)
    }

    pub fn connect_as(socket: &Path, offer: [u32; 3]) -> Mta {
        let mut mta = Mta::silent(socket);
        let payload: Vec<u8> = offer.iter().flat_map(|n| n.to_be_bytes()).collect();
        mta.send(b'O', &payload);
        let (command, payload) = mta.receive().unwrap();
        assert_eq!(command, b'O');
        let number = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        assert!(number(0) <= offer[0]);
        assert_eq!(number(4) & !offer[1], 0, "actions that were not offered");
        assert_eq!(number(8) & !offer[2], 0, "steps that were not offered");
        mta.steps = number(8);
        mta
    }

    /// Connects and says nothing.
    pub fn silent(socket: &Path) -> Mta {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Mta { stream, steps: 0 }
    }

    /// Raw octets.
    pub fn write(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).unwrap();
    }

    pub fn send(&mut self, command: u8, payload: &[u8]) {
        self.write(&frame(command, payload));
    }

    /// The next frame of the filter.
    pub fn receive(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut length = [0; 4];
        self.stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        self.stream.read_exact(&mut frame)?;
        Ok((frame[0], frame.split_off(1)))
    }

    /// Whether the filter hangs up without a further word.
    pub fn is_hung_up(&mut self) -> bool {
        match self.receive() {
            Err(e) => matches!(
                e.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
            ),
            Ok(answer) => panic!("an answer instead: {answer:?}"),
        }
    }

    pub fn answer(&mut self) -> Answer {
        let (command, payload) = self.receive().unwrap();
        let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
        match command {
            b'c' => Answer::Continue,
            b'y' => Answer::Reply(text(payload.strip_suffix(b"\0").unwrap())),
            b'm' => {
                let (index, rest) = payload.split_first_chunk().unwrap();
                let mut strings = rest.split(|c| *c == 0);
                let mut next = || text(strings.next().unwrap());
                let name = next();
                Answer::Change(
                    name,
                    u32::from_be_bytes(*index),
                    self.without_space(&next()),
                )
            }
            b'i' => {
                let mut strings = payload.strip_prefix(&[0; 4]).unwrap().split(|c| *c == 0);
                let mut next = || text(strings.next().unwrap());
                Answer::Insert(next(), self.without_space(&next()))
            }
            b'e' => Answer::Sender(text(payload.strip_suffix(b"\0").unwrap())),
            other => panic!("answer {:?}", char::from(other)),
        }
    }

    /// MAIL of a client that has logged in as the sender, with its answer if there is to be one.
    pub fn mail(&mut self, sender: &str) -> Answer {
        self.mail_as(sender, sender)
    }

    /// MAIL of a client with this login; empty without one.
    pub fn mail_as(&mut self, login: &str, sender: &str) -> Answer {
        match login {
            "" => self.send(b'D', b"M"),
            _ => self.send(b'D', format!("M{{auth_authen}}\0{login}\0").as_bytes()),
        }
        self.send(b'M', format!("<{sender}>\0SIZE=4711\0").as_bytes());
        match self.steps & NO_REPLY_MAIL {
            0 => self.answer(),
            _ => Answer::Continue,
        }
    }

    /// RCPT, with its answer if there is to be one.
    pub fn recipient(&mut self, address: &str) -> Answer {
        self.send(b'D', b"R");
        self.send(b'R', format!("<{address}>\0").as_bytes());
        match self.steps & NO_REPLY_RECIPIENT {
            0 => self.answer(),
            _ => Answer::Continue,
        }
    }

    /// A value as people see it: without the space after the colon, if it is the filter's to send.
    fn without_space(&self, value: &str) -> String {
        match self.steps & LEADING_SPACE {
            0 => value.to_owned(),
            _ if value.is_empty() => String::new(),
            _ => value.strip_prefix(' ').unwrap().to_owned(),
        }
    }

    /// Header and body.
    pub fn content(&mut self, mail: &Mail) {
        for (name, value) in &mail.fields {
            self.send(b'D', b"Li\x004DFF6990062\0");
            self.send(b'L', self.field(name, value).as_bytes());
            self.go_on();
        }
        self.send(b'N', b"");
        self.go_on();
        for chunk in mail.body.chunks(65_535) {
            self.send(b'B', chunk);
            self.go_on();
        }
    }

    /// The payload of a header field.
    pub fn field(&self, name: &str, value: &str) -> String {
        match self.steps & LEADING_SPACE {
            0 => format!("{name}\0{value}\0"),
            _ => format!("{name}\0 {value}\0"),
        }
    }

    /// End of message: all answers, the decision last.
    pub fn end(&mut self) -> Vec<Answer> {
        self.send(b'D', b"Ei\x004DFF6990062\0");
        self.send(b'E', b"");
        let mut answers = vec![self.answer()];
        while let Some(Answer::Change(..) | Answer::Insert(..) | Answer::Sender(_)) = answers.last()
        {
            answers.push(self.answer());
        }
        answers
    }

    /// A whole transaction, as Postfix ends it.
    pub fn transaction(&mut self, sender: &str, recipients: &[&str], mail: &Mail) -> Vec<Answer> {
        let answer = self.mail(sender);
        if answer != Answer::Continue {
            self.send(b'A', b"");
            return vec![answer];
        }
        for recipient in recipients {
            let answer = self.recipient(recipient);
            if answer != Answer::Continue {
                self.send(b'A', b"");
                return vec![answer];
            }
        }
        self.content(mail);
        let answers = self.end();
        self.send(b'A', b"");
        answers
    }

    /// Takes the answer to a step that is answered only by arrangement.
    fn go_on(&mut self) {
        if self.steps & NO_REPLY_BODY == 0 {
            assert_eq!(self.answer(), Answer::Continue);
        }
    }
}

pub fn frame(command: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len() + 1).unwrap();
    let mut frame = length.to_be_bytes().to_vec();
    frame.push(command);
    frame.extend_from_slice(payload);
    frame
}
