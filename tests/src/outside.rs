//! A mail server of another domain on loopback: takes what a relay sends it and shows it octet for
//! octet, or refuses it.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Mutex;

use crate::loopback::{Loopback, locked};
use crate::mail::header_values;
use crate::wait;

/// One message, as it came over SMTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What stood behind `MAIL FROM:`, parameters included.
    pub sender: String,
    /// What stood behind each `RCPT TO:`, parameters included.
    pub recipients: Vec<String>,
    /// With CRLF line ends, dot-stuffing undone.
    pub message: Vec<u8>,
}

impl Received {
    /// Of its header, with angle brackets; empty if there is none.
    pub fn message_id(&self) -> String {
        let mut ids = header_values(&self.message, "Message-ID");
        ids.pop().unwrap_or_default()
    }
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    refused: Vec<String>,
}

/// The server; it ends with this value.
pub struct Outside {
    server: Loopback<State>,
}

impl Outside {
    /// Starts it on a port of its own; it takes everything until told otherwise.
    pub fn start() -> io::Result<Outside> {
        let server = Loopback::start(State::default(), serve)?;
        Ok(Outside { server })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// From now on answers `550 5.1.1` to this recipient.
    pub fn refuse(&self, recipient: &str) {
        self.server.state().refused.push(recipient.to_owned());
    }

    /// Everything so far.
    pub fn received(&self) -> Vec<Received> {
        self.server.state().received.clone()
    }

    /// Waits for that many messages and returns them all.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        wait::until(&format!("{count} messages at the other server"), || {
            let received = self.received();
            (received.len() >= count).then_some(received)
        })
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    writer.write_all(b"220 outside.test ESMTP\r\n")?;
    let mut envelope = (String::new(), Vec::new());
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let command = line.trim_end();
        let verb: String = command.chars().take(4).collect();
        let answer = match verb.to_ascii_uppercase().as_str() {
            "EHLO" => {
                "250-outside.test\r\n250-8BITMIME\r\n250-DSN\r\n250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8"
            }
            "MAIL" => {
                envelope = (argument(command), Vec::new());
                "250 2.1.0 Ok"
            }
            "RCPT" => {
                let recipient = argument(command);
                if locked(state)
                    .refused
                    .iter()
                    .any(|refused| recipient.contains(refused.as_str()))
                {
                    "550 5.1.1 Nobody of that name here"
                } else {
                    envelope.1.push(recipient);
                    "250 2.1.5 Ok"
                }
            }
            "DATA" if envelope.1.is_empty() => "554 5.5.1 No recipients",
            "DATA" => {
                writer.write_all(b"354 Go ahead\r\n")?;
                let message = read_content(&mut reader)?;
                let (sender, recipients) = std::mem::take(&mut envelope);
                locked(state).received.push(Received {
                    sender,
                    recipients,
                    message,
                });
                "250 2.0.0 Ok"
            }
            "QUIT" => {
                writer.write_all(b"221 2.0.0 Bye\r\n")?;
                return Ok(());
            }
            "HELO" | "RSET" | "NOOP" => "250 2.0.0 Ok",
            _ => "502 5.5.1 Not here",
        };
        writer.write_all(format!("{answer}\r\n").as_bytes())?;
    }
}

/// What follows the colon.
fn argument(command: &str) -> String {
    let argument = command.split_once(':').map_or("", |(_, argument)| argument);
    argument.trim().to_owned()
}

fn read_content(reader: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut message = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(message);
        }
        let stuffed = line.first() == Some(&b'.');
        message.extend_from_slice(&line[usize::from(stuffed)..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_shown_as_it_was_before_dot_stuffing() {
        let outside = Outside::start().expect("server");
        outside.refuse("nobody@");
        let stream = TcpStream::connect(outside.address()).expect("connect");
        let mut answers = BufReader::new(&stream).lines();
        let mut send = |text: &str| {
            (&stream).write_all(text.as_bytes()).expect("send");
            answers.next().expect("answer").expect("answer")
        };
        assert!(send("").starts_with("220"));
        assert!(send("HELO client.test\r\n").starts_with("250"));
        assert!(send("MAIL FROM:<a@x.test> RET=HDRS\r\n").starts_with("250"));
        assert!(send("RCPT TO:<nobody@y.test>\r\n").starts_with("550"));
        assert!(send("RCPT TO:<b@y.test>\r\n").starts_with("250"));
        assert!(send("DATA\r\n").starts_with("354"));
        assert!(send("A: b\r\n\r\n..\r\n.\r\n").starts_with("250"));
        let expected = Received {
            sender: "<a@x.test> RET=HDRS".to_owned(),
            recipients: vec!["<b@y.test>".to_owned()],
            message: b"A: b\r\n\r\n.\r\n".to_vec(),
        };
        assert_eq!(outside.received(), [expected]);
    }
}
