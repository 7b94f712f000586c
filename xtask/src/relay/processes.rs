//! The processes of an instance, as seen from `/proc` (proc(5)): whose they are, whether they run, how they end.
//!
//! A process id alone says little: it may belong to another process by now. With the time of its start it is unique
//! until the next boot.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::terminal::say;

/// How long a server may take to end when asked to.
const GRACE: Duration = Duration::from_secs(10);
/// How long the kernel may take to end a killed process.
const KILLED: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(20);

/// One process, beyond doubt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Process {
    /// What it is to a reader, e.g. `Dovecot`.
    pub(crate) name: String,
    pub(crate) pid: u32,
    /// In clock ticks after boot.
    started: u64,
}

/// What of `/proc/PID/stat` matters here.
struct Stat {
    zombie: bool,
    group: u32,
    started: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field, the name in parentheses, may hold anything.
    let mut fields = text.get(text.rfind(')')? + 2..)?.split(' ');
    let zombie = matches!(fields.next()?, "Z" | "X");
    let group = fields.nth(1)?.parse().ok()?;
    let started = fields.nth(16)?.parse().ok()?;
    Some(Stat {
        zombie,
        group,
        started,
    })
}

/// All process ids there are.
pub(crate) fn all() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

impl Process {
    /// The running process with this id.
    pub(crate) fn of(name: &str, pid: u32) -> Option<Process> {
        let stat = stat(pid)?;
        Some(Process {
            name: name.to_owned(),
            pid,
            started: stat.started,
        })
    }

    /// Whether it runs; one that only waits to be reaped does not.
    pub(crate) fn is_running(&self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && !stat.zombie)
    }

    /// The running processes of its group: itself, and what it started. Its own end does not change that.
    pub(crate) fn group(&self) -> Vec<u32> {
        if stat(self.pid).is_some_and(|stat| stat.started != self.started) {
            return Vec::new(); // the id is somebody else's by now, so the group is gone
        }
        let of_group = |pid: &u32| {
            stat(*pid)
                .is_some_and(|s| s.group == self.pid && s.started >= self.started && !s.zombie)
        };
        all().into_iter().filter(of_group).collect()
    }

    fn signal(&self, signal: Signal) {
        if self.is_running()
            && let Some(pid) = pid(self.pid)
        {
            let _ = kill_process(pid, signal); // it may end at any moment by itself
        }
    }

    fn signal_group(&self, signal: Signal) {
        if !self.group().is_empty()
            && let Some(pid) = pid(self.pid)
        {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Ends it and all it started: asks first, and kills what does not listen.
    pub(crate) fn stop(&self) -> Result<()> {
        self.signal(Signal::TERM);
        if !poll(GRACE, || !self.is_running()) {
            say(format_args!(
                "    {} does not end by itself and is killed",
                self.name
            ));
        }
        self.signal_group(Signal::TERM);
        if poll(Duration::from_secs(3), || self.group().is_empty()) {
            return Ok(());
        }
        self.signal_group(Signal::KILL);
        if !poll(KILLED, || self.group().is_empty()) {
            bail!(
                "{} (process group {}) does not end, not even by SIGKILL",
                self.name,
                self.pid
            );
        }
        Ok(())
    }
}

fn pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// Asks again and again until the answer is yes, or the time is over.
pub(crate) fn poll(time: Duration, mut ask: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + time;
    loop {
        if ask() {
            return true;
        }
        if Instant::now() >= end {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// `DIR/processes.json`: what `--stop` and the next start need to know if the starter was killed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// `/proc/sys/kernel/random/boot_id`: after a reboot none of these runs.
    boot: String,
    /// The command that watches over the others.
    supervisor: Process,
    parts: Vec<Process>,
}

impl Record {
    pub(crate) fn new(parts: Vec<Process>) -> Result<Record> {
        let supervisor =
            Process::of("cargo xtask relay", std::process::id()).context("cannot read /proc")?;
        Ok(Record {
            boot: boot()?,
            supervisor,
            parts,
        })
    }

    fn path(directory: &Path) -> PathBuf {
        directory.join("processes.json")
    }

    /// Replaces the record of the directory.
    pub(crate) fn write(&self, directory: &Path) -> Result<()> {
        write_atomically(
            &Record::path(directory),
            serde_json::to_string_pretty(self)?.as_bytes(),
        )
    }

    /// The record of the directory, if one of this boot is there.
    pub(crate) fn read(directory: &Path) -> Result<Option<Record>> {
        let path = Record::path(directory);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(e) => return Err(e).with_context(|| format!("cannot read {}", path.display())),
        };
        let record: Record = serde_json::from_slice(&text)
            .with_context(|| format!("{} is damaged", path.display()))?;
        Ok((record.boot == boot()?).then_some(record))
    }

    /// Asks the supervisor to stop everything. True if there is none left after that.
    pub(crate) fn stop_supervisor(&self) -> bool {
        self.supervisor.signal(Signal::TERM);
        // It stops four parts, each of which may need its grace.
        poll(4 * (GRACE + KILLED), || !self.supervisor.is_running())
    }

    /// Ends every part that still runs, in the reverse order of their start. How many there were.
    pub(crate) fn stop_parts(&self) -> Result<usize> {
        let left: Vec<_> = self
            .parts
            .iter()
            .rev()
            .filter(|part| !part.group().is_empty())
            .collect();
        left.iter().try_for_each(|part| part.stop())?;
        Ok(left.len())
    }

    /// Forgets the processes of the directory.
    pub(crate) fn remove(directory: &Path) {
        let _ = fs::remove_file(Record::path(directory));
    }
}

fn boot() -> Result<String> {
    let id =
        fs::read_to_string("/proc/sys/kernel/random/boot_id").context("cannot read the boot id")?;
    Ok(id.trim().to_owned())
}

/// Replaces a file in one step: a reader sees the old text or the new one.
pub(crate) fn write_atomically(path: &Path, text: &[u8]) -> Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    fs::write(&temporary, text)
        .and_then(|()| fs::rename(&temporary, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::CommandExt;
    use std::process::Command;

    use super::*;

    #[test]
    fn what_a_killed_leader_left_behind_is_found_and_stopped() {
        let mut leader = Command::new("sh")
            .args(["-c", "sleep 600 & sleep 600"])
            .process_group(0)
            .spawn()
            .expect("sh");
        let process = Process::of("sh", leader.id()).expect("running");
        assert!(
            poll(KILLED, || process.group().len() == 3),
            "{:?}",
            process.group()
        );
        leader.kill().expect("kill");
        assert!(poll(KILLED, || !process.is_running()));
        assert_eq!(process.group().len(), 2);
        process.stop().expect("stop");
        assert_eq!(process.group(), Vec::<u32>::new());
        leader.wait().expect("wait");
    }

    #[test]
    fn another_process_with_the_same_id_is_not_ours() {
        let me = Process::of("test", std::process::id()).expect("running");
        assert!(me.is_running());
        let before = Process {
            started: me.started - 1,
            ..me
        };
        assert!(!before.is_running());
        assert_eq!(before.group(), Vec::<u32>::new());
    }
}
