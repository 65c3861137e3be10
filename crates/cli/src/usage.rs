//! What to say about a command line that makes no sense, in kubectl's words.

use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::quoted;

/// Prints the error (or the help that was asked for) and returns the exit code: 1 where something was wrong.
pub fn report(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            let _ = error.print();
            ExitCode::SUCCESS
        }
        // A group of verbs without a verb: help is the answer, but nothing was done.
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            print!("{}", error.render());
            ExitCode::FAILURE
        }
        _ => {
            eprintln!("{}", text(error, &std::env::args().skip(1).collect::<Vec<_>>()));
            ExitCode::FAILURE
        }
    }
}

/// `words` are the command line without the program.
fn text(error: &clap::Error, words: &[String]) -> String {
    let context = |kind: ContextKind| match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        _ => String::new(),
    };
    let program = crate::program();
    let verb: Vec<&str> = words.iter().map(String::as_str).take_while(|word| !word.starts_with('-')).collect();
    // Of the words only the first, and after a group of verbs the second, are verbs.
    let depth = if verb.first().is_some_and(|first| ["rollout", "set", "token"].contains(first)) { 2 } else { 1 };
    let verb = verb[..verb.len().min(depth)].join(" ");
    let see = format!("See '{program} {verb} --help' for usage.");
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let flag = context(ContextKind::InvalidArg);
            let name = flag.split('=').next().unwrap_or("").to_string();
            match name.strip_prefix("--") {
                Some(_) => format!("error: unknown flag: {name}\n{see}"),
                None if name.starts_with('-') => {
                    let letter = name.trim_start_matches('-').chars().next().unwrap_or('-');
                    format!("error: unknown shorthand flag: '{letter}' in {name}\n{see}")
                }
                None => format!("error: unexpected argument {}\n{see}", quoted(&name)),
            }
        }
        ErrorKind::InvalidSubcommand => {
            let group: Vec<&str> = verb.split(' ').take(depth - 1).collect();
            let path = [&[program][..], &group].concat().join(" ");
            let unknown = quoted(&context(ContextKind::InvalidSubcommand));
            let place = if group.is_empty() { format!(" for {}", quoted(program)) } else { String::new() };
            let see = format!("See '{path} -h' for help and examples");
            format!("error: unknown command {unknown}{place}\n{see}")
        }
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let flag = context(ContextKind::InvalidArg);
            let value = context(ContextKind::InvalidValue);
            let flag = flag.split([' ', '=', '[']).next().unwrap_or("").to_string();
            if value.is_empty() {
                return format!("error: flag needs an argument: {flag}\n{see}");
            }
            let why = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
            format!("error: invalid argument {} for {} flag{why}\n{see}", quoted(&value), quoted(&flag))
        }
        _ => error.render().to_string().trim_end().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use clap::Subcommand as _;

    use super::*;

    #[track_caller]
    fn check(line: &str, expected: &str) {
        let words: Vec<String> = line.split_whitespace().map(str::to_string).collect();
        let command = crate::Command::augment_subcommands(clap::Command::new("backstay"));
        let parsed = command.try_get_matches_from(std::iter::once("backstay".to_string()).chain(words.clone()));
        assert_eq!(text(&parsed.unwrap_err(), &words), expected);
    }

    #[test]
    fn broken_lines_are_told_in_kubectls_words() {
        check(
            "rollout history ds/x --bogus",
            "error: unknown flag: --bogus\nSee 'backstay rollout history --help' for usage.",
        );
        check("get ds -Z", "error: unknown shorthand flag: 'Z' in -Z\nSee 'backstay get --help' for usage.");
        check("rollout bogus", "error: unknown command \"bogus\"\nSee 'backstay rollout -h' for help and examples");
        check("bogus", "error: unknown command \"bogus\" for \"backstay\"\nSee 'backstay -h' for help and examples");
        check(
            "rollout history ds/x --revision",
            "error: flag needs an argument: --revision\nSee 'backstay rollout history --help' for usage.",
        );
    }

    #[test]
    fn switches_take_values() {
        let parse = |line: &str| {
            let command = crate::Command::augment_subcommands(clap::Command::new("backstay"));
            command.try_get_matches_from(line.split_whitespace()).map(|_| ()).map_err(|error| error.to_string())
        };
        for line in [
            "b get ds -A",
            "b get ds --all-namespaces=true",
            "b get ds -w=false",
            "b rollout status ds/x --watch=false",
            "b delete ds x --wait=false --ignore-not-found=true",
            "b get -A ds",
            "b rollout undo ds/x --to-revision=-1",
            "b rollout undo ds/x --dry-run",
            "b label node n a-",
        ] {
            assert_eq!(parse(line), Ok(()), "{line}");
        }
    }
}
