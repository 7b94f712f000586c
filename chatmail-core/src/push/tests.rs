use super::*;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

const NOW: u64 = 1_775_324_677;

struct Relay {
    base: tempfile::TempDir,
    config: Config,
}

impl Relay {
    fn new() -> Relay {
        let base = tempfile::tempdir().unwrap();
        let ini = format!(
            "[params]\nmail_domain = chat.example\nmailboxes_dir = {}/mail\n",
            base.path().display()
        );
        let config = Config::parse(Path::new("chatmail.ini"), &ini).unwrap();
        Relay { base, config }
    }

    fn spool(&self) -> PathBuf {
        self.base.path().join("mail/pending_notifications")
    }

    /// Alice has these tokens.
    fn with_tokens(tokens: &[&str]) -> Relay {
        let relay = Relay::new();
        let address = Address::parse(b"alice@chat.example", &relay.config.mail_domain).unwrap();
        let mailbox = relay.config.mailboxes().mailbox(&address);
        fs::create_dir_all(mailbox.path()).unwrap();
        for token in tokens {
            DeviceTokens::of(&mailbox).add(token, at(NOW)).unwrap();
        }
        relay
    }

    fn notify(&self, recipient: &str, from: &str) -> usize {
        self.notify_at(recipient, from, NOW).devices
    }

    fn notify_at(&self, recipient: &str, from: &str, seconds: u64) -> Notified {
        let now = at(seconds);
        notify_recipient(&self.config, recipient.as_bytes(), from.as_bytes(), now).unwrap()
    }

    /// As the client would.
    fn set_token(&self, token: &str) {
        let metadata = crate::metadata::Metadata::new(&self.config);
        let key = "/private/devicetoken";
        metadata
            .set(b"alice@chat.example", key, token.as_bytes(), at(NOW))
            .unwrap();
    }

    /// The service has claimed a notification and waits for the answer to it.
    fn claim(&self, pending: &Pending) {
        let name = pending.path.file_name().unwrap().to_str().unwrap();
        let claimed = SpoolName::parse(name).unwrap().claimed();
        fs::rename(&pending.path, self.spool().join(claimed.to_string())).unwrap();
    }

    fn pending(&self) -> Vec<Pending> {
        let spool = Spool::open(&self.spool()).unwrap();
        let mut pending: Vec<_> = spool.pending().unwrap().map(Result::unwrap).collect();
        pending.sort_by(|a, b| a.token.cmp(&b.token));
        pending
    }
}

#[test]
fn new_mail_notifies_each_device_of_its_recipient() {
    let relay = Relay::with_tokens(&["openpgp:one", "openpgp:two"]);
    assert_eq!(
        relay.notify("Alice@chat.example", "Bob <bob@chat.example>"),
        2
    );
    let pending = relay.pending();
    assert_eq!(pending.len(), 2);
    assert_eq!(pending[0].address, "alice@chat.example");
    assert_eq!(pending[0].since, at(NOW));
    assert_eq!(pending[0].token, "openpgp:one");
    assert_eq!(
        fs::read_to_string(&pending[1].path).unwrap(),
        format!("alice@chat.example\n{NOW}\nopenpgp:two")
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(
        (mode(&relay.spool()), mode(&pending[0].path)),
        (0o700, 0o600)
    );
}

#[test]
fn a_notification_that_waits_is_replaced_by_the_next_for_its_device() {
    let relay = Relay::with_tokens(&["openpgp:one", "openpgp:two"]);
    let notify = |seconds| relay.notify_at("alice@chat.example", "", seconds);
    assert_eq!(
        notify(NOW),
        Notified {
            devices: 2,
            merged: 0
        }
    );
    assert_eq!(
        notify(NOW + 9),
        Notified {
            devices: 2,
            merged: 2
        }
    );
    let pending = relay.pending();
    assert_eq!(pending.len(), 2);
    // The deadline is that of the last message.
    assert!(pending.iter().all(|pending| pending.since == at(NOW + 9)));
}

#[test]
fn a_message_while_a_notification_is_on_its_way_has_one_of_its_own() {
    let relay = Relay::with_tokens(&["openpgp:one"]);
    relay.notify("alice@chat.example", "");
    relay.claim(&relay.pending()[0]);
    for (seconds, merged) in [(NOW + 1, 0), (NOW + 2, 1)] {
        let notified = relay.notify_at("alice@chat.example", "", seconds);
        assert_eq!(notified, Notified { devices: 1, merged });
        let mut times: Vec<_> = relay
            .pending()
            .iter()
            .map(|pending| pending.since)
            .collect();
        times.sort();
        assert_eq!(times, [at(NOW), at(seconds)]);
    }
}

#[test]
fn a_mailbox_that_changes_its_tokens_all_the_time_does_not_fill_the_spool() {
    let relay = Relay::with_tokens(&[]);
    for number in 0..100 {
        relay.set_token(&format!("token{number}"));
        relay.notify("alice@chat.example", "");
        // The push service is slow with all of them.
        let newest = format!("token{number}");
        let pending = relay.pending();
        relay.claim(
            pending
                .iter()
                .find(|pending| pending.token == newest)
                .unwrap(),
        );
    }
    let pending = relay.pending();
    let kept = crate::metadata::TOKENS_MAX;
    // Each but the last one was claimed once and spooled again.
    assert_eq!(pending.len(), 2 * kept - 1, "{pending:?}");
    let devices: std::collections::BTreeSet<_> =
        pending.iter().map(|pending| &pending.token).collect();
    assert_eq!(devices.len(), kept);
}

#[test]
fn a_token_that_was_removed_is_not_notified_any_more() {
    let relay = Relay::with_tokens(&["openpgp:one"]);
    relay.notify("alice@chat.example", "");
    let mut changes = crate::metadata::Changes::new();
    changes.remove(Some(crate::metadata::Key::DeviceToken));
    crate::metadata::Metadata::new(&relay.config)
        .store(b"alice@chat.example", &changes, at(NOW))
        .unwrap();
    assert!(relay.pending().is_empty());
}

#[test]
fn mail_from_the_recipient_itself_notifies_nobody() {
    let relay = Relay::with_tokens(&["openpgp:one"]);
    for from in [
        "alice@chat.example",
        " Alice <ALICE@Chat.Example>\r\n",
        "\"bob@chat.example\" <alice@chat.example>",
    ] {
        assert_eq!(relay.notify("alice@chat.example", from), 0);
    }
    assert!(!relay.spool().exists());
    for from in [
        "",
        "malice@chat.example",
        "\"alice@chat.example\" <bob@chat.example>",
        "alice@chat.example, bob@chat.example",
    ] {
        assert_eq!(relay.notify("alice@chat.example", from), 1, "{from}");
    }
}

#[test]
fn without_a_valid_token_there_is_nothing_to_do() {
    let relay = Relay::with_tokens(&["openpgp:old"]);
    let later = at(NOW + 91 * 86_400);
    assert_eq!(
        notify_recipient(&relay.config, b"alice@chat.example", b"", later).unwrap(),
        Notified::default()
    );
    assert_eq!(relay.notify("bob@chat.example", ""), 0);
    assert_eq!(relay.notify("../alice@chat.example", ""), 0);
    assert_eq!(relay.notify("alice@other.example", ""), 0);
    assert!(!relay.spool().exists());
}

#[test]
fn tokens_that_cannot_be_read_are_an_error_and_not_silence() {
    let relay = Relay::with_tokens(&[]);
    fs::write(
        relay
            .base
            .path()
            .join("mail/alice@chat.example/metadata.json"),
        "{\"dev",
    )
    .unwrap();
    let error = notify_recipient(&relay.config, b"alice@chat.example", b"", at(NOW)).unwrap_err();
    assert!(
        error.to_string().contains("metadata.json: not JSON"),
        "{error}"
    );
}

#[test]
fn a_notification_that_is_done_is_gone() {
    let relay = Relay::with_tokens(&["openpgp:one"]);
    relay.notify("alice@chat.example", "");
    let pending = relay.pending().remove(0);
    pending.clone().done().unwrap();
    assert!(relay.pending().is_empty());
    pending.clone().done().unwrap();
    assert!(Pending::read(pending.path).unwrap().is_none());
}

#[test]
fn what_is_no_notification_is_named_and_leaves_the_rest_alone() {
    let base = tempfile::tempdir().unwrap();
    let spool = Spool::open(&base.path().join("spool")).unwrap();
    spool.add("a@x", "token\nwith a line", at(NOW)).unwrap();
    for (name, content) in [
        ("empty", ""),
        ("two", "a@x\n12"),
        ("time", "a@x\nnoon\ntoken"),
        ("negative", "a@x\n-1\ntoken"),
        ("huge", "a@x\n18446744073709551615\ntoken"),
        ("no-token", "a@x\n12\n"),
        ("no-address", "\n12\ntoken"),
        ("half.tmp", "a@x"),
    ] {
        fs::write(spool.dir().join(name), content).unwrap();
    }
    fs::write(spool.dir().join("bytes"), b"a@x\n12\n\xff").unwrap();
    fs::write(
        spool.dir().join("long"),
        "a@x\n12\n".to_owned() + &"t".repeat(40_000),
    )
    .unwrap();
    fs::create_dir(spool.dir().join("dir")).unwrap();

    let (good, bad): (Vec<_>, Vec<_>) = spool.pending().unwrap().partition(Result::is_ok);
    assert_eq!(good.len(), 1);
    assert_eq!(good[0].as_ref().unwrap().token, "token\nwith a line");
    let mut bad: Vec<String> = bad
        .into_iter()
        .map(|bad| {
            let bad = bad.unwrap_err();
            assert_eq!(bad.path.parent(), Some(spool.dir()));
            let name = bad.path.file_name().unwrap().to_str().unwrap();
            assert!(bad.damaged, "{name} will never be any better");
            name.to_owned()
        })
        .collect();
    bad.sort();
    assert_eq!(
        bad,
        [
            "bytes",
            "dir",
            "empty",
            "huge",
            "long",
            "negative",
            "no-address",
            "no-token",
            "time",
            "two"
        ]
    );
}

#[test]
fn half_written_files_are_removed_once_nobody_can_be_writing_them() {
    let base = tempfile::tempdir().unwrap();
    let spool = Spool::open(base.path()).unwrap();
    let kept = spool.add("a@x", "token", at(NOW)).unwrap().path;
    let tmp = base.path().join("4711.tmp");
    fs::write(&tmp, "a@x").unwrap();
    let written = fs::metadata(&tmp).unwrap().modified().unwrap();
    let removed = |path: &Path, now| spool.remove_leftover(path, now).unwrap();
    assert!(!removed(&tmp, written + Duration::from_secs(59)));
    assert!(!removed(&tmp, written - Duration::from_secs(5)));
    assert!(!removed(&kept, written + Duration::from_secs(60)));
    assert!(removed(&tmp, written + Duration::from_secs(60)));
    assert!(
        !removed(&tmp, written + Duration::from_secs(60)),
        "it is gone"
    );
    assert!(!tmp.exists() && kept.exists());
}

#[test]
fn nothing_that_is_printed_holds_a_token() {
    let relay = Relay::with_tokens(&["openpgp:one"]);
    relay.notify("alice@chat.example", "");
    assert!(!format!("{:?}", relay.pending()).contains("openpgp"));
}

proptest! {
    #[test]
    fn any_file_is_a_notification_or_not(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..80),
            "[a@./\n]{0,6}\n?[0-9 -]{0,22}\n?[\\PC]{0,6}".prop_map(String::into_bytes),
        ]
    ) {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("file");
        fs::write(&path, &bytes).unwrap();
        if let Ok(Some(pending)) = Pending::read(path) {
            prop_assert!(!pending.address.contains('\n') && !pending.address.is_empty());
            prop_assert!(bytes.ends_with(pending.token.as_bytes()));
        }
    }

    #[test]
    fn what_is_spooled_is_what_is_read(token in "[ -~]{1,200}", seconds in 0..4_000_000_000_u64) {
        let base = tempfile::tempdir().unwrap();
        let spool = Spool::open(base.path()).unwrap();
        let path = spool.add("alice@chat.example", &token, at(seconds)).unwrap().path;
        let expected = Pending { path: path.clone(), address: "alice@chat.example".to_owned(), since: at(seconds), token };
        prop_assert_eq!(Pending::read(path).unwrap(), Some(expected));
    }
}
