//! The command itself: signals, kills, exit codes, and what it logs.

mod mail_user;
mod support;

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use support::{ADDRESS, Answer, PushServer, Relay, eventually};

/// `chatmail serve`, killed when the test ends.
struct Serve {
    child: Child,
    log: PathBuf,
}

impl Serve {
    fn start(relay: &Relay) -> Serve {
        let log = relay.directory.path().join("serve.log");
        mail_user::hand_over(relay.directory.path());
        let child = Command::new(env!("CARGO_BIN_EXE_chatmail"))
            .args(["serve", "--log-level", "debug", "--config"])
            .arg(relay.config_file())
            .stderr(std::fs::File::create(&log).expect("a log"))
            .spawn()
            .expect("chatmail starts");
        Serve { child, log }
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = self.child.id().try_into().expect("a process id");
        // SAFETY: no memory is involved; the child is not waited for yet, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for its end; the status, and all that it logged.
    fn end(mut self) -> (std::process::ExitStatus, String) {
        let status = self.child.wait().expect("waits");
        (status, std::fs::read_to_string(&self.log).expect("text"))
    }
}

impl Drop for Serve {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn sigterm_ends_it_at_once_and_leaves_what_was_on_its_way() {
    let server = PushServer::http(|_, _| Answer::Silence).await;
    let relay = Relay::new(&server);
    relay.notify("openpgp:secret", Duration::ZERO);
    let serve = Serve::start(&relay);
    eventually("a request", || server.received().len() == 1).await;
    let start = Instant::now();
    serve.signal(libc::SIGTERM);
    let (status, log) = serve.end();
    assert_eq!(status.code(), Some(0), "{log}");
    // The request alone would have waited a second.
    assert!(
        start.elapsed() < Duration::from_millis(900),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(relay.spooled().len(), 1);
    assert!(log.contains("ready: 1 pending"), "{log}");
}

#[tokio::test]
async fn kill_9_at_any_point_loses_no_notification() {
    let server = PushServer::https(&["h2"], |_, _| Answer::Status(200)).await;
    let relay = Relay::new(&server);
    let mut tokens: Vec<_> = (0..600).map(|n| format!("openpgp:token{n:03}")).collect();
    for (round, some) in tokens.chunks(200).enumerate() {
        for token in some {
            relay.notify(token, Duration::ZERO);
        }
        let serve = Serve::start(&relay);
        let some_came = round * 200 + 50;
        eventually("some of them", || server.received().len() >= some_came).await;
        serve.signal(libc::SIGKILL);
        let (status, _) = serve.end();
        assert_eq!(status.signal(), Some(libc::SIGKILL));
    }
    let _serve = Serve::start(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    let mut received = server.tokens();
    received.dedup();
    tokens.sort();
    assert_eq!(received, tokens);
}

#[tokio::test]
async fn a_notification_killed_on_its_way_is_sent_by_the_next_start() {
    let well = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&well);
    let server = PushServer::http(move |_, _| match is_well.load(Ordering::SeqCst) {
        true => Answer::Status(200),
        false => Answer::Silence,
    })
    .await;
    let relay = Relay::new(&server);
    relay.notify("openpgp:a", Duration::ZERO);
    let serve = Serve::start(&relay);
    eventually("a request", || !server.received().is_empty()).await;
    serve.signal(libc::SIGKILL);
    serve.end();
    assert_eq!(relay.spooled().len(), 1);
    well.store(true, Ordering::SeqCst);
    let before = server.received().len();
    let _serve = Serve::start(&relay);
    eventually("an empty spool", || relay.spooled().is_empty()).await;
    assert_eq!(server.received().len(), before + 1);
}

#[tokio::test]
async fn the_log_tells_of_trouble_but_names_no_token_and_no_address() {
    let server = PushServer::http(|token, before| match (token, before) {
        ("openpgp:gone", _) => Answer::Status(410),
        ("openpgp:unlucky", _) => Answer::Status(500),
        _ => Answer::Status(200),
    })
    .await;
    let relay = Relay::new(&server);
    let half = std::fs::File::create(relay.spool().join("half.tmp")).expect("spool");
    let an_hour_ago = SystemTime::now() - Duration::from_secs(3600);
    half.set_modified(an_hour_ago).expect("its time");
    std::fs::create_dir(relay.spool().join("no-file")).expect("spool");
    std::fs::write(relay.spool().join("odd"), format!("{ADDRESS}\nopenpgp:odd")).expect("spool");
    let old = relay.notify("openpgp:old", Duration::from_secs(5 * 3600 + 1));
    let names: [(&str, &str); 4] = [("gone", "1"), ("unlucky", "2"), ("fine", "3"), ("old", "4")];
    std::fs::rename(old, relay.spool().join("4")).expect("spool");
    for (token, name) in &names[..3] {
        let file = relay.notify(&format!("openpgp:{token}"), Duration::ZERO);
        std::fs::rename(file, relay.spool().join(name)).expect("spool");
    }
    let serve = Serve::start(&relay);
    eventually("one left", || {
        relay.spooled().len() == 1 && server.tokens().len() == 3
    })
    .await;
    // The stop waits for no answer.
    serve.signal(libc::SIGTERM);
    let (_, log) = serve.end();
    for expected in [
        "half-written",
        "no notification, moved to .chatmail/unreadable_notifications: not three lines",
        "no notification, moved to .chatmail/unreadable_notifications: is a directory",
        "given up",
        "ready: ",
        "stopping: 1 ",
    ] {
        assert!(log.contains(expected), "{expected}: {log}");
    }
    for secret in ["alice", "chat.test", "openpgp"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
}

#[test]
fn wrong_usage_is_64_and_a_wrong_configuration_78() {
    let run = |arguments: &[&str]| {
        let done = Command::new(env!("CARGO_BIN_EXE_chatmail"))
            .args(arguments)
            .output()
            .expect("runs");
        (
            done.status.code(),
            String::from_utf8(done.stderr).expect("text"),
        )
    };
    assert_eq!(run(&["serve", "--sideways"]).0, Some(64));
    let (code, why) = run(&["serve", "--config", "/nonexistent/chatmail.ini"]);
    assert_eq!(code, Some(78));
    assert!(why.contains("/nonexistent/chatmail.ini"), "{why}");
}
