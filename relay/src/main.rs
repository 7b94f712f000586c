//! `chatmail`, the operator's command.

mod commands;
mod exit;
mod progress;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::exit::{Exit, Failure};

/// Renders the configuration of a chatmail relay, runs its service, explains its filter, and tries it out.
///
/// A relay is Postfix, Dovecot, the filter `chatmail-milter`, and `chatmail serve`. All four read
/// one file, chatmail.ini.
#[derive(Parser)]
#[command(version, max_term_width = 90)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Render(commands::render::Arguments),
    /// Print the layout of a stock Debian host, to start a LAYOUT.json from
    Layout,
    Serve(commands::serve::Arguments),
    Check(chatmail_relay::check::Arguments),
    Expire(commands::expire::Arguments),
    Usage(commands::usage::Arguments),
    User(commands::user::Arguments),
    ImportSqlite(commands::import_sqlite::Arguments),
    Echobot(commands::echobot::Arguments),
    Test(commands::test::Arguments),
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(help) => {
            // Nothing to be done about a closed terminal.
            let _ = help.print();
            return ExitCode::from(if help.use_stderr() {
                Exit::Usage as u8
            } else {
                0
            });
        }
    };
    match run(&arguments.command) {
        Ok(code) => code,
        Err(Failure(code, why)) => {
            eprintln!("chatmail: {why}");
            ExitCode::from(code as u8)
        }
    }
}

fn run(command: &Command) -> Result<ExitCode, Failure> {
    match command {
        Command::Render(arguments) => commands::render::run(arguments)?,
        Command::Layout => commands::layout::run()?,
        Command::Serve(arguments) => commands::serve::run(arguments)?,
        Command::Expire(arguments) => commands::expire::run(arguments)?,
        Command::User(arguments) => commands::user::run(arguments)?,
        Command::ImportSqlite(arguments) => commands::import_sqlite::run(arguments)?,
        Command::Echobot(arguments) => commands::echobot::run(arguments)?,
        Command::Test(arguments) => commands::test::run(arguments)?,
        Command::Usage(arguments) => return commands::usage::run(arguments),
        Command::Check(arguments) => {
            return commands::check::run(arguments).map(|ended| ExitCode::from(ended.code()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
