use super::*;
use std::fs;
use std::path::Path;
use std::sync::Barrier;
use std::thread;

use crate::auth::{Authenticator, Login, Refusal};

const PASSWORD: &[u8] = b"correct horse";
const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)));

/// A host with this load, memory and disk.
#[derive(Debug)]
struct Measured(f64, u64, u64);

impl Host for Measured {
    fn load(&self) -> io::Result<f64> {
        Ok(self.0)
    }
    fn available_memory(&self) -> io::Result<u64> {
        Ok(self.1)
    }
    fn free_disk_space(&self, _: &Path) -> io::Result<u64> {
        Ok(self.2)
    }
}

const IDLE: Measured = Measured(0.1, 1 << 33, 1 << 40);

/// A relay that already has the user `old.12345`, whatever its rules are.
struct Relay {
    base: tempfile::TempDir,
}

const OLD: &[u8] = b"old.12345@chat.example";

impl Relay {
    fn new() -> Relay {
        let relay = Relay {
            base: tempfile::tempdir().unwrap(),
        };
        let created = relay.with("", IDLE).login(OLD, PASSWORD, None).unwrap();
        assert!(matches!(created, Login::Created(..)));
        relay
    }

    fn with(&self, keys: &str, host: Measured) -> Authenticator {
        self.on(keys, Arc::new(host))
    }

    fn on(&self, keys: &str, host: Arc<dyn Host>) -> Authenticator {
        let dir = self.base.path().display();
        let ini = format!(
            "[params]\nmail_domain = chat.example\nmailboxes_dir = {dir}/mail\nnocreate_file = {dir}/nocreate\n{keys}\n"
        );
        let config = Config::parse(Path::new("chatmail.ini"), &ini).unwrap();
        Authenticator::on_host(&config, host)
    }

    fn file(&self) -> PathBuf {
        self.base.path().join("mail/.chatmail/signups")
    }

    /// Directories of mailboxes.
    fn mailboxes(&self) -> usize {
        fs::read_dir(self.base.path().join("mail"))
            .unwrap()
            .filter(|entry| {
                let name = entry.as_ref().unwrap().file_name();
                name.to_string_lossy().contains('@')
            })
            .count()
    }
}

fn address(number: usize) -> Vec<u8> {
    format!("new{number:06}@chat.example").into_bytes()
}

fn refused(login: Login) -> NotCreated {
    match login {
        Login::Refused(Refusal::NotCreated(rule)) => rule,
        other => panic!("{other:?}"),
    }
}

/// Keys of `chatmail.ini`, the host, address and password of a first login, and the rule's word.
type Refused<'a> = (&'a str, Measured, &'a [u8], &'a [u8], &'a str);

#[test]
fn each_rule_refuses_new_addresses_by_its_word_and_no_existing_user() {
    let busy = |load, memory, disk| Measured(load, memory, disk);
    let rules: [Refused<'_>; 13] = [
        ("nocreate", IDLE, b"", PASSWORD, "switched-off"),
        ("registration = closed", IDLE, b"", PASSWORD, "closed"),
        ("registration = invite", IDLE, b"", PASSWORD, "invite-only"),
        (
            "refuse_automatic_signups = true",
            IDLE,
            b"",
            b"Abcdefghij1234567890123",
            "automatic",
        ),
        ("", IDLE, b"", b"12345678", "password"),
        ("", IDLE, b"x@chat.example", PASSWORD, "localpart-length"),
        (
            "",
            IDLE,
            b"a+b345678@chat.example",
            PASSWORD,
            "localpart-characters",
        ),
        ("", busy(5.1, IDLE.1, IDLE.2), b"", PASSWORD, "load"),
        ("", busy(IDLE.0, 1, IDLE.2), b"", PASSWORD, "memory"),
        ("", busy(IDLE.0, IDLE.1, 1), b"", PASSWORD, "disk"),
        (
            "max_network_signups_per_hour = 0",
            IDLE,
            b"",
            PASSWORD,
            "network-rate",
        ),
        (
            "max_signups_per_hour = 0",
            IDLE,
            b"",
            PASSWORD,
            "total-rate",
        ),
        // For whom the relay is closed nothing else matters.
        (
            "registration = closed",
            busy(99.0, 1, 1),
            b"x@chat.example",
            b"",
            "closed",
        ),
    ];
    for (keys, host, address, password, word) in rules {
        let relay = Relay::new();
        let keys = match keys {
            "nocreate" => {
                fs::write(relay.base.path().join("nocreate"), "").unwrap();
                ""
            }
            keys => keys,
        };
        let auth = relay.with(keys, host);
        let address = if address.is_empty() {
            b"new.12345@chat.example"
        } else {
            address
        };
        let rule = refused(auth.login(address, password, HOME).unwrap());
        assert_eq!(rule.word(), word);
        let counter = format!("chatmail_signups_refused_total{{reason=\"{word}\"}}");
        assert_eq!(rule.counter().name(), counter);
        let text = rule.to_string();
        assert!(text.starts_with(&format!("{word}: ")), "{text}");
        assert!(!text.contains('@') && !text.contains("192.0"), "{text}");
        assert_eq!(relay.mailboxes(), 1, "{word}");

        let old = auth.login(OLD, PASSWORD, HOME).unwrap();
        assert!(matches!(old, Login::Known(_)), "{word}: {old:?}");
        let wrong = auth.login(OLD, b"wrong", HOME).unwrap();
        assert_eq!(wrong, Login::Refused(Refusal::WrongPassword), "{word}");
    }
}

#[test]
fn automatic_sign_ups_are_those_with_23_characters_and_may_be_let_in() {
    let relay = Relay::new();
    let refusing = relay.with("refuse_automatic_signups = true", IDLE);
    for (number, password) in ["a".repeat(22), "a".repeat(24), "ü".repeat(12)]
        .iter()
        .enumerate()
    {
        let login = refusing
            .login(&address(number), password.as_bytes(), HOME)
            .unwrap();
        assert!(matches!(login, Login::Created(..)), "{password}");
    }
    for password in ["a".repeat(23), "ü".repeat(23)] {
        let login = refusing
            .login(&address(7), password.as_bytes(), HOME)
            .unwrap();
        assert_eq!(refused(login), NotCreated::Automatic);
    }
    let login = relay
        .with("", IDLE)
        .login(&address(7), &[b'a'; 23], HOME)
        .unwrap();
    assert!(matches!(login, Login::Created(..)));
    // And once it exists it is a user like others.
    let login = refusing.login(&address(7), &[b'a'; 23], HOME).unwrap();
    assert!(matches!(login, Login::Known(_)));
}

#[test]
fn an_address_that_was_made_beforehand_can_log_in_whatever_registration_says() {
    for registration in ["open", "invite", "closed"] {
        let relay = Relay::new();
        let auth = relay.with(&format!("registration = {registration}"), IDLE);
        assert!(matches!(
            auth.login(OLD, PASSWORD, HOME),
            Ok(Login::Known(_))
        ));
    }
}

#[test]
fn of_twenty_first_logins_at_once_as_many_pass_as_the_rate_allows() {
    for keys in [
        "max_signups_per_hour = 6",
        "max_network_signups_per_hour = 5",
    ] {
        let relay = Relay::new();
        let barrier = Barrier::new(20);
        let logins: Vec<Login> = thread::scope(|scope| {
            let threads: Vec<_> = (0..20)
                .map(|number| {
                    let (relay, barrier) = (&relay, &barrier);
                    // Each with memory and file handle of its own, like a process.
                    scope.spawn(move || {
                        let auth = relay.with(keys, IDLE);
                        barrier.wait();
                        auth.login(&address(number), PASSWORD, HOME).unwrap()
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let created = logins
            .iter()
            .filter(|login| matches!(login, Login::Created(..)))
            .count();
        // The user of the fixture came from nowhere and counts in total only.
        assert_eq!(created, 5, "{keys}: {logins:?}");
        assert_eq!(
            relay.mailboxes(),
            6,
            "{keys}: a refused sign-up left a directory"
        );
        assert!(matches!(
            relay.with(keys, IDLE).login(OLD, PASSWORD, HOME),
            Ok(Login::Known(_))
        ));
    }
}

#[test]
fn first_logins_of_one_user_from_all_devices_at_once_count_as_one() {
    let relay = Relay::new();
    let keys = "max_network_signups_per_hour = 2";
    let barrier = Barrier::new(12);
    thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| {
                let auth = relay.with(keys, IDLE);
                barrier.wait();
                let login = auth.login(&address(1), PASSWORD, HOME).unwrap();
                assert!(
                    matches!(login, Login::Created(..) | Login::Known(_)),
                    "{login:?}"
                );
            });
        }
    });
    let auth = relay.with(keys, IDLE);
    assert!(matches!(
        auth.login(&address(2), PASSWORD, HOME),
        Ok(Login::Created(..))
    ));
    let third = auth.login(&address(3), PASSWORD, HOME).unwrap();
    assert_eq!(refused(third), NotCreated::NetworkRate);
}

#[test]
fn an_account_made_while_a_rule_was_asked_is_not_kept_out() {
    /// Too busy for new addresses, the moment after it took one.
    #[derive(Debug)]
    struct MadeMeanwhile(Authenticator);

    impl Host for MadeMeanwhile {
        fn load(&self) -> io::Result<f64> {
            let login = self.0.login(&address(1), PASSWORD, HOME).unwrap();
            assert!(matches!(login, Login::Created(..)));
            Ok(99.0)
        }
        fn available_memory(&self) -> io::Result<u64> {
            IDLE.available_memory()
        }
        fn free_disk_space(&self, path: &Path) -> io::Result<u64> {
            IDLE.free_disk_space(path)
        }
    }

    let relay = Relay::new();
    let login = |password| {
        fs::remove_dir_all(relay.base.path().join("mail/new000001@chat.example")).ok();
        let host = MadeMeanwhile(relay.with("", IDLE));
        let auth = relay.on("", Arc::new(host));
        auth.login(&address(1), password, HOME).unwrap()
    };
    assert!(matches!(login(PASSWORD), Login::Known(_)));
    assert_eq!(
        login(b"another one"),
        Login::Refused(Refusal::WrongPassword)
    );
}

#[test]
fn what_another_rule_refuses_uses_no_rate_up() {
    let relay = Relay::new();
    let auth = relay.with("max_network_signups_per_hour = 1", IDLE);
    for _ in 0..3 {
        let short = auth.login(&address(1), b"short", HOME).unwrap();
        assert_eq!(refused(short), NotCreated::Password);
    }
    assert!(matches!(
        auth.login(&address(1), PASSWORD, HOME),
        Ok(Login::Created(..))
    ));
}

#[test]
fn a_file_that_cannot_be_read_puts_new_addresses_off_and_nobody_else() {
    let relay = Relay::new();
    let file = relay.file();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let auth = relay.with("", IDLE);
    let error = auth.login(&address(1), PASSWORD, HOME).unwrap_err();
    assert!(error.to_string().contains(".chatmail/signups"), "{error}");
    assert_eq!(relay.mailboxes(), 1);
    assert!(matches!(
        auth.login(OLD, PASSWORD, HOME),
        Ok(Login::Known(_))
    ));
    let wrong = auth.login(OLD, b"wrong", HOME).unwrap();
    assert_eq!(wrong, Login::Refused(Refusal::WrongPassword));

    fs::remove_dir(&file).unwrap();
    assert!(matches!(
        auth.login(&address(1), PASSWORD, HOME),
        Ok(Login::Created(..))
    ));
}

#[test]
fn a_damaged_file_is_made_anew_and_the_log_is_told() {
    let relay = Relay::new();
    fs::write(relay.file(), "half of it").unwrap();
    let login = relay
        .with("", IDLE)
        .login(&address(1), PASSWORD, HOME)
        .unwrap();
    let Login::Created(_, warnings) = login else {
        panic!("{login:?}");
    };
    assert_eq!(warnings.len(), 1);
    assert!(warnings[0].starts_with("signups: damaged"), "{warnings:?}");
    let again = relay
        .with("", IDLE)
        .login(&address(2), PASSWORD, HOME)
        .unwrap();
    assert!(matches!(again, Login::Created(_, warnings) if warnings.is_empty()));
}

#[test]
fn without_rates_no_file_is_made() {
    let relay = Relay::new();
    fs::remove_file(relay.file()).unwrap();
    let auth = relay.with(
        "max_signups_per_hour = inf\nmax_network_signups_per_hour = inf",
        IDLE,
    );
    assert!(matches!(
        auth.login(&address(1), PASSWORD, HOME),
        Ok(Login::Created(..))
    ));
    assert!(!relay.file().exists());
}
