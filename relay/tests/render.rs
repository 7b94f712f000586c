//! `chatmail render`: what Dovecot and Postfix make of the files, and that none is lost.
//!
//! Checks that ask `doveconf` or `postconf` say so and pass where these are not installed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// A chatmail.ini, a layout, a place for the rendered files, and a `dovecot` that knows its version.
struct Host(TempDir);

/// What `dovecot --version` of Debian 12 answers.
const DEBIAN_12: &str = "2.3.19.1 (9b53102964)";
/// And that of Debian 13.
const DEBIAN_13: &str = "2.4.1-4 (7d8c0e5759)";

impl Host {
    fn new(ini: &str, layout: &str) -> Host {
        let host = Host(tempfile::tempdir().expect("a directory"));
        std::fs::write(host.path("chatmail.ini"), format!("[params]\n{ini}\n"))
            .expect("chatmail.ini");
        std::fs::write(host.path("layout.json"), layout).expect("layout");
        host.install_dovecot(&format!("echo '{DEBIAN_12}'"));
        host
    }

    /// Makes `dovecot` on this host a shell script.
    fn install_dovecot(&self, script: &str) {
        let text = self.path("dovecot.sh");
        std::fs::create_dir_all(self.path("bin")).expect("a directory");
        std::fs::write(&text, format!("#!/bin/sh\n{script}\n")).expect("a script");
        // By another process: what is open for writing here is so for a moment in every process that
        // a test beside this one starts, and nobody can run it then.
        let mut install = Command::new("install");
        install
            .args(["-m", "755"])
            .arg(&text)
            .arg(self.path("bin/dovecot"));
        assert!(install.status().expect("install").success());
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn render(&self, more: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_chatmail"))
            .env("PATH", self.path("bin"))
            .args(["render", "--config"])
            .arg(self.path("chatmail.ini"))
            .arg("--layout")
            .arg(self.path("layout.json"))
            .arg("--out")
            .arg(self.path("out"))
            .args(more)
            .output()
            .expect("chatmail runs")
    }

    /// Renders and expects that to work.
    fn rendered(ini: &str, layout: &str) -> Host {
        let host = Host::new(ini, layout);
        host.renders();
        host
    }

    /// The `dovecot.conf` for Debian 13.
    fn debian_13(ini: &str, layout: &str) -> String {
        let host = Host::new(ini, layout);
        host.install_dovecot(&format!("echo '{DEBIAN_13}'"));
        host.renders();
        host.read("out/dovecot/dovecot.conf")
    }

    #[track_caller]
    fn renders(&self) {
        let done = self.render(&[]);
        assert!(
            done.status.success(),
            "{}",
            String::from_utf8_lossy(&done.stderr)
        );
    }

    /// Expects an error in what is configured, and returns it.
    #[track_caller]
    fn refused(&self) -> String {
        let done = self.render(&[]);
        let why = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(78), "{why}");
        assert!(!self.path("out").exists(), "{why}");
        why
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect(name)
    }

    /// What Dovecot 2.3 understands, or `None` if it is not installed. 2.4 understands our settings
    /// only with our modules in place: the end-to-end tests start it.
    fn doveconf(&self) -> Option<String> {
        if !ask("dovecot", &[Path::new("--version")])?.starts_with("2.3.") {
            eprintln!("not checked: this is not Dovecot 2.3");
            return None;
        }
        let file = self.path("out/dovecot/dovecot.conf");
        ask("doveconf", &[Path::new("-n"), Path::new("-c"), &file])
    }

    /// What Postfix understands of `main.cf` (`-n`) or `master.cf` (`-M`, `-P`).
    fn postconf(&self, what: &str) -> Option<String> {
        let directory = self.path("out/postfix");
        ask("postconf", &[Path::new("-c"), &directory, Path::new(what)])
    }
}

/// The standard output of a program that is to have no complaint.
fn ask(program: &str, arguments: &[&Path]) -> Option<String> {
    let done = match Command::new(program).args(arguments).output() {
        Ok(done) => done,
        Err(why) if why.kind() == std::io::ErrorKind::NotFound => {
            assert!(
                std::env::var_os("CI").is_none(),
                "{program} is not installed"
            );
            eprintln!("not checked: {program} is not installed");
            return None;
        }
        Err(why) => panic!("{program}: {why}"),
    };
    let complaints = String::from_utf8_lossy(&done.stderr);
    assert!(
        done.status.success() && complaints.is_empty(),
        "{program}: {complaints}"
    );
    Some(String::from_utf8(done.stdout).expect("text"))
}

/// Whether the text has this line, whatever the indentation.
#[track_caller]
fn has(text: &str, line: &str) {
    let found = text.lines().any(|there| there.trim() == line);
    assert!(found, "no line {line:?} in:\n{text}");
}

const PRIVATE: &str = r#"{
    "listen": "127.0.0.1",
    "ports": {"imaps": 3993, "imap": 3143, "smtps": 3465, "submission": 3587, "smtp": 3025},
    "outside_mail": false,
    "lmtp_socket": "/srv/relay/lmtp", "auth_socket": "/srv/relay/auth",
    "milters": {"outgoing": "unix:/srv/relay/out.sock", "incoming": "inet:3026@127.0.0.1"},
    "postfix": {"queue_directory": "/srv/relay/queue", "log": "/srv/relay/log/postfix.log", "chroot": false}
}"#;

#[test]
fn dovecot_takes_the_values_of_chatmail_ini() {
    let ini = "mail_domain = chat.example\nmax_mailbox_size = 2G\nmax_message_size = 4096\n\
               max_imap_connections = 7000\nmailboxes_dir = /srv/mail";
    let host = Host::rendered(ini, "{}");
    let Some(conf) = host.doveconf() else { return };
    has(&conf, &format!("quota_rule = *:storage={}B", 2_u64 << 30));
    has(&conf, "quota_max_mail_size = 4096");
    has(&conf, "process_limit = 7000");
    has(&conf, "imap_capability = +XDELTAPUSH XCHATMAIL");
    has(&conf, "imap_metadata = yes");
    has(&conf, "mail_location = maildir:~");
    has(&conf, "imap_hibernate_timeout = 30 secs");
    let config = host.path("chatmail.ini");
    has(
        &conf,
        &format!("mail_attribute_dict = chatmail:{}", config.display()),
    );
    has(
        &conf,
        &format!("args = config={} user=vmail", config.display()),
    );
    assert!(
        !conf.contains("auth_cache_size"),
        "Dovecot's default is no cache"
    );
}

#[test]
fn compression_turns_hibernation_off() {
    let host = Host::rendered("mail_domain = chat.example\nimap_compress = true", "{}");
    let Some(conf) = host.doveconf() else { return };
    has(
        &conf,
        "mail_plugins = zlib quota chatmail imap_quota imap_zlib",
    );
    assert!(!conf.contains("imap_hibernate_timeout"), "{conf}");
}

#[test]
fn dovecot_2_4_takes_the_values_of_chatmail_ini() {
    let ini = "mail_domain = chat.example\nmax_mailbox_size = 2G\nmax_message_size = 4096\n\
               max_imap_connections = 7000\nmailboxes_dir = /srv/mail";
    let conf = Host::debian_13(ini, r#"{"mail_user": "mailer"}"#);
    for line in [
        "dovecot_config_version = 2.4.1",
        &format!("storage_size = {}B", 2_u64 << 30),
        "quota_mail_size = 4096B",
        "process_limit = 7000",
        "XDELTAPUSH = yes",
        "XCHATMAIL = yes",
        "imap_metadata = yes",
        "mail_path = ~",
        "imap_hibernate_timeout = 30s",
        "passdb chatmail {",
        "userdb chatmail {",
        "dict chatmail {",
        "chatmail_mail_user = mailer",
        "mail_utf8_extensions = yes",
    ] {
        has(&conf, line);
    }
    let config = conf
        .lines()
        .find_map(|line| line.strip_prefix("chatmail_config = "))
        .expect("our setting");
    assert!(config.ends_with("/chatmail.ini"), "{config}");
}

#[test]
fn dovecot_2_4_offers_compression_only_if_asked_to() {
    // It is offered by default, and a compressed connection cannot be hibernated.
    let offered = r#""COMPRESS=DEFLATE" = no"#;
    let conf = Host::debian_13("mail_domain = chat.example", "{}");
    has(&conf, offered);
    let conf = Host::debian_13("mail_domain = chat.example\nimap_compress = true", "{}");
    assert!(!conf.contains(offered), "{conf}");
    assert!(!conf.contains("imap_hibernate_timeout"), "{conf}");
}

#[test]
fn dovecot_2_4_without_smtputf8_gets_no_such_setting() {
    let layout = r#"{"dovecot": {"smtputf8": false}}"#;
    let conf = Host::debian_13("mail_domain = chat.example", layout);
    assert!(!conf.contains("mail_utf8_extensions"), "{conf}");
}

#[test]
fn the_administrator_is_the_contact_that_the_operator_named_or_none() {
    for (privacy_mail, contact) in [
        ("privacy_mail = me@chat.example", Some("me@chat.example")),
        (
            "privacy_mail = a+b@[203.0.113.7]",
            Some("a+b@[203.0.113.7]"),
        ),
        ("", None),
        ("privacy_mail =", None),
        ("privacy_mail = ask us", None),
        ("privacy_mail = %me@chat.example", None),
        ("privacy_mail = a@b, c@d", None),
        ("privacy_mail = @chat.example", None),
    ] {
        let ini = format!("mail_domain = chat.example\n{privacy_mail}");
        let old = Host::rendered(&ini, "{}").read("out/dovecot/dovecot.conf");
        let new = Host::debian_13(&ini, "{}");
        for conf in [&old, &new] {
            assert!(!conf.contains("mail_server_comment"), "{conf}");
            let postmaster = contact.unwrap_or("postmaster@chat.example");
            has(conf, &format!("postmaster_address = {postmaster}"));
        }
        match contact {
            None => assert!(!(old.clone() + &new).contains("mail_server_admin"), "{ini}"),
            Some(contact) => {
                has(&old, &format!("mail_server_admin = mailto:{contact}"));
                // 2.4 does not start without the escapes.
                let escaped = contact.replace('[', "%5B").replace(']', "%5D");
                has(&new, &format!("mail_server_admin = mailto:{escaped}"));
            }
        }
    }
}

#[test]
fn the_postmaster_of_an_address_literal_is_an_address() {
    let conf = Host::debian_13("mail_domain = 203.0.113.7", "{}");
    has(&conf, "postmaster_address = postmaster@[203.0.113.7]");
}

#[test]
fn no_dovecot_logs_an_address() {
    let host = Host::rendered("mail_domain = chat.example", "{}");
    let old = host.read("out/dovecot/dovecot.conf");
    let new = Host::debian_13("mail_domain = chat.example", "{}");
    for (conf, names) in [(old, ["%u", "%r", "%l"]), (new, ["user}", "ip}", "owner}"])] {
        let formats: Vec<&str> = conf
            .lines()
            .filter(|line| {
                ["login_log_format_elements", "mail_log_prefix"]
                    .iter()
                    .any(|name| line.starts_with(name))
            })
            .collect();
        assert_eq!(formats.len(), 2, "{conf}");
        for name in names {
            assert!(!formats.concat().contains(name), "{formats:?}");
        }
        has(&conf, "auth_verbose = no");
    }
}

#[test]
fn the_layout_may_name_the_version_of_dovecot() {
    for (version, line) in [("2.3", "driver = chatmail"), ("2.4", "passdb chatmail {")] {
        let layout = format!(r#"{{"dovecot": {{"version": "{version}"}}}}"#);
        let host = Host::new("mail_domain = chat.example", &layout);
        host.install_dovecot("exit 1");
        host.renders();
        has(&host.read("out/dovecot/dovecot.conf"), line);
    }
    let unknown = r#"{"dovecot": {"version": "2.2"}}"#;
    let why = Host::new("mail_domain = chat.example", unknown).refused();
    assert!(why.contains("2.2"), "{why}");
}

#[test]
fn a_dovecot_that_cannot_be_asked_is_an_error_that_says_what_to_do() {
    let cases = [
        ("echo 2.2.36", "2.2.36"),
        ("echo 2.4.0-1", "2.4.0-1"),
        ("echo cannot load libdovecot >&2; exit 127", "libdovecot"),
    ];
    for (script, named) in cases {
        let host = Host::new("mail_domain = chat.example", "{}");
        host.install_dovecot(script);
        let why = host.refused();
        assert!(why.contains(named), "{why}");
    }
    let host = Host::new("mail_domain = chat.example", "{}");
    std::fs::remove_file(host.path("bin/dovecot")).expect("removed");
    let why = host.refused();
    assert!(why.contains("dovecot.version"), "{why}");
}

#[test]
fn dovecot_listens_where_the_layout_says() {
    let host = Host::rendered("mail_domain = chat.example", PRIVATE);
    let Some(conf) = host.doveconf() else { return };
    has(&conf, "listen = 127.0.0.1");
    for line in [
        "port = 3993",
        "port = 3143",
        "unix_listener /srv/relay/lmtp {",
        "unix_listener /srv/relay/auth {",
    ] {
        has(&conf, line);
    }
}

#[test]
fn postfix_takes_the_values_of_chatmail_ini() {
    let ini = "mail_domain = chat.example\nmax_message_size = 4096\nmax_smtp_connections = 500\ndisable_ipv6 = true";
    let host = Host::rendered(ini, "{}");
    let Some(main) = host.postconf("-n") else {
        return;
    };
    has(&main, "message_size_limit = 4096");
    has(&main, "inet_protocols = ipv4");
    has(&main, "virtual_mailbox_domains = chat.example");
    has(&main, "smtpd_forbid_bare_newline = normalize");
    has(
        &main,
        "smtpd_command_filter = regexp:$config_directory/command_filter",
    );
    has(&main, "allow_percent_hack = no");
    has(&main, "swap_bangpath = no");
    has(&main, "maximal_queue_lifetime = 2d");
    has(&main, "bounce_queue_lifetime = 2d");
    has(&main, "smtp_tls_security_level = verify");
    let services = host.postconf("-M").expect("installed");
    let columns = |port: &str| {
        let line = services
            .lines()
            .find(|line| line.starts_with(port))
            .expect(port);
        line.split_whitespace()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(columns("587 ")[6..8], ["500", "smtpd"]);
    assert_eq!(columns("465 ")[6..8], ["500", "smtpd"]);
    let options = host.postconf("-P").expect("installed");
    has(
        &options,
        "465/inet/smtpd_client_connection_count_limit = 100",
    );
}

#[test]
fn every_service_that_takes_mail_has_a_filter_that_fails_closed() {
    let host = Host::rendered("mail_domain = chat.example", "{}");
    let Some(options) = host.postconf("-P") else {
        return;
    };
    for (port, socket) in [("25", "incoming"), ("587", "outgoing"), ("465", "outgoing")] {
        let name = format!("{port}/inet/smtpd_milters = ");
        let milter = options
            .lines()
            .find_map(|line| line.strip_prefix(&name))
            .expect(port);
        assert!(
            milter.contains(&format!("unix:chatmail/{socket}.sock")),
            "{milter}"
        );
        assert!(milter.contains("default_action=tempfail"), "{milter}");
        assert!(milter.contains("command_timeout="), "{milter}");
    }
    let sockets = host.postconf("-M").expect("installed");
    let smtpd = sockets.lines().filter(|line| line.contains(" smtpd"));
    assert_eq!(smtpd.count(), 3, "{sockets}");
    has(&options, "465/inet/cleanup_service_name = authclean");
    has(&options, "587/inet/cleanup_service_name = authclean");
    has(&options, "587/inet/smtpd_tls_security_level = encrypt");
    let main = host.postconf("-n").expect("installed");
    has(
        &main,
        "mua_sender_restrictions = reject_sender_login_mismatch, permit_sasl_authenticated, reject",
    );
}

/// Longer than one look-up of a DKIM key may take with all its tries, in seconds.
const DNS: u32 = 20;

#[test]
fn a_filter_may_wait_for_dns_before_its_verdict() {
    let host = Host::rendered("mail_domain = chat.example", "{}");
    let master = host.read("out/postfix/master.cf");
    let milters = master.matches("smtpd_milters = ").count();
    let timeouts: Vec<u32> = master
        .split("content_timeout=")
        .skip(1)
        .filter_map(|rest| rest.split('s').next()?.parse().ok())
        .collect();
    assert_eq!((milters, timeouts.len()), (4, 4), "{master}");
    // Not much longer either: a client is held for as long by a filter that hangs.
    assert!(
        timeouts
            .iter()
            .all(|seconds| (DNS + 5..=2 * DNS).contains(seconds))
    );
}

#[test]
fn bounces_of_postfix_go_through_the_filter() {
    let host = Host::rendered("mail_domain = chat.example", "{}");
    let Some(main) = host.postconf("-n") else {
        return;
    };
    has(&main, "internal_mail_filter_classes = bounce");
    let options = host.postconf("-P").expect("installed");
    for service in ["bounce", "defer", "trace"] {
        let line = format!("{service}/unix/cleanup_service_name = bounceclean");
        has(&options, &line);
    }
    let milter = options
        .lines()
        .find_map(|line| line.strip_prefix("bounceclean/unix/non_smtpd_milters = "))
        .expect("a filter");
    assert!(milter.contains("unix:chatmail/internal.sock"), "{milter}");
    assert!(milter.contains("default_action=tempfail"), "{milter}");
    // What any program on the host can hand to sendmail(1) is not signed.
    assert!(!main.contains("non_smtpd_milters"), "{main}");
    has(&main, "authorized_submit_users = root");
}

#[test]
fn a_relay_without_dkim_of_its_own_can_have_another_signer() {
    let ini = "mail_domain = chat.example\ndkim = false";
    let none = Host::rendered(ini, "{}").read("out/postfix/master.cf");
    assert!(!none.contains("non_smtpd_milters") && !none.contains("bounceclean"));

    let signer = r#"{"milters": {"dkim": "inet:8891@127.0.0.1"}}"#;
    let host = Host::rendered(ini, signer);
    let master = host.read("out/postfix/master.cf");
    let internal = "  -o { non_smtpd_milters = { inet:127.0.0.1:8891, ";
    assert!(master.contains(internal), "{master}");
    let both = master.matches("content_timeout=30s }, { inet:127.0.0.1:8891, ");
    assert_eq!(both.count(), 3, "{master}");

    let twice = Host::new("mail_domain = chat.example", signer).render(&[]);
    assert_eq!(twice.status.code(), Some(78));
    let why = String::from_utf8_lossy(&twice.stderr).into_owned();
    assert!(why.contains("dkim = false"), "{why}");
}

#[test]
fn a_transport_map_goes_before_everything_else() {
    let map = r#""transport_map": "/srv/relay/transport""#;
    for (layout, level) in [
        (format!(r#"{{"postfix": {{{map}}}}}"#), "verify"),
        (
            format!(r#"{{"outside_mail": false, "postfix": {{{map}}}}}"#),
            "may",
        ),
    ] {
        let host = Host::rendered("mail_domain = chat.example", &layout);
        let Some(main) = host.postconf("-n") else {
            return;
        };
        has(&main, "transport_maps = texthash:/srv/relay/transport");
        has(&main, &format!("smtp_tls_security_level = {level}"));
    }
}

#[test]
fn no_extension_of_smtp_is_hidden_from_clients() {
    let host = Host::rendered("mail_domain = chat.example", "{}");
    let Some(main) = host.postconf("-n") else {
        return;
    };
    for keyword in ["smtpd_discard_ehlo", "lmtp_discard_lhlo", "smtputf8_enable"] {
        assert!(!main.contains(keyword), "{main}");
    }
    // Other servers are told nothing that a sender could write into it.
    has(&main, "smtp_discard_ehlo_keywords = dsn");
    has(&main, "recipient_delimiter = +");
}

#[test]
fn a_relay_on_an_address_literal_takes_mail_for_it() {
    let host = Host::rendered("mail_domain = 203.0.113.7", "{}");
    let Some(main) = host.postconf("-n") else {
        return;
    };
    has(&main, "mydestination = [203.0.113.7]");
    has(&main, "local_transport = lmtp:unix:private/dovecot-lmtp");
    has(&main, "local_recipient_maps =");
    has(&main, "myorigin = [203.0.113.7]");
    host.doveconf();
}

/// Next hops as Postfix asks for them. An empty level is that of everybody else.
#[test]
fn relays_on_addresses_and_on_underscores_need_no_trusted_certificate() {
    let host = Host::rendered("mail_domain = chat.example", "{}");
    if host.postconf("-n").is_none() {
        return;
    }
    let directory = host.path("out/postfix");
    let map = format!("regexp:{}/smtp_tls_policy_map", directory.display());
    for (hop, level) in [
        ("[203.0.113.7]", "encrypt"),
        ("[203.0.113.7]:25", "encrypt"),
        ("[IPv6:2001:db8::7]", "encrypt"),
        ("[ipv6:::ffff:203.0.113.7]", "encrypt"),
        ("[2001:db8::7]:25", "encrypt"),
        ("_chat.example", "encrypt"),
        ("elsewhere.example", ""),
        ("[mx.elsewhere.example]", ""),
        ("[beef.cafe]", ""),
        ("[203.0.113.7].example", ""),
        ("[IPv6:beef.cafe]", ""),
    ] {
        let found = Command::new("postmap")
            .arg("-c")
            .arg(&directory)
            .args(["-q", hop, &map])
            .output()
            .expect("postmap");
        assert!(found.stderr.is_empty(), "{hop}: {found:?}");
        let found = String::from_utf8_lossy(&found.stdout).trim().to_owned();
        assert_eq!(found, level, "{hop}");
    }
}

#[test]
fn no_mail_leaves_a_relay_without_outside_mail() {
    let host = Host::rendered("mail_domain = chat.example", PRIVATE);
    let Some(main) = host.postconf("-n") else {
        return;
    };
    let transport = main
        .lines()
        .find_map(|line| line.strip_prefix("default_transport = "));
    assert!(
        transport.is_some_and(|to| to.starts_with("error:")),
        "{main}"
    );
    has(&main, "relay_transport = $default_transport");
    has(&main, "smtp_dns_support_level = disabled");
    has(&main, "inet_interfaces = 127.0.0.1");
    let services = host.postconf("-M").expect("installed");
    for line in services.lines().filter(|line| line.contains(" inet ")) {
        assert!(line.starts_with("127.0.0.1:"), "{line}");
    }
}

#[test]
fn the_printed_layout_is_the_default() {
    let printed = Command::new(env!("CARGO_BIN_EXE_chatmail"))
        .arg("layout")
        .output()
        .expect("runs");
    let printed = String::from_utf8(printed.stdout).expect("text");
    let host = Host::rendered("mail_domain = chat.example", &printed);
    std::fs::write(host.path("layout.json"), "{}").expect("layout");
    let again = host.render(&[]);
    assert_eq!(
        (again.status.code(), again.stdout.len()),
        (Some(0), 0),
        "nothing changed"
    );
}

#[test]
fn a_file_that_differs_is_shown_and_kept() {
    let host = Host::rendered("mail_domain = chat.example", "{}");
    let file = "out/postfix/main.cf";
    let mine = host.read(file).replace("biff = no", "biff = yes");
    std::fs::write(host.path(file), &mine).expect("edited");
    std::fs::remove_file(host.path("out/postfix/login_map")).expect("removed");

    let refused = host.render(&[]);
    assert_eq!(refused.status.code(), Some(73));
    let shown = String::from_utf8(refused.stdout).expect("text");
    has(&shown, "-biff = yes");
    has(&shown, "+biff = no");
    assert_eq!(host.read(file), mine);
    assert!(
        !host.path("out/postfix/login_map").exists(),
        "all or nothing"
    );

    let forced = host.render(&["--force"]);
    assert_eq!(forced.status.code(), Some(0));
    has(
        &String::from_utf8(forced.stdout).expect("text"),
        "-biff = yes",
    );
    has(&host.read(file), "biff = no");
    assert!(host.path("out/postfix/login_map").exists());
}

#[test]
fn what_cannot_be_written_down_is_an_error_that_names_it() {
    let cases = [
        (
            "mail_domain = chat.example",
            r#"{"mail_usr": "x"}"#,
            "mail_usr",
        ),
        (
            "mail_domain = chat.example",
            r#"{"mail_user": "a b"}"#,
            "mail_user",
        ),
        (
            "mail_domain = chat.example",
            r#"{"mail_user": "x\nssl = no"}"#,
            "mail_user",
        ),
        (
            "mail_domain = chat.example",
            r#"{"tls_key": "/k"}"#,
            "tls_certificate",
        ),
        (
            "mail_domain = chat.example",
            r#"{"auth_socket": "/run/auth"}"#,
            "/run/auth",
        ),
        (
            "mail_domain = chat.example",
            r#"{"milters": {"outgoing": "o.sock"}}"#,
            "o.sock",
        ),
        ("mail_domain =", "{}", "mail_domain"),
    ];
    for (ini, layout, named) in cases {
        let host = Host::new(ini, layout);
        let done = host.render(&[]);
        let why = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(78), "{layout}: {why}");
        assert!(why.contains(named), "{layout}: {why}");
        assert!(!host.path("out").exists(), "{layout}");
    }
}
