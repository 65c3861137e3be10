//! The functions that expressions may call, as a table: name, types, and what is done.

mod address;
mod convert;
mod lists;
mod named_format;
mod operators;
mod optional;
mod quantity;
mod regexes;
mod semver;
mod sets;
mod strings;
mod text_format;
mod time;
mod url;

use std::collections::HashMap;
use std::sync::LazyLock;

use super::eval::{Cx, Outcome};
use super::types::{Type, split};
use super::value::Value;

pub use address::Cidr;
pub use named_format::NamedFormat;
pub use semver::Semver;
pub use time::parse_duration;
pub use url::Url;

/// What a function does. Its arguments have the types of its overload, as far as their outermost parts go.
pub type Run = for<'a> fn(&mut Cx<'a>, &[Value<'a>]) -> Outcome<Value<'a>>;

/// A function for arguments of certain types.
#[derive(Debug)]
pub struct Overload {
    pub params: Vec<Type>,
    pub result: Type,
    pub run: Run,
}

/// A line of the table.
struct Entry {
    name: &'static str,
    /// `target.name(...)`: the target is the first parameter.
    member: bool,
    params: &'static str,
    result: &'static str,
    run: Run,
}

const fn global(name: &'static str, params: &'static str, result: &'static str, run: Run) -> Entry {
    Entry { name, member: false, params, result, run }
}

const fn member(name: &'static str, params: &'static str, result: &'static str, run: Run) -> Entry {
    Entry { name, member: true, params, result, run }
}

/// The functions of a name.
pub fn named(name: &str, member: bool) -> &'static [Overload] {
    TABLE[usize::from(member)].get(name).map(Vec::as_slice).unwrap_or_default()
}

type Table = HashMap<&'static str, Vec<Overload>>;

/// Global functions, and members.
static TABLE: LazyLock<[Table; 2]> = LazyLock::new(|| {
    let mut tables = [Table::new(), Table::new()];
    for entry in entries() {
        let read = |text| Type::read(text).unwrap_or(Type::Dyn);
        let params = split(entry.params).into_iter().map(read).collect();
        let overload = Overload { params, result: read(entry.result), run: entry.run };
        tables[usize::from(entry.member)].entry(entry.name).or_default().push(overload);
    }
    tables
});

fn entries() -> impl Iterator<Item = &'static Entry> {
    [
        operators::ALL,
        convert::ALL,
        strings::ALL,
        text_format::ALL,
        lists::ALL,
        sets::ALL,
        time::ALL,
        optional::ALL,
        regexes::ALL,
        url::ALL,
        address::ALL,
        quantity::ALL,
        named_format::ALL,
        semver::ALL,
    ]
    .into_iter()
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_all_functions_are_written_well() {
        for entry in entries() {
            let texts = split(entry.params).into_iter().chain([entry.result]);
            for text in texts {
                assert!(Type::read(text).is_some(), "{}: {text}", entry.name);
            }
        }
    }
}
