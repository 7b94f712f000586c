//! Our modules in Dovecot under Valgrind: nothing reads or writes what is not its own, goes by a
//! value that nobody wrote, or loses memory.
//!
//! Dovecot's own findings are Dovecot's: counted is what has a frame of ours.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;

use chatmail_tests::imap::Status;
use chatmail_tests::instance::reachable_tempdir;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::smtp::{Door, Smtp};
use chatmail_tests::{Instance, Mail, services};

const VALGRIND: &str = "/usr/bin/valgrind";

/// A service, its program, and the module of ours in it.
const SERVICES: [(&str, &str, &str); 3] = [
    ("auth-worker", "auth -w", "libauthdb_chatmail.so"),
    ("imap", "imap", "lib90_chatmail_plugin.so"),
    ("lmtp", "lmtp", "lib90_chatmail_plugin.so"),
];

#[test]
fn memcheck_finds_nothing_in_our_modules() {
    if !Path::new(VALGRIND).exists() {
        assert!(std::env::var_os("CI").is_none(), "there is no {VALGRIND}");
        eprintln!("left out: valgrind is not installed (Debian: apt install valgrind)");
        return;
    }
    let dir = reachable_tempdir().expect("temporary directory");
    // Each process writes there as whoever it runs as.
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o777)).expect("directory");
    let mut settings = String::from("auth_failure_delay = 0\n");
    for (service, program, _) in SERVICES {
        settings.push_str(&format!(
            "service {service} {{\n  executable = {VALGRIND} --quiet --error-limit=no --num-callers=40 \
             --vgdb=no --leak-check=full --show-leak-kinds=definite --xml=yes --xml-file={}/{service}.%p.xml \
             /usr/lib/dovecot/{program}\n  vsz_limit = 8G\n}}\n",
            dir.path().display()
        ));
    }
    let relay = Instance::with()
        .param("max_mailbox_size", "1M")
        .dovecot_settings(&settings)
        .start();
    use_everything(&relay);
    for (service, program, module) in SERVICES {
        let program = format!("/usr/lib/dovecot/{program}");
        let processes = services::children(&relay).into_iter();
        let under_valgrind =
            processes.filter(|process| process.command.ends_with(&format!("xml {program}")));
        let with_module = under_valgrind.filter(|process| {
            let maps = fs::read_to_string(format!("/proc/{}/maps", process.pid));
            maps.unwrap_or_default().contains(module)
        });
        assert!(with_module.count() > 0, "no {service} with {module}");
    }
    assert_eq!(services::crashes(&relay), [] as [String; 0]);
    drop(relay);

    let mut findings = Vec::new();
    for (service, ..) in SERVICES {
        let reports = reports(dir.path(), service);
        // Who was killed has not looked for leaks.
        let whole = reports
            .iter()
            .filter(|text| text.contains("<state>FINISHED"));
        assert!(whole.count() > 0, "{service}: no process ended by itself");
        findings.extend(
            reports
                .iter()
                .flat_map(|report| ours(report))
                .map(str::to_owned),
        );
    }
    assert!(findings.is_empty(), "{}", findings.join("\n"));
}

/// Logins of all kinds, metadata, deliveries of all kinds, IDLE, and a mailbox that fills up.
fn use_everything(relay: &Instance) {
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    for (address, password) in [
        (alice.address.as_str(), "not the password"),
        ("short0001@chat.test", "short"),
        ("../../001@chat.test", "long enough"),
        ("a@b@chat.test", "long enough"),
    ] {
        assert!(!relay.try_imap(address, password).is_ok());
    }
    for _ in 0..3 {
        let mut smtp = Smtp::connect(relay.endpoints(), Door::Smtps).expect("SMTP");
        let reply = smtp.login(&alice.address, &alice.password).expect("AUTH");
        assert_eq!(reply.code, 235, "{reply}");
    }
    let blocked = relay.account("blocked");
    fs::write(relay.mailbox(&blocked).join("password"), "").expect("password");
    assert!(!relay.try_imap(&blocked.address, &blocked.password).is_ok());

    let mut imap = relay.imap(&alice);
    for token in ["one", "two", "", "odd\r\n", &"x".repeat(5000)] {
        let answer = imap.set_metadata("INBOX", "/private/devicetoken", token);
        let taken = answer.expect("SETMETADATA").status == Status::Ok;
        assert_eq!(taken, token.len() < 4, "{token:?}");
    }
    for key in ["irohrelay", "turn", "maxsmtprecipients", "appversions", "x"] {
        let key = format!("/shared/vendor/deltachat/{key}");
        imap.get_metadata("", &key)
            .expect("GETMETADATA")
            .expect("an answer");
    }
    let tokens = imap.get_metadata("INBOX", "/private/devicetoken");
    assert_eq!(tokens.expect("GETMETADATA"), Ok(Some("one two".to_owned())));
    imap.select_inbox().expect("SELECT");
    thread::scope(|scope| {
        let idle = scope.spawn(|| imap.idle_until(|line| line.ends_with("EXISTS")));
        deliver(relay, &bob.address, &alice.address);
        idle.join().expect("IDLE").expect("IDLE");
    });
    imap.command("GETQUOTAROOT INBOX")
        .expect("QUOTA")
        .ok()
        .expect("QUOTA");
    imap.command("LOGOUT").expect("LOGOUT");
}

/// To oneself, to another, to nobody, with an odd author, and until the mailbox is full.
fn deliver(relay: &Instance, from: &str, to: &str) {
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    let mut code =
        |from: &str, to: &str, message: &[u8]| lmtp.deliver(from, to, message).expect("LMTP").code;
    let mail = Mail::encrypted(from, to);
    assert_eq!(code(from, to, &mail.to_bytes()), 250);
    assert_eq!(code(to, to, &Mail::encrypted(to, to).to_bytes()), 250);
    assert_eq!(code("", to, b"no header at all\r\n"), 250);
    for author in ["", "\"", "<<a@b>, =?utf-8?q?=ff?= <", "a: b@c, d@e;"] {
        let odd = mail.clone().set("From", author).to_bytes();
        assert_eq!(code(from, to, &odd), 250, "{author:?}");
    }
    assert_eq!(code(from, "nobody001@chat.test", &mail.to_bytes()), 550);
    let large = Mail::encrypted_of_size(from, to, 200_000).to_bytes();
    for _ in 0..5 {
        code(from, to, &large);
    }
}

fn reports(dir: &Path, service: &str) -> Vec<String> {
    let paths = fs::read_dir(dir)
        .expect("reports")
        .map(|entry| entry.expect("report").path());
    let name = |path: &PathBuf| {
        path.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned()
    };
    paths
        .filter(|path| name(path).starts_with(&format!("{service}.")))
        .map(|path| fs::read_to_string(path).expect("report"))
        .collect()
}

/// The errors in one report that have a frame of ours.
fn ours(report: &str) -> Vec<&str> {
    let errors = report.split("<error>").skip(1);
    let errors = errors.map(|rest| rest.split("</error>").next().unwrap_or(rest));
    errors
        .filter(|error| {
            let objects = error.split("<obj>").skip(1);
            objects
                .filter_map(|rest| rest.split_once("</obj>"))
                .any(|(object, _)| {
                    SERVICES
                        .iter()
                        .any(|(_, _, module)| object.ends_with(module))
                })
        })
        .collect()
}
