//! The program itself: exit codes, sockets, signals, log, metrics.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use common::dns::Dns;
use common::signer::Key;
use common::{Answer, Mail, Mta, Relay, socket, wait_until};
use rustix::process::{Pid, Resource, Signal, geteuid, getrlimit, kill_process, setrlimit};

const ALICE: &str = "alice@chat.test";
const BOB: &str = "bob@chat.test";

const PROGRAM: &str = env!("CARGO_BIN_EXE_chatmail-milter");

/// Without its sockets.
fn bare_command(relay: &Relay) -> Command {
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

fn command(relay: &Relay) -> Command {
    let mut command = bare_command(relay);
    for direction in ["outgoing", "incoming"] {
        let socket = socket(relay, direction);
        command.arg(format!("--{direction}"));
        command.arg(format!("unix:{}", socket.display()));
    }
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
        Daemon::run(&mut command(relay))
    }

    fn run(command: &mut Command) -> Daemon {
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

    fn wait_for(&self, text: &str) -> String {
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
    fn is_over(&self) -> bool {
        self.reader.as_ref().is_none_or(JoinHandle::is_finished)
    }

    fn pid(&self) -> u32 {
        self.child.id()
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

/// The options in a text, each of which begins with `prefix` there.
fn options(text: &str, prefix: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
    text.split(prefix)
        .skip(1)
        .map(|rest| rest.split(|c| !is_name(c)).next().unwrap().to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[test]
fn the_manual_explains_every_option_and_no_other() {
    let output = Command::new(PROGRAM).arg("--help").output().unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let manual = concat!(env!("CARGO_MANIFEST_DIR"), "/../man/chatmail-milter.8");
    let manual = std::fs::read_to_string(manual).unwrap();
    let explained: String = manual.lines().filter(|l| l.starts_with(".It Fl")).collect();
    let (synopsis, _) = manual.split_once(".Sh DESCRIPTION").unwrap();
    let known = options(&help, " --");
    assert!(known.len() >= 8, "{known:?}");
    assert_eq!(options(&explained, "\\-"), known);
    assert_eq!(options(synopsis, "\\-"), known);
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
    relay.configure("max_user_send_burst_size = 5\nmax_mailbox_size = lots");
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for("the old configuration stays");
    for named in ["chatmail.ini", "max_mailbox_size", "lots"] {
        assert!(line.contains(named), "{line}");
    }
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

#[test]
fn a_message_on_its_way_comes_to_its_end_before_the_daemon_does() {
    let relay = Relay::new();
    let daemon = Daemon::start(&relay);
    let mail = Mail::encrypted(ALICE);
    let mut idle = Mta::connect(&socket(&relay, "outgoing"));
    let mut mta = Mta::connect(&socket(&relay, "outgoing"));
    mta.mail(ALICE);
    mta.recipient(BOB);
    mta.content(&mail);
    daemon.signal(Signal::TERM);
    daemon.wait_for("stopping");
    assert!(idle.is_hung_up());
    assert_eq!(mta.end().last(), Some(&Answer::Continue));
    assert!(mta.is_hung_up());
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log:#?}");
    for direction in ["outgoing", "incoming"] {
        assert!(!socket(&relay, direction).exists());
    }
}

#[test]
fn a_daemon_without_its_sockets_says_which_are_missing() {
    let relay = Relay::new();
    let (code, text) = exit_code(&mut bare_command(&relay));
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("--outgoing"), "{text}");
    let outgoing = format!("--outgoing=unix:{}", relay.path("o.sock").display());
    let (code, text) = exit_code(bare_command(&relay).arg(outgoing));
    assert_eq!(code, Some(64), "{text}");
    assert!(
        text.contains("--incoming") && !text.contains("--outgoing"),
        "{text}"
    );
}

/// RFC 8410 section 10.3.
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC
-----END PRIVATE KEY-----
";

/// Switches DKIM on, with a key in the relay's directory.
fn sign(relay: &Relay, selector: &str) {
    // Nobody listens there.
    sign_and_ask(relay, selector, "127.0.0.1:1");
}

fn sign_and_ask(relay: &Relay, selector: &str, resolver: impl Display) {
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
fn selector(mta: &mut Mta) -> String {
    let answers = mta.transaction(ALICE, &[BOB], &Mail::encrypted(ALICE));
    let signature = answers.iter().find_map(|answer| match answer {
        Answer::Insert(name, value) if name == "DKIM-Signature" => Some(value.clone()),
        _ => None,
    });
    let signature = signature.unwrap_or_else(|| panic!("{answers:?}"));
    let (_, rest) = signature.split_once(" s=").unwrap();
    rest.split(';').next().unwrap().to_owned()
}

#[test]
fn a_daemon_without_a_sound_dkim_key_does_not_start() {
    let relay = Relay::new();
    sign(&relay, "one");
    let key = relay.path("dkim.pem");
    for broken in [None, Some(""), Some("no key"), Some(&KEY[..60])] {
        match broken {
            Some(text) => std::fs::write(&key, text).unwrap(),
            None => std::fs::remove_file(&key).unwrap(),
        }
        let (code, text) = exit_code(&mut command(&relay));
        assert_eq!(code, Some(78), "{text}");
        for named in ["chatmail.ini", "dkim_key_file", "dkim.pem"] {
            assert!(text.contains(named), "{text}");
        }
        assert!(!text.contains("MC4CAQ"), "{text}");
    }
}

#[test]
fn a_bounce_of_ours_is_signed_and_not_checked() {
    let relay = Relay::new();
    sign(&relay, "one");
    let internal = socket(&relay, "internal");
    let mut command = command(&relay);
    command.arg(format!("--internal=unix:{}", internal.display()));
    let daemon = Daemon::run(&mut command);
    let mut mta = Mta::connect(&internal);
    let bounce = Mail::cleartext("mailer-daemon@chat.test");
    let answers = mta.transaction("", &["eve@elsewhere.test"], &bounce);
    assert_eq!(answers.last(), Some(&Answer::Continue), "{answers:?}");
    let signed =
        |answer: &Answer| matches!(answer, Answer::Insert(name, _) if name == "DKIM-Signature");
    assert!(answers.iter().any(signed), "{answers:?}");
    let line = daemon.wait_for("queue_id=\"4DFF6990062\"");
    assert!(
        line.contains("direction=\"internal\" verdict=\"accepted\""),
        "{line}"
    );
    daemon.stop();
    assert!(!internal.exists());
}

#[test]
fn the_longest_log_does_not_tell_who_wrote_either() {
    let relay = Relay::new();
    let dns = Dns::start();
    let (key, name) = (Key::fresh(), "sel._domainkey.elsewhere.test");
    dns.text(name, &key.record());
    sign_and_ask(&relay, "one", dns.address);
    let metrics = relay.path("metrics.sock");
    let mut command = command(&relay);
    command.args(["--log-level", "debug"]);
    command.arg(format!("--metrics=unix:{}", metrics.display()));
    let daemon = Daemon::run(&mut command);
    let mut mta = Mta::connect(&socket(&relay, "incoming"));
    let eve = "eve@elsewhere.test";
    for selector in ["sel", "unknown"] {
        let mail = Mail::encrypted(eve).signed(&key, "elsewhere.test", selector);
        mta.transaction(eve, &[ALICE], &mail);
    }
    assert!(dns.asked().iter().any(|asked| asked == name));
    http(&metrics, "eve@elsewhere.test\r\n\r\n");
    mta.write(&[0xff; 4]);
    drop(mta);
    let (_, log) = daemon.stop();
    assert!(
        log.iter().any(|line| line.contains("dkim=\"pass\"")),
        "{log:#?}"
    );
    for line in &log {
        for secret in ["eve", "elsewhere", "alice", "_domainkey"] {
            assert!(!line.contains(secret), "{line}");
        }
    }
}

#[test]
fn a_broken_dkim_key_is_reported_and_the_old_one_signs_on() {
    let relay = Relay::new();
    sign(&relay, "one");
    let daemon = Daemon::start(&relay);
    let mut mta = Mta::connect(&socket(&relay, "outgoing"));
    assert_eq!(selector(&mut mta), "one");

    sign(&relay, "two");
    std::fs::write(relay.path("dkim.pem"), "no key").unwrap();
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for("the old configuration stays");
    for named in ["chatmail.ini", "dkim_key_file", "dkim.pem"] {
        assert!(line.contains(named), "{line}");
    }
    // Neither the key nor what else the configuration says.
    assert_eq!(selector(&mut mta), "one");

    sign(&relay, "two");
    daemon.signal(Signal::HUP);
    daemon.wait_for("configuration read again");
    assert_eq!(selector(&mut mta), "two");
}

/// The command with these two sockets open in it, as systemd would pass them on.
fn activated(command: &Command, names: &str, sockets: [OwnedFd; 2]) -> Command {
    let [first, second] = sockets;
    let mut shell = Command::new("sh");
    shell
        .args([
            "-c",
            "export LISTEN_PID=$$; exec 3<&0 4<&1 0</dev/null 1>&2; exec \"$@\"",
            "sh",
        ])
        .arg(command.get_program())
        .args(command.get_args())
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", names)
        .env_remove("JOURNAL_STREAM")
        .env_remove("NOTIFY_SOCKET")
        .stdin(first)
        .stdout(second);
    shell
}

#[test]
fn sockets_passed_on_by_systemd_are_used_and_left_where_they_are() {
    let relay = Relay::new();
    let incoming = socket(&relay, "incoming");
    let unix = UnixListener::bind(&incoming).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let outgoing = tcp.local_addr().unwrap();
    let sockets = [OwnedFd::from(unix), OwnedFd::from(tcp)];
    // Mail that came before the daemon waits for it.
    let mut mta = Mta::silent(&incoming);
    mta.send(b'O', &[6, 0x1ff, 0x1f_ffff].map(u32::to_be_bytes).concat());
    let command = activated(&bare_command(&relay), "incoming:outgoing", sockets);
    let daemon = Daemon::run(&mut { command });
    assert_eq!(mta.receive().unwrap().0, b'O');
    TcpStream::connect(outgoing).unwrap();
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log:#?}");
    assert!(incoming.exists());
}

#[test]
fn sockets_passed_on_by_systemd_need_the_right_names() {
    for (names, options, complaint) in [
        ("incoming:out", vec![], "FileDescriptorName=out"),
        ("incoming", vec![], "FileDescriptorName=unknown"),
        ("incoming:incoming", vec![], "second one"),
        ("incoming:metrics", vec![], "--outgoing"),
        (
            "incoming:outgoing",
            vec!["--incoming", "inet:0@127.0.0.1"],
            "one or the other",
        ),
    ] {
        let relay = Relay::new();
        let sockets = [(); 2].map(|()| OwnedFd::from(TcpListener::bind("127.0.0.1:0").unwrap()));
        let mut command = bare_command(&relay);
        command.args(options);
        let (code, text) = exit_code(&mut activated(&command, names, sockets));
        assert_eq!(code, Some(64), "{names}: {text}");
        assert!(text.contains(complaint), "{names}: {text}");
    }
}

#[test]
fn systemd_is_told_when_the_daemon_is_ready_and_what_holds_it_up() {
    let relay = Relay::new();
    let path = relay.path("notify.sock");
    let systemd = UnixDatagram::bind(&path).unwrap();
    systemd.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let told = || {
        let mut buffer = [0; 4096];
        let length = systemd.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let daemon = Daemon::run(command(&relay).env("NOTIFY_SOCKET", &path));
    assert_eq!(told().trim_end(), "READY=1");
    relay.configure("max_mailbox_size = lots");
    daemon.signal(Signal::HUP);
    let status = told();
    assert!(
        status.starts_with("STATUS=") && status.contains("max_mailbox_size"),
        "{status}"
    );
    daemon.stop();
    assert_eq!(told().trim_end(), "STOPPING=1");
}

/// One request over a Unix socket; everything that comes back.
fn http(socket: &Path, request: &str) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn the_metrics_count_messages_and_name_nobody() {
    let relay = Relay::with("max_user_send_per_minute = 1\nmax_user_send_burst_size = 2");
    let metrics = relay.path("metrics.sock");
    let mut command = command(&relay);
    command.arg(format!("--metrics=unix:{}", metrics.display()));
    let daemon = Daemon::run(&mut command);
    let mut mta = Mta::connect(&socket(&relay, "outgoing"));
    mta.transaction(ALICE, &[BOB], &Mail::encrypted(ALICE));
    mta.transaction(ALICE, &[BOB], &Mail::cleartext(ALICE));
    assert!(matches!(mta.mail(ALICE), Answer::Reply(_)));
    mta.send(b'A', b"");
    mta.transaction(BOB, &["nobody@chat.test"], &Mail::encrypted(BOB));
    let text = http(&metrics, "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for line in [
        "chatmail_milter_messages_total{direction=\"outgoing\",verdict=\"accepted\",reason=\"encrypted\"} 1",
        "chatmail_milter_messages_total{direction=\"outgoing\",verdict=\"refused\",reason=\"not-encrypted\"} 1",
        "chatmail_milter_message_size_bytes_count{direction=\"outgoing\"} 2",
        "chatmail_milter_message_duration_seconds_count{direction=\"outgoing\"} 2",
        "chatmail_milter_recipients_refused_total{reason=\"unknown\"} 1",
        "chatmail_milter_senders_refused_total{reason=\"rate-limit\"} 1",
        "chatmail_milter_connections{direction=\"outgoing\"} 1",
    ] {
        assert!(text.lines().any(|l| l == line), "{line}\n{text}");
    }
    assert!(text.contains("chatmail_milter_seipd_total{direction=\"outgoing\",version=\""));
    for secret in ["alice", "bob", "chat.test", "Lunch"] {
        assert!(!text.contains(secret), "{text}");
    }
    daemon.stop();
    assert!(!metrics.exists());
}

/// What Postfix may open at once with its default limits and some more.
const CROWD: u64 = 4_000;

/// Octets of resident memory.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

#[test]
fn an_ordinary_user_serves_4000_connections_at_once() {
    // Both processes hold one end of each.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let most = limit.maximum.map_or(CROWD, |most| most.saturating_sub(200));
    if most < CROWD {
        eprintln!(
            "WARNING: no {CROWD} connections, only {most}: the hard limit of open files is low (ulimit -Hn)"
        );
    }
    let crowd = most.min(CROWD);

    let relay = Relay::new();
    sign(&relay, "one");
    let mut command = command(&relay);
    if geteuid().is_root() {
        let program = relay.path("chatmail-milter");
        std::fs::copy(PROGRAM, &program).unwrap();
        let nobody = 65_534;
        let user = command
            .get_args()
            .map(ToOwned::to_owned)
            .collect::<Vec<_>>();
        command = Command::new(program);
        command.args(user).uid(nobody).gid(nobody);
        for name in ["", "chatmail.ini", "dkim.pem", "mail"] {
            chown(relay.path(name), Some(nobody), Some(nobody)).unwrap();
        }
    }
    let daemon = Daemon::run(&mut command);
    let before = resident(daemon.pid());
    let outgoing = socket(&relay, "outgoing");
    let mut crowd: Vec<Mta> = (0..crowd).map(|_| Mta::connect(&outgoing)).collect();
    let mut held = resident(daemon.pid()) - before;
    println!(
        "{} idle connections: {} KiB, after a start at {} KiB",
        crowd.len(),
        held / 1024,
        before / 1024
    );
    // Each in the middle of an envelope: what a relay in trouble looks like.
    for (number, mta) in crowd.iter_mut().enumerate() {
        assert_eq!(
            mta.mail(&format!("user{number}@chat.test")),
            Answer::Continue
        );
    }
    let mut mta = Mta::connect(&outgoing);
    assert_eq!(selector(&mut mta), "one");
    held = held.max(resident(daemon.pid()) - before);
    println!("with an open message each: {} KiB", held / 1024);
    assert!(held < 64 << 20, "{held}");
    let last = crowd.last_mut().unwrap();
    last.recipient(BOB);
    last.content(&Mail::cleartext(ALICE));
    assert!(matches!(last.end().last(), Some(Answer::Reply(_))));
    drop(crowd);
    let (code, _) = daemon.stop();
    assert_eq!(code, Some(0));
}
