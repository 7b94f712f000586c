//! The echo bot, and somebody who talks to it with Delta Chat.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use chatmail_tests::echobot::{BotHost, NOBODY};
use chatmail_tests::imap::Answer;
use chatmail_tests::instance::Account;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::process::{self, Signal};
use chatmail_tests::{Instance, deltachat, wait};
use serde_json::{Value, json};
use tempfile::TempDir;

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
    // The second is the largest that comes in one message, and more than core fetches at once.
    for (name, size) in [("small.bin", 100), ("medium.bin", 140_000)] {
        let content = noise(size);
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
        process::memory(bot.pid()),
        process::memory(bot.core().pid)
    );
    assert!(process::memory(bot.pid()) < MEMORY * 1024);

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
fn a_large_file_comes_back_with_its_text_whichever_of_the_two_the_relay_stored_first() {
    let relay = roomy();
    let host = BotHost::new(&relay);
    host.create_account();
    let mut bot = host.start();
    let mut friend = Friend::new(&relay);
    friend.ask(&json!({"do": "join", "link": host.invite_link()}));
    friend.says("Hello, echo");
    friend.gets("Hello, echo");

    let inbox = |account: &Account| relay.wait_for_messages(account, 0).len();
    let content = noise(300_000);
    for (name, is_swapped) in [("sorted.bin", false), ("swapped.bin", true)] {
        bot.stop();
        let account = host.account();
        let before = inbox(&account);
        let file = host.write(name, &content);
        friend.ask(&json!({"do": "send", "file": file, "text": format!("see {name}")}));
        relay.wait_for_messages(&account, before + 2);
        store_last_two(&relay, &account, is_swapped);

        // Core has no use for a text that it first sees when it has the file, so neither looks into
        // its mailbox before it holds both. The third is the receipt.
        friend.ask(&json!({"do": "offline"}));
        let before = inbox(&friend.account);
        bot = host.start();
        relay.wait_for_messages(&friend.account, before + 3);
        friend.ask(&json!({"do": "online"}));
        let answer = friend.ask(&json!({"do": "wait", "file": name}));
        assert_eq!(answer["text"], format!("see {name}"));
        assert_eq!(answer["content"], hex(&content), "{name}");
    }
    let answers = friend.has_after("Goodbye");
    let expected = [
        "Hello, echo",
        "see sorted.bin",
        "see swapped.bin",
        "Goodbye",
    ];
    assert_eq!(answers, expected);
}

/// Has the two messages of a large file stored anew: first the text and then the file, or swapped.
fn store_last_two(relay: &Instance, account: &Account, is_swapped: bool) {
    let mut imap = relay.imap(account);
    let count = imap.select_inbox().expect("INBOX");
    let mut messages = [count - 1, count].map(|number| imap.message(number).expect("a message"));
    let is_file = |message: &Vec<u8>| {
        String::from_utf8_lossy(message).contains("\r\nChat-Is-Post-Message: 1\r\n")
    };
    messages.sort_by_key(|message| is_file(message) != is_swapped);
    assert_ne!(is_file(&messages[0]), is_file(&messages[1]));
    for command in [
        format!("STORE {}:{count} +FLAGS.SILENT (\\Deleted)", count - 1),
        "EXPUNGE".to_owned(),
    ] {
        imap.command(&command).and_then(Answer::ok).expect("OK");
    }
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    for message in messages {
        let reply = lmtp.deliver("", &account.address, &message);
        assert_eq!(reply.expect("LMTP").code, 250);
    }
}

/// Bytes that nothing can compress, the same every time: core compresses, and the size of the message decides
/// when it is fetched.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(size).collect()
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

/// Delta Chat, which does what it is told.
struct Friend {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
    account: Account,
    _profile: TempDir,
}

impl Friend {
    fn new(relay: &Instance) -> Friend {
        let profile = tempfile::tempdir().expect("temporary directory");
        let account = relay.new_account("friend");
        let python = deltachat::python().unwrap_or_else(|error| panic!("{error}"));
        let mut child = Command::new(python)
            .arg(deltachat::scripts().join("friend.py"))
            .arg(profile.path().join("accounts"))
            .arg(deltachat::login_link(relay.endpoints(), &account))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("running Python");
        let mut friend = Friend {
            orders: child.stdin.take().expect("a pipe"),
            answers: BufReader::new(child.stdout.take().expect("a pipe")),
            child,
            account,
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

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
