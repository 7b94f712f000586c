#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use chatmail_core::address::Address;

use super::*;

struct Relay {
    base: tempfile::TempDir,
    config: Config,
    latest: Latest,
}

impl Relay {
    fn new() -> Relay {
        let base = tempfile::tempdir().unwrap();
        let ini = base.path().join("chatmail.ini");
        let text = format!(
            "[params]\nmail_domain = chat.test\nmailboxes_dir = {dir}/mail\nmax_load_1m = inf\n\
             min_free_disk_space = 2G\nnocreate_file = {dir}/nocreate\n",
            dir = base.path().display()
        );
        fs::write(&ini, text).unwrap();
        fs::create_dir(base.path().join("mail")).unwrap();
        Relay {
            config: Config::load(&ini).unwrap(),
            base,
            latest: Latest::default(),
        }
    }

    fn text(&self, format: Format) -> String {
        let metrics = Metrics::new(&self.config, Arc::default(), self.latest.clone());
        metrics.render(format)
    }

    /// Name with labels, and value.
    fn numbers(&self) -> BTreeMap<String, String> {
        let text = self.text(Format::Text);
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let numbers: Vec<_> = lines.map(|line| line.rsplit_once(' ').unwrap()).collect();
        let count = numbers.len();
        let numbers: BTreeMap<_, _> = numbers
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        assert_eq!(numbers.len(), count, "one of them twice: {text}");
        numbers
    }

    fn counters(&self) -> Counters {
        Counters::new(&self.config.mailboxes())
    }

    fn counters_file(&self) -> PathBuf {
        self.base.path().join("mail/.chatmail/counters")
    }

    fn report(&self, taken: SystemTime) {
        let mailboxes = self.config.mailboxes();
        for (address, size) in [
            ("alice0001", 3_000),
            ("ci-000001", 5),
            ("bob000001", 700_000),
        ] {
            let address = format!("{address}@chat.test");
            let address = Address::parse(address.as_bytes(), mailboxes.domain()).unwrap();
            let dir = mailboxes.mailbox(&address).path().to_owned();
            fs::create_dir_all(dir.join("cur")).unwrap();
            fs::write(dir.join("password"), "1234567").unwrap();
            fs::write(dir.join(format!("cur/1500000000.M1P1.x,S={size}:2,")), "x").unwrap();
        }
        self.latest.set(Report::of(&mailboxes, taken).unwrap());
    }
}

#[test]
fn counters_of_all_processes_are_told_by_name() {
    let relay = Relay::new();
    let zero = relay.numbers();
    for counter in Counter::ALL {
        assert_eq!(zero[counter.name()], "0");
    }
    assert!(!relay.counters_file().exists(), "telling is not counting");
    relay.counters().add(Counter::LoginCreated, 3);
    relay.counters().add(Counter::AccountNewWeb, 2);
    relay.counters().add(Counter::ExpiredBytes, u64::MAX);
    let now = relay.numbers();
    for (name, value) in [
        (Counter::LoginCreated.name(), "3"),
        ("chatmail_accounts_new_total{by=\"login\"}", "3"),
        ("chatmail_accounts_new_total{by=\"web\"}", "2"),
        ("chatmail_accounts_new_total{by=\"operator\"}", "0"),
        ("chatmail_expired_bytes_total", "18446744073709551615"),
        ("chatmail_counters_readable", "1"),
    ] {
        assert_eq!(now[name], value, "{name}");
    }
}

#[test]
fn every_counter_is_of_one_family_that_is_explained() {
    let families: BTreeSet<&str> = counted::FAMILIES.iter().map(|(name, _)| *name).collect();
    assert_eq!(families.len(), counted::FAMILIES.len());
    let counted = Counter::ALL.iter();
    let counted: BTreeSet<&str> = counted
        .map(|counter| counted::family_of(counter.name()))
        .collect();
    assert_eq!(counted, families);
}

#[test]
fn a_file_of_counters_that_is_none_costs_the_counters_only() {
    let relay = Relay::new();
    fs::create_dir_all(relay.counters_file()).unwrap();
    let numbers = relay.numbers();
    assert_eq!(numbers["chatmail_counters_readable"], "0");
    assert!(!numbers.contains_key("chatmail_deliveries_total"));
    assert_eq!(numbers["chatmail_push_pending"], "0");
    assert!(numbers.contains_key("process_cpu_seconds_total"));

    fs::remove_dir(relay.counters_file()).unwrap();
    fs::write(relay.counters_file(), vec![0xff; 1_000]).unwrap();
    assert_eq!(relay.numbers()["chatmail_deliveries_total"], "0");
}

#[test]
fn the_host_is_told_with_its_limits() {
    let relay = Relay::new();
    let numbers = relay.numbers();
    assert_eq!(numbers["chatmail_host_load_limit"], "+Inf");
    assert_eq!(numbers["chatmail_host_free_disk_limit_bytes"], "2147483648");
    assert!(
        numbers["chatmail_host_free_disk_bytes"]
            .parse::<u64>()
            .unwrap()
            > 0
    );
    assert!(numbers["chatmail_host_load"].parse::<f64>().unwrap() >= 0.0);
    assert_eq!(numbers["chatmail_signups_switched_off"], "0");
    fs::write(relay.base.path().join("nocreate"), "").unwrap();
    assert_eq!(relay.numbers()["chatmail_signups_switched_off"], "1");
    fs::remove_dir(relay.base.path().join("mail")).unwrap();
    assert!(
        !relay
            .numbers()
            .contains_key("chatmail_host_free_disk_bytes")
    );
}

#[test]
fn accounts_and_messages_are_those_of_the_last_report_and_its_age_is_told() {
    let relay = Relay::new();
    assert!(
        !relay
            .numbers()
            .contains_key("chatmail_accounts{kind=\"all\"}")
    );
    relay.report(SystemTime::now() - Duration::from_secs(100));
    let numbers = relay.numbers();
    let age: u64 = numbers["chatmail_report_age_seconds"].parse().unwrap();
    assert!((100..160).contains(&age), "{age}");
    for (name, value) in [
        ("chatmail_report_unreadable", "0"),
        ("chatmail_accounts{kind=\"all\"}", "3"),
        ("chatmail_accounts{kind=\"ci\"}", "1"),
        ("chatmail_accounts{kind=\"user\"}", "2"),
        ("chatmail_accounts_active{days=\"1\"}", "2"),
        ("chatmail_storage_bytes{kind=\"messages\"}", "703005"),
        ("chatmail_storage_bytes{kind=\"extra\"}", "21"),
        ("chatmail_storage_bytes{kind=\"total\"}", "703026"),
        ("chatmail_messages{min_size=\"0\"}", "3"),
        ("chatmail_messages{min_size=\"524288\"}", "1"),
        ("chatmail_messages_bytes{min_size=\"524288\"}", "700000"),
        ("chatmail_old_messages{min_days=\"30\"}", "3"),
        ("chatmail_old_messages_bytes{min_days=\"30\"}", "703005"),
    ] {
        assert_eq!(numbers.get(name).map(String::as_str), Some(value), "{name}");
    }
    relay
        .latest
        .set(Report::new(SystemTime::now() + Duration::from_secs(500)));
    assert_eq!(relay.numbers()["chatmail_report_age_seconds"], "0");
}

#[test]
fn each_family_stands_together_under_its_own_heading_in_both_formats() {
    let relay = Relay::new();
    relay.report(SystemTime::now());
    for (format, counter) in [(Format::Text, "_total"), (Format::OpenMetrics, "")] {
        let text = relay.text(format);
        assert!(!text.contains('@'), "{text}");
        let mut seen = BTreeSet::new();
        let mut lines = text.lines().filter(|line| *line != "# EOF").peekable();
        while let Some(help) = lines.next() {
            let help = help
                .strip_prefix("# HELP ")
                .unwrap_or_else(|| panic!("{help}"));
            let (family, meaning) = help.split_once(' ').unwrap();
            assert!(!meaning.is_empty() && seen.insert(family), "{family}");
            let kind = lines.next().unwrap().strip_prefix("# TYPE ").unwrap();
            let (typed, kind) = kind.split_once(' ').unwrap();
            assert_eq!(typed, family);
            let ending = match kind {
                "counter" if counter.is_empty() => "_total",
                "info" => "_info",
                _ => "",
            };
            assert_eq!(
                kind == "counter",
                format!("{family}{ending}").ends_with("_total")
            );
            let mut samples = 0;
            while let Some(line) = lines.next_if(|line| !line.starts_with('#')) {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let name = counted::family_of(name);
                assert_eq!(name, format!("{family}{ending}"), "{line}");
                assert!(value.parse::<f64>().is_ok(), "{line}");
                samples += 1;
            }
            assert!(samples > 0, "{family}");
        }
        assert_eq!(text.ends_with("# EOF\n"), format == Format::OpenMetrics);
    }
}

#[test]
fn a_client_gets_the_format_it_asks_for() {
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                      application/openmetrics-text;version=0.0.1;q=0.5,\
                      text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, format) in [
        (prometheus, Format::OpenMetrics),
        ("application/openmetrics-text", Format::OpenMetrics),
        (
            "Application/OpenMetrics-Text ; Version=\"1.0.0\"",
            Format::OpenMetrics,
        ),
        (
            "text/plain;q=0.5, application/openmetrics-text;q=0.4",
            Format::Text,
        ),
        ("application/openmetrics-text;version=0.0.1", Format::Text),
        ("application/openmetrics-text;q=0", Format::Text),
        ("application/openmetrics-text;q=2", Format::Text),
        ("application/openmetrics-text;q=x", Format::Text),
        ("text/html,*/*;q=0.8", Format::Text),
        ("", Format::Text),
        (";;,q=1,=,", Format::Text),
    ] {
        assert_eq!(Format::of_accept(accept), format, "{accept}");
    }
}

#[test]
fn the_manual_explains_every_number_and_no_other() {
    let relay = Relay::new();
    relay.report(SystemTime::now());
    let text = relay.text(Format::Text);
    let told: BTreeSet<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .collect();
    let manual = include_str!("../../../../man/chatmail.1");
    let explained: BTreeSet<&str> = manual
        .lines()
        .filter_map(|line| line.strip_prefix(".It Ic "))
        .filter(|name| name.starts_with("chatmail_") || name.starts_with("process_"))
        .collect();
    assert_eq!(explained, told);
}
