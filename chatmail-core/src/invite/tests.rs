use super::*;
use proptest::prelude::*;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;

struct Relay {
    base: tempfile::TempDir,
}

impl Relay {
    fn new() -> Relay {
        Relay {
            base: tempfile::tempdir().unwrap(),
        }
    }

    /// As another process sees them.
    fn invites(&self) -> Invites {
        let domain = MailDomain::parse("chat.example").unwrap();
        Invites::new(&Mailboxes::new(self.base.path().to_owned(), domain))
    }

    fn file(&self) -> std::path::PathBuf {
        self.base.path().join(".chatmail/invites")
    }

    fn redeem(&self, token: &str) -> Result<(), NotInvited> {
        let redeemed = self
            .invites()
            .redeem(token, SystemTime::now(), || Ok(Ok(())));
        redeemed.unwrap()
    }
}

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn an_invitation_is_kept_for_the_mail_user_alone() {
    let relay = Relay::new();
    let invites = relay.invites();
    assert_eq!(invites.list().unwrap(), []);
    let end = UNIX_EPOCH + Duration::from_secs(4_000_000_000);
    let first = invites.create(Some(3), Some(end)).unwrap();
    let second = relay.invites().create(None, None).unwrap();
    assert_ne!(first.token, second.token);
    assert!(is_token(&first.token) && is_token(&second.token));
    assert_eq!(invites.list().unwrap(), [first.clone(), second]);
    assert_eq!(
        (first.used, first.uses, first.expires),
        (0, Some(3), Some(end))
    );
    let mode = fs::metadata(relay.file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
    let domain = MailDomain::parse("203.0.113.7").unwrap();
    let link = format!("dcaccount:https://203.0.113.7/new?token={}", first.token);
    assert_eq!(first.link(&domain), link);
}

#[test]
fn the_token_stays_out_of_debug_output_and_errors() {
    let relay = Relay::new();
    let invite = relay.invites().create(None, None).unwrap();
    assert!(!format!("{invite:?}").contains(&invite.token));
    let mut text = fs::read_to_string(relay.file()).unwrap();
    text.truncate(text.len() - 3);
    fs::write(relay.file(), text).unwrap();
    let error = relay.invites().list().unwrap_err().to_string();
    assert!(error.contains(".chatmail/invites: line 2"), "{error}");
    assert!(!error.contains(&invite.token), "{error}");
}

#[test]
fn a_use_counts_when_something_was_made() {
    let relay = Relay::new();
    let invite = relay.invites().create(Some(1), None).unwrap();
    let now = SystemTime::now();
    let redeem = |make: io::Result<Result<(), NotInvited>>| {
        relay.invites().redeem(&invite.token, now, || make)
    };
    redeem(Err(io::Error::other("disk"))).unwrap_err();
    assert_eq!(
        redeem(Ok(Err(NotInvited::Expired))).unwrap(),
        Err(NotInvited::Expired)
    );
    assert_eq!(relay.invites().list().unwrap()[0].used, 0);
    assert_eq!(redeem(Ok(Ok(()))).unwrap(), Ok(()));
    let called = std::cell::Cell::new(false);
    let again = relay.invites().redeem(&invite.token, now, || {
        called.set(true);
        Ok(Ok::<_, NotInvited>(()))
    });
    assert_eq!(again.unwrap(), Err(NotInvited::UsedUp));
    assert!(!called.get());
    let left: Vec<_> = fs::read_dir(relay.file().parent().unwrap())
        .unwrap()
        .collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn an_invitation_ends_at_its_time() {
    let relay = Relay::new();
    let end = whole_seconds(SystemTime::now()) + DAY;
    let invite = relay.invites().create(None, Some(end)).unwrap();
    let check = |now| relay.invites().check(&invite.token, now).unwrap();
    assert_eq!(check(end - Duration::from_secs(1)), Ok(()));
    assert_eq!(check(end), Err(NotInvited::Expired));
}

#[test]
fn a_revoked_invitation_is_unknown() {
    let relay = Relay::new();
    let [kept, revoked] = [(); 2].map(|()| relay.invites().create(None, None).unwrap());
    assert!(relay.invites().revoke(&revoked.token).unwrap());
    assert!(!relay.invites().revoke(&revoked.token).unwrap());
    assert!(!relay.invites().revoke("").unwrap());
    assert_eq!(relay.redeem(&revoked.token), Err(NotInvited::Unknown));
    assert_eq!(relay.redeem(&kept.token), Ok(()));
}

#[test]
fn those_that_are_over_for_long_are_forgotten() {
    let now = SystemTime::now();
    let invite = |used, age: u32| Invite {
        token: random_text(TOKEN_ALPHABET, TOKEN_LENGTH).unwrap(),
        used,
        uses: Some(1),
        created: whole_seconds(now - DAY * age),
        expires: None,
    };
    let relay = Relay::new();
    relay.invites().list().unwrap();
    let all = [invite(1, 100), invite(0, 100), invite(1, 80)];
    fs::write(relay.file(), text(&all)).unwrap();
    let new = relay.invites().create(None, None).unwrap();
    let [_, unused, young] = all;
    assert_eq!(relay.invites().list().unwrap(), [unused, young, new]);
}

#[test]
fn there_is_an_end_to_their_number() {
    let relay = Relay::new();
    let one = relay.invites().create(None, None).unwrap();
    fs::write(relay.file(), text(&vec![one; MOST])).unwrap();
    assert!(relay.invites().create(None, None).is_err());
    assert_eq!(relay.invites().list().unwrap().len(), MOST);
}

#[test]
fn many_processes_use_one_up_together() {
    let relay = Relay::new();
    let invite = relay.invites().create(Some(5), None).unwrap();
    let redeemed = thread::scope(|scope| {
        let threads: Vec<_> = (0..20)
            .map(|_| scope.spawn(|| relay.redeem(&invite.token)))
            .collect();
        let answers = threads.into_iter().map(|thread| thread.join().unwrap());
        answers.filter(Result::is_ok).count()
    });
    assert_eq!(redeemed, 5);
    assert_eq!(relay.invites().list().unwrap()[0].used, 5);
}

#[test]
fn a_file_of_another_version_lets_nobody_in() {
    let relay = Relay::new();
    let invite = relay.invites().create(None, None).unwrap();
    let text = fs::read_to_string(relay.file()).unwrap();
    fs::write(relay.file(), text.replace("invites 1", "invites 2")).unwrap();
    assert!(
        relay
            .invites()
            .check(&invite.token, SystemTime::now())
            .is_err()
    );
    assert!(relay.invites().create(None, None).is_err());
    assert!(
        fs::read_to_string(relay.file())
            .unwrap()
            .contains(&invite.token)
    );
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        list in proptest::collection::vec(
            ("[0-9A-Za-z]{22}", any::<u32>(), any::<Option<u32>>(), 0..1_u64 << 40, proptest::option::of(0..1_u64 << 40)),
            0..5,
        )
    ) {
        let list: Vec<_> = list.into_iter().map(|(token, used, uses, created, expires)| Invite {
            token,
            used,
            uses,
            created: time(created).unwrap(),
            expires: expires.map(|expires| time(expires).unwrap()),
        }).collect();
        prop_assert_eq!(parse(&text(&list)), Ok(list));
    }

    #[test]
    fn any_file_is_a_list_or_not(
        bytes in prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..200),
            "chatmail invites 1\n([0-9A-Za-z]{22} [0-9-]{1,22} [0-9-]{1,22} [0-9-]{1,22} [0-9-]{1,22}\n?){0,3}".prop_map(String::into_bytes),
        ]
    ) {
        if let Ok(list) = parse(&bytes) {
            prop_assert_eq!(parse(&text(&list)), Ok(list));
        }
    }
}
