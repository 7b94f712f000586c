//! The process of `chatmail test`, with programs that hang or die in the place of Delta Chat's core.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

const HANGS: &str = "rpc-server-that-hangs.sh";
const DIES: &str = "rpc-server-that-dies.sh";

/// A place to run it in.
struct Host {
    base: TempDir,
}

impl Host {
    fn new() -> Host {
        let host = Host {
            base: tempfile::tempdir().unwrap(),
        };
        fs::write(
            host.path("chatmail.ini"),
            "[params]\nmail_domain = chat.test\n",
        )
        .unwrap();
        fs::create_dir(host.path("tmp")).unwrap();
        host
    }

    fn path(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    fn command(&self, server: &str, arguments: &[&str]) -> Command {
        let support = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support");
        let mut command = Command::new(env!("CARGO_BIN_EXE_chatmail"));
        command
            .arg("test")
            .arg("--config")
            .arg(self.path("chatmail.ini"))
            .arg("--rpc-server")
            .arg(support.join(server))
            .args(arguments)
            .env("TMPDIR", self.path("tmp"))
            .env("PID_FILE", self.path("pid"));
        command
    }

    fn run(&self, server: &str, arguments: &[&str]) -> Output {
        self.command(server, arguments).output().unwrap()
    }

    #[track_caller]
    fn assert_nothing_is_left(&self) {
        assert_eq!(fs::read_dir(self.path("tmp")).unwrap().count(), 0);
        if let Ok(pid) = fs::read_to_string(self.path("pid")) {
            assert!(!Path::new("/proc").join(pid.trim()).exists());
        }
    }
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_login_without_an_end_fails_when_its_time_is_over() {
    let host = Host::new();
    let output = host.run(HANGS, &["--two-accounts", "--timeout", "1", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], false);
    assert_eq!(
        report["steps"][0]["error"],
        "1 s without an end of the login"
    );
    assert!(report["steps"][0]["ms"].as_u64().unwrap() >= 1000);
    assert_eq!(
        report["steps"][3],
        json!({"step": "file", "ok": false, "ms": null, "error": "not tried"})
    );
    host.assert_nothing_is_left();
}

#[test]
fn a_signal_ends_it_with_the_rest_untried_and_nothing_left() {
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let host = Host::new();
        let child = host
            .command(HANGS, &["--two-accounts"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while !host.path("pid").exists() {
            assert!(start.elapsed() < Duration::from_secs(60));
            std::thread::sleep(Duration::from_millis(10));
        }
        let pid = child.id().try_into().unwrap();
        // SAFETY: no memory is involved; the child is not waited for yet, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(text.contains("interrupted\njoin     not tried\n"), "{text}");
        host.assert_nothing_is_left();
    }
}

#[test]
fn a_core_that_cannot_be_run_says_nothing_about_the_relay() {
    let host = Host::new();
    for (server, why) in [
        (
            DIES,
            "did not start: the RPC server has gone: the accounts are locked",
        ),
        ("nothing.sh", "nothing.sh: No such file or directory"),
    ] {
        let output = host.run(server, &["--two-accounts"]);
        assert_eq!(output.status.code(), Some(69), "{output:?}");
        assert!(stderr(&output).contains(why), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        host.assert_nothing_is_left();
    }
}

#[test]
fn without_a_link_the_ways_to_name_one_are_told() {
    let host = Host::new();
    fs::write(host.path("link"), "no link\n").unwrap();
    let file = host.path("link").display().to_string();
    let missing = host.path("missing").display().to_string();
    for arguments in [
        ["--invite-link-file", &missing],
        ["--invite-link-file", &file],
        ["--invite-link", "hello"],
    ] {
        let output = host.run(HANGS, &arguments);
        assert_eq!(output.status.code(), Some(66), "{output:?}");
        for way in ["--invite-link-file", "--invite-link", "--two-accounts"] {
            assert!(stderr(&output).contains(way), "{output:?}");
        }
        host.assert_nothing_is_left();
    }
}

#[test]
fn an_account_is_one_of_this_relay_with_a_password() {
    let host = Host::new();
    fs::write(host.path("password"), "two\nlines\n").unwrap();
    let file = host.path("password").display().to_string();
    let link = ["--invite-link", "https://i.delta.chat/#x"];
    for (address, file, code, why) in [
        (
            "a@elsewhere.test",
            file.as_str(),
            64,
            "no address of chat.test",
        ),
        ("a@chat.test", &file, 78, "is not a password"),
        ("a@chat.test", "/nonexistent", 78, "there is no password"),
    ] {
        let account = ["--address", address, "--password-file", file];
        let output = host.run(
            HANGS,
            &[account, [link[0], link[1], "--timeout", "1"]].concat(),
        );
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(stderr(&output).contains(why), "{output:?}");
    }
    for wrong in [
        &["--address", "a@chat.test"][..],
        &["--two-accounts", "--invite-link", "https://i.delta.chat/#x"],
        &["--two-accounts", "--timeout", "0"],
    ] {
        assert_eq!(host.run(HANGS, wrong).status.code(), Some(64));
    }
}

#[test]
fn no_room_for_the_name_of_a_test_is_a_matter_of_the_configuration() {
    let host = Host::new();
    let ini =
        "[params]\nmail_domain = chat.test\nusername_min_length = 3\nusername_max_length = 3\n";
    fs::write(host.path("chatmail.ini"), ini).unwrap();
    let output = host.run(HANGS, &["--two-accounts"]);
    assert_eq!(output.status.code(), Some(78), "{output:?}");
    assert!(
        stderr(&output).contains("username_max_length = 3"),
        "{output:?}"
    );
}
