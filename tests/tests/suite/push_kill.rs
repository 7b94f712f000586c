//! lmtp and `chatmail serve` are killed again and again while mail arrives: every message that was accepted
//! is in its mailbox, and each of them wakes its phone.
//!
//! `CHATMAIL_TEST_PUSH_KILLS` says how many kills there are (default 30); for each there are ten deliveries.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chatmail_tests::instance::Account;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::mail::header_values;
use chatmail_tests::process::{self, Signal};
use chatmail_tests::services::{Killer, Service};
use chatmail_tests::sink::{Post, Sink};
use chatmail_tests::smtp::refusal;
use chatmail_tests::{Instance, Mail, wait};

const VARIABLE: &str = "CHATMAIL_TEST_PUSH_KILLS";
const KILLS: usize = 30;
const DELIVERIES_PER_KILL: usize = 10;
/// Who get mail at the same time.
const RECIPIENTS: usize = 4;
const FROM: &str = "dave@elsewhere.test";

/// Longer than Dovecot and the supervisor wait before they start anew what died.
const RECOVERY: Duration = Duration::from_secs(100);

/// What died sooner after its start is taken by the supervisor for what cannot run.
const GROWN_UP: Duration = Duration::from_millis(1100);

#[test]
fn no_kill_loses_a_message_or_its_notification() {
    let sink = Sink::start().expect("sink");
    let relay = Instance::with().push_url(sink.url()).start();
    let load = Load::new(&relay);
    thread::scope(|scope| {
        let clients = load.recipients.iter();
        let clients: Vec<_> = clients
            .map(|to| scope.spawn(|| load.deliver_until_over(to)))
            .collect();
        let mut killer = Killer::new(&relay);
        let mut random = Random::new();
        while load.kills.load(Relaxed) < load.wanted {
            match random.below(2) {
                0 => load.kill_lmtp(&mut killer),
                _ => load.kill_service(&mut random),
            }
            load.kills.fetch_add(1, Relaxed);
            if clients.iter().any(|client| client.is_finished()) {
                break;
            }
        }
    });
    wait::poll(RECOVERY, || spooled(&relay).eq(&0).then_some(())).expect("an empty spool");
    load.check(&sink.posts());
}

struct Load<'r> {
    relay: &'r Instance,
    recipients: Vec<Account>,
    wanted: usize,
    kills: AtomicUsize,
    begun: AtomicUsize,
    /// Deliveries that failed and were tried again, as Postfix does.
    failed: AtomicUsize,
    /// Message-IDs, and for whom. Each message had a device of its own to wake.
    accepted: Mutex<Vec<(String, String)>>,
}

impl<'r> Load<'r> {
    fn new(relay: &'r Instance) -> Load<'r> {
        let wanted = env::var(VARIABLE).map_or(KILLS, |text| text.parse().expect(VARIABLE));
        Load {
            relay,
            recipients: (0..RECIPIENTS).map(|_| relay.account("bob")).collect(),
            wanted,
            kills: AtomicUsize::new(0),
            begun: AtomicUsize::new(0),
            failed: AtomicUsize::new(0),
            accepted: Mutex::default(),
        }
    }

    /// Delivers in step with the kills, so that neither is over while the other goes on.
    fn deliver_until_over(&self, to: &Account) {
        let mut session = None;
        loop {
            let number = self.begun.fetch_add(1, Relaxed);
            if number >= self.wanted * DELIVERIES_PER_KILL {
                return;
            }
            while number > (self.kills.load(Relaxed) + 1) * DELIVERIES_PER_KILL {
                thread::sleep(Duration::from_millis(2));
            }
            let mail = Mail::encrypted(FROM, &to.address);
            self.replace_device(to, mail.message_id());
            let accepted = wait::poll(RECOVERY, || self.deliver(&mut session, to, &mail));
            accepted.expect("a delivery that is accepted in the end");
            let id = mail.message_id().to_owned();
            self.accepted
                .lock()
                .expect("accepted")
                .push((id, to.address.clone()));
        }
    }

    /// From now on this token is the only one of the account: a notification can be told from all
    /// others.
    fn replace_device(&self, account: &Account, token: &str) {
        let mailbox = self.relay.mailbox(account);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.expect("after 1970").as_secs();
        let json = serde_json::json!({"devicetoken": {token: now}});
        let new = mailbox.join("metadata.json.new");
        fs::write(&new, json.to_string()).expect("metadata.json");
        let owner = fs::metadata(&mailbox).expect("mailbox");
        chown(&new, Some(owner.uid()), Some(owner.gid())).expect("metadata.json");
        fs::rename(&new, mailbox.join("metadata.json")).expect("metadata.json");
    }

    /// Tries once, over the connection there is.
    fn deliver(&self, session: &mut Option<Lmtp>, to: &Account, mail: &Mail) -> Option<()> {
        let mut attempt = || -> io::Result<bool> {
            let lmtp = match session {
                Some(lmtp) => lmtp,
                None => session.insert(Lmtp::connect(self.relay.endpoints())?),
            };
            let reply = lmtp.deliver(FROM, &to.address, &mail.to_bytes())?;
            assert!(reply.code == 250 || reply.is_temporary(), "{reply}");
            Ok(reply.code == 250)
        };
        let result = attempt();
        if let Err(error) = &result {
            // A greeting that says no may only say "not now".
            let temporary = refusal(error).is_none_or(|reply| reply.is_temporary());
            assert!(temporary, "{error}");
            *session = None;
        }
        let accepted = matches!(result, Ok(true));
        if !accepted {
            self.failed.fetch_add(1, Relaxed);
        }
        accepted.then_some(())
    }

    fn kill_lmtp(&self, killer: &mut Killer<'_>) {
        let killed = wait::poll(RECOVERY, || (killer.kill(Service::Lmtp) > 0).then_some(()));
        killed.expect("an lmtp process to kill");
    }

    fn kill_service(&self, random: &mut Random) {
        let serve = || self.relay.current_endpoints().expect("endpoints").serve_pid;
        let victim = serve();
        thread::sleep(GROWN_UP + Duration::from_millis(random.below(300)));
        process::signal(victim, Signal::KILL).expect("killing the service");
        let next = wait::poll(RECOVERY, || (serve() != victim).then_some(()));
        next.expect("the next service");
    }

    #[track_caller]
    fn check(&self, posts: &[Post]) {
        let accepted = self.accepted.lock().expect("accepted");
        assert_eq!(accepted.len(), self.wanted * DELIVERIES_PER_KILL);
        println!(
            "{} kills, {} messages, {} deliveries that failed and were tried again, {} notifications",
            self.kills.load(Relaxed),
            accepted.len(),
            self.failed.load(Relaxed),
            posts.len()
        );
        let woken: BTreeSet<_> = posts.iter().map(|post| post.token.as_str()).collect();
        for recipient in &self.recipients {
            let there = message_ids(self.relay, recipient);
            for (id, _) in accepted.iter().filter(|(_, to)| *to == recipient.address) {
                assert!(there.contains(id), "a message is lost");
                assert!(woken.contains(id.as_str()), "a notification is lost");
            }
        }
    }
}

/// Enough for a test (xorshift64*); the seed is in the output of a failure.
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let seed = now.expect("after 1970").as_nanos() as u64 | 1;
        println!("seed {seed}");
        Random(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % end
    }
}

fn spooled(relay: &Instance) -> usize {
    let directory = relay
        .endpoints()
        .mailboxes_dir
        .join("pending_notifications");
    let entries = fs::read_dir(directory).expect("the spool");
    let names = entries.map(|entry| entry.expect("an entry").path());
    // What a killed lmtp process left half-written goes after a minute.
    names
        .filter(|path| path.extension().is_none_or(|extension| extension != "tmp"))
        .count()
}

fn message_ids(relay: &Instance, account: &Account) -> BTreeSet<String> {
    let mut imap = relay.imap(account);
    imap.select_inbox().expect("INBOX");
    let fields = imap.header_fields("MESSAGE-ID").expect("FETCH");
    let ids = fields
        .iter()
        .flat_map(|field| header_values(field, "Message-ID"));
    ids.collect()
}
