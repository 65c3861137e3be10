//! `fieldPath`: where below its schema a rule finds fault.

use crate::crd::props::{Additional, Props};

/// The path as it is put behind that of the schema (`.a.b`, `['a.b']` as `.a.b`, entries of maps as `[key]`);
/// `None` if it leads nowhere.
pub fn normalized(path: &str, props: &Props) -> Option<String> {
    let (mut rest, mut props, mut out) = (path.trim(), props, String::new());
    while !rest.is_empty() {
        let name;
        (name, rest) = step(rest)?;
        if props.properties.is_empty() {
            let Some(Additional::Of(value)) = &props.additional else { return None };
            out.push_str(&format!("[{name}]"));
            props = value;
        } else {
            props = props.properties.get(&name)?;
            out.push_str(&format!(".{name}"));
        }
    }
    Some(out)
}

/// The first name of a path, and what follows it.
fn step(path: &str) -> Option<(String, &str)> {
    if let Some(rest) = path.strip_prefix('.') {
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        return (end > 0).then(|| (rest[..end].to_string(), &rest[end..]));
    }
    let inside = path.strip_prefix("['")?;
    let (mut name, mut escaped) = (String::new(), false);
    for (at, c) in inside.char_indices() {
        match c {
            '\\' if !escaped => escaped = true,
            '\'' if !escaped => return Some((name, inside[at + 1..].strip_prefix(']')?)),
            c => {
                name.push(c);
                escaped = false;
            }
        }
    }
    None
}
