//! `/metrics`: what all processes of the relay counted, and what this one knows of it now.
//!
//! A scrape reads one file of a few kilobytes and asks the kernel a few questions. What takes a walk
//! over the mailboxes is the last report's, and its age is told with it. What cannot be read is left
//! out: everything else is still worth knowing. No label is an address: all come from fixed lists.
//!
//! The manual, chatmail(1), explains every number.

use std::sync::Arc;
use std::time::SystemTime;

use chatmail_core::config::Config;
use chatmail_core::counters::{Counter, Counters};
use chatmail_core::signup::HostNow;
use chatmail_core::usage::Report;

use crate::housekeeping::Latest;
use crate::push::Status;

mod counted;
mod exposition;
mod process;

pub use exposition::Format;

use exposition::{Exposition, Float};
use process::Process;

/// Everything there is to tell about one relay.
#[derive(Debug)]
pub struct Metrics {
    config: Arc<Config>,
    counters: Counters,
    push: Arc<Status>,
    latest: Latest,
    process: Process,
}

impl Metrics {
    /// For the relay of `config`, its push delivery, and the last report on its mailboxes.
    pub fn new(config: &Config, push: Arc<Status>, latest: Latest) -> Metrics {
        Metrics {
            config: Arc::new(config.clone()),
            counters: Counters::new(&config.mailboxes()),
            push,
            latest,
            process: Process::started_now(),
        }
    }

    /// All of it, as it is at this moment. Reads files: a disk that hangs holds it up.
    pub fn render(&self, format: Format) -> String {
        let now = SystemTime::now();
        let mut out = Exposition::new(format);
        out.info(
            "chatmail_build_info",
            "The running program",
            [("version", env!("CARGO_PKG_VERSION"))],
        );
        self.counted(&mut out);
        self.push(&mut out, now);
        if let Some(report) = self.latest.get() {
            reported(&mut out, &report, now);
        }
        self.host(&mut out);
        self.process.tell(&mut out);
        out.finish()
    }

    fn counted(&self, out: &mut Exposition) {
        let values = self.counters.read();
        out.gauge(
            "chatmail_counters_readable",
            "Whether the file of counters could be read; they are left out if not",
            u8::from(values.is_ok()),
        );
        if let Ok(values) = values {
            counted::tell(out, &values);
        }
    }

    fn push(&self, out: &mut Exposition, now: SystemTime) {
        out.gauge(
            "chatmail_push_pending",
            "Notifications in the spool, those on their way included",
            self.push.pending(),
        );
        out.gauge(
            "chatmail_push_in_flight",
            "Requests on their way to the push service",
            self.push.in_flight(),
        );
        out.gauge(
            "chatmail_push_oldest_age_seconds",
            "Since the message of the oldest pending notification was stored; 0 if none is pending",
            self.push.oldest().map_or(0, |oldest| seconds(oldest, now)),
        );
        out.gauge(
            "chatmail_push_paused",
            "Whether the push service is taken to be down",
            u8::from(self.push.paused()),
        );
    }

    fn host(&self, out: &mut Exposition) {
        let now = HostNow::measure(&self.config);
        let of = &self.config;
        out.known(
            "chatmail_host_load",
            "Load average over one minute, as the sign-up policy sees it",
            now.load.map(Float),
        );
        out.gauge(
            "chatmail_host_load_limit",
            "Above this load nobody gets a new address",
            Float(of.max_load_1m),
        );
        out.known(
            "chatmail_host_available_memory_bytes",
            "Memory available without swapping, as the sign-up policy sees it",
            now.available_memory,
        );
        out.gauge(
            "chatmail_host_available_memory_limit_bytes",
            "With less memory available nobody gets a new address",
            of.min_available_memory,
        );
        out.known(
            "chatmail_host_free_disk_bytes",
            "Free space for mailboxes, as the sign-up policy sees it",
            now.free_disk_space,
        );
        out.gauge(
            "chatmail_host_free_disk_limit_bytes",
            "With less free space nobody gets a new address",
            of.min_free_disk_space,
        );
        out.known(
            "chatmail_signups_switched_off",
            "Whether the file that switches the creation of accounts off is there",
            std::fs::exists(&of.nocreate_file).ok().map(u8::from),
        );
    }
}

/// What is known from the last look at all mailboxes.
fn reported(out: &mut Exposition, report: &Report, now: SystemTime) {
    let total = report.messages.bytes.saturating_add(report.other.bytes);
    out.gauge(
        "chatmail_report_age_seconds",
        "Since the report was made that the numbers of accounts, storage and messages are from",
        seconds(report.taken, now),
    );
    out.gauge(
        "chatmail_report_unreadable",
        "Directories the report could not read, or not to the end",
        report.unreadable,
    );
    out.gauges(
        "chatmail_accounts",
        "Accounts: all, those of automatic tests, those of people",
        "kind",
        [
            ("all", report.accounts),
            ("ci", report.ci_accounts),
            ("user", report.user_accounts()),
        ],
    );
    out.gauges(
        "chatmail_accounts_active",
        "Accounts of people with a login in so many days",
        "days",
        report.active(),
    );
    out.gauges(
        "chatmail_storage_bytes",
        "Bytes in all mailboxes; messages count before compression",
        "kind",
        [
            ("messages", report.messages.bytes),
            ("extra", report.other.bytes),
            ("total", total),
        ],
    );
    out.gauges(
        "chatmail_messages",
        "Messages of at least this size in bytes",
        "min_size",
        report.sizes().map(|(size, amount)| (size, amount.count)),
    );
    out.gauges(
        "chatmail_messages_bytes",
        "Bytes in messages of at least this size in bytes",
        "min_size",
        report.sizes().map(|(size, amount)| (size, amount.bytes)),
    );
    out.gauges(
        "chatmail_old_messages",
        "Messages of at least this age in days",
        "min_days",
        report.ages().map(|(days, amount)| (days, amount.count)),
    );
    out.gauges(
        "chatmail_old_messages_bytes",
        "Bytes in messages of at least this age in days",
        "min_days",
        report.ages().map(|(days, amount)| (days, amount.bytes)),
    );
}

/// Whole seconds from `then` on; 0 if the clock says that it is still to come.
fn seconds(then: SystemTime, now: SystemTime) -> u64 {
    now.duration_since(then).map_or(0, |age| age.as_secs())
}

#[cfg(test)]
mod tests;
