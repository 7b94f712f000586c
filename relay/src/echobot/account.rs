//! How `echo@DOMAIN` comes into being.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chatmail_core::account;
use chatmail_core::address::Address;
use chatmail_core::auth::hash_password;
use chatmail_core::config::Config;
use chatmail_core::mailbox::Creation;

use super::address_at;
use super::state::{Readers, named, put_line};
use crate::deltachat::password;

/// What [`create_account`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Made {
    /// The account is new.
    New,
    /// The account was there, and its password as well.
    Before,
}

/// Why there is no account that the bot could use.
#[derive(Debug)]
pub enum CreateError {
    /// The account is there, and nobody knows its password.
    Taken {
        /// Its mailbox.
        mailbox: PathBuf,
        /// Where the password should be.
        password_file: PathBuf,
    },
    /// The mailboxes belong to another user than that of the process, whose account would be of no use.
    NotOwner {
        /// The mailboxes.
        mailboxes: PathBuf,
        /// Whose they are.
        uid: u32,
    },
    /// A file cannot be read or written.
    Io(io::Error),
}

impl fmt::Display for CreateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CreateError::Taken {
                mailbox,
                password_file,
            } => write!(
                f,
                "{}: there is such an account, but no password in {}; put it there, or move the mailbox away",
                mailbox.display(),
                password_file.display()
            ),
            CreateError::NotOwner { mailboxes, uid } => write!(
                f,
                "{}: belongs to the user with number {uid}, who alone can make an account: \
                 run this command as that user, with runuser(1) for example",
                mailboxes.display()
            ),
            CreateError::Io(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for CreateError {}

impl From<io::Error> for CreateError {
    fn from(error: io::Error) -> CreateError {
        CreateError::Io(error)
    }
}

/// Makes the account of the bot of `config`, with a random password in `password_file`, for its owner
/// alone. The policy for sign-ups does not matter: it is the operator who asks.
///
/// What is there is kept: a password without an account is used for it, as after a crash between the
/// two or when the account has expired. Runs as the owner of the mailboxes.
///
/// # Errors
///
/// [`CreateError`]; the account was not made then.
pub fn create_account(config: &Config, password_file: &Path) -> Result<Made, CreateError> {
    let mailboxes = config.mailboxes();
    check_owner(mailboxes.dir())?;
    let address = Address::parse(address_at(config).as_bytes(), mailboxes.domain());
    let address = address.ok_or_else(|| io::Error::other("mail_domain makes no address"))?;
    let mailbox = mailboxes.mailbox(&address);
    let password = match password::read(password_file)? {
        Some(password) => password,
        None if mailbox.exists()? => {
            return Err(CreateError::Taken {
                mailbox: mailbox.path().to_owned(),
                password_file: password_file.to_owned(),
            });
        }
        None => {
            let password = account::random(config)?.password;
            // First, or a crash would leave an account that nobody can log in to.
            put_line(password_file, &password, Readers::Owner)?;
            password
        }
    };
    match mailbox.create(&hash_password(password.as_bytes())?, SystemTime::now())? {
        Creation::Created => Ok(Made::New),
        Creation::Existed => Ok(Made::Before),
    }
}

/// Whether the mailboxes are the process's own. Those that are not there yet will be.
fn check_owner(mailboxes: &Path) -> Result<(), CreateError> {
    let uid = |path: &Path| match fs::metadata(path) {
        Ok(found) => Ok(Some(found.uid())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(path, error)),
    };
    // Its owner is the effective user of the process.
    let own = uid("/proc/self".as_ref())?;
    match uid(mailboxes)? {
        Some(uid) if own != Some(uid) => Err(CreateError::NotOwner {
            mailboxes: mailboxes.to_owned(),
            uid,
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use chatmail_core::auth::{Authenticator, Login};
    use std::os::unix::fs::PermissionsExt;

    struct Relay {
        base: tempfile::TempDir,
        config: Config,
    }

    impl Relay {
        fn new() -> Relay {
            let base = tempfile::tempdir().unwrap();
            let dir = base.path().display();
            let ini = format!(
                "[params]\nmail_domain = chat.test\nmailboxes_dir = {dir}/mail\nregistration = closed\n"
            );
            let config = Config::parse("chatmail.ini".as_ref(), &ini).unwrap();
            Relay { base, config }
        }

        fn password_file(&self) -> PathBuf {
            self.base.path().join("password")
        }

        fn mailbox(&self) -> PathBuf {
            self.base.path().join("mail/echo@chat.test")
        }

        fn create(&self) -> Result<Made, CreateError> {
            create_account(&self.config, &self.password_file())
        }

        fn can_log_in(&self) -> bool {
            let password = password::read(&self.password_file()).unwrap().unwrap();
            let login = Authenticator::new(&self.config).login(
                b"echo@chat.test",
                password.as_bytes(),
                None,
            );
            matches!(login, Ok(Login::Known(_)))
        }
    }

    #[test]
    fn the_account_is_made_once_and_takes_a_password_that_only_its_owner_reads() {
        let relay = Relay::new();
        assert_eq!(relay.create().unwrap(), Made::New);
        assert!(relay.can_log_in());
        let mode = fs::metadata(relay.password_file()).unwrap().permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        let password = fs::read(relay.password_file()).unwrap();
        assert_eq!(relay.create().unwrap(), Made::Before);
        assert_eq!(fs::read(relay.password_file()).unwrap(), password);
    }

    #[test]
    fn an_account_that_expired_is_made_again_with_the_same_password() {
        let relay = Relay::new();
        relay.create().unwrap();
        let password = fs::read(relay.password_file()).unwrap();
        fs::remove_dir_all(relay.mailbox()).unwrap();
        assert_eq!(relay.create().unwrap(), Made::New);
        assert_eq!(fs::read(relay.password_file()).unwrap(), password);
        assert!(relay.can_log_in());
    }

    #[test]
    fn an_account_whose_password_nobody_knows_is_left_alone() {
        let relay = Relay::new();
        relay.create().unwrap();
        let hash = fs::read(relay.mailbox().join("password")).unwrap();
        fs::remove_file(relay.password_file()).unwrap();
        let error = relay.create().unwrap_err();
        assert!(matches!(error, CreateError::Taken { .. }), "{error}");
        assert!(error.to_string().contains("echo@chat.test: "), "{error}");
        assert!(!relay.password_file().exists());
        assert_eq!(fs::read(relay.mailbox().join("password")).unwrap(), hash);
    }
}
