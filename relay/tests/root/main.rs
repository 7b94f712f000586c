//! Commands run by root, against mailboxes whose owner attacks root.

#![allow(clippy::unwrap_used)]

mod full_disk;
mod tree;

use std::fs;
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown};
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use tree::{ALICE, MAIL_USER, Tree};

/// Every command that touches mailboxes and ends by itself.
const COMMANDS: [&str; 21] = [
    "usage",
    "usage --textfile OUT",
    "expire",
    "user list",
    "user show alice@chat.test",
    "user create bob@chat.test --generate",
    "user create alice@chat.test --generate",
    "user password alice@chat.test --generate",
    "user disable alice@chat.test",
    "user enable alice@chat.test",
    "user allow-cleartext alice@chat.test off",
    "user allow-cleartext alice@chat.test on",
    "user export alice@chat.test",
    "user import",
    "user invite create --unlimited",
    "user invite list",
    "import-sqlite --dry-run",
    "import-sqlite",
    "echobot --create-account --password-file PASSWORD",
    "user delete alice@chat.test --yes",
    "expire --remove --force",
];

/// A link that the mail user plants: its name below MAILBOXES_DIR, and its target below root's directory.
const LINKS: [(&str, &str); 17] = [
    ("", ""),
    ("..", ""),
    (".chatmail", ""),
    (".chatmail/counters", "counters"),
    (".chatmail/expiry", "made"),
    ("pending_notifications", ""),
    (".removed-1", ""),
    (".import-1", ""),
    ("alice@chat.test", ""),
    ("bob@chat.test", ""),
    ("alice@chat.test/cur", "cur"),
    ("alice@chat.test/.Folder", ""),
    ("alice@chat.test/password", "password"),
    ("alice@chat.test/password.tmp", "password"),
    ("bob@chat.test/password.tmp", "made"),
    ("bob@chat.test/enforceE2EEincoming", "made"),
    ("alice@chat.test/maildirsize", "made"),
];

fn words(tree: &Tree, command: &str) -> Vec<String> {
    let words = command.split(' ').map(|word| match word {
        "OUT" => tree.path("out").display().to_string(),
        "PASSWORD" => tree.path("home/echo").display().to_string(),
        word => word.to_owned(),
    });
    words.collect()
}

fn run(tree: &Tree, command: &str) -> std::process::Output {
    let words = words(tree, command);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    tree.run(&words)
}

#[test]
fn no_link_of_the_mail_user_leads_a_command_to_the_files_of_root() {
    for (name, target) in LINKS {
        let Some(tree) = Tree::new() else { return };
        let link = match name {
            ".." => tree.path("home/mail"),
            name => tree.mail().join(name),
        };
        let link = Path::new(link.to_str().unwrap().trim_end_matches('/')).to_owned();
        let above = link.parent().unwrap();
        if !above.exists() {
            fs::create_dir(above).unwrap();
            tree.give(above);
        }
        tree.link(&link, &tree.canary().join(target));
        let before = tree.snapshot();
        for command in COMMANDS {
            let output = run(&tree, command);
            let said = String::from_utf8_lossy(&output.stderr);
            let code = output.status.code();
            assert!(
                code.is_some_and(|code| code != 124),
                "{name}: {command}: {said}"
            );
            assert_eq!(tree.snapshot(), before, "{name}: {command}: {said}");
        }
    }
}

#[test]
fn a_fifo_in_place_of_a_file_is_not_waited_for() {
    for name in [
        ".chatmail/counters",
        ".chatmail/expiry",
        ".chatmail/invites",
        "pending_notifications/x",
        "alice@chat.test/password",
        "alice@chat.test/password.tmp",
        "alice@chat.test/enforceE2EEincoming",
        "alice@chat.test/metadata.json",
        "alice@chat.test/maildirsize",
        "bob@chat.test/password.tmp",
    ] {
        let Some(tree) = Tree::new() else { return };
        let fifo = tree.mail().join(name);
        let above = fifo.parent().unwrap();
        fs::create_dir_all(above).unwrap();
        tree.give(above);
        tree.fifo(&fifo);
        for command in COMMANDS {
            let output = run(&tree, command);
            assert_ne!(output.status.code(), Some(124), "{name}: {command}");
        }
    }
}

#[test]
fn mailboxes_of_root_are_refused_with_a_remedy() {
    for (uid, gid) in [(0, 0), (0, MAIL_USER), (MAIL_USER, 0)] {
        let Some(tree) = Tree::new() else { return };
        lchown(tree.mail(), Some(uid), Some(gid)).unwrap();
        for command in COMMANDS.iter().chain(&["serve"]) {
            let output = run(&tree, command);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(77), "{command}: {said}");
            let mail = tree.mail().display().to_string();
            let remedy = format!("install -d -o vmail -g vmail -m 0700 {mail}");
            assert!(said.contains(&remedy), "{command}: {said}");
        }
        assert!(!tree.mail().join(".chatmail").exists());
    }
}

#[test]
fn what_root_has_made_is_the_mail_users_and_the_report_is_roots() {
    let Some(tree) = Tree::new() else { return };
    let out = tree.path("out");
    fs::create_dir(&out).unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o700)).unwrap();
    let before = tree.snapshot();
    for command in COMMANDS {
        let output = run(&tree, command);
        let said = String::from_utf8_lossy(&output.stderr);
        let expected = match command {
            "user create alice@chat.test --generate" => 73,
            "user import" => 65,
            _ => 0,
        };
        assert_eq!(output.status.code(), Some(expected), "{command}: {said}");
    }
    let report = out.join("fsreport.prom");
    let stat = fs::metadata(&report).unwrap();
    assert_eq!((stat.uid(), stat.mode() & 0o7777), (0, 0o644));
    let text = fs::read_to_string(&report).unwrap();
    assert!(
        text.contains("\nchatmail_accounts{kind=\"all\"} 1\n"),
        "{text}"
    );
    assert!(!tree.mail().join(ALICE).exists());
    assert_owned(&tree.path("home"));
    assert_eq!(tree.snapshot(), before);
}

fn assert_owned(path: &Path) {
    let stat = fs::symlink_metadata(path).unwrap();
    assert_eq!((stat.uid(), stat.gid()), (MAIL_USER, MAIL_USER), "{path:?}");
    if stat.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            assert_owned(&entry.unwrap().path());
        }
    }
}

#[test]
fn the_report_is_not_written_through_a_link_of_another_user() {
    let Some(tree) = Tree::new() else { return };
    let out = tree.path("home/out");
    tree.link(&out, &tree.canary());
    let before = tree.snapshot();
    for path in [out.clone(), out.join("report.prom")] {
        let output = tree.run(&["usage", "--textfile", path.to_str().unwrap()]);
        assert_eq!(output.status.code(), Some(73));
    }
    // A file is replaced, and a link with it.
    let link = tree.path("link.prom");
    tree.link(&link, &tree.canary().join("counters"));
    let output = tree.run(&["usage", "--legacy-metrics", link.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0));
    assert!(fs::symlink_metadata(&link).unwrap().is_file());
    assert_eq!(tree.snapshot(), before);
}

#[test]
fn directories_that_are_exchanged_with_links_meanwhile_lead_nowhere() {
    let Some(tree) = Tree::new() else { return };
    let before = tree.snapshot();
    let link = tree.path("home/link");
    tree.link(&link, &tree.canary());
    for victim in [
        "home/mail/chat.test",
        "home/mail",
        "home/mail/chat.test/alice@chat.test",
    ] {
        let victim = tree.path(victim);
        let stop = AtomicBool::new(false);
        let untouched = thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    // Gone, if the expiry has removed it.
                    let _ = renameat_with(CWD, &link, CWD, &victim, RenameFlags::EXCHANGE);
                }
            });
            let untouched = (0..20).all(|_| {
                run(&tree, "expire --remove --force");
                run(&tree, "user create bob@chat.test --generate");
                tree.snapshot() == before
            });
            stop.store(true, Relaxed);
            untouched
        });
        assert!(untouched, "{victim:?}");
        if fs::symlink_metadata(&victim).is_ok_and(|found| found.is_symlink()) {
            renameat_with(CWD, &link, CWD, &victim, RenameFlags::EXCHANGE).unwrap();
        }
    }
}

#[test]
fn the_service_goes_on_as_the_mail_user() {
    let Some(tree) = Tree::new() else { return };
    let mut child = tree
        .service(&["serve"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let spool = tree.mail().join("pending_notifications");
    let give_up = Instant::now() + Duration::from_secs(20);
    while !spool.exists() && Instant::now() < give_up {
        thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&child),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let mut log = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut log)
        .unwrap();
    child.wait().unwrap();
    let owner = fs::metadata(&spool).unwrap_or_else(|why| panic!("{why}: {log}"));
    assert_eq!((owner.uid(), owner.gid()), (MAIL_USER, MAIL_USER));
}
