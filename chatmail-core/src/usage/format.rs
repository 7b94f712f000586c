//! The report as text, for people and for Prometheus.

use std::fmt::{self, Display, Write};

use super::{Amount, Report};

impl Report {
    /// For people: a table of a few lines.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_text(&mut text);
        text
    }

    /// For Prometheus, by way of its node exporter: the names are those that relays have always had.
    pub fn to_textfile(&self) -> String {
        let storage = [
            ("messages", self.messages.bytes),
            ("extra", self.other.bytes),
            ("total", self.total()),
        ];
        let accounts = [
            ("all", self.accounts),
            ("ci", self.ci_accounts),
            ("user", self.user_accounts()),
        ];
        let mut text = String::new();
        let mut gauge = Gauges(&mut text);
        gauge.all(
            "chatmail_storage_bytes",
            "Bytes in all mailboxes; messages count before compression.",
            "kind",
            storage.into_iter(),
        );
        gauge.all(
            "chatmail_messages_bytes",
            "Bytes in messages of at least this size.",
            "min_size",
            self.sizes().map(|(size, amount)| (size, amount.bytes)),
        );
        gauge.all(
            "chatmail_messages_count",
            "Messages of at least this size.",
            "min_size",
            self.sizes().map(|(size, amount)| (size, amount.count)),
        );
        gauge.all(
            "chatmail_accounts",
            "Accounts: all, those of automatic tests, those of people.",
            "kind",
            accounts.into_iter(),
        );
        gauge.all(
            "chatmail_accounts_active",
            "Accounts of people with a login in so many days.",
            "days",
            self.active(),
        );
        text
    }

    /// The three gauges of older relays.
    pub fn to_legacy(&self) -> String {
        let mut text = String::new();
        for (name, help, value) in [
            ("accounts", "All accounts.", self.accounts),
            (
                "ci_accounts",
                "Accounts of automatic tests.",
                self.ci_accounts,
            ),
            (
                "nonci_accounts",
                "Accounts of people.",
                self.user_accounts(),
            ),
        ] {
            let mut gauge = Gauges(&mut text);
            gauge.heading(name, help);
            gauge.line(format_args!("{name} {value}"));
        }
        text
    }

    fn total(&self) -> u64 {
        self.messages.bytes.saturating_add(self.other.bytes)
    }

    fn write_text(&self, text: &mut String) -> fmt::Result {
        writeln!(text, "Storage")?;
        let total = Amount {
            count: self.messages.count + self.other.count,
            bytes: self.total(),
        };
        for (what, amount) in [
            ("messages", self.messages),
            ("other files", self.other),
            ("all", total),
        ] {
            row(text, what, amount)?;
        }
        writeln!(text, "\nMessages by size")?;
        for (size, amount) in self.sizes().filter(|(size, _)| *size > 0) {
            row(text, format_args!("at least {}", Bytes(size)), amount)?;
        }
        writeln!(text, "\nMessages by age")?;
        for (days, amount) in self.ages() {
            let unit = if days == 1 { "day" } else { "days" };
            row(text, format_args!("at least {days} {unit}"), amount)?;
        }
        let users = self.user_accounts();
        writeln!(text, "\nAccounts")?;
        writeln!(text, "  {:<20}{:>12}", "all", self.accounts)?;
        writeln!(text, "  {:<20}{:>12}", "of tests", self.ci_accounts)?;
        writeln!(text, "  {:<20}{users:>12}", "of people")?;
        writeln!(text, "\nLast login of people")?;
        for (days, active) in self.active() {
            let unit = if days == 1 { "day" } else { "days" };
            let when = format!("within {days} {unit}");
            let share = match users {
                0 => 0.0,
                users => active as f64 * 100.0 / users as f64,
            };
            writeln!(text, "  {when:<20}{active:>12}{share:>9.1} %")?;
        }
        if self.unreadable > 0 {
            writeln!(text, "\nCould not be read: {}", self.unreadable)?;
        }
        Ok(())
    }
}

fn row(text: &mut String, what: impl Display, amount: Amount) -> fmt::Result {
    let (what, bytes) = (what.to_string(), Bytes(amount.bytes).to_string());
    writeln!(text, "  {what:<20}{:>12}{bytes:>12}", amount.count)
}

/// Bytes with a unit that leaves at most four digits.
struct Bytes(u64);

impl Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
        if self.0 < 1024 {
            return write!(f, "{} B", self.0);
        }
        let mut value = self.0 as f64 / 1024.0;
        let mut unit = "KiB";
        for next in UNITS.into_iter().skip(1) {
            if value < 1024.0 {
                break;
            }
            value /= 1024.0;
            unit = next;
        }
        let digits = usize::from(value < 99.95 && value.fract() != 0.0);
        write!(f, "{value:.digits$} {unit}")
    }
}

/// The text format of Prometheus.
struct Gauges<'a>(&'a mut String);

impl Gauges<'_> {
    fn all(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl Iterator<Item = (impl Display, u64)>,
    ) {
        self.heading(name, help);
        for (of, value) in values {
            self.line(format_args!("{name}{{{label}=\"{of}\"}} {value}"));
        }
    }

    fn heading(&mut self, name: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} gauge"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "{line}");
    }
}
