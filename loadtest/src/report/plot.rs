//! Plots as inline SVG. Lines are stretched to whatever width there is; numbers are HTML beside them,
//! so that they stay readable on any screen.

use std::fmt::Write as _;

use super::{compact, escape};
use crate::stage::Event;

/// The plot's own units; it is stretched.
const WIDE: f64 = 1_000.0;
const HIGH: f64 = 300.0;
/// More points than this say no more on a screen.
const MOST_POINTS: usize = 250;
const HOVER_COLUMNS: usize = 60;
/// Below this, a logarithmic axis does not go.
const LEAST_LOG: f64 = 0.01;

/// How the points of one step of a line become one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Thin {
    /// Their mean: rates.
    Mean,
    /// The highest: what must not be hidden.
    Most,
}

/// A line.
pub(super) struct Line<'a> {
    pub(super) name: &'a str,
    /// One of the page's colours, from 1.
    pub(super) colour: u8,
    /// Dashed ones are limits.
    pub(super) is_limit: bool,
    pub(super) thin: Thin,
    /// A value for each time; none where there is none.
    pub(super) values: Vec<Option<f64>>,
}

/// A plot of lines over the same times.
pub(super) struct Plot<'a> {
    pub(super) title: &'a str,
    pub(super) unit: &'a str,
    pub(super) is_log: bool,
    pub(super) times: &'a [f64],
    pub(super) events: &'a [Event],
    pub(super) lines: Vec<Line<'a>>,
}

/// The vertical axis.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Axis {
    low: f64,
    high: f64,
    is_log: bool,
}

impl Axis {
    /// One that holds these values and ends at round numbers.
    fn over(values: impl Iterator<Item = f64>, is_log: bool) -> Axis {
        let (mut low, mut high) = (f64::INFINITY, 0.0_f64);
        for value in values {
            high = high.max(value);
            if value > 0.0 {
                low = low.min(value);
            }
        }
        if is_log {
            let low = if low.is_finite() { low.max(LEAST_LOG) } else { 1.0 };
            let bottom = 10f64.powf(low.log10().floor());
            let top = 10f64.powf(high.max(low).log10().ceil());
            return Axis { low: bottom, high: if top > bottom { top } else { bottom * 10.0 }, is_log };
        }
        Axis { low: 0.0, high: round_up(high), is_log }
    }

    /// How far up a value is, from 0 at the bottom to 1.
    fn place(self, value: f64) -> f64 {
        let share = if self.is_log {
            (value.max(self.low).log10() - self.low.log10()) / (self.high.log10() - self.low.log10())
        } else {
            (value - self.low) / (self.high - self.low)
        };
        share.clamp(0.0, 1.0)
    }

    /// Where there is a number, from the bottom up.
    fn ticks(self) -> Vec<f64> {
        if !self.is_log {
            return (0..=4).map(|quarter| self.high * f64::from(quarter) / 4.0).collect();
        }
        let decades = (self.high.log10() - self.low.log10()).round() as i32;
        let step = (decades + 3) / 4;
        (0..=decades).step_by(step.max(1) as usize).map(|decade| self.low * 10f64.powi(decade)).collect()
    }
}

/// The next of 1, 2, 4, 5, 8 and 10 times a power of ten: quarters of these are short numbers.
fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10f64.powf(value.log10().floor());
    let steps = [1.0, 2.0, 4.0, 5.0, 8.0, 10.0];
    steps.iter().map(|step| step * power).find(|step| *step >= value * (1.0 - 1e-9)).unwrap_or(10.0 * power)
}

/// One point a step: times and values, none where there was none.
fn thinned(times: &[f64], values: &[Option<f64>], thin: Thin) -> Vec<(f64, Option<f64>)> {
    let step = times.len().div_ceil(MOST_POINTS).max(1);
    let chunks = times.chunks(step).zip(values.chunks(step));
    let points = chunks.map(|(times, values)| {
        let there: Vec<f64> = values.iter().flatten().copied().collect();
        let value = match thin {
            _ if there.is_empty() => None,
            Thin::Mean => Some(there.iter().sum::<f64>() / there.len() as f64),
            Thin::Most => there.iter().copied().reduce(f64::max),
        };
        (times[0], value)
    });
    points.collect()
}

impl Plot<'_> {
    /// The figure; nothing if there is nothing to show.
    pub(super) fn html(&self) -> String {
        let has_values = self.lines.iter().any(|line| line.values.iter().flatten().next().is_some());
        let Some(end) = self.times.last().copied().filter(|end| *end > 0.0 && has_values) else {
            return String::new();
        };
        let values = self.lines.iter().flat_map(|line| line.values.iter().flatten().copied());
        let axis = Axis::over(values, self.is_log);
        let mut html = format!(
            "<figure><figcaption>{} <small>{}</small></figcaption>",
            escape(self.title),
            escape(self.unit)
        );
        html += &self.legend();
        html += "<div class=\"plot\"><div class=\"y\">";
        for tick in axis.ticks() {
            let _ = write!(
                html,
                "<span style=\"bottom:{:.2}%\">{}</span>",
                axis.place(tick) * 100.0,
                compact(tick)
            );
        }
        html += "</div>";
        html += &self.svg(axis, end);
        html += "<div class=\"x\">";
        for quarter in 0..=4 {
            let _ = write!(html, "<span>{}</span>", clock(end * f64::from(quarter) / 4.0));
        }
        html + "</div></div></figure>"
    }

    fn legend(&self) -> String {
        let mut html = String::from("<ul class=\"legend\">");
        for line in &self.lines {
            let most = line.values.iter().flatten().copied().reduce(f64::max);
            let most = most.map_or("none".to_owned(), |most| format!("up to {}", compact(most)));
            let class = if line.is_limit { " limit" } else { "" };
            let _ = write!(
                html,
                "<li><i class=\"c{}{class}\"></i>{} <small>{most}</small></li>",
                line.colour,
                escape(line.name)
            );
        }
        html + "</ul>"
    }

    fn svg(&self, axis: Axis, end: f64) -> String {
        let x = |t: f64| t / end * WIDE;
        let y = |value: f64| (1.0 - axis.place(value)) * HIGH;
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDE} {HIGH}\" preserveAspectRatio=\"none\" role=\"img\" aria-label=\"{}\">",
            escape(self.title)
        );
        for tick in axis.ticks() {
            let at = y(tick);
            let _ = write!(svg, "<path class=\"grid\" d=\"M0 {at:.1}H{WIDE}\"/>");
        }
        for event in self.events.iter().filter(|event| event.t <= end) {
            let at = x(event.t);
            let _ = write!(
                svg,
                "<path class=\"event\" d=\"M{at:.1} 0V{HIGH}\"><title>{}</title></path>",
                escape(&event.what)
            );
        }
        for line in &self.lines {
            let mut path = String::new();
            let mut is_drawing = false;
            for (t, value) in thinned(self.times, &line.values, line.thin) {
                if let Some(value) = value {
                    let verb = if is_drawing { 'L' } else { 'M' };
                    let _ = write!(path, "{verb}{:.1} {:.1}", x(t), y(value));
                }
                is_drawing = value.is_some();
            }
            let class = if line.is_limit { " limit" } else { "" };
            let _ = write!(svg, "<path class=\"line c{}{class}\" d=\"{path}\"/>", line.colour);
        }
        svg + &self.hover() + "</svg>"
    }

    /// Columns that tell their values when pointed at, without any script.
    fn hover(&self) -> String {
        let step = self.times.len().div_ceil(HOVER_COLUMNS).max(1);
        let columns = self.times.len().div_ceil(step);
        let width = WIDE / columns as f64;
        let mut html = String::new();
        for column in 0..columns {
            let at = column * step;
            let mut told = clock(self.times[at]);
            for line in &self.lines {
                let value = line.values.iter().skip(at).take(step).flatten().copied().reduce(f64::max);
                if let Some(value) = value {
                    let _ = write!(told, "\n{}: {}", line.name, compact(value));
                }
            }
            let _ = write!(
                html,
                "<rect class=\"hover\" x=\"{:.1}\" y=\"0\" width=\"{width:.1}\" height=\"{HIGH}\"><title>{}</title></rect>",
                width * column as f64,
                escape(&told)
            );
        }
        html
    }
}

/// Seconds as people read them.
fn clock(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 if seconds < 10.0 && seconds > 0.0 => format!("{seconds:.1} s"),
        0..120 => format!("{whole} s"),
        _ => format!("{}:{:02} min", whole / 60, whole % 60),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plot_without_values_is_left_out() {
        let line = Line { name: "x", colour: 1, is_limit: false, thin: Thin::Mean, values: vec![None; 2] };
        let plot =
            Plot { title: "t", unit: "", is_log: false, times: &[0.0, 1.0], events: &[], lines: vec![line] };
        assert_eq!(plot.html(), "");
    }

    #[test]
    fn a_gap_breaks_the_line() {
        let values = vec![Some(1.0), None, Some(2.0), Some(4.0)];
        let line = Line { name: "a<b", colour: 1, is_limit: false, thin: Thin::Most, values };
        let times = [0.0, 1.0, 2.0, 4.0];
        let events = [Event { t: 2.0, what: "kill & start".to_owned() }];
        let plot =
            Plot { title: "t", unit: "", is_log: false, times: &times, events: &events, lines: vec![line] };
        let html = plot.html();
        assert!(html.contains("d=\"M0.0 225.0M500.0 150.0L1000.0 0.0\""), "{html}");
        assert!(html.contains("kill &amp; start") && html.contains("a&lt;b"), "{html}");
    }

    #[test]
    fn axes_end_at_round_numbers() {
        assert_eq!(round_up(0.0), 1.0);
        assert_eq!(round_up(437.0), 500.0);
        assert_eq!(round_up(8_000.0), 8_000.0);
        let log = Axis::over([0.3, 250.0].into_iter(), true);
        assert_eq!(log, Axis { low: 0.1, high: 1_000.0, is_log: true });
        assert_eq!(log.ticks().len(), 5);
    }

    proptest! {
        #[test]
        fn every_value_has_a_place_and_the_order_stays(a in 0.0..1e9f64, b in 0.0..1e9f64, is_log: bool) {
            let axis = Axis::over([a, b].into_iter(), is_log);
            let (low, high) = (axis.place(a.min(b)), axis.place(a.max(b)));
            prop_assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0);
            prop_assert!(axis.high >= a.max(b) * (1.0 - 1e-6) && axis.high <= (a.max(b) * 10.0).max(10.0));
        }

        #[test]
        fn the_highest_value_is_never_thinned_away(values in prop::collection::vec(0.0..100.0f64, 1..2_000)) {
            let times: Vec<f64> = (0..values.len()).map(|at| at as f64).collect();
            let given: Vec<Option<f64>> = values.iter().copied().map(Some).collect();
            let points = thinned(&times, &given, Thin::Most);
            prop_assert!(points.len() <= MOST_POINTS);
            let most = points.iter().filter_map(|(_, value)| *value).reduce(f64::max);
            prop_assert_eq!(most, values.iter().copied().reduce(f64::max));
        }
    }
}
