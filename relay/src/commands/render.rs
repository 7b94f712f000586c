//! `chatmail render`.

use std::io::Write;
use std::path::PathBuf;

use chatmail_relay::render::{self, Found, Layout, Rendered};
use clap::Parser;

use crate::exit::{Exit, Failure, load};

/// Write the configuration of Dovecot and Postfix.
///
/// Writes DIR/dovecot/dovecot.conf, DIR/postfix/main.cf, DIR/postfix/master.cf and the small maps
/// beside them. A file that differs is never overwritten silently: without --force the differences
/// are printed, nothing is written, and the exit code is 73.
///
/// Check the result with `doveconf -c DIR/dovecot/dovecot.conf -n` and `postfix -c DIR/postfix check`.
#[derive(Parser)]
#[command(
    after_help = "Exit codes: 0 written or unchanged, 64 wrong usage, 73 files differ or cannot be written, 78 \
wrong chatmail.ini or LAYOUT.json.

Example: a stock Debian host, ports 993, 143, 465, 587 and 25:
  chatmail render --config /etc/chatmail.ini --out /etc/chatmail-rendered"
)]
pub(crate) struct Arguments {
    /// chatmail.ini
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where sockets, ports and directories are (JSON); without it, those of a stock Debian host
    ///
    /// An empty object is the same. `chatmail layout` prints every field with its default. Which
    /// Dovecot is installed is asked unless `dovecot.version` says "2.3" or "2.4".
    #[arg(long, value_name = "FILE")]
    layout: Option<PathBuf>,
    /// Directory to write to; made if missing
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Overwrite files that differ, after printing the differences
    #[arg(long)]
    force: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = load(&arguments.config)?;
    let layout = match &arguments.layout {
        Some(path) => Layout::load(path).map_err(Failure::configuration)?,
        None => Layout::default(),
    };
    let files = render::render(&config, &layout).map_err(Failure::configuration)?;
    let fail = |file: &Rendered, why| {
        let path = file.path(&arguments.out);
        Failure(Exit::CannotCreate, format!("{}: {why}", path.display()))
    };

    let mut to_write = Vec::new();
    let mut different = 0;
    for file in &files {
        match file
            .compare(&arguments.out)
            .map_err(|why| fail(file, why))?
        {
            Found::Same => {}
            Found::Absent => to_write.push(file),
            Found::Different(diff) => {
                print!("{diff}");
                different += 1;
                to_write.push(file);
            }
        }
    }
    if different > 0 && !arguments.force {
        return Err(Failure(
            Exit::CannotCreate,
            format!(
                "nothing written: {different} of {} files differ; --force overwrites them",
                files.len()
            ),
        ));
    }
    for file in &to_write {
        file.write(&arguments.out).map_err(|why| fail(file, why))?;
        println!("{}", file.path(&arguments.out).display());
    }
    std::io::stdout()
        .flush()
        .map_err(|why| Failure(Exit::CannotCreate, why.to_string()))
}
