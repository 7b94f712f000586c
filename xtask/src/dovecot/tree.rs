//! Debian trees with a Dovecot in them, one for each version, below the target directory: made by debootstrap(8) when
//! they are missing, and kept.
//!
//! A tree is made under another name and renamed when it is whole. One process at a time makes it; others wait, also
//! for the debootstrap of one that was killed. What a tree was made from stands in a file in it: when that changes, it
//! is made again.

use std::fs::{self, File, OpenOptions, Permissions, TryLockError};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use chatmail_tests::dovecot::Version;
use rustix::io::{FdFlags, fcntl_setfd};

use super::enter;
use super::mirror::{Mirror, release};
use crate::command::{run, target_directory};
use crate::privilege::give_to_caller;
use crate::terminal::{say, stage};
use crate::{interrupt, packages};

/// What a relay's Dovecot and its modules need there; and for the tests, which run Dovecot under valgrind, and boot the
/// tree and make a whole relay of it: what such a host has besides.
const PACKAGES: &[&str] = &[
    "dovecot-core",
    "dovecot-imapd",
    "dovecot-lmtpd",
    "dovecot-dev",
    "gcc",
    "libc6-dev",
    "make",
    "valgrind",
    "systemd",
    "openrc",
    "postfix",
    "nginx",
    "openssl",
    "ca-certificates",
];
/// Nobody reads these there.
const UNREAD: &[&str] = &[
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
];
/// For dpkg: a tree that a power cut damaged is made anew, so nothing waits for the disk.
const DPKG: &str = "etc/dpkg/dpkg.cfg.d/chatmail";
const APT: &str = "etc/apt/apt.conf.d/chatmail";
const APT_TEXT: &str = "Acquire::Languages \"none\";\nAPT::Install-Recommends \"false\";\n\
                        DPkg::Use-Pty \"false\";\nAcquire::Retries \"3\";\n";
/// Keeps packages from starting services, for as long as the tree lives (invoke-rc.d(8)).
const POLICY: &str = "usr/sbin/policy-rc.d";
const DENY: &str = "#!/bin/sh\n# Nothing is served from this tree by itself.\nexit 101\n";
/// What the tree was made from.
const STAMP: &str = "etc/chatmail-tree";
/// Lines shown of the log when something went wrong.
const TAIL: usize = 15;

/// The tree with this Dovecot; made if it is not there.
pub(super) fn take(version: Version) -> Result<PathBuf> {
    let name = release(version);
    if let Err(why) = enter::is_possible() {
        bail!(
            "Dovecot {version} would run in a Debian tree ({name}), and this system lets nobody mount \
             or change the root directory: {why}"
        );
    }
    let trees = target_directory()?.join("dovecot");
    fs::create_dir_all(&trees).with_context(|| format!("cannot create {}", trees.display()))?;
    give_to_caller(&trees)?;
    // Whoever looks at processes sees paths without symbolic links.
    let trees =
        fs::canonicalize(&trees).with_context(|| format!("cannot open {}", trees.display()))?;
    let lock = exclusive(&trees.join(format!("{name}.lock")), name)?;
    let tree = trees.join(name);
    if fs::read_to_string(tree.join(STAMP)).is_ok_and(|made_from| made_from == recipe()) {
        return Ok(tree);
    }
    packages::ensure(&[packages::TREE])?;
    interrupt::listen()?;
    // What is started from here on holds the lock too: if this process is killed, it goes on writing for a while.
    fcntl_setfd(&lock, FdFlags::empty()).context("cannot hand on the lock")?;
    stage(
        &format!("making a Debian tree ({name}) for Dovecot {version}: some minutes, once"),
        || make(version, &trees),
    )?;
    Ok(tree)
}

fn exclusive(path: &Path, name: &str) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => return Ok(file),
        Err(TryLockError::WouldBlock) => say(format_args!(
            "==> waiting for somebody else who makes the Debian tree ({name})"
        )),
        Err(TryLockError::Error(_)) => {}
    }
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Changes whenever an older tree would not do.
fn recipe() -> String {
    format!("{}\n{}{APT_TEXT}", PACKAGES.join(" "), dpkg_text())
}

fn dpkg_text() -> String {
    let unread = UNREAD
        .iter()
        .map(|path| format!("path-exclude=/{path}/*\n"));
    "force-unsafe-io\n".to_owned() + &unread.collect::<String>()
}

fn make(version: Version, trees: &Path) -> Result<()> {
    let name = release(version);
    let log = trees.join(format!("{name}.log"));
    File::create(&log).with_context(|| format!("cannot create {}", log.display()))?;
    let new = trees.join(format!("{name}.new"));
    let made = fill(&new, version, &log);
    if let Err(failure) = made {
        interrupt::check()?;
        return Err(failure.context(format!("the end of {}:\n{}", log.display(), tail(&log))));
    }
    let (tree, old) = (trees.join(name), trees.join(format!("{name}.old")));
    remove(&old)?;
    if tree.exists() {
        fs::rename(&tree, &old)
            .with_context(|| format!("cannot put {} out of the way", tree.display()))?;
    }
    fs::rename(&new, &tree).with_context(|| format!("cannot make {}", tree.display()))?;
    remove(&old)
}

fn fill(new: &Path, version: Version, log: &Path) -> Result<()> {
    let name = release(version);
    let mut mirrors = Mirror::candidates().into_iter();
    let mirror = loop {
        let Some(mirror) = mirrors.next() else {
            bail!("no server has Debian's packages for {name}: is the network there?");
        };
        say(format_args!("    base system, from {}", mirror.main));
        remove(new)?;
        let mut base = enter::own_namespace("debootstrap");
        base.args(["--variant=minbase", name])
            .arg(new)
            .arg(&mirror.main);
        match logged(&mut base, log) {
            Ok(()) => break mirror,
            Err(_) => interrupt::check()?,
        }
    };
    let write = |file: &str, text: &str| {
        let path = new.join(file);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("etc/apt/sources.list", &mirror.sources(name))?;
    write(APT, APT_TEXT)?;
    write(DPKG, &dpkg_text())?;
    write(POLICY, DENY)?;
    fs::set_permissions(new.join(POLICY), Permissions::from_mode(0o755))
        .context("cannot make policy-rc.d executable")?;
    let enter = enter::alone(new)?;
    let inside = |words: &[&str]| {
        let [first, rest @ ..] = enter.as_slice() else {
            bail!("no command to enter the tree")
        };
        let mut command = Command::new(first);
        command.args(rest).args(words);
        command
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("LC_ALL", "C.UTF-8");
        logged(&mut command, log)
    };
    say(format_args!("    {}", PACKAGES.join(" ")));
    inside(&["apt-get", "-qq", "update"])?;
    inside(&[&["apt-get", "-qq", "--yes", "install"], PACKAGES].concat())?;
    inside(&["apt-get", "clean"])?;
    for directory in UNREAD.iter().chain(&["var/lib/apt/lists"]) {
        remove(&new.join(directory))?;
    }
    let release = version_in(&enter)?;
    ensure!(
        Version::of_release(&release) == Some(version),
        "Debian's {name} has Dovecot {release} instead of {version}"
    );
    say(format_args!("    it has Dovecot {release}"));
    write(STAMP, &recipe())
}

/// Runs a command whose output nobody wants to see if all goes well.
fn logged(command: &mut Command, log: &Path) -> Result<()> {
    let open = || OpenOptions::new().append(true).open(log);
    let files = open().and_then(|output| Ok((output, open()?)));
    let (output, errors) = files.with_context(|| format!("cannot open {}", log.display()))?;
    run(command.stdout(output).stderr(errors))
}

fn version_in(enter: &[String]) -> Result<String> {
    let (first, rest) = enter
        .split_first()
        .context("no command to enter the tree")?;
    let output = Command::new(first)
        .args(rest)
        .args(["dovecot", "--version"])
        .stdin(Stdio::null())
        .output()
        .context("cannot run dovecot in the tree")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Removes a tree. Should somebody have mounted a directory of the host in it, that one's files stay.
fn remove(path: &Path) -> Result<()> {
    let mut rm = Command::new("rm");
    run(rm.args(["-rf", "--one-file-system", "--"]).arg(path))
}

fn tail(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.get(lines.len().saturating_sub(TAIL)..);
    end.unwrap_or_default().join("\n")
}
