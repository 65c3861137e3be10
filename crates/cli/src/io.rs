//! Standard input, output and error of a verb; tests hand in their own.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;

use crate::error::{Failure, Outcome};

/// The three streams, shared by all parts of a verb.
#[derive(Clone)]
pub struct Io(Rc<RefCell<Streams>>);

struct Streams {
    input: Box<dyn Read>,
    out: Box<dyn Write>,
    err: Box<dyn Write>,
}

impl Io {
    pub fn new(input: impl Read + 'static, out: impl Write + 'static, err: impl Write + 'static) -> Self {
        Self(Rc::new(RefCell::new(Streams { input: Box::new(input), out: Box::new(out), err: Box::new(err) })))
    }

    /// Those of the process. Output is line-buffered.
    pub fn of_process() -> Self {
        Self::new(std::io::stdin(), std::io::stdout(), std::io::stderr())
    }

    /// Writes text to standard output.
    ///
    /// # Errors
    /// Ends the verb silently where nobody reads any more.
    pub fn out(&self, text: &str) -> Outcome {
        self.out_bytes(text.as_bytes())
    }

    pub fn out_bytes(&self, bytes: &[u8]) -> Outcome {
        let out = &mut self.0.borrow_mut().out;
        out.write_all(bytes).and_then(|()| out.flush()).map_err(|_| Failure::Silent)
    }

    /// Writes to standard error what a command has written to its own.
    pub fn err_bytes(&self, bytes: &[u8]) {
        let err = &mut self.0.borrow_mut().err;
        let _ = err.write_all(bytes).and_then(|()| err.flush());
    }

    /// Writes a line to standard error; if that fails there is nowhere left to say so.
    pub fn err_line(&self, line: &str) {
        let err = &mut self.0.borrow_mut().err;
        let _ = writeln!(err, "{line}");
    }

    pub fn read_input(&self) -> Outcome<String> {
        let mut text = String::new();
        let read = self.0.borrow_mut().input.read_to_string(&mut text);
        read.map_err(|error| Failure::plain(error.to_string()))?;
        Ok(text)
    }
}
