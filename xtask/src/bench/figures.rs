//! Figures of both relays, and what they say in comparison.

use anyhow::Result;

use super::pair::{Pair, Relay};
use crate::interrupt;
use crate::terminal::say;

/// One figure of each relay per round.
#[derive(Default)]
pub(super) struct Figures {
    pub(super) ours: Vec<f64>,
    /// Empty if the servers without our parts have no such thing.
    pub(super) bare: Vec<f64>,
}

impl Figures {
    /// The median over the rounds of ours to bare. Both figures of a round were taken in the same half minute, so a
    /// machine that is busy for a while changes this less than it changes either figure.
    pub(super) fn ratio(&self) -> Option<f64> {
        let ratios = self.ours.iter().zip(&self.bare).map(|(o, b)| o / b);
        median(&ratios.collect::<Vec<_>>())
    }

    /// The median of ours less the median of bare.
    pub(super) fn difference(&self) -> Option<f64> {
        Some(median(&self.ours)? - median(&self.bare)?)
    }
}

/// The middle figure, or the mean of the two in the middle.
pub(super) fn median(figures: &[f64]) -> Option<f64> {
    percentile(figures, 0.5)
}

/// The figure that this part of all does not exceed; between two figures, linearly.
pub(super) fn percentile(figures: &[f64], part: f64) -> Option<f64> {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = part * (sorted.len().checked_sub(1)?) as f64;
    let (low, high) = (
        sorted.get(at.floor() as usize)?,
        sorted.get(at.ceil() as usize)?,
    );
    Some(low + (high - low) * at.fract())
}

/// Measures ours, bare, ours, bare … `rounds` times each, after one round that only warms up.
pub(super) fn interleaved<T>(
    what: &str,
    rounds: u32,
    pair: &mut Pair,
    mut measure: impl FnMut(&Pair, &Relay) -> Result<T>,
) -> Result<Vec<[T; 2]>> {
    say(format_args!("    {what}"));
    let mut all = Vec::new();
    for round in 0..=rounds {
        interrupt::check()?;
        let both = [measure(pair, &pair.ours)?, measure(pair, &pair.bare)?];
        pair.look_after()?;
        if round > 0 {
            all.push(both);
        }
    }
    Ok(all)
}

/// One of several figures that were measured together.
pub(super) fn column<T>(rounds: &[[T; 2]], figure: impl Fn(&T) -> f64) -> Figures {
    Figures {
        ours: rounds.iter().map(|[ours, _]| figure(ours)).collect(),
        bare: rounds.iter().map(|[_, bare]| figure(bare)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_lies_between_two_figures() {
        let figures = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(median(&figures), Some(2.5));
        assert_eq!(percentile(&figures, 1.0), Some(4.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_round_in_which_everything_is_slow_does_not_change_the_ratio() {
        let figures = Figures {
            ours: vec![2.0, 20.0, 2.0],
            bare: vec![1.0, 10.0, 1.0],
        };
        assert_eq!(figures.ratio(), Some(2.0));
        assert_eq!(figures.difference(), Some(1.0));
    }
}
