//! What an operator is asked on a terminal. script(1) makes one.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::iter::once;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use rustix::termios::{LocalModes, tcgetattr};

use super::Relay;

const SCRIPT: &str = "/usr/bin/script";

/// Otherwise the test is left out, or fails where everything has to run.
fn has_terminals() -> bool {
    let found = Path::new(SCRIPT).exists();
    if !found {
        assert!(std::env::var_os("CI").is_none(), "there is no {SCRIPT}");
        eprintln!("left out: script is not installed (Debian: apt install bsdutils)");
    }
    found
}

/// A command on a terminal of its own.
struct Terminal {
    child: Child,
    keyboard: ChildStdin,
    screen: ChildStdout,
    shown: String,
}

impl Terminal {
    fn run(relay: &Relay, words: &str) -> Terminal {
        let command = relay.command(&Vec::from_iter(words.split(' ')));
        // For a shell.
        let words = once(command.get_program()).chain(command.get_args());
        let words: Vec<_> = words
            .map(|word| format!("'{}'", word.to_str().unwrap()))
            .collect();
        let mut child = Command::new(SCRIPT)
            .args(["--quiet", "--return", "--command", &words.join(" ")])
            .arg("/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Terminal {
            keyboard: child.stdin.take().unwrap(),
            screen: child.stdout.take().unwrap(),
            child,
            shown: String::new(),
        }
    }

    /// Waits until it asks this, and types a line.
    #[track_caller]
    fn answer(&mut self, question: &str, line: &str) {
        self.wait_for(question);
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// The same, of what should not be seen: the terminal stops to show it a moment after the question is there.
    #[track_caller]
    fn answer_unseen(&mut self, question: &str, line: &str) {
        self.wait_for(question);
        while self.echoes() {
            sleep(Duration::from_millis(1));
        }
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// Whether the terminal shows what is typed.
    fn echoes(&self) -> bool {
        let script = self.child.id();
        let children = fs::read_to_string(format!("/proc/{script}/task/{script}/children"));
        let child = children.unwrap().trim().to_owned();
        let terminal = File::open(format!("/proc/{child}/fd/0")).unwrap();
        tcgetattr(terminal)
            .unwrap()
            .local_modes
            .contains(LocalModes::ECHO)
    }

    #[track_caller]
    fn wait_for(&mut self, question: &str) {
        let mut byte = [0];
        while !self.shown.ends_with(question) {
            let read = self.screen.read(&mut byte).unwrap();
            assert_eq!(read, 1, "it ended without {question:?}: {}", self.shown);
            self.shown.push(byte[0].into());
        }
    }

    /// How it ended, and all that was to be seen.
    fn end(mut self) -> (Option<i32>, String) {
        self.screen.read_to_string(&mut self.shown).unwrap();
        let status = self.child.wait().unwrap();
        (status.code(), self.shown)
    }
}

#[test]
fn a_password_is_asked_for_twice_and_not_shown() {
    if !has_terminals() {
        return;
    }
    let relay = Relay::new();
    relay.create("alice");
    let hash = || fs::read(relay.mailbox("alice").join("password")).unwrap();
    let old = hash();

    let mut terminal = Terminal::run(&relay, "password alice@chat.example");
    terminal.answer_unseen("New password: ", "battery staple");
    terminal.answer_unseen("Once more: ", "battery stable");
    let (code, shown) = terminal.end();
    assert_ne!(code, Some(0), "{shown}");
    assert!(!shown.contains("battery"), "{shown}");
    assert_eq!(hash(), old);

    let mut terminal = Terminal::run(&relay, "password alice@chat.example");
    terminal.answer_unseen("New password: ", "battery staple");
    terminal.answer_unseen("Once more: ", "battery staple");
    let (code, shown) = terminal.end();
    assert_eq!(code, Some(0), "{shown}");
    assert!(!shown.contains("battery"), "{shown}");
    assert_ne!(hash(), old);
}

#[test]
fn an_account_is_deleted_only_by_the_whole_word() {
    if !has_terminals() {
        return;
    }
    let relay = Relay::new();
    relay.create("alice");
    for (word, stays) in [("y", true), ("", true), ("yes", false)] {
        let mut terminal = Terminal::run(&relay, "delete alice@chat.example");
        terminal.answer("Type yes: ", word);
        let (code, shown) = terminal.end();
        assert_eq!(code == Some(0), !stays, "{word:?}: {shown}");
        assert_eq!(relay.mailbox("alice").exists(), stays, "{word:?}");
    }
}
