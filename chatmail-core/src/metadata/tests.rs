use super::*;
use crate::mailbox::Mailbox;
use proptest::prelude::*;
use std::fs;
use std::thread;
use std::time::{Duration, UNIX_EPOCH};

const ALICE: &[u8] = b"alice@chat.example";
const TOKEN: &str = "/private/devicetoken";
const NOW: u64 = 1_775_324_677;
const DAY: u64 = 86_400;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

struct Relay {
    base: tempfile::TempDir,
    config: Config,
}

impl Relay {
    /// With a mailbox of Alice.
    fn new() -> Relay {
        Relay::with("")
    }

    fn with(lines: &str) -> Relay {
        let base = tempfile::tempdir().unwrap();
        let dir = base.path().display();
        let ini = format!(
            "[params]\nmail_domain = chat.example\nmailboxes_dir = {dir}\nappversions_file = {dir}/apps.json\n\
             turn_socket_path = {dir}/turn\n{lines}"
        );
        let config = Config::parse(Path::new("chatmail.ini"), &ini).unwrap();
        fs::create_dir(base.path().join("alice@chat.example")).unwrap();
        Relay { base, config }
    }

    fn alice(&self) -> Mailbox {
        let address = Address::parse(ALICE, &self.config.mail_domain).unwrap();
        self.config.mailboxes().mailbox(&address)
    }

    fn get(&self, key: &str) -> Option<String> {
        self.get_at(key, NOW)
    }

    fn get_at(&self, key: &str, seconds: u64) -> Option<String> {
        Metadata::new(&self.config)
            .get(ALICE, key, at(seconds))
            .unwrap()
    }

    fn set(&self, key: &str, value: &[u8]) -> SetAnswer {
        self.set_at(key, value, NOW)
    }

    fn set_at(&self, key: &str, value: &[u8], seconds: u64) -> SetAnswer {
        Metadata::new(&self.config)
            .set(ALICE, key, value, at(seconds))
            .unwrap()
    }

    fn file(&self) -> std::path::PathBuf {
        self.alice().path().join("metadata.json")
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&fs::read(self.file()).unwrap()).unwrap()
    }
}

#[test]
fn each_token_that_is_set_is_added() {
    let relay = Relay::new();
    assert_eq!(relay.get(TOKEN), None);
    assert_eq!(relay.set(TOKEN, b"openpgp:two"), SetAnswer::Stored);
    assert_eq!(relay.set(TOKEN, b"openpgp:one"), SetAnswer::Stored);
    assert_eq!(relay.set(TOKEN, b"openpgp:two"), SetAnswer::Stored);
    assert_eq!(relay.set(TOKEN, b""), SetAnswer::Nothing);
    assert_eq!(relay.get(TOKEN).as_deref(), Some("openpgp:one openpgp:two"));
    assert_eq!(
        fs::read_to_string(relay.file()).unwrap(),
        format!("{{\"devicetoken\":{{\"openpgp:one\":{NOW},\"openpgp:two\":{NOW}}}}}")
    );
    assert_eq!(fs::read_dir(relay.alice().path()).unwrap().count(), 1);
}

#[test]
fn a_token_lives_ninety_days_from_its_last_set() {
    let relay = Relay::new();
    relay.set_at(TOKEN, b"a", NOW);
    relay.set_at(TOKEN, b"b", NOW);
    relay.set_at(TOKEN, b"b", NOW + 10 * DAY);
    assert_eq!(
        relay.get_at(TOKEN, NOW + 90 * DAY - 1).as_deref(),
        Some("a b")
    );
    assert_eq!(relay.get_at(TOKEN, NOW + 90 * DAY).as_deref(), Some("b"));
    assert_eq!(relay.get_at(TOKEN, NOW + 100 * DAY), None);
    // Void ones go with the next change.
    relay.set_at(TOKEN, b"c", NOW + 95 * DAY);
    assert_eq!(
        relay.json()["devicetoken"]
            .as_object()
            .unwrap()
            .keys()
            .collect::<Vec<_>>(),
        ["b", "c"]
    );
}

#[test]
fn a_time_from_the_future_counts_as_now() {
    let relay = Relay::new();
    fs::write(
        relay.file(),
        format!(
            "{{\"devicetoken\":{{\"soon\":{},\"late\":{},\"old\":-5,\"odd\":{NOW}.75}}}}",
            NOW + 60,
            NOW + 365 * DAY
        ),
    )
    .unwrap();
    assert_eq!(relay.get(TOKEN).as_deref(), Some("late odd soon"));
    // The next change brings it back to earth.
    relay.set(TOKEN, b"new");
    assert_eq!(relay.json()["devicetoken"]["late"], NOW);
    assert_eq!(relay.get_at(TOKEN, NOW + 90 * DAY), None);
}

#[test]
fn a_clock_that_jumped_back_voids_no_token() {
    let relay = Relay::new();
    relay.set_at(TOKEN, b"before", NOW + 365 * DAY);
    assert_eq!(relay.get(TOKEN).as_deref(), Some("before"));
    relay.set(TOKEN, b"after");
    assert_eq!(relay.get(TOKEN).as_deref(), Some("after before"));
}

#[test]
fn the_newest_twenty_tokens_are_kept() {
    let relay = Relay::new();
    let name = |number: u64| format!("token{number:02}");
    for number in 0..25 {
        relay.set_at(TOKEN, name(number).as_bytes(), NOW + number);
    }
    let kept = |numbers: std::ops::Range<u64>| numbers.map(name).collect::<Vec<_>>().join(" ");
    assert_eq!(relay.get_at(TOKEN, NOW + 25), Some(kept(5..25)));
    // Setting a token again makes it the newest.
    relay.set_at(TOKEN, name(5).as_bytes(), NOW + 26);
    relay.set_at(TOKEN, name(25).as_bytes(), NOW + 27);
    assert_eq!(
        relay.get_at(TOKEN, NOW + 28),
        Some(format!("{} {}", name(5), kept(7..26)))
    );
    assert_eq!(relay.json()["devicetoken"].as_object().unwrap().len(), 20);
    // All in one second: the token just set is never the one that is dropped.
    for number in 30..60 {
        relay.set_at(TOKEN, name(number).as_bytes(), NOW + 30);
        let value = relay.get_at(TOKEN, NOW + 30).unwrap();
        assert!(value.contains(&name(number)), "{value}");
    }
}

#[test]
fn a_file_with_thousands_of_tokens_notifies_the_newest_twenty() {
    let relay = Relay::new();
    let tokens: serde_json::Map<_, _> = (0..3000)
        .map(|number| (format!("token{number:04}"), (NOW - number).into()))
        .collect();
    fs::write(
        relay.file(),
        serde_json::json!({ "devicetoken": tokens }).to_string(),
    )
    .unwrap();
    let expected: Vec<_> = (0..20).map(|number| format!("token{number:04}")).collect();
    assert_eq!(relay.get(TOKEN), Some(expected.join(" ")));
    relay.set(TOKEN, b"new");
    let mut expected = expected[..19].to_vec();
    expected.insert(0, "new".to_owned());
    assert_eq!(relay.get(TOKEN), Some(expected.join(" ")));
}

#[test]
fn changes_are_stored_all_or_none() {
    let relay = Relay::new();
    let store = |build: &dyn Fn(&mut Changes)| {
        let mut changes = Changes::new();
        build(&mut changes);
        let metadata = Metadata::new(&relay.config);
        metadata.store(ALICE, &changes, at(NOW)).unwrap()
    };
    let token = Some(Key::DeviceToken);
    relay.set(TOKEN, b"old");
    let too_long = [b'x'; TOKEN_SET_MAX + 1];
    for (build, answer) in [
        (
            &(|changes: &mut Changes| {
                changes.set(token, b"new");
                changes.set(token, &too_long);
                changes.set(None, b"x");
            }) as &dyn Fn(&mut Changes),
            SetAnswer::TooLong,
        ),
        (
            &|changes| {
                changes.remove(token);
                changes.set(Some(Key::Turn), b"mine");
                changes.set(token, &too_long);
            },
            SetAnswer::Refused,
        ),
        (
            &|changes| {
                changes.set(token, b"new");
                changes.remove(Some(Key::IrohRelay));
            },
            SetAnswer::Refused,
        ),
        (
            &|changes| {
                changes.set(token, b"");
                changes.remove(None);
            },
            SetAnswer::Nothing,
        ),
    ] {
        assert_eq!(store(build), answer);
        assert_eq!(relay.get(TOKEN).as_deref(), Some("old"));
    }
    let stored = store(&|changes| {
        changes.set(token, b"lost");
        changes.remove(token);
        changes.set(token, b"new");
        changes.set(token, &[b'y'; TOKEN_SET_MAX]);
    });
    assert_eq!(stored, SetAnswer::Stored);
    let expected = format!("new {}", "y".repeat(TOKEN_SET_MAX));
    assert_eq!(relay.get(TOKEN), Some(expected));
}

#[test]
fn nil_removes_all_tokens() {
    let relay = Relay::new();
    let remove = || {
        let mut changes = Changes::new();
        changes.remove(Some(Key::DeviceToken));
        let metadata = Metadata::new(&relay.config);
        assert_eq!(
            metadata.store(ALICE, &changes, at(NOW)).unwrap(),
            SetAnswer::Stored
        );
    };
    remove();
    assert!(!relay.file().exists(), "there was nothing to remove");
    relay.set_at(TOKEN, b"void", NOW - 91 * DAY);
    relay.set(TOKEN, b"a");
    relay.set(TOKEN, b"b");
    remove();
    assert_eq!(relay.get(TOKEN), None);
    assert_eq!(relay.json(), serde_json::json!({"devicetoken": {}}));
}

#[test]
fn changes_hold_no_more_than_twenty_tokens_and_print_none() {
    let relay = Relay::new();
    let mut changes = Changes::new();
    for number in 0..1000 {
        changes.set(
            Some(Key::DeviceToken),
            format!("token{number:03}").as_bytes(),
        );
    }
    let metadata = Metadata::new(&relay.config);
    metadata.store(ALICE, &changes, at(NOW)).unwrap();
    let expected: Vec<_> = (980..1000).map(|number| format!("token{number}")).collect();
    assert_eq!(relay.get(TOKEN), Some(expected.join(" ")));
    assert!(!format!("{changes:?}").contains("token9"), "{changes:?}");
}

#[test]
fn the_list_of_older_relays_is_read_as_if_set_now() {
    let relay = Relay::new();
    fs::write(
        relay.file(),
        "{\"devicetoken\": [\"b\", \"a\", \"b\"], \"messagenew\": 1}",
    )
    .unwrap();
    assert_eq!(relay.get(TOKEN).as_deref(), Some("a b"));
    relay.set(TOKEN, b"c");
    let expected =
        serde_json::json!({"devicetoken": {"a": NOW, "b": NOW, "c": NOW}, "messagenew": 1});
    assert_eq!(relay.json(), expected);
}

#[test]
fn what_others_wrote_is_kept() {
    let relay = Relay::new();
    let others =
        serde_json::json!({"x": {"y": [1, 2.5, null, "ü"]}, "z": 12345678901234567890_u64});
    fs::write(relay.file(), others.to_string()).unwrap();
    assert_eq!(relay.get(TOKEN), None);
    relay.set(TOKEN, b"a");
    let mut json = relay.json();
    assert_eq!(
        json.as_object_mut().unwrap().remove("devicetoken"),
        Some(serde_json::json!({"a": NOW}))
    );
    assert_eq!(json, others);
}

#[test]
fn a_file_that_is_not_understood_is_an_error_and_stays() {
    for content in [
        "{",
        "\0{}",
        "{\"devicetoken\":{\"a\":17",
        "[]",
        "null",
        "{\"devicetoken\":3}",
        "{\"devicetoken\":{\"a\":\"b\"}}",
        "{\"devicetoken\":[1]}",
        "{} trailing",
    ] {
        let relay = Relay::new();
        fs::write(relay.file(), content).unwrap();
        let metadata = Metadata::new(&relay.config);
        let error = metadata
            .get(ALICE, TOKEN, at(NOW))
            .expect_err(content)
            .to_string();
        assert!(
            error.contains("alice@chat.example/metadata.json: "),
            "{error}"
        );
        assert!(
            metadata.set(ALICE, TOKEN, b"a", at(NOW)).is_err(),
            "{content}"
        );
        let tokens = DeviceTokens::of(&relay.alice());
        assert!(tokens.remove("a", at(NOW)).is_err(), "{content}");
        assert_eq!(fs::read_to_string(relay.file()).unwrap(), content);
    }
}

#[test]
fn a_file_without_content_is_as_good_as_none() {
    for content in ["", "\n", " \r\n\t", "\0\0\0\0", "\0\n"] {
        let relay = Relay::new();
        fs::write(relay.file(), content).unwrap();
        assert_eq!(relay.get(TOKEN), None, "{content:?}");
        DeviceTokens::of(&relay.alice())
            .remove("a", at(NOW))
            .unwrap();
        assert_eq!(fs::read_to_string(relay.file()).unwrap(), content);
        assert_eq!(relay.set(TOKEN, b"a"), SetAnswer::Stored, "{content:?}");
        assert_eq!(relay.json(), serde_json::json!({"devicetoken": {"a": NOW}}));
    }
}

#[test]
fn one_token_too_many_leaves_those_there_are() {
    let relay = Relay::new();
    let others = "x".repeat(16 * 1024 * 1024 - 4000);
    let full = serde_json::json!({"devicetoken": {"a": NOW}, "others": others}).to_string();
    fs::write(relay.file(), &full).unwrap();
    let tokens = DeviceTokens::of(&relay.alice());
    tokens.add("b", at(NOW)).unwrap();
    let error = tokens.add(&"c".repeat(4096), at(NOW)).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
    assert!(error.to_string().contains("metadata.json: "), "{error}");
    assert_eq!(tokens.valid(at(NOW)).unwrap(), ["a", "b"]);
}

#[test]
fn a_token_the_push_service_dropped_is_removed() {
    let relay = Relay::new();
    let tokens = DeviceTokens::of(&relay.alice());
    tokens.remove("a", at(NOW)).unwrap();
    assert!(!relay.file().exists());
    tokens.add("a", at(NOW)).unwrap();
    tokens.add("b", at(NOW)).unwrap();
    tokens.remove("a", at(NOW)).unwrap();
    assert_eq!(tokens.valid(at(NOW)).unwrap(), ["b"]);
}

#[test]
fn what_is_no_token_is_refused() {
    let relay = Relay::new();
    let longest = "ü".repeat(512);
    assert_eq!(relay.set(TOKEN, longest.as_bytes()), SetAnswer::Stored);
    let longer = format!("{longest}x");
    assert_eq!(relay.set(TOKEN, longer.as_bytes()), SetAnswer::TooLong);
    for bad in [&b"a\nb"[..], b"a\0", b"\xff"] {
        assert_eq!(relay.set(TOKEN, bad), SetAnswer::Refused);
    }
    assert!(
        DeviceTokens::of(&relay.alice())
            .add("a\nb", at(NOW))
            .is_err()
    );
    assert_eq!(relay.get(TOKEN), Some(longest));
}

#[test]
fn a_longer_token_of_an_older_relay_is_still_read() {
    let relay = Relay::new();
    let longest = "ü".repeat(TOKEN_MAX);
    let json = serde_json::json!({"devicetoken": {&longest: NOW, format!("{longest}x"): NOW}});
    fs::write(relay.file(), json.to_string()).unwrap();
    assert_eq!(relay.get(TOKEN).as_deref(), Some(&*longest));
    relay.set(TOKEN, b"a");
    assert_eq!(relay.get(TOKEN), Some(format!("a {longest}")));
}

#[test]
fn tokens_set_at_the_same_time_all_stay() {
    let relay = Relay::new();
    thread::scope(|scope| {
        for i in 0..10 {
            let relay = &relay;
            scope.spawn(move || {
                assert_eq!(
                    relay.set(TOKEN, format!("token{i}").as_bytes()),
                    SetAnswer::Stored
                );
            });
        }
    });
    assert_eq!(relay.get(TOKEN).unwrap().split(' ').count(), 10);
}

#[test]
fn only_existing_mailboxes_of_ours_have_tokens() {
    let relay = Relay::new();
    let metadata = Metadata::new(&relay.config);
    for address in [&b"alice@other.example"[..], b"../x@chat.example", b""] {
        assert_eq!(metadata.get(address, TOKEN, at(NOW)).unwrap(), None);
        assert_eq!(
            metadata.set(address, TOKEN, b"a", at(NOW)).unwrap(),
            SetAnswer::Refused
        );
    }
    assert_eq!(
        metadata.get(b"bob@chat.example", TOKEN, at(NOW)).unwrap(),
        None
    );
    assert!(
        metadata
            .set(b"bob@chat.example", TOKEN, b"a", at(NOW))
            .is_err()
    );
    assert!(!relay.base.path().join("bob@chat.example").exists());
}

#[test]
fn the_servers_values_are_those_of_the_configuration() {
    let relay = Relay::new();
    let shared = |name: &str| relay.get(&format!("/shared/vendor/deltachat/{name}"));
    assert_eq!(shared("irohrelay").as_deref(), Some("https://chat.example"));
    assert_eq!(shared("maxsmtprecipients").as_deref(), Some("1000"));
    assert_eq!(shared("turn"), None);
    assert_eq!(shared("appversions"), None);
    assert_eq!(shared("nonsense"), None);
    for key in [
        "/shared/comment",
        "/private/other",
        "/shared/devicetoken",
        "irohrelay",
        "",
    ] {
        assert_eq!(relay.get(key), None, "{key}");
        assert_eq!(relay.set(key, b"x"), SetAnswer::Refused, "{key}");
    }
    assert_eq!(
        relay.set("/shared/vendor/deltachat/irohrelay", b"x"),
        SetAnswer::Refused
    );
    assert_eq!(
        relay.set("/shared/vendor/deltachat/irohrelay", b""),
        SetAnswer::Refused
    );

    let silent = Relay::with("iroh_relay =\n");
    assert_eq!(silent.get("/shared/vendor/deltachat/irohrelay"), None);
}

#[test]
fn released_apps_are_told_on_one_line() {
    let relay = Relay::new();
    let file = relay.base.path().join("apps.json");
    fs::write(&file, "{\n  \"android\": {\"version\": \"2.1\"}\n}\n").unwrap();
    let key = "/shared/vendor/deltachat/appversions";
    assert_eq!(
        relay.get(key).as_deref(),
        Some("{\"android\":{\"version\":\"2.1\"}}")
    );
    fs::write(&file, "{\"android\": ").unwrap();
    assert_eq!(relay.get(key), None);
}

#[test]
fn turn_credentials_come_with_host_and_port() {
    let relay = Relay::new();
    let listener = std::os::unix::net::UnixListener::bind(relay.base.path().join("turn")).unwrap();
    let value = thread::scope(|scope| {
        scope.spawn(|| {
            std::io::Write::write_all(&mut listener.accept().unwrap().0, b"1775324677:secret\n")
        });
        relay.get("/shared/vendor/deltachat/turn")
    });
    assert_eq!(
        value.as_deref(),
        Some("chat.example:3478:1775324677:secret")
    );
}

#[test]
fn dovecots_keys_are_those_of_the_clients() {
    let server = b"vendor/vendor.dovecot/pvt/server/vendor/deltachat/";
    let shared = |name: &[u8]| {
        dict_key(
            &[
                &b"shared/43f5f508a7ea0366dff30200c15250e3/"[..],
                server,
                name,
            ]
            .concat(),
        )
    };
    assert_eq!(
        dict_key(b"priv/43f5f508a7ea0366dff30200c15250e3/devicetoken"),
        Some(Key::DeviceToken)
    );
    assert_eq!(shared(b"irohrelay"), Some(Key::IrohRelay));
    assert_eq!(shared(b"turn"), Some(Key::Turn));
    assert_eq!(shared(b"maxsmtprecipients"), Some(Key::MaxSmtpRecipients));
    assert_eq!(shared(b"appversions"), Some(Key::AppVersions));
    assert_eq!(shared(b"other"), None);
    for bad in [
        &b""[..],
        b"priv",
        b"priv/",
        b"priv/guid",
        b"priv/guid/",
        b"priv//devicetoken",
        b"priv/guid/x/devicetoken",
        b"shared/guid/devicetoken",
        b"shared/guid/vendor/deltachat/turn",
        b"devicetoken",
        b"/private/devicetoken",
    ] {
        assert_eq!(dict_key(bad), None);
    }
    assert_eq!(
        Key::of_client("/Shared/Vendor/deltachat/TURN"),
        Some(Key::Turn)
    );
}

proptest! {
    #[test]
    fn any_file_is_read_or_refused(
        text in prop_oneof![
            any::<String>(),
            "\\{\"devicetoken\": ?[\\[{](\"[a-c]\"[:,] ?[-0-9.e\"]{1,8},?){0,3}[\\]}]\\}",
        ]
    ) {
        let relay = Relay::new();
        fs::write(relay.file(), &text).unwrap();
        let tokens = DeviceTokens::of(&relay.alice());
        match tokens.valid(at(NOW)) {
            Ok(valid) => {
                tokens.add("d", at(NOW)).unwrap();
                let mut expected = valid;
                expected.push("d".to_owned());
                expected.sort();
                expected.dedup();
                prop_assert_eq!(tokens.valid(at(NOW)).unwrap(), expected);
            }
            Err(_) => {
                prop_assert!(tokens.add("d", at(NOW)).is_err());
                prop_assert_eq!(fs::read_to_string(relay.file()).unwrap(), text);
            }
        }
    }

    #[test]
    fn any_key_of_dovecot_is_known_or_not(key in "(priv|shared|[a-z]{0,4})/[a-z0-9/]{0,4}/?(devicetoken|turn)?") {
        let known = key.starts_with("priv/") && key.split('/').count() == 3 && !key.contains("//") && key.ends_with("/devicetoken");
        prop_assert_eq!(dict_key(key.as_bytes()), known.then_some(Key::DeviceToken));
    }
}
