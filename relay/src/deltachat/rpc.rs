//! JSON-RPC 2.0 with one object a line: many calls under way at a time, answers in any order.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{debug, warn};

/// Longest line that is taken, in bytes. Core's longest, a list of a chat's messages, has ten for
/// each message.
const LINE_MAX: usize = 16 * 1024 * 1024;

/// A buffer that grew beyond this for one line is given back after it.
const BUFFER_KEPT: usize = 64 * 1024;

/// No call of core's takes longer but the wait for events: its own network timeouts are shorter.
const PATIENCE: Duration = Duration::from_secs(300);

/// Why a call has no result.
pub enum Error {
    /// The other side has gone, before the call or while it was under way.
    Gone,
    /// No answer for five minutes.
    Silent {
        /// What was called.
        method: &'static str,
    },
    /// The other side answered that it cannot.
    Refused {
        /// What was called.
        method: &'static str,
        /// Of JSON-RPC: -1 where core failed, below -32,000 where the call was wrong.
        code: i64,
        /// Core's own words. They may hold what is no business of a log.
        words: String,
    },
    /// The answer has another form than this version of core was known to give.
    Unexpected {
        /// What was called.
        method: &'static str,
    },
}

impl Error {
    /// Core's own words about a call that failed. They may hold addresses and content: only for calls
    /// that deal with neither.
    pub fn words(&self) -> Option<&str> {
        match self {
            Error::Refused { words, .. } => Some(words),
            _ => None,
        }
    }

    /// Whether there is nobody to ask any more.
    pub fn is_final(&self) -> bool {
        matches!(self, Error::Gone | Error::Silent { .. })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Gone => write!(f, "the RPC server has gone"),
            Error::Silent { method } => write!(f, "no answer to {method}"),
            Error::Refused { method, code, .. } => write!(f, "{method} failed (code {code})"),
            Error::Unexpected { method } => {
                write!(
                    f,
                    "the answer to {method} is not of the form it should have"
                )
            }
        }
    }
}

impl fmt::Debug for Error {
    /// Without core's words: this ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

/// One end of a connection. Clones are the same end.
#[derive(Clone)]
pub struct Rpc {
    line: Arc<Mutex<Line>>,
}

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").finish_non_exhaustive()
    }
}

/// What all clones share.
struct Line {
    /// `None` once the other side has gone, or was told to.
    outgoing: Option<mpsc::UnboundedSender<Vec<u8>>>,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    last_id: u64,
}

/// What the other side says.
#[derive(Deserialize)]
struct Answer {
    id: Option<u64>,
    #[serde(default)]
    result: Value,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    code: i64,
    #[serde(default)]
    message: String,
}

impl Rpc {
    /// Over the other side's output and input. To be called inside the runtime, which then reads and
    /// writes until the other side closes its output, or until [`Rpc::close`].
    pub fn over(
        output: impl AsyncRead + Send + Unpin + 'static,
        input: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Rpc {
        let (outgoing, lines) = mpsc::unbounded_channel();
        let line = Arc::new(Mutex::new(Line {
            outgoing: Some(outgoing),
            waiting: HashMap::new(),
            last_id: 0,
        }));
        tokio::spawn(write(lines, input));
        tokio::spawn(read(BufReader::new(output), Arc::clone(&line)));
        Rpc { line }
    }

    /// Calls a method. `params` is an array. A call that is dropped is under way all the same.
    ///
    /// # Errors
    ///
    /// [`Error`]; after [`Error::Silent`] a late answer is thrown away.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, Error> {
        self.call_within(PATIENCE, method, params).await
    }

    async fn call_within<T: DeserializeOwned>(
        &self,
        patience: Duration,
        method: &'static str,
        params: Value,
    ) -> Result<T, Error> {
        timeout(patience, self.wait(method, params))
            .await
            .unwrap_or(Err(Error::Silent { method }))
    }

    /// As [`Rpc::call`], for as long as it takes.
    ///
    /// # Errors
    ///
    /// [`Error`], but not [`Error::Silent`].
    pub async fn wait<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, Error> {
        let answer = self.ask(method, &params)?.await;
        let answer = answer.map_err(|_| Error::Gone)?;
        match answer.error {
            Some(Refusal { code, message }) => Err(Error::Refused {
                method,
                code,
                words: message,
            }),
            // What serde says of it would show parts of it.
            None => serde_json::from_value(answer.result).map_err(|_| Error::Unexpected { method }),
        }
    }

    /// Closes the other side's input, which ends it when it has read what was sent before.
    pub fn close(&self) {
        lock(&self.line).outgoing = None;
    }

    fn ask(
        &self,
        method: &'static str,
        params: &Value,
    ) -> Result<oneshot::Receiver<Answer>, Error> {
        let mut line = lock(&self.line);
        line.last_id += 1;
        let id = line.last_id;
        let call = json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params});
        let mut text = call.to_string().into_bytes();
        text.push(b'\n');
        // A whole line at once, by a task that nobody drops halfway.
        let sent = line.outgoing.as_ref().map(|outgoing| outgoing.send(text));
        let Some(Ok(())) = sent else {
            return Err(Error::Gone);
        };
        let (sender, receiver) = oneshot::channel();
        line.waiting.insert(id, sender);
        Ok(receiver)
    }
}

async fn write(mut lines: mpsc::UnboundedReceiver<Vec<u8>>, mut input: impl AsyncWrite + Unpin) {
    while let Some(line) = lines.recv().await {
        let written = input.write_all(&line).await;
        // Whoever has gone closes its output as well: the reader sees to those who wait.
        if written.is_err() || input.flush().await.is_err() {
            return;
        }
    }
    let _ = input.shutdown().await;
}

async fn read(mut output: impl AsyncBufRead + Unpin, line: Arc<Mutex<Line>>) {
    let mut text = Vec::new();
    loop {
        match next_line(&mut output, &mut text).await {
            Ok(true) => deliver(&text, &line),
            Ok(false) => break,
            Err(why) => {
                warn!("cannot read from the RPC server: {why}");
                break;
            }
        }
        text.shrink_to(BUFFER_KEPT);
    }
    let mut line = lock(&line);
    line.outgoing = None;
    // Dropped, they tell those who wait.
    line.waiting.clear();
}

/// The next line that is not empty; `false` at the end. Half a line at the end is none.
async fn next_line(
    output: &mut (impl AsyncBufRead + Unpin),
    text: &mut Vec<u8>,
) -> io::Result<bool> {
    loop {
        text.clear();
        let mut limited = (&mut *output).take(LINE_MAX as u64 + 1);
        limited.read_until(b'\n', text).await?;
        if text.len() > LINE_MAX {
            let why = format!("a line of more than {LINE_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        if text.pop() != Some(b'\n') {
            return Ok(false);
        }
        if !text.trim_ascii().is_empty() {
            return Ok(true);
        }
    }
}

/// Hands an answer to whoever waits for it. Anything else is passed over: a library of the program may
/// print something, too.
fn deliver(text: &[u8], line: &Mutex<Line>) {
    let Ok(answer) = serde_json::from_slice::<Answer>(text) else {
        debug!(bytes = text.len(), "passed over a line that is no answer");
        return;
    };
    let Some(id) = answer.id else {
        if let Some(Refusal { code, .. }) = answer.error {
            warn!("the RPC server did not understand a call (code {code})");
        }
        return;
    };
    match lock(line).waiting.remove(&id) {
        // Gone if the call was dropped.
        Some(waiting) => drop(waiting.send(answer)),
        None => debug!(id, "passed over an answer to no call"),
    }
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
