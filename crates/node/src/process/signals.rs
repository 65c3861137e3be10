//! Signals by name, as pods and images write them.

use rustix::process::Signal;

const NAMES: [(&str, Signal); 21] = [
    ("ABRT", Signal::ABORT),
    ("ALRM", Signal::ALARM),
    ("CHLD", Signal::CHILD),
    ("CONT", Signal::CONT),
    ("HUP", Signal::HUP),
    ("INT", Signal::INT),
    ("IO", Signal::IO),
    ("KILL", Signal::KILL),
    ("PIPE", Signal::PIPE),
    ("PROF", Signal::PROF),
    ("PWR", Signal::POWER),
    ("QUIT", Signal::QUIT),
    ("STOP", Signal::STOP),
    ("TERM", Signal::TERM),
    ("TSTP", Signal::TSTP),
    ("TTIN", Signal::TTIN),
    ("TTOU", Signal::TTOU),
    ("USR1", Signal::USR1),
    ("USR2", Signal::USR2),
    ("VTALRM", Signal::VTALARM),
    ("WINCH", Signal::WINCH),
];

/// `SIGTERM`, `TERM` or `15`; `None` for what is none, or a real-time one.
pub(super) fn by_name(name: &str) -> Option<Signal> {
    if let Ok(number) = name.parse::<i32>() {
        return Signal::from_named_raw(number);
    }
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    NAMES.iter().find(|(name, _)| *name == short).map(|(_, signal)| *signal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for (name, expected) in
            [("SIGQUIT", Some(Signal::QUIT)), ("usr1", Some(Signal::USR1)), ("15", Some(Signal::TERM))]
        {
            assert_eq!(by_name(name), expected, "{name}");
        }
        assert_eq!(by_name("SIGNOPE"), None);
    }
}
