//! The command line.

use std::path::PathBuf;

use chatmail_milter::Endpoint;
use chatmail_sockets::access::mode;
use clap::{Parser, ValueEnum};
use tracing::level_filters::LevelFilter;

/// The Postfix filter of a chatmail relay: only end-to-end encrypted mail enters or leaves.
#[derive(Debug, Parser)]
#[command(name = "chatmail-milter", version, after_long_help = MANUAL, max_term_width = 100)]
pub(crate) struct Cli {
    /// chatmail.ini; SIGHUP reads it again
    #[arg(long, value_name = "FILE")]
    pub(crate) config: PathBuf,

    /// Where Postfix hands over mail of users who are logged in (ports 587 and 465):
    /// unix:/PATH or inet:PORT@HOST [default: systemd's socket `outgoing`]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) outgoing: Option<Endpoint>,

    /// Where Postfix hands over mail of other hosts (port 25) [default: systemd's `incoming`]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) incoming: Option<Endpoint>,

    /// Where Postfix hands over its own bounces, which are signed and not checked
    /// (non_smtpd_milters) [default: systemd's `internal`, or none]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) internal: Option<Endpoint>,

    /// Where monitors read GET /metrics over HTTP [default: systemd's `metrics`, or none]
    #[arg(long, value_name = "SOCKET")]
    pub(crate) metrics: Option<Endpoint>,

    /// Permissions of Unix sockets, octal: Postfix needs to write to them
    #[arg(long, value_name = "MODE", default_value = "0660", value_parser = mode)]
    pub(crate) socket_mode: u32,

    /// Group of Unix sockets, by name or number [default: this process's group]
    #[arg(long, value_name = "GROUP")]
    pub(crate) socket_group: Option<String>,

    /// The least important messages that are written to standard error
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub(crate) log_level: LogLevel,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum LogLevel {
    /// What needs the operator
    Error,
    /// What may need the operator
    Warn,
    /// One line per message
    Info,
    /// Lost connections too
    Debug,
}

impl LogLevel {
    pub(crate) fn filter(self) -> LevelFilter {
        match self {
            LogLevel::Error => LevelFilter::ERROR,
            LogLevel::Warn => LevelFilter::WARN,
            LogLevel::Info => LevelFilter::INFO,
            LogLevel::Debug => LevelFilter::DEBUG,
        }
    }
}

const MANUAL: &str = "\
In Postfix's master.cf, one line for each service and one socket for each direction:

  submission inet n - y - 1000 smtpd
    -o smtpd_sasl_auth_enable=yes
    -o { smtpd_milters = { unix:chatmail/outgoing.sock, default_action=tempfail } }
  smtp inet n - y - - smtpd
    -o { smtpd_milters = { unix:chatmail/incoming.sock, default_action=tempfail } }

Postfix reads a relative path from its queue directory, usually /var/spool/postfix, also in a
chroot. default_action must be tempfail: with 'accept', mail passes unchecked while the filter is
away.

A socket that systemd passes on (FileDescriptorName= outgoing, incoming, internal or metrics) takes
the place of the option of that name. --metrics shows numbers to whoever can connect: keep it on
127.0.0.1 or behind the permissions of a Unix socket.

Signals:
  SIGTERM, SIGINT  finish the messages that are on their way (10 s at most), then exit
  SIGHUP           read the configuration and the DKIM key again; if either is broken, that is
                   reported and both stay as they were

Log, one line for each message: queue id, direction, verdict, the rule that decided, size in octets,
milliseconds from the first header field to the verdict. No address and no word of a message.

Exit codes:
  0   stopped by a signal      64  wrong usage
  71  the system refused       73  a socket cannot be created
  75  another process listens  78  the configuration or the DKIM key is missing or broken

More in chatmail-milter(8) and chatmail.ini(5).";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
