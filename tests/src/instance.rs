//! A private relay of a test's own: real Postfix and Dovecot on ports of their own.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::ffi::OsString;
use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::dovecot;
use crate::endpoints::Endpoints;
use crate::imap::{Answer, Imap, Security};
use crate::mail::Mail;
use crate::outside::Outside;
use crate::process;
use crate::smtp::{Door, Reply, Smtp};
use crate::wait;

/// Long enough for a first start that still has to build the modules, or to make a Debian tree.
const START: Duration = Duration::from_secs(900);

/// The variable of the environment with a directory for the whole logs of relays whose tests fail.
const KEEP_LOGS: &str = "CHATMAIL_TEST_KEEP_LOGS";

/// Lines of each log shown when a test fails.
const LOG_TAIL: usize = 40;

/// What a relay is to be like.
#[derive(Debug, Default)]
pub struct Builder {
    params: Vec<(String, String)>,
    push_url: Option<String>,
    dovecot_settings: String,
    /// Further arguments of `cargo xtask relay`.
    arguments: Vec<OsString>,
}

impl Builder {
    /// Sets a key of its `chatmail.ini`.
    pub fn param(mut self, key: &str, value: impl ToString) -> Builder {
        self.params.push((key.to_owned(), value.to_string()));
        self
    }

    /// Where it posts notifications.
    pub fn push_url(mut self, url: String) -> Builder {
        self.push_url = Some(url);
        self
    }

    /// Settings for Dovecot that come after the rendered ones and so take their place, blocks
    /// included. May be called again.
    pub fn dovecot_settings(mut self, settings: &str) -> Builder {
        self.dovecot_settings.push_str(settings);
        self.dovecot_settings.push('\n');
        self
    }

    /// Exchanges mail with a relay of another domain, which runs.
    pub fn peer(mut self, peer: &Instance) -> Builder {
        self.arguments.extend(["--peer".into(), peer.dir().into()]);
        self
    }

    /// Sends mail for a domain to this server.
    pub fn route(mut self, domain: &str, server: &Outside) -> Builder {
        let route = format!("{domain}={}", server.address());
        self.arguments.extend(["--route".into(), route.into()]);
        self
    }

    /// Starts it and waits until everything answers.
    ///
    /// # Panics
    ///
    /// If it does not come up; the message holds what it said.
    #[track_caller]
    pub fn start(self) -> Instance {
        match self.try_start() {
            Ok(instance) => instance,
            Err(error) => panic!("the private relay did not start: {error}"),
        }
    }

    fn try_start(self) -> io::Result<Instance> {
        let xtask = xtask()?;
        let temporary = reachable_tempdir()?;
        let dir = temporary.path().join("relay");
        let output = temporary.path().join("output");
        let mut command = Command::new(&xtask);
        command
            .args(["relay", "--base-port", "auto", "--dir"])
            .arg(&dir);
        let config = temporary.path().join("chatmail.ini");
        fs::write(&config, ini(&self.params))?;
        command.arg("--config").arg(config);
        if let Some(version) = dovecot::wanted() {
            command.args(["--dovecot", version.as_str()]);
        }
        if let Some(url) = &self.push_url {
            command.args(["--push-url", url]);
        }
        if !self.dovecot_settings.is_empty() {
            let settings = temporary.path().join("dovecot-settings.conf");
            fs::write(&settings, &self.dovecot_settings)?;
            command.arg("--dovecot-settings").arg(settings);
        }
        command.args(&self.arguments);
        let log = File::create(&output)?;
        let supervisor = command
            .stdin(Stdio::null())
            .stderr(log.try_clone()?)
            .stdout(log)
            .spawn()?;
        let mut instance = Instance {
            endpoints: Endpoints::default(),
            dir,
            supervisor,
            xtask,
            temporary,
        };
        let ready = wait::poll(START, || {
            match (
                Endpoints::load(&instance.dir),
                instance.supervisor.try_wait(),
            ) {
                (Ok(endpoints), Ok(None)) => Some(Ok(endpoints)),
                (_, Ok(Some(status))) => Some(Err(format!("it ended with {status}"))),
                _ => None,
            }
        });
        match ready {
            Some(Ok(endpoints)) => {
                instance.endpoints = endpoints;
                Ok(instance)
            }
            Some(Err(why)) => Err(io::Error::other(format!("{why}\n{}", instance.logs()))),
            None => Err(io::Error::other(format!(
                "not ready after {START:?}\n{}",
                instance.logs()
            ))),
        }
    }
}

/// A running relay. It stops with this value and leaves nothing behind; if the test is failing,
/// the ends of its logs are printed first.
pub struct Instance {
    endpoints: Endpoints,
    dir: PathBuf,
    supervisor: Child,
    xtask: PathBuf,
    temporary: TempDir,
}

/// An address and its password; it exists once somebody logs in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// `localpart@domain`.
    pub address: String,
    /// Long enough for the defaults.
    pub password: String,
}

impl Instance {
    /// A relay with the defaults.
    #[track_caller]
    pub fn start() -> Instance {
        Instance::with().start()
    }

    /// A relay with wishes.
    pub fn with() -> Builder {
        Builder::default()
    }

    /// Where it listens, as of its start.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// Where it listens now: process ids change when one had to be restarted.
    pub fn current_endpoints(&self) -> io::Result<Endpoints> {
        Endpoints::load(&self.dir)
    }

    /// The directory of the relay.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The process that watches over the others.
    pub fn supervisor_pid(&self) -> u32 {
        self.supervisor.id()
    }

    /// An address of this relay that nobody used before. `name` has at most seven characters.
    pub fn new_account(&self, name: &str) -> Account {
        // All tests of a program count together, each name for itself.
        static COUNTS: Mutex<BTreeMap<String, u32>> = Mutex::new(BTreeMap::new());
        let mut counts = COUNTS.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(name.to_owned()).or_default();
        *count += 1;
        // Nine characters in all, as relays want them.
        let digits = 9 - name.len();
        let number = format!("{count:0digits$}");
        assert_eq!(
            number.len(),
            digits,
            "{name} is too long, or too often used"
        );
        Account {
            address: format!("{name}{number}@{}", self.endpoints.domain),
            password: format!("correct horse {name}{count}"),
        }
    }

    /// As [`Instance::new_account`], and logged in once.
    #[track_caller]
    pub fn account(&self, name: &str) -> Account {
        let account = self.new_account(name);
        let mut imap = self.imap(&account);
        imap.command("LOGOUT").expect("LOGOUT");
        account
    }

    /// Logs in over IMAP with TLS.
    #[track_caller]
    pub fn imap(&self, account: &Account) -> Imap {
        match Imap::login_to(&self.endpoints, &account.address, &account.password) {
            Ok(imap) => imap,
            Err(error) => panic!("IMAP login of {}: {error}", account.address),
        }
    }

    /// Logs in over SMTP.
    #[track_caller]
    pub fn smtp(&self, door: Door, account: &Account) -> Smtp {
        match Smtp::login_to(&self.endpoints, door, &account.address, &account.password) {
            Ok(smtp) => smtp,
            Err(error) => panic!("SMTP login of {}: {error}", account.address),
        }
    }

    /// Tries to log in over IMAP with TLS; the answer may be a refusal.
    #[track_caller]
    pub fn try_imap(&self, address: &str, password: &str) -> Answer {
        let mut imap = Imap::connect(&self.endpoints, Security::Tls).expect("IMAP");
        imap.login(address, password).expect("LOGIN")
    }

    /// Logs in through a door and sends one message to one recipient; the reply may be a refusal.
    #[track_caller]
    pub fn send(&self, door: Door, from: &Account, to: &Account, mail: &Mail) -> Reply {
        let mut smtp = self.smtp(door, from);
        smtp.send(&from.address, &[&to.address], &mail.to_bytes())
            .expect("SMTP")
    }

    /// Sends a new encrypted message, which is accepted, and returns it.
    #[track_caller]
    pub fn send_encrypted(&self, from: &Account, to: &Account) -> Mail {
        let mail = Mail::encrypted(&from.address, &to.address);
        let reply = self.send(Door::Smtps, from, to, &mail);
        assert_eq!(reply.code, 250, "{reply}");
        mail
    }

    /// The addresses that have a directory.
    #[track_caller]
    pub fn addresses(&self) -> BTreeSet<String> {
        fs::read_dir(&self.endpoints.mailboxes_dir)
            .expect("mailboxes")
            .map(|entry| entry.expect("mailboxes").file_name())
            .map(|name| name.to_string_lossy().into_owned())
            .filter(|name| name.contains('@'))
            .collect()
    }

    /// What an account's `metadata.json` holds; `Null` if there is none.
    #[track_caller]
    pub fn metadata_json(&self, account: &Account) -> Value {
        match fs::read(self.mailbox(account).join("metadata.json")) {
            Ok(text) => serde_json::from_slice(&text).expect("metadata.json"),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Value::Null,
            Err(error) => panic!("metadata.json: {error}"),
        }
    }

    /// A program of the Dovecot it runs on, such as `doveadm`. See [`Endpoints::dovecot`].
    pub fn dovecot(&self, program: &str) -> Command {
        self.endpoints.dovecot(program)
    }

    /// The command `chatmail` that it was started with.
    pub fn chatmail(&self) -> Command {
        // In `release`, whatever profile the test is of.
        let target = self.xtask.ancestors().nth(2).unwrap_or(&self.xtask);
        Command::new(target.join("release/chatmail"))
    }

    /// The mailbox directory of an account.
    pub fn mailbox(&self, account: &Account) -> PathBuf {
        self.endpoints.mailbox(&account.address)
    }

    /// Waits for that many messages in an account's INBOX and returns them all.
    #[track_caller]
    pub fn wait_for_messages(&self, account: &Account, count: usize) -> Vec<Vec<u8>> {
        wait::until(&format!("{count} messages in the INBOX"), || {
            let messages = self.imap(account).inbox().expect("INBOX");
            (messages.len() >= count).then_some(messages)
        })
    }

    /// What stands in one of its logs: `postfix`, `dovecot`, `chatmail-milter`, `chatmail-serve`.
    pub fn log(&self, name: &str) -> String {
        let log = self.dir.join("log").join(format!("{name}.log"));
        String::from_utf8_lossy(&fs::read(log).unwrap_or_default()).into_owned()
    }

    /// Waits until a line is in one of its logs: Dovecot writes some a moment after the answer that they are about.
    #[track_caller]
    pub fn wait_for_log(&self, name: &str, what: &str, is_it: impl Fn(&str) -> bool) {
        wait::until_true(what, || self.log(name).lines().any(&is_it));
    }

    /// Copies its logs, which are gone with it, to the directory that [`KEEP_LOGS`] names.
    fn keep_logs(&self) {
        let Some(kept) = env::var_os(KEEP_LOGS).filter(|kept| !kept.is_empty()) else {
            return;
        };
        let (dir, kept) = (self.dir.join("log"), PathBuf::from(kept));
        let name = self.temporary.path().file_name().unwrap_or_default();
        let copied =
            fs::create_dir_all(&kept).and_then(|()| process::copy_tree(&dir, &kept.join(name)));
        match copied {
            Ok(()) => eprintln!("its whole logs: {}", kept.join(name).display()),
            Err(error) => eprintln!("cannot keep its logs in {}: {error}", kept.display()),
        }
    }

    /// The ends of all its logs.
    pub fn logs(&self) -> String {
        let mut files = vec![self.temporary.path().join("output")];
        collect_logs(&self.dir, 3, &mut files);
        let mut text = String::new();
        for file in files {
            let bytes = fs::read(&file).unwrap_or_default();
            let content = String::from_utf8_lossy(&bytes);
            // Nobody scans the QR code of a failed test.
            let lines: Vec<_> = content
                .lines()
                .filter(|line| !line.contains(['█', '▀']))
                .collect();
            let tail = &lines[lines.len().saturating_sub(LOG_TAIL)..];
            text.push_str(&format!("--- {}\n{}\n", file.display(), tail.join("\n")));
        }
        text
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.logs());
            self.keep_logs();
        }
        let stopped = Command::new(&self.xtask)
            .args(["relay", "--stop"])
            .arg(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .status();
        if !matches!(stopped, Ok(status) if status.success()) {
            eprintln!("stopping {} failed: {stopped:?}", self.dir.display());
            self.supervisor.kill().ok();
        }
        let ended = wait::poll(wait::DEADLINE, || self.supervisor.try_wait().ok().flatten());
        if ended.is_none() {
            self.supervisor.kill().ok();
            self.supervisor.wait().ok();
        }
    }
}

/// A temporary directory that the mail user and Postfix can get to what is theirs in.
pub fn reachable_tempdir() -> io::Result<TempDir> {
    let temporary = tempfile::Builder::new().prefix("chatmail-").tempdir()?;
    fs::set_permissions(temporary.path(), Permissions::from_mode(0o755))?;
    Ok(temporary)
}

/// What a test's relay has unless the test says otherwise. A machine that builds and runs tests is
/// busier than any relay may be that takes new accounts.
const DEFAULTS: [(&str, &str); 4] = [
    ("mail_domain", "chat.test"),
    ("max_load_1m", "10000"),
    ("min_available_memory", "1M"),
    ("min_free_disk_space", "1M"),
];

fn ini(params: &[(String, String)]) -> String {
    let mut text = String::from("[params]\n");
    for (key, value) in DEFAULTS {
        if !params.iter().any(|(name, _)| name == key) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    for (key, value) in params {
        text.push_str(&format!("{key} = {value}\n"));
    }
    text
}

fn collect_logs(dir: &Path, depth: usize, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if depth > 0 && path.is_dir() && !path.is_symlink() {
            collect_logs(&path, depth - 1, files);
        } else if path.extension().is_some_and(|extension| extension == "log") {
            files.push(path);
        }
    }
}

/// The built `xtask`: the one beside the running test, brought up to date once.
pub(crate) fn xtask() -> io::Result<PathBuf> {
    static XTASK: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    XTASK
        .get_or_init(|| build_xtask().map_err(|error| error.to_string()))
        .clone()
        .map_err(io::Error::other)
}

fn build_xtask() -> io::Result<PathBuf> {
    let test = env::current_exe()?;
    let profile = target_profile_dir(&test)?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build
        .args(["build", "--quiet", "--package", "xtask"])
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    if profile.ends_with("release") {
        build.arg("--release");
    }
    // Build scripts ask for some of what cargo tells the test about itself, and would run again.
    for (name, _) in env::vars_os() {
        let name_is = |prefix| name.as_encoded_bytes().starts_with(prefix);
        if name_is(b"CARGO_PKG_") || name_is(b"CARGO_MANIFEST_") || name_is(b"CARGO_CRATE_") {
            build.env_remove(name);
        }
    }
    let status = build.status()?;
    if !status.success() {
        return Err(io::Error::other(format!("building xtask: {status}")));
    }
    Ok(profile.join("xtask"))
}

/// `target/debug` of `target/debug/deps/login-0123456789abcdef`.
fn target_profile_dir(test: &Path) -> io::Result<&Path> {
    test.parent()
        .and_then(Path::parent)
        .ok_or_else(|| io::Error::other(format!("{}: not below target/", test.display())))
}

/// The `target` directory the running test was built in.
pub(crate) fn target_dir() -> io::Result<PathBuf> {
    let test = env::current_exe()?;
    let target = target_profile_dir(&test)?.parent();
    target
        .map(Path::to_owned)
        .ok_or_else(|| io::Error::other("no target directory"))
}
