//! An account as an operator sees it: no hash, no token.

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chatmail_core::address::Address;
use chatmail_core::auth::{Standing, standing};
use chatmail_core::mailbox::Mailboxes;
use serde::{Serialize, Serializer};

const DAY: Duration = Duration::from_secs(86_400);

/// What the files of an account tell. Serialized, it is a line of `chatmail user list --json`: its names stay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Account {
    /// `localpart@mail_domain`.
    #[serde(serialize_with = "as_text")]
    pub address: Address,
    /// Whether its user gets in.
    #[serde(rename = "state", serialize_with = "as_word")]
    pub standing: Standing,
    /// The day (UTC) of the last login.
    #[serde(serialize_with = "as_date")]
    pub last_login: SystemTime,
    /// Whether cleartext may come in.
    pub cleartext: bool,
    /// What the mailbox holds by Dovecot's count; `None` if it has to count anew.
    pub bytes: Option<u64>,
}

impl Account {
    /// `None` if there is no such account, perhaps no more.
    ///
    /// # Errors
    ///
    /// A file of it cannot be read.
    pub fn of(mailboxes: &Mailboxes, address: Address) -> io::Result<Option<Account>> {
        let mailbox = mailboxes.mailbox(&address);
        let (Some(standing), Some(last_login)) = (standing(&mailbox)?, mailbox.last_login()?)
        else {
            return Ok(None);
        };
        Ok(Some(Account {
            standing,
            last_login,
            cleartext: !mailbox.enforces_encryption()?,
            bytes: mailbox.usage()?,
            address,
        }))
    }
}

impl fmt::Display for Account {
    /// One line; the address comes last, because it is of any length.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cleartext = if self.cleartext { "cleartext" } else { "-" };
        let size = match self.bytes {
            Some(bytes) => format!("{:.1}M", bytes as f64 / f64::from(1 << 20)),
            None => "?".to_owned(),
        };
        write!(
            f,
            "{}  {:11}  {size:>8}  {cleartext:9}  {}",
            date(self.last_login),
            self.standing.word(),
            self.address
        )
    }
}

/// Which accounts are listed: those for which all of it holds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter {
    /// Only those whose user an operator has kept out.
    pub blocked: bool,
    /// Only those without a login for so many days.
    pub inactive_days: Option<u32>,
    /// Only those that hold more bytes.
    pub larger: Option<u64>,
}

impl Filter {
    /// Whether this is one of them.
    pub fn takes(&self, account: &Account, now: SystemTime) -> bool {
        let unused = now.duration_since(account.last_login).unwrap_or_default();
        (!self.blocked || account.standing.is_blocked())
            && self.inactive_days.is_none_or(|days| unused >= DAY * days)
            && self
                .larger
                .is_none_or(|size| account.bytes.is_some_and(|bytes| bytes > size))
    }
}

/// `2026-11-21`, in UTC.
pub fn date(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let date = i64::try_from(seconds)
        .ok()
        .and_then(|seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok());
    date.map_or_else(|| "?".to_owned(), |time| time.date().to_string())
}

fn as_text<S: Serializer>(address: &Address, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(address.as_str())
}

fn as_word<S: Serializer>(standing: &Standing, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(standing.word())
}

fn as_date<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&date(*time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chatmail_core::address::MailDomain;

    fn account() -> Account {
        let domain = MailDomain::parse("chat.example").expect("a domain");
        Account {
            address: Address::parse(b"alice@chat.example", &domain).expect("an address"),
            standing: Standing::Active,
            last_login: UNIX_EPOCH + DAY * 20_000,
            cleartext: false,
            bytes: Some(3 << 19),
        }
    }

    #[test]
    fn an_account_is_a_line_of_text_or_json() {
        assert_eq!(
            account().to_string(),
            "2024-10-04  active           1.5M  -          alice@chat.example"
        );
        let json = serde_json::to_string(&account()).expect("JSON");
        assert_eq!(
            json,
            r#"{"address":"alice@chat.example","state":"active","last_login":"2024-10-04","cleartext":false,"bytes":1572864}"#
        );
    }

    #[test]
    fn a_filter_takes_those_for_which_all_of_it_holds() {
        let now = UNIX_EPOCH + DAY * 20_010 + DAY / 2;
        let takes = |filter: Filter| filter.takes(&account(), now);
        assert!(takes(Filter::default()));
        let inactive = |days| Filter {
            inactive_days: Some(days),
            ..Filter::default()
        };
        assert!(takes(inactive(10)));
        assert!(!takes(inactive(11)));
        let larger = |size| Filter {
            larger: Some(size),
            ..inactive(10)
        };
        assert!(takes(larger((3 << 19) - 1)));
        assert!(!takes(larger(3 << 19)));
        let blocked = Filter {
            blocked: true,
            ..Filter::default()
        };
        assert!(!takes(blocked));
    }
}
