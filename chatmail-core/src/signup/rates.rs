//! How many new addresses there may be: GCRA over the sign-ups of one network, and of all.
//!
//! Every auth worker has to know what the others let in, and a restart must not forget it, so the
//! state stands in `MAILBOXES_DIR/.chatmail/signups`, 128 KiB whatever comes:
//!
//! | bytes | what |
//! |---|---|
//! | 16 | kind and version of the file |
//! | 32 | random key |
//! | 8 | theoretical arrival time of all sign-ups |
//! | 8 | nothing |
//! | 1024 × 8 × 16 | for each network its tag and its theoretical arrival time |
//!
//! Numbers are little-endian, times microseconds since 1970. A network is an IPv4 /24 or an IPv6 /56.
//! It is never written down: its tag is a keyed hash, and what is over is wiped when its set of eight
//! is next written. The key stands beside the tags, so this keeps networks out of backups and
//! sight; it does not stop somebody with the file from trying all networks.
//!
//! A set that is full of busy networks forgets the one that is closest to idle. Somebody would need eight
//! networks in one of 1024 sets for that, without knowing the key.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::FileExt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::config::{Config, HourlyRate};
use crate::state::StateFile;

const NAME: &str = "signups";

const KIND: &[u8; 15] = b"chatmail signup";
const VERSION: u8 = b'1';

const KEY_AT: usize = 16;
const KEY: usize = 32;
const TOTAL_AT: usize = KEY_AT + KEY;
const HEADER: usize = 64;

const SETS: u64 = 1024;
const WAYS: usize = 8;
const SLOT: usize = 16;
const SET: usize = WAYS * SLOT;
const SIZE: u64 = HEADER as u64 + SETS * SET as u64;

/// An hour in microseconds: over so long a rate is counted, and so far ahead a time may lie.
const WINDOW: u64 = 3_600_000_000;

/// Behind a process that was stopped, "could not decide" is better than to wait for ever.
const PATIENCE: Duration = Duration::from_secs(5);

/// Which rate is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    Network,
    Total,
}

/// Both rates.
#[derive(Debug)]
pub(super) struct Rates {
    network: HourlyRate,
    total: HourlyRate,
    file: StateFile,
}

/// Allowed, perhaps with a warning for the log; or not. `Err`: it cannot be told.
type Answer = io::Result<Result<Option<String>, Exceeded>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Use {
    Ask,
    Take,
    TakeOfNetwork,
}

/// One network's place in its set.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    tag: u64,
    arrival: u64,
}

impl Rates {
    pub(super) fn new(config: &Config) -> Rates {
        Rates {
            network: config.max_network_signups_per_hour,
            total: config.max_signups_per_hour,
            file: StateFile::new(&config.mailboxes_dir, NAME),
        }
    }

    /// Whether one more is allowed; counts nothing.
    pub(super) fn ask(&self, client: Option<IpAddr>, clock: impl FnOnce() -> SystemTime) -> Answer {
        match self.run(client, clock, Use::Ask) {
            // The first address of all makes the directory.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Ok(None)),
            answer => answer,
        }
    }

    /// Counts one more, if it is allowed.
    pub(super) fn take(
        &self,
        client: Option<IpAddr>,
        clock: impl FnOnce() -> SystemTime,
    ) -> Answer {
        self.run(client, clock, Use::Take)
    }

    /// Counts one more against the network alone, if it is allowed. Who is above the rate is no more
    /// than that.
    pub(super) fn take_of_network(
        &self,
        client: Option<IpAddr>,
        clock: impl FnOnce() -> SystemTime,
    ) -> io::Result<()> {
        self.run(client, clock, Use::TakeOfNetwork).map(|_| ())
    }

    fn run(
        &self,
        client: Option<IpAddr>,
        clock: impl FnOnce() -> SystemTime,
        usage: Use,
    ) -> Answer {
        let network = client.filter(|_| self.network != HourlyRate::Unlimited);
        let of_all = match usage {
            Use::Ask | Use::Take => self.total,
            Use::TakeOfNetwork => HourlyRate::Unlimited,
        };
        if network.is_none() && of_all == HourlyRate::Unlimited {
            return Ok(Ok(None));
        }
        self.file.locked(PATIENCE, |file| {
            // Who waited for the lock must not count from before the one who had it: the last
            // sign-up that the rate allows would be one too many.
            let now = clock().duration_since(UNIX_EPOCH).unwrap_or_default();
            let now = u64::try_from(now.as_micros()).unwrap_or(u64::MAX / 2);
            let (header, warning) = header(file)?;
            let total = match next(of_all, number(&header, TOTAL_AT), now) {
                Ok(next) => next,
                Err(()) => return Ok(Err(Exceeded::Total)),
            };
            if let Some(ip) = network
                && !self.network_passes(file, &header, ip, now, usage)?
            {
                return Ok(Err(Exceeded::Network));
            }
            if usage == Use::Take && of_all != HourlyRate::Unlimited {
                file.write_all_at(&total.to_le_bytes(), TOTAL_AT as u64)?;
            }
            Ok(Ok(warning))
        })
    }

    fn network_passes(
        &self,
        file: &File,
        header: &[u8; HEADER],
        ip: IpAddr,
        now: u64,
        usage: Use,
    ) -> io::Result<bool> {
        let (tag, place) = place_of(header, ip)?;
        let mut set = [0; SET];
        file.read_exact_at(&mut set, place)?;
        let mut slots: [Slot; WAYS] = std::array::from_fn(|way| Slot {
            tag: number(&set, way * SLOT),
            arrival: number(&set, way * SLOT + 8),
        });
        for slot in &mut slots {
            if !is_busy(slot.arrival, now) {
                *slot = Slot::default();
            }
        }
        let known = slots.iter().find(|slot| slot.tag == tag);
        let arrival = known.map_or(0, |slot| slot.arrival);
        let Ok(next) = next(self.network, arrival, now) else {
            return Ok(false);
        };
        if usage != Use::Ask {
            let slot = slots.iter_mut().min_by_key(|slot| match slot.tag == tag {
                true => 0,
                false => slot.arrival.saturating_add(1),
            });
            if let Some(slot) = slot {
                *slot = Slot { tag, arrival: next };
            }
            for (bytes, slot) in set
                .chunks_exact_mut(8)
                .zip(slots.iter().flat_map(|slot| [slot.tag, slot.arrival]))
            {
                bytes.copy_from_slice(&slot.to_le_bytes());
            }
            file.write_all_at(&set, place)?;
        }
        Ok(true)
    }
}

/// One more at `now`: the next arrival time, or too many.
fn next(rate: HourlyRate, arrival: u64, now: u64) -> Result<u64, ()> {
    let per_hour = match rate {
        HourlyRate::Unlimited => return Ok(0),
        HourlyRate::AtMost(0) => return Err(()),
        HourlyRate::AtMost(number) => u64::from(number),
    };
    let from = if is_busy(arrival, now) { arrival } else { now };
    // Rounded down, so that the whole number fits into the hour.
    let next = from + WINDOW / per_hour;
    if next - now <= WINDOW {
        Ok(next)
    } else {
        Err(())
    }
}

/// Whether a time still counts. It never lies more than an hour ahead, unless the clock was set
/// back or the file is damaged: then it says nothing.
fn is_busy(arrival: u64, now: u64) -> bool {
    arrival > now && arrival - now <= WINDOW
}

/// Tag of the client's network, and where its set begins.
fn place_of(header: &[u8; HEADER], ip: IpAddr) -> io::Result<(u64, u64)> {
    let mut mac = Hmac::<Sha256>::new_from_slice(&header[KEY_AT..KEY_AT + KEY])
        .map_err(|_| io::Error::other("a key of no length"))?;
    match ip.to_canonical() {
        IpAddr::V4(ip) => mac.update(&[&b"4"[..], &ip.octets()[..3]].concat()),
        IpAddr::V6(ip) => mac.update(&[&b"6"[..], &ip.octets()[..7]].concat()),
    }
    let hash = mac.finalize().into_bytes();
    // 0 is an empty slot.
    let tag = number(&hash, 0).max(1);
    Ok((tag, HEADER as u64 + number(&hash, 8) % SETS * SET as u64))
}

/// The header of the file; of a new one if there was none. A damaged file holds nothing worth more
/// than the sign-ups of an hour, so it is replaced, and the log is told.
fn header(file: &File) -> io::Result<([u8; HEADER], Option<String>)> {
    let mut header = [0; HEADER];
    let length = file.metadata()?.len();
    if length >= HEADER as u64 {
        file.read_exact_at(&mut header, 0)?;
        let version = header[KIND.len()];
        if header.starts_with(KIND) && version != VERSION && version.is_ascii_graphic() {
            let why = "made by another version of this software: remove it if that is gone";
            return Err(io::Error::other(why));
        }
        if header.starts_with(KIND) && version == VERSION && length == SIZE {
            return Ok((header, None));
        }
        header.fill(0);
    }
    getrandom::fill(&mut header[KEY_AT..KEY_AT + KEY])
        .map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
    header[..KIND.len()].copy_from_slice(KIND);
    header[KIND.len()] = VERSION;
    file.set_len(0)?;
    file.set_len(SIZE)?;
    // The kind last: cut short before it, this is a damaged file, and so made anew.
    file.write_all_at(&header[KEY_AT..], KEY_AT as u64)?;
    file.write_all_at(&header[..KEY_AT], 0)?;
    let warning = (length > 0).then(|| {
        format!("{NAME}: damaged; the sign-ups of the last hour are forgotten and counted anew")
    });
    Ok((header, warning))
}

/// The number at `at`; 0 beyond the end.
fn number(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk());
    bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests;
