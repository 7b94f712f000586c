//! What Delta Chat asks the relay about itself, and where it leaves its device tokens.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use chatmail_tests::imap::{DEVICE_TOKEN, Imap, Status};
use chatmail_tests::instance::{Account, reachable_tempdir};
use chatmail_tests::{Instance, services, wait};

#[test]
fn the_capabilities_tell_delta_chat_what_it_may_use() {
    let relay = Instance::start();
    let mut imap = relay.imap(&relay.account("alice"));
    let answer = imap.command("CAPABILITY").expect("CAPABILITY");
    let line = &answer.untagged[0].line;
    for capability in ["XDELTAPUSH", "XCHATMAIL", "METADATA", "IDLE", "QUOTA"] {
        assert!(
            line.split(' ').any(|word| word == capability),
            "{capability}: {line}"
        );
    }
}

#[test]
fn each_device_token_is_added_to_those_before() {
    let relay = Instance::start();
    let account = relay.account("alice");
    let mut imap = relay.imap(&account);
    assert_eq!(get(&mut imap, "INBOX", DEVICE_TOKEN), None);

    let long = format!("openpgp:{}", "QUJD/+==".repeat(127));
    for token in ["fcm-token-one", &long, "fcm-token-one"] {
        assert!(
            imap.set_metadata("INBOX", DEVICE_TOKEN, token)
                .expect("SETMETADATA")
                .is_ok()
        );
    }
    assert!(
        imap.set_metadata("INBOX", DEVICE_TOKEN, "")
            .expect("SETMETADATA")
            .status
            != Status::Bad
    );

    let value = get(&mut relay.imap(&account), "INBOX", DEVICE_TOKEN).expect("tokens");
    let mut tokens: Vec<_> = value.split(' ').collect();
    tokens.sort_unstable();
    assert_eq!(tokens, ["fcm-token-one", long.as_str()]);

    let stored = stored_tokens(&relay, &account);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs_f64();
    assert_eq!(stored.len(), 2, "{stored:?}");
    for (token, time) in stored {
        let time = time.as_f64().expect("a Unix time");
        assert!((now - 60.0..=now + 1.0).contains(&time), "{token}: {time}");
    }
}

#[test]
fn one_users_tokens_are_not_anothers() {
    let relay = Instance::start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    relay
        .imap(&alice)
        .set_metadata("INBOX", DEVICE_TOKEN, "of-alice")
        .expect("SETMETADATA");
    assert_eq!(get(&mut relay.imap(&bob), "INBOX", DEVICE_TOKEN), None);
    assert!(!relay.mailbox(&bob).join("metadata.json").exists());
}

#[test]
fn the_relay_tells_what_else_it_offers() {
    let dir = reachable_tempdir().expect("temporary directory");
    let socket = dir.path().join("turn.socket");
    let turn = UnixListener::bind(&socket).expect("TURN socket");
    fs::set_permissions(&socket, Permissions::from_mode(0o666)).expect("TURN socket");
    thread::spawn(move || {
        for client in turn.incoming().flatten() {
            // A client that does not wait for its credentials is the test's business.
            let mut client = client;
            client.write_all(b"1769000000:secret\n").ok();
        }
    });
    let appversions = dir.path().join("appversions.json");
    fs::write(&appversions, "{\n  \"android\": \"2.43\"\n}\n").expect("app versions");
    fs::set_permissions(&appversions, Permissions::from_mode(0o644)).expect("app versions");
    let relay = Instance::with()
        .param("iroh_relay", "https://iroh.chat.test")
        .param("turn_socket_path", socket.display())
        .param("appversions_file", appversions.display())
        .start();
    let mut imap = relay.imap(&relay.account("alice"));

    let mut shared = |key: &str| get(&mut imap, "", &format!("/shared/vendor/deltachat/{key}"));
    assert_eq!(
        shared("irohrelay").as_deref(),
        Some("https://iroh.chat.test")
    );
    let turn = shared("turn").expect("TURN server");
    assert_eq!(
        turn.split_once(":3478:").map(|(_, tail)| tail),
        Some("1769000000:secret"),
        "{turn}"
    );
    assert_eq!(shared("maxsmtprecipients").as_deref(), Some("1000"));
    let versions: serde_json::Value =
        serde_json::from_str(&shared("appversions").expect("app versions")).expect("JSON");
    assert_eq!(versions["android"], "2.43");
    assert_eq!(shared("somethingelse"), None);
}

#[test]
fn what_the_relay_does_not_offer_has_no_value() {
    let dir = reachable_tempdir().expect("temporary directory");
    let relay = Instance::with()
        .param("iroh_relay", "")
        .param("turn_socket_path", dir.path().join("none").display())
        .param("appversions_file", dir.path().join("none.json").display())
        .start();
    let mut imap = relay.imap(&relay.account("alice"));
    for key in ["irohrelay", "turn", "appversions"] {
        assert_eq!(
            get(&mut imap, "", &format!("/shared/vendor/deltachat/{key}")),
            None,
            "{key}"
        );
    }
}

#[test]
fn an_unset_iroh_relay_is_the_relay_itself() {
    let relay = Instance::start();
    let mut imap = relay.imap(&relay.account("alice"));
    assert_eq!(
        get(&mut imap, "", "/shared/vendor/deltachat/irohrelay").as_deref(),
        Some("https://chat.test")
    );
}

#[test]
fn the_administrator_is_who_the_operator_says_or_nobody() {
    let relay = Instance::with()
        .param("privacy_mail", "privacy@chat.test")
        .start();
    let mut imap = relay.imap(&relay.account("alice"));
    let admin = get(&mut imap, "", "/shared/admin");
    assert_eq!(admin.as_deref(), Some("mailto:privacy@chat.test"));
    assert_eq!(get(&mut imap, "", "/shared/comment"), None);

    let relay = Instance::start();
    let mut imap = relay.imap(&relay.account("alice"));
    for key in ["/shared/admin", "/shared/comment"] {
        assert_eq!(get(&mut imap, "", key), None, "{key}");
    }
}

#[test]
fn one_command_may_ask_for_what_there_is_and_what_there_is_not() {
    let relay = Instance::with()
        .param("turn_socket_path", "/nonexistent/turn.socket")
        .start();
    let mut imap = relay.imap(&relay.account("alice"));
    // As Delta Chat asks after each login.
    let command = "GETMETADATA \"\" (/shared/comment /shared/admin \
                   /shared/vendor/deltachat/irohrelay /shared/vendor/deltachat/turn \
                   /shared/vendor/deltachat/maxsmtprecipients /shared/vendor/deltachat/none)";
    let answer = imap.command(command).expect("GETMETADATA");
    assert!(answer.is_ok(), "{answer}");
    let literals = answer.untagged.iter().flat_map(|line| &line.literals);
    let values: Vec<_> = literals
        .map(|literal| String::from_utf8_lossy(literal).into_owned())
        .collect();
    let expected = ["https://chat.test", "1000"];
    assert_eq!(values, expected, "{answer:?}");
    // Names of entries have no case (RFC 5464 section 3.1).
    let shouted = "GETMETADATA \"\" /SHARED/Vendor/DeltaChat/MaxSmtpRecipients";
    let answer = imap.command(shouted).expect("GETMETADATA");
    assert_eq!(answer.untagged[0].literals, [b"1000"], "{answer:?}");
    imap.command("CREATE Trash").expect("CREATE");
    for (mailbox, key) in [
        ("INBOX", "/private/devicetoken"),
        ("INBOX", "/shared/devicetoken"),
        ("INBOX", "/private/other"),
        ("", "/private/devicetoken"),
        ("", "/shared/vendor/deltachat"),
        ("", "/shared/vendor/other/irohrelay"),
        ("Trash", "/private/devicetoken"),
    ] {
        assert_eq!(get(&mut imap, mailbox, key), None, "{mailbox:?} {key}");
    }
}

#[test]
fn setting_any_other_key_is_refused() {
    let relay = Instance::start();
    let account = relay.account("alice");
    let mut imap = relay.imap(&account);
    for (mailbox, key) in [
        ("INBOX", "/private/comment2"),
        ("INBOX", "/private/vendor/deltachat/other"),
        ("INBOX", "/shared/vendor/deltachat/irohrelay"),
        ("", "/shared/vendor/deltachat/irohrelay"),
        ("", "/shared/vendor/deltachat/turn"),
        ("", "/shared/vendor/deltachat/other"),
    ] {
        let answer = imap
            .set_metadata(mailbox, key, "mine")
            .expect("SETMETADATA");
        assert_eq!(answer.status, Status::No, "{mailbox:?} {key}: {answer}");
    }
    assert!(!relay.mailbox(&account).join("metadata.json").exists());
    let iroh = get(&mut imap, "", "/shared/vendor/deltachat/irohrelay");
    assert_eq!(iroh.as_deref(), Some("https://chat.test"));
}

#[test]
fn a_command_is_stored_whole_or_not_at_all() {
    let relay = Instance::start();
    let mut imap = relay.imap(&relay.account("alice"));
    let too_long = "x".repeat(1025);
    let both = |first: &str, second: &str| {
        format!("SETMETADATA INBOX ({DEVICE_TOKEN} {first} {DEVICE_TOKEN} {second})")
    };
    for (command, code) in [
        (both("one", &too_long), "METADATA MAXSIZE 1024"),
        (both(&too_long, "one"), "METADATA MAXSIZE 1024"),
        (both("one", "\"a\tb\""), "CANNOT"),
        (
            format!("SETMETADATA INBOX ({DEVICE_TOKEN} one /private/comment two)"),
            "CANNOT",
        ),
        (
            format!("SETMETADATA INBOX (/private/other one {DEVICE_TOKEN} two)"),
            "CANNOT",
        ),
    ] {
        let answer = imap.command(&command).expect("SETMETADATA");
        assert_eq!(
            (answer.status, answer.code()),
            (Status::No, Some(code)),
            "{answer}"
        );
        assert_eq!(get(&mut imap, "INBOX", DEVICE_TOKEN), None);
    }
    let answer = imap.command(&both("one", "two")).expect("SETMETADATA");
    assert!(answer.is_ok(), "{answer}");
    let tokens = get(&mut imap, "INBOX", DEVICE_TOKEN);
    assert_eq!(tokens.as_deref(), Some("one two"));
}

#[test]
fn a_client_can_send_all_its_literals_before_it_is_refused() {
    let relay = Instance::start();
    let mut imap = relay.imap(&relay.account("alice"));
    let literals = [vec![b'x'; 200_000], b"two".to_vec(), b"a\tb".to_vec()];
    let [long, short, odd] = literals.each_ref().map(Vec::as_slice);
    for (literals, code) in [
        ([long, short], "METADATA MAXSIZE 1024"),
        ([short, long], "METADATA MAXSIZE 1024"),
        ([odd, short], "CANNOT"),
    ] {
        let parts = [
            (format!("SETMETADATA INBOX ({DEVICE_TOKEN} "), literals[0]),
            (format!(" {DEVICE_TOKEN} "), literals[1]),
        ];
        let answer = imap.command_around_literals(&parts, ")");
        let answer = answer.expect("SETMETADATA");
        assert_eq!(
            (answer.status, answer.code()),
            (Status::No, Some(code)),
            "{answer}"
        );
        assert_eq!(get(&mut imap, "INBOX", DEVICE_TOKEN), None);
    }
}

#[test]
fn nil_removes_all_tokens_and_is_fine_where_there_is_nothing() {
    let relay = Instance::start();
    let mut imap = relay.imap(&relay.account("alice"));
    let mut ok = |command: &str| {
        let answer = imap.command(command).expect("SETMETADATA");
        assert!(answer.is_ok(), "{command}: {answer}");
        get(&mut imap, "INBOX", DEVICE_TOKEN)
    };
    for entries in [
        format!("({DEVICE_TOKEN} NIL)"),
        "(/private/comment NIL)".to_owned(),
        format!("({DEVICE_TOKEN} one {DEVICE_TOKEN} NIL)"),
    ] {
        assert_eq!(
            ok(&format!("SETMETADATA INBOX {entries}")),
            None,
            "{entries}"
        );
    }
    for token in ["one", "two"] {
        ok(&format!("SETMETADATA INBOX ({DEVICE_TOKEN} {token})"));
    }
    // Of another folder.
    ok("CREATE Trash");
    let kept = ok(&format!("SETMETADATA Trash ({DEVICE_TOKEN} NIL)"));
    assert_eq!(kept.as_deref(), Some("one two"));
    let three = ok(&format!(
        "SETMETADATA INBOX ({DEVICE_TOKEN} NIL {DEVICE_TOKEN} three)"
    ));
    assert_eq!(three.as_deref(), Some("three"));
}

#[test]
fn what_a_client_is_refused_and_folders_that_come_and_go_leave_no_line_in_the_log() {
    let relay = Instance::start();
    let mut imap = relay.imap(&relay.account("alice"));
    let mut status = |command: &str| imap.command(command).expect(command).status;
    assert_eq!(status("CREATE Trash"), Status::Ok);
    for command in [
        &format!("SETMETADATA INBOX ({DEVICE_TOKEN} {})", "x".repeat(2000)),
        "SETMETADATA INBOX (/private/comment mine)",
        "SETMETADATA INBOX (/shared/comment mine)",
        "SETMETADATA \"\" (/shared/admin mine)",
        "SETMETADATA \"\" (/shared/vendor/deltachat/turn NIL)",
        &format!("SETMETADATA Trash ({DEVICE_TOKEN} mine)"),
        "SETMETADATA Nowhere (/private/comment mine)",
        "SETMETADATA INBOX (/private/vendor/vendor.dovecot/pvt/x mine)",
    ] {
        assert_eq!(status(command), Status::No, "{command}");
    }
    for command in [
        "CREATE one",
        "RENAME one two",
        "CREATE two.three",
        "RENAME two four",
        "DELETE four.three",
        "DELETE four",
        "DELETE Trash",
    ] {
        assert_eq!(status(command), Status::Ok, "{command}");
    }
    assert_eq!(status("LOGOUT"), Status::Ok);
    wait::until_true("the end of the session", || {
        services::ended_sessions(&relay, "imap").len() >= 2
    });
    assert_eq!(services::complaints(&relay), [] as [String; 0]);
}

#[track_caller]
fn get(imap: &mut Imap, mailbox: &str, key: &str) -> Option<String> {
    imap.get_metadata(mailbox, key)
        .expect("GETMETADATA")
        .unwrap_or_else(|refusal| panic!("GETMETADATA {mailbox:?} {key}: {refusal}"))
}

fn stored_tokens(
    relay: &Instance,
    account: &Account,
) -> serde_json::Map<String, serde_json::Value> {
    let json = relay.metadata_json(account);
    json["devicetoken"]
        .as_object()
        .expect("tokens with times")
        .clone()
}
