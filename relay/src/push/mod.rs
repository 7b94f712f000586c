//! Delivers push notifications.
//!
//! Dovecot's side writes one file for each pending notification into the spool
//! ([`chatmail_core::push`]). The service posts its token to the push service, and the file goes
//! only after that answered 200 or 410, or when the deadline is over. So a crash at any point loses
//! nothing; one between the answer and the removal sends a notification twice, which a phone does
//! not notice. Nothing but the spool is remembered: a restart begins anew with what is there.
//!
//! | module | what it decides |
//! |---|---|
//! | `watch`, `sweep` | which files there are: told by inotify, and looked for twice a minute |
//! | `queue`, `name` | whose turn it is; some 60 bytes for each notification that waits |
//! | `merge` | that a device is asked to wake up once a second at most |
//! | `attempt`, `post`, `connection` | one request: up to 320 at once on one HTTP/2 connection, or 32 HTTP/1.1 connections |
//! | `retry_after`, `jitter` | how long to wait for the next attempt, besides the schedule |
//! | `circuit` | when the push service is down, and whether it is back |
//! | `work` | what becomes of the file |
//! | `status`, `tally` | what others are told: figures of the moment, and counters |
//!
//! # Failures
//!
//! An answer other than 200, 410, 429 and 5xx is about one notification: it is tried again after 8, 64, 512 and
//! 4096 seconds, each up to a quarter longer, and given up after that, or five hours after its
//! message. No answer, 429 and 5xx count the same as long as the service answers others. After three in
//! a row it is taken to be down: one request at a time asks, after 8 to 64 seconds, whether it is back, and
//! no failure counts against a notification until it is. `Retry-After` is honoured up to an hour: by
//! the notification it was an answer to, and by all of them while the service is down.
//!
//! What is in the spool and is no notification is moved to
//! `MAILBOXES_DIR/.chatmail/unreadable_notifications`, and told once.
//!
//! No log line names a token or an address. Files are named: their names are hashes.

mod attempt;
mod circuit;
mod connection;
mod jitter;
mod merge;
mod name;
mod post;
mod queue;
mod retry_after;
mod status;
mod sweep;
mod tally;
mod watch;
mod work;

use std::collections::HashSet;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chatmail_core::config::Config;
use chatmail_core::counters::Counters;
use chatmail_core::push::Spool;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{info, warn};

use attempt::{Attempt, Outcome, Schedule};
use circuit::Circuit;
use merge::Merge;
use name::{Hasher, Key, Names};
use post::PushService;
use queue::Queue;
pub use status::Status;
use sweep::Sweep;
use tally::Tally;
use watch::{News, Watch};
use work::Sent;

/// Files that the watch did not tell of are found this often.
const SWEEP: Duration = Duration::from_secs(30);

/// The same where there is no watch: no inotify instance was left.
const SWEEP_WITHOUT_WATCH: Duration = Duration::from_secs(1);

/// The push delivery of one relay.
pub struct Delivery {
    spool: Spool,
    attempt: Attempt,
    schedule: Schedule,
    names: Names,
    queue: Queue,
    devices: Hasher,
    merge: Merge,
    circuit: Circuit,
    in_flight: JoinSet<(Sent, Outcome)>,
    /// Notifications in flight, and those merged with them.
    on_their_way: HashSet<Key>,
    /// Counts how often requests were started.
    batch: u64,
    sweep: Option<Sweep>,
    swept: bool,
    /// There are files that were not taken for lack of room.
    left_out: bool,
    /// The last file could not be read for a reason that may pass.
    cannot_read: bool,
    tally: Tally,
    status: Arc<Status>,
    sweep_every: Duration,
}

impl Delivery {
    /// For the spool of this relay; makes the spool's directory if it is missing.
    ///
    /// The error names the key of `chatmail.ini` or the directory that is wrong.
    pub fn new(config: &Config) -> Result<Delivery, String> {
        let mailboxes = config.mailboxes();
        let directory = mailboxes.push_spool();
        let spool =
            Spool::open(&directory).map_err(|why| format!("{}: {why}", directory.display()))?;
        let tally = Tally::new(Counters::new(&mailboxes));
        let attempt = Attempt {
            service: PushService::new(config)?,
            mailboxes: Arc::new(mailboxes),
        };
        Ok(Delivery {
            spool,
            attempt,
            schedule: Schedule::of_relays(),
            names: Names::default(),
            queue: Queue::new(Instant::now()),
            devices: Hasher::default(),
            merge: Merge::default(),
            circuit: Circuit::default(),
            in_flight: JoinSet::new(),
            on_their_way: HashSet::new(),
            batch: 0,
            sweep: None,
            swept: false,
            left_out: false,
            cannot_read: false,
            tally,
            status: Arc::default(),
            sweep_every: SWEEP,
        })
    }

    /// What it is at, for as long as it runs and after.
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Replaces the relay's retry schedule, for tests. Given the time of the message, the failures so
    /// far (0 before the first attempt) and the time now, it answers how long to wait; `None` gives up.
    pub fn with_schedule(
        mut self,
        schedule: impl Fn(SystemTime, u32, SystemTime) -> Option<Duration> + Send + Sync + 'static,
    ) -> Delivery {
        self.schedule = Schedule::new(schedule);
        self
    }

    /// Replaces the 8 seconds after which a push service that is down is asked first, for tests.
    pub fn with_first_pause(mut self, pause: Duration) -> Delivery {
        self.circuit = Circuit::with_first_pause(pause);
        self
    }

    /// Replaces the 30 seconds between two sweeps of the spool, for tests.
    pub fn with_sweep_every(mut self, period: Duration) -> Delivery {
        self.sweep_every = period;
        self
    }

    /// Runs until `shutdown` is ready. Requests on their way are then given up; their files are
    /// still there for the next start.
    ///
    /// An error means that the spool cannot be read.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        tokio::pin!(shutdown);
        // Watch first, sweep second: a file in between is seen twice, never missed.
        let mut watch = match Watch::new(self.spool.dir()) {
            Ok(watch) => Some(watch),
            Err(why) => {
                warn!(
                    "no inotify ({why}): new notifications are found up to {SWEEP_WITHOUT_WATCH:?} late"
                );
                None
            }
        };
        self.begin_sweep()?;
        let mut sweeps = every(match watch {
            Some(_) => self.sweep_every,
            None => SWEEP_WITHOUT_WATCH,
        });
        loop {
            self.start_due();
            self.tell_status();
            let next_start = at(self.next_start());
            let flush = at(self.tally.due());
            tokio::select! {
                () = &mut shutdown => {
                    info!("stopping: {} notifications stay in the spool", self.queue.len());
                    self.tally.flush();
                    return Ok(());
                }
                Some(done) = self.in_flight.join_next() => self.finish_all(done)?,
                news = news(&mut watch) => match news {
                    Ok(news) => {
                        self.hear(news)?;
                        if let Some(watch) = &mut watch {
                            self.hear_more(watch)?;
                        }
                    }
                    Err(why) => {
                        warn!("inotify failed ({why}); sweeping every {SWEEP_WITHOUT_WATCH:?} instead");
                        watch = None;
                        sweeps = every(SWEEP_WITHOUT_WATCH);
                    }
                },
                _ = sweeps.tick() => {
                    self.begin_sweep()?;
                    if let Some(watch) = &watch && let Err(why) = watch.renew() {
                        warn!("cannot watch the spool: {why}");
                    }
                }
                () = tokio::task::yield_now(), if self.sweep.is_some() => self.sweep_on()?,
                () = next_start => {}
                () = flush => self.tally.flush_aside(),
            }
        }
    }

    fn tell_status(&self) {
        self.status.set(
            self.queue.len(),
            self.in_flight.len(),
            self.queue.oldest().map(u64::from),
            self.circuit.is_down(),
        );
    }
}

/// Ticks after each period, the first one included.
fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Ready at that time, never if there is none. Lets others run before it is, even if the time is past.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) if time <= Instant::now() => tokio::task::yield_now().await,
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

/// News of the watch; none ever without one.
async fn news(watch: &mut Option<Watch>) -> io::Result<News> {
    match watch {
        Some(watch) => watch.news().await,
        None => std::future::pending().await,
    }
}
