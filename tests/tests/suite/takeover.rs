//! A tree of mailboxes and a `chatmail.ini` that a relay has already work as they are.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use chatmail_tests::instance::Account;
use chatmail_tests::mail::header_values;
use chatmail_tests::sink::Sink;
use chatmail_tests::smtp::Door;
use chatmail_tests::{Instance, Mail, wait};

/// Every key of a relay's `chatmail.ini`, each with a value of its own.
const EVERY_KEY: &[(&str, &str)] = &[
    ("max_user_send_per_minute", "61"),
    ("max_user_send_burst_size", "11"),
    ("max_mailbox_size", "501M"),
    ("max_message_size", "31457281"),
    ("delete_mails_after", "21"),
    ("delete_large_after", "8"),
    ("delete_inactive_users_after", "91"),
    ("username_min_length", "8"),
    ("username_max_length", "10"),
    ("password_min_length", "10"),
    ("max_load_1m", "10000"),
    ("min_available_memory", "2M"),
    ("min_free_disk_space", "2M"),
    ("max_imap_connections", "9999"),
    ("max_smtp_connections", "999"),
    ("disable_ipv6", "true"),
    ("acme_email", "postmaster@chat.test"),
    (
        "tls_external_cert_and_key",
        "/etc/ssl/certs/relay.pem /etc/ssl/private/relay.key",
    ),
    ("iroh_relay", "https://iroh.chat.test"),
    ("turn_socket_path", "/run/chatmail-turn/other.socket"),
    ("mtail_address", "127.0.0.1"),
    ("imap_rawlog", "false"),
    ("imap_compress", "true"),
    ("www_folder", "/srv/www"),
    ("privacy_postal", "1 Main Street"),
    ("privacy_mail", "privacy@chat.test"),
    ("privacy_pdo", "Nobody"),
    ("privacy_supervisor", "Somebody"),
    ("mailboxes_dir", "/home/vmail/mail/chat.test"),
    ("passdb_path", "/home/vmail/passdb.sqlite"),
    ("filtermail_smtp_port", "10080"),
    ("filtermail_smtp_port_incoming", "10081"),
    ("filtermail_http_port_incoming", "10082"),
    ("filtermail_lmtp_port_transport", "10083"),
    ("postfix_reinject_port", "10025"),
    ("postfix_reinject_port_incoming", "10026"),
];

#[test]
fn a_password_file_by_doveadm_lets_its_user_in_and_is_kept() {
    let relay = Instance::start();
    let account = relay.new_account("doveadm");
    let hash = doveadm_hash(&relay, &account.password);
    assert!(hash.starts_with("{SHA512-CRYPT}$6$"));
    let mailbox = existing_mailbox(&relay, &account, &hash);
    // As Dovecot left it: a message that was read, and one that was not.
    for (dir, number, flags) in [("cur", 1, ":2,S"), ("new", 2, "")] {
        let dir = mailbox.join(dir);
        fs::create_dir_all(&dir).expect("maildir");
        let mail = Mail::encrypted("carol@elsewhere.test", &account.address).to_bytes();
        let size = mail.len();
        let name = format!("1775324677.M44P{number}.host,S={size},W={size}{flags}");
        fs::write(dir.join(name), mail).expect("message");
    }
    own(&relay, &mailbox);

    let messages = relay.imap(&account).inbox().expect("INBOX");
    assert_eq!(messages.len(), 2);
    relay.smtp(Door::Smtps, &account);
    assert!(!relay.try_imap(&account.address, "something else").is_ok());
    assert_eq!(
        fs::read_to_string(mailbox.join("password")).expect("password"),
        hash
    );
    assert!(
        !mailbox.join("enforceE2EEincoming").exists(),
        "consent to cleartext was taken back"
    );
}

#[test]
fn both_forms_of_device_tokens_are_read_and_kept_up() {
    let sink = Sink::start().expect("sink");
    sink.answer_to("gone", 410);
    let relay = Instance::with().push_url(sink.url()).start();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs();
    let stale = now - 91 * 86_400;
    let alice = relay.account("alice");
    let with_times = relay.new_account("times");
    let as_list = relay.new_account("list");
    for (account, json) in [
        (
            &with_times,
            format!(
                r#"{{"devicetoken": {{"fresh": {now}.25, "stale": {stale}, "gone": {now}}}, "other": [1]}}"#
            ),
        ),
        (
            &as_list,
            r#"{"devicetoken": ["listed", "gone"], "other": [1]}"#.to_owned(),
        ),
    ] {
        let mailbox = existing_mailbox(&relay, account, &doveadm_hash(&relay, &account.password));
        fs::write(mailbox.join("metadata.json"), json).expect("metadata.json");
        own(&relay, &mailbox);
    }

    for (account, valid) in [(&with_times, "fresh"), (&as_list, "listed")] {
        let value = relay
            .imap(account)
            .get_metadata("INBOX", "/private/devicetoken");
        let value = value
            .expect("GETMETADATA")
            .expect("tokens")
            .expect("tokens");
        let mut tokens: Vec<_> = value.split(' ').collect();
        tokens.sort_unstable();
        let mut expected = ["gone", valid];
        expected.sort_unstable();
        assert_eq!(tokens, expected);

        relay.send_encrypted(&alice, account);
        wait::until_true("the token to be forgotten", || {
            let json = relay.metadata_json(account);
            let tokens = json["devicetoken"].as_object();
            assert_eq!(
                json["other"],
                serde_json::json!([1]),
                "somebody else's key is gone"
            );
            tokens.is_some_and(|tokens| tokens.contains_key(valid) && !tokens.contains_key("gone"))
        });
    }
    assert_eq!(sink.tokens(), ["fresh", "gone", "gone", "listed"]);
}

#[test]
fn a_chatmail_ini_with_every_key_works_as_it_is() {
    let relay = EVERY_KEY
        .iter()
        .fold(Instance::with(), |relay, (key, value)| {
            relay.param(key, value)
        })
        .start();
    let config = fs::read_to_string(&relay.endpoints().config).expect("chatmail.ini");
    for (key, _) in EVERY_KEY {
        assert!(
            config
                .lines()
                .any(|line| line.starts_with(&format!("{key} = "))),
            "{key}"
        );
    }
    // One of each end of the limits, which the file above moves.
    let [alice, bob] = ["alice001", "bob4567890"].map(|localpart| Account {
        address: format!("{localpart}@chat.test"),
        password: "10 letters".to_owned(),
    });
    relay.imap(&alice);
    relay.imap(&bob);
    let mail = relay.send_encrypted(&alice, &bob);
    let messages = relay.wait_for_messages(&bob, 1);
    assert_eq!(
        header_values(&messages[0], "Message-ID"),
        [mail.message_id()]
    );

    let logs = relay.logs();
    for (key, _) in EVERY_KEY {
        let warned = logs
            .lines()
            .find(|line| line.contains("unknown") && line.contains(key));
        assert_eq!(warned, None);
    }
}

#[test]
fn a_key_nobody_knows_is_warned_about_and_does_no_harm() {
    let relay = Instance::with().param("key_of_the_future", "1").start();
    relay.account("alice");
    let logs = relay.logs();
    assert!(logs.contains("key_of_the_future"), "no warning");
}

#[test]
fn a_switch_that_says_yes_is_off_and_every_service_warns_about_it() {
    let relay = Instance::with().param("imap_rawlog", "yes").start();
    let alice = relay.account("alice");
    let mailbox = fs::read_dir(relay.mailbox(&alice)).expect("mailbox");
    let names = mailbox.map(|entry| entry.expect("entry").file_name());
    let names: Vec<_> = names
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let recorded = |name: &String| name.ends_with(".in") || name.ends_with(".out");
    assert!(!names.iter().any(recorded), "{names:?}");
    for service in ["dovecot", "chatmail-milter", "chatmail-serve"] {
        let warning = "chatmail.ini: imap_rawlog = \"yes\": neither true nor false; taken as false";
        relay.wait_for_log(service, service, |line| line.contains(warning));
    }
}

fn existing_mailbox(relay: &Instance, account: &Account, hash: &str) -> std::path::PathBuf {
    let mailbox = relay.mailbox(account);
    fs::create_dir(&mailbox).expect("mailbox");
    fs::write(mailbox.join("password"), hash).expect("password file");
    own(relay, &mailbox);
    mailbox
}

/// Gives a mailbox to the mail user, as the tree is.
fn own(relay: &Instance, path: &Path) {
    let tree = fs::metadata(&relay.endpoints().mailboxes_dir).expect("mailboxes");
    chown(path, Some(tree.uid()), Some(tree.gid())).expect("chown");
    if path.is_dir() {
        for entry in fs::read_dir(path).expect("directory") {
            own(relay, &entry.expect("entry").path());
        }
    }
}

fn doveadm_hash(relay: &Instance, password: &str) -> String {
    let output = relay
        .dovecot("doveadm")
        .args(["pw", "-s", "SHA512-CRYPT", "-p", password])
        .output()
        .expect("doveadm");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .expect("ASCII")
        .trim_end()
        .to_owned()
}
