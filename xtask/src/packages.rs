//! System packages: what is missing, why it is needed, and its installation with apt-get.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

use crate::interrupt;
use crate::privilege::become_root;
use crate::services::{NoServices, keep_off_at_boot};
use crate::terminal::{agreed, say, stage};

/// A Debian package and what it is needed for.
pub(crate) struct Package {
    name: &'static str,
    why: &'static str,
}

const fn package(name: &'static str, why: &'static str) -> Package {
    Package { name, why }
}

/// What a private relay needs.
pub(crate) const RELAY: &[Package] = &[
    package("ca-certificates", "trust for HTTPS connections"),
    package(
        "build-essential",
        "C compiler and make, for the Dovecot modules",
    ),
    package("pkg-config", "finds C libraries"),
    package("dovecot-core", "IMAP and authentication server"),
    package("dovecot-imapd", "IMAP"),
    package("dovecot-lmtpd", "delivery from Postfix to Dovecot"),
    package(
        "dovecot-dev",
        "headers of the installed Dovecot, for the modules",
    ),
    package("postfix", "SMTP server"),
    package("openssl", "makes the relay's self-signed certificate"),
];

/// What a relay needs whose Dovecot is not the host's.
pub(crate) const TREE: &[Package] = &[package(
    "debootstrap",
    "makes a Debian tree with the Dovecot that this host does not have",
)];

/// What the tests need besides.
pub(crate) const TESTS: &[Package] = &[
    package("valgrind", "memory checks of the C interface"),
    package("miltertest", "test client for mail filters"),
    package("gnupg", "makes encrypted test messages"),
    package("sq", "makes encrypted test messages with Sequoia"),
    package(
        "sqop",
        "Sequoia by its stateless interface, with passphrases",
    ),
    package(
        "python3",
        "its mail parser is a second opinion on what passes",
    ),
    package("mandoc", "looks for mistakes in the man pages"),
    package(
        "systemd",
        "systemd-analyze checks the units; tests boot systems with it",
    ),
    package("prometheus", "promtool checks the metrics"),
    package("nginx", "web server in front of a relay, for new accounts"),
    package("wrk", "many requests for new accounts at a time"),
    package(
        "python3-venv",
        "a place for what tests take from PyPI: Delta Chat, dkimpy",
    ),
];

/// Installs those of `lists` that are missing. Asks a person first.
pub(crate) fn ensure(lists: &[&[Package]]) -> Result<()> {
    let wanted = || lists.iter().flat_map(|list| list.iter());
    if !has_dpkg() {
        let names: Vec<_> = wanted().map(|p| p.name).collect();
        say(format_args!(
            "note: this is no Debian system; nothing is installed. Needed (by Debian's names): {}",
            names.join(" ")
        ));
        return Ok(());
    }
    let missing: Vec<&Package> = wanted().filter(|p| !installed(p.name)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    say(format_args!("System packages that are missing:"));
    for p in &missing {
        say(format_args!("    {:<16} {}", p.name, p.why));
    }
    let names: Vec<&str> = missing.iter().map(|p| p.name).collect();
    if !agreed("Install them with apt-get?")? {
        bail!(
            "not installed. Install them yourself: apt-get install {}",
            names.join(" ")
        );
    }
    become_root("Installing packages")?;
    stage(&format!("installing {}", names.join(" ")), || {
        install(&names)
    })
}

fn install(names: &[&str]) -> Result<()> {
    let fresh: Vec<&str> = ["dovecot-core", "postfix", "prometheus", "nginx"]
        .into_iter()
        .filter(|name| !installed(name))
        .collect();
    // Not sooner: Ctrl-C is a good answer to the question whether to install.
    interrupt::listen()?;
    let policy = NoServices::deny()?;
    if names.contains(&"postfix") {
        preseed_postfix()?;
    }
    if !names.iter().all(|name| known_to_apt(name)) {
        update()?;
    }
    let install = || {
        let options = ["install", "--yes", "--no-install-recommends", "--"];
        apt_get(options.into_iter().chain(names.iter().copied()))
    };
    if install().is_err() {
        interrupt::check()?;
        say(format_args!("    once more, with fresh package lists"));
        update()?;
        install().with_context(|| format!("cannot install {}", names.join(" ")))?;
    }
    drop(policy);
    keep_off_at_boot(&fresh);
    if let Some(name) = names.iter().find(|name| !installed(name)) {
        bail!("apt-get succeeded, and yet {name} is not installed: see `dpkg --status {name}`");
    }
    Ok(())
}

/// Debian's Postfix asks what kind of mail server this host is. Ours has its own configuration, so: none.
fn preseed_postfix() -> Result<()> {
    use std::io::Write;
    let mut child = Command::new("debconf-set-selections")
        .stdin(Stdio::piped())
        .spawn()
        .context("cannot run debconf-set-selections")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(b"postfix postfix/main_mailer_type select No configuration\n")
            .context("cannot talk to debconf-set-selections")?;
    }
    let status = child.wait().context("debconf-set-selections")?;
    if !status.success() {
        bail!("debconf-set-selections failed: {status}");
    }
    Ok(())
}

fn update() -> Result<()> {
    apt_get(["update"]).context(
        "cannot update the package lists: is the network there, and /etc/apt/sources.list right?",
    )
}

fn apt_get<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Result<()> {
    let status = Command::new("apt-get")
        .args([
            "-qq",
            "-o",
            "Dpkg::Use-Pty=0",
            "-o",
            "DPkg::Lock::Timeout=300",
        ])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null())
        .status()
        .context("cannot run apt-get")?;
    if !status.success() {
        bail!("apt-get failed: {status}");
    }
    Ok(())
}

fn has_dpkg() -> bool {
    Path::new("/usr/bin/dpkg-query").exists() && Path::new("/usr/bin/apt-get").exists()
}

fn installed(name: &str) -> bool {
    output(
        "dpkg-query",
        ["--show", "--showformat=${db:Status-Status}", name],
    )
    .is_some_and(|status| status == "installed")
}

fn known_to_apt(name: &str) -> bool {
    output("apt-cache", ["madison", name]).is_some_and(|versions| !versions.trim().is_empty())
}

/// The package that a file belongs to, if it is one of a package.
pub(crate) fn owner_of(file: &Path) -> Option<String> {
    let answer = output("dpkg-query", [OsStr::new("--search"), file.as_os_str()])?;
    answer
        .split_once(':')
        .map(|(package, _)| package.to_owned())
}

fn output<S: AsRef<OsStr>>(
    program: &str,
    arguments: impl IntoIterator<Item = S>,
) -> Option<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    output
        .status
        .success()
        .then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
