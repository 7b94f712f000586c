//! Whatever goes wrong, Dovecot's log does not hold the address of a user.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;

use chatmail_tests::imap::DEVICE_TOKEN;
use chatmail_tests::instance::Account;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::{Instance, Mail, services, wait};

#[test]
fn no_line_names_an_address_and_an_error_names_the_mailbox_by_its_inode() {
    let relay = Instance::start();
    let accounts = ["json", "cur", "dir", "word"].map(|name| relay.account(name));
    let [json, cur, dir, word] = &accounts;
    let sender = relay.account("send");

    // A file of ours that is not whole: METADATA, and each delivery.
    let file = relay.mailbox(json).join("metadata.json");
    fs::write(&file, "{\"devicetoken\": ").expect("metadata.json");
    owned_by_the_neighbour(&file);
    let mut imap = relay.imap(json);
    assert!(
        imap.get_metadata("INBOX", DEVICE_TOKEN)
            .expect("GETMETADATA")
            .is_err()
    );
    let answer = imap.set_metadata("INBOX", DEVICE_TOKEN, "token");
    assert!(!answer.expect("SETMETADATA").is_ok());
    deliver(&relay, json);

    // What is of another kind than Dovecot thinks, and what it cannot get at.
    for name in ["dovecot-uidlist", "dovecot.index.log", "maildirsize"] {
        let path = relay.mailbox(cur).join(name);
        fs::remove_file(&path).ok();
        fs::create_dir(&path).expect("a directory");
        owned_by_the_neighbour(&path);
    }
    try_everything(&relay, cur);
    take_away(&relay.mailbox(dir));
    try_everything(&relay, dir);
    // And what a login needs.
    take_away(&relay.mailbox(word).join("password"));
    try_everything(&relay, word);
    // A user who is not there, one who may not, and one who is wrong.
    relay.try_imap("nobody@elsewhere.test", "whatever it is");
    relay.try_imap(&sender.address, "wrong password");
    relay.try_imap(&relay.new_account("short").address, "x");

    let inode = fs::metadata(relay.mailbox(json)).expect("a mailbox").ino();
    relay.wait_for_log("dovecot", "the mailbox at fault", |line| {
        line.contains(&format!("inode:{inode}/metadata.json: not JSON"))
    });
    wait::until_true("complaints of each mailbox", || {
        accounts[..3].iter().all(|account| {
            let inode = fs::metadata(relay.mailbox(account))
                .expect("a mailbox")
                .ino();
            let inode = format!("inode:{inode}");
            let lines = services::complaints(&relay);
            lines.iter().any(|line| line.contains(&inode))
        })
    });
    let log = relay.log("dovecot");
    let named: Vec<_> = log
        .lines()
        .filter(|line| {
            let names = |account: &Account| line.contains(&account.address);
            accounts.iter().chain([&sender]).any(names) || line.contains("nobody@")
        })
        .collect();
    assert_eq!(named, [] as [&str; 0]);
}

/// Logs in, looks, stores a message, and gets one.
fn try_everything(relay: &Instance, account: &Account) {
    let endpoints = relay.endpoints();
    let (address, password) = (&account.address, &account.password);
    if let Ok(mut imap) = chatmail_tests::imap::Imap::login_to(endpoints, address, password) {
        for command in ["SELECT INBOX", "CREATE folder", "STATUS INBOX (MESSAGES)"] {
            imap.command(command).ok();
        }
        imap.command_with_literals("APPEND INBOX", &[b"Subject: x\r\n\r\nx"])
            .ok();
        imap.command("LOGOUT").ok();
    }
    deliver(relay, account);
}

fn deliver(relay: &Instance, account: &Account) {
    let mail = Mail::encrypted("dave@elsewhere.test", &account.address).to_bytes();
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    lmtp.deliver("dave@elsewhere.test", &account.address, &mail)
        .expect("LMTP");
}

/// Gives the file the owner of its directory.
fn owned_by_the_neighbour(file: &Path) {
    let above = fs::metadata(file.parent().expect("a directory")).expect("a directory");
    chown(file, Some(above.uid()), Some(above.gid())).expect("chown");
}

/// Makes a path accessible to root only.
fn take_away(path: &Path) {
    if path.exists() {
        chown(path, Some(0), Some(0)).expect("chown");
        fs::set_permissions(path, Permissions::from_mode(0o700)).expect("chmod");
    }
}
