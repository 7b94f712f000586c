//! Old mail, forgotten mailboxes, and the report on what is left.
//!
//! | module | what it does |
//! |---|---|
//! | [`expiry`] | one run of the expiry over all mailboxes |
//! | [`report`] | one report on all mailboxes |
//! | [`watch`] | how both tell what they are at, and are told to stop |
//! | `walk` | hands all mailboxes to a few threads |
//! | `schedule` | when the service does what |
//!
//! [`Housekeeping`] is the part of `chatmail serve` that does both by itself.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, SystemTime};

use chatmail_core::config::Config;
use chatmail_core::expire::{Expiry, Mode};
use chatmail_core::usage::Report;
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use expiry::Ended;
use schedule::Schedule;
use watch::Watch;

pub mod expiry;
pub mod report;
mod schedule;
mod walk;
pub mod watch;

/// Between two reports.
const REPORT: Duration = Duration::from_secs(60 * 60);

/// The clock may be set meanwhile: it is looked at so often.
const LOOK: Duration = Duration::from_secs(60);

/// How long a stop waits for the mailbox that is being looked at.
const LAST: Duration = Duration::from_secs(2);

/// The last report, once there is one; for `/metrics`.
#[derive(Debug, Clone, Default)]
pub struct Latest(Arc<Mutex<Option<Arc<Report>>>>);

impl Latest {
    /// It, if there is one.
    pub fn get(&self) -> Option<Arc<Report>> {
        let latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        latest.clone()
    }

    /// Puts another in its place.
    pub fn set(&self, report: Report) {
        let mut latest = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = Some(Arc::new(report));
    }
}

/// Removes what is too old once a day, and reports on all mailboxes once an hour.
///
/// Both run in a thread that gets processor and disk only while nobody else wants them.
#[derive(Debug)]
pub struct Housekeeping {
    config: Arc<Config>,
    latest: Latest,
}

/// What there is to do.
#[derive(Debug, Clone, Copy)]
enum Job {
    Expire,
    Report,
}

impl Housekeeping {
    /// For the relay of `config`.
    pub fn new(config: &Config) -> Housekeeping {
        Housekeeping {
            config: Arc::new(config.clone()),
            latest: Latest::default(),
        }
    }

    /// Where the last report will be found.
    pub fn latest(&self) -> Latest {
        self.latest.clone()
    }

    /// Runs until `shutdown` is ready. What goes wrong is logged, without addresses, and tried again the
    /// next time.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let watch = Arc::new(Watch::silent());
        tokio::select! {
            () = shutdown => {}
            () = self.jobs(&watch) => {}
        }
        // It stops between two mailboxes. A disk that hangs is not waited for.
        watch.stop();
        let _ = timeout(LAST, watch.ended()).await;
    }

    async fn jobs(&self, watch: &Arc<Watch>) {
        let mut schedule = Schedule::new(self.config.expire_at_hour, SystemTime::now());
        let mut next_report = Instant::now();
        loop {
            if schedule.is_due(SystemTime::now()) {
                self.in_background(Job::Expire, watch).await;
                next_report = Instant::now();
            }
            if next_report <= Instant::now() {
                let begin = Instant::now();
                self.in_background(Job::Report, watch).await;
                // On a slow disk it takes long: not all the time.
                next_report = Instant::now() + REPORT.max(begin.elapsed() * 10);
            }
            sleep(LOOK.min(next_report.saturating_duration_since(Instant::now()))).await;
        }
    }

    async fn in_background(&self, job: Job, watch: &Arc<Watch>) {
        let (config, latest) = (Arc::clone(&self.config), self.latest.clone());
        let watch = Arc::clone(watch);
        let (done, end) = oneshot::channel::<()>();
        let started = thread::Builder::new()
            .name("housekeeping".to_owned())
            .spawn(move || {
                let _running = watch.running();
                step_back();
                match job {
                    Job::Expire => expire(&config, &watch),
                    Job::Report => take(&config, &latest, &watch),
                }
                drop(done);
            });
        match started {
            // It never sends anything, and is dropped at the end, also of a panic.
            Ok(_) => drop(end.await),
            Err(error) => tracing::warn!("housekeeping cannot start: {error}"),
        }
    }
}

/// From now on this thread, and those it starts, get processor and disk only while nobody else wants
/// them: the kernel gives a thread of this class the I/O class "idle", too.
fn step_back() {
    let idle = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Idle);
    let done = set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, idle);
    if let Err(error) = done {
        tracing::debug!("housekeeping runs with the priority of all others: {error}");
    }
}

fn expire(config: &Config, watch: &Watch) {
    let expiry = Expiry::new(config, SystemTime::now(), Mode::Remove);
    match expiry::run(config, &expiry, expiry::Doubtful::Refuse, 1, watch) {
        Ok(Ended::Done(outcome)) if outcome.failed > 0 => {
            tracing::warn!("expiry: {outcome}; `chatmail expire` names them");
        }
        Ok(Ended::Done(outcome)) => tracing::info!("expiry: {outcome}"),
        Ok(Ended::Busy) => tracing::info!("expiry: another process is at it"),
        Ok(Ended::Refused(doubt)) => tracing::warn!(
            "expiry: nothing removed: {doubt}. If that is right, run: chatmail expire --remove --force"
        ),
        Err(error) => tracing::warn!("expiry: {}", kind(&error)),
    }
}

fn take(config: &Config, latest: &Latest, watch: &Watch) {
    match report::take(&config.mailboxes(), SystemTime::now(), 1, watch) {
        Ok(Some(report)) => latest.set(report),
        Ok(None) => {}
        Err(error) => tracing::warn!("report: {}", kind(&error)),
    }
}

/// Without the path, which may name an address.
fn kind(error: &io::Error) -> io::ErrorKind {
    error.kind()
}
