//! The result: figures with their limits.

use std::fmt;

use comfy_table::presets;

/// What was measured.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    figure: String,
    measured: f64,
    unit: &'static str,
    limit: Option<f64>,
    load: f64,
}

impl Table {
    /// Adds a figure. One that could not be measured is NaN, and over its limit.
    pub(crate) fn add(&mut self, figure: impl Into<String>, measured: f64, unit: &'static str, limit: Option<f64>) {
        let row = Row { figure: figure.into(), measured, unit, limit, load: load_average() };
        eprintln!("{}: {:.3} {}", row.figure, row.measured, row.unit);
        self.rows.push(row);
    }

    pub(crate) fn is_within_limits(&self) -> bool {
        self.rows.iter().all(Row::is_within_limit)
    }
}

impl Row {
    fn is_within_limit(&self) -> bool {
        self.limit.is_none_or(|limit| self.measured <= limit)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_style(presets::ASCII_MARKDOWN).set_header(["figure", "measured", "limit", "", "load"]);
        for row in &self.rows {
            let with_unit = |value: f64| format!("{value:.3} {}", row.unit).trim_end().to_owned();
            let verdict = match row.limit {
                None => "",
                Some(_) if row.is_within_limit() => "ok",
                Some(_) => "OVER",
            };
            table.add_row([
                row.figure.clone(),
                with_unit(row.measured),
                row.limit.map(with_unit).unwrap_or_default(),
                verdict.to_owned(),
                format!("{:.1}", row.load),
            ]);
        }
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let profile = if cfg!(debug_assertions) { "not optimised" } else { "release" };
        write!(f, "{table}\n{cores} cores, {profile} build; load is the average of the last minute beside each figure")
    }
}

/// The load average of the last minute.
fn load_average() -> f64 {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(f64::NAN)
}

/// The value below which `part` (0 to 1) of all samples lie.
pub(crate) fn percentile(samples: &[f64], part: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an index between 0 and last")]
    sorted.get((last as f64 * part).round() as usize).copied().unwrap_or(f64::NAN)
}
