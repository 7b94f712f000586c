//! The command itself: its sockets, its log, its end.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::server::{PATIENCE, ini, parse};

const PROGRAM: &str = env!("CARGO_BIN_EXE_chatmail");

/// The directories of a relay, for a process.
struct Relay {
    dir: TempDir,
}

impl Relay {
    fn new(keys: &str) -> Relay {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("mail")).unwrap();
        let text = ini(&dir, "chat.example", keys);
        std::fs::write(dir.path().join("chatmail.ini"), text).unwrap();
        Relay { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn unix(&self) -> String {
        format!("unix:{}", self.path("http.sock").display())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        crate::mail_user::hand_over(self.dir.path());
        let mut command = Command::new(PROGRAM);
        command
            .args(["serve", "--log-level", "debug", "--config"])
            .arg(self.path("chatmail.ini"))
            .args(arguments)
            .env_remove("NOTIFY_SOCKET")
            .stderr(File::create(self.path("log")).unwrap());
        command
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap()
    }

    /// How it ends by itself.
    fn fails(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut serve = Serve(self.command(arguments).spawn().unwrap());
        (serve.end(), self.log())
    }

    fn ask(&self, line: &str) -> super::server::Answer {
        let mut stream = self.connect();
        write!(
            stream,
            "{line} HTTP/1.0\r\nX-Forwarded-For: 192.0.2.77\r\n\r\n"
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        parse(&answer)
    }

    /// As soon as it listens.
    fn connect(&self) -> UnixStream {
        let give_up = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(self.path("http.sock")) {
                Ok(stream) => return stream,
                Err(error) => assert!(Instant::now() < give_up, "{error}: {}", self.log()),
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A process, killed when the test ends.
struct Serve(Child);

impl Serve {
    fn stop(&mut self) {
        let pid = self.0.id().try_into().unwrap();
        // SAFETY: no memory is involved; the child is not waited for yet, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid, libc::SIGTERM) }, 0);
    }

    fn end(&mut self) -> Option<i32> {
        let give_up = Instant::now() + PATIENCE;
        while Instant::now() < give_up {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.code();
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("it does not end");
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_socket_that_cannot_be_had_is_named_and_ends_the_start() {
    let relay = Relay::new("");
    let other = UnixListener::bind(relay.path("http.sock")).unwrap();
    let (code, log) = relay.fails(&["--http", &relay.unix()]);
    assert_eq!(code, Some(75), "{log}");
    assert!(
        log.contains("http.sock") && log.contains("another process"),
        "{log}"
    );
    drop(other);
    let (code, log) = relay.fails(&["--http", "unix:/nonexistent/http.sock"]);
    assert_eq!(code, Some(73), "{log}");
    assert!(log.contains("/nonexistent/http.sock"), "{log}");
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = port.local_addr().unwrap().to_string();
    assert_eq!(relay.fails(&["--http", &taken]).0, Some(75));
    let (code, log) = relay.fails(&["--http", "0.0.0.0:0"]);
    assert_eq!(code, Some(64));
    assert!(log.contains("loopback") && log.contains("nginx"), "{log}");
    assert_eq!(
        relay
            .fails(&["--http", "0.0.0.0:0", "--socket-mode", "9"])
            .0,
        Some(64)
    );
}

#[test]
fn it_answers_on_every_socket_it_was_given_and_to_whom_it_was_told() {
    let relay = Relay::new("");
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let tcp = free.local_addr().unwrap();
    drop(free);
    let http = tcp.to_string();
    let arguments = [
        "--http",
        &relay.unix(),
        "--http",
        &http,
        "--socket-mode",
        "0606",
    ];
    let mut serve = Serve(relay.command(&arguments).spawn().unwrap());
    assert_eq!(relay.ask("POST /new").status, 200);
    let mode = std::fs::metadata(relay.path("http.sock"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o606);
    let mut stream = std::net::TcpStream::connect(tcp).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(parse(&answer).status, 200, "{answer}");
    serve.stop();
    assert_eq!(serve.end(), Some(0), "{}", relay.log());
    assert!(!relay.path("http.sock").exists());
}

/// The command with these two sockets open in it, as systemd would pass them on.
fn activated(command: &Command, names: &str, sockets: [OwnedFd; 2]) -> Command {
    let [first, second] = sockets;
    let mut shell = Command::new("sh");
    let pass_on = "export LISTEN_PID=$$; exec 3<&0 4<&1 0</dev/null 1>&2; exec \"$@\"";
    shell
        .args(["-c", pass_on, "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env("LISTEN_FDS", "2")
        .env("LISTEN_FDNAMES", names)
        .stdin(first)
        .stdout(second);
    shell
}

#[test]
fn sockets_passed_on_by_systemd_are_used_and_systemd_is_told() {
    let relay = Relay::new("");
    let systemd = UnixDatagram::bind(relay.path("notify.sock")).unwrap();
    systemd.set_read_timeout(Some(PATIENCE)).unwrap();
    let told = || {
        let mut buffer = [0; 4096];
        let length = systemd.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    let unix = UnixListener::bind(relay.path("http.sock")).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    let sockets = [OwnedFd::from(unix), OwnedFd::from(tcp)];
    let mut command = activated(&relay.command(&[]), "http:http", sockets);
    command.env("NOTIFY_SOCKET", relay.path("notify.sock"));
    command.stderr(File::create(relay.path("log")).unwrap());
    let mut serve = Serve(command.spawn().unwrap());
    assert_eq!(relay.ask("POST /new").status, 200);
    assert!(told().contains("READY=1"));
    serve.stop();
    assert!(told().contains("STOPPING=1"));
    assert_eq!(serve.end(), Some(0), "{}", relay.log());
    assert!(relay.path("http.sock").exists());
}

#[test]
fn sockets_passed_on_by_systemd_have_to_be_ours_and_on_this_host() {
    for (names, far, options, complaint) in [
        ("http:metrics", false, vec![], "FileDescriptorName=metrics"),
        ("http:http", true, vec![], "loopback"),
        (
            "http:http",
            false,
            vec!["--http", "127.0.0.1:0"],
            "one or the other",
        ),
    ] {
        let relay = Relay::new("");
        let host = if far { "0.0.0.0:0" } else { "127.0.0.1:0" };
        let sockets = [host, "127.0.0.1:0"].map(|at| OwnedFd::from(TcpListener::bind(at).unwrap()));
        let mut command = activated(&relay.command(&options), names, sockets);
        command.stderr(File::create(relay.path("log")).unwrap());
        let code = Serve(command.spawn().unwrap()).end();
        let log = relay.log();
        assert_eq!(code, Some(64), "{names}: {log}");
        assert!(log.contains(complaint), "{names}: {log}");
    }
}

#[test]
fn sigterm_lets_a_request_end_that_is_under_way() {
    let relay = Relay::new("");
    std::fs::create_dir_all(relay.path("mail/.chatmail")).unwrap();
    let held = File::create(relay.path("mail/.chatmail/signups")).unwrap();
    held.lock().unwrap();
    let mut serve = Serve(relay.command(&["--http", &relay.unix()]).spawn().unwrap());
    let mut stream = relay.connect();
    stream
        .write_all(b"POST /new HTTP/1.1\r\nHost: x\r\n\r\n")
        .unwrap();
    thread::sleep(Duration::from_millis(300));
    serve.stop();
    thread::sleep(Duration::from_millis(300));
    drop(held);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(parse(&answer).status, 200, "{answer}");
    assert_eq!(serve.end(), Some(0), "{}", relay.log());
}

#[test]
fn the_log_has_a_word_for_each_refusal_and_no_address_token_password_or_client() {
    let relay = Relay::new("registration = invite\nmax_network_signups_per_hour = 3");
    let config = chatmail_core::config::Config::load(&relay.path("chatmail.ini")).unwrap();
    let invites = chatmail_core::invite::Invites::new(&config.mailboxes());
    let invite = invites.create(Some(1), None).unwrap();
    let mut serve = Serve(relay.command(&["--http", &relay.unix()]).spawn().unwrap());
    let good = format!("POST /new?token={}", invite.token);
    let account = relay.ask(&good).json();
    assert_eq!(relay.ask("POST /new").status, 403);
    assert_eq!(relay.ask(&good).status, 403);
    assert_eq!(relay.ask("POST /new?token=a-guess").status, 403);
    assert_eq!(relay.ask(&good).status, 429);
    let mut broken = relay.connect();
    broken
        .write_all(b"POST /new?token=a-guess\0 HTTP/1.1\r\n\r\n")
        .unwrap();
    let _ = broken.read_to_string(&mut String::new());
    serve.stop();
    assert_eq!(serve.end(), Some(0));
    let log = relay.log();
    for word in [
        "new account",
        "invite-only",
        "invitation-used-up",
        "invitation-unknown",
        "network-rate",
    ] {
        assert!(log.contains(word), "{word}: {log}");
    }
    let email = account["email"].as_str().unwrap();
    let password = account["password"].as_str().unwrap();
    let localpart = email.split('@').next().unwrap();
    for secret in [localpart, password, &invite.token, "a-guess", "192.0.2"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}
