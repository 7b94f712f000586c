use super::*;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

struct Relay {
    base: tempfile::TempDir,
}

impl Relay {
    fn new() -> Relay {
        Relay {
            base: tempfile::tempdir().unwrap(),
        }
    }

    fn rates(&self, network: HourlyRate, total: HourlyRate) -> Rates {
        Rates {
            network,
            total,
            file: StateFile::new(self.base.path(), NAME),
        }
    }

    fn path(&self) -> PathBuf {
        self.base.path().join(".chatmail/signups")
    }
}

fn at(seconds: u64) -> impl Fn() -> SystemTime {
    move || UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

fn ip(text: &str) -> Option<IpAddr> {
    Some(text.parse().unwrap())
}

fn passes(rates: &Rates, client: &str, seconds: u64) -> bool {
    let asked = rates.ask(ip(client), at(seconds)).unwrap();
    let taken = rates.take(ip(client), at(seconds)).unwrap();
    assert_eq!(asked.is_ok(), taken.is_ok());
    taken.is_ok()
}

use HourlyRate::{AtMost, Unlimited};

#[test]
fn a_network_has_its_number_at_once_and_then_one_for_each_part_of_the_hour() {
    let relay = Relay::new();
    let rates = relay.rates(AtMost(4), Unlimited);
    for _ in 0..4 {
        assert!(passes(&rates, "192.0.2.1", 0));
    }
    assert_eq!(
        rates.take(ip("192.0.2.1"), at(0)).unwrap(),
        Err(Exceeded::Network)
    );
    assert!(!passes(&rates, "192.0.2.1", 899));
    assert!(passes(&rates, "192.0.2.1", 900));
    assert!(!passes(&rates, "192.0.2.1", 900));
    // What was refused costs nothing; after an idle hour all is as at first, and no more.
    assert_eq!(
        (0..9)
            .filter(|_| passes(&rates, "192.0.2.1", 9_000))
            .count(),
        4
    );
}

#[test]
fn a_network_is_a_24_of_ipv4_or_a_56_of_ipv6() {
    let relay = Relay::new();
    let rates = relay.rates(AtMost(1), Unlimited);
    for (client, same) in [
        ("192.0.2.1", "192.0.2.255"),
        ("198.51.100.7", "::ffff:198.51.100.9"),
        ("2001:db8:1:200::1", "2001:db8:1:2ff:ffff::"),
    ] {
        assert!(passes(&rates, client, 0), "{client}");
        assert!(!passes(&rates, same, 0), "{same}");
    }
    for other in [
        "192.0.3.1",
        "198.51.101.7",
        "2001:db8:1:300::1",
        "c000:200::",
        "::c000:201",
    ] {
        assert!(passes(&rates, other, 0), "{other}");
    }
}

#[test]
fn an_unknown_client_counts_in_total_only() {
    let relay = Relay::new();
    let rates = relay.rates(AtMost(1), AtMost(3));
    for _ in 0..2 {
        assert_eq!(rates.take(None, at(0)).unwrap(), Ok(None));
    }
    assert!(passes(&rates, "192.0.2.1", 0));
    for client in [None, ip("192.0.9.1")] {
        assert_eq!(rates.take(client, at(0)).unwrap(), Err(Exceeded::Total));
    }
    // A refusal in total uses the network's rate not up.
    assert!(passes(&rates, "192.0.9.1", 1_200));
}

#[test]
fn a_clock_that_was_set_back_locks_nobody_out() {
    let relay = Relay::new();
    let rates = relay.rates(AtMost(1), AtMost(2));
    assert!(passes(&rates, "192.0.2.1", 100_000));
    assert!(!passes(&rates, "192.0.2.1", 100_000));
    assert!(passes(&rates, "192.0.2.1", 0));
    assert!(!passes(&rates, "192.0.2.1", 0));
}

#[test]
fn who_waits_for_the_file_counts_from_when_it_is_free() {
    let relay = Relay::new();
    let rates = relay.rates(AtMost(2), Unlimited);
    let read_late = || {
        let now = at(0)();
        assert!(
            fs::File::open(relay.path()).unwrap().try_lock().is_err(),
            "the clock was read before the file was locked"
        );
        now
    };
    assert!(rates.take(ip("192.0.2.1"), read_late).unwrap().is_ok());
    assert!(rates.ask(ip("192.0.2.1"), read_late).unwrap().is_ok());
}

#[test]
fn no_network_stands_in_the_file_and_what_is_over_is_wiped() {
    let [one, two] = [(); 2].map(|()| {
        let relay = Relay::new();
        let rates = relay.rates(AtMost(9), AtMost(99));
        assert!(passes(&rates, "192.0.2.1", 0));
        let bytes = fs::read(relay.path()).unwrap();
        assert_eq!(bytes.len() as u64, SIZE);
        assert!(!bytes.windows(3).any(|window| window == [192, 0, 2]));
        // The hour over, another network in the same set.
        let (header, _) = header(&fs::File::open(relay.path()).unwrap()).unwrap();
        let (tag, place) = place_of(&header, "192.0.2.1".parse().unwrap()).unwrap();
        let other = (0..=255)
            .flat_map(|a| (0..=255).map(move |b| IpAddr::from([10, a, b, 1])))
            .find(|other| place_of(&header, *other).unwrap().1 == place);
        assert!(rates.take(other, at(9_000)).unwrap().is_ok());
        let after = fs::read(relay.path()).unwrap();
        assert!(bytes.windows(8).any(|window| window == tag.to_le_bytes()));
        assert!(!after.windows(8).any(|window| window == tag.to_le_bytes()));
        bytes
    });
    assert_ne!(one, two, "the key is random");
}

#[test]
fn the_busiest_networks_of_a_full_set_are_not_forgotten() {
    let relay = Relay::new();
    let rates = relay.rates(AtMost(2), Unlimited);
    assert!(passes(&rates, "192.0.2.1", 0));
    assert!(passes(&rates, "192.0.2.1", 0));
    let (header, _) = header(&fs::File::open(relay.path()).unwrap()).unwrap();
    let place = |ip| place_of(&header, ip).unwrap().1;
    let busy = "192.0.2.1".parse().unwrap();
    let others: Vec<IpAddr> = (0..=255)
        .flat_map(|a| (0..=255).map(move |b| IpAddr::from([10, a, b, 1])))
        .filter(|other| place(*other) == place(busy))
        .take(20)
        .collect();
    assert_eq!(others.len(), 20);
    for other in others {
        assert!(rates.take(Some(other), at(1)).unwrap().is_ok());
    }
    assert!(!passes(&rates, "192.0.2.1", 2));
}

#[test]
fn a_file_of_a_wrong_kind_or_length_is_made_anew_and_one_of_another_version_is_kept() {
    let relay = Relay::new();
    let rates = relay.rates(AtMost(1), Unlimited);
    assert!(passes(&rates, "192.0.2.1", 0));
    let good = fs::read(relay.path()).unwrap();
    let cut = &good[..good.len() / 2];
    let zeros = vec![0; good.len()];
    for damaged in [cut, &good[..40], &good[1..], &zeros, b"x"] {
        fs::write(relay.path(), damaged).unwrap();
        let warning = rates.take(ip("192.0.2.1"), at(0)).unwrap().unwrap();
        assert!(warning.unwrap().contains("damaged"));
        assert_eq!(fs::metadata(relay.path()).unwrap().len(), SIZE);
        assert!(!passes(&rates, "192.0.2.1", 0));
    }
    fs::write(relay.path(), "").unwrap();
    assert_eq!(rates.take(ip("192.0.2.1"), at(0)).unwrap(), Ok(None));

    let mut newer = good.clone();
    newer[KIND.len()] = b'2';
    newer.push(0);
    fs::write(relay.path(), &newer).unwrap();
    let error = rates.take(ip("192.0.2.1"), at(0)).unwrap_err().to_string();
    assert!(
        error.contains(".chatmail/signups: made by another version"),
        "{error}"
    );
    assert_eq!(fs::read(relay.path()).unwrap(), newer);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever stands in it: an answer, and a file of the right size.
    #[test]
    fn no_content_of_the_file_breaks_it(
        damage in proptest::collection::vec((0..SIZE as usize, any::<u8>()), 0..40),
        fill in any::<u8>(),
        length in 0..(SIZE as usize + 9),
    ) {
        let relay = Relay::new();
        let rates = relay.rates(AtMost(1), AtMost(2));
        assert!(passes(&rates, "192.0.2.1", 0));
        let mut bytes = fs::read(relay.path()).unwrap();
        bytes[HEADER..].fill(fill);
        for (place, byte) in damage {
            bytes[place] = byte;
        }
        bytes.resize(length, fill);
        fs::write(relay.path(), &bytes).unwrap();
        if let Ok(answer) = rates.take(ip("192.0.2.1"), at(0)) {
            prop_assert_eq!(fs::metadata(relay.path()).unwrap().len(), SIZE);
            if answer.is_ok() {
                prop_assert!(!passes(&rates, "192.0.2.1", 0));
            }
        }
    }

    /// Against GCRA in a map.
    #[test]
    fn the_table_counts_like_a_map(
        per_hour in 1..20_u32,
        steps in proptest::collection::vec((0..4_u8, 0..900_u64), 1..60),
    ) {
        let relay = Relay::new();
        let rates = relay.rates(AtMost(per_hour), Unlimited);
        let interval = WINDOW / u64::from(per_hour);
        let (mut now, mut arrivals) = (0, [0_u64; 4]);
        for (network, wait) in steps {
            now += wait;
            let micros = now * 1_000_000;
            let next = arrivals[usize::from(network)].max(micros) + interval;
            let expected = next - micros <= WINDOW;
            if expected {
                arrivals[usize::from(network)] = next;
            }
            let client = Some(IpAddr::from([10, 0, network, 1]));
            prop_assert_eq!(rates.take(client, at(now)).unwrap().is_ok(), expected);
        }
    }
}
