//! A certificate authority of the instance's own, and the server certificate it signs.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// How long certificates of a private instance are good for, in days.
const DAYS: &str = "3650";

/// PEM files.
pub(crate) struct Certificates {
    /// What clients trust.
    pub(crate) ca: PathBuf,
    /// The server's certificate, followed by the authority's.
    pub(crate) certificate: PathBuf,
    /// The server's private key, for root alone.
    pub(crate) key: PathBuf,
}

/// Makes them, or keeps those of an earlier run for the same domain.
pub(crate) fn certificates(directory: &Path, domain: &str) -> Result<Certificates> {
    let files = Certificates {
        ca: directory.join("ca.pem"),
        certificate: directory.join("server.pem"),
        key: directory.join("server.key"),
    };
    let made_for = directory.join("domain");
    if fs::read_to_string(&made_for).is_ok_and(|made| made == domain)
        && [&files.ca, &files.certificate, &files.key]
            .iter()
            .all(|f| f.exists())
    {
        return Ok(files);
    }
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let key = [
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-noenc",
        "-days",
        DAYS,
    ];
    let constraint = ["-addext", "keyUsage=critical,keyCertSign,cRLSign"];
    openssl(
        directory,
        ["req", "-x509"]
            .iter()
            .chain(&key)
            .chain(&constraint)
            .copied()
            .chain([
                "-subj",
                "/CN=chatmail private relay",
                "-keyout",
                "ca.key",
                "-out",
                "ca.pem",
            ]),
    )?;
    let names = format!("subjectAltName={}", alternative_names(domain));
    openssl(
        directory,
        ["req", "-x509", "-CA", "ca.pem", "-CAkey", "ca.key"]
            .iter()
            .chain(&key)
            .copied()
            .chain([
                "-subj",
                "/O=chatmail private relay",
                "-addext",
                &names,
                "-addext",
                "basicConstraints=critical,CA:FALSE",
                "-addext",
                "extendedKeyUsage=serverAuth",
                "-keyout",
                "server.key",
                "-out",
                "leaf.pem",
            ]),
    )?;
    let read = |name: &str| {
        fs::read_to_string(directory.join(name)).with_context(|| format!("cannot read {name}"))
    };
    fs::write(&files.certificate, read("leaf.pem")? + &read("ca.pem")?)
        .context("cannot write server.pem")?;
    // The authority signs nothing more: without its key nobody can.
    fs::remove_file(directory.join("ca.key")).context("cannot remove ca.key")?;
    fs::remove_file(directory.join("leaf.pem")).context("cannot remove leaf.pem")?;
    fs::write(made_for, domain).context("cannot write the domain beside the certificate")?;
    Ok(files)
}

/// The domain without brackets, and the names of loopback.
fn alternative_names(domain: &str) -> String {
    let kind = if domain.parse::<Ipv4Addr>().is_ok() {
        "IP"
    } else {
        "DNS"
    };
    format!("{kind}:{domain},DNS:localhost,IP:127.0.0.1")
}

fn openssl<'a>(directory: &Path, arguments: impl Iterator<Item = &'a str>) -> Result<()> {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .output()
        .context("cannot run openssl")?;
    if !output.status.success() {
        bail!(
            "openssl cannot make a certificate: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}
