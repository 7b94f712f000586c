//! `chatmail test` on relays that work and on some that do not.

use std::fs::{self, File};
use std::os::unix::fs::chown;
use std::process::{Command, Output, Stdio};

use chatmail_tests::echobot::{Bot, BotHost, NOBODY};
use chatmail_tests::process::{self, Signal};
use chatmail_tests::{Instance, wait};
use serde_json::Value;

/// Enough for a step on a busy machine, where there is nobody to wait for.
const SHORT: &str = "15";

#[test]
fn an_echo_bot_sends_everything_back_until_it_is_stopped() {
    let relay = Instance::with()
        .param("max_user_send_per_minute", 600)
        .param("max_user_send_burst_size", 100)
        .start();
    let host = BotHost::new(&relay);
    host.create_account();
    let mut bot = host.start();
    let link = host.invite_link();
    // Of the user that runs both.
    let link_file = host.path("state/invite-link.txt");
    let link_file = link_file.to_str().expect("a path");

    let passed = test(&host, &["--invite-link-file", link_file]);
    let words = stdout(&passed);
    assert_eq!(passed.status.code(), Some(0), "{passed:?}");
    let lines: Vec<Vec<&str>> = words
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    let heads: Vec<&[&str]> = lines.iter().map(|line| &line[..2]).collect();
    let expected = ["account", "join", "text", "file"].map(|step| [step, "ok"]);
    assert_eq!(heads, expected.each_ref().map(|head| &head[..]));
    assert!(passed.stderr.is_empty(), "{passed:?}");
    assert_nothing_is_left(&host, Some(&bot));

    let passed = test(&host, &["--invite-link", &link, "--json"]);
    assert_eq!(passed.status.code(), Some(0), "{passed:?}");
    assert_eq!(
        steps(&passed),
        ["account ok", "join ok", "text ok", "file ok"]
    );
    print!("with the echo bot: {}", stdout(&passed));
    assert_nothing_is_left(&host, Some(&bot));

    // Each made an account, which counts as a test's.
    let addresses = relay.addresses();
    let made = addresses
        .iter()
        .filter(|address| address.starts_with("ci-"));
    let made: Vec<_> = made
        .filter(|address| address.find('@') == Some(9))
        .collect();
    assert_eq!((made.len(), addresses.len()), (2, 3), "{addresses:?}");

    assert_eq!(bot.stop().code(), Some(0));
    let failed = test(
        &host,
        &["--invite-link", &link, "--json", "--timeout", SHORT],
    );
    assert_eq!(failed.status.code(), Some(1), "{failed:?}");
    assert_eq!(
        steps(&failed),
        [
            "account ok",
            "join failed: 15 s without an answer to the invitation",
            "text not tried",
            "file not tried"
        ]
    );
    assert!(stderr(&failed).contains("step join failed, tried as ci-"));
    assert_nothing_is_left(&host, None);

    for signal in [Signal::INT, Signal::TERM] {
        let output = host.path(&format!("{signal:?}"));
        let mut waiting = command(&host, &["--invite-link", &link])
            .stdout(File::create(&output).expect("a file"))
            .stderr(Stdio::null())
            .spawn()
            .expect("chatmail");
        let text = || fs::read_to_string(&output).expect("a file");
        wait::until_true("a login", || text().contains("account  ok"));
        process::signal(waiting.id(), signal).expect("a signal");
        let ended = waiting.wait().expect("its end");
        assert_eq!(ended.code(), Some(1));
        assert!(text().contains("interrupted"), "{}", text());
        assert!(text().ends_with("file     not tried\n"), "{}", text());
        assert_nothing_is_left(&host, None);
    }
}

#[test]
fn two_accounts_do_without_a_bot_as_long_as_accounts_may_be_made() {
    let relay = Instance::start();
    let host = BotHost::new(&relay);
    let passed = test(&host, &["--two-accounts", "--json"]);
    assert_eq!(passed.status.code(), Some(0), "{passed:?}");
    assert_eq!(
        steps(&passed),
        ["account ok", "join ok", "text ok", "file ok"]
    );
    print!("with two accounts: {}", stdout(&passed));
    let addresses = relay.addresses();
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    assert_nothing_is_left(&host, None);

    let config = fs::read_to_string(&relay.endpoints().config).expect("chatmail.ini");
    let switch = config
        .lines()
        .find_map(|line| line.strip_prefix("nocreate_file = "))
        .expect("the instance's own kill switch");
    fs::write(switch, "").expect("kill switch");
    let failed = test(&host, &["--two-accounts", "--json"]);
    assert_account_is_refused(&failed, &format!("{switch} is there: see --address"));
    assert_eq!(relay.addresses(), addresses);
    assert_nothing_is_left(&host, None);

    // What it lacks has nothing to do with the relay.
    let none = test(&host, &[]);
    assert_eq!(none.status.code(), Some(66), "{none:?}");
    for way in [
        "/run/chatmail-echobot/invite-link.txt: ",
        "--invite-link-file",
        "--invite-link,",
        "--two-accounts",
    ] {
        assert!(stderr(&none).contains(way), "{none:?}");
    }
    let none = test(&host, &["--two-accounts", "--rpc-server", "/nonexistent"]);
    assert_eq!(none.status.code(), Some(69), "{none:?}");
    assert!(stderr(&none).contains("PyPI"), "{none:?}");
    assert_nothing_is_left(&host, None);
}

#[test]
fn where_no_login_makes_an_account_the_operators_own_is_tried() {
    let relay = Instance::with().param("registration", "closed").start();
    let host = BotHost::new(&relay);
    host.create_account();
    let bot = host.start();
    let link = host.invite_link();

    let failed = test(&host, &["--invite-link", &link, "--json"]);
    assert_account_is_refused(&failed, "registration = closed: see --address");
    assert_nothing_is_left(&host, Some(&bot));

    let made = relay
        .chatmail()
        .args(["user", "create", "--json", "--generate", "--config"])
        .arg(&relay.endpoints().config)
        .output()
        .expect("chatmail");
    let made: Value = serde_json::from_slice(&made.stdout).expect("JSON");
    let [address, password] = ["address", "password"].map(|key| made[key].as_str().expect(key));
    let as_the_account = |password: &str| {
        let file = host.write("password-of-a-test", format!("{password}\n").as_bytes());
        let file = file.to_str().expect("a path");
        let account = ["--address", address, "--password-file", file];
        let output = test(
            &host,
            &[&account[..], &["--invite-link", &link, "--json"]].concat(),
        );
        for text in [stdout(&output), stderr(&output)] {
            assert!(!text.contains(password), "{text}");
        }
        assert_nothing_is_left(&host, Some(&bot));
        output
    };
    let passed = as_the_account(password);
    assert_eq!(passed.status.code(), Some(0), "{passed:?}");
    let failed = as_the_account("another-password");
    assert_account_is_refused(&failed, "uthentication failed");
    assert!(stderr(&failed).contains(address), "{failed:?}");
}

/// `chatmail test` as a user who owns nothing but the directory for temporary files.
fn command(host: &BotHost<'_>, arguments: &[&str]) -> Command {
    let tmp = host.path("tmp");
    fs::create_dir_all(&tmp).expect("a directory");
    chown(&tmp, Some(NOBODY), Some(NOBODY)).expect("its owner");
    let mut command = host.chatmail(NOBODY, "test");
    command.args(host.relay_arguments()).args(arguments);
    if !arguments.contains(&"--rpc-server") {
        command.arg("--rpc-server").arg(host.core());
    }
    command.env("TMPDIR", tmp);
    command
}

fn test(host: &BotHost<'_>, arguments: &[&str]) -> Output {
    command(host, arguments).output().expect("chatmail")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A phrase for each step of the JSON form, whose parts agree with each other and with the exit code.
#[track_caller]
fn steps(output: &Output) -> Vec<String> {
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(report["ok"], output.status.success());
    let steps = report["steps"].as_array().expect("steps");
    let phrases = steps.iter().map(|it| {
        let step = it["step"].as_str().expect("a name");
        match (it["ok"] == true, it["ms"].as_u64(), it["error"].as_str()) {
            (true, Some(_), None) => format!("{step} ok"),
            (false, Some(_), Some(why)) => format!("{step} failed: {why}"),
            (false, None, Some(why)) => format!("{step} {why}"),
            _ => panic!("{it}"),
        }
    });
    phrases.collect()
}

#[track_caller]
fn assert_account_is_refused(output: &Output, hint: &str) {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let steps = steps(output);
    println!("{}", steps[0]);
    assert!(steps[0].starts_with("account failed: "), "{steps:?}");
    assert!(steps[0].contains(hint), "{steps:?}");
    assert_eq!(
        steps[1..],
        ["join not tried", "text not tried", "file not tried"]
    );
}

/// No profile, and no core but that of the bot.
#[track_caller]
fn assert_nothing_is_left(host: &BotHost<'_>, bot: Option<&Bot>) {
    let left = fs::read_dir(host.path("tmp")).expect("the directory");
    let left: Vec<_> = left.map(|entry| entry.expect("a file").path()).collect();
    assert!(left.is_empty(), "{left:?}");
    let core = host.core().to_str().expect("a path");
    let cores = process::all().into_iter();
    let cores = cores.filter(|process| process.command.starts_with(core));
    let cores: Vec<u32> = cores.map(|process| process.pid).collect();
    let expected: Vec<u32> = bot.map(|bot| bot.core().pid).into_iter().collect();
    assert_eq!(cores, expected);
}
