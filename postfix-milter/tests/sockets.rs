//! The program's sockets: made by itself or passed on by systemd, and thousands of connections.

#![allow(clippy::unwrap_used)]

mod common;

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::fs::chown;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::process::Command;

use common::daemon::{
    ALICE, BOB, Daemon, PROGRAM, bare_command, command, exit_code, selector, sign,
};
use common::{Answer, Mail, Mta, Relay, socket};
use rustix::process::{Resource, Signal, geteuid, getrlimit, setrlimit};

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

/// What Postfix may open at once with its default limits and some more.
const CROWD: u64 = 4_000;

/// Octets of resident memory.
fn resident(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.unwrap().split_whitespace().nth(1).unwrap();
    kilobytes.parse::<u64>().unwrap() * 1024
}

/// By another process: a program cannot be started while it is open for writing somewhere, and what is open here
/// is open for a moment in every process that a test beside this one starts.
fn copy_program(from: &str, to: &std::path::Path) {
    let copied = Command::new("cp").arg(from).arg(to).status();
    assert!(copied.unwrap().success());
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
        copy_program(PROGRAM, &program);
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
