use super::*;
use chatmail_core::address::MailDomain;
use chatmail_core::auth::hash_password;
use std::fs;
use std::path::PathBuf;

struct Relay {
    base: tempfile::TempDir,
    mailboxes: Mailboxes,
}

impl Relay {
    fn new() -> Relay {
        let base = tempfile::tempdir().expect("a directory");
        let domain = MailDomain::parse("chat.example").expect("a domain");
        let mailboxes = Mailboxes::new(base.path().join("mail"), domain);
        Relay { base, mailboxes }
    }

    fn address(&self, localpart: &str) -> Address {
        let address = format!("{localpart}@chat.example");
        Address::parse(address.as_bytes(), self.mailboxes.domain()).expect("an address")
    }

    fn path(&self, localpart: &str) -> PathBuf {
        let mailbox = self.mailboxes.mailbox(&self.address(localpart));
        mailbox.path().to_owned()
    }

    /// An account with a message whose name is too long for the oldest tar format.
    fn account(&self, localpart: &str) {
        let mailbox = self.mailboxes.mailbox(&self.address(localpart));
        let hash = hash_password(b"correct horse").expect("a hash");
        mailbox
            .create(&hash, SystemTime::now())
            .expect("an account");
        let message = mailbox.path().join(".DeltaChat/cur");
        fs::create_dir_all(&message).expect("a folder");
        fs::write(message.join(long_name()), vec![b'x'; 3000]).expect("a message");
    }

    fn export(&self, localpart: &str) -> Vec<u8> {
        let mut stream = Vec::new();
        let address = self.address(localpart);
        let moved = export(&self.mailboxes, &address, &mut stream, &mut |_| {});
        assert_eq!(moved.expect("an export").expect("an account").messages, 1);
        stream
    }

    fn import(&self, stream: &[u8], to: &str) -> Result<Moved, NotImported> {
        let address = self.address(to);
        import(&self.mailboxes, Some(&address), stream, &mut |_| {})
    }

    /// What is in MAILBOXES_DIR.
    fn names(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.base.path().join("mail")) else {
            return Vec::new();
        };
        let names = entries.map(|entry| entry.expect("an entry").file_name());
        let mut names: Vec<_> = names
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

fn long_name() -> String {
    format!(
        "1775324677.M44P30.{}.example,S=3000:2,RS",
        "host".repeat(30)
    )
}

/// A stream of these entries, between the first and the last one of an export.
fn stream(entries: &[(&[u8], EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let begin = Begin {
        version: VERSION,
        address: "alice@chat.example".to_owned(),
    };
    note(&mut builder, BEGIN, &begin).expect("begin");
    let mut end = End { files: 0, bytes: 0 };
    for (path, kind, content) in entries {
        let mut header = header(content.len() as u64, UNIX_EPOCH);
        header.set_entry_type(*kind);
        // As it stands: the library refuses to write most of these.
        header.as_old_mut().name[..path.len()].copy_from_slice(path);
        if kind.is_symlink() || kind.is_hard_link() {
            header.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
        }
        header.set_cksum();
        builder.append(&header, *content).expect("an entry");
        end.files += 1;
        end.bytes += content.len() as u64;
    }
    note(&mut builder, END, &end).expect("end");
    builder.into_inner().expect("a stream")
}

#[test]
fn an_account_comes_back_as_it_was() {
    let relay = Relay::new();
    relay.account("alice");
    let stream = relay.export("alice");
    assert!(matches!(
        relay.import(&stream, "alice"),
        Err(NotImported::Exists(_))
    ));
    let other = Relay::new();
    let to = import(&other.mailboxes, None, &*stream, &mut |_| {}).expect("an import");
    assert_eq!(
        (to.address.as_str(), to.messages),
        ("alice@chat.example", 1)
    );
    relay.import(&stream, "bob").expect("an import");
    for path in [other.path("alice"), relay.path("bob")] {
        let message = path.join(".DeltaChat/cur").join(long_name());
        assert_eq!(fs::read(message).expect("a message"), vec![b'x'; 3000]);
        assert_eq!(
            fs::read(path.join("password")).expect("a password"),
            fs::read(relay.path("alice").join("password")).expect("a password")
        );
        assert!(path.join("enforceE2EEincoming").exists());
    }
    assert_eq!(relay.names(), ["alice@chat.example", "bob@chat.example"]);
}

#[test]
fn a_stream_that_is_cut_off_anywhere_leaves_nothing() {
    let relay = Relay::new();
    relay.account("alice");
    let stream = relay.export("alice");
    let other = Relay::new();
    // The last 1024 bytes only say that nothing follows.
    let whole = stream.len() - 1024;
    // Also between two entries, where tar notices nothing.
    for length in (0..whole).step_by(97).chain((0..whole).step_by(512)) {
        let error = other.import(&stream[..length], "bob").expect_err("cut off");
        assert!(
            matches!(error, NotImported::Damaged(_)),
            "{length}: {error}"
        );
        assert_eq!(other.names(), [""; 0], "{length}");
    }
    other
        .import(&stream[..stream.len() - 1024], "bob")
        .expect("whole");
}

#[test]
fn nothing_but_a_mailbox_is_imported() {
    use EntryType::{Block, Char, Directory, Fifo, Link, Regular, Symlink};
    let relay = Relay::new();
    let hash = hash_password(b"correct horse").expect("a hash");
    let password: (&[u8], EntryType, &[u8]) = (b"password", Regular, hash.as_bytes());
    relay
        .import(&stream(&[password]), "good")
        .expect("a mailbox");
    let bad: &[(&[u8], EntryType, &[u8])] = &[
        (b"../x@chat.example/password", Regular, b"x"),
        (b"/etc/passwd", Regular, b"x"),
        (b"/tmp/chatmail-x", Regular, b"x"),
        (b"cur/../../x", Regular, b"x"),
        (b"cur/.hidden", Regular, b"x"),
        (b"cur/1.h", Symlink, b""),
        (b"cur/1.h", Link, b""),
        (b"password", Symlink, b""),
        (b"cur", Directory, b""),
        (b".Folder", Directory, b""),
        (b"cur/1.h", Char, b""),
        (b"cur/1.h", Block, b""),
        (b"cur/1.h", Fifo, b""),
        (b".ssh/authorized_keys", Regular, b"x"),
        (b"dovecot.index.log", Regular, b"x"),
        (b"maildirsize", Regular, b"x"),
        (b"password", Regular, b"twice"),
        (b"chatmail-export", Regular, b"{}"),
        (b"metadata.json", Regular, b"{\"devicetoken\": 7}"),
    ];
    for entry in bad {
        let error = relay.import(&stream(&[password, *entry]), "bad");
        let error = error.expect_err("refused");
        let path = entry.0.escape_ascii();
        assert!(matches!(error, NotImported::Damaged(_)), "{path}: {error}");
        assert_eq!(relay.names(), ["good@chat.example"], "{path}");
    }
    assert!(!Path::new("/tmp/chatmail-x").exists());
    let cut: (&[u8], EntryType, &[u8]) = (b"password", Regular, &hash.as_bytes()[..50]);
    for entries in [&[][..], &[cut], &[(b"cur/1.h", Regular, b"x")]] {
        let error = relay.import(&stream(entries), "bad").expect_err("refused");
        assert!(matches!(error, NotImported::Damaged(_)), "{error}");
    }
    assert_eq!(relay.names(), ["good@chat.example"]);
}

#[test]
fn what_is_no_export_is_told_from_one() {
    let relay = Relay::new();
    for stream in [&b""[..], b"x", &[b'x'; 2048], &[0; 2048]] {
        let error = relay.import(stream, "bad").expect_err("refused");
        assert!(matches!(error, NotImported::Damaged(_)), "{error}");
    }
    let mut other = Builder::new(Vec::new());
    let begin = Begin {
        version: VERSION,
        address: "alice@other.example".to_owned(),
    };
    note(&mut other, BEGIN, &begin).expect("begin");
    let other = other.into_inner().expect("a stream");
    let error = import(&relay.mailboxes, None, &*other, &mut |_| {}).expect_err("refused");
    assert!(
        matches!(error, NotImported::Unfit(_, AddressError::Foreign)),
        "{error}"
    );
    assert_eq!(relay.names(), [""; 0]);
}

#[test]
fn bytes_that_were_changed_are_refused_or_imported_and_never_anything_else() {
    let relay = Relay::new();
    relay.account("alice");
    let stream = relay.export("alice");
    let other = Relay::new();
    for at in (0..stream.len()).step_by(61) {
        let mut changed = stream.clone();
        changed[at] ^= 0x15;
        let names: &[&str] = match other.import(&changed, "bob") {
            Ok(_) => &["bob@chat.example"],
            Err(_) => &[],
        };
        assert_eq!(other.names(), names, "{at}");
        let _ = fs::remove_dir_all(other.path("bob"));
    }
}
