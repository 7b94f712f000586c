//! Tries a relay out as somebody with Delta Chat would, through its public ports: a login, an invitation, a
//! text, a file. It needs no access to mailboxes.
//!
//! Delta Chat's core does the mail ([`crate::deltachat`]), in a profile that is thrown away. The other side
//! is the echo bot, or a second account of the same profile directory.
//!
//! | module | knows |
//! |---|---|
//! | [`report`] | the steps, and what became of them |
//! | `session` | what each step does |
//! | `log` | which step is being tried, and for how long |
//!
//! Reasons are for the operator, who owns the accounts: they may hold addresses, but never a password.

mod log;
pub mod report;
mod session;

use std::fmt;
use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use chatmail_core::account::NewAccount;
use chatmail_core::config::{Config, Registration};

use crate::deltachat::{Relay, Server, server};

use log::Log;
pub use report::{Outcome, Report, Step, Tried};

/// How long core has to end when its input is closed. Nothing that it has is kept.
const STOP: Duration = Duration::from_secs(5);

/// What is to be tried.
#[derive(Debug)]
pub struct Settings {
    /// Where the relay is.
    pub relay: Relay,
    /// The program of core, or its name on PATH.
    pub rpc_server: PathBuf,
    /// Who tries.
    pub account: Login,
    /// With whom.
    pub partner: Partner,
    /// For each step.
    pub timeout: Duration,
    /// What may be the reason if the login is refused.
    pub refusal_hint: Option<String>,
}

/// An account, which may not exist yet.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    /// `localpart@domain`.
    pub address: String,
    /// For IMAP and SMTP.
    pub password: String,
}

impl fmt::Debug for Login {
    /// Without the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl From<NewAccount> for Login {
    fn from(account: NewAccount) -> Login {
        Login {
            address: account.address.to_string(),
            password: account.password,
        }
    }
}

/// The other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Partner {
    /// Whose invite link this is; sends back what it is sent.
    EchoBot(String),
    /// Another account of the relay, which is only sent something.
    Account(Login),
}

/// Why the first login of an account may be refused, as far as that can be seen from here.
pub fn refusal_hint(config: &Config) -> Option<String> {
    let file = &config.nocreate_file;
    match config.registration {
        _ if file.exists() => Some(format!("{} is there", file.display())),
        Registration::Open => None,
        Registration::Invite => Some("registration = invite".to_owned()),
        Registration::Closed => Some("registration = closed".to_owned()),
    }
}

/// What happens meanwhile.
#[derive(Debug)]
pub enum Sign<'a> {
    /// A step is being tried, for so long now. Comes several times a second.
    Trying(Step, Duration),
    /// A step has ended, or was left out.
    Ended(&'a Tried),
}

/// Why nothing can be said about the relay.
#[derive(Debug)]
pub enum Error {
    /// Core cannot be run, or has crashed.
    Program(String),
    /// There is no directory for the profile, or it cannot be removed.
    Directory(io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Program(why) => f.write_str(why),
            Error::Directory(why) => write!(f, "the temporary profile: {why}"),
        }
    }
}

impl std::error::Error for Error {}

/// Tries the steps, one after the other, until one fails or `shutdown` is ready, which is a failure, too.
/// Leaves neither a process nor a file behind; on the relay, accounts that are new stay.
///
/// # Errors
///
/// [`Error`]. A relay that does not work is none.
pub async fn run(
    settings: &Settings,
    shutdown: impl Future<Output = ()>,
    watch: &mut dyn FnMut(Sign<'_>),
) -> Result<Report, Error> {
    let directory = tempfile::Builder::new()
        .prefix("chatmail-test-")
        // Core keeps passwords and keys in it.
        .permissions(Permissions::from_mode(0o700))
        .tempdir()
        .map_err(Error::Directory)?;
    let mut server = Server::start(&settings.rpc_server, &directory.path().join("accounts"))
        .map_err(|why| Error::Program(server::cannot_run(&settings.rpc_server, &why)))?;
    let mut log = Log::new(watch);
    let ended = tokio::select! {
        () = shutdown => Err(Why::Failed("interrupted".to_owned())),
        ended = session::run(settings, directory.path(), server.rpc(), &mut log) => ended,
    };
    // If it does not end by itself it was killed, or is when it is dropped: before its directory goes.
    let _ = server.stop(STOP).await;
    let last_words = server.last_words();
    drop(server);
    directory.close().map_err(Error::Directory)?;
    match ended {
        Ok(()) => Ok(log.report(None)),
        Err(Why::Failed(why)) => Ok(log.report(Some(settings.presentable(&why)))),
        Err(Why::Program(why)) => {
            let words = match last_words.is_empty() {
                true => why,
                false => format!("{why}: {last_words}"),
            };
            let program = settings.rpc_server.display();
            let words = settings.presentable(&words);
            Err(Error::Program(format!("{program} {words}")))
        }
    }
}

impl Settings {
    /// Core's words on one line, without a password.
    fn presentable(&self, words: &str) -> String {
        let mut text = words.split_whitespace().collect::<Vec<_>>().join(" ");
        let mut hide = |login: &Login| text = text.replace(&login.password, "[password]");
        hide(&self.account);
        if let Partner::Account(login) = &self.partner {
            hide(login);
        }
        text
    }
}

/// Why it does not go on.
#[derive(Debug, PartialEq, Eq)]
enum Why {
    /// The relay, or the other side, does not do what it should.
    Failed(String),
    /// Core has ended, or never began; goes on after its name.
    Program(String),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn login(name: &str) -> Login {
        Login {
            address: format!("{name}@chat.test"),
            password: format!("secret of {name}"),
        }
    }

    #[test]
    fn no_password_is_shown_whoever_says_it() {
        let relay = Relay {
            host: "chat.test".to_owned(),
            imap_port: 993,
            smtp_port: 465,
            any_certificate: false,
        };
        let settings = Settings {
            relay,
            rpc_server: "deltachat-rpc-server".into(),
            account: login("ci-alice"),
            partner: Partner::Account(login("ci-bob")),
            timeout: Duration::from_secs(60),
            refusal_hint: None,
        };
        let said = settings.presentable("a\n  LOGIN secret of ci-alice,\tsecret of ci-bob");
        assert_eq!(said, "a LOGIN [password], [password]");
        assert!(!format!("{settings:?}").contains("secret"));
    }

    #[test]
    fn what_the_configuration_says_of_new_accounts_is_a_hint() {
        let base = tempfile::tempdir().unwrap();
        let switch = base.path().join("nocreate");
        let hint = |registration: &str| {
            let ini = format!(
                "[params]\nmail_domain = chat.test\nnocreate_file = {}\nregistration = {registration}\n",
                switch.display()
            );
            refusal_hint(&Config::parse("chatmail.ini".as_ref(), &ini).unwrap())
        };
        assert_eq!(hint("open"), None);
        assert_eq!(hint("closed").as_deref(), Some("registration = closed"));
        assert_eq!(hint("invite").as_deref(), Some("registration = invite"));
        std::fs::write(&switch, "").unwrap();
        assert_eq!(hint("open"), Some(format!("{} is there", switch.display())));
    }
}
