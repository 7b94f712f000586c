//! A client that idles hears of new mail at once, and costs nothing while there is none.
//!
//! Dovecot by itself tells after half a second. The bounds here lie half-way, so that they hold on
//! a busy machine and break without the plugin.

use std::collections::BTreeMap;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use chatmail_tests::dovecot::Version;
use chatmail_tests::imap::Imap;
use chatmail_tests::instance::Account;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::{Instance, Mail, process, wait};

const AT_ONCE: Duration = Duration::from_millis(250);

/// Dovecot looks every half minute whether it has missed something.
const LOST: Duration = Duration::from_secs(15);

const ROUNDS: usize = 11;

#[test]
fn an_idling_client_is_told_of_a_delivery_at_once() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut imap = selected(&relay, &bob, "INBOX");
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let mut idle = imap.idle().expect("IDLE");
    let told = (1..=ROUNDS).map(|count| {
        let since = Instant::now();
        deliver(&mut lmtp, &bob);
        until(|| idle.line().expect("IDLE"), &format!("{count} EXISTS"));
        since.elapsed()
    });
    at_once(told.collect());
    idle.done().expect("DONE");
}

#[test]
fn all_sessions_of_a_user_hear_at_once() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let mut sessions: Vec<_> = (0..3).map(|_| selected(&relay, &bob, "INBOX")).collect();
    let mut idles: Vec<_> = (sessions.iter_mut())
        .map(|imap| imap.idle().expect("IDLE"))
        .collect();
    let mut told = Vec::new();
    for count in 1..=ROUNDS {
        let since = Instant::now();
        deliver(&mut lmtp, &bob);
        thread::scope(|scope| {
            let hear = idles.iter_mut().map(|idle| {
                scope.spawn(move || {
                    until(|| idle.line().expect("IDLE"), &format!("{count} EXISTS"));
                    since.elapsed()
                })
            });
            let hear: Vec<_> = hear.collect();
            // The slowest counts.
            told.extend(
                hear.into_iter()
                    .map(|one| one.join().expect("EXISTS"))
                    .max(),
            );
        });
    }
    at_once(told);
}

#[test]
fn what_another_session_does_is_told_at_once_in_any_folder() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut other = relay.imap(&bob);
    command(&mut other, "CREATE DeltaChat");
    let mut imap = selected(&relay, &bob, "DeltaChat");
    let mut idle = imap.idle().expect("IDLE");
    let message = Mail::encrypted(&bob.address, &bob.address).to_bytes();
    let mut told = Vec::new();
    for _ in 0..ROUNDS {
        let since = Instant::now();
        let append = other.command_with_literals("APPEND DeltaChat", &[&message]);
        append.and_then(|answer| answer.ok()).expect("APPEND");
        until(|| idle.line().expect("IDLE"), "1 EXISTS");
        told.push(since.elapsed());

        command(&mut other, "SELECT DeltaChat");
        let since = Instant::now();
        command(&mut other, "STORE 1 +FLAGS.SILENT (\\Deleted)");
        let flags = until_some(
            || idle.line().expect("IDLE"),
            |line| line.contains("\\Deleted"),
        );
        assert!(flags.starts_with("1 FETCH"), "{flags}");
        told.push(since.elapsed());

        let since = Instant::now();
        command(&mut other, "CLOSE");
        until(|| idle.line().expect("IDLE"), "1 EXPUNGE");
        told.push(since.elapsed());
    }
    at_once(told);
}

#[test]
fn what_comes_in_the_tick_in_which_a_directory_was_read_is_told_at_once() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let mut imap = selected(&relay, &bob, "INBOX");
    let mut idle = imap.idle().expect("IDLE");
    let new = relay.mailbox(&bob).join("new");
    let told = (1..=ROUNDS).map(|count| {
        deliver(&mut lmtp, &bob);
        until(|| idle.line().expect("IDLE"), &exists(2 * count - 1));
        let message = prepared(&relay, &bob);
        // As a delivery that finds the lock taken, because Dovecot is just reading.
        in_the_same_tick(&new, || {
            fs::rename(&message, new.join(message.file_name().expect("name"))).expect("message");
        });
        let since = Instant::now();
        until(|| idle.line().expect("IDLE"), &exists(2 * count));
        since.elapsed()
    });
    let told: Vec<_> = told.collect();
    assert!(told.iter().max() < Some(&LOST), "{told:?}");
    at_once(told);
}

#[test]
fn what_comes_in_the_tick_of_a_select_is_told_when_the_client_idles() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let mut imap = selected(&relay, &bob, "INBOX");
    deliver(&mut lmtp, &bob);
    command(&mut imap, "NOOP");
    let new = relay.mailbox(&bob).join("new");
    let message = prepared(&relay, &bob);
    in_the_same_tick(&new, || {
        fs::rename(&message, new.join(message.file_name().expect("name"))).expect("message");
    });
    let since = Instant::now();
    let mut idle = imap.idle().expect("IDLE");
    until(|| idle.line().expect("IDLE"), "2 EXISTS");
    assert!(since.elapsed() < LOST, "{:?}", since.elapsed());
}

#[test]
fn what_goes_in_the_tick_in_which_a_directory_was_read_is_told_too() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let mut imap = selected(&relay, &bob, "INBOX");
    let mut idle = imap.idle().expect("IDLE");
    for _ in 0..5 {
        deliver(&mut lmtp, &bob);
        until(|| idle.line().expect("IDLE"), "1 EXISTS");
        // As expiry and other software do it.
        in_the_same_tick(&relay.mailbox(&bob).join("cur"), || {
            remove_messages(&relay, &bob);
        });
        let since = Instant::now();
        until(|| idle.line().expect("IDLE"), "1 EXPUNGE");
        assert!(since.elapsed() < LOST, "{:?}", since.elapsed());
    }
    idle.done().expect("DONE");
}

#[test]
fn a_client_that_fetches_and_removes_what_comes_hears_of_all() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut senders = [(); 2].map(|()| Lmtp::connect(relay.endpoints()).expect("LMTP"));
    let mut imap = selected(&relay, &bob, "INBOX");
    let mut told = Vec::new();
    for round in 0..4 * ROUNDS as u64 {
        let since = thread::scope(|scope| {
            let client = scope.spawn(|| take_two_messages(&mut imap));
            let [first, second] = &mut senders;
            scope.spawn(|| deliver(first, &bob));
            // At any moment of what the client does because of the first.
            thread::sleep(Duration::from_micros(577 * round % 20_000));
            deliver(second, &bob);
            let since = Instant::now();
            client.join().expect("client");
            since.elapsed()
        });
        told.push(since);
    }
    assert!(told.iter().max() < Some(&LOST), "{told:?}");
    at_once(told);
}

/// As Delta Chat does with what it does not leave on the server.
fn take_two_messages(imap: &mut Imap) {
    let mut taken = 0;
    while taken < 2 {
        let count = imap.inbox().expect("INBOX").len();
        if count == 0 {
            imap.idle_until(|line| line.ends_with(" EXISTS"))
                .expect("IDLE");
            continue;
        }
        command(imap, &format!("STORE 1:{count} +FLAGS (\\Deleted)"));
        command(imap, "CLOSE");
        taken += count;
    }
}

#[test]
fn stopping_and_starting_changes_nothing() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let mut imap = selected(&relay, &bob, "INBOX");
    command(&mut imap, "CREATE DeltaChat");
    let mut told = Vec::new();
    for count in 1..=ROUNDS {
        // Nothing was lost while it did not idle, was elsewhere, or had no folder open.
        match count % 4 {
            0 => command(&mut imap, "SELECT DeltaChat"),
            1 => command(&mut imap, "CLOSE"),
            2 => imap
                .idle()
                .and_then(|idle| idle.done())
                .map(drop)
                .expect("IDLE"),
            _ => {}
        }
        if count % 4 < 2 {
            command(&mut imap, "SELECT INBOX");
        }
        let mut idle = imap.idle().expect("IDLE");
        let since = Instant::now();
        deliver(&mut lmtp, &bob);
        until(|| idle.line().expect("IDLE"), &format!("{count} EXISTS"));
        told.push(since.elapsed());
        // Ours goes with Dovecot's own, and has no descriptor but its.
        assert_eq!(watches(&relay), 2);
        idle.done().expect("DONE");
        assert_eq!(watches(&relay), 0);
    }
    at_once(told);
}

#[test]
fn a_client_that_asked_for_notify_is_told() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let mut imap = selected(&relay, &bob, "INBOX");
    command(
        &mut imap,
        "NOTIFY SET (SELECTED (MessageNew MessageExpunge FlagChange))",
    );
    let told = (1..=3).map(|count: usize| {
        // Dovecot 2.3 watches from a second after the command, or its own notice, on, and does not
        // look what came before. 2.4 looks once a second instead, and hardly ever watches.
        if chatmail_tests::dovecot() == Version::V2_3 {
            wait::until_true("a watch on the INBOX", || watches(&relay) == 2);
        }
        let since = Instant::now();
        deliver(&mut lmtp, &bob);
        until(
            || imap.unasked().expect("NOTIFY"),
            &format!("{count} EXISTS"),
        );
        since.elapsed()
    });
    let told: Vec<_> = told.collect();
    if chatmail_tests::dovecot() == Version::V2_3 {
        at_once(told);
    }
}

#[test]
fn of_two_hundred_messages_at_once_no_notice_is_lost() {
    const MESSAGES: usize = 200;
    const SENDERS: usize = 4;
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut sessions: Vec<_> = (0..3).map(|_| selected(&relay, &bob, "INBOX")).collect();
    thread::scope(|scope| {
        let (ready, idling) = mpsc::channel();
        for imap in &mut sessions {
            let ready = ready.clone();
            scope.spawn(move || {
                let mut idle = imap.idle().expect("IDLE");
                ready.send(()).expect("the test");
                let last = format!("{MESSAGES} EXISTS");
                until(|| idle.line().expect("IDLE"), &last);
                idle.done().expect("DONE");
            });
        }
        idling.iter().take(3).for_each(drop);
        for _ in 0..SENDERS {
            scope.spawn(|| {
                let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
                for _ in 0..MESSAGES / SENDERS {
                    deliver(&mut lmtp, &bob);
                }
            });
        }
    });
    for imap in &mut sessions {
        assert_eq!(imap.select_inbox().expect("SELECT"), MESSAGES);
    }
}

#[test]
fn an_idling_process_sleeps() {
    /// How often one may wake in [`WINDOW`]. A timer of 2 ms would wake it a thousand times.
    const WAKES: u64 = 20;
    const WINDOW: Duration = Duration::from_secs(2);
    let relay = Instance::start();
    let bob = relay.account("bob");
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let mut imap = selected(&relay, &bob, "INBOX");
    let mut idle = imap.idle().expect("IDLE");
    // It has had something to do.
    deliver(&mut lmtp, &bob);
    until(|| idle.line().expect("IDLE"), "1 EXISTS");
    let mut last = wakes(&relay);
    wait::until_true("the notice to be done with", || {
        let before = std::mem::replace(&mut last, wakes(&relay));
        before == last
    });
    thread::sleep(WINDOW);
    let after = wakes(&relay);
    for (pid, count) in &last {
        let woken = after.get(pid).unwrap_or(count) - count;
        assert!(woken <= WAKES, "process {pid} woke {woken} times");
    }
    assert!(!last.is_empty());
    deliver(&mut lmtp, &bob);
    until(|| idle.line().expect("IDLE"), "2 EXISTS");
}

/// How often each imap process was put to work by the kernel so far.
fn wakes(relay: &Instance) -> BTreeMap<u32, u64> {
    let count = |pid| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let switches = (status.lines())
            .filter(|line| line.contains("ctxt_switches"))
            .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
        Some((pid, switches.sum()))
    };
    imap_processes(relay)
        .into_iter()
        .filter_map(count)
        .collect()
}

/// How many directories the imap processes watch.
fn watches(relay: &Instance) -> usize {
    let mut count = 0;
    for pid in imap_processes(relay) {
        let Ok(files) = fs::read_dir(format!("/proc/{pid}/fdinfo")) else {
            continue;
        };
        for file in files.flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            count += text
                .lines()
                .filter(|line| line.starts_with("inotify "))
                .count();
        }
    }
    count
}

fn imap_processes(relay: &Instance) -> Vec<u32> {
    let processes = process::tree(relay.supervisor_pid());
    let imap = processes.into_iter().filter(|p| p.name == "imap");
    imap.map(|process| process.pid).collect()
}

fn selected(relay: &Instance, account: &Account, folder: &str) -> Imap {
    let mut imap = relay.imap(account);
    command(&mut imap, &format!("SELECT {folder}"));
    imap
}

#[track_caller]
fn command(imap: &mut Imap, command: &str) {
    if let Err(error) = imap.command(command).and_then(|answer| answer.ok()) {
        panic!("{command}: {error}");
    }
}

fn exists(count: usize) -> String {
    format!("{count} EXISTS")
}

/// Changes a directory, which looks afterwards as if it had not been changed: its time has the
/// resolution of a tick of the clock.
fn in_the_same_tick(directory: &Path, change: impl FnOnce()) {
    let directory = File::open(directory).expect("directory");
    let time = directory
        .metadata()
        .and_then(|metadata| metadata.modified());
    change();
    let times = FileTimes::new().set_modified(time.expect("time"));
    directory.set_times(times).expect("time");
}

/// A message that is not yet in the INBOX: a copy of one that is, below `tmp`.
fn prepared(relay: &Instance, account: &Account) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let mailbox = relay.mailbox(account);
    let mut messages = fs::read_dir(mailbox.join("cur")).expect("maildir");
    let message = messages.next().expect("a message").expect("maildir").path();
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let copy = mailbox
        .join("tmp")
        .join(format!("1775324677.M{number}P1.test"));
    fs::copy(message, &copy).expect("message");
    let owner = fs::metadata(mailbox).expect("maildir");
    chown(&copy, Some(owner.uid()), Some(owner.gid())).expect("message");
    copy
}

fn remove_messages(relay: &Instance, account: &Account) {
    for part in ["new", "cur"] {
        for entry in fs::read_dir(relay.mailbox(account).join(part)).expect("maildir") {
            fs::remove_file(entry.expect("maildir").path()).expect("message");
        }
    }
}

#[track_caller]
fn deliver(lmtp: &mut Lmtp, to: &Account) {
    let mail = Mail::encrypted("carol@elsewhere.test", &to.address).to_bytes();
    let reply = lmtp.deliver("carol@elsewhere.test", &to.address, &mail);
    let reply = reply.expect("LMTP");
    assert_eq!(reply.code, 250, "{reply}");
}

/// Reads until there is this line. Other lines may come before it: `0 RECENT`.
fn until(next: impl FnMut() -> String, line: &str) {
    until_some(next, |next| next == line);
}

fn until_some(mut next: impl FnMut() -> String, is_it: impl Fn(&str) -> bool) -> String {
    loop {
        let line = next();
        if is_it(&line) {
            return line;
        }
    }
}

#[track_caller]
fn at_once(mut told: Vec<Duration>) {
    told.sort();
    let median = told[told.len() / 2];
    println!("median {median:?}, slowest {:?}", told.last());
    assert!(median < AT_ONCE, "{told:?}");
}
