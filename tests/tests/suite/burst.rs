//! Hundreds of clients that log in in the same moment, right after a start or a reload, are all served.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use chatmail_tests::imap::{Imap, Security};
use chatmail_tests::instance::Account;
use chatmail_tests::services::{self, Service};
use chatmail_tests::{Instance, wait};

/// Many times as many as any service has processes.
const CLIENTS: usize = 500;

/// What a client of ours waits for, in the worst case.
const PATIENCE: Duration = Duration::from_secs(60);

/// Enough for a client, and little enough for hundreds.
const STACK: usize = 512 * 1024;

#[test]
fn all_clients_that_log_in_in_the_moment_of_a_start_or_of_a_reload_are_served() {
    let relay = Instance::with()
        // All of them are new, and come from one network.
        .param("max_network_signups_per_hour", "inf")
        .param("max_signups_per_hour", "inf")
        .param("max_load_1m", 10_000)
        .start();
    let accounts: Vec<_> = (0..CLIENTS).map(|_| relay.new_account("new")).collect();
    all_are_served(&relay, &accounts);

    // No worker is left that knows any of them.
    let before = auth_processes(&relay);
    assert!(!before.is_empty());
    let mut reload = relay.dovecot("doveadm");
    reload.arg("-c").arg(&relay.endpoints().dovecot_conf);
    let reloaded = reload.arg("reload").output().expect("doveadm");
    assert!(reloaded.status.success(), "{reloaded:?}");
    wait::until_true("the auth process of before the reload to end", || {
        auth_processes(&relay).is_disjoint(&before)
    });
    all_are_served(&relay, &accounts);
}

fn auth_processes(relay: &Instance) -> BTreeSet<u32> {
    let auth = services::processes(relay, Service::Auth);
    auth.into_iter().map(|process| process.pid).collect()
}

#[track_caller]
fn all_are_served(relay: &Instance, accounts: &[Account]) {
    let now = Barrier::new(accounts.len());
    let mut answers = BTreeMap::<String, usize>::new();
    let mut last = Duration::ZERO;
    thread::scope(|scope| {
        let clients = accounts.iter().map(|account| {
            let log_in = || {
                let connected = Imap::connect(relay.endpoints(), Security::Tls);
                now.wait();
                let mut imap = connected.expect("IMAP");
                let since = Instant::now();
                let login = format!("LOGIN {} \"{}\"", account.address, account.password);
                let answer = imap.command(&login).expect("LOGIN");
                // Nobody leaves before all are in.
                now.wait();
                (answer, since.elapsed())
            };
            let thread = thread::Builder::new().stack_size(STACK);
            thread.spawn_scoped(scope, log_in).expect("a thread")
        });
        let clients: Vec<_> = clients.collect();
        for client in clients {
            let (answer, time) = client.join().expect("client");
            let words = match answer.is_ok() {
                true => "served".to_owned(),
                false => answer.to_string(),
            };
            *answers.entry(words).or_default() += 1;
            last = last.max(time);
        }
    });
    println!("{answers:?}, the last after {last:?}");
    assert_eq!(answers.get("served"), Some(&accounts.len()), "{answers:?}");
    assert!(last < PATIENCE, "the last after {last:?}");
}
