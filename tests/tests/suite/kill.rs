//! Any process of Dovecot's may be killed at any moment: no message that was accepted is lost, no
//! account is half made, nobody is refused who is known, and every client is served again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use chatmail_tests::imap::{Answer, Imap, Security};
use chatmail_tests::instance::Account;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::mail::header_values;
use chatmail_tests::services::{Killer, Service};
use chatmail_tests::smtp::{Door, Reply, Smtp, refusal};
use chatmail_tests::{Instance, Mail, wait};

/// The longest that anybody may wait to be served again. After a process that died before it was
/// ready, Dovecot waits a minute at most with the next. One that dies in the few microseconds between making
/// `dovecot-uidlist.lock` and writing its number into it leaves a lock of nobody, which Dovecot overrides after two
/// minutes. Mail is stored meanwhile, but sessions of that mailbox wait.
const RECOVERY: Duration = Duration::from_secs(150);

/// A session that idles so long is asleep, by the settings below.
const HIBERNATED: Duration = Duration::from_millis(1500);

#[test]
fn no_message_account_or_session_is_lost_to_a_kill() {
    let relay = Instance::with()
        .param("max_user_send_per_minute", 100_000)
        .param("max_user_send_burst_size", 100_000)
        // All of them come from one network.
        .param("max_network_signups_per_hour", 100_000)
        .param("max_signups_per_hour", 100_000)
        // Sessions that idle are to be where the kill comes.
        .dovecot_settings("protocol imap {\n  imap_hibernate_timeout = 1s\n}")
        .start();
    let load = Load::new(&relay);
    thread::scope(|scope| {
        let clients = Client::ALL.map(|client| {
            let load = &load;
            scope.spawn(move || {
                while !load.over.load(Ordering::Relaxed) {
                    load.round(client);
                }
            })
        });
        let mut killer = Killer::new(&relay);
        for service in Service::ALL {
            // The first time without waiting for those who sleep.
            for who in [&Client::QUICK[..], &Client::ALL[..]] {
                let served = load.kill(&mut killer, service, who);
                let failed = clients.iter().any(|client| client.is_finished());
                if failed || served.is_err() {
                    load.over.store(true, Ordering::Relaxed);
                    panic!("{served:?}, or see above");
                }
            }
        }
        load.over.store(true, Ordering::Relaxed);
        // One of them may be waiting for mail.
        wait::until_true("the clients to end", || {
            load.deliver().ok();
            clients.iter().all(|client| client.is_finished())
        });
    });
    load.check_accounts();
    load.check_messages();
}

/// Who uses the relay meanwhile, each again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Client {
    /// Makes an account by a login.
    Newcomer,
    /// Logs in, sets a token, reads it, logs out.
    Visitor,
    /// Waits for mail, which the others send all the time.
    Idler,
    /// Waits for mail so long that its session is hibernated.
    Sleeper,
    /// Sends through Postfix.
    Sender,
    /// Is Postfix: delivers over LMTP.
    Deliverer,
}

impl Client {
    const QUICK: [Client; 5] = [
        Client::Newcomer,
        Client::Visitor,
        Client::Idler,
        Client::Sender,
        Client::Deliverer,
    ];

    const ALL: [Client; 6] = [
        Client::Newcomer,
        Client::Visitor,
        Client::Idler,
        Client::Sleeper,
        Client::Sender,
        Client::Deliverer,
    ];
}

struct Load<'r> {
    relay: &'r Instance,
    over: AtomicBool,
    /// What is being killed.
    victim: Mutex<Option<Service>>,
    /// How often each client got what it wanted.
    served: [AtomicUsize; Client::ALL.len()],
    sender: Account,
    visitor: Account,
    sleeper: Account,
    recipients: [Account; 2],
    /// Made by a newcomer, and promised.
    accounts: Mutex<Vec<Account>>,
    /// Message-IDs that were accepted, and for whom.
    accepted: Mutex<Vec<(String, Account)>>,
}

impl<'r> Load<'r> {
    fn new(relay: &'r Instance) -> Load<'r> {
        Load {
            relay,
            over: AtomicBool::new(false),
            victim: Mutex::new(None),
            served: Default::default(),
            sender: relay.account("sender"),
            visitor: relay.account("visitor"),
            sleeper: relay.account("sleeper"),
            recipients: ["bob", "carol"].map(|name| relay.account(name)),
            accounts: Mutex::default(),
            accepted: Mutex::default(),
        }
    }

    /// Does once what this client does. It may fail for lack of a server; then it tries again.
    fn round(&self, client: Client) {
        let done = match client {
            Client::Newcomer => self.newcomer(),
            Client::Visitor => self.visit(),
            Client::Idler => self.idle(),
            Client::Sleeper => self.sleep(),
            Client::Sender => self.send(),
            Client::Deliverer => self.deliver(),
        };
        match done {
            Ok(()) => drop(self.served[client as usize].fetch_add(1, Ordering::Relaxed)),
            Err(error) => eprintln!("{client:?}: {error}"),
        }
        // Others want the machine, too.
        thread::sleep(Duration::from_millis(20));
    }

    /// Kills the processes of a service and waits until these clients got twice what they want:
    /// once it may have been under way already.
    fn kill(
        &self,
        killer: &mut Killer<'_>,
        service: Service,
        clients: &[Client],
    ) -> Result<(), String> {
        *self.victim.lock().expect("victim") = Some(service);
        let served = || {
            self.served
                .each_ref()
                .map(|count| count.load(Ordering::Relaxed))
        };
        let killed = wait::poll(RECOVERY, || (killer.kill(service) > 0).then_some(()));
        killed.ok_or_else(|| format!("no {service:?} to kill"))?;
        let before = served();
        for client in clients {
            let number = *client as usize;
            let enough = before[number] + 2;
            wait::poll(RECOVERY, || (served()[number] >= enough).then_some(()))
                .ok_or_else(|| format!("{client:?} is not served after {service:?} was killed"))?;
        }
        Ok(())
    }

    fn newcomer(&self) -> io::Result<()> {
        let account = self.relay.new_account("new");
        let login = wait::poll(RECOVERY, || self.login(&account).ok());
        assert!(login.is_some(), "{account:?} cannot be made");
        self.accounts.lock().expect("accounts").push(account);
        Ok(())
    }

    fn visit(&self) -> io::Result<()> {
        let mut imap = self.login(&self.visitor)?;
        let token = format!(
            "token{}",
            self.served[Client::Visitor as usize].load(Ordering::Relaxed) % 50
        );
        imap.set_metadata("INBOX", "/private/devicetoken", &token)?
            .ok()?;
        let tokens = imap.get_metadata("INBOX", "/private/devicetoken")?;
        let tokens = tokens.map_err(|answer| io::Error::other(answer.to_string()))?;
        let tokens = tokens.unwrap_or_default();
        assert!(
            tokens.split(' ').any(|other| other == token),
            "{token}: {tokens}"
        );
        imap.command("LOGOUT").map(drop)
    }

    fn idle(&self) -> io::Result<()> {
        let mut imap = self.login(&self.recipients[0])?;
        imap.select_inbox()?;
        imap.idle_until(|line| line.ends_with("EXISTS"))
    }

    fn sleep(&self) -> io::Result<()> {
        let mut imap = self.login(&self.sleeper)?;
        imap.select_inbox()?;
        let idle = imap.idle()?;
        thread::sleep(HIBERNATED);
        let mail = Mail::encrypted(&self.sender.address, &self.sleeper.address).to_bytes();
        let mut lmtp = Lmtp::connect(self.relay.endpoints())?;
        let reply = lmtp.deliver(&self.sender.address, &self.sleeper.address, &mail)?;
        if reply.code != 250 {
            // Nobody else would wake it.
            return Err(io::Error::other(reply));
        }
        idle.until(|line| line.ends_with("EXISTS"))
    }

    fn send(&self) -> io::Result<()> {
        let Account { address, password } = &self.sender;
        let recipient = &self.recipients[0];
        let mail = Mail::encrypted(address, &recipient.address);
        let mut smtp = Smtp::connect(self.relay.endpoints(), Door::Smtps)?;
        let reply = smtp.login(address, password)?;
        if reply.code == 535 {
            self.may_be_refused(&reply, &[Service::Auth, Service::AuthWorker]);
        }
        if reply.code != 235 {
            return Err(io::Error::other(reply));
        }
        let reply = smtp.send(address, &[&recipient.address], &mail.to_bytes());
        self.accepted(&mail, recipient, reply)
    }

    fn deliver(&self) -> io::Result<()> {
        let mut lmtp = Lmtp::connect(self.relay.endpoints())?;
        for recipient in &self.recipients {
            let mail = Mail::encrypted(&self.sender.address, &recipient.address);
            let reply = lmtp.deliver(&self.sender.address, &recipient.address, &mail.to_bytes());
            self.accepted(&mail, recipient, reply)?;
        }
        Ok(())
    }

    /// Remembers what was accepted; nothing may be refused for good.
    fn accepted(
        &self,
        mail: &Mail,
        recipient: &Account,
        reply: io::Result<Reply>,
    ) -> io::Result<()> {
        let reply = reply.or_else(|error| refusal(&error).cloned().ok_or(error))?;
        assert!(reply.code == 250 || reply.is_temporary(), "{reply}");
        if reply.code != 250 {
            return Err(io::Error::other(reply));
        }
        let id = mail.message_id().to_owned();
        self.accepted
            .lock()
            .expect("accepted")
            .push((id, recipient.clone()));
        Ok(())
    }

    fn login(&self, account: &Account) -> io::Result<Imap> {
        let mut imap = Imap::connect(self.relay.endpoints(), Security::Tls)?;
        let answer: Answer = imap.login(&account.address, &account.password)?;
        if answer.code() == Some("AUTHENTICATIONFAILED") {
            self.may_be_refused(&answer, &[Service::Auth]);
        }
        answer.ok()?;
        Ok(imap)
    }

    /// Dovecot 2.3's login server says what it would say to a wrong password when its auth process is gone. So
    /// does Postfix, and also when auth is there but lost its worker: it makes no difference between a failure
    /// that is temporary and one that is not. No other kill may look so.
    #[track_caller]
    fn may_be_refused(&self, answer: &dyn std::fmt::Display, victims: &[Service]) {
        let victim = *self.victim.lock().expect("victim");
        let may_be = victim.is_some_and(|victim| victims.contains(&victim));
        assert!(may_be, "refused after {victim:?} was killed: {answer}");
    }

    /// Every account that was promised can log in, and there is no other and no half one.
    #[track_caller]
    fn check_accounts(&self) {
        let made = self.accounts.lock().expect("accounts");
        let others = [&self.sender, &self.visitor, &self.sleeper]
            .into_iter()
            .chain(&self.recipients);
        let all: Vec<_> = made.iter().chain(others).collect();
        assert!(all.len() > Service::ALL.len(), "{}", all.len());
        let addresses: BTreeSet<_> = all.iter().map(|account| account.address.clone()).collect();
        assert_eq!(self.relay.addresses(), addresses);
        for account in all {
            let password = fs::read_to_string(self.relay.mailbox(account).join("password"));
            assert!(password.expect("password").starts_with("{SHA512-CRYPT}$6$"));
            assert!(
                self.relay
                    .mailbox(account)
                    .join("enforceE2EEincoming")
                    .exists()
            );
            self.relay.imap(account);
        }
    }

    /// Every message that was accepted is in its mailbox, once or more.
    #[track_caller]
    fn check_messages(&self) {
        let accepted = self.accepted.lock().expect("accepted");
        assert!(accepted.len() > Service::ALL.len(), "{}", accepted.len());
        let mut missing = Vec::new();
        let all = wait::poll(RECOVERY, || {
            // What Postfix could not deliver waits five minutes, unless it is told to go on.
            let config = &self.relay.endpoints().postfix_config_directory;
            let flushed = Command::new("postqueue")
                .arg("-c")
                .arg(config)
                .arg("-f")
                .status();
            assert!(flushed.expect("postqueue").success());
            let mut ids = BTreeMap::new();
            for recipient in &self.recipients {
                ids.insert(
                    recipient.address.clone(),
                    message_ids(self.relay, recipient),
                );
            }
            let is_lost = |(id, to): &&(String, Account)| !ids[&to.address].contains(id);
            missing = accepted.iter().filter(is_lost).cloned().collect();
            missing.is_empty().then_some(())
        });
        assert!(all.is_some(), "accepted and nowhere: {missing:?}");
    }
}

fn message_ids(relay: &Instance, account: &Account) -> BTreeSet<String> {
    let mut imap = relay.imap(account);
    let count = imap.select_inbox().expect("INBOX");
    assert!(count > 0, "no mail for {}", account.address);
    let fields = imap.header_fields("MESSAGE-ID").expect("FETCH");
    let ids = fields
        .iter()
        .flat_map(|field| header_values(field, "Message-ID"));
    ids.collect()
}
