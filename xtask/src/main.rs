//! `cargo xtask`: the chores of this repository. Each command does all of its set-up itself.

#![forbid(unsafe_code)]

mod build;
mod command;
mod interrupt;
mod packages;
mod privilege;
mod relay;
mod services;
mod terminal;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Chores of this repository. Each command installs what it needs, builds, and cleans up behind itself.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", after_help = AFTER_HELP)]
struct Arguments {
    #[command(subcommand)]
    command: Chore,
}

const AFTER_HELP: &str = "\
Examples:
  cargo xtask relay             a private relay on loopback, until Ctrl-C
  cargo xtask relay --check     start one, send mail through it, say what worked, stop
  cargo xtask test              everything CI runs

Both work on a bare Debian machine with Rust and a C compiler. System packages that are missing are named, with the
reason, and installed with apt-get; you are asked first, unless CI=true is set or the standard input is no terminal.
That, and starting mail servers, takes root: as another user the command runs itself again through sudo.";

#[derive(Subcommand)]
enum Chore {
    /// Run a complete private relay on loopback: own Dovecot, Postfix, filter and notification service.
    Relay(relay::Options),
    /// Run everything CI runs: formatting, lints, the C code, and every test against real servers.
    Test(test::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Chore::Relay(options) => relay::run(options),
        Chore::Test(options) => test::everything(&options),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            terminal::say(format_args!("error: {failure:#}"));
            ExitCode::FAILURE
        }
    }
}
