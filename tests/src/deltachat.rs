//! Delta Chat itself: core and its Python bindings from PyPI, in a virtual environment below
//! `target/`.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::endpoints::Endpoints;
use crate::instance::{Account, target_dir};
use crate::python;

/// The core that the tests were measured with.
pub const VERSION: &str = "2.65.0";

/// A Python that can `import deltachat_rpc_client` and has `deltachat-rpc-server` beside it. The
/// first call installs both.
///
/// # Errors
///
/// Says what to install if there is no Python, or what pip said.
pub fn python() -> io::Result<PathBuf> {
    python_below(&target_dir()?)
}

/// As [`python`], for a program that is no test: below this `target` directory.
///
/// # Errors
///
/// As [`python`].
pub fn python_below(target: &Path) -> io::Result<PathBuf> {
    let packages = ["server", "client"].map(|part| format!("deltachat-rpc-{part}=={VERSION}"));
    python::below(
        target,
        &format!("deltachat-{VERSION}"),
        &packages.each_ref().map(String::as_str),
    )
}

/// The program `deltachat-rpc-server` itself. What stands beside [`python`] is a script around it.
///
/// # Errors
///
/// As [`python`].
pub fn rpc_server() -> io::Result<PathBuf> {
    let mut ask = Command::new(python()?);
    ask.args([
        "-c",
        "import deltachat_rpc_server; print(deltachat_rpc_server.__path__[0])",
    ]);
    let output = ask.output()?;
    let package = String::from_utf8_lossy(&output.stdout);
    Ok(Path::new(package.trim_end()).join("deltachat-rpc-server"))
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
