//! Hundreds of clients that log in in the same moment, right after a start, are all served.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use chatmail_tests::Instance;
use chatmail_tests::imap::{Imap, Security};

/// Many times as many as any service has processes.
const CLIENTS: usize = 500;

/// What a client of ours waits for, in the worst case.
const PATIENCE: Duration = Duration::from_secs(60);

/// Enough for a client, and little enough for hundreds.
const STACK: usize = 512 * 1024;

#[test]
fn all_clients_that_log_in_in_the_moment_of_the_first_login_are_served() {
    let relay = Instance::with()
        // All of them are new, and come from one network.
        .param("max_network_signups_per_hour", "inf")
        .param("max_signups_per_hour", "inf")
        .param("max_load_1m", 10_000)
        .start();
    let accounts: Vec<_> = (0..CLIENTS).map(|_| relay.new_account("new")).collect();
    let now = Barrier::new(CLIENTS);
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
    assert_eq!(answers.get("served"), Some(&CLIENTS), "{answers:?}");
    assert!(last < PATIENCE, "the last after {last:?}");
}
