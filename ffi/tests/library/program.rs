//! The C program in `tests/c`, linked with either library.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, os::unix};

use crate::built::built;

/// What a Rust archive needs of the system (`rustc --print native-static-libs`).
const SYSTEM: [&str; 6] = ["-lgcc_s", "-lutil", "-lrt", "-lpthread", "-lm", "-ldl"];

fn c_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c")
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Compiles all of `tests/c` against the header; every warning is an error.
fn compile(program: &Path, link: &[&Path], more: &[&str]) {
    let mut cc = Command::new("cc");
    cc.args(["-std=c11", "-D_POSIX_C_SOURCE=200809L"])
        .args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-g", "-O1"])
        .arg("-I")
        .arg(c_dir().join("../../../include"))
        .arg("-o")
        .arg(program);
    for entry in fs::read_dir(c_dir()).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|ext| ext == "c") {
            cc.arg(file);
        }
    }
    run(cc.args(link).args(more));
}

/// A relay without mailboxes, on a host without limits.
fn relay(dir: &Path) {
    fs::create_dir(dir.join("mail")).unwrap();
    let ini = format!(
        "[params]\n\
         mail_domain = chat.test\n\
         mailboxes_dir = {dir}/mail\n\
         max_load_1m = 100000\n\
         min_available_memory = 0\n\
         min_free_disk_space = 0\n\
         nocreate_file = {dir}/nocreate\n\
         turn_socket_path = {dir}/no-turn.socket\n",
        dir = dir.display()
    );
    fs::write(
        dir.join("chatmail.ini"),
        format!("{ini}key_of_tomorrow = 1\n"),
    )
    .unwrap();
    fs::write(
        dir.join("faulty.ini"),
        format!("{ini}max_mailbox_size = lots\n"),
    )
    .unwrap();
}

fn with_shared_library(dir: &Path) -> PathBuf {
    let program = dir.join("with-shared-library");
    // Found under its SONAME, as on an installed system.
    let shared = dir.join("libchatmail.so.1");
    unix::fs::symlink(&built().shared, &shared).unwrap();
    compile(
        &program,
        &[&shared],
        &[&format!("-Wl,-rpath,{}", dir.display())],
    );
    program
}

#[test]
fn a_c_program_works_with_the_shared_library() {
    let dir = tempfile::tempdir().unwrap();
    relay(dir.path());
    run(Command::new(with_shared_library(dir.path())).arg(dir.path()));
}

#[test]
fn a_c_program_works_with_the_static_library() {
    let dir = tempfile::tempdir().unwrap();
    relay(dir.path());
    let program = dir.path().join("with-static-library");
    compile(&program, &[&built().archive], &SYSTEM);
    run(Command::new(program).arg(dir.path()));
}

#[test]
fn valgrind_finds_neither_errors_nor_leaks() {
    if Command::new("valgrind").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "valgrind is not installed"
        );
        eprintln!("valgrind is not installed: memory errors and leaks are not looked for");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    relay(dir.path());
    run(Command::new("valgrind")
        .args(["--quiet", "--error-exitcode=99", "--leak-check=full"])
        .args([
            "--show-leak-kinds=definite,indirect",
            "--errors-for-leak-kinds=definite,indirect",
        ])
        .arg(with_shared_library(dir.path()))
        .arg(dir.path()));
}

/// C++ programs may include the header too.
#[test]
fn the_header_is_cxx_as_well() {
    let header = c_dir().join("../../../include/chatmail.h");
    run(Command::new("cc")
        .args([
            "-x",
            "c++",
            "-std=c++11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-fsyntax-only",
        ])
        .arg(header));
}
