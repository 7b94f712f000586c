//! New accounts by way of nginx, with the configuration that is shipped: what of the service can be reached, whom it
//! takes a client for, and that no answer is lost or doubled under the load of wrk.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use chatmail_tests::http::{self, Answer};
use chatmail_tests::nginx::{self, Nginx};
use chatmail_tests::process::{self, Signal};
use chatmail_tests::{Instance, wait};

const NEW: &str = "POST /new";
const OLD: &str = "/cgi-bin/newemail.py";

/// Debian's, from the package of that name.
const WRK: &str = "/usr/bin/wrk";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/nginx/new.lua");

/// Of wrk, all together. The service lets 32 requests wait, and refuses more.
const CONNECTIONS: usize = 8;
const THREADS: usize = 2;
const SECONDS: u32 = 3;

/// Of a network of its own.
const NEIGHBOUR: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 1, 1));

/// Otherwise the test is left out, or fails where everything has to run.
fn installed(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| !Path::new(program).exists());
    let Some(program) = missing else {
        return true;
    };
    assert!(std::env::var_os("CI").is_none(), "there is no {program}");
    let package = program.rsplit('/').next().unwrap_or(program);
    eprintln!("left out: {package} is not installed (Debian: apt install {package})");
    false
}

fn relay(params: &[(&str, &str)]) -> Instance {
    let wish = params.iter().fold(Instance::with(), |wish, (key, value)| {
        wish.param(key, value)
    });
    wish.start()
}

#[test]
fn an_account_from_either_path_logs_in_and_a_browser_is_led_to_delta_chat() {
    if !installed(&[nginx::PROGRAM]) {
        return;
    }
    let relay = relay(&[]);
    let nginx = Nginx::start(&relay);
    let mut made = BTreeSet::new();
    for path in ["/new", OLD] {
        let account = nginx.ask(&format!("POST {path}")).expect("HTTPS").account();
        relay.imap(&account);
        made.insert(account.address);

        let link = format!("dcaccount:https://{}/new", relay.endpoints().domain);
        for query in ["", "?token=0123456789abcdefghiJKL"] {
            let answer = nginx.ask(&format!("GET {path}{query}")).expect("HTTPS");
            let to = format!("{link}{query}");
            let led = (answer.status, answer.field("location"));
            assert_eq!(led, (301, Some(to.as_str())), "{path}{query}");
        }
    }
    assert_eq!(relay.addresses(), made);
    assert_eq!(made.len(), 2);
}

#[test]
fn nothing_else_of_the_service_can_be_reached() {
    if !installed(&[nginx::PROGRAM]) {
        return;
    }
    let relay = relay(&[]);
    let nginx = Nginx::start(&relay);
    for path in ["/metrics", "/healthz"] {
        let inside = http::request(&relay.endpoints().http_socket, &format!("GET {path}"), "");
        assert_eq!(inside.expect("HTTP").status, 200, "{path}");
        for way in [
            path.to_owned(),
            format!("/{path}"),
            format!("/new{path}"),
            format!("/new/..{path}"),
            format!("/new/%2e%2e{path}"),
            format!("{OLD}/../..{path}"),
            format!("https://chat.test{path}"),
        ] {
            let answer = nginx.ask(&format!("GET {way}")).expect("HTTPS");
            assert_eq!(answer.status, 404, "{way}: {answer}");
            // By nginx itself: the service says it in JSON.
            assert_eq!(answer.field("content-type"), Some("text/html"), "{way}");
        }
    }
    // The other way round a client gets what the path means.
    for way in ["/metrics/../new", "//new", "/%6eew"] {
        let answer = nginx.ask(&format!("POST {way}")).expect("HTTPS");
        answer.account();
    }
}

#[test]
fn a_refusal_comes_with_its_status_and_reason() {
    if !installed(&[nginx::PROGRAM]) {
        return;
    }
    let relay = relay(&[
        ("registration", "invite"),
        ("max_network_signups_per_hour", "2"),
    ]);
    let nginx = Nginx::start(&relay);
    let ask = |path: &str| nginx.ask(&format!("POST {path}")).expect("HTTPS");
    let uninvited = ask("/new");
    assert_eq!(uninvited.status, 403, "{uninvited}");
    assert!(uninvited.reason().contains("invitation"), "{uninvited}");
    // Who guesses at invitations signs up too often.
    for path in ["/new", OLD] {
        let wrong = ask(&format!("{path}?token=0123456789abcdefghiJKL"));
        assert_eq!(wrong.status, 403, "{wrong}");
        assert_ne!(wrong.reason(), uninvited.reason());
    }
    let often = ask("/new?token=0123456789abcdefghiJKL");
    assert_eq!(often.status, 429, "{often}");
    assert_eq!(often.field("retry-after"), Some("1800"));
    assert!(often.reason().contains("network"), "{often}");
    assert_eq!(relay.addresses(), BTreeSet::new());
}

#[test]
fn what_a_client_sends_besides_is_bounded_and_does_no_harm() {
    if !installed(&[nginx::PROGRAM]) {
        return;
    }
    let relay = relay(&[]);
    let nginx = Nginx::start(&relay);
    let body = |octets| nginx.ask_with_body(NEW, octets).expect("HTTPS");
    body(4096).account();
    assert_eq!(body(4097).status, 413);
    // More than the service takes.
    let cookie = format!("Cookie: of={}", "x".repeat(5000));
    let answer = nginx.ask_as(NEIGHBOUR, NEW, &[&cookie, &cookie]);
    answer.expect("HTTPS").account();
    assert_eq!(relay.addresses().len(), 2);
}

#[test]
fn no_client_chooses_its_network() {
    if !installed(&[nginx::PROGRAM]) {
        return;
    }
    let relay = relay(&[("max_network_signups_per_hour", "3")]);
    let nginx = Nginx::start(&relay);
    let here = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let claims = |number: usize| {
        let other = format!("198.51.{number}.1");
        [
            vec![],
            vec![format!("X-Forwarded-For: {other}")],
            vec![format!("x-forwarded-for: {other}, {other}")],
            vec![format!("X-Forwarded-For: {other}"); 2],
            vec![
                format!("Forwarded: for={other}"),
                format!("X-Real-IP: {other}"),
            ],
            vec![format!("X_Forwarded_For: {other}")],
            vec![format!(
                "X-Forwarded-For: {other}\r\nConnection: X-Forwarded-For"
            )],
        ]
    };
    let ask = |client, fields: &[String]| {
        let fields: Vec<&str> = fields.iter().map(String::as_str).collect();
        nginx.ask_as(client, NEW, &fields).expect("HTTPS").status
    };
    let asked = (0..3).flat_map(claims);
    let statuses: Vec<u16> = asked.map(|fields| ask(here, &fields)).collect();
    assert_eq!(statuses[..3], [200; 3]);
    assert_eq!(statuses[3..], [429; 18]);

    // One that is another network is one, whatever it says.
    let claim = ["X-Forwarded-For: 127.0.0.1".to_owned()];
    let statuses: Vec<u16> = (0..4).map(|_| ask(NEIGHBOUR, &claim)).collect();
    assert_eq!(statuses, [200, 200, 200, 429]);
    assert_eq!(relay.addresses().len(), 6);
}

#[test]
fn behind_a_proxy_that_says_so_each_client_is_of_its_own_network() {
    if !installed(&[nginx::PROGRAM]) {
        return;
    }
    let relay = relay(&[("max_network_signups_per_hour", "1")]);
    let nginx = Nginx::start(&relay);
    let ask = |third| {
        let client = Ipv4Addr::new(198, 51, third, 7);
        nginx.ask_by_proxy(client, NEW).expect("HTTPS").status
    };
    let statuses: Vec<u16> = [1, 2, 1, 3, 2].into_iter().map(ask).collect();
    assert_eq!(statuses, [200, 200, 429, 200, 429]);
}

#[test]
fn while_the_service_is_away_nginx_gives_a_reason_and_later_goes_on() {
    if !installed(&[nginx::PROGRAM]) {
        return;
    }
    let relay = relay(&[]);
    let nginx = Nginx::start(&relay);
    nginx.ask(NEW).expect("HTTPS").account();

    // Which would start another at once.
    let supervisor = process::stop(relay.supervisor_pid());
    process::signal(relay.endpoints().serve_pid, Signal::KILL).expect("killing the service");
    wait::until_true("a socket without a service", || {
        UnixStream::connect(&relay.endpoints().http_socket).is_err()
    });
    for path in ["/new", OLD] {
        let answer = nginx.ask(&format!("POST {path}")).expect("HTTPS");
        assert_eq!(answer.status, 503, "{answer}");
        assert_eq!(answer.field("content-type"), Some("application/json"));
        assert_eq!(answer.field("retry-after"), Some("60"));
        assert!(answer.reason().contains("try again later"), "{answer}");
    }
    assert_eq!(relay.addresses().len(), 1);

    drop(supervisor);
    let account = wait::until("another service", || {
        let answer = nginx.ask(NEW).expect("HTTPS");
        assert!([200, 503].contains(&answer.status), "{answer}");
        (answer.status == 200).then(|| answer.account())
    });
    relay.imap(&account);
}

#[test]
fn under_load_each_account_is_answered_once_and_none_is_made_unasked() {
    if !installed(&[nginx::PROGRAM, WRK]) {
        return;
    }
    let relay = relay(&[
        ("max_network_signups_per_hour", "inf"),
        ("max_signups_per_hour", "inf"),
    ]);
    let nginx = Nginx::start(&relay);
    let load = load(&nginx);
    let mut answered = BTreeSet::new();
    for answer in &load.answers {
        let address = answer.account().address;
        assert!(answered.insert(address), "twice: {answer}");
    }
    assert!(answered.len() > 5 * CONNECTIONS, "{}", answered.len());
    // Asked after those that wrk did not wait for: by its answer they are made, or never are.
    let last = nginx.ask(NEW).expect("HTTPS").account();
    answered.insert(last.address.clone());
    let made = relay.addresses();
    let lost: Vec<_> = answered.difference(&made).collect();
    assert!(lost.is_empty(), "answered and not made: {lost:?}");
    // wrk stops without a look at what it has asked for last, once on each connection.
    let unheard = made.difference(&answered).count();
    assert!(unheard <= CONNECTIONS, "{unheard} made and not answered");
    relay.imap(&last);
    eprintln!(
        "{} accounts through nginx in {:?}: {:.0} a second; {unheard} made and not answered",
        load.answers.len(),
        load.took,
        load.answers.len() as f64 / load.took.as_secs_f64(),
    );
}

#[test]
fn under_load_one_network_gets_as_many_accounts_as_its_rate_allows() {
    if !installed(&[nginx::PROGRAM, WRK]) {
        return;
    }
    let relay = relay(&[
        ("max_network_signups_per_hour", "50"),
        ("max_signups_per_hour", "inf"),
    ]);
    let nginx = Nginx::start(&relay);
    let load = load(&nginx);
    let mut by_status: BTreeMap<u16, usize> = BTreeMap::new();
    let mut answered = BTreeSet::new();
    for answer in &load.answers {
        *by_status.entry(answer.status).or_default() += 1;
        match answer.status {
            200 => {
                let address = answer.account().address;
                assert!(answered.insert(address), "twice: {answer}");
            }
            _ => assert!(answer.reason().contains("network"), "{answer}"),
        }
    }
    let refused = load.answers.len() - 50;
    assert_eq!(by_status, BTreeMap::from([(200, 50), (429, refused)]));
    assert!(refused > 50, "{refused}");
    assert_eq!(relay.addresses(), answered);
    eprintln!("{refused} refusals through nginx in {:?}", load.took);
}

/// What wrk was answered.
struct Load {
    answers: Vec<Answer>,
    took: Duration,
}

/// As many `POST /new` as there are answers to within some seconds, without a pause on any connection.
fn load(nginx: &Nginx<'_>) -> Load {
    let dir = tempfile::tempdir().expect("temporary directory");
    let output = Command::new(WRK)
        .args(["--threads", &THREADS.to_string()])
        .args(["--connections", &CONNECTIONS.to_string()])
        .args(["--duration", &format!("{SECONDS}s")])
        .args(["--script", SCRIPT, &nginx.url("/new"), "--"])
        .arg(dir.path().join("answers"))
        .stdin(Stdio::null())
        .output()
        .expect("wrk");
    let said = [output.stdout.as_slice(), output.stderr.as_slice()].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{said}");
    let numbers = String::from_utf8_lossy(&output.stdout);
    let numbers = numbers.lines().last().unwrap_or_default();
    let numbers: Vec<usize> = numbers
        .split_whitespace()
        .map(|number| number.parse().expect("a number of wrk's"))
        .collect();
    let [count, errors, microseconds] = numbers[..] else {
        panic!("{said}");
    };
    assert_eq!(errors, 0, "{said}");
    let mut answers = Vec::new();
    for thread in 1..=THREADS {
        let file = fs::read_to_string(dir.path().join(format!("answers.{thread}")));
        for line in file.expect("answers").lines() {
            let (status, body) = line.split_once(' ').expect("STATUS BODY");
            answers.push(Answer {
                status: status.parse().expect("a status"),
                fields: Vec::new(),
                body: body.to_owned(),
            });
        }
    }
    assert_eq!(answers.len(), count, "{said}");
    Load {
        answers,
        took: Duration::from_micros(microseconds as u64),
    }
}
