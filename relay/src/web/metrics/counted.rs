//! The counters of all processes, by family.

use super::Counter;
use super::exposition::Exposition;

/// Each family of counters and what it means.
pub(super) const FAMILIES: [(&str, &str); 10] = [
    (
        "chatmail_logins_total",
        "Logins by IMAP and SMTP, by result",
    ),
    (
        "chatmail_signups_refused_total",
        "New addresses refused, by the rule of the sign-up policy",
    ),
    (
        ACCOUNTS_NEW,
        "Accounts made, by a first login, by POST /new, or by the operator",
    ),
    (
        "chatmail_new_refused_total",
        "Requests for an account by POST /new that got none, by reason",
    ),
    (
        "chatmail_deliveries_total",
        "Messages stored in a mailbox by LMTP",
    ),
    (
        "chatmail_push_spooled_total",
        "Notifications spooled, one for each device of each message",
    ),
    (
        "chatmail_push_total",
        "Notifications that came to their end, by result",
    ),
    (
        "chatmail_push_retries_total",
        "Attempts to notify that failed and are made again",
    ),
    (
        "chatmail_expired_total",
        "Mailboxes and messages removed by the expiry",
    ),
    (
        "chatmail_expired_bytes_total",
        "Bytes removed by the expiry",
    ),
];

const ACCOUNTS_NEW: &str = "chatmail_accounts_new_total";

/// Tells the counters with these names, labels included, and values.
pub(super) fn tell(out: &mut Exposition, values: &[(&'static str, u64)]) {
    for (family, help) in FAMILIES {
        out.counter(family, help);
        for (name, value) in values.iter().filter(|(name, _)| family_of(name) == family) {
            out.sample(name, value);
        }
        // Counted as a result of logins already.
        let by_login = values
            .iter()
            .find(|(name, _)| family == ACCOUNTS_NEW && *name == Counter::LoginCreated.name());
        if let Some((_, value)) = by_login {
            out.sample(format_args!("{family}{{by=\"login\"}}"), value);
        }
    }
}

/// The name of a counter without its labels.
pub(super) fn family_of(name: &str) -> &str {
    name.split_once('{').map_or(name, |(family, _)| family)
}
