use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::fs::{self, File, FileTimes};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

const NOW: u64 = 1_775_324_677;
const HOUR: u64 = 3600;
const DAY: u64 = 24 * HOUR;

struct Home {
    dir: tempfile::TempDir,
    mailbox: Mailbox,
}

impl Home {
    fn new() -> Home {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("alice@chat.example");
        let home = Home {
            dir,
            mailbox: Mailbox { path },
        };
        for name in ["cur", "new", "tmp"] {
            fs::create_dir_all(home.path(name)).unwrap();
        }
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.mailbox.path.join(name)
    }

    /// An empty file of that name, in a folder that is made if need be.
    fn file(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "").unwrap();
        path
    }

    /// A message of that age (seconds) and size, as Dovecot names it.
    fn message(&self, folder: &str, age: u64, size: u64, flags: &str) -> PathBuf {
        self.file(&format!("{folder}/{}", name(age, size, flags)))
    }

    /// What Dovecot would have counted.
    fn counted(&self, bytes: u64) {
        fs::write(self.path("maildirsize"), format!("1000000S\n{bytes} 1\n")).unwrap();
    }

    fn trim(&self, limit: u64) -> Trimmed {
        self.mailbox.trim(limit, now()).unwrap()
    }

    fn files(&self) -> BTreeSet<PathBuf> {
        let mut files = files(&self.mailbox.path);
        files.remove(&self.path("trim-not-before"));
        files
    }

    /// When the mailbox is looked through next, in seconds from now.
    fn next_look(&self) -> Option<u64> {
        let note = fs::metadata(self.path("trim-not-before")).ok()?;
        let time = note.modified().unwrap();
        Some(time.duration_since(now()).unwrap().as_secs())
    }

    /// In so many seconds.
    fn trim_in(&self, seconds: u64, limit: u64) -> Trimmed {
        let then = now() + Duration::from_secs(seconds);
        self.mailbox.trim(limit, then).unwrap()
    }
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn name(age: u64, size: u64, flags: &str) -> String {
    format!("{}.M0P30.host,S={size},W={size}{flags}", NOW - age)
}

fn files(dir: &Path) -> BTreeSet<PathBuf> {
    let mut found = BTreeSet::new();
    for entry in fs::read_dir(dir).unwrap() {
        let entry = entry.unwrap();
        match entry.file_type().unwrap().is_dir() {
            true => found.extend(files(&entry.path())),
            false => drop(found.insert(entry.path())),
        }
    }
    found
}

#[test]
fn the_oldest_go_until_seventy_per_cent_are_left() {
    let home = Home::new();
    let messages: Vec<_> = (1..=8)
        .map(|days| home.message("cur", days * DAY, 100_000, ":2,S"))
        .collect();
    home.counted(800_000);
    let expected = Trimmed {
        messages: 1,
        bytes: 100_000,
    };
    assert_eq!(home.trim(1_000_000), expected);
    assert_eq!(home.files(), messages[..7].iter().cloned().collect());
}

#[test]
fn up_to_three_quarters_nothing_goes() {
    let home = Home::new();
    home.message("cur", 5 * DAY, 750_000, ":2,S");
    home.counted(750_000);
    assert_eq!(home.trim(1_000_000), Trimmed::default());
    assert!(home.path("maildirsize").exists());

    home.message("new", 2 * DAY, 1, "");
    home.counted(750_001);
    assert_eq!(home.trim(1_000_000).bytes, 750_000);
    assert_eq!(home.files().len(), 1);
}

#[test]
fn large_messages_that_were_seen_go_before_older_ones() {
    let home = Home::new();
    let large = home.message("cur", 2 * DAY, 200_001, ":2,FS");
    let kept = [
        home.message("cur", 9 * DAY, 200_000, ":2,S"),
        home.message("cur", 9 * DAY, 200_002, ":2,F"),
        home.message("new", 9 * DAY, 200_003, ""),
    ];
    home.counted(800_006);
    assert_eq!(home.trim(1_000_000).messages, 1);
    assert!(!large.exists());
    assert_eq!(home.files(), kept.into());
}

#[test]
fn the_last_day_stays_however_full_the_mailbox_is() {
    let home = Home::new();
    let kept = [
        home.message("cur", DAY - 1, 900_000, ":2,S"),
        home.message("new", 0, 900_000, ""),
    ];
    home.counted(1_800_000);
    assert_eq!(home.trim(1_000_000), Trimmed::default());
    assert!(home.path("maildirsize").exists());

    let old = home.message("cur", DAY + 1, 1, ":2,");
    fs::remove_file(home.path("trim-not-before")).unwrap();
    assert_eq!(home.trim(1_000_000).messages, 1);
    assert!(!old.exists());
    assert_eq!(home.files(), kept.into());
}

#[test]
fn a_mailbox_full_of_the_last_day_is_looked_through_when_the_oldest_may_go() {
    let home = Home::new();
    let oldest = home.message("cur", DAY - HOUR, 300_000, ":2,S");
    let kept = home.message("new", 0, 600_000, "");
    home.counted(900_000);
    assert_eq!(home.trim(1_000_000), Trimmed::default());
    assert_eq!(home.next_look(), Some(HOUR));

    // Nobody looks until then: this one would go.
    let old = home.message("cur", 2 * DAY, 1, ":2,");
    assert_eq!(home.trim_in(HOUR - 1, 1_000_000), Trimmed::default());
    assert_eq!(home.trim_in(HOUR, 1_000_000).messages, 1);
    assert!(!oldest.exists());
    assert_eq!(home.files(), [kept, old].into());
}

#[test]
fn while_messages_become_old_enough_one_by_one_a_look_takes_a_hundredth_of_the_time() {
    let took = Duration::from_millis(250);
    let rest = now() + Duration::from_secs(25);
    let oldest = |age| Some(now() - Duration::from_secs(age));
    assert_eq!(next_look(now(), took, oldest(DAY - 1)), rest);
    assert_eq!(next_look(now(), took, None), rest);
    let later = now() + Duration::from_secs(26);
    assert_eq!(next_look(now(), took, oldest(DAY - 26)), later);
}

#[test]
fn a_note_that_cannot_be_true_is_nothing_to_go_by() {
    for wrong in [now() + Duration::from_secs(DAY + 1), now(), UNIX_EPOCH] {
        let home = Home::new();
        let note = File::create(home.path("trim-not-before")).unwrap();
        note.set_times(FileTimes::new().set_modified(wrong))
            .unwrap();
        home.message("cur", 2 * DAY, 900_000, ":2,S");
        home.counted(900_000);
        assert_eq!(home.trim(1_000_000).messages, 1, "{wrong:?}");
    }
}

#[test]
fn a_mailbox_that_could_be_trimmed_has_no_note() {
    let home = Home::new();
    home.message("cur", 2 * DAY, 900_000, ":2,S");
    home.counted(900_000);
    assert_eq!(home.trim(1_000_000).messages, 1);
    home.message("cur", 2 * DAY, 500_000, ":2,S");
    home.counted(900_000);
    assert_eq!(home.trim(1_000_000), Trimmed::default());
    assert_eq!(home.next_look(), None);
}

#[test]
fn a_mailbox_whose_note_cannot_be_written_is_trimmed() {
    let home = Home::new();
    symlink("/nowhere/note", home.path("trim-not-before")).unwrap();
    home.message("cur", 2 * DAY, 900_000, ":2,S");
    home.message("cur", 0, 900_000, ":2,S");
    home.counted(1_800_000);
    assert_eq!(home.trim(1_000_000).messages, 1);
}

#[test]
fn subfolders_count_and_are_trimmed_like_the_inbox() {
    let home = Home::new();
    let sent = home.message(".Sent/cur", 4 * DAY, 400_000, ":2,");
    let deep = home.message(".Sent.2026/new", 3 * DAY, 300_000, "");
    let inbox = home.message("cur", 2 * DAY, 300_000, ":2,");
    home.counted(1_000_000);
    assert_eq!(home.trim(1_000_000).messages, 1);
    assert!(!sent.exists() && deep.exists() && inbox.exists());
}

#[test]
fn the_count_is_made_anew_afterwards() {
    let home = Home::new();
    home.message("cur", 2 * DAY, 800_000, ":2,");
    home.counted(800_000);
    home.trim(1_000_000);
    assert_eq!(home.mailbox.usage().unwrap(), None);
    assert!(!home.path("maildirsize").exists());
    // Nobody has counted: nothing to go by.
    home.message("cur", 2 * DAY, 900_000, ":2,");
    assert_eq!(home.trim(1_000_000), Trimmed::default());
}

#[test]
fn a_count_that_is_too_high_costs_one_look() {
    let home = Home::new();
    let message = home.message("cur", 2 * DAY, 500_000, ":2,");
    home.counted(900_000);
    assert_eq!(home.trim(1_000_000), Trimmed::default());
    assert_eq!(home.files(), [message].into());
}

#[test]
fn no_limit_and_no_mailbox_are_no_work() {
    let home = Home::new();
    home.message("cur", 2 * DAY, 900_000, ":2,");
    home.counted(900_000);
    assert_eq!(home.trim(0), Trimmed::default());
    assert_eq!(home.trim(u64::MAX), Trimmed::default());
    let nobody = Mailbox {
        path: home.path("nobody"),
    };
    assert_eq!(nobody.trim(1, now()).unwrap(), Trimmed::default());
}

#[test]
fn names_that_tell_nothing_are_asked_from_the_file() {
    let home = Home::new();
    let at = |path: &Path, age, bytes| {
        let file = File::create(path).unwrap();
        file.set_len(bytes).unwrap();
        let time = now() - Duration::from_secs(age);
        file.set_times(FileTimes::new().set_modified(time)).unwrap();
    };
    let oldest = home.file("cur/letter");
    at(&oldest, 9 * DAY, 60_000);
    // A size that no message can have, and a time to come.
    let second = home.file(&format!("cur/{}.M1P1.h,S=9999999:2,", NOW + 1));
    at(&second, 8 * DAY, 50_000);
    let third = home.file(&format!("cur/{}.M1P1.h,S=x:2,", NOW - 7 * DAY));
    at(&third, 0, 40_000);
    let young = home.file("new/1234567");
    at(&young, HOUR, 650_000);
    home.counted(800_000);
    let expected = Trimmed {
        messages: 2,
        bytes: 110_000,
    };
    assert_eq!(home.trim(1_000_000), expected);
    assert_eq!(home.files(), [third, young].into());
}

#[test]
fn nothing_but_messages_is_touched() {
    let home = Home::new();
    let outside = home.dir.path().join("outside");
    let old = name(9 * DAY, 900_000, ":2,S");
    for dir in ["cur", "other@chat.example/cur"] {
        fs::create_dir_all(outside.join(dir)).unwrap();
        fs::write(outside.join(dir).join(&old), "").unwrap();
    }
    // Links out, in each place.
    symlink(outside.join("cur"), home.path(".Link")).unwrap();
    symlink(&outside, home.path(".Linked")).unwrap();
    fs::create_dir(home.path(".Half")).unwrap();
    symlink(outside.join("cur"), home.path(".Half/cur")).unwrap();
    symlink(outside.join("cur").join(&old), home.path("cur").join(&old)).unwrap();
    for name in [
        "password",
        "metadata.json",
        "dovecot-uidlist",
        "dovecot.index.log",
    ] {
        home.file(name);
    }
    home.message("tmp", 9 * DAY, 900_000, "");
    home.message(".Sent/tmp", 9 * DAY, 900_000, "");
    home.message("sub/cur", 9 * DAY, 900_000, ":2,S");
    home.file(&format!("cur/.{old}"));
    fs::create_dir(home.path(&format!("new/{old}"))).unwrap();
    let message = home.message("new", 9 * DAY, 900_000, "");
    let mut kept = home.files();
    kept.remove(&message);
    home.counted(900_000);
    assert_eq!(home.trim(1_000_000).messages, 1);
    assert_eq!(home.files(), kept);
    assert_eq!(files(&outside).len(), 2);
}

#[test]
fn a_mailbox_on_another_disk_is_trimmed_through_its_link() {
    let home = Home::new();
    let message = home.message("cur", 2 * DAY, 900_000, ":2,");
    home.counted(900_000);
    let link = home.dir.path().join("bob@chat.example");
    symlink(&home.mailbox.path, &link).unwrap();
    let mailbox = Mailbox { path: link };
    assert_eq!(mailbox.trim(1_000_000, now()).unwrap().messages, 1);
    assert!(!message.exists());
}

#[test]
fn two_deliveries_that_trim_at_once_remove_no_more_than_one_would() {
    let home = Home::new();
    for age in 1..=1000 {
        home.message("cur", DAY + age, 1000, ":2,S");
    }
    home.counted(1_000_000);
    let trimmed: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| home.mailbox.trim_in_batches(1_000_000, now(), 64)))
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap().unwrap().messages)
            .sum()
    });
    assert_eq!(trimmed, 300);
    assert_eq!(home.files().len(), 700);
}

#[test]
fn a_folder_that_cannot_be_read_is_an_error_that_names_it() {
    if rustix::process::geteuid().is_root() {
        return;
    }
    let home = Home::new();
    home.message(".Closed/cur", 2 * DAY, 900_000, ":2,");
    home.counted(900_000);
    let closed = home.path(".Closed");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
    let error = home.mailbox.trim(1_000_000, now()).unwrap_err().to_string();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).unwrap();
    assert!(error.contains("alice@chat.example"), "{error}");
    assert!(error.contains(".Closed"), "{error}");
}

/// A message as the model knows it.
#[derive(Debug, Clone)]
struct Made {
    folder: &'static str,
    stored: u64,
    size: u64,
    seen: bool,
    /// Whether the file name tells size and time, or only the file does.
    named: bool,
}

fn made() -> impl Strategy<Value = Made> {
    let folders = [
        "cur",
        "new",
        ".Sent/cur",
        ".Sent/new",
        ".Sent.Old/cur",
        ".DeltaChat/cur",
    ];
    (
        prop::sample::select(folders.to_vec()),
        0..4 * 24_u64,
        prop_oneof![1..20_000_u64, 150_000..250_000_u64],
        any::<bool>(),
        prop::bool::weighted(0.9),
    )
        .prop_map(|(folder, hours, size, seen, named)| Made {
            folder,
            stored: NOW - hours * HOUR,
            size,
            seen: seen && folder.ends_with("cur"),
            named,
        })
}

/// Straight from the rules: which of the messages stay.
fn model(messages: &[Made], limit: u64) -> Vec<usize> {
    let mut stay: Vec<usize> = (0..messages.len()).collect();
    let mut total: u64 = messages.iter().map(|message| message.size).sum();
    if total * 100 <= limit * 75 {
        return stay;
    }
    let mut order: Vec<usize> = stay
        .iter()
        .copied()
        .filter(|&i| messages[i].stored <= NOW - DAY)
        .collect();
    order.sort_by_key(|&i| {
        let message = &messages[i];
        let first = message.seen && message.size > 200_000;
        (!first, message.stored)
    });
    for i in order {
        if total <= limit * 70 / 100 {
            break;
        }
        total -= messages[i].size;
        stay.retain(|&kept| kept != i);
    }
    stay
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_stays_is_what_the_rules_say(
        mut messages in prop::collection::vec(made(), 0..60),
        limit in 1..4_000_000_u64,
        batch in 1..70_usize,
        honest in any::<bool>(),
    ) {
        let home = Home::new();
        let mut paths = Vec::new();
        for (i, message) in messages.iter_mut().enumerate() {
            // No two in one second: the rules say nothing about their order.
            message.stored -= i as u64;
            let flags = if message.seen { ":2,S" } else { "" };
            paths.push(match message.named {
                true => home.message(message.folder, NOW - message.stored, message.size.min(limit), flags),
                false => {
                    let path = home.file(&format!("{}/letter-{i}{flags}", message.folder));
                    let file = File::options().write(true).open(&path).unwrap();
                    file.set_len(message.size).unwrap();
                    let time = UNIX_EPOCH + Duration::from_secs(message.stored);
                    file.set_times(FileTimes::new().set_modified(time)).unwrap();
                    path
                }
            });
            if message.named {
                message.size = message.size.min(limit);
            }
        }
        let stay = model(&messages, limit);
        let total: u64 = messages.iter().map(|message| message.size).sum();
        let full = total * 100 > limit * 75;
        // What Dovecot has counted may be more than there is.
        let counted = if honest { total } else { total.max(limit) };
        home.counted(counted);
        let trimmed = if counted * 100 > limit * 75 {
            home.mailbox.trim_in_batches(limit, now(), batch).unwrap()
        } else {
            home.trim(limit)
        };
        let expected: BTreeSet<_> = stay.iter().map(|&i| paths[i].clone()).collect();
        let mut left = home.files();
        let count_left = left.remove(&home.path("maildirsize"));
        prop_assert_eq!(&left, &expected);
        prop_assert_eq!(trimmed.messages as usize, messages.len() - stay.len());
        let kept: u64 = stay.iter().map(|&i| messages[i].size).sum();
        prop_assert_eq!(trimmed.bytes, total - kept);
        // It stays only if it is as good as a new one.
        prop_assert_eq!(count_left, if full { trimmed.messages == 0 } else { counted * 100 <= limit * 75 });
    }
}
