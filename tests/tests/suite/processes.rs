//! A relay is Dovecot, Postfix, one filter and one service: no socket of ours between Dovecot and
//! our code, and nothing left when it stops.

use std::collections::BTreeMap;
use std::net::TcpStream;

use chatmail_tests::process::{self, Process};
use chatmail_tests::{Instance, wait};

#[test]
fn only_dovecot_postfix_the_filter_and_the_service_run() {
    let relay = Instance::start();
    use_it(&relay);
    let mut ours = BTreeMap::new();
    for process in everything_but_the_supervisor(&relay) {
        if !belongs_to_dovecot(&process) && !belongs_to_postfix(&process) {
            *ours.entry(process.name.clone()).or_insert(0) += 1;
        }
    }
    let expected = [("chatmail-milter", 1), ("chatmail", 1)];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    assert_eq!(ours, BTreeMap::from(expected));
    let endpoints = relay.endpoints();
    let command = |pid| {
        let process = process::all()
            .into_iter()
            .find(|process| process.pid == pid);
        process.expect("running").command
    };
    assert!(command(endpoints.milter_pid).contains("chatmail-milter"));
    assert!(command(endpoints.serve_pid).contains("chatmail serve"));
}

#[test]
fn our_processes_have_no_socket_but_the_filters_three_and_the_web_servers() {
    let relay = Instance::start();
    use_it(&relay);
    let endpoints = relay.endpoints();
    let serve = process::unix_sockets(endpoints.serve_pid).expect("sockets");
    assert_eq!(serve, [endpoints.http_socket.clone()].into());
    let milter = process::unix_sockets(endpoints.milter_pid).expect("sockets");
    assert_eq!(milter.len(), 3, "{milter:?}");
    for path in &milter {
        let name = path
            .file_name()
            .expect("file name")
            .to_string_lossy()
            .into_owned();
        assert!(
            ["outgoing.sock", "incoming.sock", "internal.sock"].contains(&name.as_str()),
            "{name}"
        );
    }
    let milter = process::listening_ports(endpoints.milter_pid).expect("sockets");
    assert_eq!(milter, [port(&endpoints.metrics)].into());
    let serve = process::listening_ports(endpoints.serve_pid).expect("sockets");
    assert_eq!(serve, [].into());
    // Nor does Dovecot have a dict server: the modules answer in the process that asks.
    let run_dir = endpoints
        .dovecot_conf
        .ancestors()
        .nth(3)
        .expect("instance")
        .join("run/dovecot");
    assert!(run_dir.join("login").exists(), "{}", run_dir.display());
    for dict in ["dict", "dict-async"] {
        assert!(!run_dir.join(dict).exists(), "{dict}");
    }
}

#[test]
fn a_stopped_relay_leaves_nothing_behind() {
    let relay = Instance::start();
    use_it(&relay);
    let endpoints = relay.endpoints().clone();
    let dir = relay.dir().to_owned();
    let real_dir = dir.canonicalize().expect("directory");
    let processes = process::tree(relay.supervisor_pid());
    drop(relay);

    let left: Vec<_> = process::all()
        .into_iter()
        .filter(|process| {
            processes
                .iter()
                .any(|old| old.pid == process.pid && old.command == process.command)
        })
        .collect();
    assert_eq!(left, []);
    for port in [
        endpoints.imaps,
        endpoints.imap,
        endpoints.smtps,
        endpoints.submission,
        endpoints.smtp,
        port(&endpoints.dns),
        port(&endpoints.metrics),
    ] {
        assert!(
            TcpStream::connect((endpoints.host.as_str(), port)).is_err(),
            "port {port}"
        );
    }
    assert!(!dir.exists() && !real_dir.exists());
}

fn port(address: &str) -> u16 {
    let port = address.rsplit(':').next().expect("address:port");
    port.parse().expect("port")
}

/// A login, a message, a notification's worth of work: everything that is started on demand runs.
fn use_it(relay: &Instance) {
    let [alice, bob] = ["alice", "bob"].map(|name| relay.account(name));
    let mut imap = relay.imap(&bob);
    imap.set_metadata("INBOX", "/private/devicetoken", "token")
        .expect("SETMETADATA");
    relay.send_encrypted(&alice, &bob);
    relay.wait_for_messages(&bob, 1);
    wait::until_true("the session", || {
        imap.command("NOOP").is_ok_and(|answer| answer.is_ok())
    });
}

fn everything_but_the_supervisor(relay: &Instance) -> Vec<Process> {
    let supervisor = relay.supervisor_pid();
    let mut processes = process::tree(supervisor);
    processes.retain(|process| process.pid != supervisor);
    processes
}

fn belongs_to_dovecot(process: &Process) -> bool {
    process.name == "dovecot" || process.command.starts_with("dovecot-chatmail-")
}

fn belongs_to_postfix(process: &Process) -> bool {
    const DAEMONS: [&str; 22] = [
        "master",
        "anvil",
        "bounce",
        "cleanup",
        "error",
        "flush",
        "lmtp",
        "local",
        "pickup",
        "postlogd",
        "proxymap",
        "qmgr",
        "scache",
        "showq",
        "smtp",
        "smtpd",
        "tlsmgr",
        "tlsproxy",
        "trivial-rewrite",
        "verify",
        "virtual",
        "discard",
    ];
    // The kernel keeps fifteen bytes of a name.
    DAEMONS
        .iter()
        .any(|daemon| daemon.get(..15).unwrap_or(daemon) == process.name)
}
