//! What GnuPG and Sequoia write passes in every shape, and what they write that is no encrypted
//! message does not.
//!
//! They are independent of each other and of the `pgp` crate. Header lines in the armor speak to
//! people, so outgoing mail has none: those messages pass only as incoming mail.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use chatmail_core::filter::{Direction, Verdict};
use rand::RngCore;
use rand::rngs::OsRng;

mod common;
mod oracle;

use common::{assert_encrypted, delta_chat};

/// Bytes of plaintext: nothing, a line, more than a partial chunk, much.
const SIZES: [usize; 4] = [0, 100, 9_000, 1_000_000];

fn noise(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    OsRng.fill_bytes(&mut bytes);
    bytes
}

/// Runs a program of the machine in a directory that is also GnuPG's home; what it printed and
/// whether it succeeded. `None` if it is not installed.
fn try_run(
    program: &str,
    arguments: &[&str],
    home: &Path,
    input: &[u8],
) -> Option<(Vec<u8>, bool)> {
    let child = Command::new(program)
        .args(arguments)
        .current_dir(home)
        .env("GNUPGHOME", home)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let Ok(mut child) = child else {
        assert!(
            std::env::var_os("CI").is_none(),
            "{program} is not installed"
        );
        eprintln!("left out: {program} is not installed");
        return None;
    };
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().expect("it ran");
    // A program that needs no input may leave before it got any.
    writer.join().expect("no panic").ok();
    Some((output.stdout, output.status.success()))
}

fn run(program: &str, arguments: &[&str], home: &Path, input: &[u8]) -> Option<String> {
    let (output, success) = try_run(program, arguments, home, input)?;
    assert!(success, "{program} {arguments:?}");
    Some(String::from_utf8(output).expect("text"))
}

/// Header lines of an armor.
fn headers(armor: &str) -> Vec<&str> {
    let lines = armor.lines().skip(1);
    lines.take_while(|line| !line.trim().is_empty()).collect()
}

/// Fails unless the armor passes in both directions, or only as incoming mail if it has header
/// lines; and then without them, too.
fn assert_passes(armor: &str) {
    let headers = headers(armor);
    if !headers.is_empty() {
        let message = delta_chat(armor);
        let refusal = common::refusal(Direction::Outgoing, &message);
        assert_eq!(refusal.reason.name(), "armor-header");
        let verdict = common::verdict(Direction::Incoming, &message);
        assert!(matches!(verdict, Verdict::Accepted(_)), "{verdict:?}");
    }
    let headers: String = headers.iter().map(|line| format!("{line}\n")).collect();
    let armor = armor.replacen(&headers, "", 1);
    let message = delta_chat(&armor);
    assert_encrypted(&message);
    if message.len() < 100_000 {
        oracle::examine(&message);
    }
}

/// A home with keys of every algorithm, and a `gpg` for it.
struct Gpg(tempfile::TempDir);

/// Name, primary key, encryption key.
const KEYS: [(&str, &str, &str); 6] = [
    ("rsa", "RSA\nKey-Length: 2048", "RSA\nSubkey-Length: 2048"),
    (
        "elgamal",
        "DSA\nKey-Length: 2048",
        "ELG-E\nSubkey-Length: 2048",
    ),
    (
        "cv25519",
        "EDDSA\nKey-Curve: ed25519",
        "ECDH\nSubkey-Curve: cv25519",
    ),
    (
        "nistp256",
        "ECDSA\nKey-Curve: nistp256",
        "ECDH\nSubkey-Curve: nistp256",
    ),
    (
        "nistp521",
        "ECDSA\nKey-Curve: nistp521",
        "ECDH\nSubkey-Curve: nistp521",
    ),
    (
        "brainpool",
        "ECDSA\nKey-Curve: brainpoolP384r1",
        "ECDH\nSubkey-Curve: brainpoolP384r1",
    ),
];

impl Gpg {
    /// With keys of these names. `None` if GnuPG is not installed.
    fn new(names: &[&str]) -> Option<Gpg> {
        let gpg = Gpg(tempfile::tempdir().expect("directory"));
        let key = |(name, primary, sub): &(&str, &str, &str)| {
            format!(
                "Key-Type: {primary}\nSubkey-Type: {sub}\nName-Email: {name}@chat.test\n%no-protection\n%commit\n"
            )
        };
        let keys = KEYS.iter().filter(|(name, ..)| names.contains(name));
        let keys: String = keys.map(key).collect();
        gpg.run(&["--gen-key"], keys.as_bytes())?;
        Some(gpg)
    }

    fn try_run(&self, arguments: &[&str], input: &[u8]) -> Option<(Vec<u8>, bool)> {
        let common = [
            "--batch",
            "--quiet",
            "--trust-model",
            "always",
            "--armor",
            "--pinentry-mode",
            "loopback",
            "--passphrase",
            "x",
        ];
        try_run("gpg", &[&common, arguments].concat(), self.0.path(), input)
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Option<String> {
        let (output, success) = self.try_run(arguments, input)?;
        assert!(success, "gpg {arguments:?}");
        Some(String::from_utf8(output).expect("text"))
    }

    fn passes(&self, arguments: &[&str], size: usize) {
        let armor = self.run(arguments, &noise(size)).expect("as before");
        assert!(armor.starts_with("-----BEGIN PGP MESSAGE"), "{arguments:?}");
        assert_passes(&armor);
    }
}

impl Drop for Gpg {
    fn drop(&mut self) {
        // gpg started one for this directory alone.
        try_run("gpgconf", &["--kill", "gpg-agent"], self.0.path(), b"");
    }
}

#[test]
fn gnupg_messages_pass_in_every_shape() {
    let Some(gpg) = Gpg::new(&KEYS.map(|(name, ..)| name)) else {
        return;
    };
    for (name, ..) in KEYS {
        for option in ["-r", "-R"] {
            for size in [0, 9_000] {
                gpg.passes(&["-e", option, name], size);
            }
        }
    }
    let everyone: Vec<&str> = KEYS.iter().flat_map(|(name, ..)| ["-r", *name]).collect();
    let hidden: Vec<&str> = KEYS.iter().flat_map(|(name, ..)| ["-R", *name]).collect();
    for size in SIZES {
        gpg.passes(&[&["-e"], &everyone[..]].concat(), size);
        gpg.passes(&[&["-e"], &hidden[..]].concat(), size);
        gpg.passes(&["-e", "-r", "rsa", "-R", "cv25519"], size);
        gpg.passes(&["-e", "-r", "rsa", "--throw-keyids"], size);
        gpg.passes(&["-c"], size);
        gpg.passes(&["-c", "-e", "-r", "cv25519"], size);
        gpg.passes(&["-c", "-e", "-R", "rsa", "-R", "elgamal"], size);
        gpg.passes(&["-se", "-u", "cv25519", "-r", "rsa"], size);
        for algorithm in ["none", "zip", "zlib", "bzip2"] {
            gpg.passes(&["-e", "-r", "cv25519", "--compress-algo", algorithm], size);
        }
    }
    // From 2.3 on, ciphers with blocks of 64 bits have to be asked for.
    let old = "--allow-old-cipher-algos";
    let (_, known) = gpg.try_run(&[old, "--version"], b"").expect("as before");
    let old: &[&str] = if known { &[old] } else { &[] };
    for cipher in [
        "AES",
        "AES192",
        "AES256",
        "TWOFISH",
        "CAMELLIA256",
        "3DES",
        "CAST5",
    ] {
        let forced = [old, &["--cipher-algo", cipher]].concat();
        gpg.passes(&[&["-e", "-r", "cv25519"], &forced[..]].concat(), 100);
        gpg.passes(&[&["-c"], &forced[..]].concat(), 100);
    }
    for mode in ["0", "1", "3"] {
        for digest in ["SHA1", "SHA256", "SHA512"] {
            gpg.passes(
                &["-c", "--s2k-mode", mode, "--s2k-digest-algo", digest],
                100,
            );
        }
    }
    for option in [
        "--openpgp",
        "--rfc4880",
        "--textmode",
        "--for-your-eyes-only",
        "--no-emit-version",
        "--emit-version",
        "--comment=made on a Sunday",
    ] {
        gpg.passes(&["-e", "-r", "rsa", option], 100);
        gpg.passes(&["-c", option], 100);
    }
    // From a file gpg knows the size and writes no partial lengths.
    for size in SIZES {
        let file = gpg.0.path().join("plain");
        std::fs::write(&file, noise(size)).expect("a file");
        let name = file.to_str().expect("UTF-8");
        for algorithm in ["none", "zip"] {
            let arguments = [
                "-e",
                "-r",
                "rsa",
                "--compress-algo",
                algorithm,
                "-o",
                "-",
                name,
            ];
            gpg.passes(&arguments, 0);
        }
    }
}

#[test]
fn gnupg_messages_that_are_not_encrypted_or_without_integrity_do_not_pass() {
    let Some(gpg) = Gpg::new(&["cv25519"]) else {
        return;
    };
    let signed = ["-s", "-u", "cv25519"];
    let stored = ["--store"];
    // LibrePGP's packet of type 20, which versions from 2.3 on write to keys that ask for it, and no
    // one else reads.
    let ocb = ["-e", "-r", "cv25519", "--force-ocb"];
    let mut refused = 0;
    for arguments in [&signed[..], &stored, &ocb] {
        let (armor, success) = gpg.try_run(arguments, &noise(100)).expect("as before");
        if !success {
            assert_eq!(arguments, ocb, "GnuPG 2.2 does not know it");
            continue;
        }
        refused += 1;
        let armor = String::from_utf8(armor).expect("text");
        for direction in [Direction::Outgoing, Direction::Incoming] {
            let refusal = common::refusal(direction, &delta_chat(&armor));
            assert_eq!(refusal.reason.name(), "packet", "{arguments:?}");
        }
    }
    assert!(refused >= 2);
}

#[test]
fn sequoia_messages_pass_in_every_shape() {
    let home = tempfile::tempdir().expect("directory");
    let home = home.path();
    let sq = |arguments: &[&str], input: &[u8]| run("sq", arguments, home, input);
    for suite in ["cv25519", "rsa3k"] {
        let generate = [
            "key",
            "generate",
            "--userid",
            "bob@chat.test",
            "--cipher-suite",
            suite,
        ];
        let export = ["--export", suite];
        if sq(&[&generate[..], &export].concat(), b"").is_none() {
            return;
        }
    }
    for size in SIZES {
        for recipients in [&["cv25519"][..], &["rsa3k"], &["cv25519", "rsa3k"]] {
            let recipients: Vec<&str> = recipients
                .iter()
                .flat_map(|name| ["--recipient-cert", name])
                .collect();
            for more in [
                &["--compression", "pad"][..],
                &["--compression", "none"],
                &["--compression", "zip"],
                &["--signer-key", "cv25519"],
                &["--mode", "transport"],
            ] {
                let arguments = [&["encrypt"], &recipients[..], more].concat();
                assert_passes(&sq(&arguments, &noise(size)).expect("as before"));
            }
        }
    }
}

#[test]
fn messages_of_sequoias_stateless_command_pass_in_every_shape() {
    let home = tempfile::tempdir().expect("directory");
    let home = home.path();
    let sqop = |arguments: &[&str], input: &[u8]| run("sqop", arguments, home, input);
    for name in ["alice", "bob"] {
        let Some(key) = sqop(&["generate-key", name], b"") else {
            return;
        };
        let certificate = sqop(&["extract-cert"], key.as_bytes()).expect("as before");
        std::fs::write(home.join(format!("{name}.key")), key).expect("a file");
        std::fs::write(home.join(name), certificate).expect("a file");
    }
    std::fs::write(home.join("password"), "a secret").expect("a file");
    for size in SIZES {
        for arguments in [
            &["bob"][..],
            &["alice", "bob"],
            &["--with-password=password"],
            &["--with-password=password", "bob"],
            &["--sign-with=alice.key", "bob"],
            &[
                "--sign-with=alice.key",
                "--with-password=password",
                "alice",
                "bob",
            ],
        ] {
            let arguments = [&["encrypt"], arguments].concat();
            assert_passes(&sqop(&arguments, &noise(size)).expect("as before"));
        }
    }
    // Signed is not encrypted.
    let signed = sqop(&["inline-sign", "alice.key"], b"Attack at dawn.").expect("as before");
    let refusal = common::refusal(Direction::Incoming, &delta_chat(&signed));
    assert_eq!(refusal.reason.name(), "packet");
}

#[test]
fn gnupg_keys_stay_in_an_autocrypt_header() {
    let Some(gpg) = Gpg::new(&KEYS.map(|(name, ..)| name)) else {
        return;
    };
    for (name, ..) in KEYS {
        let arguments = ["--export", "--export-options", "export-minimal", name];
        let armor = gpg.run(&arguments, b"").expect("as before");
        let key: String = armor
            .lines()
            .skip_while(|line| !line.is_empty())
            .take_while(|line| !line.starts_with('='))
            .map(|line| format!("\n {line}"))
            .collect();
        let key = key.trim_start();
        let author = format!("{name}@chat.test");
        let value = format!("addr={author}; prefer-encrypt=mutual; keydata=\n {key}");
        assert!(oracle::keeps_key_of(&author, value.as_bytes()), "{value}");
        let other = oracle::keeps_key_of("bob@chat.test", value.as_bytes());
        assert!(!other, "{name}");
    }
}
