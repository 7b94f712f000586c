//! The units an operator installs: sound, sealed off, and of the sockets the daemon knows.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const SERVICE: &str = "chatmail-milter.service";

/// Of 100, as `systemd-analyze security` counts: 100 is a service that may do everything.
const MOST_EXPOSURE: u32 = 20;

fn packaged() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/systemd")
}

/// `None`, and a word about it, where there is no systemd.
fn analyze(arguments: &[&str], units: &[PathBuf]) -> Option<Output> {
    let analyze = Command::new("systemd-analyze")
        .args(arguments)
        .args(units)
        .output();
    if analyze.is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "systemd-analyze is not installed"
        );
        eprintln!("left out: systemd-analyze is not installed (Debian: apt install systemd)");
    }
    analyze.ok()
}

fn text(output: &Output) -> String {
    let text = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    String::from_utf8_lossy(&text).into_owned()
}

/// A copy of the units that starts the program under test: systemd wants to see it.
fn units(directory: &Path) -> Vec<PathBuf> {
    let mut units = Vec::new();
    for entry in fs::read_dir(packaged()).unwrap() {
        let entry = entry.unwrap();
        // Others belong to another program, whose tests look at them.
        if !entry
            .file_name()
            .to_string_lossy()
            .starts_with("chatmail-milter")
        {
            continue;
        }
        let unit = fs::read_to_string(entry.path()).unwrap().replace(
            "/usr/bin/chatmail-milter",
            env!("CARGO_BIN_EXE_chatmail-milter"),
        );
        let copy = directory.join(entry.file_name());
        fs::write(&copy, unit).unwrap();
        units.push(copy);
    }
    units.sort();
    units
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let directory = tempfile::tempdir().unwrap();
    let units = units(directory.path());
    assert_eq!(units.len(), 5);
    let Some(output) = analyze(&["verify", "--man=no"], &units) else {
        return;
    };
    assert!(output.status.success(), "{}", text(&output));
    let ours = text(&output);
    let ours: Vec<&str> = ours.lines().filter(|l| l.contains("chatmail")).collect();
    assert!(ours.is_empty(), "{ours:#?}");
}

#[test]
fn the_service_may_do_little() {
    let directory = tempfile::tempdir().unwrap();
    units(directory.path());
    let threshold = format!("--threshold={MOST_EXPOSURE}");
    let arguments = ["security", "--offline=true", "--no-pager", &threshold];
    let Some(output) = analyze(&arguments, &[directory.path().join(SERVICE)]) else {
        return;
    };
    assert!(output.status.success(), "{}", text(&output));
}

#[test]
fn every_socket_has_a_name_the_daemon_knows() {
    for name in ["outgoing", "incoming", "internal", "metrics"] {
        let path = packaged().join(format!("chatmail-milter-{name}.socket"));
        let unit = fs::read_to_string(path).unwrap();
        for line in [
            format!("FileDescriptorName={name}"),
            format!("Service={SERVICE}"),
        ] {
            assert!(unit.lines().any(|l| l == line), "{name}: {line}");
        }
    }
}

#[test]
fn the_openrc_script_is_a_script_and_gives_options_that_there_are() {
    let script = packaged().join("../openrc/chatmail-milter");
    let checked = Command::new("sh").arg("-n").arg(&script).output().unwrap();
    assert!(checked.status.success(), "{}", text(&checked));

    let mut help = Command::new(env!("CARGO_BIN_EXE_chatmail-milter"));
    let help = help.arg("--help").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let script = fs::read_to_string(script).unwrap();
    let (_, arguments) = script.split_once("\ncommand_args=\"").unwrap();
    let (arguments, _) = arguments.split_once('"').unwrap();
    let words = arguments.split_whitespace();
    let options: Vec<&str> = words.filter(|word| word.starts_with("--")).collect();
    assert_eq!(options.len(), 6, "{options:?}");
    for option in options {
        assert!(help.contains(&format!("{option} ")), "{option}");
    }
}
