//! What the shared library shows to others.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use crate::built::built;

fn header() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../include/chatmail.h");
    std::fs::read_to_string(path).unwrap()
}

/// The functions a header declares: what stands before the `(` of a line that begins at the left
/// edge with a type.
fn declared(header: &str) -> BTreeSet<String> {
    header
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_lowercase()))
        .filter_map(|line| line.split_once('('))
        .filter_map(|(before, _)| before.rsplit([' ', '*']).next())
        .filter(|name| name.starts_with("chatmail_"))
        .map(str::to_owned)
        .collect()
}

fn run(program: &str, args: &[&str]) -> String {
    let mut command = Command::new(program);
    command.args(args).arg(&built().shared).env("LC_ALL", "C");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_library_exports_the_functions_of_the_header_and_nothing_else() {
    let exported: BTreeSet<String> = run("nm", &["-D", "--defined-only", "--format=posix"])
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .map(str::to_owned)
        .collect();
    let declared = declared(&header());
    assert!(declared.len() > 40, "{declared:?}");
    assert_eq!(exported, declared);
}

#[test]
fn the_soname_has_the_abi_version() {
    let version = header()
        .lines()
        .find_map(|line| line.strip_prefix("#define CHATMAIL_ABI_VERSION "))
        .unwrap()
        .to_owned();
    let dynamic = run("readelf", &["--dynamic"]);
    assert!(
        dynamic.contains(&format!("Library soname: [libchatmail.so.{version}]")),
        "{dynamic}"
    );
}
