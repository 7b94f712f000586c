//! The static and the shared library, built once for all tests of this file.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::{env, fs};

pub(crate) struct Built {
    pub(crate) shared: PathBuf,
    pub(crate) archive: PathBuf,
}

/// Cargo builds no cdylib for a test, so the test asks for it. Copies, because the next build with
/// other features replaces the originals.
pub(crate) fn built() -> &'static Built {
    static BUILT: OnceLock<Built> = OnceLock::new();
    BUILT.get_or_init(|| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--package", "chatmail-ffi", "--lib"])
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit());
        if !cfg!(debug_assertions) {
            cargo.arg("--release");
        }
        let output = cargo.output().unwrap();
        assert!(output.status.success(), "{cargo:?}: {}", output.status);
        let files = artifacts(&String::from_utf8(output.stdout).unwrap());

        let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chatmail-lib");
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        let copy = |name: &str| {
            let from = files.iter().find(|file| file.ends_with(name));
            let from = from.unwrap_or_else(|| panic!("no {name} among {files:?}"));
            let to = dir.join(name);
            fs::copy(from, &to).unwrap();
            to
        };
        Built {
            shared: copy("libchatmail.so"),
            archive: copy("libchatmail.a"),
        }
    })
}

/// The files of this package among cargo's messages.
fn artifacts(messages: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for line in messages.lines() {
        let message: serde_json::Value = serde_json::from_str(line).unwrap();
        if message["reason"] == "compiler-artifact" && message["target"]["name"] == "chatmail" {
            let names = message["filenames"].as_array().unwrap();
            files.extend(
                names
                    .iter()
                    .map(|name| PathBuf::from(name.as_str().unwrap())),
            );
        }
    }
    files
}
