use super::*;

/// The files of a sign-up that did not finish, last changed this many seconds ago.
fn failed_sign_up(relay: &Relay, name: &str, files: &[&str], ago: u64) -> Mailbox {
    let mailbox = relay.mailbox(name);
    fs::create_dir(mailbox.path()).unwrap();
    let paths = files.iter().map(|file| mailbox.path().join(file));
    let paths: Vec<_> = paths.collect();
    for path in &paths {
        fs::write(path, "").unwrap();
    }
    for path in paths.iter().chain([&mailbox.path().to_owned()]) {
        let times = FileTimes::new().set_modified(at(NOW - ago));
        File::open(path).unwrap().set_times(times).unwrap();
    }
    mailbox
}

#[test]
fn what_a_sign_up_left_goes_when_it_cannot_be_running_any_more() {
    for files in [
        &["enforceE2EEincoming"][..],
        &["enforceE2EEincoming", "password.tmp"],
        &["password.tmp"],
        &["enforceE2EEincoming", "password.tmp-adopted"],
    ] {
        let relay = Relay::new();
        let running = failed_sign_up(&relay, "running", files, 3599);
        assert_eq!(relay.expire(&running), (Fate::Kept, Expired::default()));
        let failed = failed_sign_up(&relay, "failed", files, 3601);
        let expected = Expired {
            empty_directories: 1,
            ..Expired::default()
        };
        assert_eq!(relay.expire(&failed), (Fate::Removed, expected));
        assert!(running.path().exists() && !failed.path().exists());
    }
}

#[test]
fn a_sign_up_that_holds_the_lock_keeps_its_directory() {
    let relay = Relay::new();
    let alice = failed_sign_up(&relay, "alice", &["enforceE2EEincoming"], 7200);
    let lock = alice.lock().unwrap();
    let expiry = relay.expiry(Mode::Remove);
    thread::scope(|scope| {
        let expired = scope.spawn(|| {
            let (mut census, mut expired) = Default::default();
            expiry.mailbox(&alice, &mut census, &mut expired)
        });
        fs::write(alice.path().join("password"), "x").unwrap();
        drop(lock);
        assert_eq!(expired.join().unwrap().unwrap(), Fate::Kept);
    });
    assert!(alice.exists().unwrap());
}
