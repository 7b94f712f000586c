use super::*;
use crate::address::MailDomain;
use std::fs;
use std::time::UNIX_EPOCH;

const NOW: u64 = 20_500 * DAY + DAY / 2;

fn at(days_ago: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW - days_ago * DAY)
}

/// Three people, two accounts of tests, and a directory that is no account.
fn report() -> (tempfile::TempDir, Mailboxes) {
    let base = tempfile::tempdir().unwrap();
    let domain = MailDomain::parse("chat.example").unwrap();
    let mailboxes = Mailboxes::new(base.path().join("mail"), domain);
    for (localpart, days) in [
        ("alice", 0),
        ("bob", 35),
        ("carol", 200),
        ("ci-1", 0),
        ("ac_2", 0),
    ] {
        let mailbox = mailbox(&mailboxes, localpart);
        mailbox.create("12345", at(days)).unwrap();
        for (folder, age, size) in [
            ("cur", 0, 10),
            (".DeltaChat/new", 2, 102_400),
            ("tmp", 40, 20 << 20),
        ] {
            let dir = mailbox.path().join(folder);
            fs::create_dir_all(&dir).unwrap();
            let name = format!("{}.M1P1.h,S={size}", NOW - age * DAY);
            fs::write(dir.join(name), "").unwrap();
        }
        fs::write(mailbox.path().join(".DeltaChat/maildirfolder"), "").unwrap();
        fs::write(mailbox.path().join(".DeltaChat/dovecot-uidlist"), "123").unwrap();
    }
    let torso = mailbox(&mailboxes, "torso");
    fs::create_dir_all(torso.path().join("new")).unwrap();
    fs::write(torso.path().join("new/message"), "12345678").unwrap();
    (base, mailboxes)
}

fn mailbox(mailboxes: &Mailboxes, localpart: &str) -> Mailbox {
    let address = format!("{localpart}@chat.example");
    let address = Address::parse(address.as_bytes(), mailboxes.domain()).unwrap();
    mailboxes.mailbox(&address)
}

#[test]
fn everything_is_counted_once() {
    let (_base, mailboxes) = report();
    let report = Report::of(&mailboxes, at(0)).unwrap();
    assert_eq!((report.accounts, report.ci_accounts), (5, 2));
    assert_eq!(report.user_accounts(), 3);
    let bytes = 5 * (10 + 102_400 + (20 << 20)) + 8;
    assert_eq!(report.messages, Amount { count: 16, bytes });
    // password, enforceE2EEincoming, maildirfolder and uidlist.
    let expected = Amount {
        count: 20,
        bytes: 5 * (5 + 3),
    };
    assert_eq!(report.other, expected);
    let sizes: Vec<u64> = report.sizes().map(|(_, amount)| amount.count).collect();
    assert_eq!(sizes, [16, 10, 5, 5, 5, 5, 5]);
    let ages: Vec<u64> = report.ages().map(|(_, amount)| amount.count).collect();
    assert_eq!(ages, [10, 5, 5, 5, 5, 5]);
    let active: Vec<_> = report.active().collect();
    let expected = [
        (1, 1),
        (10, 1),
        (30, 1),
        (40, 2),
        (80, 2),
        (100, 2),
        (150, 2),
    ];
    assert_eq!(active, expected);
    assert_eq!(report.unreadable, 0);
}

#[test]
fn parts_of_a_report_add_up() {
    let (_base, mailboxes) = report();
    let mut sum = Report::new(at(0));
    for localpart in ["alice", "bob", "carol", "ci-1", "ac_2", "torso", "nobody"] {
        let mut part = Report::new(at(0));
        let address = format!("{localpart}@chat.example");
        let address = Address::parse(address.as_bytes(), mailboxes.domain()).unwrap();
        part.add(&address, &mailboxes.mailbox(&address)).unwrap();
        sum.merge(&part);
    }
    assert_eq!(sum, Report::of(&mailboxes, at(0)).unwrap());
}

#[test]
fn what_cannot_be_read_is_counted_and_named() {
    let (_base, mailboxes) = report();
    let alice = mailbox(&mailboxes, "alice");
    fs::remove_file(alice.path().join("password")).unwrap();
    std::os::unix::fs::symlink("password", alice.path().join("password")).unwrap();
    let address = Address::parse(b"alice@chat.example", mailboxes.domain()).unwrap();
    let mut report = Report::new(at(0));
    let error = report.add(&address, &alice).unwrap_err().to_string();
    assert!(error.contains("alice@chat.example"), "{error}");
    assert_eq!((report.unreadable, report.accounts), (1, 0));
    assert_eq!(Report::of(&mailboxes, at(0)).unwrap().accounts, 4);
}

#[test]
fn the_files_for_prometheus_have_the_names_dashboards_know() {
    let (_base, mailboxes) = report();
    let report = Report::of(&mailboxes, at(0)).unwrap();
    let values = |text: &str| -> Vec<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(str::to_owned).collect()
    };
    let text = report.to_textfile();
    let lines = values(&text);
    assert_eq!(lines.len(), 3 + 7 + 7 + 3 + 7);
    for line in [
        "chatmail_storage_bytes{kind=\"extra\"} 40",
        "chatmail_storage_bytes{kind=\"messages\"} 105369658",
        "chatmail_storage_bytes{kind=\"total\"} 105369698",
        "chatmail_messages_bytes{min_size=\"102400\"} 105369600",
        "chatmail_messages_count{min_size=\"0\"} 16",
        "chatmail_messages_count{min_size=\"524288\"} 5",
        "chatmail_messages_count{min_size=\"10485760\"} 5",
        "chatmail_accounts{kind=\"all\"} 5",
        "chatmail_accounts{kind=\"ci\"} 2",
        "chatmail_accounts{kind=\"user\"} 3",
        "chatmail_accounts_active{days=\"1\"} 1",
        "chatmail_accounts_active{days=\"150\"} 2",
    ] {
        assert!(lines.iter().any(|found| found == line), "{line}\n{text}");
    }
    assert_eq!(text.matches("# TYPE chatmail_").count(), 5);
    assert_eq!(text.matches("# HELP chatmail_").count(), 5);
    assert_eq!(
        values(&report.to_legacy()),
        ["accounts 5", "ci_accounts 2", "nonci_accounts 3"]
    );
    assert!(!text.contains("alice") && !report.to_text().contains("alice"));
}

#[test]
fn the_table_reads_well() {
    let (_base, mailboxes) = report();
    let text = Report::of(&mailboxes, at(0)).unwrap().to_text();
    for line in [
        "  messages                      16     100 MiB",
        "  at least 512 KiB               5     100 MiB",
        "  at least 1 day                10     100 MiB",
        "  of people                      3",
        "  within 40 days                 2     66.7 %",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    assert!(!text.contains("Could not be read"));
    let empty = Report::new(at(0)).to_text();
    assert!(
        empty.contains("  within 1 day                   0      0.0 %"),
        "{empty}"
    );
}
