//! `chatmail test`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chatmail_core::account;
use chatmail_core::address::Address;
use chatmail_core::config::Config;
use chatmail_relay::deltachat::password;
use chatmail_relay::trial::{self, Error, Login, Outcome, Partner, Report, Settings, Sign, Tried};
use clap::Parser;
use serde_json::{Value, json};

use super::client::{Client, run_until_told};
use super::link;
use super::print;
use super::progress::Progress;
use crate::exit::{Exit, Failure, load};

/// Where the units of the echo bot have its link written to.
const INVITE_LINK_FILE: &str = "/run/chatmail-echobot/invite-link.txt";

/// Try the relay out, as somebody with Delta Chat would.
///
/// Goes through four steps, by the relay's public ports only, and tells how long each took:
///
/// account: logs in by IMAP and SMTP with a random address, which makes the account.
///
/// join: follows the invite link of the echo bot until both know each other's keys.
///
/// text: sends a text, which has to come back, encrypted.
///
/// file: sends 100 kB of random bytes, which have to come back as they were.
///
/// After a step that failed, those behind it are not tried; it is told why, often in core's words.
/// Delta Chat's core does the mail: the program deltachat-rpc-server must be installed. Times are those of
/// a client: core sends a few messages at once and then one a second.
///
/// Any user can run it, on any host. Nothing is left of the profile, also after Ctrl-C. On the relay the
/// account stays until it expires; its address begins with `ci-`, so that reports do not count it as a
/// person. It counts among the sign-ups of its network: to look every few minutes, or where a first
/// login makes no account, give an account with --address.
#[derive(Parser)]
#[command(after_help = "\
Exit codes: 0 all steps passed, 1 a step failed, 64 wrong usage, 66 there is no invite link, 69 \
deltachat-rpc-server cannot be run, or has crashed, 73 the temporary profile cannot be made or removed, 74 \
standard output cannot be written to, 78 wrong chatmail.ini or password file.

With --json standard output is one object: ok (bool), steps (a list of step, ok, ms, error). For a step that passed \
error is null; for one that was not tried ms is null and error is \"not tried\".

Keys of chatmail.ini it reads: mail_domain, username_max_length, password_min_length, those that say whether \
the certificate is self-signed, and, for a hint when the login is refused, registration and nocreate_file.

Examples:
  On the relay, with its echo bot
    chatmail test --config /etc/chatmail.ini
  On a relay without an echo bot
    chatmail test --config /etc/chatmail.ini --two-accounts
  From another host, for a monitor
    chatmail test --config chatmail.ini --json --invite-link-file link.txt \\
        --address monitor01@chat.example --password-file password.txt")]
pub(crate) struct Arguments {
    /// chatmail.ini
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Use this account instead of a new one. It is for tests alone: what comes in for it meanwhile is lost
    #[arg(long, value_name = "ADDRESS", requires = "password_file")]
    address: Option<String>,
    /// Where the password of that account is, on one line
    #[arg(long, value_name = "FILE", requires = "address")]
    password_file: Option<PathBuf>,
    /// The invite link of an echo bot. With that of another relay's, the way there is tried as well
    #[arg(long, value_name = "LINK", conflicts_with = "invite_link_file")]
    invite_link: Option<String>,
    /// A file with that link
    #[arg(long, value_name = "FILE", default_value = INVITE_LINK_FILE)]
    invite_link_file: PathBuf,
    /// Do without an echo bot: a second new account is sent the text and the file
    #[arg(long, conflicts_with_all = ["address", "invite_link", "invite_link_file"])]
    two_accounts: bool,
    #[command(flatten)]
    client: Client,
    /// How long each step may take
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    timeout: u32,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    let settings = arguments.settings(&config)?;
    let mut screen = Screen::new(arguments.json);
    let report = run_until_told(async |stop| {
        trial::run(&settings, stop, &mut |sign| screen.show(&sign))
            .await
            .map_err(|error| match error {
                Error::Program(why) => Failure(Exit::Unavailable, why),
                error @ Error::Directory(_) => Failure(Exit::CannotCreate, error.to_string()),
            })
    });
    screen.end()?;
    let report = report?;
    if arguments.json {
        print(&(json_of(&report).to_string() + "\n"))?;
    }
    match report.failed() {
        None => Ok(()),
        Some(step) => {
            let (step, address) = (step.word(), &settings.account.address);
            let why = format!("step {step} failed, tried as {address}");
            Err(Failure(Exit::Refused, why))
        }
    }
}

impl Arguments {
    fn settings(&self, config: &Config) -> Result<Settings, Failure> {
        Ok(Settings {
            relay: self.client.relay(config),
            rpc_server: self.client.rpc_server.clone(),
            account: self.account(config)?,
            partner: match self.two_accounts {
                true => Partner::Account(new_account(config)?),
                false => Partner::EchoBot(self.link()?),
            },
            timeout: Duration::from_secs(self.timeout.into()),
            refusal_hint: match self.address {
                Some(_) => None,
                None => trial::refusal_hint(config).map(|why| format!("{why}: see --address")),
            },
        })
    }

    fn account(&self, config: &Config) -> Result<Login, Failure> {
        let (Some(address), Some(file)) = (&self.address, &self.password_file) else {
            return new_account(config);
        };
        if Address::parse(address.as_bytes(), &config.mail_domain).is_none() {
            let why = format!(
                "--address {address}: no address of {}",
                config.mail_domain.bare()
            );
            return Err(Failure(Exit::Usage, why));
        }
        match password::read(file) {
            Ok(Some(password)) => Ok(Login {
                address: address.clone(),
                password,
            }),
            Ok(None) => {
                let why = format!("{}: there is no password", file.display());
                Err(Failure::configuration(why))
            }
            Err(why) => Err(Failure::configuration(why)),
        }
    }

    fn link(&self) -> Result<String, Failure> {
        let (link, origin) = match &self.invite_link {
            Some(link) => (link.clone(), "--invite-link".to_owned()),
            None => {
                let file = &self.invite_link_file;
                (read_link(file)?, file.display().to_string())
            }
        };
        let link = link.trim();
        match is_invite_link(link) {
            true => Ok(link.to_owned()),
            false => Err(no_link(&format!("{origin}: is no invite link"))),
        }
    }
}

fn new_account(config: &Config) -> Result<Login, Failure> {
    let account = account::random_ci(config).map_err(Failure::configuration)?;
    Ok(account.into())
}

fn read_link(file: &Path) -> Result<String, Failure> {
    link::read(file).map_err(|why| no_link(&format!("{}: {why}", file.display())))
}

fn no_link(why: &str) -> Failure {
    let why = format!(
        "{why}; name the echo bot's link with --invite-link-file or --invite-link, or do without an echo bot \
         with --two-accounts"
    );
    Failure(Exit::NoInput, why)
}

/// Whether core may know it as one; what it is exactly is core's to say.
fn is_invite_link(text: &str) -> bool {
    let begins_with = |prefix: &str| {
        let start = text.get(..prefix.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    let is_known = begins_with("openpgp4fpr:") || begins_with("https://") && text.contains('#');
    is_known && !text.contains(char::is_whitespace)
}

/// Where people see what happens.
struct Screen {
    json: bool,
    line: Progress,
    /// The first line that could not be written.
    failure: Option<Failure>,
}

impl Screen {
    fn new(json: bool) -> Screen {
        Screen {
            json,
            line: Progress::new(),
            failure: None,
        }
    }

    fn show(&mut self, sign: &Sign<'_>) {
        match sign {
            Sign::Trying(step, since) => {
                let line = || format!("{}: {} s", step.word(), since.as_secs());
                self.line.show(line);
            }
            Sign::Ended(tried) => {
                self.line.clear();
                if !self.json && self.failure.is_none() {
                    self.failure = print(&format!("{tried}\n")).err();
                }
            }
        }
    }

    fn end(self) -> Result<(), Failure> {
        self.failure.map_or(Ok(()), Err)
    }
}

fn json_of(report: &Report) -> Value {
    let step = |tried: &Tried| {
        let (is_ok, took, error) = match &tried.outcome {
            Outcome::Passed(took) => (true, Some(took), None),
            Outcome::Failed(took, why) => (false, Some(took), Some(why.as_str())),
            Outcome::NotTried => (false, None, Some("not tried")),
        };
        let ms = took.map(|took| took.as_millis() as u64);
        json!({"step": tried.step.word(), "ok": is_ok, "ms": ms, "error": error})
    };
    let steps: Vec<Value> = report.steps.iter().map(step).collect();
    json!({"ok": report.failed().is_none(), "steps": steps})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_invite_link_is_told_from_what_else_stands_in_a_file() {
        for link in [
            "https://i.delta.chat/#0123456789ABCDEF&v=3&i=x&s=y&a=echo%40chat.test&n=Echo",
            "OPENPGP4FPR:0123456789ABCDEF#a=echo%40chat.test&n=Echo&i=x&s=y",
        ] {
            assert!(is_invite_link(link), "{link}");
        }
        for none in [
            "",
            "hello",
            "https://chat.test/",
            "https://a/#b c",
            "http://i.delta.chat/#x",
        ] {
            assert!(!is_invite_link(none), "{none}");
        }
    }
}
