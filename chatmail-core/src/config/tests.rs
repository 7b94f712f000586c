use super::*;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse("/etc/chatmail.ini".as_ref(), text)
}

fn params(lines: &str) -> Result<Config, ConfigError> {
    parse(&format!("[params]\nmail_domain = chat.example\n{lines}"))
}

#[test]
fn a_file_with_the_domain_alone_has_the_defaults_of_a_relay() {
    let config = params("").unwrap();
    assert_eq!(config.path, Path::new("/etc/chatmail.ini"));
    assert_eq!(config.mail_domain.bare(), "chat.example");
    assert_eq!(config.max_user_send_per_minute, 60);
    assert_eq!(config.max_user_send_burst_size, 10);
    assert_eq!(config.max_message_size, 31_457_280);
    assert_eq!(config.max_mailbox_size, 500 * 1024 * 1024);
    assert_eq!(config.delete_mails_after, 20);
    assert_eq!(config.delete_large_after, 7);
    assert_eq!(config.delete_inactive_users_after, 90);
    assert_eq!(config.expire_at_hour, Some(3));
    assert_eq!(
        config.mailboxes_dir,
        Path::new("/home/vmail/mail/chat.example")
    );
    assert_eq!(config.passdb_path, Path::new("/home/vmail/passdb.sqlite"));
    assert_eq!(
        (config.username_min_length, config.username_max_length),
        (9, 9)
    );
    assert_eq!(config.password_min_length, 9);
    assert_eq!(config.max_load_1m, 5.0);
    assert_eq!(config.min_available_memory, 200 * 1024 * 1024);
    assert_eq!(config.min_free_disk_space, 1024 * 1024 * 1024);
    assert_eq!(config.nocreate_file, Path::new("/etc/chatmail-nocreate"));
    assert_eq!(
        (config.max_imap_connections, config.max_smtp_connections),
        (10_000, 1_000)
    );
    assert!(!config.disable_ipv6 && !config.imap_rawlog && !config.imap_compress);
    assert_eq!(config.tls.mode, TlsMode::Acme);
    assert_eq!(
        config.tls.certificate,
        Path::new("/var/lib/acme/live/chat.example/fullchain")
    );
    assert_eq!(
        config.tls.key,
        Path::new("/var/lib/acme/live/chat.example/privkey")
    );
    assert_eq!(
        config.iroh_relay,
        IrohRelay::Here("https://chat.example".to_owned())
    );
    assert_eq!(
        config.turn_socket_path,
        Path::new("/run/chatmail-turn/turn.socket")
    );
    assert_eq!(config.mtail_address, None);
    assert_eq!(config.push_url, "https://notifications.delta.chat/notify");
    assert_eq!(config.push_timeout, Duration::from_secs(60));
    assert_eq!(config.push_ca_file, None);
    assert!(config.dkim);
    assert_eq!(config.dkim_selector, "opendkim");
    let key_file = Path::new("/etc/dkimkeys/opendkim.private");
    assert_eq!(config.dkim_key_file, key_file);
    assert!(config.dns_resolver.is_empty());
    let proxies = ["127.0.0.1", "::1"].map(|address| address.parse::<IpAddr>().unwrap());
    assert_eq!(config.trusted_proxies, proxies);
    assert_eq!(config.www_folder, None);
    assert_eq!(config.privacy_postal, "");
    assert!(config.unknown_keys.is_empty());
}

#[test]
fn every_key_of_the_table_is_read_from_the_file() {
    let odd = "\u{1}";
    for key in KEYS {
        let text = match key.default {
            DefaultValue::Required => format!("[params]\n{} = {odd}\n", key.name),
            _ => format!(
                "[params]\nmail_domain = chat.example\n{} = {odd}\n",
                key.name
            ),
        };
        match parse(&text) {
            // It was looked at, and is not of its kind.
            Err(error) => assert_eq!(error.key(), Some(key.name)),
            Ok(config) => {
                assert!(config.unknown_keys.is_empty(), "{}", key.name);
                let seen = format!("{config:?}").contains("\\u{1}");
                assert_eq!(seen, key.default != DefaultValue::Ignored, "{}", key.name);
            }
        }
    }
}

#[test]
fn an_operators_values_replace_the_defaults() {
    let config = params(
        "max_mailbox_size = 2GB\nmailboxes_dir = /srv/mail\nmax_load_1m: 2.5\ndisable_ipv6 = True\n\
         nocreate_file = /run/nocreate\nregistration = invite\nrefuse_automatic_signups = true\n\
         max_network_signups_per_hour = 0\nmax_signups_per_hour = inf\npush_url = http://127.0.0.1:8080/notify\npush_timeout = 3\n\
         push_ca_file = /etc/ca.pem\nwww_folder = www\nmtail_address = 127.0.0.1\n\
         dkim = False\ndkim_selector = 2026.relay\ndns_resolver = 127.0.0.1 [::1]:5353\n\
         trusted_proxies =\n\
         privacy_postal =\n  Merlinux GmbH\n  Freiburg\n\nprivacy_mail = \"a\\b\"\n",
    )
    .unwrap();
    assert_eq!(config.max_mailbox_size, 2 << 30);
    assert_eq!(config.mailboxes().dir(), Path::new("/srv/mail"));
    assert_eq!(config.max_load_1m, 2.5);
    assert!(config.disable_ipv6);
    assert_eq!(config.nocreate_file, Path::new("/run/nocreate"));
    assert_eq!(config.registration, Registration::Invite);
    assert!(config.refuse_automatic_signups);
    assert_eq!(config.max_network_signups_per_hour, HourlyRate::AtMost(0));
    assert_eq!(config.max_signups_per_hour, HourlyRate::Unlimited);
    assert_eq!(config.push_url, "http://127.0.0.1:8080/notify");
    assert_eq!(config.push_timeout, Duration::from_secs(3));
    assert_eq!(
        config.push_ca_file.as_deref(),
        Some(Path::new("/etc/ca.pem"))
    );
    assert!(!config.dkim);
    assert_eq!(config.dkim_selector, "2026.relay");
    let servers = ["127.0.0.1:53", "[::1]:5353"].map(|address| address.parse().unwrap());
    assert_eq!(config.dns_resolver, servers);
    assert!(config.trusted_proxies.is_empty());
    assert_eq!(config.www_folder.as_deref(), Some(Path::new("www")));
    assert_eq!(config.mtail_address.as_deref(), Some("127.0.0.1"));
    assert_eq!(config.privacy_postal, "Merlinux GmbH\nFreiburg");
    assert_eq!(config.privacy_mail, "\"a\\b\"");
}

#[test]
fn unknown_keys_are_listed_and_the_proxys_ports_are_not() {
    let config = params(
        "passthrough_senders =\npostfix_reinject_port = 10025\nfiltermail_smtp_port = 10080\n\
         Max_Load_1m = 3\n[other]\nkey = 1\n",
    )
    .unwrap();
    assert_eq!(
        config.unknown_keys,
        ["passthrough_senders", "Max_Load_1m", "[other]"]
    );
}

#[test]
fn the_certificate_follows_the_kind_of_domain() {
    for domain in ["_chat.example", "203.0.113.7"] {
        let config = parse(&format!("[params]\nmail_domain = {domain}\n")).unwrap();
        assert_eq!(config.tls.mode, TlsMode::SelfSigned);
        assert_eq!(
            config.tls.certificate,
            Path::new("/etc/ssl/certs/mailserver.pem")
        );
        assert_eq!(config.tls.key, Path::new("/etc/ssl/private/mailserver.key"));
    }
    let config = params("tls_external_cert_and_key = /c.pem  /k.pem\n").unwrap();
    assert_eq!(config.tls.mode, TlsMode::External);
    assert_eq!(
        (config.tls.certificate, config.tls.key),
        ("/c.pem".into(), "/k.pem".into())
    );
    for bad in ["/c.pem", "/c.pem /k.pem /x.pem"] {
        let error = params(&format!("tls_external_cert_and_key = {bad}\n")).unwrap_err();
        assert_eq!(error.key(), Some("tls_external_cert_and_key"));
    }
}

#[test]
fn the_iroh_relay_has_three_states() {
    assert_eq!(
        params("").unwrap().iroh_relay.url(),
        Some("https://chat.example")
    );
    assert_eq!(
        params("iroh_relay =\n").unwrap().iroh_relay,
        IrohRelay::None
    );
    assert_eq!(
        params("iroh_relay = https://iroh.example\n")
            .unwrap()
            .iroh_relay,
        IrohRelay::Elsewhere("https://iroh.example".to_owned())
    );
    let literal = parse("[params]\nmail_domain = 203.0.113.7\n").unwrap();
    assert_eq!(literal.iroh_relay.url(), Some("https://203.0.113.7"));
    assert_eq!(
        literal.mailboxes_dir,
        Path::new("/home/vmail/mail/203.0.113.7")
    );
}

#[test]
fn an_error_names_file_key_and_value() {
    let error = params("max_mailbox_size = lots\n").unwrap_err().to_string();
    assert!(
        error.starts_with("/etc/chatmail.ini: max_mailbox_size = \"lots\": not a size"),
        "{error}"
    );

    for (text, expected) in [
        ("[params]\n", "/etc/chatmail.ini: mail_domain: must be set"),
        ("", "/etc/chatmail.ini: there is no section [params]"),
        (
            "[relay]\nmail_domain = x\n",
            "/etc/chatmail.ini: there is no section [params]",
        ),
        (
            "[params]\nmail_domain = a\nmail_domain = b\n",
            "/etc/chatmail.ini: line 3: this key stands here twice",
        ),
        (
            "[params]\nmail_domain = a/b\n",
            "/etc/chatmail.ini: mail_domain = \"a/b\": neither a DNS name nor an IPv4 address",
        ),
    ] {
        assert_eq!(parse(text).unwrap_err().to_string(), expected);
    }

    let missing = Config::load("/nonexistent/chatmail.ini".as_ref())
        .unwrap_err()
        .to_string();
    assert!(
        missing.starts_with("/nonexistent/chatmail.ini: "),
        "{missing}"
    );
}

#[test]
fn a_value_of_another_kind_is_an_error() {
    for line in [
        "max_user_send_per_minute = -1",
        "max_user_send_burst_size = 99999999999",
        "max_message_size = 30M",
        "imap_rawlog = maybe",
        "mailboxes_dir = mail",
        "mailboxes_dir =",
        "max_load_1m = NaN",
        "push_url = http://push.example/",
        "push_timeout = 0",
        "push_ca_file = ca.pem",
        "dkim = yes",
        "dkim_selector =",
        "dkim_selector = a..b",
        "dkim_selector = a;b",
        "dkim_key_file = opendkim.private",
        "dns_resolver = 127.0.0.1 dns.example",
        "trusted_proxies = 10.0.0.0/8",
        "iroh_relay = https://a\n https://b",
        "delete_mails_after = 20 days",
        "registration = invitation",
        "registration = Open",
        "registration =",
        "refuse_automatic_signups = 23",
        "max_network_signups_per_hour = -1",
        "max_signups_per_hour = 1.5",
        "max_signups_per_hour = infinity",
        "max_signups_per_hour = 4294967296",
    ] {
        let error = params(&format!("{line}\n")).expect_err(line);
        assert_eq!(error.key(), line.split([' ', '=']).next(), "{line}");
    }
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused(
        text in prop_oneof![
            any::<String>(),
            "\\[params\\]\nmail_domain[=:]\\PC{0,20}\n([a-z_]{1,12} ?[=:] ?\\PC{0,9}\n){0,5}",
        ]
    ) {
        if let Ok(config) = parse(&text) {
            prop_assert!(config.mailboxes_dir.is_absolute());
            prop_assert!(!config.mail_domain.bare().is_empty());
        }
    }
}
