//! Elastic tab stops, as Go's `text/tabwriter` lays them out with left alignment and blanks as padding.

/// Aligns text whose cells end in tabs. A column is a run of neighbouring lines that have a cell there; it is as wide
/// as its widest cell plus `padding`, and at least `width_min`. What follows the last tab of a line is not a cell.
pub fn align(text: &str, width_min: usize, padding: usize) -> String {
    let mut lines: Vec<Vec<&str>> = text.split('\n').map(|line| line.split('\t').collect()).collect();
    // The text ends in a line break: what `split` sees after it is no line.
    let ends_in_break = lines.last().is_some_and(|line| line.as_slice() == [""]);
    if ends_in_break {
        lines.pop();
    }
    let mut layout =
        Layout { lines, width_min, padding, widths: Vec::new(), out: String::with_capacity(text.len() * 2) };
    layout.block(0, layout.lines.len());
    let mut out = layout.out;
    if !ends_in_break {
        out.pop();
    }
    out
}

struct Layout<'a> {
    lines: Vec<Vec<&'a str>>,
    width_min: usize,
    padding: usize,
    /// Of the columns that enclose the block being laid out.
    widths: Vec<usize>,
    out: String,
}

impl Layout<'_> {
    /// Lays out lines that all have the enclosing columns.
    fn block(&mut self, from: usize, to: usize) {
        let column = self.widths.len();
        let mut written = from;
        let mut line = from;
        while line < to {
            if !self.has_cell(line, column) {
                line += 1;
                continue;
            }
            self.write(written, line);
            let end = (line..to).find(|other| !self.has_cell(*other, column)).unwrap_or(to);
            let widest = (line..end).map(|other| width(self.lines[other][column])).max().unwrap_or(0);
            self.widths.push(self.width_min.max(widest + self.padding));
            self.block(line, end);
            self.widths.pop();
            written = end;
            line = end;
        }
        self.write(written, to);
    }

    fn has_cell(&self, line: usize, column: usize) -> bool {
        column + 1 < self.lines[line].len()
    }

    fn write(&mut self, from: usize, to: usize) {
        for line in &self.lines[from..to] {
            for (column, cell) in line.iter().enumerate() {
                self.out.push_str(cell);
                if let Some(wanted) = self.widths.get(column) {
                    self.out.extend(std::iter::repeat_n(' ', wanted.saturating_sub(width(cell))));
                }
            }
            self.out.push('\n');
        }
    }
}

fn width(cell: &str) -> usize {
    cell.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(align(text, 0, 2), expected);
    }

    #[test]
    fn columns_are_runs_of_lines() {
        check("a\tb\nlong\tc\n", "a     b\nlong  c\n");
        check("a\tb\nplain\nlong\tc\n", "a  b\nplain\nlong  c\n");
        check("a\t\n", "a  \n");
        check("\tx\nab\ty\n", "    x\nab  y\n");
        check("a\tb\tc\na\tbbb\tc\naa\tb\n", "a   b    c\na   bbb  c\naa  b\n");
        check("no break at the end\tx", "no break at the end  x");
        check("", "");
        check("ä\tx\nab\ty\n", "ä   x\nab  y\n");
    }

    #[test]
    fn a_minimum_width_counts_without_padding() {
        assert_eq!(align("a\tb\n", 6, 3), "a     b\n");
        assert_eq!(align("abcde\tb\n", 6, 3), "abcde   b\n");
    }
}
