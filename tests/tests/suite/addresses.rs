//! One grammar of addresses: a first login, `POST /new`, the operator and the mail servers accept the same ones.

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::thread;

use chatmail_tests::dkim::Signer;
use chatmail_tests::instance::Account;
use chatmail_tests::smtp::{Door, Reply, Smtp};
use chatmail_tests::{Instance, Mail, http};

const PASSWORD: &str = "correct horse";
const STRANGER: &str = "carol@elsewhere.test";
/// 64 characters.
const LONG: &str = "a23456789b123456789c123456789d123456789e123456789f123456789g1234";

/// Localparts that an account may have.
const FIT: [&str; 8] = [
    "alice0001",
    "a.b_c-9",
    "_alice",
    "alice_",
    "alice-",
    "a.-b",
    "0",
    LONG,
];

/// Localparts that no account may have.
const UNFIT: [&str; 18] = [
    ".abcdefgh",
    "abcdefgh.",
    "-abcdefgh",
    "abc..efgh",
    "al+ice",
    "al'ice",
    "al=ice",
    "al#ice",
    "al!ice",
    "al~ice",
    "al&ice",
    "al%ice",
    "{alice}",
    "al/ice",
    "al*ice",
    "al?ice",
    "al`ice",
    "al$ice",
];

/// A relay that accepts localparts of every length.
fn relay(params: &[(&str, &str)]) -> Instance {
    let lengths = [
        ("username_min_length", "1"),
        ("username_max_length", "99"),
        ("max_user_send_burst_size", "1000"),
    ];
    let builder = lengths.iter().chain(params);
    builder
        .fold(Instance::with(), |relay, (key, value)| {
            relay.param(key, value)
        })
        .start()
}

fn account(localpart: &str) -> Account {
    Account {
        address: format!("{localpart}@chat.test"),
        password: PASSWORD.to_owned(),
    }
}

/// `chatmail user`.
fn user(relay: &Instance, command: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = relay
        .chatmail()
        .args(["user", command, "--config"])
        .arg(&relay.endpoints().config)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("chatmail");
    // It may end before it has read all of it.
    let _ = child.stdin.take().expect("stdin").write_all(input);
    child.wait_with_output().expect("chatmail")
}

/// The owner of an address by the rendered map.
fn owner(relay: &Instance, address: &str) -> String {
    let directory = &relay.endpoints().postfix_config_directory;
    let map = format!("regexp:{}", directory.join("login_map").display());
    let mut postmap = Command::new("postmap");
    postmap.arg("-c").arg(directory).args(["-q", address, &map]);
    let output = postmap.output().expect("postmap");
    assert!(output.stderr.is_empty(), "{output:?}");
    String::from_utf8(output.stdout)
        .expect("text")
        .trim_end()
        .to_owned()
}

fn recipient(relay: &Instance, address: &str) -> Reply {
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtp).expect("SMTP");
    let reply = smtp.command(&format!("MAIL FROM:<{STRANGER}>"));
    assert_eq!(reply.expect("MAIL").code, 250);
    smtp.command(&format!("RCPT TO:<{address}>")).expect("RCPT")
}

#[track_caller]
fn can_be_used(relay: &Instance, account: &Account) {
    let Account { address, .. } = account;
    let shouted = Account {
        address: address.to_uppercase(),
        ..account.clone()
    };
    relay.imap(account);
    relay.imap(&shouted);
    assert!(
        relay.mailbox(account).join("password").exists(),
        "{address}"
    );
    assert!(
        !relay.mailbox(&shouted).exists() || shouted == *account,
        "{address}"
    );
    assert_eq!(&owner(relay, address), address);
    for account in [account, &shouted] {
        let mail = Mail::encrypted(&account.address, address);
        let mut smtp = relay.smtp(Door::Smtps, account);
        let reply = smtp.send(&account.address, &[&account.address], &mail.to_bytes());
        assert_eq!(reply.expect("SMTP").code, 250, "{address}");
        let reply = recipient(relay, &account.address);
        assert_eq!(reply.code, 250, "{address}: {reply}");
    }
    relay.wait_for_messages(account, 2);
}

#[test]
fn an_account_by_its_first_login_can_send_and_receive() {
    let relay = relay(&[]);
    for (number, localpart) in FIT.into_iter().enumerate() {
        let account = account(localpart);
        // In upper case as well as in lower case, by IMAP as well as by SMTP.
        let typed = match number % 2 {
            0 => account.address.to_uppercase(),
            _ => account.address.clone(),
        };
        if number % 4 < 2 {
            let answer = relay.try_imap(&typed, PASSWORD);
            assert!(answer.is_ok(), "{typed}: {answer}");
        } else {
            let mut smtp = Smtp::connect(relay.endpoints(), Door::Submission).expect("SMTP");
            let reply = smtp.login(&typed, PASSWORD).expect("AUTH");
            assert_eq!(reply.code, 235, "{typed}: {reply}");
        }
        can_be_used(&relay, &account);
    }
    assert_eq!(relay.addresses().len(), FIT.len());
}

#[test]
fn no_login_makes_an_account_that_could_not_be_used() {
    let relay = relay(&[]);
    let too_long = format!("{LONG}5");
    // Each refused login is delayed, so they run in parallel.
    thread::scope(|scope| {
        for localpart in UNFIT.into_iter().chain([too_long.as_str()]) {
            let relay = &relay;
            scope.spawn(move || {
                let account = account(localpart);
                let answer = relay.try_imap(&account.address, PASSWORD);
                assert!(!answer.is_ok(), "{localpart}");
                assert_ne!(answer.code(), Some("UNAVAILABLE"), "{localpart}: {answer}");
                let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtps).expect("SMTP");
                let reply = smtp.login(&account.address, PASSWORD).expect("AUTH");
                assert_eq!(reply.code, 535, "{localpart}: {reply}");
                let reply = recipient(relay, &account.address);
                assert!(reply.code >= 500, "{localpart}: {reply}");
            });
        }
    });
    for localpart in UNFIT {
        assert_eq!(owner(&relay, &account(localpart).address), "nobody");
    }
    assert!(relay.addresses().is_empty(), "{:?}", relay.addresses());
}

#[test]
fn the_login_map_gives_every_address_of_the_grammar_to_itself_and_others_to_nobody() {
    let relay = relay(&[]);
    let mut localparts = vec![String::new()];
    let mut all = Vec::new();
    for _ in 1..=5 {
        localparts = localparts
            .iter()
            .flat_map(|start| "a-_.+".chars().map(move |c| format!("{start}{c}")))
            .collect();
        all.extend(localparts.iter().cloned());
    }
    // All in one run: on standard input, each with its owner on standard output.
    let directory = &relay.endpoints().postfix_config_directory;
    let mut postmap = Command::new("postmap")
        .arg("-c")
        .arg(directory)
        .args(["-q", "-"])
        .arg(format!("regexp:{}", directory.join("login_map").display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("postmap");
    let mut stdin = postmap.stdin.take().expect("stdin");
    let keys: String = all
        .iter()
        .map(|name| format!("{name}@chat.test\n"))
        .collect();
    let writer = thread::spawn(move || stdin.write_all(keys.as_bytes()));
    let output = postmap.wait_with_output().expect("postmap");
    writer.join().expect("writer").expect("keys");
    let found = String::from_utf8(output.stdout).expect("text");
    let found: Vec<&str> = found.lines().collect();
    assert_eq!(found.len(), all.len());
    for (localpart, line) in all.iter().zip(found) {
        let address = format!("{localpart}@chat.test");
        let fits = localpart.split('.').all(|word| !word.is_empty())
            && !localpart.starts_with('-')
            && !localpart.contains('+');
        let owner = if fits { address.as_str() } else { "nobody" };
        assert_eq!(line, format!("{address}\t{owner}"));
    }
    for foreign in [
        "alice@xchat.test",
        "alice@chatxtest",
        "alice@chat.test.x",
        "alice",
    ] {
        assert_eq!(owner(&relay, foreign), "nobody", "{foreign}");
    }
}

#[test]
fn the_operator_makes_and_imports_accounts_of_the_same_addresses() {
    let relay = relay(&[("registration", "closed")]);
    for localpart in FIT {
        let account = account(localpart);
        let shouted = account.address.to_uppercase();
        let created = user(
            &relay,
            "create",
            &["--stdin", "--", &shouted],
            PASSWORD.as_bytes(),
        );
        assert!(created.status.success(), "{created:?}");
        let stream = user(&relay, "export", &[&account.address], b"").stdout;
        let deleted = user(&relay, "delete", &["--yes", &account.address], b"");
        assert!(deleted.status.success(), "{deleted:?}");
        let imported = user(&relay, "import", &[], &stream);
        assert!(imported.status.success(), "{imported:?}");
        can_be_used(&relay, &account);
    }
    let stream = user(&relay, "export", &[&account(FIT[0]).address], b"").stdout;
    let too_long = format!("{LONG}5");
    for localpart in UNFIT.into_iter().chain([too_long.as_str()]) {
        let address = account(localpart).address;
        let created = user(&relay, "create", &["--generate", "--", &address], b"");
        assert_eq!(created.status.code(), Some(64), "{created:?}");
        let imported = user(&relay, "import", &[&format!("--as={address}")], &stream);
        assert_eq!(imported.status.code(), Some(64), "{imported:?}");
    }
    assert_eq!(relay.addresses().len(), FIT.len());
}

#[test]
fn an_account_from_the_web_has_at_most_64_characters_and_can_be_used() {
    let relay = relay(&[]);
    let made = http::request(&relay.endpoints().http_socket, "POST /new", "192.0.2.7");
    let account = made.expect("HTTP").account();
    assert_eq!(account.address.find('@'), Some(64), "{}", account.address);
    can_be_used(&relay, &account);
}

/// By SMTP: an IMAP session would go on writing to the mailbox for a while.
fn made(relay: &Instance) -> Account {
    let account = relay.new_account("made");
    relay.smtp(Door::Smtps, &account);
    account
}

#[test]
fn an_account_with_an_older_name_logs_in_and_receives_as_before() {
    let relay = relay(&[]);
    for odd in [".abcdefgh", "abcdefgh.", "-abcdefgh"] {
        let made = made(&relay);
        let odd = Account {
            address: format!("{odd}@chat.test"),
            password: made.password.clone(),
        };
        fs::rename(relay.mailbox(&made), relay.mailbox(&odd)).expect("mailbox");
        relay.imap(&odd);
        relay.smtp(Door::Submission, &odd);
    }
    // Too long for a new account, but valid for mail.
    let made = made(&relay);
    let long = Account {
        address: format!("{LONG}{LONG}@chat.test"),
        password: made.password.clone(),
    };
    fs::rename(relay.mailbox(&made), relay.mailbox(&long)).expect("mailbox");
    can_be_used(&relay, &long);
    let signer = Signer::ed25519("elsewhere.test");
    signer.publish(&relay);
    let mail = signer.sign(&Mail::encrypted(STRANGER, &long.address));
    let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtp).expect("SMTP");
    let reply = smtp.send(STRANGER, &[&long.address], &mail.to_bytes());
    assert_eq!(reply.expect("SMTP").code, 250);
    relay.wait_for_messages(&long, 3);
}

#[test]
fn a_detail_is_part_of_no_login_and_sends_nothing_but_is_delivered() {
    let relay = relay(&[]);
    let alice = relay.account("alice");
    let detailed = alice.address.replace('@', "+news@");
    assert!(!relay.try_imap(&detailed, &alice.password).is_ok());
    let mail = Mail::encrypted(&alice.address, &detailed).to_bytes();
    let mut smtp = relay.smtp(Door::Smtps, &alice);
    let reply = smtp
        .send(&detailed, &[&alice.address], &mail)
        .expect("SMTP");
    assert_eq!(reply.code, 553, "{reply}");
    assert!(smtp.command("RSET").expect("RSET").is_positive());
    let reply = smtp
        .send(&alice.address, &[&detailed], &mail)
        .expect("SMTP");
    assert_eq!(reply.code, 250, "{reply}");
    relay.wait_for_messages(&alice, 1);
    assert_eq!(recipient(&relay, &detailed).code, 250);
}

#[test]
fn on_a_relay_with_an_address_literal_the_grammar_is_the_same() {
    let relay = relay(&[("mail_domain", "192.0.2.1")]);
    let account = Account {
        address: "a.b_c-9@[192.0.2.1]".to_owned(),
        password: PASSWORD.to_owned(),
    };
    can_be_used(&relay, &account);
    for bad in [
        ".abcdefgh@[192.0.2.1]",
        "alice@192.0.2.1",
        "al[ice]@[192.0.2.1]",
    ] {
        assert!(!relay.try_imap(bad, PASSWORD).is_ok(), "{bad}");
        assert_eq!(owner(&relay, bad), "nobody", "{bad}");
    }
    assert_eq!(relay.addresses().len(), 1);
}
