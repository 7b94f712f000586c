//! Clients that do one thing and cost little: what they use is not measured, but they share the machine.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chatmail_tests::{Endpoints, Mail};

use crate::relay::account::Account;

/// Longer than any server of ours takes, however busy the machine is.
pub(super) const TIMEOUT: Duration = Duration::from_secs(60);

/// Lines there and back.
pub(super) struct Conversation<S>(BufReader<S>);

impl<S: Read + Write> Conversation<S> {
    pub(super) fn new(stream: S) -> Conversation<S> {
        Conversation(BufReader::new(stream))
    }

    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let stream = self.0.get_mut();
        stream
            .write_all(bytes)
            .context("the server does not listen any more")
    }

    pub(super) fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let count = self.0.read_line(&mut line).context("no answer")?;
        ensure!(count > 0, "the server closed the connection");
        Ok(line.trim_end().to_owned())
    }

    /// Sends an SMTP or LMTP command, if there is one, and reads a reply that must have this code.
    fn expect(&mut self, command: Option<&[u8]>, code: u16) -> Result<()> {
        if let Some(command) = command {
            self.send(command)?;
        }
        loop {
            let line = self.line()?;
            ensure!(
                line.starts_with(&code.to_string()),
                "expected the reply {code}, got {line}"
            );
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }

    /// The commands before a message.
    fn envelope(&mut self, from: &str, to: &str) -> Result<()> {
        self.expect(Some(format!("MAIL FROM:<{from}>\r\n").as_bytes()), 250)?;
        self.expect(Some(format!("RCPT TO:<{to}>\r\n").as_bytes()), 250)?;
        self.expect(Some(b"DATA\r\n"), 354)
    }

    /// A message that has no line with a dot at its beginning, and its end.
    fn content(&mut self, message: &[u8]) -> Result<()> {
        self.send(message)?;
        self.expect(Some(b".\r\n"), 250)
    }

    /// Reads up to the line that begins so.
    pub(super) fn until(&mut self, beginning: &str) -> Result<()> {
        while !self.line()?.starts_with(beginning) {}
        Ok(())
    }
}

fn unix(socket: &Path) -> Result<Conversation<UnixStream>> {
    let stream = UnixStream::connect(socket)
        .with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream
        .set_read_timeout(Some(TIMEOUT))
        .context("cannot set a time-out")?;
    Ok(Conversation::new(stream))
}

fn tcp(host: &str, port: u16, timeout: Duration) -> Result<Conversation<TcpStream>> {
    Ok(Conversation::new(stream(host, port, timeout)?))
}

/// A connection whose silence ends after that time.
pub(super) fn stream(host: &str, port: u16, timeout: Duration) -> Result<TcpStream> {
    let stream = TcpStream::connect((host, port))
        .with_context(|| format!("cannot connect to port {port}"))?;
    stream
        .set_read_timeout(Some(timeout))
        .and_then(|()| stream.set_write_timeout(Some(timeout)))
        .and_then(|()| stream.set_nodelay(true))
        .context("cannot set up the connection")?;
    Ok(stream)
}

/// Dovecot's auth socket, as Postfix uses it for SASL (Dovecot's authentication protocol 1.2).
pub(super) struct Sasl {
    lines: Conversation<UnixStream>,
    requests: u32,
}

impl Sasl {
    pub(super) fn connect(socket: &Path) -> Result<Sasl> {
        /// The server takes each number from one connection only.
        static CLIENTS: AtomicU32 = AtomicU32::new(1);
        let mut lines = unix(socket)?;
        let client = CLIENTS.fetch_add(1, Ordering::Relaxed);
        lines.send(format!("VERSION\t1\t2\nCPID\t{client}\n").as_bytes())?;
        lines.until("DONE")?;
        Ok(Sasl { lines, requests: 0 })
    }

    /// PLAIN (RFC 4616).
    pub(super) fn login(&mut self, account: &Account) -> Result<()> {
        self.requests += 1;
        let id = self.requests;
        let response = STANDARD.encode(format!("\0{}\0{}", account.address, account.password));
        self.lines.send(
            format!("AUTH\t{id}\tPLAIN\tservice=smtp\tsecured\tresp={response}\n").as_bytes(),
        )?;
        let answer = self.lines.line()?;
        let mut words = answer.split('\t');
        match (words.next(), words.next()) {
            (Some("OK"), Some(answered)) if answered == id.to_string() => Ok(()),
            (word, _) => bail!("SASL login: the answer is {}", word.unwrap_or_default()),
        }
    }
}

/// LMTP (RFC 2033) to Dovecot, as Postfix delivers.
pub(super) struct Lmtp(Conversation<UnixStream>);

impl Lmtp {
    pub(super) fn connect(socket: &Path) -> Result<Lmtp> {
        let mut lines = unix(socket)?;
        lines.expect(None, 220)?;
        lines.expect(Some(b"LHLO client.test\r\n"), 250)?;
        Ok(Lmtp(lines))
    }

    pub(super) fn deliver(&mut self, from: &str, to: &str, message: &[u8]) -> Result<()> {
        self.begin(from, to)?;
        self.content(message)
    }

    /// All that comes before the message.
    pub(super) fn begin(&mut self, from: &str, to: &str) -> Result<()> {
        self.0.envelope(from, to)
    }

    /// The message, up to the reply to it.
    pub(super) fn content(&mut self, message: &[u8]) -> Result<()> {
        self.0.content(message)
    }
}

/// Sends a message to port 25 over as many connections as asked for, at the same time: none begins its message before
/// the server wants it from all of them.
pub(super) fn all_at_once(
    endpoints: &Endpoints,
    connections: usize,
    from: &str,
    to: &str,
    message: &[u8],
) -> Result<()> {
    let open = |_| {
        let mut lines = tcp(&endpoints.host, endpoints.smtp, 10 * TIMEOUT)?;
        lines.expect(None, 220)?;
        lines.expect(Some(b"EHLO client.test\r\n"), 250)?;
        lines.envelope(from, to)?;
        Ok(lines)
    };
    let sessions = (0..connections).map(open).collect::<Result<Vec<_>>>()?;
    thread::scope(|scope| {
        let send = |mut lines: Conversation<TcpStream>| scope.spawn(move || lines.content(message));
        let threads: Vec<_> = sessions.into_iter().map(send).collect();
        threads
            .into_iter()
            .try_for_each(|thread| match thread.join() {
                Ok(outcome) => outcome,
                Err(_) => bail!("a client thread panicked"),
            })
    })
}

/// Whether a load of messages uses a connection for each of them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Connections {
    OnePerMessage,
    Kept,
}

/// Messages for Postfix's own load generator, smtp-source(1).
pub(super) struct Load {
    pub(super) sessions: u32,
    pub(super) messages: u32,
    pub(super) connections: Connections,
    /// With LF line ends.
    pub(super) file: PathBuf,
    pub(super) from: String,
    pub(super) to: String,
}

impl Load {
    /// Many times this message; it goes into `file` first.
    pub(super) fn of(mail: &Mail, from: &str, to: &str, file: &Path) -> Result<Load> {
        let text = String::from_utf8_lossy(&mail.to_bytes()).replace("\r\n", "\n");
        fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))?;
        Ok(Load {
            sessions: 20,
            messages: 1,
            connections: Connections::OnePerMessage,
            file: file.to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        })
    }

    /// Sends them to a port of the relay that asks for no login, up to the last reply. A refusal is an error.
    pub(super) fn send(&self, port: u16) -> Result<()> {
        let mut command = Command::new("smtp-source");
        if self.connections == Connections::Kept {
            command.arg("-d");
        }
        command
            .args(["-4", "-M", "outside.test"])
            .args(["-s", &self.sessions.to_string()])
            .args(["-m", &self.messages.to_string()])
            .args(["-f", &self.from, "-t", &self.to, "-F"])
            .arg(&self.file)
            .arg(format!("inet:127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let status = command
            .status()
            .context("cannot run smtp-source, which comes with Postfix")?;
        ensure!(status.success(), "smtp-source: {status}");
        Ok(())
    }
}
