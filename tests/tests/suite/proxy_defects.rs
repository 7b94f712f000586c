//! What SMTP proxies in this place did wrong, and this filter does not.
//!
//! Lost DSN parameters, lost case and 8-bit bodies are in `envelope.rs`; a filter that stalls is in
//! `filter_failure.rs`; a DNS time-out, and a line that begins with a dot, are in `dkim.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chatmail_tests::instance::Account;
use chatmail_tests::mail::{ENCRYPTION_NEEDED, body, header_values};
use chatmail_tests::smtp::{Door, Reply, Smtp};
use chatmail_tests::{Instance, Mail, process};

const STRANGER: &str = "carol@elsewhere.test";

#[test]
fn a_recipient_without_a_domain_is_answered_at_once() {
    let scene = Scene::new();
    for door in [Door::Smtps, Door::Smtp] {
        let mut smtp = scene.session(door);
        let begin = Instant::now();
        for recipient in ["nobody", "postmaster", "\"\"", "@", "a b"] {
            let reply = smtp
                .send(scene.sender(door), &[recipient], &scene.mail(door))
                .expect("SMTP");
            assert!(reply.code >= 500, "{door:?} {recipient:?}: {reply}");
            smtp.command("RSET").expect("SMTP");
        }
        assert!(begin.elapsed() < Duration::from_secs(10));
        // The session is as good as before.
        let reply = smtp
            .send(scene.sender(door), &[&scene.bob.address], &scene.mail(door))
            .expect("SMTP");
        assert_eq!(reply.code, 250, "{reply}");
    }
    assert_eq!(scene.relay.wait_for_messages(&scene.bob, 2).len(), 2);
}

#[test]
fn an_octet_that_is_no_utf_8_gets_a_verdict_for_good() {
    let scene = Scene::new();
    let latin_1 = b"Ein sch\xf6ner Tag.\r\n\xff\xfe\x80\r\n";
    for door in [Door::Smtps, Door::Smtp] {
        let mail = Mail::cleartext(scene.sender(door), &scene.bob.address).body_is(latin_1);
        let reply = scene.send(door, &scene.bob, &mail.to_bytes());
        assert_eq!(reply.to_string(), ENCRYPTION_NEEDED, "{door:?}");
    }
    // Who allows cleartext gets it as it is.
    fs::remove_file(scene.relay.mailbox(&scene.bob).join("enforceE2EEincoming"))
        .expect("enforceE2EEincoming");
    let mail = Mail::cleartext(STRANGER, &scene.bob.address).body_is(latin_1);
    let reply = scene.send(Door::Smtp, &scene.bob, &mail.to_bytes());
    assert_eq!(reply.code, 250, "{reply}");
    let messages = scene.relay.wait_for_messages(&scene.bob, 1);
    assert_eq!(body(&messages[0]), latin_1);
}

#[test]
fn a_second_author_slips_past_nobody() {
    let scene = Scene::new();
    for door in [Door::Smtps, Door::Smtp] {
        let me = scene.sender(door).to_owned();
        let victim = &scene.bob.address;
        let genuine = Mail::encrypted(&me, &scene.bob.address);
        for (what, mail) in [
            (
                "another From field",
                genuine.clone().add("From", &format!("<{victim}>")),
            ),
            (
                "the same twice",
                genuine.clone().add("From", &format!("<{me}>")),
            ),
            (
                "From and a space",
                genuine
                    .clone()
                    .without("Date")
                    .add("From ", &format!("<{victim}>"))
                    // On the first line `From ` is a mailbox's, to Postfix.
                    .add("Date", "Fri, 02 Jan 2026 12:00:00 +0000"),
            ),
            ("FROM", genuine.clone().add("FROM", &format!("<{victim}>"))),
            (
                "two addresses",
                genuine.clone().set("From", &format!("<{me}>, <{victim}>")),
            ),
            (
                "two without a comma",
                genuine.clone().set("From", &format!("<{victim}> <{me}>")),
            ),
            (
                "a group",
                genuine
                    .clone()
                    .set("From", &format!("us: <{me}>, <{victim}>;")),
            ),
            ("none", genuine.clone().without("From")),
            ("an empty one", genuine.clone().set("From", "")),
        ] {
            let reply = scene.send(door, &scene.bob, &mail.to_bytes());
            assert!(reply.code >= 500, "{door:?}: {what}: {reply}");
        }
    }
    scene.only_good_mail_arrives();
}

#[test]
fn cleartext_before_and_behind_the_parts_is_not_delivered() {
    let scene = Scene::new();
    for door in [Door::Smtps, Door::Smtp] {
        let mail = Mail::encrypted(scene.sender(door), &scene.bob.address);
        let text = b"Attack at dawn.\r\n";
        for (what, parts) in [
            ("preamble", [text.as_slice(), mail.body()]),
            ("epilogue", [mail.body(), text.as_slice()]),
        ] {
            let reply = scene.send(
                door,
                &scene.bob,
                &mail.clone().body_is(&parts.concat()).to_bytes(),
            );
            assert_eq!(reply.to_string(), ENCRYPTION_NEEDED, "{door:?}: {what}");
        }
    }
    scene.only_good_mail_arrives();
}

#[test]
fn nothing_takes_mail_but_the_three_doors() {
    let scene = Scene::new();
    scene.only_good_mail_arrives();
    let endpoints = scene.relay.endpoints();
    let doors = BTreeSet::from([endpoints.smtps, endpoints.submission, endpoints.smtp]);
    let mut mail_ports = BTreeSet::new();
    for process in process::tree(scene.relay.supervisor_pid()) {
        for port in process::listening_ports(process.pid).unwrap_or_default() {
            let greeting = greeting(port);
            if doors.contains(&port) || greeting.starts_with("220") {
                mail_ports.insert(port);
            }
        }
    }
    assert_eq!(mail_ports, doors);
}

#[test]
fn after_an_oversized_message_nothing_of_it_is_a_command() {
    let relay = Instance::with()
        .param("dkim", false)
        .param("max_message_size", 100_000)
        .start();
    let scene = Scene::on(relay);
    for door in [Door::Smtps, Door::Smtp] {
        let mut smtp = scene.session(door);
        let line = format!(
            "MAIL FROM:<{}>\r\nRCPT TO:<{}>\r\nDATA\r\n",
            scene.sender(door),
            scene.bob.address
        );
        let commands = line.repeat(3000);
        assert!(commands.len() > 100_000);
        let mail =
            Mail::cleartext(scene.sender(door), &scene.bob.address).body_is(commands.as_bytes());
        let reply = smtp
            .send(scene.sender(door), &[&scene.bob.address], &mail.to_bytes())
            .expect("SMTP");
        assert_eq!(reply.code, 552, "{reply}");
        // One reply to one command: the next belongs to this one.
        let reply = smtp.command("NOOP").expect("SMTP");
        assert_eq!(reply.code, 250, "{reply}");
        let reply = smtp.command("DATA").expect("SMTP");
        assert!(reply.code >= 500, "a transaction is open: {reply}");
        let reply = smtp
            .send(scene.sender(door), &[&scene.bob.address], &scene.mail(door))
            .expect("SMTP");
        assert_eq!(reply.code, 250, "{reply}");
    }
    assert_eq!(scene.relay.wait_for_messages(&scene.bob, 2).len(), 2);
}

#[test]
fn a_refused_message_is_kept_nowhere() {
    let scene = Scene::new();
    let marker = format!("Attack at dawn {}", scene.bob.address);
    for door in [Door::Smtps, Door::Smtp] {
        let text = format!("{marker}\r\n");
        let mail = Mail::cleartext(scene.sender(door), &scene.bob.address)
            .add("X-Marker", &marker)
            .body_is(text.repeat(5000).as_bytes());
        let reply = scene.send(door, &scene.bob, &mail.to_bytes());
        assert_eq!(reply.to_string(), ENCRYPTION_NEEDED);
    }
    scene.only_good_mail_arrives();
    let mut places = vec![(scene.relay.dir().to_owned(), 8)];
    let temporary = ["/tmp", "/var/tmp", "/dev/shm", "/run"].map(PathBuf::from);
    places.extend(temporary.map(|place| (place, 1)));
    for (place, depth) in places {
        assert_eq!(
            holding(&place, depth, marker.as_bytes()),
            [] as [PathBuf; 0]
        );
    }
}

/// A relay with a user who sends and one who receives.
struct Scene {
    relay: Instance,
    alice: Account,
    bob: Account,
}

impl Scene {
    fn new() -> Scene {
        Scene::on(
            Instance::with()
                .param("dkim", false)
                .param("max_user_send_burst_size", 100)
                .start(),
        )
    }

    fn on(relay: Instance) -> Scene {
        let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
        Scene { relay, alice, bob }
    }

    fn sender(&self, door: Door) -> &str {
        match door {
            Door::Smtp => STRANGER,
            Door::Smtps | Door::Submission => &self.alice.address,
        }
    }

    fn session(&self, door: Door) -> Smtp {
        match door {
            Door::Smtp => Smtp::connect(self.relay.endpoints(), door).expect("SMTP"),
            Door::Smtps | Door::Submission => self.relay.smtp(door, &self.alice),
        }
    }

    fn mail(&self, door: Door) -> Vec<u8> {
        Mail::encrypted(self.sender(door), &self.bob.address).to_bytes()
    }

    fn send(&self, door: Door, to: &Account, message: &[u8]) -> Reply {
        let mut smtp = self.session(door);
        smtp.send(self.sender(door), &[&to.address], message)
            .expect("SMTP")
    }

    /// After all the refused mail.
    #[track_caller]
    fn only_good_mail_arrives(&self) {
        let mail = self.relay.send_encrypted(&self.alice, &self.bob);
        let messages = self.relay.wait_for_messages(&self.bob, 1);
        assert_eq!(messages.len(), 1);
        assert_eq!(
            header_values(&messages[0], "Message-ID"),
            [mail.message_id()]
        );
    }
}

/// The first line a server says by itself.
fn greeting(port: u16) -> String {
    use std::io::{BufRead, BufReader};
    use std::net::TcpStream;
    let mut line = Vec::new();
    if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)) {
        stream
            .set_read_timeout(Some(Duration::from_millis(500)))
            .expect("time-out");
        // Silence is an answer too.
        BufReader::new(stream).read_until(b'\n', &mut line).ok();
    }
    String::from_utf8_lossy(&line).into_owned()
}

/// The files below a place that hold a text, so many directories deep.
fn holding(place: &Path, depth: usize, text: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(place).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth > 1 => {
                found.extend(holding(&entry.path(), depth - 1, text));
            }
            Ok(kind) if kind.is_file() => {
                let content = fs::read(entry.path()).unwrap_or_default();
                if content.windows(text.len()).any(|window| window == text) {
                    found.push(entry.path());
                }
            }
            _ => {}
        }
    }
    found
}
