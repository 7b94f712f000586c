//! Who gets a new address, and that nobody loses theirs by it.

use std::collections::BTreeMap;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::sync::Barrier;
use std::thread;

use chatmail_tests::imap::{Answer, Imap, Security};
use chatmail_tests::instance::Account;
use chatmail_tests::smtp::{Door, Reply, Smtp};
use chatmail_tests::{Instance, process, wait};

/// As Delta Chat makes one where it chose the relay itself.
const AUTOMATIC: &str = "Abcdefghij1234567890123";

#[test]
fn each_rule_refuses_by_its_word_and_no_existing_user() {
    let relay = Instance::start();
    let ini = ini(&relay);
    let old = relay.account("old");
    let rules = [
        ("registration = closed", "closed"),
        ("registration = invite", "invite-only"),
        ("refuse_automatic_signups = true", "automatic"),
        ("password_min_length = 99", "password"),
        (
            "username_min_length = 10\nusername_max_length = 10",
            "localpart-length",
        ),
        ("max_load_1m = 0", "load"),
        ("min_available_memory = 1000000G", "memory"),
        ("min_free_disk_space = 1000000G", "disk"),
        ("max_network_signups_per_hour = 0", "network-rate"),
        ("max_signups_per_hour = 0", "total-rate"),
    ];
    for (keys, word) in &rules {
        configure(&relay, &ini, keys);
        let new = Account {
            password: AUTOMATIC.to_owned(),
            ..relay.new_account("new")
        };
        let before = counter(&relay, word);
        let lines = refusals(&relay, word);

        // Each refusal takes its time, to slow down guessing; they may take it together.
        thread::scope(|scope| {
            scope.spawn(|| {
                let answer = relay.try_imap(&new.address, &new.password);
                assert!(!imap_verdict(&answer), "{word}: {answer}");
            });
            scope.spawn(|| {
                let reply = try_smtp(&relay, &new);
                assert!(!smtp_verdict(&reply), "{word}: {reply}");
            });
        });
        assert!(!relay.mailbox(&new).exists(), "{word}");
        assert_eq!(counter(&relay, word), before + 2, "{word}");
        wait::until_true(&format!("two lines in the log: {word}"), || {
            refusals(&relay, word) == lines + 2
        });
        relay.imap(&old);
        relay.smtp(Door::Smtps, &old);
    }
    for line in relay.log("dovecot").lines() {
        let private = line.contains("new0") || line.contains("127.0.0");
        assert!(!(line.contains("not created: ") && private), "{line}");
    }

    configure(&relay, &ini, "");
    relay.account("new");
    let counts = counters(&relay);
    let logins = |result| counts[&format!("chatmail_logins_total{{result=\"{result}\"}}")];
    assert_eq!(logins("created"), 2);
    assert_eq!(logins("not-created"), 2 * rules.len() as u64);
    assert!(logins("known") + logins("remembered") >= 2 * rules.len() as u64);
}

#[test]
fn twenty_first_logins_at_once_make_as_many_accounts_as_the_rate_allows() {
    let relay = Instance::with()
        .param("max_network_signups_per_hour", 7)
        .start();
    let accounts: Vec<Account> = (0..20).map(|_| relay.new_account("rush")).collect();
    let barrier = Barrier::new(accounts.len());
    let created: Vec<bool> = thread::scope(|scope| {
        let threads: Vec<_> = accounts
            .iter()
            .enumerate()
            .map(|(number, account)| {
                let (relay, barrier) = (&relay, &barrier);
                scope.spawn(move || match number % 2 {
                    0 => {
                        let mut imap =
                            Imap::connect(relay.endpoints(), Security::Tls).expect("IMAP");
                        barrier.wait();
                        let answer = imap.login(&account.address, &account.password);
                        imap_verdict(&answer.expect("LOGIN"))
                    }
                    _ => {
                        let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtps).expect("SMTP");
                        barrier.wait();
                        let reply = smtp.login(&account.address, &account.password);
                        smtp_verdict(&reply.expect("AUTH"))
                    }
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("see above"))
            .collect()
    });
    assert_eq!(created.iter().filter(|created| **created).count(), 7);
    for (account, created) in accounts.iter().zip(created) {
        assert_eq!(relay.mailbox(account).exists(), created);
        if created {
            relay.imap(account);
        }
    }
}

#[test]
fn networks_are_told_apart_over_imap_and_smtp_alike() {
    let relay = Instance::with()
        .param("max_network_signups_per_hour", 2)
        .start();
    let from = |client: &str, door: Option<Door>| {
        let client: IpAddr = client.parse().expect("IP address");
        let account = relay.new_account("net");
        match door {
            None => {
                let mut imap = Imap::connect_from(relay.endpoints(), client).expect("IMAP");
                imap_verdict(
                    &imap
                        .login(&account.address, &account.password)
                        .expect("LOGIN"),
                )
            }
            Some(door) => {
                let mut smtp = Smtp::connect_from(relay.endpoints(), door, client).expect("SMTP");
                smtp_verdict(
                    &smtp
                        .login(&account.address, &account.password)
                        .expect("AUTH"),
                )
            }
        }
    };
    assert!(from("127.1.1.1", None));
    assert!(from("127.1.1.200", Some(Door::Smtps)));
    assert!(!from("127.1.1.3", None));
    assert!(!from("127.1.1.1", Some(Door::Submission)));
    assert!(from("127.1.2.1", Some(Door::Submission)));
    assert!(from("127.1.2.1", None));
    assert!(!from("127.1.2.9", Some(Door::Smtps)));
}

#[test]
fn what_cannot_be_read_is_a_temporary_failure_and_never_a_second_account() {
    let relay = Instance::start();
    let ini = ini(&relay);
    let old = relay.account("old");
    let password = relay.mailbox(&old).join("password");
    let hash = fs::read(&password).expect("password file");

    // Half of a hash, and a file that only root may read.
    fs::write(&password, &hash[..hash.len() / 2]).expect("half a hash");
    expect_unavailable(&relay, &old);
    assert_eq!(
        fs::read(&password).expect("password file"),
        &hash[..hash.len() / 2]
    );
    fs::write(&password, &hash).expect("hash");
    let private = |mode| fs::Permissions::from_mode(mode);
    fs::set_permissions(&password, private(0)).expect("permissions");
    expect_unavailable(&relay, &old);
    fs::set_permissions(&password, private(0o600)).expect("permissions");
    relay.imap(&old);

    // None at all, beside mail.
    let aside = password.with_extension("aside");
    fs::rename(&password, &aside).expect("moving the password away");
    expect_unavailable(&relay, &old);
    assert!(!password.exists());
    fs::rename(&aside, &password).expect("moving it back");
    relay.imap(&old);

    // Rates that cannot be told: for new addresses only, until they can.
    let state = relay.endpoints().mailboxes_dir.join(".chatmail");
    configure(&relay, &ini, "max_signups_per_hour = 1000");
    fs::remove_file(state.join("signups")).ok();
    fs::create_dir(state.join("signups")).expect("an obstacle");
    let new = relay.new_account("new");
    expect_unavailable(&relay, &new);
    assert!(!relay.mailbox(&new).exists());
    relay.imap(&old);
    fs::remove_dir(state.join("signups")).expect("the obstacle");
    relay.imap(&new);

    // The configuration: half of it, or none.
    let config = &relay.endpoints().config;
    let newer = relay.new_account("newer");
    for broken in [
        Some(&ini[..ini.find("mail_domain").expect("mail_domain") + 7]),
        None,
    ] {
        match broken {
            Some(text) => fs::write(config, text).expect("chatmail.ini"),
            None => fs::remove_file(config).expect("chatmail.ini"),
        }
        reload(&relay);
        wait::until_true("the broken chatmail.ini to be noticed", || {
            !relay.try_imap(&old.address, &old.password).is_ok()
        });
        for account in [&old, &newer] {
            expect_unavailable(&relay, account);
        }
        assert!(!relay.mailbox(&newer).exists());
        fs::write(config, &ini).expect("chatmail.ini");
        reload(&relay);
        wait::until_true("chatmail.ini to count again", || {
            relay.try_imap(&old.address, &old.password).is_ok()
        });
    }
    relay.imap(&newer);
    relay.wait_for_log("dovecot", "a word of the file at fault", |line| {
        line.contains("chatmail.ini")
    });
}

#[track_caller]
fn expect_unavailable(relay: &Instance, account: &Account) {
    let answer = relay.try_imap(&account.address, &account.password);
    assert_eq!(answer.code(), Some("UNAVAILABLE"), "{answer}");
    let reply = try_smtp(relay, account);
    // Postfix 3.7 does not hand on that a failure of Dovecot's is a temporary one.
    assert!([454, 535].contains(&reply.code), "{reply}");
}

fn try_smtp(relay: &Instance, account: &Account) -> Reply {
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtps).expect("SMTP");
    smtp.login(&account.address, &account.password)
        .expect("AUTH")
}

fn imap_verdict(answer: &Answer) -> bool {
    let refused = answer.code() == Some("AUTHENTICATIONFAILED");
    assert!(answer.is_ok() || refused, "{answer}");
    answer.is_ok()
}

fn smtp_verdict(reply: &Reply) -> bool {
    assert!([235, 535].contains(&reply.code), "{reply}");
    reply.code == 235
}

/// The text of the relay's `chatmail.ini`.
fn ini(relay: &Instance) -> String {
    fs::read_to_string(&relay.endpoints().config).expect("chatmail.ini")
}

/// Puts these lines into `ini` in place of its own with those keys, and has Dovecot go by them.
fn configure(relay: &Instance, ini: &str, keys: &str) {
    let key = |line: &str| line.split('=').next().unwrap_or_default().trim().to_owned();
    let new: Vec<_> = keys.lines().map(key).collect();
    let kept = ini.lines().filter(|line| !new.contains(&key(line)));
    let lines = kept.chain(keys.lines()).map(|line| format!("{line}\n"));
    fs::write(&relay.endpoints().config, lines.collect::<String>()).expect("chatmail.ini");
    reload(relay);
}

/// Returns when no login worker is left that has read an older `chatmail.ini`.
fn reload(relay: &Instance) {
    let workers = || {
        let processes = process::tree(relay.supervisor_pid());
        let auth = processes
            .into_iter()
            .filter(|process| process.name == "auth");
        auth.map(|process| process.pid).collect::<Vec<_>>()
    };
    let old = workers();
    let config = &relay.endpoints().dovecot_conf;
    let mut doveadm = relay.dovecot("doveadm");
    let reloaded = doveadm.arg("-c").arg(config).arg("reload").status();
    assert!(reloaded.expect("doveadm").success());
    wait::until_true("the old login workers to go", || {
        workers().iter().all(|pid| !old.contains(pid))
    });
}

/// Sign-ups that were refused for this reason.
fn counter(relay: &Instance, word: &str) -> u64 {
    let name = format!("chatmail_signups_refused_total{{reason=\"{word}\"}}");
    counters(relay)[&name]
}

/// What `cat` shows.
fn counters(relay: &Instance) -> BTreeMap<String, u64> {
    let path = relay.endpoints().mailboxes_dir.join(".chatmail/counters");
    let text = fs::read_to_string(path).expect("counters");
    text.lines()
        .map(|line| {
            let (name, value) = line.split_once(' ').expect("name and value");
            (name.to_owned(), value.trim().parse().expect("a number"))
        })
        .collect()
}

/// Lines of Dovecot's log that say so.
fn refusals(relay: &Instance, word: &str) -> usize {
    let text = format!("chatmail: not created: {word}: ");
    let log = relay.log("dovecot");
    log.lines().filter(|line| line.contains(&text)).count()
}
