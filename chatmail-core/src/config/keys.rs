//! Every key of `chatmail.ini` and its default: the only place that knows either.

/// A key of section `[params]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// As it stands in the file.
    pub name: &'static str,
    /// What holds when it does not stand there.
    pub default: DefaultValue,
}

/// What holds when a key is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DefaultValue {
    /// Nothing: the file is in error.
    Required,
    /// This value, written as in the file.
    Value(&'static str),
    /// This value, with `mail_domain` in place of `{}`.
    OfDomain(&'static str),
    /// The feature is off, or its value follows from others.
    Unset,
    /// Nothing: it belongs to a hop this design does not have, and is accepted without a word.
    Ignored,
}

const fn required(name: &'static str) -> Key {
    Key {
        name,
        default: DefaultValue::Required,
    }
}

const fn value(name: &'static str, default: &'static str) -> Key {
    Key {
        name,
        default: DefaultValue::Value(default),
    }
}

const fn of_domain(name: &'static str, default: &'static str) -> Key {
    Key {
        name,
        default: DefaultValue::OfDomain(default),
    }
}

const fn unset(name: &'static str) -> Key {
    Key {
        name,
        default: DefaultValue::Unset,
    }
}

const fn ignored(name: &'static str) -> Key {
    Key {
        name,
        default: DefaultValue::Ignored,
    }
}

/// All keys.
pub const KEYS: &[Key] = &[
    required("mail_domain"),
    // Sending.
    value("max_user_send_per_minute", "60"),
    value("max_user_send_burst_size", "10"),
    value("max_message_size", "31457280"),
    // DKIM and its DNS.
    value("dkim", "true"),
    value("dkim_selector", "opendkim"),
    value("dkim_key_file", "/etc/dkimkeys/opendkim.private"),
    value("dns_resolver", ""),
    // Storage and housekeeping.
    value("max_mailbox_size", "500M"),
    value("delete_mails_after", "20"),
    value("delete_large_after", "7"),
    value("delete_inactive_users_after", "90"),
    value("expire_at_hour", "3"),
    of_domain("mailboxes_dir", "/home/vmail/mail/{}"),
    value("passdb_path", "/home/vmail/passdb.sqlite"),
    // New accounts.
    value("username_min_length", "9"),
    value("username_max_length", "9"),
    value("password_min_length", "9"),
    value("max_load_1m", "5"),
    value("min_available_memory", "200M"),
    value("min_free_disk_space", "1G"),
    value("nocreate_file", "/etc/chatmail-nocreate"),
    value("registration", "open"),
    value("refuse_automatic_signups", "false"),
    // A hundred: a meeting behind one address, or a mobile network's. A thousand: far from what
    // relays see, and 2 s of hashing an hour.
    value("max_network_signups_per_hour", "100"),
    value("max_signups_per_hour", "1000"),
    value("trusted_proxies", "127.0.0.1 ::1"),
    // Services.
    value("max_imap_connections", "10000"),
    value("max_smtp_connections", "1000"),
    value("disable_ipv6", "false"),
    value("imap_rawlog", "false"),
    value("imap_compress", "false"),
    value("acme_email", ""),
    value("tls_external_cert_and_key", ""),
    unset("iroh_relay"),
    value("turn_socket_path", "/run/chatmail-turn/turn.socket"),
    unset("mtail_address"),
    value("appversions_file", "/etc/chatmail-appversions.json"),
    // Push notifications.
    value("push_url", "https://notifications.delta.chat/notify"),
    value("push_timeout", "60"),
    unset("push_ca_file"),
    // Web pages.
    value("www_folder", ""),
    value("privacy_postal", ""),
    value("privacy_mail", ""),
    value("privacy_pdo", ""),
    value("privacy_supervisor", ""),
    // Hops of the SMTP proxy filter.
    ignored("filtermail_smtp_port"),
    ignored("filtermail_smtp_port_incoming"),
    ignored("filtermail_http_port_incoming"),
    ignored("filtermail_lmtp_port_transport"),
    ignored("postfix_reinject_port"),
    ignored("postfix_reinject_port_incoming"),
];

/// The default of `name`; `None` if there is no such key.
pub(super) fn default(name: &str) -> Option<DefaultValue> {
    KEYS.iter()
        .find(|key| key.name == name)
        .map(|key| key.default)
}
