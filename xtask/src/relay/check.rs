//! `cargo xtask relay --check`: mail through the relay, step by step, as clients and other servers would send it.

use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use chatmail_tests::dkim::Signer;
use chatmail_tests::dns::zone;
use chatmail_tests::imap::{Imap, Status};
use chatmail_tests::mail::{ENCRYPTION_NEEDED, body};
use chatmail_tests::smtp::{Door, Smtp};
use chatmail_tests::{Endpoints, Mail};

use super::account::Account;
use super::inspect;
use super::instance::Instance;
use super::peers::Peer;
use super::processes::poll;
use super::sink::Sink;
use super::supervise::Supervisor;
use crate::dovecot::Dovecot;
use crate::interrupt;
use crate::terminal::{Seconds, say};

/// How long mail and notifications may take; they need well below a second on an idle machine.
const DEADLINE: Duration = Duration::from_secs(30);
/// A user of a server that does not exist, and that server's domain.
const OUTSIDER: &str = "alice@outside.test";
const OUTSIDE: &str = "outside.test";
/// Seconds for which the filter may remember the key of that domain.
const TTL: u32 = 60;
/// What mail without a signature gets.
const NOT_SIGNED: &str = "554 5.7.1 No DKIM signature found";
/// Where the spool of notifications is below the mailboxes.
const SPOOL: &str = "pending_notifications";

/// The steps so far.
struct Steps {
    passed: u32,
    failed: u32,
}

impl Steps {
    /// Prints the step and how it went. A step that fails does not keep the next ones from being tried.
    fn step(&mut self, what: &str, check: impl FnOnce() -> Result<()>) -> Result<()> {
        interrupt::check()?;
        let begin = Instant::now();
        match check() {
            Ok(()) => {
                self.passed += 1;
                say(format_args!(
                    "  ok      {what} ({})",
                    Seconds(begin.elapsed())
                ));
            }
            Err(why) => {
                self.failed += 1;
                say(format_args!("  FAILED  {what}: {why:#}"));
            }
        }
        Ok(())
    }
}

/// Every step; 0 if all passed.
pub(crate) fn run(
    instance: &Instance,
    endpoints: &Endpoints,
    dovecot: &Dovecot,
    peers: &[Peer],
    supervisor: &mut Supervisor,
    sink: Option<&Sink>,
) -> Result<ExitCode> {
    say(format_args!("==> checking"));
    let mut steps = Steps {
        passed: 0,
        failed: 0,
    };
    let account = || Account::random(instance.domain(), instance.lengths());
    let [ann, bob] = [account()?, account()?];
    // What an earlier run left in the spool is not what is counted here.
    poll(DEADLINE, || spool_is_empty(endpoints));
    let notified_before = sink.map_or(0, Sink::count);

    steps.step("two accounts are created by their first IMAP login", || {
        [&ann, &bob]
            .into_iter()
            .try_for_each(|account| created_by_login(endpoints, account))
    })?;
    steps.step("a wrong password is refused by IMAP and SMTP", || {
        wrong_password(endpoints, &ann)
    })?;
    steps.step("SETMETADATA stores a device token", || {
        stores_token(endpoints, &bob)
    })?;
    for (door, port) in [
        (Door::Smtps, endpoints.smtps),
        (Door::Submission, endpoints.submission),
    ] {
        steps.step(
            &format!("encrypted mail sent through port {port} arrives over IMAP"),
            || arrives((endpoints, &ann), door, (endpoints, &bob)),
        )?;
    }
    match sink {
        Some(sink) => steps.step("each of both messages makes one notification", || {
            notified(endpoints, sink, notified_before + 2)
        })?,
        None => say(format_args!(
            "  skipped the count of notifications: --push-url sends them elsewhere"
        )),
    }
    for (door, port) in [
        (Door::Smtps, endpoints.smtps),
        (Door::Submission, endpoints.submission),
    ] {
        steps.step(
            &format!("cleartext is refused on port {port} with `{ENCRYPTION_NEEDED}`"),
            || {
                let smtp = Smtp::login_to(endpoints, door, &ann.address, &ann.password)?;
                cleartext_refused(smtp, &ann.address, &bob.address)
            },
        )?;
    }
    steps.step(
        &format!(
            "cleartext is refused on port {} with `{ENCRYPTION_NEEDED}`",
            endpoints.smtp
        ),
        || {
            cleartext_refused(
                Smtp::connect(endpoints, Door::Smtp)?,
                OUTSIDER,
                &bob.address,
            )
        },
    )?;
    from_outside(&mut steps, instance, endpoints, &bob)?;
    for Peer {
        endpoints: peer, ..
    } in peers
    {
        let eve = Account::random(&peer.domain, instance.lengths())?;
        steps.step(
            &format!("mail goes to a new user of {} and back", peer.domain),
            || {
                created_by_login(peer, &eve)?;
                arrives((endpoints, &ann), Door::Smtps, (peer, &eve))?;
                arrives((peer, &eve), Door::Smtps, (endpoints, &ann))
            },
        )?;
    }
    steps.step(
        "Dovecot, Postfix, chatmail-milter and chatmail serve run, and nothing else",
        || {
            ensure!(
                !supervisor.look_after()?,
                "one of them had to be started again"
            );
            inspect::only_the_parts(instance.directory(), dovecot, supervisor)
        },
    )?;
    steps.step(
        "our sockets are the filter's three and the web server's: none for auth or dict",
        || inspect::no_other_sockets(supervisor),
    )?;

    let Steps { passed, failed, .. } = steps;
    if failed == 0 {
        say(format_args!("All {passed} steps passed."));
        return Ok(ExitCode::SUCCESS);
    }
    say(format_args!(
        "{failed} of {} steps failed.\n{}",
        passed + failed,
        supervisor.logs()
    ));
    Ok(ExitCode::FAILURE)
}

/// Mail of another server, on port 25.
fn from_outside(
    steps: &mut Steps,
    instance: &Instance,
    endpoints: &Endpoints,
    bob: &Account,
) -> Result<()> {
    let port = endpoints.smtp;
    let nobody = Account::random(instance.domain(), instance.lengths())?;
    steps.step(
        &format!("mail to an address that nobody has is refused on port {port} with 550 5.1.1"),
        || {
            let reply =
                Smtp::connect(endpoints, Door::Smtp)?.envelope(OUTSIDER, &[&nobody.address])?;
            let text = reply.to_string();
            ensure!(text.starts_with("550 5.1.1 "), "the reply is `{text}`");
            Ok(())
        },
    )?;
    if !instance.verifies() {
        say(format_args!(
            "  skipped signatures of other servers: the file of --config has dkim = false"
        ));
        return Ok(());
    }
    let signer = Signer::ed25519(OUTSIDE);
    let mail = Mail::encrypted(OUTSIDER, &bob.address);
    let send = |mail: &Mail| -> Result<String> {
        let reply = Smtp::connect(endpoints, Door::Smtp)?.send(
            OUTSIDER,
            &[&bob.address],
            &mail.to_bytes(),
        )?;
        Ok(reply.to_string())
    };
    steps.step(
        &format!("mail without a signature is refused on port {port} with `{NOT_SIGNED}`"),
        || {
            let reply = send(&mail)?;
            ensure!(reply == NOT_SIGNED, "the reply is `{reply}`");
            Ok(())
        },
    )?;
    steps.step(
        &format!("mail with a good DKIM signature is taken on port {port}"),
        || {
            zone::add(endpoints, &zone::txt(&signer.name(), TTL, &signer.record()))?;
            let reply = send(&signer.sign(&mail))?;
            ensure!(reply.starts_with("250 "), "the reply is `{reply}`");
            is_in_inbox(endpoints, bob, &mail)
        },
    )
}

fn created_by_login(endpoints: &Endpoints, account: &Account) -> Result<()> {
    let mailbox = endpoints.mailbox(&account.address);
    ensure!(
        !mailbox.exists(),
        "{} is there before the login",
        mailbox.display()
    );
    Imap::login_to(endpoints, &account.address, &account.password).context("IMAP login")?;
    ensure!(
        mailbox.join("password").is_file(),
        "the login made no {}",
        mailbox.join("password").display()
    );
    Ok(())
}

fn wrong_password(endpoints: &Endpoints, account: &Account) -> Result<()> {
    let wrong = format!("{}x", account.password);
    let mut imap = Imap::connect(endpoints, chatmail_tests::imap::Security::Tls)?;
    let answer = imap.login(&account.address, &wrong)?;
    ensure!(
        answer.status == Status::No && answer.code() == Some("AUTHENTICATIONFAILED"),
        "IMAP answers {answer}"
    );
    let reply = Smtp::connect(endpoints, Door::Smtps)?.login(&account.address, &wrong)?;
    ensure!(reply.code == 535, "SMTP answers {reply}");
    Ok(())
}

fn stores_token(endpoints: &Endpoints, account: &Account) -> Result<()> {
    let token = format!("openpgp:{}", account.password);
    let mut imap = Imap::login_to(endpoints, &account.address, &account.password)?;
    imap.set_metadata("INBOX", "/private/devicetoken", &token)?
        .ok()?;
    match imap.get_metadata("INBOX", "/private/devicetoken")? {
        Ok(Some(stored)) if stored == token => Ok(()),
        Ok(Some(_)) => bail!("GETMETADATA returns another token"),
        Ok(None) => bail!("GETMETADATA returns no token"),
        Err(answer) => bail!("GETMETADATA: {answer}"),
    }
}

/// Where somebody is at home, and who.
type User<'a> = (&'a Endpoints, &'a Account);

fn arrives((home, from): User<'_>, door: Door, (there, to): User<'_>) -> Result<()> {
    let mail = Mail::encrypted(&from.address, &to.address);
    let reply = Smtp::login_to(home, door, &from.address, &from.password)?.send(
        &from.address,
        &[&to.address],
        &mail.to_bytes(),
    )?;
    ensure!(reply.code == 250, "the message is refused: {reply}");
    is_in_inbox(there, to, &mail)
}

fn is_in_inbox(endpoints: &Endpoints, account: &Account, mail: &Mail) -> Result<()> {
    let mut imap = Imap::login_to(endpoints, &account.address, &account.password)?;
    let mut found = Ok(false);
    poll(DEADLINE, || {
        found = imap.inbox().map(|messages| {
            messages.iter().any(|message| {
                String::from_utf8_lossy(message).contains(mail.message_id())
                    && body(message) == mail.body()
            })
        });
        !matches!(found, Ok(false))
    });
    ensure!(found?, "it is not in the INBOX after {}", Seconds(DEADLINE));
    Ok(())
}

fn notified(endpoints: &Endpoints, sink: &Sink, expected: u64) -> Result<()> {
    poll(DEADLINE, || {
        sink.count() >= expected && spool_is_empty(endpoints)
    });
    let count = sink.count();
    ensure!(
        count == expected,
        "{count} notifications in all instead of {expected}"
    );
    ensure!(
        spool_is_empty(endpoints),
        "files are left in {}",
        endpoints.mailboxes_dir.join(SPOOL).display()
    );
    Ok(())
}

fn spool_is_empty(endpoints: &Endpoints) -> bool {
    is_empty(&endpoints.mailboxes_dir.join(SPOOL))
}

fn is_empty(directory: &Path) -> bool {
    fs::read_dir(directory).map_or(true, |mut entries| entries.next().is_none())
}

fn cleartext_refused(mut smtp: Smtp, from: &str, to: &str) -> Result<()> {
    let reply = smtp
        .send(from, &[to], &Mail::cleartext(from, to).to_bytes())?
        .to_string();
    ensure!(reply == ENCRYPTION_NEEDED, "the reply is `{reply}`");
    Ok(())
}
