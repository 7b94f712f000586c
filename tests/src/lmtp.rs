//! An LMTP client (RFC 2033): Dovecot's door for mail, without Postfix before it.

use std::io;

use crate::endpoints::Endpoints;
use crate::smtp::{Reply, dot_stuffed, reply};
use crate::wire::Wire;

/// One connection.
pub struct Lmtp {
    wire: Wire,
}

impl Lmtp {
    /// Connects and says LHLO.
    pub fn connect(endpoints: &Endpoints) -> io::Result<Lmtp> {
        let mut lmtp = Lmtp {
            wire: Wire::connect_unix(&endpoints.lmtp_socket)?,
        };
        for answer in [reply(&mut lmtp.wire)?, lmtp.command(b"LHLO client.test")?] {
            if !answer.is_positive() {
                return Err(io::Error::other(answer));
            }
        }
        Ok(lmtp)
    }

    /// Sends one command of any bytes, without CRLF, and reads its reply.
    pub fn command(&mut self, command: &[u8]) -> io::Result<Reply> {
        self.wire.send(&[command, b"\r\n"].concat())?;
        reply(&mut self.wire)
    }

    /// One whole transaction for one recipient. The answer is the first refusal, or the reply to
    /// the message. The session can be used again.
    pub fn deliver(
        &mut self,
        from: impl AsRef<[u8]>,
        to: impl AsRef<[u8]>,
        message: &[u8],
    ) -> io::Result<Reply> {
        let commands = [
            [b"MAIL FROM:<", from.as_ref(), b">"].concat(),
            [b"RCPT TO:<", to.as_ref(), b">"].concat(),
            b"DATA".to_vec(),
        ];
        for command in commands {
            let answer = self.command(&command)?;
            if !answer.is_positive() {
                self.command(b"RSET")?;
                return Ok(answer);
            }
        }
        self.wire.send(&dot_stuffed(message))?;
        reply(&mut self.wire)
    }

    /// One transaction for several recipients. One answer for each, in their order: its refusal, or
    /// the reply to its message.
    pub fn deliver_to_each(
        &mut self,
        from: &str,
        to: &[&str],
        message: &[u8],
    ) -> io::Result<Vec<Reply>> {
        self.command(format!("MAIL FROM:<{from}>").as_bytes())?;
        let mut answers = Vec::new();
        for to in to {
            let answer = self.command(format!("RCPT TO:<{to}>").as_bytes())?;
            answers.push(Some(answer).filter(|answer| !answer.is_positive()));
        }
        if answers.contains(&None) {
            self.command(b"DATA")?;
            self.wire.send(&dot_stuffed(message))?;
        } else {
            self.command(b"RSET")?;
        }
        let each = answers.into_iter();
        each.map(|refusal| refusal.map_or_else(|| reply(&mut self.wire), Ok))
            .collect()
    }
}
