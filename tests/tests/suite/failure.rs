//! What a crash of one part means to the others: waiting, never a wrong answer.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chatmail_tests::filter;
use chatmail_tests::instance::Account;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::mail::ENCRYPTION_NEEDED;
use chatmail_tests::process::{self, Signal};
use chatmail_tests::services::{self, Service};
use chatmail_tests::smtp::{Door, Reply, Smtp, refusal};
use chatmail_tests::{Instance, Mail, wait};

#[test]
fn a_session_that_loses_its_filter_is_told_to_try_again() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let cleartext = Mail::cleartext(&alice.address, &bob.address);
    let encrypted = Mail::encrypted(&alice.address, &bob.address);
    let to = [bob.address.as_str()];

    // One session before MAIL, one before the content, of each door.
    let doors = [Door::Smtps, Door::Submission];
    let mut idle = doors.map(|door| relay.smtp(door, &alice));
    let mut sending = doors.map(|door| relay.smtp(door, &alice));
    for smtp in &mut sending {
        assert_eq!(smtp.envelope(&alice.address, &to).expect("SMTP").code, 354);
    }
    let killed = filter::kill(&relay);

    for (smtp, mail) in sending.iter_mut().zip([&cleartext, &encrypted]) {
        let reply = smtp.content(&mail.to_bytes()).expect("SMTP");
        assert!(reply.is_temporary(), "{reply}");
    }
    for (smtp, mail) in idle.iter_mut().zip([&cleartext, &encrypted]) {
        let reply = smtp
            .send(&alice.address, &to, &mail.to_bytes())
            .expect("SMTP");
        assert!(reply.is_temporary(), "{reply}");
    }

    mail_flows_again(&relay, &alice, &bob);
    let now = relay.current_endpoints().expect("endpoints");
    assert_ne!(now.milter_pid, killed);
}

#[test]
fn nothing_passes_unchecked_while_the_filter_is_down() {
    let relay = Instance::with()
        .param("max_user_send_per_minute", 6000)
        .param("max_user_send_burst_size", 1000)
        .start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let cleartext = Mail::cleartext(&alice.address, &bob.address).to_bytes();
    let doors = [Door::Smtps, Door::Submission];
    for _ in 0..3 {
        filter::kill(&relay);
        // New sessions through every door, from the crash until the filter answers for itself.
        wait::until_true("the filter to answer again", || {
            let outgoing = doors.map(|door| {
                let Account { address, password } = &alice;
                let smtp = Smtp::login_to(relay.endpoints(), door, address, password);
                attempt(smtp, address, &bob, &cleartext)
            });
            let smtp = Smtp::connect(relay.endpoints(), Door::Smtp);
            let incoming = attempt(smtp, "carol@elsewhere.test", &bob, &cleartext);
            let replies: Vec<_> = outgoing.into_iter().chain([incoming]).collect();
            for reply in &replies {
                let refused = reply.to_string() == ENCRYPTION_NEEDED;
                assert!(refused || reply.is_temporary(), "{reply}");
            }
            replies.iter().all(|reply| !reply.is_temporary())
        });
    }
    mail_flows_again(&relay, &alice, &bob);
}

#[test]
fn killed_login_workers_make_no_second_account_and_no_wrong_refusal() {
    let relay = Instance::start();
    let dovecot = relay.supervisor_pid();
    let enough = AtomicBool::new(false);
    let (killed, accounts) = thread::scope(|scope| {
        let logins: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| create_until(&relay, &enough)))
            .collect();
        let killed = kill_workers(dovecot);
        enough.store(true, Ordering::Relaxed);
        let accounts = logins
            .into_iter()
            .flat_map(|login| login.join().expect("see above"));
        (killed, accounts.collect::<Vec<_>>())
    });
    assert_eq!(killed, KILLS, "too few workers were killed");

    let expected: BTreeSet<_> = accounts
        .iter()
        .map(|account| account.address.clone())
        .collect();
    assert_eq!(relay.addresses(), expected);
    for account in &accounts {
        relay.imap(account);
        let names: BTreeSet<_> = fs::read_dir(relay.mailbox(account))
            .expect("mailbox")
            .map(|entry| {
                entry
                    .expect("entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        assert!(names.contains("enforceE2EEincoming"), "{names:?}");
    }
}

/// Dovecot makes those wait who are not let in.
const NO_WAITING: &str = "auth_failure_delay = 0";

/// What is wrong with a file, and how it becomes so.
type Damage<'a> = (&'a str, &'a dyn Fn(&Path));

#[test]
fn a_damaged_password_is_no_login_and_no_new_account() {
    let relay = Instance::with().dovecot_settings(NO_WAITING).start();
    let damages: [Damage<'_>; 4] = [
        ("unreadable", &|file| set_mode(file, 0o000)),
        ("a directory", &|file| {
            fs::remove_file(file).expect("password");
            fs::create_dir(file).expect("directory");
        }),
        ("missing", &|file| fs::remove_file(file).expect("password")),
        ("half written", &|file| {
            fs::write(file, "{SHA512-CRYPT}$6$4z").expect("password");
        }),
    ];
    for (what, damage) in damages {
        let account = relay.account("alice");
        let mailbox = relay.mailbox(&account);
        let file = mailbox.join("password");
        // It is somebody's mail.
        relay.imap(&account).select_inbox().expect("INBOX");
        damage(&file);
        let before = fs::symlink_metadata(&file).map(|now| (now.ino(), now.len(), now.ctime()));
        let answer = relay.try_imap(&account.address, &account.password);
        assert_eq!(answer.code(), Some("UNAVAILABLE"), "{what}: {answer}");
        let after = fs::symlink_metadata(&file).map(|now| (now.ino(), now.len(), now.ctime()));
        assert_eq!(before.ok(), after.ok(), "{what}");
        // The log names no address.
        let directory = fs::metadata(&mailbox).expect("mailbox").ino();
        // Of the file, or of the mailbox that lacks it.
        let named = ["/password: ", ": "].map(|rest| format!("inode:{directory}{rest}"));
        relay.wait_for_log("dovecot", &format!("a word on {what}"), |line| {
            line.contains("Error: ") && named.iter().any(|name| line.contains(name))
        });
    }
    assert_eq!(services::crashes(&relay), [] as [String; 0]);
}

#[test]
fn a_damaged_configuration_is_a_temporary_failure_and_no_new_account() {
    let relay = Instance::with().dovecot_settings(NO_WAITING).start();
    let known = relay.account("alice");
    let new = relay.new_account("new");
    let config = relay.endpoints().config.clone();
    let whole = fs::read(&config).expect("chatmail.ini");
    let damages: [Damage<'_>; 4] = [
        ("missing", &|file| fs::remove_file(file).expect("removing")),
        ("empty", &|file| fs::write(file, "").expect("emptying")),
        ("half a line", &|file| {
            fs::write(file, "[params]\nmail_dom").expect("cutting");
        }),
        // Not for lack of permission: Dovecot is root when it starts a process.
        ("unreadable", &|file| {
            fs::remove_file(file).expect("removing");
            fs::create_dir(file).expect("directory");
        }),
    ];
    let mail = Mail::encrypted(&new.address, &known.address).to_bytes();
    for (what, damage) in damages {
        damage(&config);
        without_old_processes(&relay);
        for account in [&known, &new] {
            let answer = relay.try_imap(&account.address, &account.password);
            assert_eq!(answer.code(), Some("UNAVAILABLE"), "{what}: {answer}");
        }
        let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
        let reply = lmtp.deliver(&new.address, &known.address, &mail);
        let reply = reply.expect("LMTP");
        assert!(reply.is_temporary(), "{what}: {reply}");
        assert!(!relay.mailbox(&new).exists(), "{what}");
        relay.wait_for_log("dovecot", &format!("a word on {what}"), |line| {
            line.contains("chatmail.ini: ")
        });

        fs::remove_dir(&config).ok();
        fs::write(&config, &whole).expect("chatmail.ini");
    }
    without_old_processes(&relay);
    for account in [&known, &new] {
        relay.imap(account);
    }
    let mut crashes = services::crashes(&relay);
    // One that had only just begun dies of the signal from here.
    crashes.retain(|line| !line.ends_with("killed with signal 15"));
    assert_eq!(crashes, [] as [String; 0]);
}

/// Ends those that have read the configuration, in good order.
fn without_old_processes(relay: &Instance) {
    let ours = || {
        let services = [Service::AuthWorker, Service::Imap, Service::Lmtp];
        let pids = services.map(|service| services::processes(relay, service));
        BTreeSet::from_iter(pids.into_iter().flatten().map(|process| process.pid))
    };
    let old = ours();
    for pid in &old {
        // It may have ended meanwhile.
        process::signal(*pid, Signal::TERM).ok();
    }
    wait::until_true("the old processes to end", || ours().is_disjoint(&old));
}

fn set_mode(file: &Path, mode: u32) {
    fs::set_permissions(file, Permissions::from_mode(mode)).expect("mode");
}

/// Makes one account after the other by logging in, and logs in again; returns the accounts.
fn create_until(relay: &Instance, enough: &AtomicBool) -> Vec<Account> {
    let mut accounts = Vec::new();
    while !enough.load(Ordering::Relaxed) || accounts.is_empty() {
        let account = relay.new_account("crash");
        insist(relay, &account);
        insist(relay, &account);
        accounts.push(account);
    }
    accounts
}

/// Logs in until it works. Before that, nothing but temporary failures.
fn insist(relay: &Instance, account: &Account) {
    let login = wait::poll(RECOVERY, || {
        let answer = relay.try_imap(&account.address, &account.password);
        if !answer.is_ok() {
            assert_eq!(answer.code(), Some("UNAVAILABLE"), "{answer}");
        }
        answer.is_ok().then_some(())
    });
    assert!(login.is_some(), "no login within {RECOVERY:?}");
}

const KILLS: usize = 8;

/// A worker that dies before it is ready makes Dovecot wait with the next one, for a minute at most.
const RECOVERY: Duration = Duration::from_secs(90);

/// So old is a worker that it is ready, and at work.
const READY: Duration = Duration::from_millis(200);

/// Kills login workers while they work, [`KILLS`] of them; returns how many.
fn kill_workers(dovecot: u32) -> usize {
    let mut seen = BTreeMap::new();
    let mut killed = BTreeSet::new();
    wait::poll(RECOVERY, || {
        for worker in process::tree(dovecot) {
            if worker.name != "auth" || !worker.command.ends_with(" -w") {
                continue;
            }
            let since: &mut Instant = seen.entry(worker.pid).or_insert_with(Instant::now);
            // It may have ended between the look and the kill.
            if since.elapsed() >= READY && killed.len() < KILLS && killed.insert(worker.pid) {
                process::signal(worker.pid, Signal::KILL).ok();
            }
        }
        (killed.len() == KILLS).then_some(())
    });
    killed.len()
}

/// The first reply that says no, from the greeting on, or the one to the message.
fn attempt(smtp: io::Result<Smtp>, from: &str, to: &Account, message: &[u8]) -> Reply {
    let reply = smtp.and_then(|mut smtp| smtp.send(from, &[&to.address], message));
    reply.unwrap_or_else(|error| match refusal(&error) {
        Some(reply) => reply.clone(),
        None => panic!("SMTP: {error}"),
    })
}

/// Waits until an encrypted message is accepted, and sees that it alone arrives.
fn mail_flows_again(relay: &Instance, from: &Account, to: &Account) {
    let mail = Mail::encrypted(&from.address, &to.address).to_bytes();
    let Account { address, password } = from;
    wait::until_true("mail to flow again", || {
        let smtp = Smtp::login_to(relay.endpoints(), Door::Smtps, address, password);
        let reply = attempt(smtp, address, to, &mail);
        assert!(reply.code == 250 || reply.is_temporary(), "{reply}");
        reply.code == 250
    });
    let messages = relay.wait_for_messages(to, 1);
    assert_eq!(messages.len(), 1);
}
