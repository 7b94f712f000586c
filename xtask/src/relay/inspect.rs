//! What runs and what listens, as the kernel tells it: nothing more than a relay is made of.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::instance::{DOVECOT, MILTER, SERVE};
use super::processes::{Process, all};
use super::supervise::Supervisor;
use crate::dovecot::Dovecot;

/// Fails if a part is not what it should be, or a process of this instance is no part of it.
pub(crate) fn only_the_parts(
    directory: &Path,
    dovecot: &Dovecot,
    supervisor: &Supervisor,
) -> Result<()> {
    let mut known = HashSet::from([std::process::id()]);
    for part in supervisor.processes() {
        let group = part.group();
        ensure!(group.contains(&part.pid), "{} does not run", part.name);
        for &pid in &group {
            let Some(program) = program(pid) else {
                continue;
            }; // it ended just now
            ensure!(
                belongs(part, dovecot, &program),
                "{} runs {}",
                part.name,
                program.display()
            );
        }
        let alone = part.name == MILTER || part.name == SERVE;
        ensure!(
            !alone || group.len() == 1,
            "{} consists of {} processes",
            part.name,
            group.len()
        );
        known.extend(group);
    }
    let name = directory.display().to_string();
    for pid in all() {
        let ours = !known.contains(&pid)
            && command_line(pid).contains(&name)
            && program(pid).is_some_and(|p| is_server(dovecot, &p));
        if ours {
            bail!(
                "process {pid} works in {name} and is no part of the relay: {}",
                command_line(pid)
            );
        }
    }
    Ok(())
}

/// Fails if our programs listen on any Unix socket but the three of the filter and the one for a web server.
pub(crate) fn no_other_sockets(supervisor: &Supervisor) -> Result<()> {
    let listening = listening_sockets()?;
    for part in supervisor
        .processes()
        .filter(|part| part.name == MILTER || part.name == SERVE)
    {
        let mut paths: Vec<&str> = socket_inodes(part.pid)?
            .iter()
            .filter_map(|inode| {
                listening
                    .iter()
                    .find(|(listening, _)| listening == inode)
                    .map(|(_, path)| path.as_str())
            })
            .collect();
        paths.sort_unstable();
        let names: Vec<_> = paths
            .iter()
            .map(|path| path.rsplit('/').next().unwrap_or_default())
            .collect();
        let expected: &[&str] = if part.name == MILTER {
            &["incoming.sock", "internal.sock", "outgoing.sock"]
        } else {
            &["http.sock"]
        };
        ensure!(
            names == expected,
            "{} listens on {}",
            part.name,
            paths.join(", ")
        );
    }
    Ok(())
}

fn program(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/exe")).ok()
}

fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes)
        .replace('\0', " ")
        .trim_end()
        .to_owned()
}

fn belongs(part: &Process, dovecot: &Dovecot, program: &Path) -> bool {
    match part.name.as_str() {
        DOVECOT => ["/usr/sbin/dovecot", "/usr/lib/dovecot"]
            .iter()
            .any(|path| program.starts_with(dovecot.outside(Path::new(path)))),
        "Postfix" => program.starts_with("/usr/lib/postfix"),
        MILTER => program.ends_with("chatmail-milter"),
        _ => program.ends_with("chatmail"),
    }
}

/// Editors and shells may name the directory too; a server may not.
fn is_server(dovecot: &Dovecot, program: &Path) -> bool {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    name.starts_with("chatmail")
        || program.starts_with(dovecot.outside(Path::new("/usr/lib/dovecot")))
        || program.starts_with("/usr/lib/postfix")
        || name == "dovecot"
}

/// Inode and path of each listening Unix socket: flag 00010000 of `/proc/net/unix`.
fn listening_sockets() -> Result<Vec<(String, String)>> {
    let text = fs::read_to_string("/proc/net/unix").context("cannot read /proc/net/unix")?;
    let fields = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, _, flags, _, _, inode, path, ..] = fields.as_slice() else {
            return None;
        };
        (*flags == "00010000").then(|| ((*inode).to_owned(), (*path).to_owned()))
    };
    Ok(text.lines().filter_map(fields).collect())
}

/// Inodes of the sockets a process has open.
fn socket_inodes(pid: u32) -> Result<Vec<String>> {
    let entries = fs::read_dir(format!("/proc/{pid}/fd"))
        .with_context(|| format!("cannot list what process {pid} has open"))?;
    let inode = |path: PathBuf| {
        fs::read_link(path)
            .ok()?
            .to_str()?
            .strip_prefix("socket:[")?
            .strip_suffix(']')
            .map(str::to_owned)
    };
    Ok(entries
        .flatten()
        .filter_map(|entry| inode(entry.path()))
        .collect())
}
