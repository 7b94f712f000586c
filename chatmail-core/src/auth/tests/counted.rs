//! What a login is counted as, and what it costs.

use super::*;

#[test]
fn what_became_of_each_login_is_counted_once() {
    let relay = Relay::new();
    let counted = |login: &dyn Fn()| {
        let before = relay.auth.counters.read().unwrap();
        login();
        let after = relay.auth.counters.read().unwrap();
        let moved = before.iter().zip(&after).filter(|(a, b)| a != b);
        moved
            .map(|((_, old), (name, new))| {
                assert_eq!(*new, old + 1);
                name.trim_start_matches("chatmail_").to_owned()
            })
            .collect::<Vec<_>>()
    };
    let ask = |address: &[u8], password: &[u8]| drop(relay.auth.login(address, password, None));
    let result = |word: &str| format!("logins_total{{result=\"{word}\"}}");

    relay.with_alice();
    assert_eq!(counted(&|| ask(ALICE, PASSWORD)), [result("known")]);
    assert_eq!(counted(&|| ask(ALICE, PASSWORD)), [result("remembered")]);
    assert_eq!(
        counted(&|| ask(ALICE, b"wrong")),
        [result("wrong-password")]
    );
    assert_eq!(
        counted(&|| ask(b"x@else.example", PASSWORD)),
        [result("unknown")]
    );
    assert_eq!(
        counted(&|| ask(b"bob.12345@chat.example", PASSWORD)),
        [result("created")]
    );
    let refused = result("not-created");
    assert_eq!(
        counted(&|| ask(b"carl.1234@chat.example", b"short")),
        [
            refused,
            "signups_refused_total{reason=\"password\"}".to_owned()
        ]
    );
    assert_eq!(
        counted(&|| drop(relay.auth.lookup(ALICE))),
        [] as [String; 0]
    );
    let file = relay.home(ALICE).join("password");
    fs::write(&file, "").unwrap();
    assert_eq!(counted(&|| ask(ALICE, PASSWORD)), [result("blocked")]);
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(counted(&|| ask(ALICE, PASSWORD)), [result("undecided")]);
}

/// `cargo test --release -p chatmail-core --no-default-features --features auth -- --ignored --nocapture costs`
#[test]
#[ignore = "a measurement"]
fn what_a_repeated_login_costs_beside_a_first_one() {
    fn cpu() -> Duration {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::new(
            time.tv_sec.unsigned_abs(),
            time.tv_nsec.unsigned_abs() as u32,
        )
    }
    fn each(times: u32, mut work: impl FnMut()) -> Duration {
        let start = cpu();
        (0..times).for_each(|_| work());
        (cpu() - start) / times
    }
    let relay = Relay::new();
    relay.with_alice();
    let repeat = || assert!(matches!(relay.login(ALICE, PASSWORD), Login::Known(_)));
    let config = format!(
        "[params]\nmail_domain = chat.example\nmailboxes_dir = {}/mail\n",
        relay.base.path().display()
    );
    let config = Config::parse(Path::new("x"), &config).unwrap();
    let first = each(200, || {
        let fresh = Authenticator::on_host(&config, Arc::new(IDLE));
        assert!(matches!(
            fresh.login(ALICE, PASSWORD, None),
            Ok(Login::Known(_))
        ));
    });
    repeat();
    let repeated = each(100_000, repeat);
    let counter = each(100_000, || relay.auth.counters.count(Counter::LoginKnown));
    let read = each(100_000, || {
        drop(fs::read(relay.home(ALICE).join("password")));
    });
    let stat = each(100_000, || {
        drop(fs::metadata(relay.home(ALICE).join("password")));
    });
    println!("first {first:?}, repeated {repeated:?}, of that a counter {counter:?}");
    println!("reading the file {read:?}, stat {stat:?}");
    assert!(repeated * 10 < first);
}
