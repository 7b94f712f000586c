//! A whole Debian system of a test's own, booted with systemd or OpenRC, and a relay on it as its operator would set it up:
//! Debian's Postfix and Dovecot on their own ports, stock paths, and what we ship to start our services.
//!
//! It runs beside everything else in namespaces (namespaces(7)) and a control group of its own. Its disk is that of the
//! system with the Dovecot under test, with a layer in memory on top, so nothing is left of it.

mod syslog;

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tempfile::TempDir;

use crate::deltachat;
use crate::dovecot::{Modules, dovecot};
use crate::endpoints::Endpoints;
use crate::instance::{Account, target_dir};
use crate::process::{self, Process, Signal};
use crate::sink::Sink;
use crate::wait;
use syslog::Syslog;

const BOOT: &str = include_str!("boot.sh");
const RELAY: &str = include_str!("relay.sh");
const SYSTEMD: &str = include_str!("systemd.sh");
const OPENRC: &str = include_str!("openrc.sh");

/// The one that `relay.sh` gives it.
const DOMAIN: &str = "_chat.test";

/// The repository, whose units are under test.
const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What `boot.sh` needs to be allowed to.
const TRY: &str = "mount -t tmpfs tmpfs /mnt
mkdir /mnt/cgroup /mnt/upper /mnt/work /mnt/root
mount -t cgroup2 cgroup2 /mnt/cgroup
group=/mnt/cgroup/chatmail-try-$(cat /proc/sys/kernel/random/uuid)
mkdir \"$group\"
rmdir \"$group\"
mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work overlay /mnt/root
mount -t proc proc /mnt/root/proc
mount -t sysfs sysfs /mnt/root/sys";

/// Removes what systemd has made below the control group, and that.
const TIDY: &str = "mount -t cgroup2 cgroup2 \"$1/cgroup\" &&
find \"$1/cgroup/$(basename \"$1\")\" -depth -type d -exec rmdir {} +";

/// Lines shown of the log when a test fails.
const TAIL: usize = 80;

/// What starts everything else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Init {
    /// Of every Debian.
    Systemd,
    /// Of Alpine. Debian has it, too; here it is in the trees of other releases only.
    OpenRc,
}

impl Init {
    /// The name of the first process.
    fn name(self) -> &'static str {
        match self {
            Init::Systemd => "systemd",
            Init::OpenRc => "openrc-init",
        }
    }

    /// Where its program is.
    fn program(self) -> &'static str {
        match self {
            Init::Systemd => "lib/systemd/systemd",
            Init::OpenRc => "sbin/openrc-init",
        }
    }

    fn is_ready(self, process: u32) -> bool {
        match self {
            Init::Systemd => inside(process, &["systemctl", "is-system-running"])
                .output()
                // Degraded: something failed that this host has for itself.
                .is_ok_and(|output| [&b"running\n"[..], b"degraded\n"].contains(&&*output.stdout)),
            Init::OpenRc => fs::read_to_string(root_of(process).join("run/openrc/softlevel"))
                .is_ok_and(|level| level.trim_end() == "default"),
        }
    }
}

/// A running system. It ends with this value and leaves nothing behind; if the test is failing, the end of its log is
/// printed first.
pub struct Host {
    dir: TempDir,
    supervisor: Child,
    /// The process that is number 1 inside.
    first: u32,
    /// Of a system whose log service is this test.
    syslog: Option<Syslog>,
}

impl Host {
    /// Why there can be none on this system, which may refuse to mount or to make namespaces. `None`: it can.
    pub fn obstacle() -> Option<String> {
        let namespaces = ["--cgroup", "--ipc", "--mount", "--net", "--pid", "--uts"];
        let tried = Command::new("unshare")
            .args(namespaces)
            .args(["--fork", "--", "sh", "-e", "-c", TRY])
            .stdin(Stdio::null())
            .output();
        match tried {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Some(format!("unshare: {error}")),
        }
    }

    /// Boots one, whose root directory is like this one, and waits until it is done.
    ///
    /// # Errors
    ///
    /// It does not boot; the error says what it said.
    pub fn boot(root: &Path, init: Init) -> io::Result<Host> {
        let dir = tempfile::Builder::new()
            .prefix("chatmail-host-")
            .tempdir()?;
        for name in ["cgroup", "disk", "root"] {
            fs::create_dir(dir.path().join(name))?;
        }
        let script = dir.path().join("boot.sh");
        fs::write(&script, BOOT)?;
        let log = fs::File::create(dir.path().join("log"))?;
        let own_namespace = ["--mount", "--propagation", "private", "--"];
        let mut supervisor = Command::new("setpriv")
            // Should the tests be killed, it goes with them.
            .args(["--pdeathsig", "KILL", "unshare"])
            .args(own_namespace)
            .arg("sh")
            .args([script.as_path(), Path::new("prepare"), dir.path(), root])
            .arg(init.name())
            .args([repository()?, fs::canonicalize(target_dir()?)?])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let booted = wait::poll(wait::DEADLINE, || {
            if !matches!(supervisor.try_wait(), Ok(None)) {
                return Some(None);
            }
            let tree = process::tree(supervisor.id());
            let first = tree.iter().find(|process| process.name == init.name())?.pid;
            init.is_ready(first).then_some(Some(first))
        });
        let Some(Some(first)) = booted else {
            supervisor.kill().ok();
            supervisor.wait().ok();
            let log = fs::read(dir.path().join("log")).unwrap_or_default();
            let log = String::from_utf8_lossy(&log).into_owned();
            tidy(dir.path());
            return Err(io::Error::other(format!("it did not boot: {log}")));
        };
        let mut host = Host {
            dir,
            supervisor,
            first,
            syslog: None,
        };
        if init == Init::OpenRc {
            host.syslog = Some(Syslog::start(&host.path("/dev/log"))?);
        }
        Ok(host)
    }

    /// Where it is put together; gone with it.
    pub fn directory(&self) -> &Path {
        self.dir.path()
    }

    /// All its processes, with the numbers that they have here, and the one that waits for its end.
    pub fn processes(&self) -> Vec<Process> {
        process::tree(self.supervisor.id())
    }

    /// A command line inside.
    pub fn command(&self, words: &[&str]) -> Command {
        inside(self.first, words)
    }

    /// Runs a command line inside to its end.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().expect("nsenter")
    }

    /// What a command line inside prints. It has to succeed.
    ///
    /// # Panics
    ///
    /// If it does not.
    #[track_caller]
    pub fn ask(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Where a file of it can be reached from outside.
    pub fn path(&self, path: &str) -> PathBuf {
        root_of(self.first).join(path.trim_start_matches('/'))
    }

    /// Does something as a process of this system with its network would: what it connects to is there, and what it
    /// opens can be reached from there.
    #[track_caller]
    pub fn on_its_network<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let network = fs::File::open(format!("/proc/{}/ns/net", self.first)).expect("its network");
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let kind = Some(LinkNameSpaceType::Network);
                move_into_link_name_space(network.as_fd(), kind).expect("setns");
                work()
            });
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// What a unit says of itself under this name, such as `ActiveState`.
    #[track_caller]
    pub fn property(&self, unit: &str, name: &str) -> String {
        let property = format!("--property={name}");
        let value = self.ask(&["systemctl", "show", "--value", &property, unit]);
        value.trim_end().to_owned()
    }

    /// What was logged.
    pub fn log(&self) -> String {
        match &self.syslog {
            Some(syslog) => syslog.text(),
            None => {
                let output = self.run(&["journalctl", "--no-pager"]);
                String::from_utf8_lossy(&output.stdout).into_owned()
            }
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL)..];
            eprintln!("--- log\n{}", tail.join("\n"));
        }
        // With the first process of its namespace all others end.
        process::signal(self.first, Signal::KILL).ok();
        self.supervisor.wait().ok();
        tidy(self.dir.path());
    }
}

fn repository() -> io::Result<PathBuf> {
    fs::canonicalize(REPOSITORY)
}

fn root_of(process: u32) -> PathBuf {
    PathBuf::from(format!("/proc/{process}/root"))
}

fn inside(first: u32, words: &[&str]) -> Command {
    let mut command = Command::new("nsenter");
    command
        .args(["--all", "--target", &first.to_string(), "--"])
        .args([
            "env",
            "-i",
            "PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ])
        .args(words)
        .stdin(Stdio::null());
    command
}

fn tidy(dir: &Path) {
    let tidied = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "--"])
        .args(["sh", "-c", TIDY, "tidy"])
        .arg(dir)
        .output();
    if !matches!(&tidied, Ok(output) if output.status.success()) {
        eprintln!("the control group of {} is left: {tidied:?}", dir.display());
    }
}

/// A relay on a system of its own.
pub struct RelayHost {
    /// The system.
    pub host: Host,
    /// Where it gets to with its notifications.
    pub push: Sink,
    /// Where the relay listens, for clients [on its network](Host::on_its_network).
    pub endpoints: Endpoints,
}

impl RelayHost {
    /// Boots a system with the Dovecot under test and makes a relay of it. `None`, and a word about it, where that
    /// cannot be.
    ///
    /// # Panics
    ///
    /// If one of both fails.
    #[track_caller]
    pub fn start(init: Init) -> Option<RelayHost> {
        if let Some(why) = Host::obstacle() {
            eprintln!("left out: this system boots no other one: {why}");
            return None;
        }
        let modules = Modules::build(dovecot()).expect("modules")?;
        if !modules.root.join(init.program()).exists() {
            eprintln!(
                "left out: {} has no {}",
                modules.root.display(),
                init.name()
            );
            return None;
        }
        let host = Host::boot(&modules.root, init).expect("a system");
        let push = host.on_its_network(Sink::start).expect("a push service");
        let programs = target_dir().and_then(|target| fs::canonicalize(target.join("release")));
        let programs = programs.expect("programs");
        let words = [
            programs.as_path(),
            &modules.auth,
            &modules.mail,
            modules.settings.as_deref().unwrap_or(Path::new("")),
        ];
        let mut made = host.command(&["sh", "-c", RELAY, "relay.sh"]);
        let made = made.args(words).arg(push.url()).output().expect("nsenter");
        assert!(made.status.success(), "{made:?}");
        let start = match init {
            Init::Systemd => SYSTEMD,
            Init::OpenRc => OPENRC,
        };
        // To a file: OpenRC's daemons keep it open.
        let output = host.directory().join("output");
        let file = fs::File::create(&output).expect("a file");
        let started = host
            .command(&["sh", "-c", start, "start.sh"])
            .arg(repository().expect("the repository"))
            .stdout(file.try_clone().expect("a file"))
            .stderr(file)
            .status();
        let output = fs::read_to_string(&output).expect("a file");
        assert!(started.is_ok_and(|status| status.success()), "{output}");
        let endpoints = Endpoints {
            domain: DOMAIN.to_owned(),
            host: "127.0.0.1".to_owned(),
            imaps: 993,
            imap: 143,
            smtps: 465,
            submission: 587,
            smtp: 25,
            ca_certificate: host.path("/etc/ssl/certs/ca.pem"),
            dovecot_version: dovecot(),
            ..Endpoints::default()
        };
        Some(RelayHost {
            host,
            push,
            endpoints,
        })
    }

    /// An address that nobody used before. `name` has nine characters.
    pub fn account(&self, name: &str) -> Account {
        Account {
            address: format!("{name}@{}", self.endpoints.domain),
            password: format!("correct horse {name}"),
        }
    }

    /// Puts the program of Delta Chat's core where services find it.
    #[track_caller]
    pub fn install_core(&self) {
        let core = deltachat::rpc_server().expect("Delta Chat's core");
        let installed = self.host.path("/usr/local/bin/deltachat-rpc-server");
        process::copy_program(&core, &installed).expect("a copy");
    }
}
