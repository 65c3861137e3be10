//! Time and memory over the size of the fleet, as a drawing.

use std::fmt::Write;

use crate::report::Row;
use crate::targets::What;

const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 260.0;
/// Room for the axes' words, left and below; half of it on the other sides.
const MARGIN: f64 = 60.0;

const COLOURS: [&str; 4] = ["#1b6ca8", "#c8553d", "#4f8a4c", "#8e5ea2"];

/// A line of the plot: what it shows, and its points (nodes, value) by nodes.
struct Line {
    name: String,
    points: Vec<(f64, f64)>,
}

/// Two pictures side by side; of the set-ups, those whose load is our own.
pub fn svg(rows: &[Row]) -> String {
    let times = [What::Create, What::Update, What::Undo, What::Delete];
    let memory = [What::ServerMemoryPeak, What::EtcdMemoryPeak];
    let mut drawing = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{}\" height=\"{}\" font-family=\"sans-serif\" \
         font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n",
        2.0 * (WIDTH + 1.5 * MARGIN),
        HEIGHT + 1.5 * MARGIN
    );
    picture(&mut drawing, 0.0, "seconds", &lines(rows, &times));
    picture(&mut drawing, WIDTH + 1.5 * MARGIN, "megabytes, peak", &lines(rows, &memory));
    drawing + "</svg>\n"
}

fn lines(rows: &[Row], whats: &[What]) -> Vec<Line> {
    let mut lines = Vec::new();
    for store in ["embedded", "etcd"] {
        for what in whats {
            let shown = |row: &&Row| {
                row.what == *what
                    && row.set_up.starts_with(&format!("{store},"))
                    && row.set_up.ends_with("own")
                    && row.nodes > 0
            };
            let mut points: Vec<_> = rows.iter().filter(shown).map(|row| (row.nodes as f64, row.value)).collect();
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
            if !points.is_empty() {
                lines.push(Line { name: format!("{} ({store})", what.label()), points });
            }
        }
    }
    lines
}

fn picture(drawing: &mut String, left: f64, title: &str, lines: &[Line]) {
    let points = || lines.iter().flat_map(|line| &line.points);
    let x_max = points().map(|point| point.0).fold(1.0, f64::max);
    let y_max = round_up(points().map(|point| point.1).fold(f64::MIN_POSITIVE, f64::max));
    let (x0, y0) = (left + MARGIN, MARGIN / 2.0 + HEIGHT);
    let place = |(x, y): (f64, f64)| (x0 + x / x_max * WIDTH, y0 - y / y_max * HEIGHT);
    put(
        drawing,
        format_args!("<path d=\"M{x0} {} V{y0} H{}\" fill=\"none\" stroke=\"black\"/>", MARGIN / 2.0, x0 + WIDTH),
    );
    text(drawing, (x0, MARGIN / 2.0 - 8.0), "start", "black", title);
    for part in [0.0, 0.5, 1.0] {
        let (x, y) = place((part * x_max, part * y_max));
        text(drawing, (x, y0 + 18.0), "middle", "black", &format!("{:.0}", part * x_max));
        text(drawing, (x0 - 6.0, y + 4.0), "end", "black", &format!("{}", part * y_max));
    }
    text(drawing, (x0 + WIDTH / 2.0, y0 + 36.0), "middle", "black", "nodes");
    for (number, line) in lines.iter().enumerate() {
        let colour = COLOURS[number % COLOURS.len()];
        // The first colours again, dashed, are another engine.
        let dashes = if number < COLOURS.len() { "" } else { " stroke-dasharray=\"5 3\"" };
        let places: Vec<(f64, f64)> = line.points.iter().map(|point| place(*point)).collect();
        let path: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let path = path.join(" ");
        put(
            drawing,
            format_args!("<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"{dashes}/>"),
        );
        for (x, y) in places {
            put(drawing, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"/>"));
        }
        text(drawing, (x0 + 12.0, MARGIN / 2.0 + 14.0 * (number as f64 + 1.0)), "start", colour, &line.name);
    }
}

fn text(drawing: &mut String, (x, y): (f64, f64), anchor: &str, colour: &str, words: &str) {
    put(
        drawing,
        format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\" fill=\"{colour}\">{words}</text>"),
    );
}

fn put(drawing: &mut String, element: std::fmt::Arguments<'_>) {
    writeln!(drawing, "{element}").expect("a string takes everything");
}

/// The next of 1, 2, 4, 6, 8 times a power of ten.
fn round_up(value: f64) -> f64 {
    let power = 10_f64.powf(value.log10().floor());
    let factors = [1.0, 2.0, 4.0, 6.0, 8.0, 10.0];
    power * factors.into_iter().find(|factor| power * factor >= value).unwrap_or(10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (value, expected) in [(1.0, 1.0), (1.1, 2.0), (290.0, 400.0), (0.03, 0.04), (8.5, 10.0)] {
            assert!((round_up(value) - expected).abs() < 1e-9, "{value}: {}", round_up(value));
        }
    }

    #[test]
    fn every_figure_of_our_load_is_a_point() {
        let row = |nodes, load: &str, what| Row {
            nodes,
            set_up: format!("embedded, played, load: {load}"),
            what,
            value: nodes as f64,
            of_machine: None,
        };
        let rows = [
            row(100, "own", What::Create),
            row(1_000, "own", What::Create),
            row(100, "fleetbench", What::Create),
            row(100, "own", What::ServerMemoryPeak),
        ];
        let drawing = svg(&rows);
        assert_eq!(drawing.matches("<circle").count(), 3, "{drawing}");
        assert_eq!(drawing.matches("<polyline").count(), 2);
    }
}
