//! The table of results, for people and as JSON.

use std::fmt;

use serde::Serialize;

use super::figures::{Figures, median};

/// How the two relays are compared in a row.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compared {
    /// Ours as a multiple of bare.
    Ratio,
    /// Ours less bare.
    Difference,
    /// Only ours has this.
    Alone,
}

/// What a row should show.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// Ours.
    AtMost(f64),
    /// Ours, and not less.
    AtLeast(f64),
    /// Ours as a multiple of bare.
    Ratio(f64),
    /// Ours less bare.
    Difference(f64),
}

impl Target {
    fn is_met_by(self, row: &Row) -> Option<bool> {
        Some(match self {
            Target::AtMost(most) => row.ours? <= most,
            Target::AtLeast(least) => row.ours? >= least,
            Target::Ratio(most) => row.ratio? <= most,
            Target::Difference(most) => row.difference? <= most,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::AtMost(most) => write!(f, "<= {most}"),
            Target::AtLeast(least) => write!(f, ">= {least}"),
            Target::Ratio(most) => write!(f, "x {most:.2}"),
            Target::Difference(most) => write!(f, "+ {most}"),
        }
    }
}

/// One line of the table.
#[derive(Serialize)]
pub(super) struct Row {
    what: String,
    unit: &'static str,
    /// Medians.
    ours: Option<f64>,
    bare: Option<f64>,
    /// Ours as a multiple of bare; the median over the rounds.
    ratio: Option<f64>,
    /// Ours less bare.
    difference: Option<f64>,
    /// What was there before, from the project's own measurements; the machine was another.
    reference: &'static str,
    target: String,
    /// Whether all targets are met; none if there is none.
    met: Option<bool>,
    /// The figure of each round.
    ours_rounds: Vec<f64>,
    bare_rounds: Vec<f64>,
}

impl Row {
    pub(super) fn new(
        what: impl Into<String>,
        unit: &'static str,
        figures: Figures,
        compared: Compared,
    ) -> Row {
        let only = |wanted: Compared, value: Option<f64>| value.filter(|_| compared == wanted);
        Row {
            what: what.into(),
            unit,
            ours: median(&figures.ours),
            bare: median(&figures.bare),
            ratio: only(Compared::Ratio, figures.ratio()),
            difference: only(Compared::Difference, figures.difference()),
            reference: "",
            target: String::new(),
            met: None,
            ours_rounds: figures.ours,
            bare_rounds: figures.bare,
        }
    }

    pub(super) fn reference(mut self, reference: &'static str) -> Row {
        self.reference = reference;
        self
    }

    /// One more target. A figure that is missing does not meet it.
    pub(super) fn target(mut self, target: Target) -> Row {
        if !self.target.is_empty() {
            self.target.push_str(", ");
        }
        self.target.push_str(&target.to_string());
        let met = target.is_met_by(&self).unwrap_or(false);
        self.met = Some(met && self.met.unwrap_or(true));
        self
    }

    fn cells(&self) -> [String; 7] {
        let compared = match (self.ratio, self.difference) {
            (Some(ratio), _) => format!("x {}", Figure(ratio)),
            (None, Some(difference)) if difference < 0.0 => format!("- {}", Figure(-difference)),
            (None, Some(difference)) => format!("+ {}", Figure(difference)),
            (None, None) => String::new(),
        };
        let figure = |value: Option<f64>| value.map(|v| Figure(v).to_string()).unwrap_or_default();
        [
            format!("{}, {}", self.what, self.unit),
            figure(self.ours),
            figure(self.bare),
            compared,
            self.reference.to_owned(),
            self.target.clone(),
            match self.met {
                Some(true) => "met".to_owned(),
                Some(false) => "missed".to_owned(),
                None => String::new(),
            },
        ]
    }
}

/// All results, and on what machine they were found.
#[derive(Serialize)]
pub(super) struct Table {
    pub(super) rounds: u32,
    pub(super) processors: usize,
    /// The load average of the minute before the first measurement; later it is our own.
    pub(super) load_at_start: f64,
    pub(super) rows: Vec<Row>,
}

const HEADINGS: [&str; 7] = [
    "what",
    "ours",
    "bare",
    "ours:bare",
    "before",
    "target",
    "is",
];

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEADINGS.map(str::to_owned)];
        lines.extend(self.rows.iter().map(Row::cells));
        let mut widths = [0; 7];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let [what, ours, bare, compared, reference, target, _] = widths;
        for [a, b, c, d, e, t, last] in &lines {
            let line = format!(
                "{a:what$}  {b:>ours$}  {c:>bare$}  {d:>compared$}  {e:reference$}  {t:target$}  {last}"
            );
            writeln!(f, "{}", line.trim_end())?;
        }
        write!(
            f,
            "\nMedians of {} rounds. {} processors, load average {:.1} at the start.",
            self.rounds, self.processors, self.load_at_start
        )?;
        if self.load_at_start > 1.0 {
            write!(
                f,
                " Other work was going on: believe the ratios, not the figures."
            )?;
        }
        Ok(())
    }
}

/// A figure with three significant digits.
struct Figure(f64);

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = match self.0.abs() {
            size if size >= 100.0 => 0,
            size if size >= 10.0 => 1,
            size if size >= 1.0 => 2,
            _ => 3,
        };
        write!(f, "{:.decimals$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_stand_below_their_headings() {
        let figures = Figures {
            ours: vec![1.5],
            bare: vec![3.0],
        };
        let table = Table {
            rounds: 1,
            processors: 2,
            load_at_start: 0.0,
            rows: vec![
                Row::new("login", "ms", figures, Compared::Ratio)
                    .reference("2 ms")
                    .target(Target::Ratio(0.5)),
            ],
        };
        let text = table.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "what       ours  bare  ours:bare  before  target  is",
                "login, ms  1.50  3.00    x 0.500  2 ms    x 0.50  met",
                "",
                "Medians of 1 rounds. 2 processors, load average 0.0 at the start.",
            ]
        );
    }

    #[test]
    fn a_row_meets_its_targets_only_if_it_meets_all() {
        let row = |ours: f64, bare: f64| {
            let figures = Figures {
                ours: vec![ours],
                bare: vec![bare],
            };
            let row = Row::new("", "ms", figures, Compared::Ratio);
            let row = row.target(Target::AtMost(2.0)).target(Target::Ratio(0.5));
            assert_eq!(row.target, "<= 2, x 0.50");
            row.met
        };
        assert_eq!(row(2.0, 4.0), Some(true));
        assert_eq!(row(2.0, 3.0), Some(false));
        assert_eq!(row(3.0, 9.0), Some(false));
    }

    #[test]
    fn a_target_without_a_figure_is_missed() {
        let row = Row::new("", "ms", Figures::default(), Compared::Ratio);
        assert_eq!(row.target(Target::Ratio(0.5)).met, Some(false));
    }
}
