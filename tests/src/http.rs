//! A request to the HTTP server of `chatmail serve`, or to a web server in front of it, and its answer.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::IpAddr;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::Value;

use crate::endpoints::Endpoints;
use crate::instance::Account;
use crate::wait;
use crate::wire::Wire;

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

    /// The account that was made.
    ///
    /// # Panics
    ///
    /// If none was.
    #[track_caller]
    pub fn account(&self) -> Account {
        let json = self.json();
        match (&json["email"], &json["password"]) {
            (Value::String(address), Value::String(password)) if self.status == 200 => Account {
                address: address.clone(),
                password: password.clone(),
            },
            _ => panic!("no account: {self}"),
        }
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

/// Sends one request over TLS to a web server of this relay, as a client that has this address of loopback.
/// `before` goes first, and without TLS.
///
/// # Errors
///
/// The connection or TLS failed, or what came back is no answer that says its length.
pub fn over_tls(
    endpoints: &Endpoints,
    port: u16,
    client: IpAddr,
    before: &str,
    request: &str,
) -> io::Result<Answer> {
    let mut wire = Wire::connect_from(client, &endpoints.host, port)?;
    wire.send(before.as_bytes())?;
    wire.start_tls(endpoints)?;
    wire.send(request.as_bytes())?;
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        head.push_str(&wire.text_line()?);
        head.push_str("\r\n");
    }
    let no_answer = || io::Error::other(format!("no HTTP answer: {head:?}"));
    let mut answer = Answer::parse(head.as_bytes()).ok_or_else(no_answer)?;
    let length = answer.field("content-length").map(str::parse);
    let length = length.and_then(Result::ok).ok_or_else(no_answer)?;
    answer.body = String::from_utf8_lossy(&wire.exactly(length)?).into_owned();
    Ok(answer)
}
