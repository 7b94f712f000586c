//! The steps of a trial, and what became of them.

use std::fmt;
use std::time::Duration;

/// One thing that people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A login by IMAP and SMTP, which makes the account if it is new.
    Account,
    /// An invitation is followed until both sides know each other's keys.
    Join,
    /// A text arrives, encrypted.
    Text,
    /// A file arrives as it was sent.
    File,
}

impl Step {
    /// In the order in which they are tried.
    pub const ALL: [Step; 4] = [Step::Account, Step::Join, Step::Text, Step::File];

    /// Its name.
    pub fn word(self) -> &'static str {
        match self {
            Step::Account => "account",
            Step::Join => "join",
            Step::Text => "text",
            Step::File => "file",
        }
    }
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It works; it took that long.
    Passed(Duration),
    /// It does not, as was clear after that long, and for this reason.
    Failed(Duration, String),
    /// A step before it failed.
    NotTried,
}

/// A step and its outcome. `Display` gives a line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tried {
    /// Which.
    pub step: Step,
    /// How it ended.
    pub outcome: Outcome,
}

impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = self.step.word();
        match &self.outcome {
            Outcome::Passed(took) => write!(f, "{step:9}ok     {:8.2} s", took.as_secs_f64()),
            Outcome::Failed(took, why) => {
                write!(f, "{step:9}failed {:8.2} s  {why}", took.as_secs_f64())
            }
            Outcome::NotTried => write!(f, "{step:9}not tried"),
        }
    }
}

/// All steps, in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// One for each of [`Step::ALL`].
    pub steps: Vec<Tried>,
}

impl Report {
    /// The step that failed; `None` if all works.
    pub fn failed(&self) -> Option<Step> {
        let mut steps = self.steps.iter();
        let failed = steps.find(|tried| !matches!(tried.outcome, Outcome::Passed(_)));
        failed.map(|tried| tried.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_the_step_how_it_ended_when_and_why() {
        let line = |outcome| {
            let step = Step::Join;
            Tried { step, outcome }.to_string()
        };
        let took = Duration::from_millis(1234);
        assert_eq!(line(Outcome::Passed(took)), "join     ok         1.23 s");
        assert_eq!(
            line(Outcome::Failed(took, "no answer".to_owned())),
            "join     failed     1.23 s  no answer"
        );
        assert_eq!(line(Outcome::NotTried), "join     not tried");
    }
}
