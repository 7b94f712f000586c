//! The same from outside: OpenDKIM's `miltertest` plays the mail server, after the scripts in
//! `tests/miltertest`. Debian's package `miltertest` has it.

#![allow(clippy::unwrap_used)]

mod common;

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{Mail, Relay, socket};

#[test]
fn miltertest_agrees() {
    if Command::new("miltertest").arg("-V").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "miltertest is not installed"
        );
        eprintln!("left out: miltertest is not installed (Debian: apt install miltertest)");
        return;
    }
    // Nobody answers there, and nobody is asked.
    let dns = ([127, 0, 0, 1], 9).into();
    let rate = "max_user_send_per_minute = 1\nmax_user_send_burst_size = 2";
    let relay = Relay::with_dkim(dns, rate);
    let body = relay.path("body");
    std::fs::write(&body, Mail::encrypted("alice@chat.test").body).unwrap();

    let mut daemon = Command::new(env!("CARGO_BIN_EXE_chatmail-milter"));
    daemon.arg("--config").arg(relay.config());
    for direction in ["outgoing", "incoming"] {
        let socket = format!("unix:{}", socket(&relay, direction).display());
        daemon.args([format!("--{direction}"), socket]);
    }
    let mut daemon = daemon.stderr(Stdio::piped()).spawn().unwrap();
    let mut log = BufReader::new(daemon.stderr.take().unwrap()).lines();
    assert!(log.any(|line| line.unwrap().contains("ready")));
    // Keeps the pipe empty until the daemon ends.
    let rest = std::thread::spawn(move || log.for_each(drop));

    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/miltertest");
    let mut scripts: Vec<_> = std::fs::read_dir(scripts)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    scripts.sort();
    assert!(!scripts.is_empty());
    let mut failures = Vec::new();
    for script in scripts {
        let output = Command::new("miltertest")
            .arg("-D")
            .arg(format!(
                "outgoing=unix:{}",
                socket(&relay, "outgoing").display()
            ))
            .arg("-D")
            .arg(format!(
                "incoming=unix:{}",
                socket(&relay, "incoming").display()
            ))
            .arg("-D")
            .arg(format!("body={}", body.display()))
            .arg("-s")
            .arg(&script)
            .output()
            .unwrap();
        if !output.status.success() {
            let text = [output.stdout, output.stderr].concat();
            let text = String::from_utf8_lossy(&text).into_owned();
            failures.push(format!("{}: {text}", script.display()));
        }
    }
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    rest.join().unwrap();
    assert!(failures.is_empty(), "{failures:#?}");
}
