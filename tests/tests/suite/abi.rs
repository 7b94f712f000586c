//! Dovecot refuses modules that were built for another Dovecot, and says so. Then nobody can log in, rather than
//! everybody.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use chatmail_tests::dovecot::{Modules, Version, dovecot};
use chatmail_tests::imap::{Imap, Security};
use chatmail_tests::instance::Account;
use chatmail_tests::process::{self, Signal};
use chatmail_tests::{Endpoints, Instance, wait};

/// What Dovecot says of another ABI version.
const OTHER_ABI: &str = "Module is for different ABI version";
/// What the dynamic linker says of a function that this Dovecot does not have; it comes before Dovecot looks.
const OTHER_FUNCTIONS: &str = "undefined symbol";

#[test]
fn an_auth_module_of_another_abi_lets_nobody_in() {
    let relay = Instance::start();
    let ours = Modules::build(dovecot()).expect("modules").expect("ours");
    let module = of_another_abi(&relay, &ours.auth);
    let complaint = nobody_gets_in(&relay, &Wrong::Auth(&module));
    assert!(complaint.contains(OTHER_ABI), "{complaint}");
}

#[test]
fn a_mail_plugin_of_another_abi_opens_no_mailbox() {
    let relay = Instance::start();
    let ours = Modules::build(dovecot()).expect("modules").expect("ours");
    let module = of_another_abi(&relay, &ours.mail);
    let complaint = nobody_gets_in(&relay, &Wrong::Mail(&module));
    assert!(complaint.contains(OTHER_ABI), "{complaint}");
}

#[test]
fn modules_built_for_the_other_dovecot_are_refused() {
    let version = dovecot();
    let other = Version::ALL.into_iter().find(|other| *other != version);
    let other = other.expect("another version");
    let Some(built) = Modules::build(other).expect("modules") else {
        eprintln!("WARNING: LEFT OUT: nothing here can build modules for Dovecot {other}");
        return;
    };
    let relay = Instance::start();
    for wrong in [Wrong::Auth(&built.auth), Wrong::Mail(&built.mail)] {
        let complaint = nobody_gets_in(&relay, &wrong);
        assert!(
            complaint.contains(OTHER_ABI) || complaint.contains(OTHER_FUNCTIONS),
            "{complaint}"
        );
    }
}

#[test]
fn the_right_modules_let_users_in_this_way() {
    // Else the tests above could not fail.
    let relay = Instance::start();
    let ours = Modules::build(dovecot()).expect("modules").expect("ours");
    for right in [Wrong::Auth(&ours.auth), Wrong::Mail(&ours.mail)] {
        let second = Second::start(&relay, &right);
        let opened = open_inbox(&second, &relay.new_account("right"));
        assert!(opened.is_ok(), "{opened:?}: {}", second.log());
    }
}

#[test]
fn building_the_modules_leaves_no_part_of_a_library_where_its_users_look() {
    let relay = Instance::start();
    let chatmail = relay.chatmail();
    let release = Path::new(chatmail.get_program()).parent().expect("target");
    let library = release.join("libchatmail.a");
    if !library.exists() {
        return;
    }
    let output = Command::new("nm")
        .args(["--extern-only", "--defined-only", "--format=posix"])
        .arg(&library)
        .output()
        .expect("nm");
    let symbols = String::from_utf8_lossy(&output.stdout).into_owned();
    let defined: BTreeSet<&str> = symbols
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(name, _)| name)
        .collect();
    let header = include_str!("../../../include/chatmail.h");
    let declared = header.match_indices('(').filter_map(|(at, _)| {
        let before = &header[..at];
        let start = before.rfind(|c: char| !c.is_ascii_alphanumeric() && c != '_')? + 1;
        let line = before.rfind('\n')? + 1;
        // Not in a comment.
        let is_code = before[line..].starts_with(|c: char| c.is_ascii_lowercase());
        (is_code && before[start..].starts_with("chatmail_")).then_some(&before[start..])
    });
    let declared: BTreeSet<&str> = declared.collect();
    assert!(declared.len() > 40, "{declared:?}");
    let missing: Vec<_> = declared.difference(&defined).collect();
    assert!(
        missing.is_empty(),
        "{}, which an older build may have left, lacks {missing:?}",
        library.display()
    );
}

/// Runs a Dovecot with this module. The line of its log that names the module.
fn nobody_gets_in(relay: &Instance, wrong: &Wrong<'_>) -> String {
    let known = relay.account("known");
    let mistaken = Account {
        password: "something else".to_owned(),
        ..known.clone()
    };
    let second = Second::start(relay, wrong);
    let before = relay.addresses();
    let tried = match wrong {
        Wrong::Auth(_) => vec![known, mistaken, relay.new_account("new")],
        // Passwords are not its business. Dovecot starts a process that failed anew after a while only, so: one.
        Wrong::Mail(_) => vec![known],
    };
    for account in tried {
        let opened = open_inbox(&second, &account);
        assert!(opened.is_err(), "{account:?} got in: {}", second.log());
    }
    assert_eq!(relay.addresses(), before, "an account was created");
    let name = match wrong {
        Wrong::Auth(module) | Wrong::Mail(module) => module.file_name().expect("file name"),
    };
    let name = name.to_str().expect("UTF-8");
    wait::until(&format!("word of {name} in the log"), || {
        let log = second.log();
        let line = log.lines().find(|line| line.contains(name));
        line.map(str::to_owned)
    })
}

/// The greeting may be `* BYE Auth process broken` already.
fn open_inbox(second: &Second, account: &Account) -> io::Result<usize> {
    let mut imap = Imap::connect(&second.endpoints, Security::Tls)?;
    imap.login(&account.address, &account.password)?.ok()?;
    imap.select_inbox()
}

/// A copy of a module of ours that says it was built for an ABI that no Dovecot has.
fn of_another_abi(relay: &Instance, module: &Path) -> PathBuf {
    const MARK: &[u8] = b".ABIv";
    let mut bytes = fs::read(module).expect("module");
    let starts: Vec<usize> = bytes
        .windows(MARK.len())
        .enumerate()
        .filter_map(|(at, window)| (window == MARK).then_some(at + MARK.len()))
        .collect();
    assert!(!starts.is_empty(), "{} names no ABI", module.display());
    for start in starts {
        let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit());
        let last = start + digits.count() - 1;
        bytes[last] = if bytes[last] == b'9' { b'8' } else { b'9' };
    }
    let name = module.file_name().expect("file name");
    let copy = relay.dir().canonicalize().expect("directory").join(name);
    fs::write(&copy, bytes).expect("copy");
    fs::set_permissions(&copy, Permissions::from_mode(0o644)).expect("mode");
    copy
}

/// A module to run instead of the one that the relay runs.
enum Wrong<'a> {
    Auth(&'a Path),
    Mail(&'a Path),
}

/// A second Dovecot with the configuration and the mailboxes of a relay, but for ports, sockets and a module.
struct Second {
    endpoints: Endpoints,
    log: PathBuf,
    process: Child,
}

impl Second {
    fn start(relay: &Instance, wrong: &Wrong<'_>) -> Second {
        let of_relay = relay.endpoints();
        let root = relay.dir().canonicalize().expect("directory");
        let (run, log) = (root.join("second"), root.join("log/second.log"));
        for of_another in [&run, &log] {
            fs::remove_dir_all(of_another)
                .or_else(|_| fs::remove_file(of_another))
                .ok();
        }
        for name in ["dovecot", "dovecot-state", "sockets", "modules"] {
            fs::create_dir_all(run.join(name)).expect("directory");
        }
        let mut auth = "";
        let modules = run.join("modules");
        for entry in fs::read_dir(root.join("modules")).expect("modules") {
            let entry = entry.expect("entry");
            symlink(entry.path(), modules.join(entry.file_name())).expect("link");
        }
        match wrong {
            Wrong::Auth(module) => auth = module.to_str().expect("UTF-8"),
            Wrong::Mail(module) => {
                let plugin = modules.join("lib90_chatmail_plugin.so");
                fs::remove_file(&plugin).expect("link");
                fs::copy(module, &plugin).expect("copy");
            }
        }
        let [imaps, imap] = free_ports();
        let endpoints = Endpoints {
            imaps,
            imap,
            ..of_relay.clone()
        };
        let conf = fs::read_to_string(&of_relay.dovecot_conf).expect("dovecot.conf");
        let path = |path: &str| root.join(path).display().to_string();
        let conf = [
            (path("run"), path("second")),
            (path("modules"), path("second/modules")),
            (path("log/dovecot.log"), log.display().to_string()),
            (
                format!("port = {}\n", of_relay.imaps),
                format!("port = {imaps}\n"),
            ),
            (
                format!("port = {}\n", of_relay.imap),
                format!("port = {imap}\n"),
            ),
        ]
        .into_iter()
        .fold(conf, |conf, (from, to)| {
            assert!(conf.contains(&from), "{from:?} is not in dovecot.conf");
            conf.replace(&from, &to)
        });
        let file = run.join("dovecot.conf");
        fs::write(&file, conf).expect("dovecot.conf");

        // Where auth modules are is compiled in: in a namespace of its own this Dovecot finds another file there.
        const START: &str = "PATH=$PATH:/usr/sbin; . /usr/lib/dovecot/dovecot-config
            [ -z \"$1\" ] || mount --bind \"$1\" \"$dovecot_moduledir/auth/libauthdb_chatmail.so\" || exit
            exec dovecot -F -c \"$2\"";
        let process = relay
            .dovecot("unshare")
            .args(["--mount", "--propagation", "private", "--"])
            .args(["sh", "-c", START, "sh", auth])
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .expect("dovecot");
        let mut second = Second {
            endpoints,
            log,
            process,
        };
        wait::until("the second Dovecot", || {
            let ended = second.process.try_wait().expect("wait");
            assert_eq!(ended, None, "it ended: {}", second.log());
            second.log().contains("starting up").then_some(())
        });
        second
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        process::signal(self.process.id(), Signal::TERM).ok();
        if wait::poll(wait::DEADLINE, || self.process.try_wait().ok().flatten()).is_none() {
            self.process.kill().ok();
            self.process.wait().ok();
        }
    }
}

/// Two that nobody listens on. All relays of this machine are elsewhere.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a port"));
    listeners.map(|listener| listener.local_addr().expect("address").port())
}
