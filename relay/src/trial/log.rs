//! Which step is being tried, and for how long.

use std::pin::pin;
use std::time::Duration;

use tokio::time::{Instant, interval, timeout};

use super::session::Session;
use super::{Outcome, Report, Sign, Step, Tried, Why};

/// How often it is told that a step goes on.
const TICK: Duration = Duration::from_millis(200);

/// The steps so far.
pub(super) struct Log<'w> {
    watch: &'w mut dyn FnMut(Sign<'_>),
    steps: Vec<Tried>,
    /// Of the step that is being tried.
    start: Option<Instant>,
    /// Until it failed.
    took: Option<Duration>,
}

impl<'w> Log<'w> {
    pub(super) fn new(watch: &'w mut dyn FnMut(Sign<'_>)) -> Log<'w> {
        Log {
            watch,
            steps: Vec::new(),
            start: None,
            took: None,
        }
    }

    /// Tries one step, for no longer than the session's time for it. May be dropped at any time.
    pub(super) async fn within<'s, T>(
        &mut self,
        session: &mut Session<'s>,
        step: Step,
        work: impl AsyncFnOnce(&mut Session<'s>) -> Result<T, Why>,
    ) -> Result<T, Why> {
        let start = Instant::now();
        self.start = Some(start);
        session.begin();
        let limit = session.timeout();
        let ended = {
            let mut work = pin!(timeout(limit, work(&mut *session)));
            let mut ticks = interval(TICK);
            loop {
                tokio::select! {
                    ended = &mut work => break ended,
                    _ = ticks.tick() => (self.watch)(Sign::Trying(step, start.elapsed())),
                }
            }
        };
        self.took = Some(start.elapsed());
        match ended {
            Ok(Ok(result)) => {
                (self.start, self.took) = (None, None);
                self.end(step, Outcome::Passed(start.elapsed()));
                Ok(result)
            }
            Ok(Err(Why::Failed(words))) => Err(Why::Failed(session.explained(Some(words)).await)),
            Ok(Err(why)) => Err(why),
            Err(_) => Err(Why::Failed(session.explained(None).await)),
        }
    }

    fn end(&mut self, step: Step, outcome: Outcome) {
        let tried = Tried { step, outcome };
        (self.watch)(Sign::Ended(&tried));
        self.steps.push(tried);
    }

    /// All steps: those that were tried, the one that failed if there is a reason, and the rest.
    pub(super) fn report(mut self, failure: Option<String>) -> Report {
        let so_far = || self.start.map(|start| start.elapsed());
        let took = self.took.or_else(so_far).unwrap_or_default();
        let mut failure = failure.map(|why| Outcome::Failed(took, why));
        for step in Step::ALL.into_iter().skip(self.steps.len()) {
            self.end(step, failure.take().unwrap_or(Outcome::NotTried));
        }
        Report { steps: self.steps }
    }
}
