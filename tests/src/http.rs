//! A request to the HTTP server of `chatmail serve`, and its answer.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::wait;

/// An answer as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Such as 200.
    pub status: u16,
    /// Names are in lower case.
    pub fields: Vec<(String, String)>,
    /// What follows the header.
    pub body: String,
}

impl Answer {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; `Null` if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// What the client shows when it was refused; empty if there is none.
    pub fn reason(&self) -> String {
        let json = self.json();
        json["reason"].as_str().unwrap_or_default().to_owned()
    }

    fn parse(bytes: &[u8]) -> Option<Answer> {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let fields = lines
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            .collect();
        Some(Answer {
            status,
            fields,
            body: body.to_owned(),
        })
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.status, self.body)
    }
}

/// Sends one request on a connection of its own, as a proxy does for a client with this address.
///
/// # Errors
///
/// The connection failed, or what came back is no answer.
pub fn request(socket: &Path, line: &str, client: &str) -> io::Result<Answer> {
    let header = format!(
        "{line} HTTP/1.1\r\nHost: chat.test\r\nX-Forwarded-For: {client}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    raw(socket, header.as_bytes())
}

/// Sends these octets and reads until the server hangs up.
///
/// # Errors
///
/// As for [`request`].
pub fn raw(socket: &Path, octets: &[u8]) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(socket)?;
    let patience: Duration = wait::DEADLINE;
    stream.set_read_timeout(Some(patience))?;
    stream.write_all(octets)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Answer::parse(&answer).ok_or_else(|| {
        let answer = String::from_utf8_lossy(&answer).into_owned();
        io::Error::other(format!("no HTTP answer: {answer:?}"))
    })
}
