//! Echo bots of a relay.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use tempfile::TempDir;

use crate::instance::{Account, reachable_tempdir};
use crate::process::{self, Process, Signal};
use crate::{Instance, deltachat, wait};

/// A user who owns nothing, with a group of the same number.
pub const NOBODY: u32 = 65_534;

/// Where bots run: with a user of their own, who cannot look into the mailboxes.
pub struct BotHost<'r> {
    relay: &'r Instance,
    directory: TempDir,
    chatmail: PathBuf,
    core: PathBuf,
}

impl<'r> BotHost<'r> {
    /// For bots of this relay, none of which has an account yet.
    pub fn new(relay: &'r Instance) -> BotHost<'r> {
        let directory = reachable_tempdir().expect("temporary directory");
        let path = |name: &str| directory.path().join(name);
        // What is below target/ may be out of the bot's reach.
        let core = path("deltachat-rpc-server");
        let installed = deltachat::rpc_server().unwrap_or_else(|error| panic!("{error}"));
        process::copy_program(&installed, &core).expect("a copy");
        fs::copy(&relay.endpoints().config, path("chatmail.ini")).expect("a copy");
        fs::set_permissions(path("chatmail.ini"), fs::Permissions::from_mode(0o644))
            .expect("its mode");
        let mail_user = fs::metadata(&relay.endpoints().mailboxes_dir)
            .expect("mailboxes")
            .uid();
        for (name, owner) in [("account", mail_user), ("state", NOBODY)] {
            fs::create_dir(path(name)).expect("a directory");
            chown(path(name), Some(owner), Some(owner)).expect("its owner");
        }
        let serve = format!("/proc/{}/exe", relay.endpoints().serve_pid);
        let chatmail = path("chatmail");
        process::copy_program(Path::new(&serve), &chatmail).expect("a copy");
        BotHost {
            relay,
            chatmail,
            core,
            directory,
        }
    }

    /// A file of the host.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Makes a file of the host.
    pub fn write(&self, name: &str, content: &[u8]) -> PathBuf {
        fs::write(self.path(name), content).expect("a file");
        self.path(name)
    }

    /// A command of `chatmail` on the relay's configuration, as a user.
    pub fn chatmail(&self, user: u32, name: &str) -> Command {
        let mut command = Command::new(&self.chatmail);
        command
            .arg(name)
            .arg("--config")
            .arg(self.path("chatmail.ini"))
            .stdin(Stdio::null())
            .uid(user)
            .gid(user);
        command
    }

    /// `chatmail echobot` as a user.
    pub fn command(&self, user: u32, arguments: &[&str]) -> Command {
        let mut command = self.chatmail(user, "echobot");
        command
            .arg("--state-dir")
            .arg(self.path("state"))
            .args(arguments);
        command
    }

    /// What tells core where the relay is.
    pub fn relay_arguments(&self) -> [String; 7] {
        let endpoints = self.relay.endpoints();
        let [imap, smtp] = [endpoints.imaps, endpoints.smtps].map(|port| port.to_string());
        [
            "--host".to_owned(),
            endpoints.host.clone(),
            "--imap-port".to_owned(),
            imap,
            "--smtp-port".to_owned(),
            smtp,
            "--any-certificate".to_owned(),
        ]
    }

    /// The program of core.
    pub fn core(&self) -> &Path {
        &self.core
    }

    /// `chatmail echobot --create-account` as a user.
    pub fn create(&self, user: u32) -> std::process::Output {
        let mut command = self.command(user, &["--create-account", "--password-file"]);
        let directory = if user == NOBODY { "state" } else { "account" };
        command.arg(self.path(directory).join("password"));
        command.output().expect("the command")
    }

    /// Makes the account, as its unit does, and hands the password over, as systemd does.
    pub fn create_account(&self) {
        let mailboxes = fs::metadata(&self.relay.endpoints().mailboxes_dir).expect("mailboxes");
        for (user, word) in [(0, "is made"), (mailboxes.uid(), "nothing was done")] {
            let made = self.create(user);
            let said = String::from_utf8_lossy(&made.stderr).into_owned();
            assert!(made.status.success() && said.contains(word), "{said}");
        }
        let password = self.path("password");
        fs::copy(self.path("account/password"), &password).expect("a copy");
        chown(&password, Some(NOBODY), Some(NOBODY)).expect("its owner");
    }

    /// The bot's.
    pub fn password(&self) -> String {
        let password = fs::read_to_string(self.path("password")).expect("the password");
        password.trim_end().to_owned()
    }

    /// The bot's, as any client would log in to it.
    pub fn account(&self) -> Account {
        Account {
            address: format!("echo@{}", self.relay.endpoints().domain),
            password: self.password(),
        }
    }

    /// A bot that can be started.
    pub fn bot(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(NOBODY, &["--log-level", "debug"]);
        command.args(self.relay_arguments());
        command.arg("--password-file").arg(self.path("password"));
        if !arguments.contains(&"--rpc-server") {
            command.arg("--rpc-server").arg(&self.core);
        }
        command.args(arguments);
        command
    }

    /// Starts it and waits until it takes messages.
    pub fn start(&self) -> Bot {
        let number = self.log_files().len();
        let log = self.path(&format!("{number}.log"));
        let file = File::create(&log).expect("a log");
        let child = self.bot(&[]).stderr(file).spawn().expect("the bot");
        let bot = Bot { child, log };
        wait::until_true("the bot", || bot.log().contains("ready"));
        bot
    }

    fn log_files(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.directory.path()).expect("the directory");
        let files = entries.map(|entry| entry.expect("the directory").path());
        files
            .filter(|path| path.extension().is_some_and(|kind| kind == "log"))
            .collect()
    }

    /// What all bots logged.
    pub fn logs(&self) -> String {
        let logs = self.log_files();
        let logs = logs
            .iter()
            .map(|log| fs::read_to_string(log).expect("a log"));
        logs.collect()
    }

    /// As it is printed.
    pub fn invite_link(&self) -> String {
        let output = self
            .command(NOBODY, &["--print-link"])
            .output()
            .expect("the link");
        assert!(output.status.success());
        let mode = |path: &Path| fs::metadata(path).expect("a mode").permissions().mode() & 0o777;
        assert_eq!(mode(&self.path("state")), 0o700);
        let link = String::from_utf8(output.stdout).expect("a link");
        link.trim_end().to_owned()
    }
}

/// A running bot, killed when the test ends.
pub struct Bot {
    child: Child,
    log: PathBuf,
}

impl Bot {
    /// What it logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).expect("a log")
    }

    /// How many it has sent.
    pub fn answers(&self) -> usize {
        self.log().matches(" answered id=").count()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The core that it drives, if there is one now.
    pub fn try_core(&self) -> Option<Process> {
        let mut tree = process::tree(self.child.id()).into_iter();
        tree.find(|process| process.pid != self.child.id())
    }

    /// The core that it drives.
    pub fn core(&self) -> Process {
        wait::until("core", || self.try_core())
    }

    /// At once, as if the power failed.
    pub fn kill(&mut self) {
        self.child.kill().expect("kill");
        self.child.wait().expect("its end");
    }

    /// As a service is stopped.
    pub fn stop(&mut self) -> ExitStatus {
        process::signal(self.child.id(), Signal::TERM).expect("SIGTERM");
        self.child.wait().expect("its end")
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log());
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
