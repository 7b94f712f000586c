//! The units and scripts that an operator installs for `chatmail`: sound, sealed off, and with options that
//! there are.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const CHATMAIL: &str = env!("CARGO_BIN_EXE_chatmail");

/// Of 100, as `systemd-analyze security` counts: 100 is a service that may do everything.
const MOST_EXPOSURE: u32 = 20;

/// Of the filter, whose own tests look at them.
const OTHERS: &str = "chatmail-milter";

/// What is installed for `systemd` or `openrc`: name and text.
fn packaged(kind: &str) -> Vec<(String, String)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../packaging")
        .join(kind);
    let mut files: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| (entry.file_name().into_string().unwrap(), entry.path()))
        .filter(|(name, _)| !name.starts_with(OTHERS))
        .map(|(name, path)| (name, fs::read_to_string(path).unwrap()))
        .collect();
    files.sort();
    files
}

/// A copy of the units that starts the program under test: systemd wants to see it.
fn units(directory: &Path) -> Vec<PathBuf> {
    let copied = packaged("systemd").into_iter().map(|(name, unit)| {
        let copy = directory.join(name);
        fs::write(
            &copy,
            unit.replace("/usr/bin/chatmail ", &format!("{CHATMAIL} ")),
        )
        .unwrap();
        copy
    });
    copied.collect()
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
fn the_services_may_do_little() {
    let directory = tempfile::tempdir().unwrap();
    let threshold = format!("--threshold={MOST_EXPOSURE}");
    for unit in units(directory.path()) {
        if unit.extension().is_none_or(|kind| kind != "service") {
            continue;
        }
        let arguments = ["security", "--offline=true", "--no-pager", &threshold];
        let Some(output) = analyze(&arguments, &[unit]) else {
            return;
        };
        assert!(output.status.success(), "{}", text(&output));
    }
}

#[test]
fn openrc_scripts_are_scripts() {
    let scripts = packaged("openrc");
    assert_eq!(scripts.len(), 2);
    for (name, script) in scripts {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join(&name);
        fs::write(&copy, script).unwrap();
        let checked = Command::new("sh").arg("-n").arg(copy).output().unwrap();
        assert!(checked.status.success(), "{name}: {}", text(&checked));
    }
}

/// Every run of the program in a text, from the name of its command on.
fn runs(text: &str) -> Vec<&str> {
    let mut runs = Vec::new();
    for (start, end) in [
        ("ExecStart=/usr/bin/chatmail ", "\n"),
        ("command_args=\"", "\""),
        ("command_args=\"$command_args ", "\""),
        ("\"$command\" ", "||"),
    ] {
        let found = text.split(start).skip(1);
        runs.extend(found.map(|rest| rest.split(end).next().unwrap()));
    }
    runs
}

#[test]
fn every_option_that_is_given_is_one_that_the_command_has() {
    let mut seen = 0;
    for (name, text) in [packaged("systemd"), packaged("openrc")].concat() {
        let command = if name.contains("echobot") {
            "echobot"
        } else {
            "serve"
        };
        let help = Command::new(CHATMAIL)
            .args([command, "--help"])
            .output()
            .unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        for run in runs(&text) {
            assert!(
                run.starts_with(command) || run.starts_with("--") || run.starts_with('$'),
                "{name}: {run}"
            );
            for option in run.split_whitespace().filter(|word| word.starts_with("--")) {
                seen += 1;
                let known = help
                    .lines()
                    .any(|line| line.trim_start().split(' ').next() == Some(option));
                assert!(known, "{name}: {option}");
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn the_bot_looks_for_its_password_where_its_account_left_it() {
    let units = packaged("systemd");
    let unit = |wanted: &str| &units.iter().find(|(name, _)| name == wanted).unwrap().1;
    let account = unit("chatmail-echobot-account.service");
    let password = unit("chatmail-echobot-password.service");
    assert!(password.contains("--password-file ${STATE_DIRECTORY}/password\n"));
    assert!(password.contains("\nStateDirectory=chatmail-echobot-account\n"));
    // Root's: of a directory of the mail user, systemd would hand over whatever a link there leads to.
    assert!(!password.contains("User=") && !password.contains("ReadWritePaths="));
    let bot = unit("chatmail-echobot.service");
    for handed in [account, bot] {
        let credential = "LoadCredential=password:/var/lib/chatmail-echobot-account/password\n";
        assert!(handed.contains(credential));
        assert!(handed.contains("--password-file %d/password"));
    }
    assert!(account.contains("Requires=chatmail-echobot-password.service\n"));
    assert!(account.contains("After=chatmail-echobot-password.service\n"));
    assert!(bot.contains("Requires=chatmail-echobot-account.service\n"));
}

#[test]
fn nginx_passes_new_accounts_on_to_the_socket_of_systemd_and_nothing_else() {
    let [(_, nginx)] = &packaged("nginx")[..] else {
        panic!("one file for nginx")
    };
    let directives = |name: &str| -> Vec<&str> {
        let lines = nginx.lines().map(str::trim);
        lines.filter_map(|line| line.strip_prefix(name)).collect()
    };
    assert_eq!(
        directives("location "),
        ["= /new {", "@chatmail_away {", "= /cgi-bin/newemail.py {"]
    );
    let units = packaged("systemd");
    let mut sockets = units
        .iter()
        .filter(|(name, _)| name.ends_with("http.socket"));
    let (_, socket) = sockets.next().unwrap();
    let path = socket.split("ListenStream=").nth(1).unwrap();
    let path = path.lines().next().unwrap();
    assert_eq!(
        directives("proxy_pass "),
        [format!("http://unix:{path}:/new;")]
    );
}
