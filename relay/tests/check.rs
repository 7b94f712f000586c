//! `chatmail check`: the corpus through the command, exit codes, places, memory.

#[path = "../../chatmail-core/tests/corpus/mod.rs"]
mod corpus;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use corpus::{Expected, Row};
use serde_json::Value;
use tempfile::TempDir;

fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_chatmail"));
    command.arg("check");
    command
}

fn check<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Output {
    command().args(arguments).output().expect("chatmail runs")
}

/// What `--json` printed, line by line.
fn lines(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).expect("UTF-8");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("one JSON object per line"))
        .collect()
}

fn words(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).expect("UTF-8")
}

/// A directory with mailboxes of Bob, who enforces encryption, and of one who does not, a
/// chatmail.ini, and files.
struct Host(TempDir);

impl Host {
    fn new() -> Host {
        let host = Host(tempfile::tempdir().expect("a directory"));
        for (address, files) in [
            (corpus::ENFORCING, &["password", "enforceE2EEincoming"][..]),
            (corpus::OPEN, &["password"]),
        ] {
            let mailbox = host.path("mail").join(address);
            std::fs::create_dir_all(&mailbox).expect("a mailbox");
            for file in files {
                std::fs::write(mailbox.join(file), "").expect("a file");
            }
        }
        host.ini(&host.path("mail"));
        host
    }

    fn ini(&self, mailboxes: &Path) {
        let domain = corpus::DOMAIN;
        let mailboxes = mailboxes.display();
        let ini = format!("[params]\nmail_domain = {domain}\nmailboxes_dir = {mailboxes}\n");
        std::fs::write(self.path("chatmail.ini"), ini).expect("chatmail.ini");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).expect("a file");
        path
    }
}

/// A message of the corpus by name.
fn message(name: &str) -> Vec<u8> {
    let rows = corpus::rows();
    let row = rows.iter().find(|row| row.name == name);
    row.expect("in the corpus").message()
}

/// The options for the origin and the recipients of a message.
fn envelope(row: &Row) -> Vec<String> {
    let mut options = vec![
        format!("--{}", row.direction),
        format!("--sender={}", row.sender),
        format!("--recipient={}", row.recipient),
    ];
    match (row.direction.as_str(), &row.client) {
        ("outgoing", _) => options.push(format!("--login={}", row.login)),
        (_, Some(client)) => options.push(format!("--client={client}")),
        (_, None) => {}
    }
    options
}

/// Runs all rows of one envelope together, and gives each to `judge`.
fn all_rows(change: impl Fn(&Row) -> Vec<u8>, mut judge: impl FnMut(&Row, &[u8], &Value)) {
    let host = Host::new();
    let rows = corpus::rows();
    let mut seen = 0;
    for envelope in rows.iter().map(envelope).collect::<BTreeSet<_>>() {
        let same = |row: &&Row| envelope == self::envelope(row);
        let rows: Vec<&Row> = rows.iter().filter(same).collect();
        let files: Vec<PathBuf> = rows
            .iter()
            .map(|row| host.file(&row.name, change(row)))
            .collect();
        let output = command()
            .args(&envelope)
            .args(["--json", "--config"])
            .arg(host.path("chatmail.ini"))
            .args(&files)
            .output()
            .expect("chatmail runs");
        assert_eq!(
            words(&Output {
                stdout: output.stderr.clone(),
                ..output.clone()
            }),
            ""
        );
        let lines = lines(&output);
        assert_eq!(lines.len(), rows.len(), "one line per file");
        let refused = lines.iter().any(|line| line["verdict"] == "refused");
        assert_eq!(output.status.code(), Some(i32::from(refused)));
        for ((row, file), line) in rows.iter().zip(&files).zip(&lines) {
            assert_eq!(line["file"], file.to_string_lossy().as_ref());
            assert_eq!(line["direction"], *row.direction);
            judge(row, &std::fs::read(file).expect("as before"), line);
            seen += 1;
        }
    }
    assert_eq!(seen, rows.len());
}

fn expect(row: &Row, line: &Value) {
    let (verdict, why, what) = match &row.expected {
        Expected::Accepted(class) => ("accepted", class, "class"),
        Expected::Refused(reason) => ("refused", reason, "reason"),
    };
    let name = format!("{} {} ({}): {line}", row.direction, row.name, row.note);
    assert_eq!(line["verdict"], verdict, "{name}");
    assert_eq!(line[what], **why, "{name}");
}

#[test]
fn every_message_of_the_corpus_gets_its_verdict() {
    all_rows(Row::message, |row, _, line| expect(row, line));
}

#[test]
fn files_with_lf_get_the_verdict_of_the_message_with_crlf() {
    let with_lf = |row: &Row| {
        let message = row.message();
        match row.name.starts_with("raw-") {
            true => message,
            false => message.into_iter().filter(|&byte| byte != b'\r').collect(),
        }
    };
    all_rows(with_lf, |row, _, line| expect(row, line));
}

#[test]
fn the_line_is_where_the_offset_points() {
    let mut in_body = 0;
    all_rows(Row::message, |row, file, line| {
        let (Some(offset), Some(number)) = (line["offset"].as_u64(), line["line"].as_u64()) else {
            return;
        };
        let place = match line["part"] == "header" {
            true => {
                let lines = file.split_inclusive(|&byte| byte == b'\n');
                let mut fields = 0;
                lines
                    .take_while(|line| {
                        fields += u64::from(!line.starts_with(b" ") && !line.starts_with(b"\t"));
                        fields < offset
                    })
                    .map(<[u8]>::len)
                    .sum()
            }
            false => {
                in_body += 1;
                let ends = |at: &usize| {
                    file[*at..].starts_with(b"\n\r\n") || file[*at..].starts_with(b"\n\n")
                };
                let end = (0..file.len()).find(ends).expect("a body");
                let empty = if file[end..].starts_with(b"\n\n") {
                    2
                } else {
                    3
                };
                end + empty + offset as usize
            }
        };
        let before = file[..place].iter().filter(|&&byte| byte == b'\n').count();
        assert_eq!(number, before as u64 + 1, "{} {line}", row.name);
    });
    assert!(in_body > 50, "{in_body}");
}

#[test]
fn every_refusal_is_explained_in_words() {
    let host = Host::new();
    let mut seen = BTreeSet::new();
    for row in corpus::rows() {
        let Expected::Refused(reason) = &row.expected else {
            continue;
        };
        if !seen.insert((reason.clone(), row.direction.clone())) {
            continue;
        }
        let file = host.file(&row.name, row.message());
        let output = command()
            .args(envelope(&row))
            .arg(&file)
            .output()
            .expect("chatmail runs");
        assert_eq!(output.status.code(), Some(1), "{}", row.name);
        let text = words(&output);
        let verdict = format!(
            "{}: refused as {} mail: {reason}\n",
            file.display(),
            row.direction
        );
        assert!(text.starts_with(&verdict), "{verdict:?} is not in\n{text}");
        for piece in ["\n  where: ", "\n  rule:  ", "\n  look:  ", "\n  reply: 5"] {
            assert!(text.contains(piece), "{piece:?} is not in\n{text}");
        }
    }
    assert!(seen.len() > 20, "{seen:?}");
}

#[test]
fn the_sender_of_outgoing_mail_is_the_address_in_from_unless_another_is_given() {
    let host = Host::new();
    let text = message("delta-chat-v1");
    let file = host.file("message.eml", &text);
    let run = |arguments: &[&str]| {
        let output = command().args(arguments).arg(&file).output();
        let output = output.expect("chatmail runs");
        (output.status.code(), words(&output))
    };
    assert_eq!(run(&["--outgoing"]).0, Some(0));
    let (code, text) = run(&["--outgoing", "--sender", "eve@chat.test"]);
    assert_eq!(code, Some(1));
    let reply = "  reply: 500 Invalid FROM <alice@chat.test> for <eve@chat.test>\n";
    assert!(text.contains(reply), "{text}");
    // And the login is the sender.
    let (code, text) = run(&["--outgoing", "--login", "eve@chat.test"]);
    assert_eq!(code, Some(1));
    let reply = "  reply: 553 5.7.1 <alice@chat.test>: Sender address rejected: not owned by user eve@chat.test\n";
    assert!(text.contains(reply), "{text}");
    assert!(text.contains("  where: envelope\n"), "{text}");
}

#[test]
fn what_the_filter_would_do_to_the_header_is_told() {
    let host = Host::new();
    let text = String::from_utf8(message("delta-chat-v1")).expect("ASCII");
    let text = text.replacen(
        "Subject: [...]",
        "Subject: Attack at dawn\r\nX-Mailer: Catapult 3",
        1,
    );
    let file = host.file("message.eml", text);
    let output = check([
        OsStr::new("--outgoing"),
        OsStr::new("--json"),
        file.as_os_str(),
    ]);
    let lines = lines(&output);
    let edits = lines[0]["edits"].as_array().expect("edits");
    let has = |edit: Value| edits.contains(&edit);
    assert!(
        has(
            serde_json::json!({"action": "replace", "field": "Subject", "index": 1, "value": "[...]"})
        ),
        "{edits:?}"
    );
    assert!(
        has(
            serde_json::json!({"action": "delete", "field": "x-mailer", "index": 1, "value": null})
        ),
        "{edits:?}"
    );
    assert_eq!(lines[0]["author"], "alice@chat.test");
    assert_eq!(lines[0]["seipd"], 1);

    let text = words(&check([OsStr::new("--outgoing"), file.as_os_str()]));
    assert!(
        text.contains("  edit:  Subject would become `[...]`\n"),
        "{text}"
    );
    assert!(
        text.contains("  edit:  x-mailer number 1 would be dropped\n"),
        "{text}"
    );
}

#[test]
fn exit_codes_are_those_of_the_manual() {
    let host = Host::new();
    let good = host.file("good.eml", message("delta-chat-v1"));
    let bad = host.file("bad.eml", message("closing-delimiter-text"));
    let clear = host.file("clear.eml", "From: alice@chat.test\n\nAttack at dawn.\n");
    let absent = host.path("absent.eml");
    let ini = host.path("chatmail.ini");
    let code = |arguments: &[&OsStr]| check(arguments).status.code();
    let [good, bad, clear, absent, ini, directory] =
        [&good, &bad, &clear, &absent, &ini, &host.path("mail")]
            .map(|path| path.as_os_str().to_owned());
    let [json, config, recipient, open, incoming, outgoing] = [
        "--json",
        "--config",
        "--recipient",
        corpus::OPEN,
        "--incoming",
        "--outgoing",
    ]
    .map(OsStr::new);

    assert_eq!(code(&[&good]), Some(0));
    assert_eq!(code(&[&good, &bad]), Some(1));
    assert_eq!(code(&[&bad, &good]), Some(1));
    assert_eq!(code(&[&absent]), Some(66));
    assert_eq!(code(&[&directory]), Some(66));
    assert_eq!(code(&[]), Some(64));
    assert_eq!(code(&[incoming, outgoing, &good]), Some(64));
    let [login, alice, client, loopback] =
        ["--login", corpus::SENDER, "--client", "127.0.0.1"].map(OsStr::new);
    assert_eq!(code(&[incoming, login, alice, &good]), Some(64));
    assert_eq!(code(&[outgoing, client, loopback, &good]), Some(64));
    assert_eq!(code(&[client, alice, &good]), Some(64));
    assert_eq!(code(&[client, loopback, &good]), Some(0));
    assert_eq!(code(&[config, &bad, &good]), Some(78));
    assert_eq!(code(&[config, &absent, &good]), Some(78));

    // The rest is looked at all the same.
    let output = check([json, &absent, &bad, &good]);
    assert_eq!(output.status.code(), Some(66));
    let lines = lines(&output);
    let verdicts: Vec<_> = lines.iter().map(|line| line["verdict"].as_str()).collect();
    assert_eq!(
        verdicts,
        [Some("unreadable"), Some("refused"), Some("accepted")]
    );

    // Cleartext is for those who allow it, and only if their mailboxes are asked.
    assert_eq!(code(&[&clear]), Some(1));
    assert_eq!(code(&[recipient, open, &clear]), Some(1));
    assert_eq!(code(&[config, &ini, &clear]), Some(1));
    assert_eq!(code(&[config, &ini, recipient, open, &clear]), Some(0));
    assert_eq!(
        code(&[
            config,
            &ini,
            recipient,
            OsStr::new(corpus::ENFORCING),
            &clear
        ]),
        Some(1)
    );
    host.ini(&host.path("good.eml/mail"));
    assert_eq!(code(&[config, &ini, recipient, open, &clear]), Some(75));
}

#[test]
fn a_minus_is_standard_input() {
    let run = |text: &[u8]| {
        let mut child = command()
            .args(["--json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("chatmail runs");
        let mut stdin = child.stdin.take().expect("piped");
        // All of it is read, refused or not: else a writer would die of it.
        stdin.write_all(text).expect("is read");
        drop(stdin);
        let output = child.wait_with_output().expect("ends");
        (output.status.code(), lines(&output).remove(0))
    };
    let (code, line) = run(&message("delta-chat-v1"));
    assert_eq!((code, line["file"].as_str()), (Some(0), Some("-")));
    let (code, line) = run(&message("long-line"));
    assert_eq!((code, line["reason"].as_str()), (Some(1), Some("line")));
    let (code, line) = run(b"");
    assert_eq!(
        (code, line["reason"].as_str()),
        (Some(1), Some("invalid-from"))
    );
}

#[test]
fn an_mbox_file_is_recognised() {
    let host = Host::new();
    let mut text = b"From alice@chat.test Sun Nov 15 16:43:21 2026\r\n".to_vec();
    text.extend(message("delta-chat-v1"));
    let output = check([host.file("message.mbox", text)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("mbox"), "{}", words(&output));
}

#[test]
fn memory_does_not_grow_with_the_message() {
    let text = String::from_utf8(message("delta-chat-v1")).expect("ASCII");
    let (head, _) = text
        .split_once("-----BEGIN PGP MESSAGE-----")
        .expect("armor");
    // Encrypted data of 100 MB, of which 48 MB come.
    let begin = "-----BEGIN PGP MESSAGE-----\r\n\r\n0v8F9eEAAaWlpaWlpaWl\r\n";
    let line = "paWl".repeat(16) + "\r\n";
    let many = line.repeat(1000);
    let mut child = command()
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("chatmail runs");
    let mut stdin = child.stdin.take().expect("piped");
    stdin
        .write_all((head.to_owned() + begin).as_bytes())
        .expect("is read");
    for _ in 0..1000 {
        stdin.write_all(many.as_bytes()).expect("is read");
    }
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).expect("runs");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.expect("Linux").trim().trim_end_matches(" kB");
    let peak: u64 = peak.parse().expect("a number");
    drop(stdin);
    let output = child.wait_with_output().expect("ends");
    // It was read to its end and then found to be cut off.
    assert!(words(&output).contains(": parts\n"), "{}", words(&output));
    assert!(peak < 20_000, "{peak} kB");
}

#[test]
fn the_manual_says_what_is_not_checked_and_gives_examples() {
    let output = check(["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let text = words(&output);
    for piece in ["DKIM", "Examples:", "postcat", "66", "--json", "LF"] {
        assert!(text.contains(piece), "{piece}");
    }
}
