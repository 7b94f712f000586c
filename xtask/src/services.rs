//! Keeps the servers of the distribution from being started while their packages are installed.
//!
//! Debian's packages start their daemons at the end of the installation, on the public ports. `invoke-rc.d` asks
//! `/usr/sbin/policy-rc.d` first; status 101 means "do not" (invoke-rc.d(8)).

use std::fs::{self, OpenOptions, Permissions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use crate::terminal::say;

const POLICY: &str = "/usr/sbin/policy-rc.d";
const TEXT: &str = "#!/bin/sh\n# Written by cargo xtask while it installs packages. If you read this, remove it.\nexit 101\n";

/// While this lives no package starts a service. Dropping it restores the host.
pub(crate) struct NoServices {
    ours: bool,
}

impl NoServices {
    /// Denies every start of a service; a policy of the operator's own is kept as it is.
    pub(crate) fn deny() -> Result<NoServices> {
        if fs::read_to_string(POLICY).is_ok_and(|text| text == TEXT) {
            let _ = fs::remove_file(POLICY); // of a run that was killed
        }
        let created = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY);
        match created {
            Ok(mut file) => {
                let guard = NoServices { ours: true };
                file.write_all(TEXT.as_bytes())
                    .with_context(|| format!("cannot write {POLICY}"))?;
                // Not left to the umask: a policy that cannot be executed is no policy.
                fs::set_permissions(POLICY, Permissions::from_mode(0o755))
                    .with_context(|| format!("cannot make {POLICY} executable"))?;
                Ok(guard)
            }
            Err(e) if e.kind() == ErrorKind::AlreadyExists => {
                say(format_args!(
                    "    {POLICY} exists already and is kept: it decides whether the packages start services."
                ));
                Ok(NoServices { ours: false })
            }
            Err(e) => Err(e).with_context(|| {
                format!(
                    "cannot create {POLICY}, which keeps the packages from starting public servers"
                )
            }),
        }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(e) = fs::remove_file(POLICY)
        {
            say(format_args!(
                "warning: cannot remove {POLICY} ({e}). Remove it, or no package will start its service."
            ));
        }
    }
}

/// Keeps the servers that were installed just now from starting at the next boot. Failing to do so is no failure.
pub(crate) fn keep_off_at_boot(new_packages: &[&str]) {
    if !Path::new("/usr/bin/systemctl").exists() && !Path::new("/bin/systemctl").exists() {
        return;
    }
    let units: Vec<&str> = [
        ("dovecot-core", "dovecot.service"),
        ("postfix", "postfix.service"),
        ("prometheus", "prometheus.service"),
        ("nginx", "nginx.service"),
    ]
    .into_iter()
    .filter(|(package, _)| new_packages.contains(package))
    .map(|(_, unit)| unit)
    .collect();
    if units.is_empty() {
        return;
    }
    let done = Command::new("systemctl")
        .arg("--quiet")
        .arg("disable")
        .args(&units)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if done.is_ok_and(|status| status.success()) {
        say(format_args!(
            "    {} stay(s) off at boot too; `systemctl enable` turns it on.",
            units.join(", ")
        ));
    }
}
