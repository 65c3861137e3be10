//! Field selectors: `metadata.name=a,status.phase!=Failed`.

/// A parsed field selector: terms that must all hold, in the order Kubernetes checks them (sorted as text).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    pub terms: Vec<FieldTerm>,
}

/// `field=value`, or `field!=value` where `equal` is false.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldTerm {
    pub field: String,
    pub equal: bool,
    pub value: String,
}

impl FieldSelector {
    /// Reads `a=b,c!=d` (`==` as well). In values `\`, `,` and `=` are written with a `\` before them.
    ///
    /// # Errors
    /// The message Kubernetes gives, such as `invalid selector: 'a'; can't understand 'a'`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut terms = split_terms(text);
        terms.sort_unstable();
        let terms = terms.into_iter().filter(|term| !term.is_empty()).map(|term| {
            let (field, equal, value) =
                split_term(term).ok_or_else(|| format!("invalid selector: '{text}'; can't understand '{term}'"))?;
            Ok(FieldTerm { field: field.to_string(), equal, value: unescape(value)? })
        });
        Ok(Self { terms: terms.collect::<Result<_, String>>()? })
    }

    /// Whether all terms hold; `value_of` answers for one field.
    pub fn matches<'a>(&self, value_of: impl Fn(&str) -> &'a str) -> bool {
        self.terms.iter().all(|term| (value_of(&term.field) == term.value) == term.equal)
    }
}

/// Splits at commas that no backslash protects.
fn split_terms(text: &str) -> Vec<&str> {
    let mut escaped = false;
    text.split(|c| {
        let ends = c == ',' && !escaped;
        escaped = c == '\\' && !escaped;
        ends
    })
    .collect()
}

fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let (position, operator) = term.char_indices().find_map(|(position, _)| {
        let operator = ["!=", "==", "="].into_iter().find(|operator| term[position..].starts_with(operator));
        Some((position, operator?))
    })?;
    Some((&term[..position], operator != "!=", &term[position + operator.len()..]))
}

fn unescape(value: &str) -> Result<String, String> {
    let mut out = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(special @ ('\\' | ',' | '=')) => out.push(special),
                Some(other) => return Err(format!("invalid field selector: invalid escape sequence: \\{other}")),
                None => return Err("invalid field selector: invalid escape sequence: \\".to_string()),
            },
            // Kubernetes prints the character's code.
            ',' | '=' => return Err(format!("invalid field selector: unescaped character in value: {}", c as u32)),
            other => out.push(other),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_field_selectors() {
        #[track_caller]
        fn check(text: &str, expected: Result<&[(&str, bool, &str)], &str>) {
            let read = FieldSelector::parse(text);
            let read = read.as_ref().map(|selector| {
                let terms = selector.terms.iter();
                terms.map(|term| (term.field.as_str(), term.equal, term.value.as_str())).collect::<Vec<_>>()
            });
            assert_eq!(read.as_deref().map_err(|error| error.as_str()), expected, "of {text}");
        }
        check("", Ok(&[]));
        check("b!=2,a=1", Ok(&[("a", true, "1"), ("b", false, "2")]));
        check("a==1,,", Ok(&[("a", true, "1")]));
        check("a=", Ok(&[("a", true, "")]));
        check(r"a=x\,y\=z\\", Ok(&[("a", true, r"x,y=z\")]));
        check("a", Err("invalid selector: 'a'; can't understand 'a'"));
        check("a=1,b", Err("invalid selector: 'a=1,b'; can't understand 'b'"));
        check(r"a=\x", Err(r"invalid field selector: invalid escape sequence: \x"));
        check("a=b=c", Err("invalid field selector: unescaped character in value: 61"));
    }

    #[test]
    fn all_terms_must_hold() {
        let value_of = |field: &str| if field == "phase" { "Running" } else { "" };
        let matches = |text| FieldSelector::parse(text).unwrap().matches(value_of);
        assert!(matches("phase=Running,node=") && matches("phase!=Failed") && matches(""));
        assert!(!matches("phase=Running,node=a") && !matches("phase!=Running"));
    }
}
