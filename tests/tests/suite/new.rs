//! Accounts from `POST /new`: they can log in, invitations are good once, and no limit gives way under load.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chatmail_tests::http::{self, Answer};
use chatmail_tests::{Instance, wait};

const NEW: &str = "POST /new";
const INVITE: [(&str, &str); 1] = [("registration", "invite")];

/// Octets of memory that `chatmail serve` may take.
const MEMORY: u64 = 20 << 20;

fn ask(relay: &Instance, line: &str, client: &str) -> Answer {
    http::request(&relay.endpoints().http_socket, line, client).expect("HTTP")
}

fn relay(params: &[(&str, &str)]) -> Instance {
    let wish = params.iter().fold(Instance::with(), |wish, (key, value)| {
        wish.param(key, value)
    });
    wish.start()
}

#[test]
fn an_account_from_the_web_logs_in_and_gets_mail() {
    let relay = relay(&[]);
    let [alice, bob] = [(); 2].map(|()| ask(&relay, NEW, "192.0.2.7").account());
    assert_ne!(alice.address, bob.address);
    assert!(!relay.try_imap(&alice.address, &bob.password).is_ok());
    relay.send_encrypted(&alice, &bob);
    relay.wait_for_messages(&bob, 1);
    assert_eq!(relay.addresses().len(), 2);
    let old = ask(&relay, "GET /cgi-bin/newemail.py", "192.0.2.7");
    let link = format!("dcaccount:https://{}/new", relay.endpoints().domain);
    assert_eq!(
        (old.status, old.field("location")),
        (301, Some(link.as_str()))
    );
    assert_eq!(ask(&relay, "GET /healthz", "").status, 200);
}

/// Puts an invitation for one account where the operator's command would.
fn invite(relay: &Instance, token: &str) {
    let state = relay.endpoints().mailboxes_dir.join(".chatmail");
    let owner = fs::metadata(&state).expect("made by a refusal before");
    let file = state.join("invites");
    fs::write(
        &file,
        format!("chatmail invites 1\n{token} 0 1 1700000000 -\n"),
    )
    .expect("invites");
    chown(file, Some(owner.uid()), Some(owner.gid())).expect("owner");
}

#[test]
fn by_invitation_only_one_of_twenty_gets_an_account_and_no_login_makes_one() {
    let relay = relay(&INVITE);
    let stranger = relay.new_account("alice");
    assert!(
        !relay
            .try_imap(&stranger.address, &stranger.password)
            .is_ok()
    );
    let refused = ask(&relay, NEW, "192.0.2.7");
    assert_eq!(refused.status, 403, "{refused}");
    assert!(refused.reason().contains("invitation"), "{refused}");
    assert!(relay.addresses().is_empty());

    let token = "0123456789abcdefghiJKL";
    invite(&relay, token);
    let line = format!("{NEW}?token={token}");
    let answers: Vec<Answer> = thread::scope(|scope| {
        let asked: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| ask(&relay, &line, "192.0.2.7")))
            .collect();
        let answers = asked.into_iter().map(|thread| thread.join().expect("HTTP"));
        answers.collect()
    });
    let (made, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    assert_eq!((made.len(), refused.len()), (1, 19));
    for answer in refused {
        assert_eq!(answer.status, 403, "{answer}");
        assert!(answer.reason().contains("used"), "{answer}");
    }
    let invited = made[0].account();
    relay.imap(&invited);
    assert_eq!(relay.addresses(), BTreeSet::from([invited.address.clone()]));
    let log = relay.log("chatmail-serve");
    for secret in [token, &invited.address, &invited.password, "192.0.2."] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    assert!(log.contains("invitation-used-up"), "{log}");
}

/// 600 requests of six networks, on eight connections at a time.
#[test]
fn under_load_no_limit_gives_way_and_no_address_is_given_out_twice() {
    let relay = relay(&[
        ("max_network_signups_per_hour", "50"),
        ("max_signups_per_hour", "200"),
    ]);
    let answers = load(&relay, 600, |number| {
        format!("192.0.{}.{number}", number % 6)
    });
    let mut by_status: BTreeMap<u16, usize> = BTreeMap::new();
    let mut by_network = [0; 6];
    let mut addresses = BTreeSet::new();
    for (number, answer) in answers.iter().enumerate() {
        *by_status.entry(answer.status).or_default() += 1;
        if answer.status == 200 {
            by_network[number % 6] += 1;
            assert!(
                addresses.insert(answer.account().address),
                "twice: {answer}"
            );
        } else {
            assert_eq!(answer.status, 429, "{answer}");
        }
    }
    assert_eq!(by_status, BTreeMap::from([(200, 200), (429, 400)]));
    assert!(by_network.iter().all(|made| *made <= 50), "{by_network:?}");
    assert_eq!(relay.addresses(), addresses);
    // What it answers is what it made, in the counters as well.
    let counters = fs::read_to_string(relay.endpoints().mailboxes_dir.join(".chatmail/counters"));
    let counters = counters.expect("counters");
    let of = |name: &str| {
        let line = counters.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_whitespace().last()?.parse::<usize>().ok())
    };
    assert_eq!(of("chatmail_accounts_new_total{by=\"web\"}"), Some(200));
    assert_eq!(
        of("chatmail_new_refused_total{reason=\"policy\"}"),
        Some(400)
    );
}

#[test]
fn many_new_accounts_at_a_time_take_little_memory() {
    let relay = relay(&[]);
    let serve = relay.current_endpoints().expect("endpoints").serve_pid;
    let (cpu, started) = (cpu(serve), Instant::now());
    let answers = load(&relay, 400, |number| format!("192.0.2.{}", number % 250));
    let took = started.elapsed();
    let cpu = self::cpu(serve).saturating_sub(cpu);
    let addresses: BTreeSet<String> = answers
        .iter()
        .map(|answer| answer.account().address)
        .collect();
    assert_eq!(addresses.len(), answers.len());
    assert_eq!(relay.addresses(), addresses);
    let peak = memory(serve, "VmHWM");
    eprintln!(
        "{} accounts in {took:?}: {:.0} a second, {:.2} ms of processor time each; memory {} KiB, at most {} KiB",
        addresses.len(),
        addresses.len() as f64 / took.as_secs_f64(),
        cpu.as_secs_f64() * 1000.0 / addresses.len() as f64,
        memory(serve, "VmRSS") >> 10,
        peak >> 10,
    );
    assert!(peak <= MEMORY, "{peak} octets");
    wait::until("an idle service", || {
        (ask(&relay, "GET /healthz", "").status == 200).then_some(())
    });
}

/// So many requests for an account, each of the client that `client` says, and their answers in order.
fn load(relay: &Instance, requests: usize, client: impl Fn(usize) -> String + Sync) -> Vec<Answer> {
    let next = AtomicUsize::new(0);
    let mut answers: Vec<(usize, Answer)> = thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut answers = Vec::new();
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= requests {
                            return answers;
                        }
                        answers.push((number, ask(relay, NEW, &client(number))));
                    }
                })
            })
            .collect();
        let answers = threads
            .into_iter()
            .map(|thread| thread.join().expect("HTTP"));
        answers.flatten().collect()
    });
    answers.sort_by_key(|(number, _)| *number);
    answers.into_iter().map(|(_, answer)| answer).collect()
}

/// Processor time of a process so far, of all its threads.
fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, fields) = stat.rsplit_once(") ").expect("a name");
    let ticks = fields.split(' ').skip(11).take(2);
    let ticks: u64 = ticks
        .map(|field| field.parse::<u64>().expect("ticks"))
        .sum();
    // Linux counts in hundredths of a second, whatever its own clock.
    Duration::from_millis(ticks * 10)
}

/// A line of /proc/PID/status, in octets.
fn memory(pid: u32, name: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find(|line| line.starts_with(name));
    let kibibytes = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kibibytes.expect("a number") << 10
}
