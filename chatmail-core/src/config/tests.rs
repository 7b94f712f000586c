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
    assert!(config.warnings.is_empty());
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
                let unknown = |line: &String| line.contains("unknown key");
                assert!(!config.warnings.iter().any(unknown), "{}", key.name);
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
        config.warnings,
        ["passthrough_senders", "Max_Load_1m", "[other]"]
            .map(|key| format!("/etc/chatmail.ini: unknown key {key}"))
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

/// Lines that older relays read, and what they made of them.
#[test]
fn values_of_older_relays_are_read_as_they_read_them() {
    type Read = fn(&Config) -> u64;
    let rows: [(&str, Read, u64); 19] = [
        (
            "delete_mails_after = 40d",
            |c| c.delete_mails_after.into(),
            40,
        ),
        (
            "delete_mails_after = 40D",
            |c| c.delete_mails_after.into(),
            40,
        ),
        (
            "delete_mails_after = 20",
            |c| c.delete_mails_after.into(),
            20,
        ),
        (
            "delete_large_after = 7d",
            |c| c.delete_large_after.into(),
            7,
        ),
        (
            "delete_inactive_users_after = 1_000",
            |c| c.delete_inactive_users_after.into(),
            1000,
        ),
        ("max_mailbox_size = 100M", |c| c.max_mailbox_size, 100 << 20),
        ("max_mailbox_size = 10k", |c| c.max_mailbox_size, 10 << 10),
        ("max_mailbox_size = 1t", |c| c.max_mailbox_size, 1 << 40),
        ("max_mailbox_size = 2 gb", |c| c.max_mailbox_size, 2 << 30),
        (
            "max_message_size = 31_457_280",
            |c| c.max_message_size,
            31_457_280,
        ),
        (
            "max_user_send_per_minute = +80",
            |c| c.max_user_send_per_minute.into(),
            80,
        ),
        ("disable_ipv6 = TRUE", |c| c.disable_ipv6.into(), 1),
        ("disable_ipv6 = False", |c| c.disable_ipv6.into(), 0),
        ("disable_ipv6 =", |c| c.disable_ipv6.into(), 0),
        ("imap_rawlog = tRuE", |c| c.imap_rawlog.into(), 1),
        ("imap_compress = true", |c| c.imap_compress.into(), 1),
        ("mtail_address =", |c| c.mtail_address.is_some().into(), 0),
        ("www_folder =", |c| c.www_folder.is_some().into(), 0),
        ("iroh_relay =", |c| c.iroh_relay.url().is_some().into(), 0),
    ];
    for (line, read, expected) in rows {
        let config = params(&format!("{line}\n")).expect(line);
        assert_eq!(read(&config), expected, "{line}");
        assert!(config.warnings.is_empty(), "{line}: {:?}", config.warnings);
    }
}

#[test]
fn a_switch_of_older_relays_that_is_neither_true_nor_false_is_false_with_a_warning() {
    type Read = fn(&Config) -> bool;
    let keys: [(&str, Read); 3] = [
        ("disable_ipv6", |c| c.disable_ipv6),
        ("imap_rawlog", |c| c.imap_rawlog),
        ("imap_compress", |c| c.imap_compress),
    ];
    for (key, read) in keys {
        for value in ["no", "yes", "1", "0", "on", "maybe"] {
            let config = params(&format!("{key} = {value}\n")).unwrap();
            assert!(!read(&config), "{key} = {value}");
            assert_eq!(
                config.warnings,
                [format!(
                    "/etc/chatmail.ini: {key} = \"{value}\": neither true nor false; taken as false"
                )]
            );
        }
    }
    let commented = params("imap_rawlog = true # for a day\n").unwrap();
    assert!(!commented.imap_rawlog);
    assert!(commented.warnings[0].ends_with("; a comment needs a line of its own"));
    // No relay before has read these: a guess could let everything through.
    for key in ["dkim", "refuse_automatic_signups"] {
        for value in ["no", "yes", "1", "0"] {
            let error = params(&format!("{key} = {value}\n")).unwrap_err();
            assert_eq!(error.key(), Some(key));
        }
    }
}

#[test]
fn no_days_at_all_are_read_as_such_with_a_warning() {
    for key in [
        "delete_mails_after",
        "delete_large_after",
        "delete_inactive_users_after",
    ] {
        let config = params(&format!("{key} = 0\n")).unwrap();
        let found = [
            config.delete_mails_after,
            config.delete_large_after,
            config.delete_inactive_users_after,
        ];
        assert!(found.contains(&0), "{key}");
        let [warning] = &config.warnings[..] else {
            panic!("{:?}", config.warnings);
        };
        let start = format!("/etc/chatmail.ini: {key} = \"0\": every expiry removes");
        assert!(warning.starts_with(&start), "{warning}");
    }
}

#[test]
fn a_length_that_no_localpart_has_is_warned_about() {
    for key in ["username_min_length", "username_max_length"] {
        assert!(
            params(&format!("{key} = 64\n"))
                .unwrap()
                .warnings
                .is_empty()
        );
        let warnings = params(&format!("{key} = 65\n")).unwrap().warnings;
        assert!(
            warnings[0].ends_with("a new localpart has at most 64 characters"),
            "{warnings:?}"
        );
    }
}

#[test]
fn a_comment_or_quotes_in_a_value_are_pointed_out() {
    for (line, end) in [
        (
            "max_mailbox_size = 100M # enough",
            "a comment needs a line of its own",
        ),
        (
            "delete_mails_after = 20 ; days",
            "a comment needs a line of its own",
        ),
        (
            "max_user_send_burst_size = \"10\"",
            "values are written without quotes",
        ),
        ("max_user_send_per_minute = 60.0", "not a whole number"),
    ] {
        let error = params(&format!("{line}\n")).unwrap_err().to_string();
        assert!(error.ends_with(end), "{error}");
    }
}

/// The keys that the usual file of a relay holds, in its order and spelling: many of them commented out.
const USUAL_FILE: &str = "\
[params]

# the domain of all addresses
mail_domain = chat.example

#
# limits
#
#max_user_send_per_minute = 60
#max_user_send_burst_size = 10
#max_mailbox_size = 500M
#max_message_size = 31457280
#delete_mails_after = 20
#delete_large_after = 7
#delete_inactive_users_after = 90
#username_min_length = 9
#username_max_length = 9
#password_min_length = 9
#max_load_1m = 5
#min_available_memory = 200M
#min_free_disk_space = 1G
#max_imap_connections = 10000
#max_smtp_connections = 1000
# tls_external_cert_and_key = /path/to/fullchain.pem /path/to/privkey.pem
#www_folder = www
#disable_ipv6 = False
#acme_email =
# iroh_relay =
# mtail_address = 127.0.0.1
#imap_rawlog = false
#imap_compress = false

# contact
privacy_postal =

privacy_mail =

privacy_pdo =

privacy_supervisor =
";

#[test]
fn the_usual_file_of_a_relay_loads_without_a_warning() {
    let config = parse(USUAL_FILE).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.privacy_supervisor, "");

    // And with every key that is commented out in it.
    let all: String = USUAL_FILE
        .lines()
        .map(|line| {
            let key = line.trim_start_matches(['#', ' ']);
            let line = if key.contains(" =") { key } else { line };
            format!("{line}\n")
        })
        .collect();
    let config = parse(&all).unwrap();
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(config.tls.mode, TlsMode::External);
    assert_eq!(config.mtail_address.as_deref(), Some("127.0.0.1"));
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
