//! The result: one table, kept as a page, as JSON and as a plot.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Zoned;
use serde::Serialize;
use serde_json::json;

use crate::machine::Limits;
use crate::micro::Micro;
use crate::plot;
use crate::targets::What;

/// One figure, in its [`What::unit`].
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// 0 where a fleet plays no part.
    pub nodes: usize,
    /// What was measured, and with what.
    pub set_up: String,
    pub what: What,
    pub value: f64,
    /// The same as a part of what the machine can do.
    pub of_machine: Option<String>,
}

impl Row {
    /// What is wanted is wanted of the embedded engine; others are measured to know what they cost.
    fn target(&self) -> Option<f64> {
        self.what.target(self.nodes).filter(|_| self.set_up.starts_with("embedded"))
    }
}

pub struct Report {
    commit: String,
    date: String,
    pub limits: Limits,
    rows: Vec<Row>,
    pub micro: Vec<Micro>,
    notes: Vec<String>,
}

impl Report {
    pub fn new(commit: &str, limits: Limits) -> Self {
        let date = Zoned::now().date().to_string();
        let mut report =
            Self { commit: commit.into(), date, limits, rows: Vec::new(), micro: Vec::new(), notes: Vec::new() };
        report.note(
            "the figures of Kubernetes are of another run on a like machine (1.36.2, 2 cores), not of this one; its \
             memory and processor time are those of API server, etcd, controllers and scheduler together",
        );
        report
    }

    pub fn add(&mut self, row: Row) {
        println!("  {} {} {}", row.what.label(), number(row.value), row.what.unit().name());
        self.rows.push(row);
    }

    /// Says loudly what a reader must know, or misses; once.
    pub fn note(&mut self, note: &str) {
        if !self.notes.iter().any(|known| known == note) {
            eprintln!("NOTE: {note}");
            self.notes.push(note.into());
        }
    }

    /// All of it, as Markdown that can be read as text.
    pub fn table(&self) -> String {
        let mut cells = vec![
            [
                "nodes",
                "set-up",
                "what",
                "measured",
                "wanted",
                "",
                "Kubernetes",
                "times faster or smaller",
                "of the machine",
            ]
            .map(String::from),
        ];
        cells.extend(self.rows.iter().map(cells_of));
        let mut text = aligned(&cells);
        if !self.micro.is_empty() {
            let mut cells = vec![["micro-benchmark", "median", "fastest"].map(String::from)];
            cells.extend(self.micro.iter().map(|it| [it.name.clone(), it.median.clone(), it.fastest.clone()]));
            text += &format!("\n{}", aligned(&cells));
        }
        text
    }

    /// Writes the page, the JSON and the plot; returns the page's path.
    pub fn keep(&self, directory: &Path) -> Result<PathBuf> {
        std::fs::create_dir_all(directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let name = format!("{}-{}", self.date, self.commit);
        let write = |end: &str, text: &str| {
            let path = directory.join(format!("{name}.{end}"));
            std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
            Ok::<_, anyhow::Error>(path)
        };
        write("svg", &plot::svg(&self.rows))?;
        write("json", &format!("{:#}\n", self.json()))?;
        write("md", &self.page(&name))
    }

    fn page(&self, name: &str) -> String {
        let notes: String = self.notes.iter().map(|note| format!("- {note}\n")).collect();
        let Limits { cores, fsyncs_per_second, json_encode_mb_per_second, json_decode_mb_per_second, .. } = self.limits;
        format!(
            "# Benchmark of {}, {}\n\nMade by `cargo xtask bench`. The machine, in the same run: {cores} cores, \
             {fsyncs_per_second:.0} fsyncs/s one after another,\nJSON of pods encoded at {json_encode_mb_per_second:.0} \
             MB/s and decoded at {json_decode_mb_per_second:.0} MB/s, {:.0} round trips/s over loopback.\n\n{notes}\n\
             {}\n![time and memory over the size of the fleet]({name}.svg)\n",
            self.commit,
            self.date,
            self.limits.round_trips_per_second,
            self.table(),
        )
    }

    fn json(&self) -> serde_json::Value {
        let rows = self.rows.iter().map(|row| {
            json!({
                "nodes": row.nodes, "setUp": row.set_up, "what": row.what, "value": row.value,
                "unit": row.what.unit().name(), "wanted": row.target(),
                "kubernetes": row.what.kubernetes(row.nodes), "ofMachine": row.of_machine,
            })
        });
        json!({
            "commit": self.commit, "date": self.date, "machine": self.limits, "notes": self.notes,
            "rows": rows.collect::<Vec<_>>(), "micro": self.micro,
        })
    }
}

fn cells_of(row: &Row) -> [String; 9] {
    let (what, unit) = (row.what, row.what.unit().name());
    let with_unit = |value: Option<f64>| value.map(|value| format!("{} {unit}", number(value))).unwrap_or_default();
    let target = row.target();
    let verdict = target.map(|target| if row.value <= target { "ok" } else { "MISSED" });
    let kubernetes = what.kubernetes(row.nodes);
    [
        if row.nodes == 0 { "-".into() } else { row.nodes.to_string() },
        row.set_up.clone(),
        what.label().into(),
        with_unit(Some(row.value)),
        target.map(|target| format!("<= {}", with_unit(Some(target)))).unwrap_or_default(),
        verdict.unwrap_or_default().into(),
        with_unit(kubernetes),
        kubernetes.map(|kubernetes| format!("{:.1}", kubernetes / row.value)).unwrap_or_default(),
        row.of_machine.clone().unwrap_or_default(),
    ]
}

/// Three digits, or all before the point.
fn number(value: f64) -> String {
    let digits = match value.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{value:.digits$}")
}

/// The first row is the heading.
fn aligned<const N: usize>(cells: &[[String; N]]) -> String {
    let width = |column: usize| cells.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |row: &[String; N]| {
        let padded = row.iter().zip(&widths).map(|(cell, width)| format!(" {cell:width$} |"));
        format!("|{}\n", padded.collect::<String>())
    };
    let rule: String = widths.iter().map(|width| format!("{}|", "-".repeat(width + 2))).collect();
    let mut lines = cells.iter().map(line);
    let heading = lines.next().unwrap_or_default();
    format!("{heading}|{rule}\n{}", lines.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(set_up: &str, nodes: usize, what: What, value: f64, expected: [&str; 5]) {
        let row = Row { nodes, set_up: set_up.into(), what, value, of_machine: None };
        let cells = cells_of(&row);
        assert_eq!(cells[3..8], expected.map(String::from), "{nodes} {what:?} {value}");
    }

    #[test]
    fn figures_stand_beside_what_is_wanted_and_what_others_need() {
        check("embedded", 5_000, What::Create, 2.5, ["2.50 s", "<= 2.60 s", "ok", "26.5 s", "10.6"]);
        check("embedded", 5_000, What::Create, 2.65, ["2.65 s", "<= 2.60 s", "MISSED", "26.5 s", "10.0"]);
        check("embedded", 10_000, What::List, 220.0, ["220 ms", "<= 220 ms", "ok", "", ""]);
        check("embedded", 100, What::Delete, 0.1, ["0.10 s", "", "", "0.40 s", "4.0"]);
        check("embedded", 10_000, What::StartFull, 1_600.0, ["1600 ms", "<= 1500 ms", "MISSED", "", ""]);
        check("embedded", 20, What::StartFull, 16.0, ["16.0 ms", "", "", "", ""]);
        check("etcd", 5_000, What::Create, 9.0, ["9.00 s", "", "", "26.5 s", "2.9"]);
    }

    #[test]
    fn columns_are_as_wide_as_what_stands_in_them() {
        let rows = [["a", "bc"], ["defg", "h"]].map(|row| row.map(String::from));
        assert_eq!(aligned(&rows), "| a    | bc |\n|------|----|\n| defg | h  |\n");
    }
}
