//! The manual says of every key of `chatmail.ini` what holds without it, and of no other; and it
//! is well-formed.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use chatmail_core::config::{DefaultValue, KEYS, Key};

fn pages() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../man")
}

/// The line that begins a key's paragraph.
fn heading(key: &Key) -> String {
    let default = match key.default {
        DefaultValue::Required => "required".to_owned(),
        DefaultValue::Unset => "default: unset".to_owned(),
        DefaultValue::Ignored => "ignored".to_owned(),
        DefaultValue::Value("") => "default: empty".to_owned(),
        DefaultValue::Value(value) => format!("default: Cm {value}"),
        DefaultValue::OfDomain(value) => {
            format!("default: Cm {}", value.replace("{}", "MAIL_DOMAIN"))
        }
    };
    format!(".It Ic {} Pq {default}", key.name)
}

#[test]
fn every_key_stands_in_the_manual_with_its_default() {
    let text = fs::read_to_string(pages().join("chatmail.ini.5")).unwrap();
    let mut documented: Vec<&str> = text.lines().filter(|l| l.starts_with(".It Ic ")).collect();
    let mut expected: Vec<String> = KEYS.iter().map(heading).collect();
    documented.sort_unstable();
    expected.sort_unstable();
    assert_eq!(documented, expected);
}

#[test]
fn every_key_that_does_something_is_explained() {
    let text = fs::read_to_string(pages().join("chatmail.ini.5")).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for key in KEYS.iter().filter(|k| k.default != DefaultValue::Ignored) {
        let at = lines.iter().position(|line| *line == heading(key)).unwrap();
        assert!(!lines[at + 1].starts_with(".It"), "{}", key.name);
        assert!(!lines[at + 1].starts_with(".El"), "{}", key.name);
    }
}

#[test]
fn the_manual_is_well_formed() {
    let pages: Vec<PathBuf> = fs::read_dir(pages())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(pages.len() >= 2);
    let Ok(output) = Command::new("mandoc")
        .args(["-T", "lint", "-W", "warning"])
        .args(&pages)
        .output()
    else {
        assert!(std::env::var_os("CI").is_none(), "mandoc is not installed");
        eprintln!("left out: mandoc is not installed (Debian: apt install mandoc)");
        return;
    };
    let complaints = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{complaints}");
    for page in &pages {
        for (number, line) in fs::read_to_string(page).unwrap().lines().enumerate() {
            // A reply text is quoted whole: `No` there is a word and no macro.
            let words = line.strip_prefix(".Ql ").unwrap_or_default();
            let macros = words.split(' ').find(|word| {
                ["Ad", "An", "At", "Do", "In", "Me", "No", "On", "Or", "To"].contains(word)
            });
            assert_eq!(macros, None, "{}:{}", page.display(), number + 1);
        }
    }
}
