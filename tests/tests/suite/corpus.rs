//! The whole corpus through a real Postfix: what it makes of a message on the way to the filter
//! changes no verdict, and the reason is in the log.

use chatmail_tests::Instance;
use chatmail_tests::instance::Account;
use chatmail_tests::mail::ENCRYPTION_NEEDED;
use chatmail_tests::milter_log::MilterLog;
use chatmail_tests::smtp::{Door, Smtp};

#[path = "../../../chatmail-core/tests/corpus/mod.rs"]
mod table;

use table::{Expected, Row};

/// Postfix is slow to answer a client after as many refusals (smtpd_soft_error_limit).
const PATIENCE: usize = 9;

#[test]
fn every_row_sent_by_a_user_gets_its_verdict() {
    through(Door::Smtps, "outgoing");
}

#[test]
fn every_row_from_another_server_gets_its_verdict() {
    through(Door::Smtp, "incoming");
}

fn through(door: Door, direction: &str) {
    let relay = Instance::with()
        .param("dkim", false)
        .param("username_min_length", 3)
        .param("max_message_size", 100_000_000)
        .param("max_user_send_per_minute", 1_000_000)
        .param("max_user_send_burst_size", 100_000)
        .start();
    let [alice, bob, open] =
        [table::SENDER, table::ENFORCING, table::OPEN].map(|address| Account {
            address: address.to_owned(),
            password: "nine letters".to_owned(),
        });
    for account in [&alice, &bob, &open] {
        relay.imap(account);
    }
    let consent = relay.mailbox(&open).join("enforceE2EEincoming");
    std::fs::remove_file(consent).expect("enforceE2EEincoming");

    let mut log = MilterLog::of(&relay);
    let connect = || match door {
        Door::Smtp => Smtp::connect(relay.endpoints(), door).expect("SMTP"),
        _ => relay.smtp(door, &alice),
    };
    let mut smtp = connect();
    let mut refusals = 0;
    let mut wrong = Vec::new();
    let mut delivered = [(&alice, 0), (&bob, 0), (&open, 0)];
    for row in table::rows()
        .iter()
        .filter(|row| row.direction == direction && is_from_here(row))
    {
        if refusals == PATIENCE {
            smtp = connect();
            refusals = 0;
        }
        let expected = changed(row).unwrap_or_else(|| Outcome::of(&row.expected));
        let outcome = send(&mut smtp, &mut log, row, &expected);
        if outcome != expected {
            let name = &row.name;
            wrong.push(format!("{name}: {outcome:?} instead of {expected:?}"));
        }
        match outcome {
            Outcome::Checked { code: 250, .. } => {
                refusals = 0;
                for (account, count) in &mut delivered {
                    *count += usize::from(account.address == row.recipient);
                }
            }
            _ => refusals += 1,
        }
    }
    assert_eq!(wrong, [] as [String; 0], "{}", wrong.join("\n"));
    for (account, count) in delivered {
        assert_eq!(relay.wait_for_messages(account, count).len(), count);
    }
}

/// What a client and the log can tell of one message.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// The filter decided.
    Checked { code: u16, reason: String },
    /// It was not asked, or not to the end.
    Unchecked { code: u16 },
}

impl Outcome {
    fn of(expected: &Expected) -> Outcome {
        match expected {
            Expected::Accepted(class) => Outcome::checked(250, class),
            Expected::Refused(reason) => {
                let code = match reason.as_str() {
                    "invalid-from" | "from-mismatch" => 500,
                    "header-too-large" => 552,
                    "header-line" | "foreign-literal" => 554,
                    _ => 523,
                };
                Outcome::checked(code, reason)
            }
        }
    }

    fn checked(code: u16, reason: &str) -> Outcome {
        Outcome::Checked {
            code,
            reason: reason.to_owned(),
        }
    }
}

fn send(smtp: &mut Smtp, log: &mut MilterLog, row: &Row, expected: &Outcome) -> Outcome {
    let broken = |error| panic!("{} ({}): {error}", row.name, row.direction);
    let reply = smtp
        .envelope(&row.sender, &[&row.recipient])
        .unwrap_or_else(broken);
    if !reply.is_positive() {
        smtp.command("RSET").unwrap_or_else(broken);
        // It may say that a recipient was refused.
        log.new_entries();
        return Outcome::Unchecked { code: reply.code };
    }
    let reply = smtp.content(&row.message()).unwrap_or_else(broken);
    if *expected == (Outcome::Unchecked { code: reply.code }) {
        assert_eq!(log.new_entries(), [], "{}", row.name);
        return Outcome::Unchecked { code: reply.code };
    }
    let entry = log.next(&row.name);
    if reply.code == 523 {
        assert_eq!(reply.to_string(), ENCRYPTION_NEEDED);
    }
    let verdict = match reply.code {
        250 => "accepted",
        _ => "refused",
    };
    assert_eq!(entry.get("verdict"), verdict, "{}: {entry:?}", row.name);
    assert_eq!(entry.get("direction"), row.direction);
    assert_ne!(entry.get("queue_id"), "-");
    Outcome::checked(reply.code, entry.reason())
}

/// Whether the client of this test can send the row: it logs in as Alice, or its address is loopback.
fn is_from_here(row: &Row) -> bool {
    let client = row.client.as_deref();
    row.login.eq_ignore_ascii_case(table::SENDER)
        && client.is_none_or(|client| client == "127.0.0.1")
}

/// What Postfix does to a row before the filter sees it, and what comes of that.
fn changed(row: &Row) -> Option<Outcome> {
    match (row.name.as_str(), row.direction.as_str()) {
        // The header ends at the first line that is no field.
        ("header-text", _) => Some(Outcome::checked(523, "not-encrypted")),
        // A lone CR becomes a space, lines that end with LF end with CRLF, and a field name ends
        // where its letters end. It is delivered as the filter saw it: see mail.rs.
        (
            "raw-cr-in-header"
            | "raw-cr-after-name"
            | "raw-cr-before-fold"
            | "raw-description-cr"
            | "raw-version-cr"
            | "raw-name-with-space"
            | "content-type-tab-name"
            | "raw-mixed-line-ends",
            _,
        ) => Some(Outcome::checked(250, "encrypted")),
        // Nor does Postfix deliver what stands behind a NUL: see mail.rs.
        ("raw-nul-in-header", _) => Some(Outcome::checked(250, "encrypted")),
        // Users send as themselves only, and hear it before any content.
        (_, "outgoing") if !row.sender.eq_ignore_ascii_case(&row.login) => {
            Some(Outcome::Unchecked { code: 553 })
        }
        // A recipient of ours who is not there is refused before any content.
        ("plain-to-unknown-mailbox", _) => Some(Outcome::Unchecked { code: 550 }),
        // Mail to other domains is for users only.
        ("plain-to-other-domain", _) => Some(Outcome::Unchecked { code: 554 }),
        _ => None,
    }
}
