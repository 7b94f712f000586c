//! The manual page explains every command, its options and exit codes, and no others.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::process::Command;

const MANUAL: &str = include_str!("../../man/chatmail.1");

/// Of a command; of the program for "".
fn help(command: &str) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_chatmail"))
        .args(command.split_ascii_whitespace())
        .arg("--help")
        .output()
        .unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The commands of the program that have none below them: `render`, `user list`.
fn commands() -> Vec<String> {
    commands_of("")
}

fn commands_of(command: &str) -> Vec<String> {
    let help = help(command);
    let Some((_, list)) = help.split_once("Commands:\n") else {
        return vec![command.to_owned()];
    };
    let (list, _) = list.split_once("\n\n").unwrap();
    list.lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .flat_map(|name| commands_of(format!("{command} {name}").trim_start()))
        .collect()
}

/// The part of the page under this heading.
fn section<'a>(kind: &str, name: &str) -> &'a str {
    let heading = format!("{kind} {name}\n");
    let (_, rest) = MANUAL
        .split_once(&heading)
        .unwrap_or_else(|| panic!("no {heading}"));
    let end = [".Ss ", ".Sh "].map(|next| rest.find(&format!("\n{next}")).unwrap_or(rest.len()));
    &rest[..end[0].min(end[1])]
}

/// What follows `prefix` at the beginning of a line, as far as it is an option's name.
fn options(text: &str, prefix: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.trim_start().strip_prefix(prefix))
        .map(|rest| {
            let is_name = |c: char| c.is_ascii_lowercase() || c == '-';
            rest.split(|c| !is_name(c)).next().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn every_command_and_option_stands_in_the_manual_and_no_other() {
    let commands = commands();
    assert!(commands.len() >= 4, "{commands:?}");
    let synopsis = section(".Sh", "SYNOPSIS");
    let shown: BTreeSet<&str> = synopsis
        .lines()
        .filter_map(|line| line.strip_prefix(".Cm "))
        .collect();
    assert_eq!(shown, commands.iter().map(String::as_str).collect());
    for command in &commands {
        let known = options(&help(command), "--");
        assert_eq!(
            options(section(".Ss", command), ".It Fl \\-"),
            known,
            "{command}"
        );
        let (_, form) = synopsis.split_once(&format!(".Cm {command}\n")).unwrap();
        let form = form.split(".Nm").next().unwrap();
        for option in known {
            assert!(
                form.contains(&format!("Fl \\-{option}")),
                "{command}: {option}"
            );
        }
    }
}

#[test]
fn every_exit_code_of_a_help_text_stands_in_the_manual() {
    let explained = section(".Sh", "EXIT STATUS");
    for command in commands() {
        let help = help(&command);
        let Some((_, codes)) = help.split_once("Exit codes:") else {
            continue;
        };
        let codes = codes.split("\n\n").next().unwrap();
        let codes: Vec<&str> = codes
            .split([' ', '\n'])
            .filter(|word| word.parse::<u8>().is_ok())
            .collect();
        assert!(codes.len() > 2, "{codes:?}");
        for code in codes {
            assert!(
                explained.contains(&format!(".It {code}\n")),
                "{command}: {code}"
            );
        }
    }
}
