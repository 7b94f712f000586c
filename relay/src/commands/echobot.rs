//! `chatmail echobot`.

use std::path::{Path, PathBuf};

use chatmail_core::config::Config;
use chatmail_relay::deltachat::password;
use chatmail_relay::echobot::{self, CreateError, Made, PasswordFrom, Settings, Stopped};
use clap::Parser;
use tracing_subscriber::EnvFilter;

use super::client::{Client, run_until_told};
use super::link;
use super::mail_user::become_mail_user;
use super::print;
use crate::exit::{Exit, Failure, load};

/// Run the bot echo@DOMAIN, which sends back what it is sent.
///
/// People talk to it to see that messages travel both ways. It answers texts with the same text, files
/// with the same file, and /help with a help text; in chats of two only, and never a bot. Its
/// invite link, which is how people find it, is written to DIR/invite-link.txt, and printed by
/// --print-link.
///
/// Delta Chat's core does the mail: the program deltachat-rpc-server must be installed. Nobody can
/// choose the name `echo` at a login, so the account has to be made first, with --create-account, by
/// the owner of the mailboxes or by root. The bot itself needs none of the mailboxes: give it a user
/// of its own, who can read chatmail.ini, the password and nothing else.
///
/// Stops at SIGTERM and SIGINT. A message that came before is answered after the next start, once. If
/// core crashes it is started again. Logs go to standard error, without addresses and messages.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 stopped by a signal, or done, 64 wrong usage, 66 there is no invite link yet, 69 \
deltachat-rpc-server cannot be run, 73 the account or a file cannot be made, 74 standard output cannot be \
written to, 77 not permitted, 78 wrong chatmail.ini, password or state.

Keys of chatmail.ini it reads: mail_domain, mailboxes_dir, password_min_length and those that say whether \
the certificate is self-signed.

Example:
  install -d -m 0700 /var/lib/chatmail-echobot-account
  chatmail echobot --create-password --config /etc/chatmail.ini \\
      --password-file /var/lib/chatmail-echobot-account/password
  chatmail echobot --create-account --config /etc/chatmail.ini \\
      --password-file - </var/lib/chatmail-echobot-account/password"
)]
pub(crate) struct Arguments {
    /// chatmail.ini
    #[arg(long, value_name = "FILE", required_unless_present = "print_link")]
    config: Option<PathBuf>,
    /// Where the bot keeps its key, its messages of the last day and its invite link; made if missing
    #[arg(long, value_name = "DIR", default_value = "/var/lib/chatmail-echobot")]
    state_dir: PathBuf,
    /// File with the password; `-` with --create-account is standard input [default: DIR/password]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Make the account, with a random password in the password file, and exit
    ///
    /// Run it as the owner of the mailboxes, or as root, which becomes that owner first. That user must be
    /// able to write the password file, unless the password comes from standard input. An existing password
    /// and account are kept; an account with another password is an error.
    #[arg(long, conflicts_with = "print_link")]
    create_account: bool,
    /// Make the password file, with a random password, unless it exists, and exit
    ///
    /// Touches no mailbox. Run it as root, before --create-account and in a directory of root, so that the
    /// owner of the mailboxes cannot replace the password by another file.
    #[arg(long, conflicts_with_all = ["print_link", "create_account"])]
    create_password: bool,
    /// Print the invite link of a bot that has run, and exit
    #[arg(long)]
    print_link: bool,
    /// Write the invite link to this file as well, which everybody may read: for web pages
    #[arg(long, value_name = "FILE")]
    link_file: Option<PathBuf>,
    #[command(flatten)]
    client: Client,
    /// The name that people see
    #[arg(long, value_name = "NAME", default_value = "Echo")]
    display_name: String,
    /// A picture that people see
    #[arg(long, value_name = "FILE")]
    avatar: Option<PathBuf>,
    /// error, warn, info, debug or trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: tracing::Level,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let Some(path) = arguments
        .config
        .as_deref()
        .filter(|_| !arguments.print_link)
    else {
        return print_link(&arguments.state_dir);
    };
    let config = load(path)?;
    let settings = settings(arguments, &config);
    if arguments.create_password {
        let made = echobot::create_password(&config, &settings.password_file());
        return say(made, "password");
    }
    if arguments.create_account {
        become_mail_user(&config)?;
        return create_account(&config, &settings.password_file());
    }
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(format!(
            "off,chatmail_relay={}",
            arguments.log_level
        )))
        .with_ansi(false)
        .with_target(false)
        .with_writer(std::io::stderr)
        .init();
    serve(settings)
}

fn settings(arguments: &Arguments, config: &Config) -> Settings {
    let mut settings = Settings::new(config, &arguments.state_dir);
    settings.password_file.clone_from(&arguments.password_file);
    settings.link_file.clone_from(&arguments.link_file);
    settings.rpc_server.clone_from(&arguments.client.rpc_server);
    settings.relay = arguments.client.relay(config);
    settings.display_name.clone_from(&arguments.display_name);
    settings.avatar.clone_from(&arguments.avatar);
    settings
}

fn print_link(state_dir: &Path) -> Result<(), Failure> {
    let path = state_dir.join("invite-link.txt");
    let link = link::read(&path).map_err(|why| {
        let why = format!(
            "{}: {why}; the bot writes it when it has started",
            path.display()
        );
        Failure(Exit::NoInput, why)
    })?;
    print(&link)
}

fn create_account(config: &Config, password_file: &Path) -> Result<(), Failure> {
    let made = if password_file.as_os_str() == "-" {
        let password = password::read_from(std::io::stdin().lock());
        let password =
            password.map_err(|why| Failure::configuration(format!("standard input: {why}")))?;
        echobot::create_account(config, PasswordFrom::Text(&password))
    } else {
        echobot::create_account(config, PasswordFrom::File(password_file))
    };
    say(made, "account")
}

fn say(made: Result<Made, CreateError>, what: &str) -> Result<(), Failure> {
    match made {
        Ok(Made::New) => eprintln!("chatmail: the {what} is made"),
        Ok(Made::Before) => eprintln!("chatmail: the {what} is there, nothing was done"),
        Err(why @ (CreateError::Taken { .. } | CreateError::NotPrivate(_))) => {
            return Err(Failure::configuration(why));
        }
        Err(why) => return Err(Failure(Exit::CannotCreate, why.to_string())),
    }
    Ok(())
}

fn serve(settings: Settings) -> Result<(), Failure> {
    run_until_told(async |stop| {
        echobot::run(settings, stop)
            .await
            .map_err(|stopped| match stopped {
                Stopped::Configuration(why) => Failure(Exit::Configuration, why),
                Stopped::Program(why) => Failure(Exit::Unavailable, why),
                Stopped::State(why) => Failure(Exit::CannotCreate, why.to_string()),
            })
    })
}
