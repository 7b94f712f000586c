//! The two text formats of Prometheus: its own, and OpenMetrics 1.0.

use std::fmt::{self, Display, Write};

const OPEN_METRICS: &str = "application/openmetrics-text";

/// How numbers are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format 0.0.4, which every monitor reads.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Format {
    /// What suits a client best that sends this `Accept` field. Text, if it does not say.
    pub fn of_accept(accept: &str) -> Format {
        let wish = |kind: &str| {
            let ranges = accept.split(',').filter_map(|range| quality(range, kind));
            ranges.fold(0.0, f32::max)
        };
        let open_metrics = wish(OPEN_METRICS);
        if open_metrics > 0.0 && open_metrics >= wish("text/plain") {
            Format::OpenMetrics
        } else {
            Format::Text
        }
    }

    /// The value of `Content-Type`.
    pub const fn content_type(self) -> &'static str {
        match self {
            Format::Text => "text/plain; version=0.0.4; charset=utf-8",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// How much `kind` is wanted by a media range, RFC 9110 section 12.5.1, if it is of that kind. A version other than ours is
/// not.
fn quality(range: &str, kind: &str) -> Option<f32> {
    let mut parts = range.split(';').map(str::trim);
    if !parts.next()?.eq_ignore_ascii_case(kind) {
        return None;
    }
    let mut quality = 1.0;
    for (name, value) in parts.filter_map(|part| part.split_once('=')) {
        let value = value.trim().trim_matches('"');
        match name.trim().to_ascii_lowercase().as_str() {
            "version" if kind == OPEN_METRICS && value != "1.0.0" => return None,
            "q" => quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q))?,
            _ => {}
        }
    }
    Some(quality)
}

/// A number that need not be whole nor finite.
#[derive(Debug, Clone, Copy)]
pub(super) struct Float(pub(super) f64);

impl Display for Float {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            finite => finite.fmt(f),
        }
    }
}

/// A text that grows by one family of numbers after the other.
#[derive(Debug)]
pub(super) struct Exposition {
    format: Format,
    text: String,
}

impl Exposition {
    pub(super) fn new(format: Format) -> Exposition {
        Exposition {
            format,
            text: String::with_capacity(16 << 10),
        }
    }

    /// Begins a family of counters; their [`Exposition::sample`]s follow. The name ends in `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str) {
        let name = self.family_of(name, "_total");
        self.heading(name, "counter", help);
    }

    /// One number that may go up and down.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.heading(name, "gauge", help);
        self.sample(name, value);
    }

    /// The same, left out if it is not known.
    pub(super) fn known(&mut self, name: &str, help: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.gauge(name, help, value);
        }
    }

    /// One for each value of a label.
    pub(super) fn gauges<L: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (L, u64)>,
    ) {
        self.heading(name, "gauge", help);
        for (of, value) in values {
            self.sample(format_args!("{name}{{{label}=\"{of}\"}}"), value);
        }
    }

    /// Labels that say what there is to say. The name ends in `_info`.
    pub(super) fn info<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        labels: [(&str, &str); N],
    ) {
        let kind = match self.format {
            Format::Text => "gauge",
            Format::OpenMetrics => "info",
        };
        let family = self.family_of(name, "_info");
        self.heading(family, kind, help);
        let labels = labels.map(|(label, value)| format!("{label}=\"{value}\""));
        self.sample(format_args!("{name}{{{}}}", labels.join(",")), 1);
    }

    /// A line: the name with its labels, and the value.
    pub(super) fn sample(&mut self, name: impl Display, value: impl Display) {
        self.line(format_args!("{name} {value}"));
    }

    /// The whole text.
    pub(super) fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.line(format_args!("# EOF"));
        }
        self.text
    }

    /// OpenMetrics names the family, Prometheus its lines.
    fn family_of<'a>(&self, name: &'a str, ending: &str) -> &'a str {
        match self.format {
            Format::Text => name,
            Format::OpenMetrics => name.strip_suffix(ending).unwrap_or(name),
        }
    }

    fn heading(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {kind}"));
    }

    fn line(&mut self, line: fmt::Arguments<'_>) {
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "{line}");
    }
}
