//! The program itself, running.

use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};

use super::{Answer, Mail, Mta, PATIENCE, Relay, socket, wait_until};

pub const ALICE: &str = "alice@chat.test";
pub const BOB: &str = "bob@chat.test";
pub const CAROL: &str = "carol@elsewhere.test";

pub const PROGRAM: &str = env!("CARGO_BIN_EXE_chatmail-milter");

/// Without its sockets.
pub fn bare_command(relay: &Relay) -> Command {
    let mut command = Command::new(PROGRAM);
    command.arg("--config").arg(relay.config());
    for variable in [
        "JOURNAL_STREAM",
        "NOTIFY_SOCKET",
        "LISTEN_FDS",
        "LISTEN_PID",
    ] {
        command.env_remove(variable);
    }
    command
}

pub fn command(relay: &Relay) -> Command {
    let mut command = bare_command(relay);
    for direction in ["outgoing", "incoming"] {
        let socket = socket(relay, direction);
        command.arg(format!("--{direction}"));
        command.arg(format!("unix:{}", socket.display()));
    }
    command
}

/// A running daemon and what it has written to its log.
pub struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    pub fn start(relay: &Relay) -> Daemon {
        Daemon::run(&mut command(relay))
    }

    pub fn run(command: &mut Command) -> Daemon {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&log);
        let reader = std::thread::spawn(move || {
            for line in stderr.lines() {
                lines.lock().unwrap().push(line.unwrap());
            }
        });
        let reader = Some(reader);
        let daemon = Daemon { child, log, reader };
        daemon.wait_for("ready");
        daemon
    }

    pub fn wait_for(&self, text: &str) -> String {
        let mut found = None;
        wait_until(text, || {
            let log = self.log.lock().unwrap();
            found = log.iter().find(|line| line.contains(text)).cloned();
            assert!(found.is_some() || !self.is_over(), "no '{text}': {log:#?}");
            found.is_some()
        });
        found.unwrap()
    }

    /// Whether the log has come to its end, with the process.
    pub fn is_over(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code and the whole log.
    pub fn stop(mut self) -> (Option<i32>, Vec<String>) {
        self.signal(Signal::TERM);
        let status = self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        let log = self.log.lock().unwrap().clone();
        (status.code(), log)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // After `stop` there is nothing left to kill.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn exit_code(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

/// RFC 8410 section 10.3.
pub const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

/// Switches DKIM on, with a key in the relay's directory.
pub fn sign(relay: &Relay, selector: &str) {
    // Nobody listens there.
    sign_and_ask(relay, selector, "127.0.0.1:1");
}

pub fn sign_and_ask(relay: &Relay, selector: &str, resolver: impl Display) {
    let key = relay.path("dkim.pem");
    let text = format!(
        "[params]\nmail_domain = chat.test\nmailboxes_dir = {}\ndkim_selector = {selector}\n\
         dkim_key_file = {}\ndns_resolver = {resolver}\nmax_user_send_burst_size = 100\n",
        relay.path("mail").display(),
        key.display()
    );
    std::fs::write(relay.config(), text).unwrap();
    std::fs::write(key, KEY).unwrap();
}

/// The selector that the next message is signed with.
pub fn selector(mta: &mut Mta) -> String {
    let answers = mta.transaction(ALICE, &[CAROL], &Mail::encrypted(ALICE));
    let signature = answers.iter().find_map(|answer| match answer {
        Answer::Insert(name, value) if name == "DKIM-Signature" => Some(value.clone()),
        _ => None,
    });
    let signature = signature.unwrap_or_else(|| panic!("{answers:?}"));
    let (_, rest) = signature.split_once(" s=").unwrap();
    rest.split(';').next().unwrap().to_owned()
}

/// One request over a Unix socket; everything that comes back.
pub fn http(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}
