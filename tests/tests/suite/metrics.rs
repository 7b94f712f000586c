//! What Prometheus reads: the numbers move as they should, and its own checker has nothing to say.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use chatmail_tests::http::{self, Answer};
use chatmail_tests::sink::Sink;
use chatmail_tests::{Instance, wait};

const PROMTOOL: &str = "/usr/bin/promtool";

/// Name with labels, and value.
type Numbers = BTreeMap<String, f64>;

#[test]
fn what_happens_is_counted_and_promtool_has_no_complaint() {
    let sink = Sink::start().expect("sink");
    let relay = Instance::with().push_url(sink.url()).start();
    wait::until_true("the first report", || {
        numbers(&relay).contains_key("chatmail_report_age_seconds")
    });
    promtool_is_content(&text(&relay));
    let before = numbers(&relay);

    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    assert!(!relay.try_imap(&alice.address, "not the password").is_ok());
    let mut imap = relay.imap(&bob);
    let answer = imap.set_metadata("INBOX", "/private/devicetoken", "bob's");
    assert!(answer.expect("SETMETADATA").is_ok());
    relay.send_encrypted(&alice, &bob);
    relay.send_encrypted(&bob, &bob);
    relay.wait_for_messages(&bob, 2);
    let made = ask(&relay, "POST /new", "");
    assert_eq!(made.status, 200, "{made}");

    wait::until_true("the notification", || {
        let now = numbers(&relay);
        grown(&before, &now, DELIVERED) == 1.0 && grown(&before, &now, DELIVERIES) == 2.0
    });
    let now = numbers(&relay);
    for (name, by) in [
        (DELIVERIES, 2.0),
        ("chatmail_push_spooled_total", 1.0),
        ("chatmail_push_pending", 0.0),
        ("chatmail_push_retries_total", 0.0),
        ("chatmail_push_total{result=\"given-up\"}", 0.0),
        ("chatmail_logins_total{result=\"created\"}", 2.0),
        ("chatmail_logins_total{result=\"wrong-password\"}", 1.0),
        ("chatmail_accounts_new_total{by=\"login\"}", 2.0),
        ("chatmail_accounts_new_total{by=\"web\"}", 1.0),
        ("chatmail_accounts_new_total{by=\"operator\"}", 0.0),
        ("chatmail_new_refused_total{reason=\"policy\"}", 0.0),
        ("chatmail_signups_switched_off", 0.0),
    ] {
        assert_eq!(grown(&before, &now, name), by, "{name}");
    }
    let process = |name| now[name] > 0.0 && now[name] >= before[name];
    assert!(process("process_cpu_seconds_total"));
    assert!(now["process_resident_memory_bytes"] < f64::from(20 << 20));
    assert!(now["chatmail_host_free_disk_bytes"] > 0.0);

    promtool_is_content(&text(&relay));
    assert!(!text(&relay).contains('@'), "{}", text(&relay));
    let open = ask(&relay, "GET /metrics", "application/openmetrics-text");
    assert_eq!(
        open.field("content-type"),
        Some("application/openmetrics-text; version=1.0.0; charset=utf-8")
    );
    assert!(open.body.ends_with("# EOF\n"));
    let [plain, open] = [&text(&relay), &open.body].map(|text| parse(text).into_keys());
    assert!(plain.eq(open), "not the same numbers in both formats");
    a_broken_file_costs_the_counters_only(&relay);
}

const DELIVERIES: &str = "chatmail_deliveries_total";
const DELIVERED: &str = "chatmail_push_total{result=\"delivered\"}";

fn a_broken_file_costs_the_counters_only(relay: &Instance) {
    let file = relay.endpoints().mailboxes_dir.join(".chatmail/counters");
    let kept = file.with_extension("kept");
    fs::rename(&file, &kept).expect("counters");
    fs::create_dir(&file).expect("a directory in their place");
    let broken = numbers(relay);
    assert_eq!(broken["chatmail_counters_readable"], 0.0);
    assert!(!broken.contains_key(DELIVERIES));
    assert!(broken.contains_key("chatmail_push_pending"));
    promtool_is_content(&text(relay));
    fs::remove_dir(&file).expect("directory");
    fs::rename(&kept, &file).expect("counters");
    assert!(numbers(relay)[DELIVERIES] >= 2.0);

    // As a version with fewer counters left it.
    let all = fs::read(&file).expect("counters");
    fs::write(&file, &all[..96 * 3]).expect("counters");
    assert_eq!(numbers(relay)[DELIVERIES], 0.0);
    assert!(numbers(relay)["chatmail_logins_total{result=\"created\"}"] >= 2.0);
    fs::write(&file, all).expect("counters");
}

#[test]
fn the_milters_numbers_have_names_of_their_own_and_please_promtool_as_well() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    relay.send_encrypted(&alice, &bob);
    relay.wait_for_messages(&bob, 1);
    let milter = as_text(&milters(&relay));
    promtool_is_content(&milter);
    let families = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        lines
            .filter_map(|line| Some(line.split_once(' ')?.0.to_owned()))
            .collect()
    };
    let (milter, ours) = (families(&milter), families(&text(&relay)));
    assert!(
        milter.contains("chatmail_milter_messages_total"),
        "{milter:?}"
    );
    let twice: Vec<_> = milter.intersection(&ours).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

fn grown(before: &Numbers, now: &Numbers, name: &str) -> f64 {
    now[name] - before[name]
}

fn numbers(relay: &Instance) -> Numbers {
    parse(&text(relay))
}

fn text(relay: &Instance) -> String {
    let answer = ask(relay, "GET /metrics", "text/plain;version=0.0.4");
    assert_eq!(answer.status, 200, "{answer}");
    answer.body
}

fn ask(relay: &Instance, line: &str, accept: &str) -> Answer {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: chat.test\r\nAccept: {accept}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    http::raw(&relay.endpoints().http_socket, request.as_bytes()).expect("HTTP")
}

fn parse(text: &str) -> Numbers {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').expect("name and value");
            (name.to_owned(), value.parse().expect("a number"))
        })
        .collect()
}

/// The milter's, which are OpenMetrics.
fn milters(relay: &Instance) -> String {
    let mut stream = TcpStream::connect(&relay.endpoints().metrics).expect("the milter");
    let request = b"GET /metrics HTTP/1.0\r\n\r\n";
    stream.write_all(request).expect("request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answer");
    let (_, body) = answer.split_once("\r\n\r\n").expect("body");
    body.to_owned()
}

/// OpenMetrics names families, Prometheus' own format, which is all that promtool reads, their lines.
fn as_text(open_metrics: &str) -> String {
    let kind = |name: &str| {
        let start = format!("# TYPE {name} ");
        open_metrics
            .lines()
            .find_map(|line| line.strip_prefix(&start))
    };
    let mut text = String::new();
    for line in open_metrics.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "EOF"] | ["#", "UNIT", ..] => {}
            ["#", what, name, rest] => {
                let (ending, other) = match kind(name) {
                    Some("counter") => ("_total", None),
                    Some("info") => ("_info", Some("gauge").filter(|_| what == "TYPE")),
                    _ => ("", None),
                };
                let rest = other.unwrap_or(rest);
                text.push_str(&format!("# {what} {name}{ending} {rest}\n"));
            }
            _ => text.push_str(&format!("{line}\n")),
        }
    }
    text
}

#[track_caller]
fn promtool_is_content(text: &str) {
    if !Path::new(PROMTOOL).exists() {
        assert!(std::env::var_os("CI").is_none(), "there is no {PROMTOOL}");
        eprintln!("left out: promtool is not installed (Debian: apt install prometheus)");
        return;
    }
    let mut child = Command::new(PROMTOOL)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool");
    let mut stdin = child.stdin.take().expect("standard input");
    stdin.write_all(text.as_bytes()).expect("promtool");
    drop(stdin);
    let output = child.wait_with_output().expect("promtool");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}
