//! The filter fails in every way it can: each time the client is told to try again later, nothing
//! is accepted, nothing is lost.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use chatmail_tests::dkim::Signer;
use chatmail_tests::dns::{self, zone};
use chatmail_tests::filter;
use chatmail_tests::instance::Account;
use chatmail_tests::mail::header_values;
use chatmail_tests::smtp::{Door, Reply, Smtp, refusal};
use chatmail_tests::{Instance, Mail, wait};

const STRANGER: &str = "carol@elsewhere.test";
const DOORS: [Door; 3] = [Door::Smtps, Door::Submission, Door::Smtp];

/// Postfix waits so long for the answer to one command (`command_timeout`), and a loaded machine a
/// little longer.
const ONE_COMMAND: Duration = Duration::from_secs(5 + 10);

#[test]
fn a_filter_that_is_down_when_the_client_connects_means_later() {
    let scene = Scene::new();
    let down = filter::keep_down(&scene.relay);
    for door in DOORS {
        scene.is_told_to_come_back(door, None);
    }
    for direction in ["outgoing", "incoming"] {
        fs::remove_file(filter::socket(&scene.relay, direction)).expect("socket");
    }
    for door in DOORS {
        scene.is_told_to_come_back(door, None);
    }
    drop(down);
    scene.nothing_was_accepted_and_mail_flows();
}

#[test]
fn a_filter_killed_after_any_command_means_later() {
    let scene = Scene::new();
    let mut sessions = scene.sessions_at_every_step();
    let down = filter::keep_down(&scene.relay);
    for session in &mut sessions {
        session.is_told_to_come_back(&scene);
    }
    drop(down);
    // These sessions have no filter any more, and none is put into them.
    scene.wait_for_the_filter();
    for session in &mut sessions {
        session.is_told_to_come_back(&scene);
    }
    scene.nothing_was_accepted_and_mail_flows();
}

#[test]
fn a_filter_killed_in_the_middle_of_the_content_means_later() {
    let scene = Scene::new();
    for door in DOORS {
        // More than fits into the buffers of a socket: Postfix waits in the middle of it.
        let mail = Mail::encrypted_of_size(scene.sender(door), &scene.bob.address, 2 << 20);
        let mut session = Session::begin(&scene, door, Step::Data);
        let hanging = filter::hang(&scene.relay);
        let reply = thread::scope(|scope| {
            let sent = scope.spawn(|| session.smtp.content(&mail.to_bytes()).expect("SMTP"));
            wait::until_true("the message in Postfix", || {
                scene.postfix_log_has(mail.message_id())
            });
            filter::kill(&scene.relay);
            sent.join().expect("client")
        });
        assert!(reply.is_temporary(), "{door:?}: {reply}");
        drop(hanging);
        scene.wait_for_the_filter();
    }
    scene.nothing_was_accepted_and_mail_flows();
}

#[test]
fn a_filter_killed_while_it_waits_for_dns_means_later() {
    let relay = Instance::start();
    let bob = relay.account("bob");
    let signer = Signer::ed25519("elsewhere.test");
    let silent = format!("{} 300 TIMEOUT", signer.name());
    zone::add(relay.endpoints(), &silent).expect("zone");
    let mail = signer.sign(&Mail::encrypted(STRANGER, &bob.address));
    let send = || {
        let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtp).expect("SMTP");
        let reply = smtp.send(STRANGER, &[&bob.address], &mail.to_bytes());
        reply.expect("SMTP")
    };
    let reply = thread::scope(|scope| {
        let sent = scope.spawn(send);
        wait::until_true("a query", || {
            dns::asked(relay.endpoints(), &signer.name()).is_ok_and(|count| count > 0)
        });
        filter::kill(&relay);
        sent.join().expect("client")
    });
    assert!(reply.is_temporary(), "{reply}");
    signer.publish(&relay);
    wait::until_true("the message to pass", || {
        let reply = send();
        assert!(reply.code == 250 || reply.is_temporary(), "{reply}");
        reply.code == 250
    });
    assert_eq!(relay.wait_for_messages(&bob, 1).len(), 1);
}

#[test]
fn a_filter_that_hangs_at_a_command_holds_the_client_for_seconds_only() {
    let scene = Scene::new();
    for door in DOORS {
        for step in [Step::Connect, Step::Mail] {
            let mut session = Session::begin(&scene, door, step);
            let _hanging = filter::hang(&scene.relay);
            let begin = Instant::now();
            session.is_told_to_come_back(&scene);
            let took = begin.elapsed();
            assert!(took < ONE_COMMAND, "{door:?} {step:?}: {took:?}");
        }
        let _hanging = filter::hang(&scene.relay);
        let begin = Instant::now();
        scene.is_told_to_come_back(door, None);
        let took = begin.elapsed();
        assert!(took < ONE_COMMAND, "{door:?}: {took:?}");
    }
    scene.nothing_was_accepted_and_mail_flows();
}

#[test]
fn a_filter_that_hangs_at_the_content_holds_the_client_for_half_a_minute() {
    let scene = Scene::new();
    let mut sessions: Vec<_> = DOORS
        .into_iter()
        .flat_map(|door| [Step::Rcpt, Step::Data].map(|step| Session::begin(&scene, door, step)))
        .collect();
    let hanging = filter::hang(&scene.relay);
    let begin = Instant::now();
    thread::scope(|scope| {
        for session in &mut sessions {
            scope.spawn(|| session.is_told_to_come_back(&scene));
        }
    });
    let took = begin.elapsed();
    assert!(took < Duration::from_secs(45), "{took:?}");
    drop(hanging);
    scene.nothing_was_accepted_and_mail_flows();
}

#[test]
fn sockets_that_postfix_may_not_use_mean_later() {
    let scene = Scene::new();
    for mode in [0o600, 0o000] {
        for direction in ["outgoing", "incoming"] {
            let socket = filter::socket(&scene.relay, direction);
            fs::set_permissions(socket, Permissions::from_mode(mode)).expect("socket");
        }
        for door in DOORS {
            scene.is_told_to_come_back(door, None);
        }
    }
    filter::restart(&scene.relay);
    scene.wait_for_the_filter();
    scene.nothing_was_accepted_and_mail_flows();
}

#[test]
fn a_restart_of_the_filter_finishes_what_it_has_begun_and_later_sessions_work() {
    let scene = Scene::new();
    let mut sessions = scene.sessions_at_every_step();
    filter::restart(&scene.relay);
    scene.wait_for_the_filter();
    for session in &mut sessions {
        session.is_told_to_come_back(&scene);
    }
    scene.nothing_was_accepted_and_mail_flows();
}

#[test]
fn the_default_of_all_filters_is_later_too() {
    let scene = Scene::new();
    let config = &scene.relay.endpoints().postfix_config_directory;
    let master = config.join("master.cf");
    let text = fs::read_to_string(&master).expect("master.cf");
    let without = text.replace("default_action=tempfail, ", "");
    assert!(without.len() < text.len() && !without.contains("default_action"));
    fs::write(&master, without).expect("master.cf");
    let mut reload = Command::new("postfix");
    reload.arg("-c").arg(config).arg("reload");
    assert!(reload.output().expect("postfix").status.success());
    wait::until_true("the reload", || scene.postfix_log_has("reload -- version"));

    let mut sessions = scene.sessions_at_every_step();
    let down = filter::keep_down(&scene.relay);
    for session in &mut sessions {
        session.is_told_to_come_back(&scene);
    }
    for door in DOORS {
        scene.is_told_to_come_back(door, None);
    }
    drop(down);
    scene.wait_for_the_filter();
    scene.nothing_was_accepted_and_mail_flows();
}

/// A relay with a sender and a recipient.
struct Scene {
    relay: Instance,
    alice: Account,
    bob: Account,
}

/// How far an SMTP session has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Step {
    Connect,
    Mail,
    Rcpt,
    Data,
}

struct Session {
    smtp: Smtp,
    door: Door,
    step: Step,
}

impl Scene {
    fn new() -> Scene {
        let relay = Instance::with()
            .param("dkim", false)
            .param("max_user_send_per_minute", 6000)
            .param("max_user_send_burst_size", 1000)
            .start();
        let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
        Scene { relay, alice, bob }
    }

    fn sender(&self, door: Door) -> &str {
        match door {
            Door::Smtp => STRANGER,
            Door::Smtps | Door::Submission => &self.alice.address,
        }
    }

    /// Good mail, which nothing but the state of the filter keeps out.
    fn mail(&self, door: Door) -> Vec<u8> {
        Mail::encrypted(self.sender(door), &self.bob.address).to_bytes()
    }

    /// Tries to send a message in a new session.
    fn attempt(&self, door: Door) -> Reply {
        let endpoints = self.relay.endpoints();
        let smtp = match door {
            Door::Smtp => Smtp::connect(endpoints, door),
            _ => Smtp::login_to(endpoints, door, &self.alice.address, &self.alice.password),
        };
        let to = [self.bob.address.as_str()];
        let reply = smtp.and_then(|mut smtp| smtp.send(self.sender(door), &to, &self.mail(door)));
        reply.unwrap_or_else(|error| match refusal(&error) {
            Some(reply) => reply.clone(),
            None => panic!("SMTP: {error}"),
        })
    }

    #[track_caller]
    fn is_told_to_come_back(&self, door: Door, session: Option<&mut Session>) {
        let reply = match session {
            Some(session) => session.go_on(self),
            None => self.attempt(door),
        };
        assert!(reply.is_temporary(), "{door:?}: {reply}");
    }

    fn sessions_at_every_step(&self) -> Vec<Session> {
        let steps = [Step::Connect, Step::Mail, Step::Rcpt, Step::Data];
        DOORS
            .into_iter()
            .flat_map(|door| steps.map(|step| Session::begin(self, door, step)))
            .collect()
    }

    fn postfix_log_has(&self, text: &str) -> bool {
        self.relay.log("postfix").contains(text)
    }

    /// Cleartext shows it, and leaves nothing in a mailbox.
    fn wait_for_the_filter(&self) {
        let cleartext = Mail::cleartext(&self.alice.address, &self.bob.address).to_bytes();
        wait::until_true("the filter to answer", || {
            let Account { address, password } = &self.alice;
            let endpoints = self.relay.endpoints();
            let replies = [Door::Smtps, Door::Smtp].map(|door| {
                let mut smtp = match door {
                    Door::Smtp => Smtp::connect(endpoints, door)?,
                    _ => Smtp::login_to(endpoints, door, address, password)?,
                };
                smtp.send(self.sender(door), &[&self.bob.address], &cleartext)
            });
            replies
                .into_iter()
                .all(|reply| reply.is_ok_and(|reply| reply.code >= 500))
        });
    }

    /// Of all the mail so far nothing is in the queue or the mailbox, and new mail arrives once.
    #[track_caller]
    fn nothing_was_accepted_and_mail_flows(&self) {
        self.wait_for_the_filter();
        let mut expected = Vec::new();
        for door in DOORS {
            let mail = Mail::encrypted(self.sender(door), &self.bob.address);
            let mut smtp = match door {
                Door::Smtp => Smtp::connect(self.relay.endpoints(), door).expect("SMTP"),
                _ => self.relay.smtp(door, &self.alice),
            };
            let reply = smtp
                .send(self.sender(door), &[&self.bob.address], &mail.to_bytes())
                .expect("SMTP");
            assert_eq!(reply.code, 250, "{reply}");
            expected.push(mail.message_id().to_owned());
        }
        let messages = self.relay.wait_for_messages(&self.bob, DOORS.len());
        let mut ids: Vec<_> = messages
            .iter()
            .flat_map(|message| header_values(message, "Message-ID"))
            .collect();
        ids.sort();
        expected.sort();
        assert_eq!(ids, expected);
        wait::until_true("an empty queue", || {
            filter::queued(&self.relay).is_ok_and(|queue| queue.is_empty())
        });
    }
}

impl Session {
    #[track_caller]
    fn begin(scene: &Scene, door: Door, step: Step) -> Session {
        let smtp = match door {
            Door::Smtp => Smtp::connect(scene.relay.endpoints(), door).expect("SMTP"),
            _ => scene.relay.smtp(door, &scene.alice),
        };
        let mut session = Session { smtp, door, step };
        for (at, command) in session.commands(scene) {
            if at <= step {
                let reply = session.smtp.command(&command).expect("SMTP");
                assert!(reply.is_positive(), "{command}: {reply}");
            }
        }
        session
    }

    fn commands(&self, scene: &Scene) -> [(Step, String); 3] {
        [
            (
                Step::Mail,
                format!("MAIL FROM:<{}>", scene.sender(self.door)),
            ),
            (Step::Rcpt, format!("RCPT TO:<{}>", scene.bob.address)),
            (Step::Data, "DATA".to_owned()),
        ]
    }

    /// The rest of the transaction: the first refusal, or the reply to the message. Then from the
    /// start.
    fn go_on(&mut self, scene: &Scene) -> Reply {
        let step = std::mem::replace(&mut self.step, Step::Connect);
        for (at, command) in self.commands(scene) {
            if at > step {
                let reply = self.smtp.command(&command).expect("SMTP");
                if !reply.is_positive() {
                    self.smtp.command("RSET").expect("SMTP");
                    return reply;
                }
            }
        }
        self.smtp.content(&scene.mail(self.door)).expect("SMTP")
    }

    #[track_caller]
    fn is_told_to_come_back(&mut self, scene: &Scene) {
        scene.is_told_to_come_back(self.door, Some(self));
    }
}
