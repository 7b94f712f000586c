//! The echo bot, and somebody who talks to it with Delta Chat.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use chatmail_tests::instance::reachable_tempdir;
use chatmail_tests::process::{self, Process, Signal};
use chatmail_tests::{Instance, deltachat, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A user who owns nothing, with a group of the same number.
const NOBODY: u32 = 65_534;

/// MiB that the bot may take, without core.
const MEMORY: u64 = 20;

#[test]
fn a_friend_joins_by_the_invite_link_and_gets_everything_back_once() {
    let relay = roomy();
    let host = BotHost::new(&relay);
    host.create_account();
    let mut bot = host.start();
    let mut friend = Friend::new(&relay);
    friend.ask(&json!({"do": "join", "link": host.invite_link()}));

    friend.says("Hello, echo");
    let answer = friend.gets("Hello, echo");
    assert_eq!(answer["padlock"], true);
    assert_eq!(answer["bot"], true);
    // The second comes in two messages.
    for (name, size) in [("small.bin", 100), ("large.bin", 300_000)] {
        let content: Vec<u8> = (0..size).map(|n| (n * 7 % 251) as u8).collect();
        let file = host.write(name, &content);
        friend.ask(&json!({"do": "send", "file": file, "text": format!("see {name}")}));
        let answer = friend.ask(&json!({"do": "wait", "file": name}));
        assert_eq!(answer["text"], format!("see {name}"));
        assert_eq!(answer["content"], hex(&content), "{name}");
    }
    friend.says("/help");
    let answers = friend.has_after("That was help");
    let helped = |text: &&String| text.contains("echo bot of the chatmail relay chat.test");
    assert_eq!(answers.iter().filter(helped).count(), 1, "{answers:?}");

    friend.ask(&json!({"do": "group", "text": "Hello, group"}));
    wait::until_true("a message in a group", || {
        bot.log().contains("not answered: not from a chat of two")
    });

    println!(
        "the bot takes {} KiB (RSS), core {} KiB",
        bot.memory(),
        rss(bot.core().pid)
    );
    assert!(bot.memory() < MEMORY * 1024);

    // Away, with a message on its way.
    bot.kill();
    friend.says("Are you there?");
    let mut bot = host.start();
    friend.gets("Are you there?");

    // Killed between the answer and the note that it was given, as often as that can be hit.
    for round in 0..4 {
        let before = bot.answers();
        friend.says(&format!("Round {round}"));
        wait::until_true("an answer", || bot.answers() > before);
        bot.kill();
        bot = host.start();
    }

    // Core alone, which is started again.
    let core = bot.core();
    process::signal(core.pid, Signal::KILL).expect("kill");
    wait::until_true("another core", || {
        bot.try_core().is_some_and(|now| now.pid != core.pid)
    });
    friend.says("Still there?");
    friend.gets("Still there?");

    let answers = friend.has_after("Goodbye");
    let said = [
        "Are you there?",
        "Round 0",
        "Round 1",
        "Round 2",
        "Round 3",
        "Still there?",
    ];
    for text in said {
        let times = answers.iter().filter(|answer| *answer == text).count();
        assert_eq!(times, 1, "{text:?} in {answers:?}");
    }
    assert!(!answers.iter().any(|text| text == "Hello, group"));

    let core = bot.core();
    let status = bot.stop();
    assert_eq!(status.code(), Some(0), "{}", bot.log());
    assert!(process::all().iter().all(|process| process.pid != core.pid));
    let log = host.logs();
    for secret in ["@", "Round", "bin", host.password().as_str()] {
        assert!(!log.contains(secret), "{secret:?} in the log:\n{log}");
    }
}

#[test]
fn what_only_the_operator_can_put_right_ends_the_bot_with_a_word() {
    let relay = roomy();
    let host = BotHost::new(&relay);

    // No account yet.
    let ended = host.bot(&[]).output().expect("the bot");
    assert_eq!(ended.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("--create-account"));
    let none = host
        .command(NOBODY, &["--print-link"])
        .output()
        .expect("the bot");
    assert_eq!(none.status.code(), Some(66));

    // Made by somebody who does not own the mailboxes, it would be of no use.
    let foreign = host.create(NOBODY);
    assert_eq!(foreign.status.code(), Some(73));
    assert!(String::from_utf8_lossy(&foreign.stderr).contains("belongs to"));

    host.create_account();
    let ended = host
        .bot(&["--rpc-server", "/nonexistent/deltachat-rpc-server"])
        .output()
        .expect("the bot");
    assert_eq!(ended.status.code(), Some(69));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("PyPI"));
}

fn roomy() -> Instance {
    Instance::with()
        .param("max_user_send_per_minute", 600)
        .param("max_user_send_burst_size", 100)
        .start()
}

/// Where bots run: with a user of their own, who cannot look into the mailboxes.
struct BotHost<'r> {
    relay: &'r Instance,
    directory: TempDir,
    chatmail: PathBuf,
    core: PathBuf,
}

impl<'r> BotHost<'r> {
    fn new(relay: &'r Instance) -> BotHost<'r> {
        let directory = reachable_tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().join(name);
        // What is below target/ may be out of the bot's reach.
        let core = path("deltachat-rpc-server");
        let installed = deltachat::rpc_server().unwrap_or_else(|error| panic!("{error}"));
        process::copy_program(&installed, &core).expect("a copy");
        fs::copy(&relay.endpoints().config, path("chatmail.ini")).expect("a copy");
        fs::set_permissions(path("chatmail.ini"), fs::Permissions::from_mode(0o644))
            .expect("its mode");
        let mail_user = fs::metadata(&relay.endpoints().mailboxes_dir)
            .expect("mailboxes")
            .uid();
        for (name, owner) in [("account", mail_user), ("state", NOBODY)] {
            fs::create_dir(path(name)).expect("a directory");
            chown(path(name), Some(owner), Some(owner)).expect("its owner");
        }
        let serve = format!("/proc/{}/exe", relay.endpoints().serve_pid);
        let chatmail = path("chatmail");
        process::copy_program(Path::new(&serve), &chatmail).expect("a copy");
        BotHost {
            relay,
            chatmail,
            core,
            directory,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).expect("a file");
        self.path(name)
    }

    /// `chatmail echobot` as a user.
    fn command(&self, user: u32, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.chatmail);
        command
            .arg("echobot")
            .arg("--config")
            .arg(self.path("chatmail.ini"))
            .arg("--state-dir")
            .arg(self.path("state"))
            .args(arguments)
            .stdin(Stdio::null())
            .uid(user)
            .gid(user);
        command
    }

    fn create(&self, user: u32) -> std::process::Output {
        let mut command = self.command(user, &["--create-account", "--password-file"]);
        let directory = if user == NOBODY { "state" } else { "account" };
        command.arg(self.path(directory).join("password"));
        command.output().expect("the command")
    }

    /// Makes the account, as its unit does, and hands the password over, as systemd does.
    fn create_account(&self) {
        let mailboxes = fs::metadata(&self.relay.endpoints().mailboxes_dir).expect("mailboxes");
        for (user, word) in [(0, "is made"), (mailboxes.uid(), "nothing was done")] {
            let made = self.create(user);
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            assert!(made.status.success() && said.contains(word), "{said}");
        }
        let password = self.path("password");
        fs::copy(self.path("account/password"), &password).expect("a copy");
        chown(&password, Some(NOBODY), Some(NOBODY)).expect("its owner");
    }

    fn password(&self) -> String {
        let password = fs::read_to_string(self.path("password")).expect("the password");
        password.trim_end().to_owned()
    }

    fn bot(&self, arguments: &[&str]) -> Command {
        let endpoints = self.relay.endpoints();
        let ports = [endpoints.imaps, endpoints.smtps].map(|port| port.to_string());
        let mut command = self.command(
            NOBODY,
            &[
                "--host",
                &endpoints.host,
                "--imap-port",
                &ports[0],
                "--smtp-port",
                &ports[1],
                "--any-certificate",
                "--log-level",
                "debug",
            ],
        );
        command.arg("--password-file").arg(self.path("password"));
        if !arguments.contains(&"--rpc-server") {
            command.arg("--rpc-server").arg(&self.core);
        }
        command.args(arguments);
        command
    }

    /// Starts it and waits until it takes messages.
    fn start(&self) -> Bot {
        let number = self.log_files().len();
        let log = self.path(&format!("{number}.log"));
        let file = File::create(&log).expect("a log");
        let child = self.bot(&[]).stderr(file).spawn().expect("the bot");
        let bot = Bot { child, log };
        wait::until_true("the bot", || bot.log().contains("ready"));
        bot
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).expect("the directory");
        let files = entries.map(|entry| entry.expect("the directory").path());
        files
            .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
            .collect()
    }

    fn logs(&self) -> String {
        let logs = self.log_files();
        let logs = logs
            .iter()
            .map(|log| fs::read_to_string(log).expect("a log"));
        logs.collect()
    }

    /// As it is printed.
    fn invite_link(&self) -> String {
        let output = self
            .command(NOBODY, &["--print-link"])
            .output()
            .expect("the link");
        assert!(output.status.success());
        let mode = |path: &Path| fs::metadata(path).expect("a mode").permissions().mode() & 0o777;
        assert_eq!(mode(&self.path("state")), 0o700);
        let link = String::from_utf8(output.stdout).expect("a link");
        link.trim_end().to_owned()
    }
}

/// A running bot, killed when the test ends.
struct Bot {
    child: Child,
    log: PathBuf,
}

impl Bot {
    fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    /// How many it has sent.
    fn answers(&self) -> usize {
        self.log().matches(" answered id=").count()
    }

    /// KiB.
    fn memory(&self) -> u64 {
        rss(self.child.id())
    }

    fn try_core(&self) -> Option<Process> {
        let mut tree = process::tree(self.child.id()).into_iter();
        tree.find(|process| process.pid != self.child.id())
    }

    fn core(&self) -> Process {
        wait::until("core", || self.try_core())
    }

    fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("its end");
    }

    fn stop(&mut self) -> ExitStatus {
        process::signal(self.child.id(), Signal::TERM).expect("SIGTERM");
        self.child.wait().expect("its end")
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Delta Chat, which does what it is told.
struct Friend {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    _profile: TempDir,
}

impl Friend {
    fn new(relay: &Instance) -> Friend {
        let profile = tempfile::tempdir().expect("temporary directory");
        let python = deltachat::python().unwrap_or_else(|error| panic!("{error}"));
        let mut child = Command::new(python)
            .arg(deltachat::scripts().join("friend.py"))
            .arg(profile.path().join("accounts"))
            .arg(deltachat::login_link(
                relay.endpoints(),
                &relay.new_account("friend"),
            ))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("running Python");
        let mut friend = Friend {
            orders: child.stdin.take().expect("a pipe"),
            answers: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            _profile: profile,
        };
        assert_eq!(friend.answer(), json!({"ready": true}));
        friend
    }

    fn answer(&mut self) -> Value {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("Delta Chat has ended: {line:?}"))
    }

    fn ask(&mut self, order: &Value) -> Value {
        writeln!(self.orders, "{order}").expect("an order");
        self.answer()
    }

    fn says(&mut self, text: &str) {
        self.ask(&json!({"do": "send", "text": text}));
    }

    fn gets(&mut self, text: &str) -> Value {
        self.ask(&json!({"do": "wait", "text": text}))
    }

    /// The texts that came back, up to the answer to `last`.
    fn has_after(&mut self, last: &str) -> Vec<String> {
        self.says(last);
        self.gets(last);
        let received = self.ask(&json!({"do": "received"}));
        let received = received.as_array().expect("messages");
        let texts = received
            .iter()
            .map(|message| message["text"].as_str().expect("text"));
        texts.map(str::to_owned).collect()
    }
}

impl Drop for Friend {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// KiB of a process that are in memory.
fn rss(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("its memory")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
