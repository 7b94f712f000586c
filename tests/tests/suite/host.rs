//! A relay on a whole Debian system: what is shipped for systemd and OpenRC does what it is for, and is allowed to.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;

use chatmail_tests::dovecot::{Modules, dovecot};
use chatmail_tests::host::{Host, Init, RelayHost};
use chatmail_tests::http::{self, Answer};
use chatmail_tests::imap::{DEVICE_TOKEN, Imap, Status};
use chatmail_tests::instance::Account;
use chatmail_tests::process::{self, Signal};
use chatmail_tests::smtp::{Door, Reply, Smtp};
use chatmail_tests::{Mail, wait};

/// Ours that run all the time.
const SERVE: &str = "chatmail-serve.service";
const MILTER: &str = "chatmail-milter.service";
const MILTER_SOCKETS: [&str; 3] = [
    "chatmail-milter-outgoing.socket",
    "chatmail-milter-incoming.socket",
    "chatmail-milter-internal.socket",
];
const BOT: &str = "chatmail-echobot.service";

/// What it tells everybody.
const LINK: &str = "/run/chatmail-echobot/invite-link.txt";

/// What an operator includes in a server of nginx.
const SNIPPET: &str = include_str!("../../../packaging/nginx/chatmail.conf");

/// That server, in place of the one that Debian ships.
const SITE: &str = "server {
    listen 127.0.0.1:443 ssl;
    server_name _chat.test;
    ssl_certificate /etc/ssl/certs/mailserver.pem;
    ssl_certificate_key /etc/ssl/private/mailserver.key;
    include snippets/chatmail.conf;
}
";

#[test]
fn delta_chat_finds_a_relay_of_systemd_in_order_with_its_echo_bot_and_without() {
    let Some(relay) = RelayHost::start(Init::Systemd) else {
        return;
    };
    let host = &relay.host;
    relay.install_core();
    tried(&relay, &["--two-accounts"]);

    host.ask(&["systemctl", "--quiet", "enable", "--now", BOT]);
    wait::until_true("the invite link", || host.path(LINK).exists());
    tried(&relay, &[]);

    for unit in [SERVE, MILTER, BOT] {
        let [state, restarts] = ["ActiveState", "NRestarts"].map(|name| host.property(unit, name));
        assert_eq!((&*state, &*restarts), ("active", "0"), "{unit}");
        // What they are not allowed to do they would complain about.
        let log = host.ask(&["journalctl", "--no-pager", "--unit", unit]);
        let bad = [" WARN ", " ERROR ", "Permission denied", "not permitted"];
        let complaints = log
            .lines()
            .filter(|l| bad.iter().any(|word| l.contains(word)));
        let complaints: Vec<&str> = complaints.collect();
        assert!(complaints.is_empty(), "{complaints:#?}");
        host.ask(&["systemctl", "stop", unit]);
        assert_eq!(host.property(unit, "Result"), "success", "{unit}");
    }
    let failed = host.ask(&["systemctl", "--failed", "--plain", "--no-legend"]);
    let of_the_relay = ["chatmail", "postfix", "dovecot"];
    let failed = failed.lines();
    let failed: Vec<&str> = failed
        .filter(|line| of_the_relay.iter().any(|name| line.contains(name)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

#[test]
fn what_dies_under_systemd_comes_back_and_no_mail_and_no_notification_is_lost() {
    let Some(relay) = RelayHost::start(Init::Systemd) else {
        return;
    };
    let host = &relay.host;
    let [alice, bob] = ["alice0001", "bob000001"].map(|name| relay.account(name));
    let kill = |unit| host.ask(&["systemctl", "kill", "--signal=KILL", unit]);
    let is_back = |unit, restarts: &str| {
        wait::until_true(unit, || {
            host.property(unit, "NRestarts") == restarts
                && host.property(unit, "ActiveState") == "active"
        });
    };
    relay.host.on_its_network(|| {
        login(&relay, &bob);
        let mut phone = login(&relay, &alice);
        let stored = phone.set_metadata("INBOX", DEVICE_TOKEN, b"openpgp:phone");
        assert_eq!(stored.expect("SETMETADATA").status, Status::Ok);
    });
    let sent = |count: usize| {
        let reply = host.on_its_network(|| send(&relay, &bob, &alice, true));
        assert_eq!(reply.code, 250, "{reply}");
        wait::until_true("a notification", || relay.push.posts().len() >= count);
    };
    sent(1);

    kill(SERVE);
    sent(2);
    is_back(SERVE, "1");
    kill(MILTER);
    sent(3);
    is_back(MILTER, "1");
    // Whoever stops it does not stop mail: Postfix has it started.
    host.ask(&["systemctl", "stop", MILTER]);
    sent(4);
    assert_eq!(host.property(MILTER, "ActiveState"), "active");
    let refused = host.on_its_network(|| send(&relay, &bob, &alice, false));
    assert_eq!(refused.code, 523, "{refused}");

    // Without its sockets there is no mail, instead of mail that nobody has looked at.
    host.ask(&[&["systemctl", "stop", MILTER], &MILTER_SOCKETS[..]].concat());
    for socket in ["outgoing", "incoming", "internal"] {
        let path = format!("/var/spool/postfix/chatmail/{socket}.sock");
        assert!(!host.path(&path).exists(), "{path}");
    }
    for encrypted in [true, false] {
        let reply = host.on_its_network(|| send(&relay, &bob, &alice, encrypted));
        assert_eq!(reply.code / 100, 4, "{reply}");
    }
    host.ask(&[&["systemctl", "start"], &MILTER_SOCKETS[..]].concat());
    sent(5);

    let inbox = host.on_its_network(|| login(&relay, &alice).inbox().expect("INBOX"));
    assert_eq!(inbox.len(), 5);
    assert_eq!(relay.push.tokens(), ["openpgp:phone"; 5]);
}

#[test]
fn debians_nginx_reaches_the_service_by_the_socket_of_systemd() {
    let Some(relay) = RelayHost::start(Init::Systemd) else {
        return;
    };
    let host = &relay.host;
    let write = |path: &str, text: &str| fs::write(host.path(path), text).expect(path);
    write("/etc/nginx/snippets/chatmail.conf", SNIPPET);
    write("/etc/nginx/sites-available/default", SITE);
    host.ask(&["systemctl", "start", "nginx.service"]);
    let web = host.ask(&["id", "--user", "www-data"]);
    wait::until_true("a worker of www-data", || {
        let workers = host
            .processes()
            .into_iter()
            .filter(|process| process.name == "nginx");
        let users = workers.flat_map(|worker| fs::metadata(format!("/proc/{}", worker.pid)));
        users
            .into_iter()
            .any(|user| user.uid().to_string() == web.trim_end())
    });

    let made = ask(&relay, "POST /new");
    let account = made.account();
    host.on_its_network(|| login(&relay, &account));
    // Its certificate is of its own making: the link tells clients.
    let link = made.json()["dclogin_url"].to_string();
    assert!(
        link.contains(&account.address) && link.contains("&ic=3"),
        "{link}"
    );
    assert_eq!(ask(&relay, "GET /metrics").status, 404);
    // Others of the host do not get there.
    let socket = ["stat", "--format=%U:%G %a", "/run/chatmail/http.sock"];
    assert_eq!(host.ask(&socket), "root:www-data 660\n");

    host.ask(&["systemctl", "stop", SERVE, "chatmail-serve-http.socket"]);
    let away = ask(&relay, "POST /new");
    assert_eq!(away.status, 503, "{away}");
    assert!(!away.reason().is_empty(), "{away}");
}

#[test]
fn scripts_of_openrc_make_a_relay_whose_services_come_back() {
    let Some(relay) = RelayHost::start(Init::OpenRc) else {
        return;
    };
    let host = &relay.host;
    relay.install_core();
    tried(&relay, &["--two-accounts"]);
    service(host, &["chatmail-echobot", "start"]);
    wait::until_true("the invite link", || host.path(LINK).exists());
    tried(&relay, &[]);

    // As many connections as sessions, where root may ask for them; and a web server in its own group.
    let milter = pid(host, "chatmail-milter");
    let may_ask = host.run(&["sh", "-c", "ulimit -n 65536"]).status.success();
    let limits = fs::read_to_string(format!("/proc/{milter}/limits")).expect("limits");
    let open_files = limits
        .lines()
        .find(|line| line.starts_with("Max open files"));
    let has_them = open_files.is_some_and(|line| line.contains("65536"));
    assert_eq!(has_them, may_ask, "{limits}");
    let socket = ["stat", "--format=%U:%G %a", "/run/chatmail/http.sock"];
    assert_eq!(host.ask(&socket), "vmail:www-data 660\n");

    // It reads chatmail.ini again, and goes on.
    let ini = host.path("/etc/chatmail.ini");
    let text = fs::read_to_string(&ini).expect("chatmail.ini");
    fs::write(&ini, text + "max_message_size = 31000000\n").expect("chatmail.ini");
    service(host, &["chatmail-milter", "reload"]);
    wait::until_true("the reload", || {
        host.log().contains("configuration read again")
    });
    assert_eq!(pid(host, "chatmail-milter"), milter);

    for name in ["chatmail-milter", "chatmail-serve", "chatmail-echobot"] {
        let killed = pid(host, name);
        process::signal(killed, Signal::KILL).expect("kill");
        wait::until_true(name, || {
            try_pid(host, name).is_some_and(|pid| pid != killed)
        });
    }
    tried(&relay, &["--two-accounts"]);

    for name in ["chatmail-echobot", "chatmail-milter", "chatmail-serve"] {
        service(host, &[name, "stop"]);
        assert_eq!(try_pid(host, name), None, "{name}");
    }
    let log = host.log();
    let ours = log.lines().filter(|line| line.contains("chatmail-"));
    let ours = ours.filter(|line| may_ask || !line.contains("RC_ULIMIT"));
    let bad = [" WARN ", " ERROR ", "unable", "ermission"];
    let complaints: Vec<&str> = ours
        .filter(|l| bad.iter().any(|word| l.contains(word)))
        .collect();
    assert!(complaints.is_empty(), "{complaints:#?}");
}

#[test]
fn nothing_is_left_of_a_system_that_was_booted_for_a_test() {
    if let Some(why) = Host::obstacle() {
        eprintln!("left out: this system boots no other one: {why}");
        return;
    }
    let Some(modules) = Modules::build(dovecot()).expect("modules") else {
        return;
    };
    let mark = format!("/var/chatmail-test-{}", std::process::id());
    let host = Host::boot(&modules.root, Init::Systemd).expect("a system");
    host.ask(&["touch", &mark]);
    let (directory, processes) = (host.directory().to_owned(), host.processes());
    assert!(processes.len() > 2, "{processes:?}");
    drop(host);
    assert!(!directory.exists());
    for path in [
        mark.as_str(),
        modules.root.join(&mark[1..]).to_str().expect("a path"),
    ] {
        assert!(!Path::new(path).exists(), "{path}");
    }
    for process in processes {
        assert!(
            !Path::new(&format!("/proc/{}", process.pid)).exists(),
            "{process:?}"
        );
    }
}

/// `chatmail test` by somebody who may do nothing on this host; it has to pass.
#[track_caller]
fn tried(relay: &RelayHost, more: &[&str]) {
    let nobody = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let test = "chatmail test --config /etc/chatmail.ini";
    let words = nobody.split(' ').chain(test.split(' '));
    let words: Vec<&str> = words.chain(more.iter().copied()).collect();
    print!("{}", relay.host.ask(&words));
}

fn login(relay: &RelayHost, account: &Account) -> Imap {
    let imap = Imap::login_to(&relay.endpoints, &account.address, &account.password);
    imap.expect("IMAP")
}

/// Sends a new message through a session of its own. The answer is the first refusal, or that to the message.
fn send(relay: &RelayHost, from: &Account, to: &Account, encrypted: bool) -> Reply {
    let mail = match encrypted {
        true => Mail::encrypted(&from.address, &to.address),
        false => Mail::cleartext(&from.address, &to.address),
    };
    let smtp = Smtp::connect(&relay.endpoints, Door::Smtps);
    let mut smtp = smtp.expect("SMTP");
    let reply = smtp.login(&from.address, &from.password).expect("AUTH");
    if !reply.is_positive() {
        return reply;
    }
    let sent = smtp.send(&from.address, &[&to.address], &mail.to_bytes());
    sent.expect("SMTP")
}

/// What nginx answers to a request without a body.
fn ask(relay: &RelayHost, line: &str) -> Answer {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: _chat.test\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    );
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let answer = relay
        .host
        .on_its_network(|| http::over_tls(&relay.endpoints, 443, client, "", &request));
    answer.expect("an answer")
}

/// `rc-service`, which has to succeed. Its output goes nowhere: what it starts would keep it open.
#[track_caller]
fn service(host: &Host, words: &[&str]) {
    let mut command = host.command(&[&["rc-service"], words].concat());
    let status = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
    assert!(status.is_ok_and(|status| status.success()), "{words:?}");
}

/// The process of one of our services under OpenRC.
#[track_caller]
fn pid(host: &Host, name: &str) -> u32 {
    try_pid(host, name).expect(name)
}

fn try_pid(host: &Host, name: &str) -> Option<u32> {
    let command = match name {
        "chatmail-milter" => "/usr/bin/chatmail-milter ",
        "chatmail-serve" => "/usr/bin/chatmail serve ",
        _ => "/usr/bin/chatmail echobot ",
    };
    let mut processes = host.processes().into_iter();
    let found = processes.find(|process| process.command.starts_with(command))?;
    Some(found.pid)
}
