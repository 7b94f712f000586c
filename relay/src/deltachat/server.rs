//! The program `deltachat-rpc-server`.

use std::io;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Rpc;

/// Its name.
pub const PROGRAM: &str = "deltachat-rpc-server";

/// Longest line of the program's log that is kept, in bytes.
const WORDS_MAX: u64 = 400;

/// How long the end of the program's log is waited for when the program has ended.
const LOG_END: Duration = Duration::from_secs(1);

/// A running program. Dropped, it is killed: nothing that it has on its disk is lost by that.
#[derive(Debug)]
pub struct Server {
    child: Child,
    rpc: Rpc,
    last_words: Arc<Mutex<String>>,
    /// `None` once it was waited for.
    log: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts `program`, looked for on PATH if it is a bare name, with its accounts in a directory that it
    /// makes if it is missing. To be called inside the runtime.
    ///
    /// # Errors
    ///
    /// There is no such program, or it may not be run. Whatever is wrong inside shows in the first call.
    pub fn start(program: &Path, accounts: &Path) -> io::Result<Server> {
        let mut command = Command::new(program);
        command
            .env("DC_ACCOUNTS_PATH", accounts)
            // They would have it log what people write.
            .env_remove("RUST_LOG")
            .env_remove("DCC_MIME_DEBUG")
            // Ctrl-C in a terminal is for us: it is told to end when we have.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut child = command.spawn()?;
        let (Some(input), Some(output), Some(log)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(io::Error::other("a child without pipes"));
        };
        let last_words = Arc::new(Mutex::new(String::new()));
        Ok(Server {
            log: Some(tokio::spawn(keep_last_line(log, Arc::clone(&last_words)))),
            child,
            rpc: Rpc::over(output, input),
            last_words,
        })
    }

    /// To ask it.
    pub fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// The last line of its log; all of it is read when the program was stopped. Once it deals with mail that may hold addresses and content; what it says
    /// before, of a directory that it cannot use for example, does not.
    pub fn last_words(&self) -> String {
        let words = self.last_words.lock();
        words.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends it: its input is closed, and if that does not end it in time, it is killed.
    ///
    /// # Errors
    ///
    /// It can be neither waited for nor killed.
    pub async fn stop(&mut self, patience: Duration) -> io::Result<ExitStatus> {
        self.rpc.close();
        let ended = match timeout(patience, self.child.wait()).await {
            Ok(ended) => ended,
            Err(_) => {
                self.child.start_kill()?;
                self.child.wait().await
            }
        };
        if let Some(log) = self.log.take() {
            // A child of the program may keep it open.
            let _ = timeout(LOG_END, log).await;
        }
        ended
    }
}

/// What to tell an operator of a program that does not start.
pub fn cannot_run(program: &Path, why: &io::Error) -> String {
    format!(
        "{}: {why}; {PROGRAM} comes from PyPI, from npm, or from github.com/chatmail/core",
        program.display()
    )
}

async fn keep_last_line(log: impl AsyncRead + Unpin, kept: Arc<Mutex<String>>) {
    let mut log = BufReader::new(log);
    let mut line = Vec::new();
    // A long one in pieces.
    while let Ok(1..) = (&mut log)
        .take(WORDS_MAX)
        .read_until(b'\n', &mut line)
        .await
    {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.clear();
            kept.push_str(text.trim());
        }
        line.clear();
    }
}
