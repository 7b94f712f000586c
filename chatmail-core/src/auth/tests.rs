use super::*;
use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

mod counted;

const ALICE: &[u8] = b"alice.123@chat.example";
const PASSWORD: &[u8] = b"correct horse \"\\/\xff";

/// A host with this load, memory and disk; `None` cannot be read.
#[derive(Debug)]
struct Measured(Option<f64>, Option<u64>, Option<u64>);

const IDLE: Measured = Measured(Some(0.1), Some(1 << 33), Some(1 << 40));

fn known<T>(value: Option<T>) -> io::Result<T> {
    value.ok_or_else(|| io::Error::other("hidden"))
}

impl Host for Measured {
    fn load(&self) -> io::Result<f64> {
        known(self.0)
    }
    fn available_memory(&self) -> io::Result<u64> {
        known(self.1)
    }
    fn free_disk_space(&self, _: &Path) -> io::Result<u64> {
        known(self.2)
    }
}

struct Relay {
    base: tempfile::TempDir,
    auth: Authenticator,
}

impl Relay {
    fn new() -> Relay {
        Relay::on(IDLE)
    }

    fn on(host: Measured) -> Relay {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().display();
        let ini = format!(
            "[params]\nmail_domain = chat.example\nmailboxes_dir = {dir}/mail\nnocreate_file = {dir}/nocreate\n"
        );
        let config = Config::parse(Path::new("chatmail.ini"), &ini).unwrap();
        let auth = Authenticator::on_host(&config, Arc::new(host));
        Relay { base, auth }
    }

    fn login(&self, address: &[u8], password: &[u8]) -> Login {
        self.auth.login(address, password, None).unwrap()
    }

    fn home(&self, address: &[u8]) -> PathBuf {
        let name = String::from_utf8_lossy(address).into_owned();
        self.base.path().join("mail").join(name)
    }

    /// Alice has an account; returns the path of her password file.
    fn with_alice(&self) -> PathBuf {
        assert!(matches!(self.login(ALICE, PASSWORD), Login::Created(..)));
        self.home(ALICE).join("password")
    }
}

fn not_created(rule: NotCreated) -> Login {
    Login::Refused(Refusal::NotCreated(rule))
}

#[test]
fn the_first_login_creates_the_account_and_the_next_ones_verify_it() {
    let relay = Relay::new();
    let Login::Created(created, warnings) = relay.login(b"Alice.123@Chat.Example", PASSWORD) else {
        panic!("no account");
    };
    assert!(warnings.is_empty());
    assert_eq!(created.address.as_str().as_bytes(), ALICE);
    assert_eq!(created.home, relay.home(ALICE));
    let file = fs::read_to_string(created.home.join("password")).unwrap();
    assert_eq!(created.password, file);
    assert!(created.home.join("enforceE2EEincoming").exists());

    assert_eq!(relay.login(ALICE, PASSWORD), Login::Known(created.clone()));
    assert_eq!(
        relay.login(ALICE, b"another horse"),
        Login::Refused(Refusal::WrongPassword)
    );
    assert_eq!(
        relay.login(ALICE, b""),
        Login::Refused(Refusal::WrongPassword)
    );
    assert_eq!(relay.auth.lookup(ALICE).unwrap(), Ok(created));
}

#[test]
fn a_wrong_password_changes_nothing_on_the_disk() {
    let relay = Relay::new();
    let file = relay.with_alice();
    let before = (
        fs::read(&file).unwrap(),
        fs::metadata(&file).unwrap().modified().unwrap(),
    );
    relay.login(ALICE, b"another horse");
    assert_eq!(
        before,
        (
            fs::read(&file).unwrap(),
            fs::metadata(&file).unwrap().modified().unwrap()
        )
    );
    let day = before.1.duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(day % 86_400, 0);
    assert!(SystemTime::now().duration_since(before.1).unwrap() < Duration::from_secs(2 * 86_400));
}

#[test]
fn ten_first_logins_at_once_make_one_account_and_the_first_password_wins() {
    let relay = Relay::new();
    let logins: Vec<Login> = thread::scope(|scope| {
        let relay = &relay;
        let threads: Vec<_> = (0..10)
            .map(|i| {
                scope.spawn(move || {
                    relay.login(ALICE, format!("password number {}", i % 5).as_bytes())
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .collect()
    });
    let created: Vec<usize> = (0..10)
        .filter(|&i| matches!(logins[i], Login::Created(..)))
        .collect();
    assert_eq!(created.len(), 1);
    for (i, login) in logins.iter().enumerate() {
        let same_password = i % 5 == created[0] % 5;
        match login {
            Login::Created(..) => {}
            Login::Known(_) => assert!(same_password),
            Login::Refused(refusal) => {
                assert!(!same_password && *refusal == Refusal::WrongPassword);
            }
        }
    }
}

#[test]
fn a_look_up_creates_nothing() {
    let relay = Relay::new();
    assert_eq!(
        relay.auth.lookup(ALICE).unwrap(),
        Err(Refusal::UnknownAddress)
    );
    assert!(!relay.base.path().join("mail").exists());
}

#[test]
fn what_is_no_address_of_ours_is_unknown_and_leaves_nothing() {
    let relay = Relay::new();
    for address in [
        &b"alice.123@other.example"[..],
        b"alice.123",
        b"",
        b"../../../x@chat.example",
        b"..@chat.example",
        b"a/b.12345@chat.example",
        b"alice.12\0@chat.example",
        b"alice\n123@chat.example",
        b"a@b@chat.example",
    ] {
        assert_eq!(
            relay.login(address, PASSWORD),
            Login::Refused(Refusal::UnknownAddress)
        );
        assert_eq!(
            relay.auth.lookup(address).unwrap(),
            Err(Refusal::UnknownAddress)
        );
    }
    assert!(!relay.base.path().join("mail").exists());
}

#[test]
fn an_address_the_operator_blocked_stays_blocked() {
    for content in [
        "",
        "\n",
        "!",
        "{SHA512-CRYPT}$6$salt$!short",
        "{PLAIN}correct horse",
    ] {
        let relay = Relay::new();
        let file = relay.with_alice();
        fs::write(&file, content).unwrap();
        assert_eq!(
            relay.login(ALICE, PASSWORD),
            Login::Refused(Refusal::Blocked)
        );
        assert_eq!(relay.login(ALICE, b""), Login::Refused(Refusal::Blocked));
        assert_eq!(relay.auth.lookup(ALICE).unwrap(), Err(Refusal::Blocked));
        assert_eq!(fs::read_to_string(&file).unwrap(), content);
    }
}

#[test]
fn a_disabled_file_blocks_an_account_and_a_name_without_one() {
    let relay = Relay::new();
    let file = relay.with_alice();
    fs::write(file.with_file_name("DISABLED"), "").unwrap();
    assert_eq!(
        relay.login(ALICE, PASSWORD),
        Login::Refused(Refusal::Blocked)
    );
    assert_eq!(relay.auth.lookup(ALICE).unwrap(), Err(Refusal::Blocked));
    fs::remove_file(&file).unwrap();
    assert_eq!(
        relay.login(ALICE, PASSWORD),
        Login::Refused(Refusal::Blocked)
    );
    assert!(!file.exists());
}

#[test]
fn a_password_that_cannot_be_read_is_no_verdict() {
    let relay = Relay::new();
    let file = relay.with_alice();
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    let error = relay
        .auth
        .login(ALICE, PASSWORD, None)
        .unwrap_err()
        .to_string();
    assert!(error.contains("alice.123@chat.example/password"), "{error}");
    assert!(relay.auth.lookup(ALICE).is_err());
}

#[test]
fn a_password_that_was_cut_short_is_no_verdict_and_stays() {
    let relay = Relay::new();
    let file = relay.with_alice();
    let whole = fs::read(&file).unwrap();
    for cut in [&whole[..40], &whole[..1], &[0; 120]] {
        fs::write(&file, cut).unwrap();
        for password in [PASSWORD, b"", b"another horse"] {
            let error = relay.auth.login(ALICE, password, None).unwrap_err();
            assert!(error.to_string().contains("cut short"), "{error}");
        }
        assert!(relay.auth.lookup(ALICE).is_err());
        assert_eq!(fs::read(&file).unwrap(), cut);
    }
    fs::write(&file, &whole).unwrap();
    assert!(matches!(relay.login(ALICE, PASSWORD), Login::Known(_)));
}

#[test]
fn mail_without_a_password_is_never_given_to_a_stranger() {
    let relay = Relay::new();
    let file = relay.with_alice();
    fs::create_dir(file.with_file_name("cur")).unwrap();
    fs::remove_file(&file).unwrap();
    assert!(relay.auth.login(ALICE, PASSWORD, None).is_err());
    assert!(!file.exists());
}

#[test]
fn the_kill_switch_stops_new_accounts_and_nobody_else() {
    let relay = Relay::new();
    relay.with_alice();
    fs::write(relay.base.path().join("nocreate"), "").unwrap();
    assert!(matches!(relay.login(ALICE, PASSWORD), Login::Known(_)));
    // It comes before all other rules.
    assert_eq!(
        relay.login(b"b@chat.example", b""),
        not_created(NotCreated::SwitchedOff)
    );
    assert!(!relay.home(b"b@chat.example").exists());
}

#[test]
fn a_new_password_has_a_length_in_characters() {
    let relay = Relay::new();
    for bad in [
        &b"12345678"[..],
        "grüße-12".as_bytes(),
        b"",
        b"123456789\0",
        &[b'a'; 512],
    ] {
        assert_eq!(relay.login(ALICE, bad), not_created(NotCreated::Password));
    }
    // Before the localpart is looked at.
    assert_eq!(
        relay.login(b"a+b@chat.example", b"short"),
        not_created(NotCreated::Password)
    );
    for (i, good) in [
        &b"123456789"[..],
        "grüße-123".as_bytes(),
        &[0xff; 9],
        &[b'a'; 511],
    ]
    .into_iter()
    .enumerate()
    {
        let address = format!("user-000{i}@chat.example");
        assert!(matches!(
            relay.login(address.as_bytes(), good),
            Login::Created(..)
        ));
        assert!(matches!(
            relay.login(address.as_bytes(), good),
            Login::Known(_)
        ));
    }
}

#[test]
fn a_new_localpart_has_a_length_and_few_characters() {
    let relay = Relay::new();
    for (address, rule) in [
        (&b"alice.12@chat.example"[..], NotCreated::LocalpartLength),
        (b"alice.1234@chat.example", NotCreated::LocalpartLength),
        (b"a+b@chat.example", NotCreated::LocalpartLength),
        (b"alice+123@chat.example", NotCreated::LocalpartCharacters),
        (b"alice~123@chat.example", NotCreated::LocalpartCharacters),
        (b".abcdefgh@chat.example", NotCreated::LocalpartCharacters),
        (b"abcdefgh.@chat.example", NotCreated::LocalpartCharacters),
        (b"-abcdefgh@chat.example", NotCreated::LocalpartCharacters),
    ] {
        assert_eq!(relay.login(address, PASSWORD), not_created(rule));
        assert!(!relay.home(address).exists());
    }
    assert!(matches!(
        relay.login(b"a.b_c-9z0@chat.example", PASSWORD),
        Login::Created(..)
    ));
}

#[test]
fn an_older_address_outside_todays_rules_can_still_log_in() {
    let relay = Relay::new();
    let file = relay.with_alice();
    let mut home = file.parent().unwrap().to_owned();
    for old in [
        &b"old+alice@chat.example"[..],
        b".abcdefgh@chat.example",
        b"abcdefgh.@chat.example",
        b"-abcdefgh@chat.example",
    ] {
        fs::rename(home, relay.home(old)).unwrap();
        assert!(matches!(relay.login(old, PASSWORD), Login::Known(_)));
        home = relay.home(old);
    }
}

#[test]
fn a_busy_or_full_host_makes_no_new_accounts() {
    for (host, expected) in [
        (
            Measured(Some(5.01), IDLE.1, IDLE.2),
            "load: load average 5.01 is above 5.00",
        ),
        (
            Measured(IDLE.0, Some(199 << 20), IDLE.2),
            "memory: available memory 199 MB is below 200 MB",
        ),
        (
            Measured(IDLE.0, IDLE.1, Some(1023 << 20)),
            "disk: free disk space 1023 MB is below 1024 MB",
        ),
    ] {
        let relay = Relay::on(host);
        let Login::Refused(refusal) = relay.login(ALICE, PASSWORD) else {
            panic!("created");
        };
        assert_eq!(refusal.to_string(), format!("not created: {expected}"));
        assert!(!relay.home(ALICE).exists());
    }
    let relay = Relay::on(Measured(Some(5.0), Some(200 << 20), Some(1 << 30)));
    assert!(matches!(relay.login(ALICE, PASSWORD), Login::Created(..)));
}

#[test]
fn a_limit_that_cannot_be_read_is_reported_and_ignored() {
    let relay = Relay::on(Measured(None, None, None));
    let Login::Created(_, warnings) = relay.login(ALICE, PASSWORD) else {
        panic!("no account");
    };
    assert_eq!(warnings.len(), 3);
    assert_eq!(warnings[0], "load cannot be read and is ignored: hidden");
}

#[test]
fn nothing_that_is_printed_holds_an_address_or_a_hash() {
    let relay = Relay::new();
    let Login::Created(user, _) = relay.login(ALICE, PASSWORD) else {
        panic!("no account");
    };
    assert!(!format!("{user:?}").contains("$6$"));
    for refusal in [
        Refusal::UnknownAddress,
        Refusal::WrongPassword,
        Refusal::Blocked,
        Refusal::NotCreated(NotCreated::LocalpartLength),
    ] {
        assert!(!refusal.to_string().contains('@'));
    }
}

#[test]
fn what_happens_to_the_password_file_counts_at_once_though_the_password_was_just_verified() {
    let relay = Relay::new();
    let file = relay.with_alice();
    let hash = fs::read(&file).unwrap();
    let known = |password: &[u8]| matches!(relay.login(ALICE, password), Login::Known(_));
    assert!(known(PASSWORD) && known(PASSWORD));

    let other = PasswordHash::create(b"another horse").unwrap();
    fs::write(&file, other.as_str()).unwrap();
    assert!(!known(PASSWORD));
    assert!(known(b"another horse"));

    fs::write(&file, "").unwrap();
    for password in [PASSWORD, b"another horse"] {
        let refused = Login::Refused(Refusal::Blocked);
        assert_eq!(relay.login(ALICE, password), refused);
    }

    fs::write(&file, &hash).unwrap();
    assert!(known(PASSWORD));
    fs::write(relay.home(ALICE).join("DISABLED"), "").unwrap();
    assert_eq!(
        relay.login(ALICE, PASSWORD),
        Login::Refused(Refusal::Blocked)
    );

    fs::remove_file(relay.home(ALICE).join("DISABLED")).unwrap();
    fs::remove_dir_all(relay.home(ALICE)).unwrap();
    fs::write(relay.base.path().join("nocreate"), "").unwrap();
    assert_eq!(
        relay.login(ALICE, PASSWORD),
        not_created(NotCreated::SwitchedOff)
    );
}

#[test]
fn an_operator_makes_an_account_with_a_name_that_nobody_may_choose() {
    let relay = Relay::new();
    let echo = b"echo@chat.example";
    assert!(matches!(relay.login(echo, PASSWORD), Login::Refused(_)));
    let mailbox = relay
        .auth
        .mailboxes
        .mailbox(&Address::parse(echo, relay.auth.mailboxes.domain()).unwrap());
    let hash = hash_password(PASSWORD).unwrap();
    assert_eq!(
        mailbox.create(&hash, SystemTime::now()).unwrap(),
        Creation::Created
    );
    assert!(matches!(relay.login(echo, PASSWORD), Login::Known(_)));

    for unusable in [&b""[..], &[b'a'; PASSWORD_MAX + 1]] {
        assert!(hash_password(unusable).is_err());
    }
}
