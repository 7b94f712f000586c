//! Device tokens: none is lost to another device, an odd byte, a crash or a damaged file.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::thread;

use chatmail_tests::imap::{Answer, DEVICE_TOKEN, Imap, Status};
use chatmail_tests::process::{self, Signal};
use chatmail_tests::services::{self, Service};
use chatmail_tests::{Instance, wait};
use rustix::fs::inotify;

#[test]
fn two_devices_that_set_tokens_at_once_lose_none() {
    const ROUNDS: usize = 100;
    // Together as many as a mailbox keeps.
    const EACH: usize = 10;
    let relay = Instance::start();
    let account = relay.account("alice");
    let devices = ["phone", "laptop"].map(|device| (device, relay.imap(&account)));
    thread::scope(|scope| {
        for (device, mut imap) in devices {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    stored(&mut imap, format!("{device}{}", round % EACH));
                }
                imap.command("LOGOUT").expect("LOGOUT");
            });
        }
    });
    let expected = |device: &'static str| (0..EACH).map(move |number| format!("{device}{number}"));
    let expected: BTreeSet<_> = expected("phone").chain(expected("laptop")).collect();
    assert_eq!(tokens(&mut relay.imap(&account)), expected);
    // Two processes did it.
    wait::until_true("three ended sessions", || {
        services::ended_sessions(&relay, "imap").len() >= 3
    });
    let ended = services::ended_sessions(&relay, "imap");
    assert_eq!(BTreeSet::from_iter(&ended[1..3]).len(), 2, "{ended:?}");
}

#[test]
fn the_newest_twenty_tokens_are_kept_and_notified() {
    let relay = Instance::start();
    let account = relay.account("alice");
    let mut imap = relay.imap(&account);
    // A malicious client.
    for number in 0..50 {
        stored(&mut imap, format!("token{number}"));
    }
    let kept = tokens(&mut imap);
    assert_eq!(kept.len(), 20, "{kept:?}");
    assert!(kept.contains("token49"), "{kept:?}");

    let service = relay.endpoints().serve_pid;
    process::signal(service, Signal::STOP).expect("stopping the service");
    let sender = relay.account("bob");
    for _ in 0..3 {
        relay.send_encrypted(&sender, &account);
    }
    relay.wait_for_messages(&account, 3);
    let spool = relay
        .endpoints()
        .mailboxes_dir
        .join("pending_notifications");
    let files = || {
        let names = fs::read_dir(&spool).expect("the spool");
        let names = names.map(|entry| entry.expect("the spool").path());
        names.filter(|path| path.extension().is_none()).count()
    };
    wait::until_true("the last notification", || files() >= 20);
    assert_eq!(files(), 20);
    stored(&mut imap, "one-more");
    assert_eq!(files(), 19, "that of the token that had to go is gone");
    process::signal(service, Signal::CONT).expect("the service");
}

#[test]
fn a_token_may_hold_any_text_and_has_1024_bytes_at_most() {
    let relay = Instance::start();
    let account = relay.account("alice");
    let mut imap = relay.imap(&account);
    let long = |number: usize| format!("openpgp:{number:03}{}", "QUJD/+==".repeat(126));
    let longest = format!("{}ü", "x".repeat(1022));
    let mut all: Vec<String> = (0..10).map(long).collect();
    all.extend([
        longest.clone(),
        "\"\\'(){}%*]".to_owned(),
        "NIL".to_owned(),
        "fcm-ü\u{1F4A9}\u{2028}".to_owned(),
        "{3}".to_owned(),
    ]);
    for token in &all {
        stored(&mut imap, token);
    }
    let refused = [
        format!("{longest}x").into_bytes(),
        b"line\r\nend".to_vec(),
        b"tab\t".to_vec(),
        b"\x7f".to_vec(),
        b"\xff\xfe".to_vec(),
        b"\xed\xa0\x80".to_vec(),
        "\u{85}".into(),
        vec![b'x'; 100_000],
    ];
    for value in &refused {
        let answer = imap.set_metadata("INBOX", DEVICE_TOKEN, value);
        let answer = answer.expect("SETMETADATA");
        assert_eq!(answer.status, Status::No, "{}", value.escape_ascii());
    }
    // In quotes, as text of its own kind, and a NUL in the only form that may hold one.
    quoted_and_binary(&mut imap);
    all.push("quoted \\ \" token".replace(' ', "_"));

    let expected: BTreeSet<_> = all.into_iter().collect();
    for imap in [&mut imap, &mut relay.imap(&account)] {
        assert_eq!(tokens(imap), expected);
    }
    assert_eq!(services::complaints(&relay), [] as [String; 0]);
}

fn quoted_and_binary(imap: &mut Imap) {
    let quoted = r#"SETMETADATA INBOX (/private/devicetoken "quoted_\\_\"_token")"#;
    assert!(imap.command(quoted).expect("SETMETADATA").is_ok());
    let nothing = r#"SETMETADATA INBOX (/private/devicetoken "")"#;
    assert!(imap.command(nothing).expect("SETMETADATA").is_ok());
    let nul = imap.command_with_literals_and(
        "SETMETADATA INBOX (/private/devicetoken ~",
        &[b"a\0b"],
        ")",
    );
    assert!(!nul.expect("SETMETADATA").is_ok());
}

#[test]
fn a_process_that_is_killed_while_it_writes_leaves_the_tokens_whole_and_unlocked() {
    const ROUNDS: usize = 5;
    let relay = Instance::start();
    let account = relay.account("alice");
    let mailbox = relay.mailbox(&account);
    // So large that it takes a while to write.
    let others = "x".repeat(12 * 1024 * 1024);
    let json = serde_json::json!({ "devicetoken": {}, "others": others }).to_string();
    write_as_owner(&mailbox, "metadata.json", &json);

    let mut expected = BTreeSet::new();
    let mut half_written = 0;
    for round in 0..ROUNDS {
        let mut imap = relay.imap(&account);
        stored(&mut imap, format!("before{round}"));
        expected.insert(format!("before{round}"));
        let token = format!("during{round}");
        let processes = services::processes(&relay, Service::Imap);
        let answer = thread::scope(|scope| {
            let start = inotify::init(inotify::CreateFlags::CLOEXEC).expect("inotify");
            let create = inotify::WatchFlags::CREATE | inotify::WatchFlags::MODIFY;
            inotify::add_watch(&start, &mailbox, create).expect("inotify");
            let setting = scope.spawn(|| imap.set_metadata("INBOX", DEVICE_TOKEN, &token));
            // The first thing that happens there is that a new file is begun.
            let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
            let mut events = inotify::Reader::new(&start, &mut buffer);
            events.next().expect("inotify");
            for process in &processes {
                process::signal(process.pid, Signal::KILL).ok();
            }
            setting.join().expect("SETMETADATA")
        });
        if mailbox.join("metadata.json.tmp").exists() {
            half_written += 1;
        }
        let found = tokens(&mut relay.imap(&account));
        match answer.map(|answer| answer.is_ok()) {
            Ok(true) => drop(expected.insert(token)),
            // Killed after the last write and before the answer.
            Err(_) if found.contains(&token) => drop(expected.insert(token)),
            answer => assert!(answer.is_err(), "{answer:?}"),
        }
        assert_eq!(found, expected);
        assert_eq!(
            relay.metadata_json(&account)["others"].as_str(),
            Some(others.as_str())
        );
    }
    assert!(half_written > 0, "no process was killed in time");
}

#[test]
fn an_empty_file_is_none_and_half_a_file_is_left_alone() {
    let relay = Instance::start();
    let account = relay.account("alice");
    let mailbox = relay.mailbox(&account);
    let mut imap = relay.imap(&account);
    for nothing in ["", "\0\0\0\0\0\0\0\0"] {
        write_as_owner(&mailbox, "metadata.json", nothing);
        assert_eq!(tokens(&mut imap), BTreeSet::new());
        stored(&mut imap, "new");
        assert_eq!(tokens(&mut imap), ["new".to_owned()].into());
    }

    let half = "{\"devicetoken\": {\"one\": 1775324677, \"tw";
    write_as_owner(&mailbox, "metadata.json", half);
    let get = |imap: &mut Imap| {
        imap.get_metadata("INBOX", DEVICE_TOKEN)
            .expect("GETMETADATA")
    };
    let set = |imap: &mut Imap| -> Answer {
        imap.set_metadata("INBOX", DEVICE_TOKEN, "three")
            .expect("SETMETADATA")
    };
    assert_eq!(get(&mut imap).expect_err("half a file").status, Status::No);
    assert_eq!(set(&mut imap).status, Status::No);
    assert_eq!(
        fs::read_to_string(mailbox.join("metadata.json")).expect("file"),
        half
    );
    relay.wait_for_log("dovecot", "a word of the file at fault", |line| {
        line.contains("metadata.json: not JSON at line 1 column")
    });
    // The rest of the session is as good as ever, and so is the file once it is mended.
    assert_eq!(imap.select_inbox().expect("INBOX"), 0);
    write_as_owner(
        &mailbox,
        "metadata.json",
        &format!("{half}o\": 1775324677}}}}"),
    );
    assert!(set(&mut imap).is_ok());
    assert!(get(&mut imap).is_ok());
    assert!(
        !relay.log("dovecot").contains("three"),
        "a token in the log"
    );
}

#[track_caller]
fn stored(imap: &mut Imap, token: impl AsRef<[u8]>) {
    let answer = imap.set_metadata("INBOX", DEVICE_TOKEN, token);
    let answer = answer.expect("SETMETADATA");
    assert!(answer.is_ok(), "{answer}");
}

#[track_caller]
fn tokens(imap: &mut Imap) -> BTreeSet<String> {
    imap.device_tokens().expect("GETMETADATA")
}

/// As software that writes in place would leave it.
fn write_as_owner(mailbox: &Path, name: &str, content: &str) {
    let write = || -> io::Result<()> {
        let owner = fs::metadata(mailbox)?;
        fs::write(mailbox.join(name), content)?;
        chown(mailbox.join(name), Some(owner.uid()), Some(owner.gid()))
    };
    write().expect("writing a file of a mailbox");
}
