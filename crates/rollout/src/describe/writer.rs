//! Text with levels of indentation.

/// Collects text. A level is two blanks, written before the text of every [`Writer::write`], also in mid-line: that is
/// how kubectl does it, and nested blocks show it.
#[derive(Debug, Default)]
pub struct Writer {
    text: String,
    nesting: usize,
}

impl Writer {
    pub fn write(&mut self, level: usize, text: &str) {
        self.text.extend(std::iter::repeat_n("  ", self.nesting + level));
        self.text.push_str(text);
    }

    /// Text and a line break, without indentation.
    pub fn write_line(&mut self, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// Whatever `describe` writes stands `levels` deeper.
    pub fn nested(&mut self, levels: usize, describe: impl FnOnce(&mut Self)) {
        self.nesting += levels;
        describe(self);
        self.nesting -= levels;
    }

    pub fn into_text(self) -> String {
        self.text
    }
}
