//! A client may send only with a login, and only as that login.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};

use chatmail_tests::instance::{Account, Builder};
use chatmail_tests::mail::header_values;
use chatmail_tests::milter_log::MilterLog;
use chatmail_tests::outside::Outside;
use chatmail_tests::smtp::{Door, Reply, Smtp};
use chatmail_tests::{Instance, Mail};

const STRANGER: &str = "carol@elsewhere.test";
const SUBMISSION: [Door; 2] = [Door::Smtps, Door::Submission];
const UNKNOWN: &str = "550 5.1.1 No such mailbox";

/// Postfix is slow to answer a client after more refusals (smtpd_soft_error_limit).
const PATIENCE: usize = 8;

#[test]
fn a_stranger_cannot_use_up_the_rate_of_a_user() {
    let scene = Scene::on(
        Instance::with()
            .param("max_user_send_per_minute", 1)
            .param("max_user_send_burst_size", 2),
    );
    let alice = &scene.alice.address;
    for door in SUBMISSION {
        let mut smtp = Smtp::connect(scene.relay.endpoints(), door).expect("SMTP");
        for _ in 0..PATIENCE {
            mail_from(&mut smtp, alice);
            let reply = rcpt(&mut smtp, &scene.bob.address);
            assert!(reply.code >= 500, "{door:?}: {reply}");
            smtp.command("RSET").expect("SMTP");
        }
        for _ in 0..20 {
            mail_from(&mut smtp, alice);
            smtp.command("RSET").expect("SMTP");
        }
    }
    // What a user begins and does not send costs nothing either.
    let mut smtp = scene.relay.smtp(Door::Smtps, &scene.alice);
    for _ in 0..20 {
        mail_from(&mut smtp, alice);
        smtp.command("RSET").expect("SMTP");
    }
    for _ in 0..2 {
        assert_eq!(scene.send(&mut smtp, &[&scene.bob]).code, 250);
    }
    mail_from(&mut smtp, alice);
    let expected = format!("450 4.7.1: Too much mail from <{alice}>");
    for _ in 0..2 {
        assert_eq!(rcpt(&mut smtp, &scene.bob.address).to_string(), expected);
    }
}

#[test]
fn a_stranger_learns_nothing_about_users() {
    let scene = Scene::on(
        Instance::with()
            .param("max_user_send_per_minute", 1)
            .param("max_user_send_burst_size", 1),
    );
    let off = scene.disabled("off");
    let nobody = scene.relay.new_account("nobody");
    // Alice has used up her rate.
    let alice = &scene.alice;
    let mut smtp = scene.relay.smtp(Door::Smtps, alice);
    assert_eq!(scene.send(&mut smtp, &[&scene.bob]).code, 250);
    for door in SUBMISSION {
        let mut heard = Vec::new();
        for account in [alice, &off, &nobody] {
            let mut smtp = Smtp::connect(scene.relay.endpoints(), door).expect("SMTP");
            let mut dialogue = vec![
                mail_from(&mut smtp, &account.address),
                rcpt(&mut smtp, &scene.bob.address),
            ];
            smtp.command("RSET").expect("SMTP");
            dialogue.push(mail_from(&mut smtp, STRANGER));
            dialogue.push(rcpt(&mut smtp, &account.address));
            let vrfy = format!("VRFY {}", account.address);
            dialogue.push(smtp.command(&vrfy).expect("SMTP"));
            let dialogue = dialogue.iter().map(Reply::to_string);
            heard.push(
                dialogue
                    .map(|reply| reply.replace(&account.address, "ADDRESS"))
                    .collect::<Vec<_>>(),
            );
        }
        assert!(heard.iter().all(|said| *said == heard[0]), "{heard:#?}");
        assert!(heard[0][1].starts_with('5'), "{heard:#?}");
    }
}

#[test]
fn a_user_sends_under_no_other_name() {
    let scene = Scene::on(
        Instance::with()
            .param("max_user_send_per_minute", 1)
            .param("max_user_send_burst_size", 2),
    );
    let me = scene.alice.address.trim_end_matches("@chat.test");
    let mut senders = vec![
        scene.bob.address.clone(),
        STRANGER.to_owned(),
        String::new(),
        me.to_owned(),
        format!("{me}+1@chat.test"),
        format!("\"{me}\"@chat.test"),
        format!("{me}@chat.test."),
        format!("@elsewhere.test:{me}@chat.test"),
        format!("{me}%chat.test"),
        format!("{me}%chat.test.@x"),
        format!("chat.test!{me}"),
        format!("chat.test!{me}@[127.0.0.1]"),
        format!("{me}@chat.test@[127.0.0.1]"),
        format!("\"{me}@chat.test\"@[127.0.0.1]"),
    ];
    senders.extend((1..6).map(|zeros| format!("{me}%chat.test@[127.0.0.{:0zeros$}]", 1)));
    let mut wrong = Vec::new();
    for door in SUBMISSION {
        for senders in senders.chunks(PATIENCE) {
            let mut smtp = scene.relay.smtp(door, &scene.alice);
            for sender in senders {
                // A foreign From is what it would be for.
                let mail = Mail::encrypted(sender, &scene.bob.address).to_bytes();
                let reply = smtp
                    .send(sender, &[&scene.bob.address], &mail)
                    .expect("SMTP");
                smtp.command("RSET").expect("SMTP");
                if reply.code < 500 {
                    wrong.push(format!("{door:?} <{sender}>: {reply}"));
                }
            }
        }
    }
    assert_eq!(wrong, [] as [String; 0], "{}", wrong.join("\n"));
    // Nor in From alone, and the trials cost nothing.
    let mut smtp = scene.relay.smtp(Door::Smtps, &scene.alice);
    let mail = Mail::encrypted(STRANGER, &scene.bob.address).to_bytes();
    let reply = smtp.send(&scene.alice.address, &[&scene.bob.address], &mail);
    assert_eq!(
        reply.expect("SMTP").to_string(),
        format!(
            "500 Invalid FROM <{STRANGER}> for <{}>",
            scene.alice.address
        )
    );
    assert_eq!(scene.send(&mut smtp, &[&scene.bob]).code, 250);
    assert_eq!(scene.relay.wait_for_messages(&scene.bob, 1).len(), 1);
}

/// Postfix counts a literal of one of its own interfaces as local, and looks for another address in
/// the localpart. What it would accept here bounces to a stranger.
#[test]
fn another_host_reaches_no_dead_mailbox_in_any_spelling() {
    let scene = Scene::new();
    let off = scene.disabled("off");
    let nobody = scene.relay.new_account("nobody");
    let mut forms = vec![
        "root@[127.0.0.1]".to_owned(),
        "root@localhost".to_owned(),
        "postmaster".to_owned(),
        STRANGER.to_owned(),
    ];
    for account in [&off, &nobody] {
        let user = account.address.trim_end_matches("@chat.test");
        let literals = [
            "[127.0.0.1]",
            "[127.0.0.01]",
            "[127.1]",
            "[IPv6:::1]",
            "[127.0.0.1].",
        ];
        for literal in literals {
            forms.extend([
                format!("{user}@{literal}"),
                format!("{user}%chat.test@{literal}"),
                format!("chat.test!{user}@{literal}"),
                format!("{user}@chat.test@{literal}"),
                format!("\"{user}@chat.test\"@{literal}"),
            ]);
        }
        forms.extend([
            account.address.clone(),
            format!("{user}%chat.test"),
            format!("chat.test!{user}"),
            format!("\"{user}@chat.test\""),
            format!("{user}@"),
            format!("{user}@127.0.0.1"),
            format!("@[127.0.0.1]:{user}@chat.test"),
            format!("@[127.0.0.1]:{user}%chat.test"),
            format!("{user}@chat.test."),
            format!("{user}@chat.test.."),
        ]);
    }
    let mut wrong = Vec::new();
    for forms in forms.chunks(PATIENCE) {
        let mut smtp = Smtp::connect(scene.relay.endpoints(), Door::Smtp).expect("SMTP");
        mail_from(&mut smtp, STRANGER);
        for form in forms {
            let reply = rcpt(&mut smtp, form);
            if reply.code < 500 {
                wrong.push(format!("<{form}>: {reply}"));
            }
        }
    }
    assert_eq!(wrong, [] as [String; 0], "{}", wrong.join("\n"));
}

#[test]
fn a_user_reaches_no_disabled_mailbox_in_any_spelling() {
    let scene = Scene::new();
    let off = scene.disabled("off");
    let user = off.address.trim_end_matches("@chat.test");
    for form in [
        format!("{user}%chat.test@[127.0.0.1]"),
        format!("chat.test!{user}@[127.0.0.1]"),
        format!("\"{user}@chat.test\"@[127.0.0.1]"),
        format!("{user}%chat.test"),
        format!("{user}+tag@chat.test"),
        format!("\"{user}\"@chat.test."),
        user.to_owned(),
    ] {
        let mut smtp = scene.relay.smtp(Door::Smtps, &scene.alice);
        let mail = Mail::encrypted(&scene.alice.address, &form).to_bytes();
        let reply = smtp.send(&scene.alice.address, &[&form], &mail);
        let reply = reply.expect("SMTP");
        assert!(reply.code >= 500, "{form}: {reply}");
    }
}

/// An empty password file is the other way to disable an account.
#[test]
fn a_user_without_a_usable_password_gets_no_mail_and_sends_none() {
    let scene = Scene::new();
    let mut open = scene.relay.smtp(Door::Smtps, &scene.alice);
    let password = scene.relay.mailbox(&scene.alice).join("password");
    fs::write(password, "").expect("password");
    let mut smtp = Smtp::connect(scene.relay.endpoints(), Door::Smtp).expect("SMTP");
    mail_from(&mut smtp, STRANGER);
    let reply = rcpt(&mut smtp, &scene.alice.address);
    assert_eq!(reply.to_string(), UNKNOWN);
    let reply = scene.send(&mut open, &[&scene.bob]);
    assert_eq!(reply.to_string(), "550 5.7.1 This account is disabled");
}

#[test]
fn a_dead_recipient_keeps_the_message_from_no_other_one() {
    let scene = Scene::with_small_mailboxes();
    let off = scene.disabled("off");
    let full = scene.full("full");
    let nobody = scene.relay.new_account("nobody");
    let everybody = [&nobody, &scene.bob, &off, &full];
    for (count, door) in SUBMISSION.into_iter().enumerate() {
        let mut log = MilterLog::of(&scene.relay);
        let mut smtp = scene.relay.smtp(door, &scene.alice);
        let mail = Mail::encrypted(&scene.alice.address, &scene.bob.address);
        mail_from(&mut smtp, &scene.alice.address);
        for account in everybody {
            let reply = rcpt(&mut smtp, &account.address);
            assert_eq!(reply.code, 250, "{door:?} {}: {reply}", account.address);
        }
        assert_eq!(smtp.command("DATA").expect("SMTP").code, 354);
        let reply = smtp.content(&mail.to_bytes()).expect("SMTP");
        assert_eq!(reply.code, 250, "{reply}");
        let messages = scene.relay.wait_for_messages(&scene.bob, count + 1);
        assert_eq!(
            header_values(&messages[count], "Message-ID"),
            [mail.message_id()]
        );
        // The author is told who did not get it, and whether that is for good.
        let reports = scene.relay.wait_for_messages(&scene.alice, count + 1);
        let report = String::from_utf8_lossy(&reports[count]).into_owned();
        let kind = header_values(&reports[count], "Content-Type");
        assert!(kind[0].starts_with("multipart/report"), "{report}");
        for (account, status) in [(&nobody, "5.1.1"), (&off, "5.1.1"), (&full, "5.2.2")] {
            let group = format!("Final-Recipient: rfc822; {}", account.address);
            let (_, group) = report.split_once(&group).expect(&report);
            let (group, _) = group.split_once("\n\r\n").unwrap_or((group, ""));
            assert!(group.contains("Action: failed"), "{report}");
            assert!(group.contains(&format!("Status: {status}")), "{report}");
        }
        assert!(
            !report.contains(&format!("; {}", scene.bob.address)),
            "{report}"
        );
        let entries = log.new_entries();
        let internal = entries.iter().find(|e| e.get("direction") == "internal");
        assert_eq!(internal.map(|entry| entry.get("verdict")), Some("accepted"));
    }
}

#[test]
fn a_message_that_would_reach_nobody_is_refused_after_its_content() {
    let scene = Scene::with_small_mailboxes();
    let off = scene.disabled("off");
    let full = scene.full("full");
    let nobody = scene.relay.new_account("nobody");
    for door in SUBMISSION {
        for (to, expected) in [
            (vec![&nobody], UNKNOWN),
            (vec![&off, &nobody], UNKNOWN),
            (vec![&full, &off], "552 5.2.2 Mailbox is full"),
        ] {
            let mut smtp = scene.relay.smtp(door, &scene.alice);
            assert_eq!(scene.send(&mut smtp, &to).to_string(), expected, "{door:?}");
            let clear = Mail::cleartext(&scene.alice.address, &to[0].address);
            let reply = smtp.send(&scene.alice.address, &[&to[0].address], &clear.to_bytes());
            assert_eq!(reply.expect("SMTP").code, 523, "{door:?}");
        }
    }
    assert!(!scene.relay.mailbox(&nobody).exists());
    // No report beside the reply: the next message is the first.
    let mut smtp = scene.relay.smtp(Door::Smtps, &scene.bob);
    let mail = Mail::encrypted(&scene.bob.address, &scene.alice.address);
    let to = [scene.alice.address.as_str()];
    let reply = smtp.send(&scene.bob.address, &to, &mail.to_bytes());
    assert_eq!(reply.expect("SMTP").code, 250);
    let messages = scene.relay.wait_for_messages(&scene.alice, 1);
    assert_eq!(messages.len(), 1);
    assert_eq!(
        header_values(&messages[0], "Message-ID"),
        [mail.message_id()]
    );
}

#[test]
fn mail_that_stays_here_is_not_signed_and_other_mail_is() {
    let outside = Outside::start().expect("server");
    let scene = Scene::on(Instance::with().route("elsewhere.test", &outside));
    let mut log = MilterLog::of(&scene.relay);
    let mut smtp = scene.relay.smtp(Door::Smtps, &scene.alice);
    let carol = Account {
        address: STRANGER.to_owned(),
        password: String::new(),
    };
    for (to, dkim) in [
        (vec![&scene.bob], "local"),
        (vec![&scene.bob, &scene.alice], "local"),
        (vec![&carol], "signed"),
        (vec![&scene.bob, &carol], "signed"),
    ] {
        assert_eq!(scene.send(&mut smtp, &to).code, 250);
        assert_eq!(log.next("the message").get("dkim"), dkim);
    }
    for received in outside.wait_for(2) {
        let signatures = header_values(&received.message, "DKIM-Signature");
        assert_eq!(signatures.len(), 1, "{signatures:?}");
    }
    for message in scene.relay.wait_for_messages(&scene.bob, 3) {
        assert_eq!(header_values(&message, "DKIM-Signature"), [] as [String; 0]);
    }
}

#[test]
fn vrfy_says_the_same_of_everybody() {
    let scene = Scene::new();
    let off = scene.disabled("off");
    let nobody = scene.relay.new_account("nobody");
    let asked = [
        scene.alice.address.as_str(),
        &off.address,
        &nobody.address,
        STRANGER,
        "alice",
        "<bob@chat.test>",
        "postmaster",
        "root@[127.0.0.1]",
        "a b c",
        "../x@chat.test",
    ];
    for door in [Door::Smtp, Door::Smtps] {
        let mut smtp = match door {
            Door::Smtp => Smtp::connect(scene.relay.endpoints(), door).expect("SMTP"),
            _ => scene.relay.smtp(door, &scene.alice),
        };
        assert!(smtp.extensions.iter().any(|line| line == "VRFY"));
        let mut replies = Vec::new();
        for address in asked {
            for verb in ["VRFY", "vrfy", " Vrfy "] {
                let reply = smtp.command(&format!("{verb} {address}")).expect("SMTP");
                replies.push(reply.to_string());
            }
        }
        assert!(replies[0].starts_with("252 "), "{}", replies[0]);
        assert!(
            replies.iter().all(|reply| *reply == replies[0]),
            "{replies:#?}"
        );
        assert_eq!(smtp.command("VRFY").expect("SMTP").code, 501);
    }
}

/// A relay with two users.
struct Scene {
    relay: Instance,
    alice: Account,
    bob: Account,
}

impl Scene {
    fn new() -> Scene {
        Scene::on(Instance::with().param("max_user_send_burst_size", 100))
    }

    /// For mailboxes that are to become full.
    fn with_small_mailboxes() -> Scene {
        Scene::on(
            Instance::with()
                .param("max_mailbox_size", "10M")
                .param("max_user_send_burst_size", 100),
        )
    }

    fn on(relay: Builder) -> Scene {
        let relay = relay.start();
        let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
        Scene { relay, alice, bob }
    }

    fn disabled(&self, name: &str) -> Account {
        let account = self.relay.account(name);
        File::create(self.relay.mailbox(&account).join("DISABLED")).expect("DISABLED");
        account
    }

    /// Whose mailbox of 10 MB is full.
    fn full(&self, name: &str) -> Account {
        let account = self.relay.account(name);
        let mailbox = self.relay.mailbox(&account);
        let owner = fs::metadata(&mailbox).expect("mailbox");
        let sizes = mailbox.join("maildirsize");
        fs::write(&sizes, "10485760S\n10485760 3\n").expect("maildirsize");
        chown(&sizes, Some(owner.uid()), Some(owner.gid())).expect("maildirsize");
        account
    }

    /// One encrypted message of alice; the first refusal, or the reply to the message.
    fn send(&self, smtp: &mut Smtp, to: &[&Account]) -> Reply {
        let mail = Mail::encrypted(&self.alice.address, &to[0].address).to_bytes();
        let to: Vec<&str> = to.iter().map(|to| to.address.as_str()).collect();
        smtp.send(&self.alice.address, &to, &mail).expect("SMTP")
    }
}

fn mail_from(smtp: &mut Smtp, sender: &str) -> Reply {
    let command = format!("MAIL FROM:<{sender}>");
    smtp.command(&command).expect("SMTP")
}

fn rcpt(smtp: &mut Smtp, address: &str) -> Reply {
    let command = format!("RCPT TO:<{address}>");
    smtp.command(&command).expect("SMTP")
}
