//! The sockets that Dovecot listens on, and that no other user of the host can connect to one.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use chatmail_tests::Instance;
use chatmail_tests::dovecot::{Version, dovecot};

/// A listener as `doveconf` shows it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Listener {
    mode: u32,
    user: String,
    group: String,
    port: u16,
}

/// All open listeners: service and name, mode, user, group. The comments say who needs them.
const OPEN: [(&str, &str, u32, &str, &str); 21] = [
    // Sessions are counted by processes that start as root.
    ("anvil", "anvil", 0o600, "", ""),
    // doveadm and Dovecot's own processes, which start as root or run as the internal user.
    ("auth", "auth-client", 0o600, "internal", ""),
    ("auth", "auth-login", 0o600, "internal", ""),
    ("auth", "auth-master", 0o600, "", ""),
    // lmtp runs as the mail user.
    ("auth", "auth-userdb", 0o660, "mail", "mail"),
    // imap-login.
    ("auth", "login/login", 0o600, "login", ""),
    // Postfix authenticates senders.
    ("auth", "SASL", 0o660, "postfix", "postfix"),
    // auth.
    ("auth-worker", "auth-worker", 0o600, "internal", ""),
    // doveadm.
    ("config", "config", 0o600, "", ""),
    // imap-hibernate wakes a session.
    ("imap", "imap-master", 0o600, "internal", ""),
    // imap-login hands a session over.
    ("imap", "login/imap", 0o600, "login", ""),
    // imap puts a session to sleep: it has the internal group besides.
    ("imap-hibernate", "imap-hibernate", 0o660, "", "internal"),
    // Postfix delivers.
    ("lmtp", "LMTP", 0o600, "postfix", "postfix"),
    // doveadm.
    ("log", "log-errors", 0o600, "", ""),
    // imap-login.
    ("stats", "login/stats-writer", 0o600, "login", ""),
    // doveadm.
    ("stats", "stats-reader", 0o600, "", ""),
    // auth, which has the internal group, and auth-worker and lmtp, which start as the mail user.
    ("stats", "stats-writer", 0o660, "mail", "internal"),
    // 2.3 alone: its auth complains if it cannot open one.
    ("old-stats", "old-stats", 0o600, "", ""),
    ("old-stats", "old-stats-mail", 0o600, "", ""),
    ("old-stats", "old-stats-user", 0o600, "", ""),
    // What doveadm asks one process of 2.4 about its sessions.
    ("*", "srv", 0o600, "", ""),
];

#[test]
fn every_listener_is_there_for_a_reason_and_no_wider_open_than_it_gives() {
    let relay = Instance::start();
    let endpoints = relay.endpoints();
    let names = Names::of(&relay);
    let mut wrong = Vec::new();
    let mut found = BTreeMap::new();
    for ((service, name), listener) in open_listeners(&relay) {
        if listener.port != 0 {
            let ours = [endpoints.imap, endpoints.imaps].contains(&listener.port);
            if service != "imap-login" || !ours {
                wrong.push(format!("{service} {name}: port {}", listener.port));
            }
            continue;
        }
        let (service, name) = names.of_listener(&service, &name);
        let actual = (
            listener.mode,
            names.user(&listener.user),
            names.user(&listener.group),
        );
        let expected = OPEN
            .iter()
            .find(|open| (open.0, open.1) == (&*service, &*name));
        match expected {
            Some((_, _, mode, user, group)) if actual == (*mode, *user, *group) => {
                found.insert((service, name), ());
            }
            _ => wrong.push(format!("{service} {name}: {listener:?}")),
        }
    }
    assert_eq!(wrong, [] as [String; 0]);
    // The list holds no listener that does not exist.
    let missing: Vec<_> = OPEN
        .iter()
        .map(|open| (open.0.to_owned(), open.1.to_owned()))
        .filter(|open| !found.contains_key(open))
        .filter(|open| match dovecot() {
            Version::V2_3 => open.1 != "srv",
            Version::V2_4 => open.0 != "old-stats",
        })
        .collect();
    assert_eq!(missing, []);
}

#[test]
fn no_other_user_of_the_host_can_connect_to_a_socket_of_dovecots() {
    let relay = Instance::start();
    relay.account("alice");
    let mut sockets = sockets_below(&relay.dir().join("run"));
    // Else the walk has found nothing.
    assert!(sockets.len() > 10, "{sockets:?}");
    sockets.push(relay.endpoints().lmtp_socket.clone());
    assert_eq!(connected("0", &sockets[..1]), &sockets[..1], "as root");
    assert_eq!(connected("65534", &sockets), [] as [PathBuf; 0]);
}

/// Those of these sockets that a user of this id can connect to.
fn connected(uid: &str, sockets: &[PathBuf]) -> Vec<PathBuf> {
    const PROGRAM: &str = "\
import socket, sys
for path in sys.argv[1:]:
    try:
        if path.endswith('fifo'):
            open(path, 'wb', buffering=0)
        else:
            socket.socket(socket.AF_UNIX).connect(path)
        print(path)
    except OSError:
        pass";
    let (reuid, regid) = (format!("--reuid={uid}"), format!("--regid={uid}"));
    let output = Command::new("setpriv")
        .args([
            &reuid,
            &regid,
            "--clear-groups",
            "/usr/bin/python3",
            "-c",
            PROGRAM,
        ])
        .args(sockets)
        .output()
        .expect("setpriv and python3");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("paths");
    text.lines().map(PathBuf::from).collect()
}

fn sockets_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("a directory").flatten() {
        let kind = entry.file_type().expect("a file type");
        if kind.is_dir() {
            found.extend(sockets_below(&entry.path()));
        } else if kind.is_socket() || kind.is_fifo() {
            found.push(entry.path());
        }
    }
    found
}

/// The users and groups of this relay.
struct Names {
    lmtp: String,
    mail_user: String,
    rendered: String,
}

impl Names {
    fn of(relay: &Instance) -> Names {
        let rendered = fs::read_to_string(&relay.endpoints().dovecot_conf).expect("dovecot.conf");
        let mail_user = rendered
            .lines()
            .find_map(|line| line.strip_prefix("mail_uid = "));
        Names {
            lmtp: relay.endpoints().lmtp_socket.display().to_string(),
            mail_user: mail_user.expect("the mail user").to_owned(),
            rendered: rendered.clone(),
        }
    }

    fn of_listener(&self, service: &str, name: &str) -> (String, String) {
        let name = match name {
            name if name == self.lmtp => "LMTP",
            name if name.starts_with('/') && service == "auth" => "SASL",
            name if name.starts_with("srv.") => return ("*".to_owned(), "srv".to_owned()),
            name => name,
        };
        (service.to_owned(), name.to_owned())
    }

    /// What the list above calls a user or group.
    fn user(&self, name: &str) -> &'static str {
        let setting = |key: &str| {
            let line = format!("{key} = {name}");
            self.rendered.lines().any(|other| other == line)
        };
        match name.trim_start_matches("$SET:").trim_start_matches('$') {
            "" => "",
            "default_internal_user" | "default_internal_group" => "internal",
            "default_login_user" => "login",
            name if name == self.mail_user => "mail",
            "postfix" => "postfix",
            _ if setting("default_internal_user") => "internal",
            _ if setting("default_login_user") => "login",
            _ => "another",
        }
    }
}

/// By service and name: every listener of a protocol that is on, and that is not switched off.
fn open_listeners(relay: &Instance) -> BTreeMap<(String, String), Listener> {
    let output = relay
        .dovecot("doveconf")
        .arg("-c")
        .arg(&relay.endpoints().dovecot_conf)
        .args(["-a", "service"])
        .output()
        .expect("doveconf");
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).expect("settings");
    let mut all = BTreeMap::new();
    let (mut service, mut name) = (String::new(), None);
    let mut off = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["service", of, "{"] => service = of.to_owned(),
            [kind, of, "{"] if kind.ends_with("_listener") => {
                let of = of.trim_matches('"').to_owned();
                name = Some(of.clone());
                all.insert((service.clone(), of), Listener::default());
            }
            ["}"] => name = None,
            ["protocol", "=", protocol] if !["imap", "lmtp"].contains(&protocol) => {
                off.push(service.clone());
            }
            [key, "=", value] => {
                let key_of = name.clone().map(|name| (service.clone(), name));
                if let Some(listener) = key_of.and_then(|key| all.get_mut(&key)) {
                    match key {
                        "mode" => {
                            listener.mode = u32::from_str_radix(value, 8).expect("a mode");
                        }
                        "port" => listener.port = value.parse().expect("a port"),
                        "user" => listener.user = value.to_owned(),
                        "group" => listener.group = value.to_owned(),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    all.retain(|(service, _), listener| {
        !off.contains(service) && (listener.mode != 0 || listener.port != 0)
    });
    all
}
