//! An SMTP client (RFC 5321) that shows what the server said.

use std::fmt;
use std::io;
use std::net::IpAddr;

use crate::endpoints::Endpoints;
use crate::mail::base64;
use crate::wire::Wire;

/// Which of the relay's three doors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// Submission over TLS (465 on a real host).
    Smtps,
    /// Submission with STARTTLS (587).
    Submission,
    /// Mail from other servers (25), in the clear.
    Smtp,
}

impl Door {
    fn port(self, endpoints: &Endpoints) -> u16 {
        match self {
            Door::Smtps => endpoints.smtps,
            Door::Submission => endpoints.submission,
            Door::Smtp => endpoints.smtp,
        }
    }
}

/// A reply, with its lines as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The three digits.
    pub code: u16,
    /// What follows the digits, line by line.
    pub lines: Vec<String>,
}

impl Reply {
    /// 2xx and 3xx.
    pub fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// 4xx: the client tries again later.
    pub fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }
}

impl fmt::Display for Reply {
    /// A one-line reply as it came: `523 Encryption Needed: Invalid Unencrypted Mail`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, line) in self.lines.iter().enumerate() {
            let last = number + 1 == self.lines.len();
            write!(f, "{}{}{line}", self.code, if last { ' ' } else { '-' })?;
            if !last {
                writeln!(f)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Reply {}

/// The reply behind an error: the server refused what the client could not do without.
pub fn refusal(error: &io::Error) -> Option<&Reply> {
    error.get_ref()?.downcast_ref()
}

/// One connection.
pub struct Smtp {
    wire: Wire,
    /// The last reply to EHLO: the extensions.
    pub extensions: Vec<String>,
}

impl Smtp {
    /// Connects, says EHLO, and puts TLS in place where the door has it.
    pub fn connect(endpoints: &Endpoints, door: Door) -> io::Result<Smtp> {
        let wire = Wire::connect(&endpoints.host, door.port(endpoints))?;
        Smtp::greet(wire, endpoints, door)
    }

    /// Connects as a client of this address, one of 127.0.0.0/8.
    pub fn connect_from(endpoints: &Endpoints, door: Door, client: IpAddr) -> io::Result<Smtp> {
        let wire = Wire::connect_from(client, &endpoints.host, door.port(endpoints))?;
        Smtp::greet(wire, endpoints, door)
    }

    fn greet(mut wire: Wire, endpoints: &Endpoints, door: Door) -> io::Result<Smtp> {
        if door == Door::Smtps {
            wire.start_tls(endpoints)?;
        }
        let mut smtp = Smtp {
            wire,
            extensions: Vec::new(),
        };
        smtp.expect_positive(None)?;
        smtp.ehlo()?;
        if door == Door::Submission {
            smtp.expect_positive(Some("STARTTLS"))?;
            smtp.wire.start_tls(endpoints)?;
            smtp.ehlo()?;
        }
        Ok(smtp)
    }

    /// Connects and logs in.
    pub fn login_to(
        endpoints: &Endpoints,
        door: Door,
        address: &str,
        password: &str,
    ) -> io::Result<Smtp> {
        let mut smtp = Smtp::connect(endpoints, door)?;
        let reply = smtp.login(address, password)?;
        match reply.code {
            235 => Ok(smtp),
            _ => Err(io::Error::other(reply)),
        }
    }

    /// Sends one command, without CRLF, and reads its reply.
    pub fn command(&mut self, command: &str) -> io::Result<Reply> {
        self.wire.send(format!("{command}\r\n").as_bytes())?;
        self.reply()
    }

    /// AUTH PLAIN (RFC 4616). Both may hold any bytes.
    pub fn login(
        &mut self,
        address: impl AsRef<[u8]>,
        password: impl AsRef<[u8]>,
    ) -> io::Result<Reply> {
        let credentials = [b"\0", address.as_ref(), b"\0", password.as_ref()].concat();
        self.command(&format!("AUTH PLAIN {}", base64(&credentials)))
    }

    /// One whole transaction. The answer is the first refusal, or the reply to the message.
    pub fn send(&mut self, from: &str, to: &[&str], message: &[u8]) -> io::Result<Reply> {
        let reply = self.envelope(from, to)?;
        if !reply.is_positive() {
            return Ok(reply);
        }
        self.content(message)
    }

    /// The transaction up to and including DATA. The answer is the first refusal, or the 354.
    pub fn envelope(&mut self, from: &str, to: &[&str]) -> io::Result<Reply> {
        let mut commands = vec![format!("MAIL FROM:<{from}>")];
        commands.extend(to.iter().map(|to| format!("RCPT TO:<{to}>")));
        for command in commands {
            let reply = self.command(&command)?;
            if !reply.is_positive() {
                return Ok(reply);
            }
        }
        self.command("DATA")
    }

    /// What follows the 354: the message, with CRLF line ends, and the dot.
    pub fn content(&mut self, message: &[u8]) -> io::Result<Reply> {
        self.wire.send(&dot_stuffed(message))?;
        self.reply()
    }

    fn ehlo(&mut self) -> io::Result<()> {
        self.extensions = self.expect_positive(Some("EHLO client.test"))?.lines;
        Ok(())
    }

    fn expect_positive(&mut self, command: Option<&str>) -> io::Result<Reply> {
        let reply = match command {
            Some(command) => self.command(command)?,
            None => self.reply()?,
        };
        match reply.is_positive() {
            true => Ok(reply),
            false => Err(io::Error::other(reply)),
        }
    }

    fn reply(&mut self) -> io::Result<Reply> {
        reply(&mut self.wire)
    }
}

/// The next reply of a server that speaks SMTP or LMTP.
pub(crate) fn reply(wire: &mut Wire) -> io::Result<Reply> {
    let mut lines = Vec::new();
    loop {
        let line = wire.text_line()?;
        let malformed = || {
            io::Error::new(
                io::ErrorKind::InvalidData,
                format!("not an SMTP reply: {line:?}"),
            )
        };
        let code = line.get(..3).ok_or_else(malformed)?;
        let code = code.parse().map_err(|_| malformed())?;
        lines.push(line.get(4..).unwrap_or_default().to_owned());
        if line.as_bytes().get(3) != Some(&b'-') {
            return Ok(Reply { code, lines });
        }
    }
}

pub(crate) fn dot_stuffed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(message.len() + 8);
    for line in message.split_inclusive(|&b| b == b'\n') {
        if line.first() == Some(&b'.') {
            out.push(b'.');
        }
        out.extend_from_slice(line);
    }
    if !out.ends_with(b"\r\n") {
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b".\r\n");
    out
}
