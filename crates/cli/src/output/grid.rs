//! Columns that keep their width as rows come in, for tables and watches.

/// Rows of tab-separated cells. A column is as wide as its widest cell so far; the last one is not padded.
#[derive(Debug, Default)]
pub struct Grid {
    widths: Vec<usize>,
}

const WIDTH_MIN: usize = 6;
const PADDING: usize = 3;

impl Grid {
    /// The rows, each with its line break. Later rows keep to the columns of earlier ones.
    pub fn layout(&mut self, rows: &[String]) -> String {
        for row in rows {
            let cells: Vec<&str> = row.split('\t').collect();
            for (column, cell) in cells[..cells.len() - 1].iter().enumerate() {
                if self.widths.len() <= column {
                    self.widths.push(WIDTH_MIN);
                }
                self.widths[column] = self.widths[column].max(cell.chars().count() + PADDING);
            }
        }
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &str) -> String {
        let mut line = String::new();
        let last = row.matches('\t').count();
        for (column, cell) in row.split('\t').enumerate() {
            line.push_str(cell);
            if column < last {
                let padding = self.widths[column].saturating_sub(cell.chars().count());
                line.extend(std::iter::repeat_n(' ', padding));
            }
        }
        line.push('\n');
        line
    }
}

/// Rows of one table.
pub fn layout(rows: &[String]) -> String {
    Grid::default().layout(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_rows_keep_to_the_columns() {
        let mut grid = Grid::default();
        assert_eq!(grid.layout(&["NAME\tAGE".into(), "a-long-one\t5s".into()]), "NAME         AGE\na-long-one   5s\n");
        assert_eq!(grid.layout(&["b\t6s".into()]), "b            6s\n");
    }
}
