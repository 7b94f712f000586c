//! Delta Chat itself: core and its Python bindings from PyPI, in a virtual environment below
//! `target/`.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::endpoints::Endpoints;
use crate::instance::{Account, target_dir};

/// The core that the tests were measured with.
pub const VERSION: &str = "2.65.0";

/// A Python that can `import deltachat_rpc_client` and has `deltachat-rpc-server` beside it. The
/// first call installs both.
///
/// # Errors
///
/// Says what to install if there is no Python, or what pip said.
pub fn python() -> io::Result<PathBuf> {
    let target = target_dir()?;
    let venv = target.join(format!("deltachat-{VERSION}"));
    let python = venv.join("bin/python3");
    let complete = venv.join("complete");
    // Several tests may ask at once; the lock ends with the file.
    let lock = File::create(target.join("deltachat.lock"))?;
    lock.lock()?;
    if complete.exists() {
        return Ok(python);
    }
    let mut create = Command::new("python3");
    create.args(["-m", "venv", "--clear"]).arg(&venv);
    run(
        &mut create,
        "Delta Chat needs Python 3.10 or newer with venv: apt install python3 python3-venv",
    )?;
    let mut install = Command::new(&python);
    install
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        ])
        .arg(format!("deltachat-rpc-server=={VERSION}"))
        .arg(format!("deltachat-rpc-client=={VERSION}"));
    run(&mut install, "installing Delta Chat from PyPI failed")?;
    fs::write(complete, "")?;
    Ok(python)
}

/// The `dclogin:` link that brings a client to this account; any certificate will do.
pub fn login_link(endpoints: &Endpoints, account: &Account) -> String {
    let Endpoints {
        host, imaps, smtps, ..
    } = endpoints;
    format!(
        "dclogin:{}?p={}&v=1&ih={host}&ip={imaps}&is=ssl&sh={host}&sp={smtps}&ss=ssl&ic=3",
        account.address,
        percent_encoded(&account.password),
    )
}

/// The directory of the Python scripts.
pub fn scripts() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/deltachat"))
}

fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut out, byte| {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
        out
    })
}

fn run(command: &mut Command, hint: &str) -> io::Result<()> {
    let output = command
        .output()
        .map_err(|error| io::Error::new(error.kind(), format!("{hint} ({error})")))?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{hint}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )))
}
