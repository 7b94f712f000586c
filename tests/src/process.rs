//! Processes of a running relay, as `/proc` shows them (proc(5)).

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};

use crate::wait;

/// One process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its parent's.
    pub parent: u32,
    /// The file it runs, as the kernel names it.
    pub name: String,
    /// Its command line, as `ps` shows it.
    pub command: String,
}

/// Copies a program that is to be run. `cp` does it: what is open for writing in this process is so for a
/// moment in every process that a test beside this one starts, and nobody can run it then.
pub fn copy_program(from: &Path, to: &Path) -> io::Result<()> {
    copy(&[], from, to)
}

/// Copies a directory and what is in it; `to` is made.
pub fn copy_tree(from: &Path, to: &Path) -> io::Result<()> {
    copy(&["--recursive"], from, to)
}

fn copy(options: &[&str], from: &Path, to: &Path) -> io::Result<()> {
    let mut command = Command::new("cp");
    match command.args(options).arg(from).arg(to).status()?.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("cp {} failed", from.display()))),
    }
}

/// Every process of the machine that can be read.
pub fn all() -> Vec<Process> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter_map(read)
        .collect()
}

/// A process and all its descendants.
pub fn tree(root: u32) -> Vec<Process> {
    let all = all();
    let mut pids = BTreeSet::from([root]);
    loop {
        let before = pids.len();
        let children = all.iter().filter(|process| pids.contains(&process.parent));
        let children: Vec<_> = children.map(|process| process.pid).collect();
        pids.extend(children);
        if pids.len() == before {
            break;
        }
    }
    all.into_iter()
        .filter(|process| pids.contains(&process.pid))
        .collect()
}

/// Sends a signal to one process.
pub fn signal(pid: u32, signal: Signal) -> io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
    Ok(kill_process(pid, signal)?)
}

/// KiB of a process that are in memory.
///
/// # Panics
///
/// If there is no such process.
pub fn memory(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.expect("its memory")
}

/// Whether all threads of a process have stopped.
pub fn is_stopped(pid: u32) -> bool {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return false;
    };
    threads.flatten().all(|thread| {
        let stat = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
        // It follows the name, which may hold anything.
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| rest.starts_with('T'))
    })
}

/// A process that does nothing until this value is dropped.
pub struct Stopped {
    pid: u32,
}

/// Stops a process for a while.
///
/// # Panics
///
/// If it cannot be stopped.
#[track_caller]
pub fn stop(pid: u32) -> Stopped {
    signal(pid, Signal::STOP).expect("stopping a process");
    let stopped = Stopped { pid };
    // One of its threads may be at work for a moment yet.
    wait::until_true("a process to stop", || is_stopped(pid));
    stopped
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        signal(self.pid, Signal::CONT).ok();
    }
}

/// The names of the Unix sockets a process has open; unnamed and abstract ones left out.
pub fn unix_sockets(pid: u32) -> io::Result<BTreeSet<PathBuf>> {
    let inodes = socket_inodes(pid)?;
    let table = fs::read_to_string("/proc/net/unix")?;
    Ok(table
        .lines()
        .filter_map(|line| {
            let mut columns = line.split_whitespace().skip(6);
            let inode = columns.next()?;
            let path = columns.next()?;
            (inodes.contains(inode) && path.starts_with('/')).then(|| PathBuf::from(path))
        })
        .collect())
}

/// The TCP ports a process listens on, IPv4 and IPv6.
pub fn listening_ports(pid: u32) -> io::Result<BTreeSet<u16>> {
    /// In the fourth column.
    const LISTEN: &str = "0A";
    let inodes = socket_inodes(pid)?;
    let mut ports = BTreeSet::new();
    for table in ["/proc/net/tcp", "/proc/net/tcp6"] {
        // There is no second one where there is no IPv6.
        for line in fs::read_to_string(table).unwrap_or_default().lines() {
            let columns: Vec<_> = line.split_whitespace().collect();
            if let [_, local, _, LISTEN, _, _, _, _, _, inode, ..] = columns[..]
                && inodes.contains(inode)
                && let Some((_, port)) = local.rsplit_once(':')
            {
                ports.extend(u16::from_str_radix(port, 16));
            }
        }
    }
    Ok(ports)
}

fn socket_inodes(pid: u32) -> io::Result<BTreeSet<String>> {
    let mut inodes = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let target = target.to_string_lossy().into_owned();
        if let Some(inode) = target.strip_prefix("socket:[") {
            inodes.insert(inode.trim_end_matches(']').to_owned());
        }
    }
    Ok(inodes)
}

/// `None` if it has gone meanwhile.
fn read(pid: u32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state parent …; the name may hold anything.
    let (head, tail) = stat.rsplit_once(") ")?;
    let (_, name) = head.split_once('(')?;
    let parent = tail.split(' ').nth(1)?.parse().ok()?;
    let command = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let command = String::from_utf8_lossy(&command).replace('\0', " ");
    Some(Process {
        pid,
        parent,
        name: name.to_owned(),
        command: command.trim_end().to_owned(),
    })
}
