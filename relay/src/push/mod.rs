//! Delivers push notifications.
//!
//! Dovecot's side writes one file for each pending notification into the spool
//! ([`chatmail_core::push`]). The service posts its token to the push service, and the file goes
//! only after that answered 200 or 410, or when the deadline is over. So a crash at any point loses
//! nothing; one between the answer and the removal sends a notification twice, which a phone does
//! not notice.
//!
//! No log line names a token or an address. Files are named: their names are random.

mod attempt;
mod health;
mod post;
mod queue;
mod status;
mod watch;

use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chatmail_core::config::Config;
use chatmail_core::push::Spool;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tracing::{debug, error, info, warn};

use attempt::{Attempt, Outcome};
use health::Health;
use post::PushService;
use queue::{Entry, Queue};
pub use status::Status;
use watch::{News, Watch};

/// Requests on their way at one time. HTTP/2 carries them on one connection; a push service that
/// takes 200 ms then still gets 320 notifications per second.
const IN_FLIGHT: usize = 64;

/// Files that the watch did not tell of are found this often.
const SWEEP: Duration = Duration::from_secs(30);

/// The same where there is no watch: no inotify instance was left.
const SWEEP_WITHOUT_WATCH: Duration = Duration::from_secs(1);

/// How long a file that could not be read is left alone.
const READ_AGAIN: Duration = Duration::from_secs(60);

/// The push delivery of one relay.
pub struct Delivery {
    spool: Spool,
    attempt: Attempt,
    queue: Queue,
    in_flight: JoinSet<(Entry, Outcome)>,
    health: Health,
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
        let attempt = Attempt {
            service: PushService::new(config)?,
            schedule: Arc::new(attempt::relay_schedule),
            mailboxes: Arc::new(mailboxes),
        };
        Ok(Delivery {
            spool,
            attempt,
            queue: Queue::default(),
            in_flight: JoinSet::new(),
            health: Health::default(),
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
        self.attempt.schedule = Arc::new(schedule);
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
        self.sweep()?;
        info!(
            "ready: {} pending notifications in {}",
            self.queue.len(),
            self.spool.dir().display()
        );
        let period = match watch {
            Some(_) => self.sweep_every,
            None => SWEEP_WITHOUT_WATCH,
        };
        let mut sweeps = tokio::time::interval_at(Instant::now() + period, period);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);

        loop {
            self.start_due();
            self.status
                .set(self.queue.len(), self.in_flight.len(), None, false);
            let next_due = self.next_due();
            tokio::select! {
                () = &mut shutdown => {
                    info!("stopping: {} notifications stay in the spool", self.queue.len());
                    return Ok(());
                }
                Some(done) = self.in_flight.join_next() => {
                    let (entry, outcome) = done.map_err(io::Error::other)?;
                    self.finish(entry, outcome);
                }
                news = news(&mut watch) => match news {
                    Ok(News::File(file)) => self.add(file),
                    Ok(News::Sweep) => self.sweep()?,
                    Err(why) => {
                        warn!("inotify failed ({why}); sweeping every {SWEEP_WITHOUT_WATCH:?} instead");
                        watch = None;
                        sweeps = tokio::time::interval(SWEEP_WITHOUT_WATCH);
                        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
                    }
                },
                _ = sweeps.tick() => {
                    if let Some(watch) = &watch && let Err(why) = watch.renew() {
                        warn!("cannot watch the spool: {why}");
                    }
                    self.sweep()?;
                }
                () = next_due => {}
            }
        }
    }

    /// Starts what is due, as far as there is room.
    fn start_due(&mut self) {
        while self.in_flight.len() < IN_FLIGHT
            && let Some(entry) = self.queue.take_due(Instant::now())
        {
            let attempt = self.attempt.clone();
            self.in_flight.spawn(async move {
                let outcome = attempt.make(&entry.file, entry.failed).await;
                (entry, outcome)
            });
        }
    }

    /// Ready when another attempt can start; never while there is no room.
    fn next_due(&self) -> impl Future<Output = ()> + use<> {
        let due = self
            .queue
            .next_due()
            .filter(|_| self.in_flight.len() < IN_FLIGHT);
        async move {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        }
    }

    fn finish(&mut self, entry: Entry, outcome: Outcome) {
        let file = name(&entry.file).into_owned();
        match outcome {
            Outcome::Delivered => {
                self.health.well();
                debug!(file, "delivered");
                self.queue.forget(&entry);
            }
            Outcome::DeviceGone => {
                self.health.well();
                debug!(file, "the device is gone, and its token removed");
                self.queue.forget(&entry);
            }
            Outcome::Vanished => self.queue.forget(&entry),
            Outcome::Unreadable(why) => {
                warn!(file, "removed an unreadable file from the spool: {why}");
                self.queue.forget(&entry);
            }
            Outcome::GivenUp => {
                warn!(
                    file,
                    "given up: too many failures, or too long after the message"
                );
                self.queue.forget(&entry);
            }
            Outcome::Later { after, why, unwell } => {
                if unwell {
                    self.health.unwell(&why);
                }
                debug!(file, "not delivered, next attempt in {after:?}: {why}");
                self.queue.retry(entry, Instant::now() + after);
            }
            Outcome::CannotRead(why) => {
                if entry.failed == 0 {
                    error!(file, "cannot be read, will try again: {why}");
                }
                self.queue.retry(entry, Instant::now() + READ_AGAIN);
            }
            // It stays known, so that this process does not send it again and again.
            Outcome::Stuck(why) => error!(file, "left in the spool: {why}"),
        }
    }

    /// Finds what the watch did not tell of: what is older than it, above all.
    fn sweep(&mut self) -> io::Result<()> {
        for file in self.spool.remove_leftover_tmp(SystemTime::now())? {
            warn!(file = %name(&file), "removed a half-written file from the spool");
        }
        for entry in std::fs::read_dir(self.spool.dir())? {
            self.add(entry?.path());
        }
        Ok(())
    }

    fn add(&mut self, file: PathBuf) {
        // Half-written ones become a notification by being renamed.
        if file.extension() != Some(OsStr::new("tmp")) {
            self.queue.add(file, Instant::now());
        }
    }
}

/// News of the watch; none ever without one.
async fn news(watch: &mut Option<Watch>) -> io::Result<News> {
    match watch {
        Some(watch) => watch.news().await,
        None => std::future::pending().await,
    }
}

/// The file's random name. The path would say no more.
fn name(file: &Path) -> std::borrow::Cow<'_, str> {
    file.file_name().unwrap_or_default().to_string_lossy()
}
