//! The echo bot: `echo@DOMAIN` sends back what it is sent, so that people can see that messages travel
//! both ways before they know anybody on the relay.
//!
//! Delta Chat's core does the mail ([`crate::deltachat`]); the bot looks for messages nobody marked as
//! seen, sends each back, and marks it. What it has not marked is still there after a crash of core,
//! a kill or a power failure, so no message is lost; that none is answered twice is the work of `mark`.
//!
//! | module | knows |
//! |---|---|
//! | `account` | how `echo@DOMAIN` comes into being: its name is too short for anybody to choose |
//! | `answer` | what is said to which message |
//! | `session` | one life of core: settings, login, messages |
//! | `mark` | which message was being answered when something ended |
//! | `pause` | how long to wait before core is started again |
//! | `health` | when to say that the relay does not answer |
//! | `state` | the bot's directory |
//!
//! No log line holds what people write, their addresses, or their names. Messages are told apart by core's
//! numbers.

mod account;
mod answer;
mod health;
mod mark;
mod pause;
mod session;
mod state;

use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chatmail_core::config::Config;
use tracing::{info, warn};

use crate::deltachat::{Relay, Server, password, server};

pub use account::{CreateError, Made, PasswordFrom, create_account, create_password};
use pause::Pause;
use session::{Ended, Session};
use state::State;

/// The localpart of the bot's address. Shorter than `username_min_length` on every relay that did not
/// lower it, so that nobody else can have it.
const LOCALPART: &str = "echo";

/// How long core has to end when its input is closed: it finishes what it is writing.
const STOP: Duration = Duration::from_secs(10);

/// What a bot is to be like.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `echo@DOMAIN`.
    address: String,
    /// The domain, as people write it.
    domain: String,
    /// Core's accounts, the password, the invite link; made if it is missing, for its owner alone.
    pub state_dir: PathBuf,
    /// Where the password is, if not in `state_dir`.
    pub password_file: Option<PathBuf>,
    /// Another file for the invite link, which everybody may read.
    pub link_file: Option<PathBuf>,
    /// The program, or its name on PATH.
    pub rpc_server: PathBuf,
    /// Where the relay is.
    pub relay: Relay,
    /// What people see.
    pub display_name: String,
    /// A picture.
    pub avatar: Option<PathBuf>,
}

impl Settings {
    /// For the relay of `config`, over its public name and ports, with its state in `state_dir`.
    pub fn new(config: &Config, state_dir: &Path) -> Settings {
        Settings {
            address: address_at(config),
            domain: config.mail_domain.bare().to_owned(),
            state_dir: state_dir.to_owned(),
            password_file: None,
            link_file: None,
            rpc_server: server::PROGRAM.into(),
            relay: Relay::of(config),
            display_name: "Echo".to_owned(),
            avatar: None,
        }
    }

    /// Where the password is.
    pub fn password_file(&self) -> PathBuf {
        let in_state = || State::at(&self.state_dir).password();
        self.password_file.clone().unwrap_or_else(in_state)
    }

    /// Where the invite link is kept.
    pub fn invite_link_file(&self) -> PathBuf {
        State::at(&self.state_dir).invite_link()
    }
}

fn address_at(config: &Config) -> String {
    format!("{LOCALPART}@{}", config.mail_domain.in_address())
}

/// Why a bot cannot go on.
#[derive(Debug)]
pub enum Stopped {
    /// Something is wrong that only the operator can put right.
    Configuration(String),
    /// The state directory cannot be used.
    State(io::Error),
    /// The program cannot be run.
    Program(String),
}

impl fmt::Display for Stopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stopped::Configuration(why) | Stopped::Program(why) => f.write_str(why),
            Stopped::State(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for Stopped {}

/// Answers messages until `shutdown` is ready. Whenever core ends it is started again, after a pause that
/// grows up to a minute.
///
/// # Errors
///
/// [`Stopped`]. A relay that does not answer is no error: it is asked again.
pub async fn run(settings: Settings, shutdown: impl Future<Output = ()>) -> Result<(), Stopped> {
    let state = State::at(&settings.state_dir);
    state.open().map_err(Stopped::State)?;
    let transport = settings
        .relay
        .transport(&settings.address, &password_of(&settings)?);
    let mut pause = Pause::default();
    let mut ran_once = false;
    tokio::pin!(shutdown);
    loop {
        let start = Instant::now();
        let why = match Server::start(&settings.rpc_server, &state.accounts()) {
            Ok(server) => {
                ran_once = true;
                let ended = tokio::select! {
                    () = &mut shutdown => None,
                    ended = Session::run(&settings, &transport, server.rpc()) => Some(ended),
                };
                match end(server, ended).await? {
                    Some(why) => why,
                    None => return Ok(()),
                }
            }
            Err(why) if !ran_once => {
                let why = server::cannot_run(&settings.rpc_server, &why);
                return Err(Stopped::Program(why));
            }
            Err(why) => format!("cannot be started: {why}"),
        };
        let pause = pause.after(start.elapsed());
        warn!("the RPC server {why}; starting it again in {pause:?}");
        tokio::select! {
            () = &mut shutdown => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Sees a server to its end, after its session. `None`: that was the end of all.
async fn end(mut server: Server, ended: Option<Ended>) -> Result<Option<String>, Stopped> {
    if ended.is_none() {
        info!("stopping");
    }
    if let Err(why) = server.stop(STOP).await {
        warn!("the RPC server does not end: {why}");
    }
    let last_words = server.last_words();
    match ended {
        None => Ok(None),
        Some(Ended::Wrong(why)) => Err(Stopped::Configuration(why)),
        Some(Ended::Early(why)) if last_words.is_empty() => {
            Ok(Some(format!("did not start: {why}")))
        }
        Some(Ended::Early(_)) => Ok(Some(format!("did not start: {last_words}"))),
        Some(Ended::Later(why)) => Ok(Some(format!("is of no more use: {why}"))),
    }
}

fn password_of(settings: &Settings) -> Result<String, Stopped> {
    let path = settings.password_file();
    match password::read(&path) {
        Ok(Some(password)) => Ok(password),
        Ok(None) => Err(Stopped::Configuration(format!(
            "{}: there is no password; make the account first, with --create-account",
            path.display()
        ))),
        Err(why) => Err(Stopped::Configuration(why.to_string())),
    }
}
