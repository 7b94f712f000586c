//! A bug of ours ends one request, not a process of Dovecot and with it everybody else's.
//!
//! A clock that cannot be read makes Rust's standard library panic wherever it asks for the time.
//! So a small library in front of the C library takes the clock away from our modules, and from
//! nobody else in the process, while a file says so: real panics in the modules as they are.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use chatmail_tests::imap::{DEVICE_TOKEN, Imap, Status};
use chatmail_tests::instance::reachable_tempdir;
use chatmail_tests::lmtp::Lmtp;
use chatmail_tests::services::{self, Service};
use chatmail_tests::{Instance, Mail, wait};
use tempfile::TempDir;

const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int is_ours(const void *code)
{
	Dl_info object;

	return dladdr(code, &object) != 0 &&
		(strstr(object.dli_fname, "/libauthdb_chatmail.so") != NULL ||
		 strstr(object.dli_fname, "/lib90_chatmail_plugin.so") != NULL);
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
	static int (*real)(clockid_t, struct timespec *);

	if (is_ours(__builtin_return_address(0)) && access(SWITCH, F_OK) == 0) {
		errno = EINVAL;
		return -1;
	}
	if (real == NULL)
		real = (int (*)(clockid_t, struct timespec *))
			dlsym(RTLD_NEXT, "clock_gettime");
	return real(clock, time);
}
"#;

#[test]
fn a_panic_ends_one_request_and_no_process() {
    let clock = Clock::new();
    let relay = Instance::with()
        .dovecot_settings(&clock.service("auth-worker", "auth -w"))
        .dovecot_settings(&clock.service("imap", "imap"))
        .dovecot_settings(&clock.service("lmtp", "lmtp"))
        .start();
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let mail = Mail::encrypted(&bob.address, &alice.address).to_bytes();
    let mut imap = relay.imap(&alice);
    let mut lmtp = Lmtp::connect(relay.endpoints()).expect("LMTP");
    assert!(set(&mut imap, "one").is_ok());

    let stranger = relay.new_account("new");
    clock.stopped(|| {
        let answer = relay.try_imap(&stranger.address, &stranger.password);
        assert_eq!(answer.code(), Some("UNAVAILABLE"), "{answer}");
        assert_eq!(set(&mut imap, "two").status, Status::No);
        let value = imap.get_metadata("INBOX", DEVICE_TOKEN);
        assert!(value.expect("GETMETADATA").is_err());
        // A message is delivered even if nobody can be told of it.
        deliver(&mut lmtp, &bob.address, &alice.address, &mail);
    });
    still_run(&relay);

    // The same sessions go on, and nothing is lost or locked.
    assert!(set(&mut imap, "three").is_ok());
    let value = imap.get_metadata("INBOX", DEVICE_TOKEN);
    assert_eq!(
        value.expect("GETMETADATA"),
        Ok(Some("one three".to_owned()))
    );
    deliver(&mut lmtp, &bob.address, &alice.address, &mail);
    assert_eq!(relay.wait_for_messages(&alice, 2).len(), 2);
    relay.imap(&stranger);
}

fn set(imap: &mut Imap, token: &str) -> chatmail_tests::imap::Answer {
    imap.set_metadata("INBOX", DEVICE_TOKEN, token)
        .expect("SETMETADATA")
}

#[track_caller]
fn deliver(lmtp: &mut Lmtp, from: &str, to: &str, message: &[u8]) {
    let reply = lmtp.deliver(from, to, message).expect("LMTP");
    assert_eq!(reply.code, 250, "{reply}");
}

/// Each of the three services had a panic, nothing else went wrong, and the processes that had one
/// still run.
#[track_caller]
fn still_run(relay: &Instance) {
    // A line may come to the log after the answer that it is about.
    wait::until_true("a panic of each service that has ours in it", || {
        panicked(relay).len() == OURS.len()
    });
    for line in services::crashes(relay) {
        assert!(line.contains("bug in libchatmail"), "{line}");
    }
}

const OURS: [Service; 3] = [Service::AuthWorker, Service::Imap, Service::Lmtp];

/// Those with a process that runs and had a panic.
fn panicked(relay: &Instance) -> BTreeSet<Service> {
    let crashes = services::crashes(relay);
    let had_one = |service: &Service| {
        let mut running = services::processes(relay, *service).into_iter();
        running.any(|process| {
            let name = format!("({})", process.pid);
            crashes.iter().any(|line| line.contains(&name))
        })
    };
    OURS.into_iter().filter(had_one).collect()
}

/// A clock that stops for our modules while a file is there.
struct Clock {
    dir: TempDir,
}

impl Clock {
    fn new() -> Clock {
        let dir = reachable_tempdir().expect("temporary directory");
        let clock = Clock { dir };
        let source = clock.dir.path().join("clock.c");
        fs::write(&source, CLOCK).expect("source");
        let switch = format!("-DSWITCH=\"{}\"", clock.switch().display());
        let compiled = Command::new("cc")
            .args(["-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", &switch])
            .arg(source)
            .arg("-o")
            .arg(clock.library())
            .arg("-ldl")
            .status();
        assert!(compiled.expect("cc").success());
        clock
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("clock.so")
    }

    fn switch(&self) -> PathBuf {
        self.dir.path().join("stopped")
    }

    /// The settings for a service that goes by this clock.
    fn service(&self, name: &str, program: &str) -> String {
        format!(
            "service {name} {{\n  executable = /usr/bin/env LD_PRELOAD={} /usr/lib/dovecot/{program}\n}}",
            self.library().display()
        )
    }

    fn stopped(&self, meanwhile: impl FnOnce()) {
        fs::write(self.switch(), "").expect("switch");
        meanwhile();
        fs::remove_file(self.switch()).expect("switch");
    }
}
