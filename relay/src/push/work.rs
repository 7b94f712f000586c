//! From a file of the spool to a request, and from its answer to what becomes of the file.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use chatmail_core::counters::Counter;
use chatmail_core::push::{Pending, Spool};
use tokio::task::JoinError;
use tokio::time::Instant;
use tracing::{debug, error, info, warn};

use super::Delivery;
use super::attempt::{Found, Outcome, find};
use super::circuit::Blame;
use super::merge::{APART, Device, Moment, Turn};
use super::name::{Key, Pair};
use super::queue::Entry;
use super::sweep::{Sweep, second, seconds};
use super::watch::{News, Watch};

/// Files that are read without a pause.
const PIECE: usize = 256;

/// How long a file that could not be read is left alone.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// A notification on its way.
#[derive(Debug)]
pub(super) struct Sent {
    entry: Entry,
    device: Device,
    /// The time of its message.
    since: SystemTime,
}

impl Delivery {
    /// Starts what is due, as far as there is room.
    pub(super) fn start_due(&mut self) {
        let now = Instant::now();
        let width = self.attempt.service.width();
        let room = self.circuit.room(width, self.in_flight.len(), now);
        if room == 0 {
            return;
        }
        self.batch += 1;
        let moment = Moment {
            instant: now,
            second: seconds(SystemTime::now()).into(),
            batch: self.batch,
        };
        let mut leaving = Vec::new();
        for _ in 0..PIECE {
            if leaving.len() == room {
                break;
            }
            let Some(entry) = self.queue.take_due(now) else {
                break;
            };
            leaving.extend(self.consider(entry, moment));
        }
        // No earlier: none leaves while others may still join it.
        for (sent, pending) in leaving {
            self.circuit.leaves(sent.entry.key);
            let attempt = self.attempt.clone();
            self.in_flight.spawn(async move {
                let outcome = attempt.make(pending.token, pending.address).await;
                (sent, outcome)
            });
        }
    }

    /// When another request may start, if time alone decides it.
    pub(super) fn next_start(&self) -> Option<Instant> {
        let now = Instant::now();
        let due = self.queue.next_due(now)?;
        let width = self.attempt.service.width();
        match self.circuit.room(width, self.in_flight.len(), now) {
            0 => Some(due.max(self.circuit.opens_at()?)),
            _ => Some(due),
        }
    }

    /// It is this notification's turn. What is not sent now is where it belongs afterwards.
    fn consider(&mut self, entry: Entry, moment: Moment) -> Option<(Sent, Pending)> {
        let entry = self.claim(entry, moment)?;
        let found = find(self.path(entry.key));
        if !matches!(found, Found::CannotRead(_)) {
            self.cannot_read = false;
        }
        let pending = match found {
            Found::Pending(pending) => pending,
            Found::Vanished => {
                self.forget(entry.key);
                return None;
            }
            Found::Unreadable(why) => {
                self.set_aside(entry.key, &why);
                return None;
            }
            Found::CannotRead(why) => {
                self.cannot_read(entry, &why, moment);
                return None;
            }
        };
        if !self.schedule.is_in_time(pending.since, SystemTime::now()) {
            self.give_up(entry.key);
            return None;
        }
        let device = self.devices.hash((&pending.address, &pending.token));
        let second = seconds(pending.since).into();
        match self.merge.turn(entry, device, second, moment) {
            Turn::Send => {
                self.on_their_way.insert(entry.key);
                let since = pending.since;
                let sent = Sent {
                    entry,
                    device,
                    since,
                };
                return Some((sent, pending));
            }
            Turn::Rides => drop(self.on_their_way.insert(entry.key)),
            Turn::Done => self.done(entry.key, Counter::PushMerged),
            Turn::Wait(until) => self.queue.wait(entry, until),
        }
        None
    }

    /// Claims the file, so that the next message for this device makes a new one instead of replacing it.
    /// `None` if it cannot be sent now.
    fn claim(&mut self, mut entry: Entry, moment: Moment) -> Option<Entry> {
        let Some(Pair { waiting, claimed }) = self.names.pair(entry.key) else {
            return Some(entry);
        };
        if self.on_their_way.contains(&claimed) {
            self.queue.wait(entry, moment.instant + APART);
            return None;
        }
        let is_new = entry.key == waiting;
        match fs::rename(self.path(waiting), self.path(claimed)) {
            Ok(()) if is_new => {
                if self.queue.renamed(waiting, claimed) {
                    self.tally.add(Counter::PushMerged, 1);
                }
                entry.key = claimed;
            }
            // A newer one is sent in its place. The newer one's own entry will find no file.
            Ok(()) => self.tally.add(Counter::PushMerged, 1),
            Err(why) if why.kind() == ErrorKind::NotFound => {
                if is_new {
                    self.forget(waiting);
                    return None;
                }
            }
            Err(why) => {
                self.cannot_read(entry, &why.kind().to_string(), moment);
                return None;
            }
        }
        Some(entry)
    }

    fn cannot_read(&mut self, entry: Entry, why: &str, moment: Moment) {
        if !std::mem::replace(&mut self.cannot_read, true) {
            error!(file = %self.name(entry.key), "cannot be read, will try again: {why}");
        }
        self.queue.wait(entry, moment.instant + READ_AGAIN);
    }

    /// A request came to its end, and perhaps others with it.
    pub(super) fn finish_all(
        &mut self,
        first: Result<(Sent, Outcome), JoinError>,
    ) -> io::Result<()> {
        let mut next = Some(first);
        while let Some(done) = next {
            let (sent, outcome) = done.map_err(io::Error::other)?;
            self.finish(&sent, outcome);
            next = self.in_flight.try_join_next();
        }
        if self.left_out && self.queue.has_much_room() {
            self.begin_sweep()?;
        }
        Ok(())
    }

    fn finish(&mut self, sent: &Sent, outcome: Outcome) {
        let now = Instant::now();
        let key = sent.entry.key;
        let delivered = matches!(outcome, Outcome::Delivered | Outcome::DeviceGone);
        let riders = self.merge.answered(key, sent.device, delivered);
        for key in riders.iter().map(|rider| rider.key).chain([key]) {
            self.on_their_way.remove(&key);
        }
        match outcome {
            Outcome::Delivered | Outcome::DeviceGone => {
                self.circuit.well(now);
                self.done(
                    key,
                    match outcome {
                        Outcome::Delivered => Counter::PushDelivered,
                        _ => Counter::PushDeviceGone,
                    },
                );
                for rider in riders {
                    self.done(rider.key, Counter::PushMerged);
                }
            }
            Outcome::Failed { why, retry_after } => {
                self.circuit.well(now);
                self.try_again(sent, riders, &why, retry_after);
            }
            Outcome::Unwell { why, retry_after } => {
                let blame = self.circuit.unwell(key, &why, retry_after, now);
                if blame == Blame::Service {
                    self.attempt.service.start_anew();
                }
                if blame == Blame::Notification {
                    self.try_again(sent, riders, &why, retry_after);
                } else {
                    for entry in riders.into_iter().chain([sent.entry]) {
                        self.queue.again(entry);
                    }
                }
            }
        }
    }

    /// A failure of this notification's own, and of those that rode with it.
    fn try_again(
        &mut self,
        sent: &Sent,
        riders: Vec<Entry>,
        why: &str,
        retry_after: Option<Duration>,
    ) {
        let failed = sent.entry.failed.saturating_add(1);
        let now = SystemTime::now();
        let Some(pause) = self.schedule.pause(sent.since, failed, retry_after, now) else {
            self.give_up(sent.entry.key);
            // They came later, or failed less often.
            for rider in riders {
                self.queue.again(rider);
            }
            return;
        };
        debug!(file = %self.name(sent.entry.key), "not delivered, next attempt in {pause:?}: {why}");
        self.tally.add(Counter::PushRetry, 1);
        let until = Instant::now() + pause;
        for mut entry in riders.into_iter().chain([sent.entry]) {
            entry.failed = entry.failed.saturating_add(1);
            self.queue.wait(entry, until);
        }
    }

    /// Removes a file that is of no more use.
    fn done(&mut self, key: Key, counter: Counter) {
        self.tally.add(counter, 1);
        match fs::remove_file(self.path(key)) {
            Err(why) if why.kind() != ErrorKind::NotFound => {
                // It stays known, so that this process does not send it again and again.
                error!(file = %self.name(key), "done, but left in the spool: {}", why.kind());
            }
            _ => {
                debug!(file = %self.name(key), "done: {}", counter.name());
                self.forget(key);
            }
        }
    }

    fn give_up(&mut self, key: Key) {
        let file = self.name(key);
        warn!(
            file,
            "given up: too many failures, or too long after the message"
        );
        self.done(key, Counter::PushGivenUp);
    }

    fn set_aside(&mut self, key: Key, why: &str) {
        let file = self.name(key);
        match self.spool.set_aside(&self.path(key), SystemTime::now()) {
            Ok(()) => {
                warn!(
                    file,
                    "no notification, moved to .chatmail/unreadable_notifications: {why}"
                );
                self.tally.add(Counter::PushUnreadable, 1);
                self.forget(key);
            }
            // It stays known, so that this is said once.
            Err(stays) => error!(
                file,
                "no notification ({why}), left in the spool: {}",
                stays.kind()
            ),
        }
    }

    fn forget(&mut self, key: Key) {
        self.queue.forget(key);
        self.names.forget(key);
    }

    /// Looks for what the watch did not tell of: what is older than it, above all.
    pub(super) fn begin_sweep(&mut self) -> io::Result<()> {
        if self.sweep.is_none() {
            self.left_out = false;
            self.sweep = Some(Sweep::begin(&self.spool)?);
            if let Err(why) = self.spool.clear_aside(SystemTime::now()) {
                warn!("cannot clear away old unreadable notifications: {why}");
            }
        }
        Ok(())
    }

    /// Goes on with it.
    pub(super) fn sweep_on(&mut self) -> io::Result<()> {
        let Some(mut sweep) = self.sweep.take() else {
            return Ok(());
        };
        let piece = sweep.piece()?;
        for entry in &piece {
            let path = entry.path();
            if Spool::is_half_written(&path) {
                self.clear_leftover(&path);
            } else if self.queue.is_full() {
                sweep.left_out = true;
            } else {
                let key = self.names.key(&entry.file_name());
                if !self.queue.knows(key) {
                    self.queue.add(key, second(entry));
                }
            }
        }
        if !Sweep::is_over(&piece) {
            self.sweep = Some(sweep);
            return Ok(());
        }
        self.left_out |= sweep.left_out;
        if !std::mem::replace(&mut self.swept, true) {
            info!(
                "ready: {} pending notifications in {}",
                self.queue.len(),
                self.spool.dir().display()
            );
        }
        Ok(())
    }

    fn clear_leftover(&self, path: &std::path::Path) {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        match self.spool.remove_leftover(path, SystemTime::now()) {
            Ok(true) => warn!(%file, "removed a half-written file from the spool"),
            Ok(false) => {}
            Err(why) => warn!(%file, "half-written, and cannot be removed: {}", why.kind()),
        }
    }

    /// The watch tells something.
    pub(super) fn hear(&mut self, news: News) -> io::Result<()> {
        match news {
            // Half-written ones become a notification by being renamed.
            News::File(name) if !Spool::is_half_written(name.as_ref()) => self.add(&name),
            News::File(_) => {}
            News::Sweep => self.begin_sweep()?,
        }
        Ok(())
    }

    /// Hears what else it has to tell at the moment, so that notifications that came together are
    /// looked at together.
    pub(super) fn hear_more(&mut self, watch: &mut Watch) -> io::Result<()> {
        for _ in 0..PIECE {
            match watch.news_now() {
                Some(news) => self.hear(news?)?,
                None => break,
            }
        }
        Ok(())
    }

    fn add(&mut self, name: &OsStr) {
        if self.queue.is_full() {
            self.left_out = true;
        } else {
            let key = self.names.key(name);
            self.queue.add(key, seconds(SystemTime::now()));
        }
    }

    fn path(&self, key: Key) -> PathBuf {
        self.spool.dir().join(self.names.name(key))
    }

    /// The file's name, which says as much as the path.
    fn name(&self, key: Key) -> String {
        self.names.name(key).to_string_lossy().into_owned()
    }
}
