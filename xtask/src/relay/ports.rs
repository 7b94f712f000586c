//! A block of eight loopback ports that belongs to one instance.

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Where the claims are. A claim is a lock on a file, gone when its process is.
const CLAIMS: &str = "/run/chatmail-relay";
/// Free blocks are looked for from here …
const FIRST: u16 = 20_000;
/// … to below the ports that Linux hands out to clients by itself (32768 and up).
const END: u16 = 32_760;
/// Distance of two blocks that were looked for.
const STEP: usize = 10;
/// What the ports of a block are for.
const NAMES: [&str; 8] = [
    "imaps",
    "imap",
    "smtps",
    "submission",
    "smtp",
    "push sink",
    "DNS",
    "metrics",
];
/// From the first port of a block to its last one.
const SPAN: u16 = NAMES.len() as u16 - 1;

/// The ports of an instance; claimed as long as this lives.
#[derive(Debug)]
pub(crate) struct Ports {
    base: u16,
    _claims: Vec<File>,
}

impl Ports {
    pub(crate) fn imaps(&self) -> u16 {
        self.base
    }
    pub(crate) fn imap(&self) -> u16 {
        self.base + 1
    }
    pub(crate) fn smtps(&self) -> u16 {
        self.base + 2
    }
    pub(crate) fn submission(&self) -> u16 {
        self.base + 3
    }
    pub(crate) fn smtp(&self) -> u16 {
        self.base + 4
    }
    pub(crate) fn push_sink(&self) -> u16 {
        self.base + 5
    }
    /// UDP and TCP.
    pub(crate) fn dns(&self) -> u16 {
        self.base + 6
    }
    pub(crate) fn metrics(&self) -> u16 {
        self.base + 7
    }

    /// Claims the block that begins at `base`, or the first free one.
    pub(crate) fn claim(base: Option<u16>) -> Result<Ports> {
        fs::create_dir_all(CLAIMS).with_context(|| format!("cannot create {CLAIMS}"))?;
        Self::claim_in(Path::new(CLAIMS), base)
    }

    fn claim_in(directory: &Path, base: Option<u16>) -> Result<Ports> {
        if let Some(base) = base {
            return match Self::try_claim(directory, base)? {
                Ok(ports) => Ok(ports),
                Err(port) => {
                    let name = NAMES
                        .get(usize::from(port - base))
                        .copied()
                        .unwrap_or_default();
                    bail!(
                        "port {port} ({name}) is in use. Choose another --base-port, or leave it out and a free block is found"
                    )
                }
            };
        }
        for base in (FIRST..END).step_by(STEP) {
            if let Ok(ports) = Self::try_claim(directory, base)? {
                return Ok(ports);
            }
        }
        bail!("no eight free ports in a row between {FIRST} and {END}")
    }

    /// The inner error is the port that is taken.
    fn try_claim(directory: &Path, base: u16) -> Result<std::result::Result<Ports, u16>> {
        if base == 0 || base.checked_add(SPAN).is_none() {
            bail!("--base-port {base}: eight ports from there on do not exist");
        }
        let mut claims = Vec::new();
        for port in base..=base + SPAN {
            let path = directory.join(format!("port-{port}"));
            let file =
                File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
            match file.try_lock() {
                Ok(()) => claims.push(file),
                Err(TryLockError::WouldBlock) => return Ok(Err(port)),
                Err(TryLockError::Error(e)) => {
                    return Err(e).with_context(|| format!("cannot lock {}", path.display()));
                }
            }
            let address = (Ipv4Addr::LOCALHOST, port);
            if TcpListener::bind(address).is_err() || UdpSocket::bind(address).is_err() {
                return Ok(Err(port));
            }
        }
        Ok(Ok(Ports {
            base,
            _claims: claims,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_instances_never_get_the_same_port() {
        let directory = tempfile::tempdir().expect("directory");
        let first = Ports::claim_in(directory.path(), None).expect("a free block");
        let second = Ports::claim_in(directory.path(), None).expect("another free block");
        assert!(second.base > first.base + SPAN);
    }

    #[test]
    fn a_busy_port_is_named() {
        let directory = tempfile::tempdir().expect("directory");
        let claimed = Ports::claim_in(directory.path(), None).expect("a free block");
        let overlapping =
            Ports::claim_in(directory.path(), Some(claimed.imaps() - 2)).expect_err("busy");
        assert!(
            overlapping
                .to_string()
                .starts_with(&format!("port {} (smtps) is in use", claimed.imaps())),
            "{overlapping}"
        );
    }
}
