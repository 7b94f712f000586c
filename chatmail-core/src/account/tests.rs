use super::*;
use proptest::prelude::*;
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::thread;

use crate::auth::{Authenticator, Login};
use crate::invite::Invite;

const HOME: Option<IpAddr> = Some(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7)));

/// A host that is idle, or has this load.
#[derive(Debug)]
struct Load(f64);

impl Host for Load {
    fn load(&self) -> io::Result<f64> {
        Ok(self.0)
    }
    fn available_memory(&self) -> io::Result<u64> {
        Ok(u64::MAX)
    }
    fn free_disk_space(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

struct Relay {
    base: tempfile::TempDir,
    config: Config,
    registrar: Registrar,
}

impl Relay {
    fn new(keys: &str) -> Relay {
        Relay::on(keys, 0.1)
    }

    fn on(keys: &str, load: f64) -> Relay {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().display();
        let ini = format!(
            "[params]\nmail_domain = chat.example\nmailboxes_dir = {dir}/mail\nnocreate_file = {dir}/nocreate\n{keys}\n"
        );
        fs::create_dir(base.path().join("mail")).unwrap();
        let config = Config::parse(Path::new("chatmail.ini"), &ini).unwrap();
        let registrar = Registrar::on_host(&config, Arc::new(Load(load)));
        Relay {
            base,
            config,
            registrar,
        }
    }

    fn invite(&self, uses: Option<u32>, expires: Option<SystemTime>) -> Invite {
        let invites = Invites::new(&self.config.mailboxes());
        invites.create(uses, expires).unwrap()
    }

    fn ask(&self, client: Option<IpAddr>, token: Option<&str>) -> Result<NewAccount, &'static str> {
        let made = self.registrar.create(client, token).unwrap();
        made.map(|made| made.account)
            .map_err(|refusal| refusal.word())
    }

    fn mailboxes(&self) -> usize {
        self.config.mailboxes().addresses().unwrap().count()
    }
}

fn config(domain: &str, keys: &str) -> Config {
    let ini = format!("[params]\nmail_domain = {domain}\n{keys}\n");
    Config::parse(Path::new("chatmail.ini"), &ini).unwrap()
}

#[test]
fn a_new_account_is_as_long_as_the_configuration_says() {
    let config = config(
        "chat.example",
        "username_max_length = 12\npassword_min_length = 10",
    );
    let account = random(&config).unwrap();
    assert_eq!(account.address.localpart().len(), 12);
    assert_eq!(account.password.len(), 13);
    assert_ne!(random(&config).unwrap().address, account.address);
}

#[test]
fn a_length_that_makes_no_address_is_an_error_that_names_the_key() {
    let config = config("chat.example", "username_max_length = 0");
    let error = random(&config).unwrap_err().to_string();
    assert!(error.contains("username_max_length"), "{error}");
}

#[test]
fn a_new_account_has_at_most_64_characters_before_the_at() {
    for length in ["65", "250", "18446744073709551615"] {
        let config = config("chat.example", &format!("username_max_length = {length}"));
        let account = random(&config).unwrap();
        assert_eq!(account.address.localpart().len(), 64);
    }
}

#[test]
fn an_account_of_a_test_is_told_from_those_of_people_and_looks_like_no_automatic_sign_up() {
    for (password_min_length, length) in [(9, 9), (22, 22), (23, 24), (9999, 511)] {
        let config = config(
            "chat.example",
            &format!("username_max_length = 12\npassword_min_length = {password_min_length}"),
        );
        let account = random_ci(&config).unwrap();
        assert_eq!(account.address.localpart().len(), 12);
        assert!(account.address.as_str().starts_with("ci-"));
        assert_eq!(account.password.len(), length);
        assert!(account.password.bytes().all(|b| b.is_ascii_alphanumeric()));
        assert_ne!(random_ci(&config).unwrap().address, account.address);
    }
    let literal = random_ci(&config("203.0.113.7", "")).unwrap();
    assert!(literal.address.as_str().ends_with("@[203.0.113.7]"));
}

#[test]
fn an_account_of_a_test_is_created_by_its_first_login() {
    let relay = Relay::new("refuse_automatic_signups = true\npassword_min_length = 23");
    let account = random_ci(&relay.config).unwrap();
    let auth = Authenticator::on_host(&relay.config, Arc::new(Load(0.1)));
    let address = account.address.as_str().as_bytes();
    let login = auth.login(address, account.password.as_bytes(), HOME);
    assert!(matches!(login.unwrap(), Login::Created(..)));
}

#[test]
fn names_too_short_for_a_test_are_an_error_that_names_the_key() {
    for length in ["0", "3"] {
        let config = config("chat.example", &format!("username_max_length = {length}"));
        let error = random_ci(&config).unwrap_err().to_string();
        assert!(error.contains("username_max_length"), "{error}");
    }
    assert!(random_ci(&config("chat.example", "username_max_length = 4")).is_ok());
}

#[test]
fn the_password_stays_out_of_debug_output() {
    let account = random(&config("chat.example", "")).unwrap();
    assert!(!format!("{account:?}").contains(&account.password));
}

/// Of 62 × 5000 characters each of 62 comes 5000 times on average, with a standard deviation of 70. With
/// the remainder of a byte instead, the first eight would come 20 % more often than that.
#[test]
fn no_character_is_more_probable_than_another() {
    let alphabet: Vec<u8> = (b'0'..=b'9')
        .chain(b'a'..=b'z')
        .chain(b'A'..=b'Z')
        .collect();
    let text = random_text(&alphabet, 62 * 5000).unwrap();
    let mut counts = HashMap::new();
    for character in text.bytes() {
        *counts.entry(character).or_insert(0_i64) += 1;
    }
    assert_eq!(counts.len(), 62);
    assert!(
        counts.values().all(|count| (count - 5000).abs() < 500),
        "{counts:?}"
    );
}

#[test]
fn a_self_signed_relay_gives_a_link_with_everything_in_it() {
    let account = |domain: &str| NewAccount {
        address: Address::parse(
            format!("abc@{domain}").as_bytes(),
            &MailDomain::parse(domain.trim_matches(['[', ']'])).unwrap(),
        )
        .unwrap(),
        password: "a-b_c.d~e/?&=%+ \"".to_owned(),
    };
    let password = "a-b_c.d~e%2F%3F%26%3D%25%2B%20%22";
    assert_eq!(
        dclogin_url(&config("_chat.example", ""), &account("_chat.example")),
        Some(format!("dclogin:abc@_chat.example?p={password}&v=1&ic=3"))
    );
    assert_eq!(
        dclogin_url(&config("203.0.113.7", ""), &account("[203.0.113.7]")),
        Some(format!(
            "dclogin:abc@[203.0.113.7]?p={password}&v=1&ih=203.0.113.7&sh=203.0.113.7&ic=3"
        ))
    );
    assert_eq!(
        dclogin_url(&config("chat.example", ""), &account("chat.example")),
        None
    );
    let external = config("_chat.example", "tls_external_cert_and_key = /a /b");
    assert_eq!(dclogin_url(&external, &account("_chat.example")), None);
}

#[test]
fn an_account_from_the_web_can_log_in() {
    let relay = Relay::new("");
    let account = relay.ask(HOME, None).unwrap();
    let auth = Authenticator::new(&relay.config);
    let login = |password: &str| {
        let address = account.address.as_str().as_bytes();
        auth.login(address, password.as_bytes(), HOME).unwrap()
    };
    assert!(matches!(login(&account.password), Login::Known(_)));
    assert!(matches!(login("another password"), Login::Refused(_)));
    let mailbox = relay.config.mailboxes().mailbox(&account.address);
    assert!(mailbox.enforces_encryption().unwrap());
}

#[test]
fn each_rule_of_the_sign_up_policy_holds_on_the_web_but_that_for_automatic_sign_ups() {
    // 20 and three more: the length that marks an automatic sign-up.
    let relay = Relay::new("refuse_automatic_signups = true\npassword_min_length = 20");
    assert_eq!(relay.ask(HOME, None).unwrap().password.len(), 23);
    assert_eq!(
        Relay::new("registration = closed").ask(HOME, None),
        Err("closed")
    );
    assert_eq!(Relay::on("", 5.1).ask(HOME, None), Err("load"));
    assert_eq!(
        Relay::new("max_signups_per_hour = 0").ask(HOME, None),
        Err("total-rate")
    );

    let relay = Relay::new("max_network_signups_per_hour = 2");
    assert!(relay.ask(HOME, None).is_ok());
    fs::write(relay.base.path().join("nocreate"), "").unwrap();
    assert_eq!(relay.ask(HOME, None), Err("switched-off"));
    fs::remove_file(relay.base.path().join("nocreate")).unwrap();
    assert!(relay.ask(HOME, None).is_ok());
    assert_eq!(relay.ask(HOME, None), Err("network-rate"));
    assert!(relay.ask("192.0.3.1".parse().ok(), None).is_ok());
    assert!(relay.ask(None, None).is_ok());
    assert_eq!(relay.mailboxes(), 4);
}

#[test]
fn an_invitation_makes_as_many_accounts_as_it_is_good_for() {
    let relay = Relay::new("registration = invite");
    assert_eq!(relay.ask(HOME, None), Err("invite-only"));
    let two = relay.invite(Some(2), None);
    let unlimited = relay.invite(None, None);
    let over = relay.invite(None, Some(SystemTime::now()));
    let ask = |token: &str| relay.ask(HOME, Some(token)).map(|_| ());
    assert_eq!(ask(&two.token), Ok(()));
    assert_eq!(ask(&two.token), Ok(()));
    assert_eq!(ask(&two.token), Err("invitation-used-up"));
    assert_eq!(ask(&over.token), Err("invitation-expired"));
    for wrong in ["", "x", &two.token[1..], &two.token.to_lowercase()] {
        assert_eq!(ask(wrong), Err("invitation-unknown"));
    }
    for _ in 0..4 {
        assert_eq!(ask(&unlimited.token), Ok(()));
    }
    assert_eq!(relay.mailboxes(), 6);
}

#[test]
fn a_refused_sign_up_does_not_use_an_invitation_up() {
    let relay = Relay::new("registration = invite\nmax_network_signups_per_hour = 1");
    let one = relay.invite(Some(1), None);
    let other = relay.invite(Some(1), None);
    assert!(relay.ask(HOME, Some(&other.token)).is_ok());
    assert_eq!(relay.ask(HOME, Some(&one.token)), Err("network-rate"));
    assert!(relay.ask(None, Some(&one.token)).is_ok());
}

#[test]
fn who_guesses_at_tokens_soon_hears_nothing_of_them_any_more() {
    let relay = Relay::new("registration = invite\nmax_network_signups_per_hour = 3");
    let invite = relay.invite(Some(1), None);
    for _ in 0..3 {
        assert_eq!(
            relay.ask(HOME, Some("0123456789012345678901")),
            Err("invitation-unknown")
        );
    }
    assert_eq!(relay.ask(HOME, Some(&invite.token)), Err("network-rate"));
    assert!(
        relay
            .ask("198.51.100.1".parse().ok(), Some(&invite.token))
            .is_ok()
    );
}

#[test]
fn guesses_shut_out_nobody_else() {
    let relay = Relay::new("registration = invite\nmax_signups_per_hour = 2");
    let invite = relay.invite(Some(1), None);
    for _ in 0..5 {
        assert_eq!(relay.ask(HOME, Some("x")), Err("invitation-unknown"));
    }
    assert!(relay.ask(HOME, Some(&invite.token)).is_ok());
}

#[test]
fn where_anybody_may_sign_up_a_token_is_not_looked_at() {
    let relay = Relay::new("");
    let invite = relay.invite(Some(1), None);
    assert!(relay.ask(HOME, Some(&invite.token)).is_ok());
    assert!(relay.ask(HOME, Some("x")).is_ok());
    let list = Invites::new(&relay.config.mailboxes()).list().unwrap();
    assert_eq!(list[0].used, 0);
    let closed = Relay::new("registration = closed");
    let invite = closed.invite(None, None);
    assert_eq!(closed.ask(HOME, Some(&invite.token)), Err("closed"));
}

#[test]
fn of_many_who_come_at_a_time_with_one_invitation_one_gets_an_account() {
    let relay = Relay::new("registration = invite");
    let invite = relay.invite(Some(1), None);
    let answers = thread::scope(|scope| {
        let asked: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| relay.ask(HOME, Some(&invite.token))))
            .collect();
        let answers = asked.into_iter().map(|thread| thread.join().unwrap());
        answers.collect::<Vec<_>>()
    });
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 1);
    assert_eq!(relay.mailboxes(), 1);
}

#[test]
fn no_address_is_given_out_twice_even_where_there_are_few() {
    // 36 addresses.
    let relay = Relay::new(
        "username_min_length = 1\nusername_max_length = 1\nmax_network_signups_per_hour = inf",
    );
    let mut made = 0;
    let error = loop {
        match relay.registrar.create(HOME, None) {
            Ok(created) => assert!(created.is_ok()),
            Err(error) => break error,
        }
        made += 1;
    };
    assert_eq!(relay.mailboxes(), made);
    assert!(error.to_string().contains("username_max_length"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_account_is_one_that_the_sign_up_policy_and_the_mail_servers_take(
        localpart in 1_usize..=64,
        password in 0_usize..300,
    ) {
        let keys = format!("username_max_length = {localpart}\npassword_min_length = {password}");
        let account = random(&config("_chat.example", &keys)).unwrap();
        let text = account.address.localpart();
        prop_assert_eq!(text.len(), localpart);
        prop_assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()));
        prop_assert_eq!(account.address.check_new(), Ok(()));
        prop_assert_eq!(account.password.len(), password + 3);
        prop_assert!(account.password.bytes().all(|b| b.is_ascii_graphic()));
        let url = dclogin_url(&config("_chat.example", &keys), &account).unwrap();
        prop_assert!(url.bytes().all(|b| b.is_ascii_alphanumeric() || b":@?=&%._~-".contains(&b)));
        let query = url.split_once("?p=").unwrap().1.split_once('&').unwrap().0;
        let decoded = percent_encoding::percent_decode_str(query).decode_utf8().unwrap();
        prop_assert_eq!(decoded.as_ref(), account.password.as_str());
    }
}

#[test]
fn what_became_of_a_request_is_counted() {
    let relay = Relay::new("registration = invite\nmax_network_signups_per_hour = 1");
    let invite = relay.invite(None, None);
    assert!(relay.ask(HOME, Some(&invite.token)).is_ok());
    assert_eq!(relay.ask(HOME, Some(&invite.token)), Err("network-rate"));
    assert_eq!(relay.ask(None, Some("x")), Err("invitation-unknown"));
    assert_eq!(relay.ask(None, None), Err("invite-only"));
    let counted = Counters::new(&relay.config.mailboxes()).read().unwrap();
    let counted: Vec<_> = counted
        .into_iter()
        .filter(|(_, value)| *value > 0)
        .collect();
    assert_eq!(
        counted,
        [
            (r#"chatmail_signups_refused_total{reason="invite-only"}"#, 1),
            (
                r#"chatmail_signups_refused_total{reason="network-rate"}"#,
                1
            ),
            (r#"chatmail_accounts_new_total{by="web"}"#, 1),
            (r#"chatmail_new_refused_total{reason="policy"}"#, 1),
            (r#"chatmail_new_refused_total{reason="invitation"}"#, 2),
        ]
    );
}
