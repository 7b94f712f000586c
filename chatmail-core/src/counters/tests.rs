use super::*;
use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::Instant;

use crate::address::MailDomain;

struct Relay {
    base: tempfile::TempDir,
}

impl Relay {
    fn new() -> Relay {
        Relay {
            base: tempfile::tempdir().unwrap(),
        }
    }

    fn counters(&self) -> Counters {
        counters(self.base.path().to_owned())
    }

    fn file(&self) -> PathBuf {
        self.base.path().join(".chatmail/counters")
    }
}

fn counters(dir: PathBuf) -> Counters {
    Counters::new(&Mailboxes::new(
        dir,
        MailDomain::parse("chat.example").unwrap(),
    ))
}

/// A busy machine may take its time between a lock and its release.
fn patient(counters: Counters) -> Counters {
    Counters {
        patience: Duration::from_secs(60),
        ..counters
    }
}

fn value_of(counters: &Counters, counter: Counter) -> u64 {
    counters.read().unwrap()[counter as usize].1
}

#[test]
fn every_counter_has_a_name_of_its_own_that_fits_and_a_place() {
    let names: BTreeSet<&str> = Counter::ALL.iter().map(|counter| counter.name()).collect();
    assert_eq!(names.len(), Counter::ALL.len());
    for (place, counter) in Counter::ALL.iter().enumerate() {
        assert_eq!(*counter as usize, place);
        assert_eq!(line(*counter, u64::MAX).len(), LINE, "{}", counter.name());
        assert_eq!(value(line(*counter, 7).as_bytes(), *counter), Some(7));
    }
}

#[test]
fn what_is_counted_can_be_read_by_people_and_by_programs() {
    let relay = Relay::new();
    let counters = relay.counters();
    assert!(
        counters
            .read()
            .unwrap()
            .iter()
            .all(|(_, value)| *value == 0)
    );
    for _ in 0..1001 {
        counters.count(Counter::LoginCreated);
    }
    relay.counters().count(Counter::SignupDisk);

    let text = fs::read_to_string(relay.file()).unwrap();
    assert_eq!(text.lines().count(), Counter::ALL.len());
    for counter in Counter::ALL {
        let words: Vec<&str> = text
            .lines()
            .nth(*counter as usize)
            .unwrap()
            .split_whitespace()
            .collect();
        let expected = match counter {
            Counter::LoginCreated => "1001",
            Counter::SignupDisk => "1",
            _ => "0",
        };
        assert_eq!(words, [counter.name(), expected]);
        assert_eq!(value_of(&counters, *counter).to_string(), expected);
    }
}

#[test]
fn many_are_counted_at_once_and_never_past_the_end() {
    let relay = Relay::new();
    let counters = relay.counters();
    counters.add(Counter::ExpiredBytes, 0);
    assert!(!relay.file().exists());
    counters.add(Counter::ExpiredBytes, 5_000_000_000);
    counters.add(Counter::ExpiredBytes, 7);
    assert_eq!(value_of(&counters, Counter::ExpiredBytes), 5_000_000_007);
    counters.add_each(&[(Counter::Delivery, 0), (Counter::PushSpooled, 0)]);
    counters.add_each(&[(Counter::Delivery, 1), (Counter::PushSpooled, 0)]);
    counters.add_each(&[(Counter::Delivery, 1), (Counter::PushSpooled, 3)]);
    assert_eq!(value_of(&counters, Counter::Delivery), 2);
    assert_eq!(value_of(&counters, Counter::PushSpooled), 3);
    counters.add(Counter::ExpiredBytes, u64::MAX);
    assert_eq!(value_of(&counters, Counter::ExpiredBytes), u64::MAX);
    assert_eq!(value_of(&counters, Counter::ExpiredMessages), 0);
}

#[test]
fn a_file_of_an_older_version_gets_the_lines_it_lacks() {
    let relay = Relay::new();
    relay.counters().count(Counter::LoginKnown);
    let file = OpenOptions::new().write(true).open(relay.file()).unwrap();
    // And half of the next one.
    file.set_len(3 * LINE as u64 + 17).unwrap();
    let counters = relay.counters();
    assert_eq!(value_of(&counters, Counter::SignupDisk), 0);
    counters.count(Counter::SignupDisk);
    assert_eq!(value_of(&counters, Counter::SignupDisk), 1);
    assert_eq!(value_of(&counters, Counter::LoginKnown), 1);
    let text = fs::read_to_string(relay.file()).unwrap();
    assert_eq!(text.len(), Counter::ALL.len() * LINE);
    assert!(text.lines().all(|line| line.len() == LINE - 1));
}

#[test]
fn a_file_of_a_newer_version_is_read_as_far_as_it_is_known_and_keeps_the_rest() {
    let relay = Relay::new();
    let counters = relay.counters();
    counters.count(Counter::LoginKnown);
    let newer = line(Counter::LoginKnown, 5).replace("known", "later");
    let mut file = OpenOptions::new().append(true).open(relay.file()).unwrap();
    file.write_all(newer.as_bytes()).unwrap();
    counters.count(Counter::LoginKnown);
    assert_eq!(value_of(&counters, Counter::LoginKnown), 2);
    assert_eq!(counters.read().unwrap().len(), Counter::ALL.len());
    let text = fs::read_to_string(relay.file()).unwrap();
    assert!(text.ends_with(&newer), "{text}");
}

#[test]
fn a_damaged_line_starts_anew_and_the_others_stay() {
    for damage in [&b"\0"[..], b"x", b"\n", b"\xff", b"-"] {
        let relay = Relay::new();
        let counters = relay.counters();
        counters.count(Counter::LoginKnown);
        counters.count(Counter::LoginBlocked);
        let file = OpenOptions::new().write(true).open(relay.file()).unwrap();
        let damaged = damage.repeat(LINE);
        let place = Counter::LoginBlocked as u64 * LINE as u64;
        file.write_all_at(&damaged, place).unwrap();
        assert_eq!(value_of(&counters, Counter::LoginBlocked), 0);
        counters.count(Counter::LoginBlocked);
        counters.count(Counter::LoginBlocked);
        assert_eq!(value_of(&counters, Counter::LoginBlocked), 2);
        assert_eq!(value_of(&counters, Counter::LoginKnown), 1);
        counters.count(Counter::LoginKnown);
        assert_eq!(value_of(&counters, Counter::LoginKnown), 2);
    }
}

#[test]
fn a_counter_that_cannot_be_written_is_nobodys_trouble() {
    let relay = Relay::new();
    fs::create_dir_all(relay.file()).unwrap();
    relay.counters().count(Counter::LoginKnown);
    assert!(relay.counters().read().is_err());
    fs::remove_dir(relay.file()).unwrap();
    let kind = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, relay.file(), kind, 0o600.into(), 0).unwrap();
    assert!(relay.counters().read().is_err());

    let nowhere = counters(relay.base.path().join("missing"));
    nowhere.count(Counter::LoginKnown);
    assert_eq!(value_of(&nowhere, Counter::LoginKnown), 0);
    assert!(!relay.base.path().join("missing").exists());

    let full = Relay::new();
    let counters = full.counters();
    counters.count(Counter::LoginKnown);
    let held = OpenOptions::new().read(true).open(full.file()).unwrap();
    held.lock().unwrap();
    let start = Instant::now();
    counters.count(Counter::LoginKnown);
    let waited = start.elapsed();
    assert!(
        waited >= PATIENCE && waited < Duration::from_secs(10),
        "{waited:?}"
    );
    held.unlock().unwrap();
    counters.count(Counter::LoginKnown);
    assert_eq!(value_of(&counters, Counter::LoginKnown), 2);
}

const CHILD: &str = "CHATMAIL_TEST_COUNTERS";
const EACH: u64 = 2_000;

/// Not a test by itself: what each process of the next one does.
#[test]
fn child_counts() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let counters = patient(counters(dir.into()));
        for _ in 0..EACH {
            counters.count(Counter::LoginKnown);
        }
    }
}

#[test]
fn eight_processes_and_their_threads_lose_nothing() {
    let relay = Relay::new();
    let children: Vec<_> = (0..8)
        .map(|_| {
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "counters::tests::child_counts", "--quiet"])
                .env(CHILD, relay.base.path())
                .stdout(std::process::Stdio::null())
                .spawn()
                .unwrap()
        })
        .collect();
    let counters = patient(relay.counters());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..EACH {
                    counters.count(Counter::LoginKnown);
                }
            });
        }
    });
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(value_of(&counters, Counter::LoginKnown), 10 * EACH);
}

const PAUSE: &str = "CHATMAIL_TEST_COUNTERS_PAUSE";

/// Not a test by itself: what each process of the next one does. Prints nanoseconds: those on the
/// processor for one count, and those that each took.
#[test]
fn child_counts_now_and_then() {
    let Ok(pause) = std::env::var(PAUSE) else {
        return;
    };
    let pause = Duration::from_micros(pause.parse().unwrap());
    let counters = patient(counters(std::env::var_os(CHILD).unwrap().into()));
    let rounds = |work: &dyn Fn()| -> (u64, Vec<u64>) {
        let on_processor = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
            time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
        };
        let before = on_processor();
        let times = (0..200).map(|_| {
            thread::sleep(pause);
            let start = Instant::now();
            work();
            start.elapsed().as_nanos() as u64
        });
        let times = times.collect();
        (on_processor() - before, times)
    };
    let (pauses, _) = rounds(&|| ());
    let (all, times) = rounds(&|| counters.count(Counter::Delivery));
    println!("\nCOUNTED {} {times:?}", all.saturating_sub(pauses) / 200);
}

/// `cargo test --release -p chatmail-core --lib -- --ignored --nocapture fifty_processes`
#[test]
#[ignore = "a measurement"]
fn what_a_count_costs_among_fifty_processes() {
    for pause in [0, 1_000, 10_000, 50_000] {
        for shared in [false, true] {
            let relays: Vec<_> = (0..50).map(|_| Relay::new()).collect();
            let children = relays.iter().map(|own| {
                let relay = if shared { &relays[0] } else { own };
                Command::new(std::env::current_exe().unwrap())
                    .args(["--exact", "counters::tests::child_counts_now_and_then"])
                    .args(["--quiet", "--nocapture"])
                    .env(CHILD, relay.base.path())
                    .env(PAUSE, pause.to_string())
                    .stdout(std::process::Stdio::piped())
                    .spawn()
                    .unwrap()
            });
            let (mut times, mut used) = (Vec::new(), 0);
            for child in children.collect::<Vec<_>>() {
                let output = String::from_utf8(child.wait_with_output().unwrap().stdout).unwrap();
                let line = output
                    .lines()
                    .find_map(|line| line.strip_prefix("COUNTED "));
                let (own, all) = line.unwrap().split_once(' ').unwrap();
                used += own.parse::<u64>().unwrap() / 50;
                let all = all.trim_matches(['[', ']']).split(", ");
                times.extend(all.map(|time| time.parse::<u64>().unwrap()));
            }
            times.sort_unstable();
            let micros = |nanos: u64| nanos as f64 / 1000.0;
            let part = |percent| micros(times[times.len() * percent / 100]);
            println!(
                "every {pause} us, {}: median {:.1} us, 90 % {:.1}, 99 % {:.1}, mean {:.1}; on the \
                 processor {:.1}",
                if shared {
                    "one file"
                } else {
                    "a file for each"
                },
                part(50),
                part(90),
                part(99),
                micros(times.iter().sum::<u64>() / times.len() as u64),
                micros(used)
            );
        }
    }
}
