//! Expiry and report over many mailboxes, next to a plain script with the same rules.
//!
//! The messages are empty files with the names Dovecot gives: both sides read names. Every tenth mailbox has not been used
//! for a hundred days, and half of all messages are too old.

use std::cell::Cell;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use rustix::fs::statvfs;
use rustix::process::{Pid, WaitId, WaitIdOptions, geteuid, waitid};

use super::figures::Figures;
use super::table::{Compared, Row, Table, Target};
use super::{Options, usage};
use crate::command::{cargo, target_directory, workspace};
use crate::interrupt;
use crate::relay::users::{self, User};
use crate::terminal::{say, stage};

const DOMAIN: &str = "bench.test";
const MESSAGES: u64 = 20;
const DAY: u64 = 86_400;

/// A mailbox with its four directories, its messages and five other files.
const INODES: u64 = 4 + MESSAGES + 5;

/// What a mailbox takes on a disk with blocks of 4 KiB; files of a few bytes take one.
const BYTES: u64 = 9 * 4096;

/// Ours may use so much of what the script does.
const TARGET: f64 = 0.2;

/// What one run has used.
struct Used {
    cpu: f64,
    wall: f64,
    /// MiB.
    peak: f64,
}

/// The same work of both.
struct Work {
    what: &'static str,
    words: &'static [&'static str],
    /// How long the scripts of earlier relays took, scaled to 100,000 mailboxes, on another machine.
    reference: &'static str,
}

const DRY: Work = Work {
    what: "dry expiry",
    words: &["expire"],
    reference: "16 s",
};
const REPORT: Work = Work {
    what: "report",
    words: &["usage"],
    reference: "11 s",
};
const REMOVE: Work = Work {
    what: "expiry",
    words: &["expire", "--remove"],
    reference: "125 s",
};

pub(super) fn run(options: &Options) -> Result<Table> {
    interrupt::listen()?;
    stage("building", || {
        cargo("build --release --package chatmail-relay")
    })?;
    let base = match &options.dir {
        Some(dir) => dir.clone(),
        None => workspace().join("target/bench-housekeeping"),
    };
    if base.exists() {
        bail!("{} is there already: remove it", base.display());
    }
    let load_at_start = usage::load_average()?;
    let bench = Bench::new(base, options.mailboxes)?;
    let mut rows = Vec::new();
    for (work, rounds) in [(DRY, options.rounds), (REPORT, options.rounds), (REMOVE, 1)] {
        rows.extend(bench.measure(&work, rounds)?);
    }
    Ok(Table {
        rounds: options.rounds,
        processors: thread::available_parallelism().map_or(1, usize::from),
        load_at_start,
        rows,
    })
}

/// Removed with all its mailboxes in the end.
struct Bench {
    base: PathBuf,
    mailboxes: u64,
    now: u64,
    program: PathBuf,
    /// Owns the mailboxes and does the work, if root runs this: no command works on mailboxes as root.
    user: Option<User>,
    /// Whether all mailboxes are as they should be.
    complete: Cell<bool>,
}

impl Drop for Bench {
    fn drop(&mut self) {
        say(format_args!("    removing {}", self.base.display()));
        if let Err(error) = fs::remove_dir_all(&self.base) {
            say(format_args!("    {error}"));
        }
    }
}

impl Bench {
    fn new(base: PathBuf, mailboxes: u64) -> Result<Bench> {
        let dir = base.join("mail");
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        let ini = format!(
            "[params]\nmail_domain = {DOMAIN}\nmailboxes_dir = {}\n",
            dir.display()
        );
        let user = match geteuid().is_root() {
            true => Some(users::mail_user()?),
            false => None,
        };
        give(&dir, user.as_ref())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let bench = Bench {
            program: target_directory()?.join("release/chatmail"),
            base,
            mailboxes,
            now,
            user,
            complete: Cell::new(false),
        };
        fs::write(bench.config(), ini)?;
        bench.has_room()?;
        Ok(bench)
    }

    fn config(&self) -> PathBuf {
        self.base.join("chatmail.ini")
    }

    fn has_room(&self) -> Result<()> {
        let disk = statvfs(&self.base)?;
        let (inodes, bytes) = (self.mailboxes * INODES, self.mailboxes * BYTES);
        // Some file systems make inodes as they are needed, and say 0.
        if disk.f_files > 0 && disk.f_favail < inodes + inodes / 4 {
            bail!("{inodes} inodes are needed, and too few are free: try --mailboxes with fewer");
        }
        if disk.f_bavail * disk.f_frsize < 2 * bytes {
            bail!("{bytes} bytes are needed, and too few are free: try --mailboxes with fewer");
        }
        Ok(())
    }

    /// Both, in turn; a run that removes gets mailboxes as they were before.
    fn measure(&self, work: &Work, rounds: u32) -> Result<Vec<Row>> {
        let removes = work.words.contains(&"--remove");
        let mut figures: [Figures; 3] = Default::default();
        for round in 0..rounds + u32::from(!removes) {
            for ours in [true, false] {
                interrupt::check()?;
                if !self.complete.replace(!removes) {
                    stage("making mailboxes", || self.fill())?;
                }
                say(format_args!(
                    "    {}: {}",
                    work.what,
                    if ours { "ours" } else { "the script" }
                ));
                let used = self.run(work, ours)?;
                // The first round only fills the kernel's caches.
                if removes || round > 0 {
                    let slots = figures.iter_mut();
                    for (figures, figure) in slots.zip([used.cpu, used.wall, used.peak]) {
                        let side = match ours {
                            true => &mut figures.ours,
                            false => &mut figures.bare,
                        };
                        side.push(figure);
                    }
                }
            }
        }
        let [cpu, wall, peak] = figures;
        let row = |what: &str, unit, figures| {
            Row::new(
                format!("{}: {what}", work.what),
                unit,
                figures,
                Compared::Ratio,
            )
        };
        Ok(vec![
            row("CPU", "s", cpu).target(Target::Ratio(TARGET)),
            row("wall", "s", wall).reference(work.reference),
            row("peak memory", "MiB", peak),
        ])
    }

    fn run(&self, work: &Work, ours: bool) -> Result<Used> {
        let mut command = match ours {
            true => {
                let mut command = Command::new(&self.program);
                command
                    .arg(work.words[0])
                    .arg("--config")
                    .arg(self.config());
                command.arg("--json");
                command
            }
            false => {
                let mut command = Command::new("python3");
                command.arg(workspace().join("relay/tests/housekeeping/rules.py"));
                command.arg(work.words[0]).arg(self.base.join("mail"));
                command.arg(DOMAIN);
                if work.words[0] == "expire" {
                    command.args(["20", "7", "90"]);
                }
                command
            }
        };
        command.args(&work.words[1..]);
        if let Some(user) = &self.user {
            command.uid(user.uid).gid(user.gid);
        }
        measured(&mut command)
    }

    /// Makes what is missing.
    fn fill(&self) -> Result<()> {
        let (base, mailboxes, now) = (self.base.as_path(), self.mailboxes, self.now);
        let user = self.user.as_ref();
        let threads = thread::available_parallelism().map_or(1, usize::from) as u64;
        thread::scope(|scope| {
            let makers: Vec<_> = (0..threads)
                .map(|first| {
                    let mut numbers = (first..mailboxes).step_by(threads as usize);
                    scope.spawn(move || numbers.try_for_each(|it| mailbox(base, now, it, user)))
                })
                .collect();
            makers.into_iter().try_for_each(|maker| match maker.join() {
                Ok(result) => result,
                Err(_) => bail!("a thread that makes mailboxes panicked"),
            })
        })
    }
}

fn mailbox(base: &Path, now: u64, number: u64, user: Option<&User>) -> Result<()> {
    interrupt::check()?;
    let home = base.join(format!("mail/user{number:06}@{DOMAIN}"));
    for part in ["cur", "new", "tmp"] {
        fs::create_dir_all(home.join(part))?;
        give(&home.join(part), user)?;
    }
    give(&home, user)?;
    for name in [
        "dovecot-uidlist",
        "dovecot.index.log",
        "enforceE2EEincoming",
        "maildirsize",
    ] {
        fs::write(home.join(name), "x")?;
        give(&home.join(name), user)?;
    }
    for message in 0..MESSAGES {
        // Half of them for more than twenty days.
        let stored = now - message * 2 * DAY - DAY;
        let size = 3000 + (number + message) % 1000;
        let name = format!("{stored}.M{message}P{number}.host,S={size},W={size}");
        let path = match message {
            0 => home.join("new").join(name),
            _ => home.join("cur").join(name + ":2,S"),
        };
        File::create(&path)?;
        give(&path, user)?;
    }
    let days = match number % 10 {
        0 => 100,
        _ => number % 30,
    };
    let day = now - now % DAY - days * DAY;
    let path = home.join("password");
    fs::write(&path, "{SHA512-CRYPT}$6$salt$hash")?;
    give(&path, user)?;
    let file = File::options().write(true).open(&path)?;
    let day = UNIX_EPOCH + Duration::from_secs(day);
    Ok(file.set_times(FileTimes::new().set_modified(day))?)
}

fn give(path: &Path, user: Option<&User>) -> Result<()> {
    match user {
        Some(user) => chown(path, Some(user.uid), Some(user.gid))
            .with_context(|| format!("cannot give {} to {}", path.display(), users::MAIL)),
        None => Ok(()),
    }
}

/// Runs it to its end.
fn measured(command: &mut Command) -> Result<Used> {
    let begin = Instant::now();
    let mut child = command.stdout(Stdio::null()).spawn()?;
    let pid = child.id();
    let mut peak = 0.0_f64;
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
    let process = Pid::from_raw(pid.try_into()?).context("a process id")?;
    // It stays in the process table until it is waited for, but its memory is gone by then.
    while waitid(WaitId::Pid(process), options)?.is_none() {
        if let Ok(kilobytes) = usage::kilobytes(pid, "status", "VmHWM") {
            peak = peak.max(kilobytes / 1024.0);
        }
        thread::sleep(Duration::from_millis(10));
    }
    let wall = begin.elapsed().as_secs_f64();
    let cpu = usage::cpu(pid)?;
    let status = child.wait()?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(Used { cpu, wall, peak })
}
