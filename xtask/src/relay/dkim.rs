//! The DKIM key of an instance: private for its filter, public for its zone.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chatmail_tests::dns::zone;

use super::ini;
use super::users::User;

/// The private key below the directory: PEM (PKCS #8), for the mail user alone.
pub(crate) const KEY: &str = "dkim/opendkim.private";
/// Seconds.
const TTL: u32 = 300;

/// The line of the zone that has the public key. The key is made once and kept over runs. Relays on an IPv4 address
/// have none: their domain cannot be asked for a key, and their mail is not signed.
pub(crate) fn record(root: &Path, domain: &str, ini: &str, owner: &User) -> Result<String> {
    if domain.starts_with('[') {
        return Ok(String::new());
    }
    let key = root.join(KEY);
    if !key.exists() {
        make(&key, owner)?;
    }
    let der = openssl(&["pkey", "-pubout", "-outform", "DER", "-in"], &key)?;
    let selector = ini::value(ini, "dkim_selector")
        .filter(|selector| !selector.is_empty())
        .unwrap_or("opendkim");
    let name = format!("{selector}._domainkey.{domain}");
    let tags = format!("v=DKIM1; k=rsa; p={}", BASE64_STANDARD.encode(der));
    Ok(zone::txt(&name, TTL, &tags) + "\n")
}

fn make(key: &Path, owner: &User) -> Result<()> {
    let directory = key.parent().context("the key has no directory")?;
    fs::create_dir_all(directory)
        .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700)))
        .and_then(|()| chown(directory, Some(owner.uid), Some(owner.gid)))
        .with_context(|| format!("cannot create {}", directory.display()))?;
    let temporary = key.with_extension("new");
    // openssl makes private keys with mode 0600.
    let size = "rsa_keygen_bits:2048";
    let arguments = [
        "genpkey",
        "-quiet",
        "-algorithm",
        "RSA",
        "-pkeyopt",
        size,
        "-out",
    ];
    openssl(&arguments, &temporary)?;
    fs::set_permissions(&temporary, Permissions::from_mode(0o600))
        .and_then(|()| chown(&temporary, Some(owner.uid), Some(owner.gid)))
        .and_then(|()| fs::rename(&temporary, key))
        .with_context(|| format!("cannot write {}", key.display()))
}

fn openssl(arguments: &[&str], file: &Path) -> Result<Vec<u8>> {
    let output = Command::new("openssl")
        .args(arguments)
        .arg(file)
        .stdin(Stdio::null())
        .output()
        .context("cannot run openssl")?;
    if !output.status.success() {
        bail!(
            "openssl: no DKIM key in {}: {}",
            file.display(),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_key_is_the_owners_alone_and_kept_over_runs() {
        let root = tempfile::tempdir().expect("directory");
        let owner = User {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        };
        let ini = "[params]\ndkim_selector = two\n";
        let line = record(root.path(), "chat.test", ini, &owner).expect("record");
        assert!(
            line.starts_with("two._domainkey.chat.test 300 TXT \"v=DKIM1; k=rsa; p="),
            "{line}"
        );
        let mode = |name| fs::metadata(root.path().join(name)).expect(name).mode() & 0o777;
        assert_eq!((mode(KEY), mode("dkim")), (0o600, 0o700));
        let again = record(root.path(), "chat.test", ini, &owner).expect("record");
        assert_eq!(again, line);
    }

    #[test]
    fn a_relay_on_an_address_has_no_key() {
        let root = tempfile::tempdir().expect("directory");
        let owner = User { uid: 0, gid: 0 };
        let none = record(root.path(), "[203.0.113.7]", "", &owner).expect("no record");
        assert_eq!(none, "");
        assert!(!root.path().join(KEY).exists());
    }
}
