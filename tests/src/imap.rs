//! An IMAP client (RFC 3501) that shows what the server said.

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::net::IpAddr;

use crate::endpoints::Endpoints;
use crate::mail::base64;
use crate::wire::Wire;

/// The METADATA entry of INBOX that takes device tokens.
pub const DEVICE_TOKEN: &str = "/private/devicetoken";

/// How the connection is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Security {
    /// TLS from the first byte, port `imaps`.
    Tls,
    /// STARTTLS on port `imap`.
    StartTls,
}

/// The tagged line that ends a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Done.
    Ok,
    /// Refused, or failed.
    No,
    /// Not understood.
    Bad,
}

/// An untagged line; each `{n}` in `line` stands for the next of `literals`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Untagged {
    /// Without the leading `* `.
    pub line: String,
    /// The literals of the line, in order.
    pub literals: Vec<Vec<u8>>,
}

/// The server's whole answer to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// OK, NO or BAD.
    pub status: Status,
    /// The rest of the tagged line, e.g. `[UNAVAILABLE] Temporary authentication failure.`
    pub text: String,
    /// What came before it.
    pub untagged: Vec<Untagged>,
}

impl Answer {
    /// Whether the command was done.
    pub fn is_ok(&self) -> bool {
        self.status == Status::Ok
    }

    /// The response code in brackets, e.g. `UNAVAILABLE`.
    pub fn code(&self) -> Option<&str> {
        let code = self.text.strip_prefix('[')?;
        code.split_once(']').map(|(code, _)| code)
    }

    /// The answer if the command was done, else an error that shows the answer.
    pub fn ok(self) -> io::Result<Answer> {
        match self.status {
            Status::Ok => Ok(self),
            _ => Err(io::Error::other(self.to_string())),
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}", self.status, self.text)
    }
}

/// One connection.
pub struct Imap {
    wire: Wire,
    commands: u32,
    /// The greeting, without `* `.
    pub greeting: String,
}

impl Imap {
    /// Connects and reads the greeting.
    pub fn connect(endpoints: &Endpoints, security: Security) -> io::Result<Imap> {
        let port = match security {
            Security::Tls => endpoints.imaps,
            Security::StartTls => endpoints.imap,
        };
        let wire = Wire::connect(&endpoints.host, port)?;
        Imap::greet(wire, endpoints, security)
    }

    /// Connects over TLS as a client of this address, one of 127.0.0.0/8.
    pub fn connect_from(endpoints: &Endpoints, client: IpAddr) -> io::Result<Imap> {
        let wire = Wire::connect_from(client, &endpoints.host, endpoints.imaps)?;
        Imap::greet(wire, endpoints, Security::Tls)
    }

    fn greet(mut wire: Wire, endpoints: &Endpoints, security: Security) -> io::Result<Imap> {
        if security == Security::Tls {
            wire.start_tls(endpoints)?;
        }
        let greeting = wire.text_line()?;
        let greeting = greeting.trim_start_matches("* ").to_owned();
        let mut imap = Imap {
            wire,
            commands: 0,
            greeting,
        };
        if security == Security::StartTls {
            imap.command("STARTTLS")?.ok()?;
            imap.wire.start_tls(endpoints)?;
        }
        Ok(imap)
    }

    /// Connects over TLS and logs in.
    pub fn login_to(endpoints: &Endpoints, address: &str, password: &str) -> io::Result<Imap> {
        let mut imap = Imap::connect(endpoints, Security::Tls)?;
        imap.login(address, password)?.ok()?;
        Ok(imap)
    }

    /// Sends one command, without tag and CRLF, and reads up to its tagged line.
    pub fn command(&mut self, command: &str) -> io::Result<Answer> {
        let tag = self.send(command.as_bytes())?;
        self.answer(&tag)
    }

    /// LOGIN. Each argument goes as a literal, so that it may hold any byte but NUL.
    pub fn login(
        &mut self,
        address: impl AsRef<[u8]>,
        password: impl AsRef<[u8]>,
    ) -> io::Result<Answer> {
        self.command_with_literals("LOGIN", &[address.as_ref(), password.as_ref()])
    }

    /// AUTHENTICATE PLAIN (RFC 4616) in one line. Both may hold any bytes.
    pub fn authenticate(
        &mut self,
        address: impl AsRef<[u8]>,
        password: impl AsRef<[u8]>,
    ) -> io::Result<Answer> {
        let credentials = [b"\0", address.as_ref(), b"\0", password.as_ref()].concat();
        self.command(&format!("AUTHENTICATE PLAIN {}", base64(&credentials)))
    }

    /// A command whose last arguments are literals; waits for the server's go-ahead before each.
    pub fn command_with_literals(
        &mut self,
        command: &str,
        literals: &[&[u8]],
    ) -> io::Result<Answer> {
        self.command_with_literals_and(command, literals, "")
    }

    /// As [`Imap::command_with_literals`], with something after the last literal.
    pub fn command_with_literals_and(
        &mut self,
        command: &str,
        literals: &[&[u8]],
        end: &str,
    ) -> io::Result<Answer> {
        let gap = if command.ends_with('(') { "" } else { " " };
        let before = [format!("{command}{gap}")].into_iter();
        let before = before.chain(std::iter::repeat(" ".to_owned()));
        let parts: Vec<_> = before.zip(literals.iter().copied()).collect();
        self.command_around_literals(&parts, end)
    }

    /// A command with literals, each with the text before it; waits for the server's go-ahead before each.
    pub fn command_around_literals(
        &mut self,
        parts: &[(String, &[u8])],
        end: &str,
    ) -> io::Result<Answer> {
        let mut line = Vec::new();
        let mut tag = None;
        for (before, literal) in parts {
            line.extend_from_slice(format!("{before}{{{}}}", literal.len()).as_bytes());
            match &tag {
                None => tag = Some(self.send(&line)?),
                Some(_) => self.send_raw(&line)?,
            }
            let go_ahead = self.go_ahead()?;
            if !go_ahead.starts_with('+') {
                let tag = tag.unwrap_or_default();
                return tagged(&tag, &go_ahead, Vec::new())
                    .ok_or_else(|| unexpected("+", &go_ahead));
            }
            line = literal.to_vec();
        }
        line.extend_from_slice(end.as_bytes());
        let tag = match tag {
            Some(tag) => {
                self.send_raw(&line)?;
                tag
            }
            None => self.send(&line)?,
        };
        self.answer(&tag)
    }

    /// The value of a METADATA entry (RFC 5464): `Ok(None)` is NIL or no value. The inner `Err`
    /// is the server's refusal.
    pub fn get_metadata(
        &mut self,
        mailbox: &str,
        entry: &str,
    ) -> io::Result<Result<Option<String>, Answer>> {
        let answer = self.command(&format!("GETMETADATA {} {entry}", quoted(mailbox)))?;
        if !answer.is_ok() {
            return Ok(Err(answer));
        }
        for untagged in &answer.untagged {
            let Some(rest) = untagged.line.strip_prefix("METADATA ") else {
                continue;
            };
            let Some((_, value)) = rest.split_once(&format!("({entry} ")) else {
                continue;
            };
            let value = value.trim_end_matches(')');
            return Ok(Ok(if value == "NIL" {
                None
            } else if let Some(literal) = untagged.literals.first() {
                Some(String::from_utf8_lossy(literal).into_owned())
            } else {
                Some(unquoted(value))
            }));
        }
        Ok(Ok(None))
    }

    /// Sets a METADATA entry to any value, as a literal.
    pub fn set_metadata(
        &mut self,
        mailbox: &str,
        entry: &str,
        value: impl AsRef<[u8]>,
    ) -> io::Result<Answer> {
        let command = format!("SETMETADATA {} ({entry}", quoted(mailbox));
        self.command_with_literals_and(&command, &[value.as_ref()], ")")
    }

    /// The device tokens of the user.
    pub fn device_tokens(&mut self) -> io::Result<BTreeSet<String>> {
        let value = self.get_metadata("INBOX", DEVICE_TOKEN)?;
        let value = value
            .map_err(|no| io::Error::other(no.to_string()))?
            .unwrap_or_default();
        let tokens = value.split(' ').filter(|token| !token.is_empty());
        Ok(tokens.map(str::to_owned).collect())
    }

    /// How full the mailbox is, in units of 1,024 bytes (RFC 9208).
    pub fn quota_used(&mut self) -> io::Result<u64> {
        let answer = self.command("GETQUOTAROOT INBOX")?.ok()?;
        let used = answer.untagged.iter().find_map(|untagged| {
            let (_, rest) = untagged.line.split_once("(STORAGE ")?;
            rest.split(' ').next()?.parse().ok()
        });
        used.ok_or_else(|| io::Error::other(format!("{answer:?}")))
    }

    /// Selects INBOX and returns how many messages it holds.
    pub fn select_inbox(&mut self) -> io::Result<usize> {
        let answer = self.command("SELECT INBOX")?.ok()?;
        exists(&answer).ok_or_else(|| io::Error::other("SELECT without EXISTS"))
    }

    /// The raw message of a sequence number in the selected mailbox, with CRLF line ends.
    pub fn message(&mut self, number: usize) -> io::Result<Vec<u8>> {
        let answer = self.command(&format!("FETCH {number} BODY.PEEK[]"))?.ok()?;
        answer
            .untagged
            .into_iter()
            .find(|untagged| untagged.line.contains("BODY[]"))
            .and_then(|untagged| untagged.literals.into_iter().next())
            .ok_or_else(|| io::Error::other(format!("no message {number}")))
    }

    /// One field of the header of each message in the selected mailbox, which is not empty.
    pub fn header_fields(&mut self, name: &str) -> io::Result<Vec<Vec<u8>>> {
        let command = format!("FETCH 1:* BODY.PEEK[HEADER.FIELDS ({name})]");
        let answer = self.command(&command)?.ok()?;
        let fields = answer.untagged.into_iter();
        Ok(fields.flat_map(|untagged| untagged.literals).collect())
    }

    /// All messages of INBOX.
    pub fn inbox(&mut self) -> io::Result<Vec<Vec<u8>>> {
        let count = self.select_inbox()?;
        (1..=count).map(|number| self.message(number)).collect()
    }

    /// IDLE (RFC 2177) until an untagged line is the one waited for; then DONE.
    pub fn idle_until(&mut self, is_it: impl Fn(&str) -> bool) -> io::Result<()> {
        self.idle()?.until(is_it)
    }

    /// IDLE, up to the server's go-ahead.
    pub fn idle(&mut self) -> io::Result<Idle<'_>> {
        self.send(b"IDLE")?;
        let go_ahead = self.go_ahead()?;
        match go_ahead.starts_with('+') {
            true => Ok(Idle { imap: self }),
            false => Err(unexpected("+", &go_ahead)),
        }
    }

    /// The line that begins with `+`, or what came in its place. A server may tell how it is at any time
    /// (RFC 3501, 7.1.1): a login server does while it waits for its auth service.
    fn go_ahead(&mut self) -> io::Result<String> {
        loop {
            let line = self.wire.text_line()?;
            if !line.starts_with("* OK ") {
                return Ok(line);
            }
        }
    }

    /// The next line that the server sends unasked, without `* `.
    pub fn unasked(&mut self) -> io::Result<String> {
        let line = self.wire.text_line()?;
        match line.strip_prefix("* ") {
            Some(line) => Ok(line.to_owned()),
            None => Err(unexpected("*", &line)),
        }
    }

    fn send(&mut self, command: &[u8]) -> io::Result<String> {
        self.commands += 1;
        let tag = self.tag();
        let mut line = format!("{tag} ").into_bytes();
        line.extend_from_slice(command);
        self.send_raw(&line)?;
        Ok(tag)
    }

    /// Of the command that was sent last.
    fn tag(&self) -> String {
        format!("a{}", self.commands)
    }

    fn send_raw(&mut self, line: &[u8]) -> io::Result<()> {
        let mut line = line.to_vec();
        line.extend_from_slice(b"\r\n");
        self.wire.send(&line)
    }

    fn answer(&mut self, tag: &str) -> io::Result<Answer> {
        let mut untagged = Vec::new();
        loop {
            let (line, literals) = self.line_with_literals()?;
            if let Some(line) = line.strip_prefix("* ") {
                untagged.push(Untagged {
                    line: line.to_owned(),
                    literals,
                });
                continue;
            }
            match tagged(tag, &line, untagged) {
                Some(answer) => return Ok(answer),
                None => return Err(unexpected(tag, &line)),
            }
        }
    }

    fn line_with_literals(&mut self) -> io::Result<(String, Vec<Vec<u8>>)> {
        let mut line = self.wire.text_line()?;
        let mut literals = Vec::new();
        while let Some(size) = literal_size(&line) {
            literals.push(self.wire.exactly(size)?);
            line.push_str(&self.wire.text_line()?);
        }
        Ok((line, literals))
    }
}

/// A session that idles. It goes on doing so on the server's side if this is dropped.
pub struct Idle<'a> {
    imap: &'a mut Imap,
}

impl Idle<'_> {
    /// The next thing the server tells, without `* `.
    pub fn line(&mut self) -> io::Result<String> {
        self.imap.unasked()
    }

    /// Waits for a line; then ends it.
    pub fn until(mut self, is_it: impl Fn(&str) -> bool) -> io::Result<()> {
        while !is_it(&self.line()?) {}
        self.done().map(drop)
    }

    /// Ends it; the answer holds what the server had to tell until then.
    pub fn done(self) -> io::Result<Answer> {
        self.imap.send_raw(b"DONE")?;
        let tag = self.imap.tag();
        self.imap.answer(&tag)?.ok()
    }
}

/// How many messages the mailbox holds, if the answer says so.
pub fn exists(answer: &Answer) -> Option<usize> {
    answer
        .untagged
        .iter()
        .filter_map(|untagged| untagged.line.strip_suffix(" EXISTS"))
        .find_map(|count| count.parse().ok())
}

fn tagged(tag: &str, line: &str, untagged: Vec<Untagged>) -> Option<Answer> {
    let (status, text) = line
        .strip_prefix(tag)?
        .strip_prefix(' ')?
        .split_once(' ')
        .unwrap_or_default();
    let status = match status {
        "OK" => Status::Ok,
        "NO" => Status::No,
        "BAD" => Status::Bad,
        _ => return None,
    };
    Some(Answer {
        status,
        text: text.to_owned(),
        untagged,
    })
}

fn unexpected(wanted: &str, line: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("expected a line starting with {wanted:?}, got {line:?}"),
    )
}

fn literal_size(line: &str) -> Option<usize> {
    let line = line.strip_suffix('}')?;
    let (_, size) = line.rsplit_once('{')?;
    size.parse().ok()
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

fn unquoted(text: &str) -> String {
    let inner = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
        .unwrap_or(text);
    inner.replace("\\\"", "\"").replace("\\\\", "\\")
}
