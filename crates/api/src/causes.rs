//! Errors in words.

use std::error::Error;

/// An error and all that caused it, on one line. A cause that an error tells by itself is not told twice.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Told(&'static str, Option<Box<Told>>);

    impl std::fmt::Display for Told {
        fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            out.write_str(self.0)
        }
    }

    impl Error for Told {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|cause| cause as _)
        }
    }

    fn check(words: &[&'static str], expected: &str) {
        let error = words.iter().rev().fold(None, |cause, words| Some(Box::new(Told(words, cause))));
        assert_eq!(chain(error.unwrap().as_ref()), expected);
    }

    #[test]
    fn causes_are_told_once() {
        check(&["a"], "a");
        check(&["not read", "no such file"], "not read: no such file");
        check(&["not read: no such file", "no such file"], "not read: no such file");
    }
}
