//! How `echo@DOMAIN` comes into being.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chatmail_core::account;
use chatmail_core::address::Address;
use chatmail_core::auth::{hash_password, is_hash_of, is_usable_hash};
use chatmail_core::config::Config;
use chatmail_core::mailbox::Creation;
use rustix::process::geteuid;

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
        /// The password file, if there is one.
        password_file: Option<PathBuf>,
    },
    /// Somebody other than the user of this process could have created it, or can replace its content.
    NotPrivate(PathBuf),
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
            } => {
                let place = password_file
                    .as_deref()
                    .unwrap_or("standard input".as_ref());
                write!(
                    f,
                    "{}: there is such an account, and its password is not in {}; put it there, or move the mailbox away",
                    mailbox.display(),
                    place.display()
                )
            }
            CreateError::NotPrivate(path) => write!(
                f,
                "{}: has to belong to the user who runs this command, and others must not be able to replace it",
                path.display()
            ),
            CreateError::NotOwner { mailboxes, uid } => write!(
                f,
                "{}: belongs to the user with number {uid}, who alone can make an account: \
                 run this command as root or as that user",
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

/// The source of the account's password.
#[derive(Debug, Clone, Copy)]
pub enum PasswordFrom<'a> {
    /// This file, which is created if it is missing, with a random password and readable by its owner only.
    File(&'a Path),
    /// The password itself.
    Text(&'a str),
}

/// Makes the bot's account for the relay of `config`. The sign-up policy does not apply to the operator.
///
/// What is there is kept: a password without an account is used for it, as after a crash between the
/// two or when the account has expired. Runs as the owner of the mailboxes.
///
/// # Errors
///
/// [`CreateError`]; the account was not made then.
pub fn create_account(config: &Config, password: PasswordFrom<'_>) -> Result<Made, CreateError> {
    let mailboxes = config.mailboxes();
    check_owner(mailboxes.dir())?;
    let address = Address::parse(address_at(config).as_bytes(), mailboxes.domain());
    let address = address.ok_or_else(|| io::Error::other("mail_domain makes no address"))?;
    let mailbox = mailboxes.mailbox(&address);
    let taken = || CreateError::Taken {
        mailbox: mailbox.path().to_owned(),
        password_file: match password {
            PasswordFrom::File(file) => Some(file.to_owned()),
            PasswordFrom::Text(_) => None,
        },
    };
    let text = match password {
        PasswordFrom::Text(text) => text.to_owned(),
        PasswordFrom::File(file) => match password::read(file)? {
            Some(text) => text,
            None if mailbox.exists()? => return Err(taken()),
            // First, or a crash would leave an account that nobody can log in to.
            None => put_random(config, file)?,
        },
    };
    match mailbox.create(&hash_password(text.as_bytes())?, SystemTime::now())? {
        Creation::Created => Ok(Made::New),
        Creation::Existed => {
            let hash = mailbox.password()?.unwrap_or_default();
            // An account that the operator has disabled has no hash, and stays disabled.
            match is_usable_hash(&hash) && !is_hash_of(&hash, text.as_bytes()) {
                true => Err(taken()),
                false => Ok(Made::Before),
            }
        }
    }
}

/// Makes the password file for the future account, readable by its owner only, unless it exists. Touches no mailbox,
/// so root can do it in a directory where the mail user cannot write.
///
/// # Errors
///
/// [`CreateError::NotPrivate`] if somebody else could have created the file, or can replace it.
pub fn create_password(config: &Config, file: &Path) -> Result<Made, CreateError> {
    let not_private = |path: &Path| CreateError::NotPrivate(path.to_owned());
    let own = geteuid().as_raw();
    let dir = match file.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    let found = fs::symlink_metadata(dir).map_err(|error| named(dir, error))?;
    if !found.is_dir() || found.uid() != own || found.mode() & 0o022 != 0 {
        return Err(not_private(dir));
    }
    match fs::symlink_metadata(file) {
        Ok(found) if !found.is_file() || found.uid() != own || found.nlink() != 1 => {
            Err(not_private(file))
        }
        Ok(_) => password::read(file)
            .map(|_| Made::Before)
            .map_err(CreateError::Io),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            put_random(config, file)?;
            Ok(Made::New)
        }
        Err(error) => Err(named(file, error).into()),
    }
}

fn put_random(config: &Config, file: &Path) -> io::Result<String> {
    let password = account::random(config)?.password;
    put_line(file, &password, Readers::Owner)?;
    Ok(password)
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
    use std::os::unix::fs::{PermissionsExt, symlink};

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
            create_account(&self.config, PasswordFrom::File(&self.password_file()))
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

    #[test]
    fn a_password_that_is_not_that_of_the_account_is_an_error() {
        let relay = Relay::new();
        let create = |text| create_account(&relay.config, PasswordFrom::Text(text));
        assert_eq!(create("correct horse").unwrap(), Made::New);
        assert_eq!(create("correct horse").unwrap(), Made::Before);
        let error = create("wrong horse").unwrap_err();
        assert!(matches!(error, CreateError::Taken { .. }), "{error}");
        fs::write(relay.mailbox().join("password"), "").unwrap();
        assert_eq!(create("correct horse").unwrap(), Made::Before);
    }

    #[test]
    fn a_password_is_made_once_and_only_where_nobody_else_can_put_one() {
        let relay = Relay::new();
        let create = |name: &str| create_password(&relay.config, &relay.base.path().join(name));
        assert_eq!(create("password").unwrap(), Made::New);
        let password = fs::read(relay.password_file()).unwrap();
        assert_eq!(create("password").unwrap(), Made::Before);
        assert_eq!(fs::read(relay.password_file()).unwrap(), password);
        assert_eq!(relay.create().unwrap(), Made::New);
        assert!(relay.can_log_in());

        symlink("password", relay.base.path().join("link")).unwrap();
        symlink("nowhere", relay.base.path().join("dangling")).unwrap();
        fs::hard_link(relay.password_file(), relay.base.path().join("hard")).unwrap();
        let shared = relay.base.path().join("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o770)).unwrap();
        symlink("shared", relay.base.path().join("linked")).unwrap();
        for name in [
            "link", "dangling", "hard", "password", "shared/x", "linked/x",
        ] {
            let error = create(name).unwrap_err();
            assert!(
                matches!(error, CreateError::NotPrivate(_)),
                "{name}: {error}"
            );
        }
        assert!(!relay.base.path().join("nowhere").exists());
        assert_eq!(fs::read_dir(shared).unwrap().count(), 0);
    }
}
