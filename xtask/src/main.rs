//! `cargo xtask`: the chores of this repository. Each command does all of its set-up itself.

#![forbid(unsafe_code)]

mod bench;
mod build;
mod command;
mod dovecot;
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
  cargo xtask relay           a private relay on loopback, until Ctrl-C
  cargo xtask relay --check   start one, send mail through it, say what worked, stop
  cargo xtask test            everything CI runs
  cargo xtask bench           what the relay costs, next to the same servers without it

All work on a bare Debian machine with Rust and a C compiler. System packages that are missing are \
named, with the reason, and installed with apt-get; you are asked first, unless CI=true is set or \
the standard input is no terminal. That, and starting mail servers, takes root: as another user \
the command runs itself again through sudo.";

#[derive(Subcommand)]
enum Chore {
    /// Run a complete private relay on loopback: own Dovecot, Postfix, filter and notification service
    ///
    /// Installs the system packages that are missing, builds, writes an instance with directories,
    /// ports and a certificate of its own below target/relay, starts it, prints an account with its
    /// dclogin: link and QR code for Delta Chat, and runs until Ctrl-C. Then it stops everything it
    /// started; mailboxes are kept for the next run.
    ///
    /// Mail servers of the distribution are left alone, and no mail leaves the machine. The filter
    /// signs with a key of the instance's own, and asks a DNS server of the instance's own for the
    /// keys of others: it says what DIR/dns/zone says. With --peer, two relays exchange mail. Dovecot
    /// loads some modules from one fixed directory only: auth/libauthdb_chatmail.so and, for 2.4,
    /// settings/libchatmail_settings.so are installed there, and stay. With --dovecot it may run in a
    /// Debian tree below target/dovecot, and then nothing of ours is installed on the host.
    ///
    /// While the relay runs, DIR/endpoints.json says where everything is: ports, sockets,
    /// mailboxes, configuration, process ids. A part of ours that dies is started again.
    Relay(relay::Options),
    /// Build the Dovecot modules and print where they are, for tests
    #[command(hide = true)]
    Modules(build::ModulesOptions),
    /// Run everything CI runs: formatting, lints, the C code, and every test against real servers
    ///
    /// Installs the system packages that are missing, then: formatting; clippy, where a warning is
    /// an error; whether the fuzz targets compile; the C code of the Dovecot modules, where a
    /// warning is an error; the unit and integration tests of all crates; and the end-to-end tests,
    /// which start private relays and send mail through them with Delta Chat and with clients of
    /// their own: once with Dovecot 2.3 and once with 2.4. The one that this host does not have runs
    /// in a Debian tree, made with debootstrap; where the system lets nobody mount, its stages are
    /// skipped, which is said at the end. Programs from PyPI go into virtual environments below target/.
    Test(test::Options),
    /// Measure what the relay costs, next to the same servers without our parts
    ///
    /// Starts two private relays with the same rendered configuration. In the one called "bare" our
    /// parts are taken out again: Dovecot has a passwd-file with SHA512-CRYPT and a static userdb, no
    /// chatmail plugin, and a file for METADATA; Postfix has no filter. In rows that say "Dovecot's
    /// defaults" bare has Dovecot's own process settings, too, in all others those that we ship. In
    /// both, Postfix discards what it accepted (but for Delta Chat), and the filter neither signs nor
    /// verifies. What that costs is measured by itself: in rows that say "dkim = false", "bare" is a
    /// whole relay with that setting. After a round to warm up, the two take turns; the table shows
    /// medians over the rounds, and whether the project's targets are met.
    ///
    /// CPU time is user and system time of all processes of the servers that are named, those that
    /// have ended included; clients are not counted. "ours:bare" is a multiple (x) or a difference
    /// (+, -) and means something on a busy machine, too; the figures themselves need an idle one.
    /// "before" is what the project measured, on another machine, with the services that this relay
    /// replaces: Python daemons, a Lua script, an SMTP proxy filter.
    ///
    /// Progress goes to standard error, the table to standard output.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let outcome = match arguments.command {
        Chore::Relay(options) => relay::run(options),
        Chore::Modules(options) => build::modules(&options),
        Chore::Test(options) => test::everything(&options),
        Chore::Bench(options) => bench::run(&options),
    };
    match outcome {
        Ok(code) => code,
        Err(failure) => {
            terminal::say(format_args!("error: {failure:#}"));
            ExitCode::FAILURE
        }
    }
}
