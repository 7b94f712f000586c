//! The program itself: exit codes, signals, log.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixListener;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use common::{Answer, Mail, Mta, Relay, socket, wait_until};
use rustix::process::{Pid, Signal, kill_process};

const ALICE: &str = "alice@chat.test";
const BOB: &str = "bob@chat.test";

fn command(relay: &Relay) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatmail-milter"));
    command.arg("--config").arg(relay.config());
    for direction in ["outgoing", "incoming"] {
        let socket = socket(relay, direction);
        command.arg(format!("--{direction}"));
        command.arg(format!("unix:{}", socket.display()));
    }
    command.env_remove("JOURNAL_STREAM");
    command
}

/// A running daemon and what it has written to its log.
struct Daemon {
    child: Child,
    log: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Daemon {
    fn start(relay: &Relay) -> Daemon {
        let mut child = command(relay).stderr(Stdio::piped()).spawn().unwrap();
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

    fn wait_for(&self, text: &str) -> String {
        let mut found = None;
        wait_until(text, || {
            let log = self.log.lock().unwrap();
            found = log.iter().find(|line| line.contains(text)).cloned();
            found.is_some()
        });
        found.unwrap()
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// The exit code and the whole log.
    fn stop(mut self) -> (Option<i32>, Vec<String>) {
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

fn exit_code(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code(), text)
}

#[test]
fn wrong_usage_exits_with_64() {
    let relay = Relay::new();
    assert_eq!(exit_code(command(&relay).arg("--verbose")).0, Some(64));
    let group = command(&relay)
        .args(["--socket-group", "no such group"])
        .output();
    assert_eq!(group.unwrap().status.code(), Some(64));
}

#[test]
fn a_missing_configuration_exits_with_78_and_is_named() {
    let relay = Relay::new();
    std::fs::remove_file(relay.config()).unwrap();
    let (code, text) = exit_code(&mut command(&relay));
    assert_eq!(code, Some(78));
    assert!(text.contains("chatmail.ini"), "{text}");
}

#[test]
fn a_socket_of_another_process_exits_with_75_and_an_impossible_one_with_73() {
    let relay = Relay::new();
    let path = socket(&relay, "outgoing");
    let other = UnixListener::bind(&path).unwrap();
    assert_eq!(exit_code(&mut command(&relay)).0, Some(75));
    drop(other);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    let (code, text) = exit_code(&mut command(&relay));
    assert_eq!(code, Some(73));
    assert!(text.contains("outgoing.sock"), "{text}");
}

#[test]
fn help_teaches_how_postfix_is_told() {
    let output = Command::new(env!("CARGO_BIN_EXE_chatmail-milter"))
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("default_action=tempfail"), "{text}");
}

#[test]
fn the_log_has_one_line_for_a_message_and_names_nobody() {
    let relay = Relay::new();
    let daemon = Daemon::start(&relay);
    let mut mta = Mta::connect(&socket(&relay, "outgoing"));
    mta.transaction(ALICE, &[BOB], &Mail::encrypted(ALICE));
    mta.transaction(ALICE, &[BOB], &Mail::cleartext(ALICE));
    mta.transaction(ALICE, &[BOB], &Mail::encrypted("eve@chat.test"));
    drop(mta);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0));
    let messages: Vec<&String> = log.iter().filter(|l| l.contains("queue_id=")).collect();
    assert_eq!(messages.len(), 3, "{log:#?}");
    for (line, verdict) in messages.iter().zip([
        "verdict=\"accepted\" reason=\"encrypted\"",
        "verdict=\"refused\" reason=\"not-encrypted",
        "verdict=\"refused\" reason=\"from-mismatch",
    ]) {
        assert!(line.contains("queue_id=\"4DFF6990062\""), "{line}");
        assert!(line.contains("direction=\"outgoing\""), "{line}");
        assert!(line.contains(verdict), "{line}");
        assert!(line.contains("size=") && line.contains("ms="), "{line}");
    }
    for line in &log {
        for secret in ["alice", "bob", "eve", "lunch", "Lunch", "\u{1b}"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[test]
fn a_broken_configuration_is_reported_and_the_old_one_stays() {
    let relay = Relay::with("max_user_send_per_minute = 1\nmax_user_send_burst_size = 1");
    let daemon = Daemon::start(&relay);
    std::fs::write(relay.config(), "[params]\nmail_domain =\n").unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for("the old configuration stays");
    let mut mta = Mta::connect(&socket(&relay, "outgoing"));
    assert_eq!(mta.mail(ALICE), Answer::Continue);
    mta.send(b'A', b"");
    assert!(matches!(mta.mail(ALICE), Answer::Reply(_)));

    relay.configure("max_user_send_per_minute = 1\nmax_user_send_burst_size = 5");
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration read again");
    mta.send(b'A', b"");
    assert_eq!(mta.mail(ALICE), Answer::Continue);
}
