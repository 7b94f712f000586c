//! Where a new password comes from: never the command line, which others can see.

use std::io::{self, BufRead, IsTerminal};

use chatmail_core::account;
use chatmail_core::config::Config;
use chatmail_core::signup::PASSWORD_MAX;
use clap::Args;

use super::failed;
use crate::exit::{Exit, Failure};

/// Two ways besides being asked for it.
#[derive(Args)]
#[group(multiple = false)]
pub(super) struct Source {
    /// Take the password from the first line of standard input
    #[arg(long)]
    pub(super) stdin: bool,
    /// Think up a password and print it
    #[arg(long)]
    pub(super) generate: bool,
}

/// A password, and whether its user has to be told.
pub(super) struct Password {
    pub(super) text: String,
    pub(super) is_generated: bool,
}

impl Source {
    /// The password, by whichever way.
    pub(super) fn password(&self, config: &Config) -> Result<Password, Failure> {
        if self.generate {
            let account = account::random(config).map_err(failed)?;
            return Ok(Password {
                text: account.password,
                is_generated: true,
            });
        }
        let text = match self.stdin {
            true => first_line(io::stdin().lock())?,
            false => ask()?,
        };
        check(&text, config.password_min_length).map_err(|why| Failure(Exit::Data, why))?;
        Ok(Password {
            text,
            is_generated: false,
        })
    }
}

fn first_line(input: impl BufRead) -> Result<String, Failure> {
    let mut line = Vec::new();
    // One byte too many is enough to see that it is too long.
    let mut input = input.take(PASSWORD_MAX as u64 + 3);
    input.read_until(b'\n', &mut line).map_err(failed)?;
    let line = line.strip_suffix(b"\n").unwrap_or(&line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    String::from_utf8(line.to_owned())
        .map_err(|_| Failure(Exit::Data, "the password is not UTF-8".to_owned()))
}

fn ask() -> Result<String, Failure> {
    if !io::stdin().is_terminal() {
        let why = "no terminal to ask for the password: give --stdin or --generate";
        return Err(Failure(Exit::Usage, why.to_owned()));
    }
    let first = rpassword::prompt_password("New password: ").map_err(failed)?;
    let again = rpassword::prompt_password("Once more: ").map_err(failed)?;
    match first == again {
        true => Ok(first),
        false => Err(Failure(Exit::Data, "these are two passwords".to_owned())),
    }
}

/// What Dovecot and `crypt` take, and what a new account needs.
fn check(password: &str, min_length: usize) -> Result<(), String> {
    if password.chars().count() < min_length {
        return Err(format!("a password has {min_length} characters at least"));
    }
    if password.len() > PASSWORD_MAX {
        return Err(format!("a password has {PASSWORD_MAX} bytes at most"));
    }
    if password.chars().any(char::is_control) {
        return Err("Dovecot takes no password with a control character".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_the_first_line() {
        for (input, password) in [
            (&b"correct horse\n"[..], "correct horse"),
            (b"correct horse\r\nbattery", "correct horse"),
            (b" correct horse ", " correct horse "),
            (b"", ""),
        ] {
            assert_eq!(first_line(input).expect("a line"), password);
        }
        assert!(first_line(&b"\xff\n"[..]).is_err());
        let long = first_line(&[b'x'; 600][..]).expect("a line");
        assert!(check(&long, 9).is_err());
    }

    #[test]
    fn a_password_nobody_could_log_in_with_is_refused() {
        assert!(check("gr\u{fc}\u{df}e \"'\\ /", 9).is_ok());
        assert!(check(&"x".repeat(511), 9).is_ok());
        for bad in ["12345678", "with\ttab in it", "", &"x".repeat(512)] {
            assert!(check(bad, 9).is_err(), "{bad}");
        }
    }
}
