//! kubectl's JSONPath templates: text with `{...}` in it, ranges, filters, unions, slices.

mod eval;
mod parse;

use serde_json::Value;

use crate::go::quote as quoted;

/// A parsed template.
#[derive(Clone, Debug)]
pub struct Template(Vec<parse::Node>);

impl Template {
    /// # Errors
    /// In words, with the place where the template stops making sense.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse::template(text).map(Self).map_err(|error| format!("error parsing jsonpath {text}, {error}"))
    }

    /// One path without braces, or with them: `.metadata.name`, `{.metadata.name}`, `metadata.name`.
    pub fn relaxed(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let inner = text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).unwrap_or(text);
        if inner.contains(['{', '}']) {
            let forms = "expected a '{.a.b}' or '.a.b' or 'a.b'";
            return Err(format!("unexpected path string, {forms}: {}", quoted(text)));
        }
        Self::parse(&format!("{{.{}}}", inner.strip_prefix('.').unwrap_or(inner)))
    }

    /// Fills in the template. What a path does not find is left out.
    ///
    /// # Errors
    /// Where an index is out of bounds, or a range runs over something that is no list.
    pub fn fill(&self, object: &Value) -> Result<String, String> {
        eval::fill(&self.0, object)
    }

    /// What the first path finds.
    pub fn find<'a>(&'a self, object: &'a Value) -> Result<Vec<Value>, String> {
        eval::find(&self.0, object)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[track_caller]
    fn check(template: &str, expected: &str) {
        let object = json!({
            "kind": "List",
            "items": [
                {"metadata": {"name": "a", "labels": {"app": "x", "k8s.io/y": "z"}}, "n": 1, "ok": true,
                 "ports": [{"name": "web", "port": 80}, {"name": "dns", "port": 53}]},
                {"metadata": {"name": "b"}, "n": 2.5, "ok": false, "ports": []},
            ],
            "text": "<&>", "numbers": [1, 2, 3, 4], "empty": null,
        });
        let got = Template::parse(template).and_then(|template| template.fill(&object));
        assert_eq!(got.unwrap_or_else(|error| format!("error: {error}")), expected, "{template}");
    }

    #[test]
    fn paths() {
        check("{.kind}", "List");
        check("{$.kind}", "List");
        check("{@.kind}", "List");
        check("kind", "kind");
        check("{.items[0].metadata.name}", "a");
        check("{.items[-1].metadata.name}", "b");
        check("{.items[*].metadata.name}", "a b");
        check("{.items[0].metadata.labels.k8s\\.io/y}", "z");
        check("{.items[0].metadata.labels['k8s\\.io/y']}", "z");
        check("{.items[0]['metadata']['name']}", "a");
        check("{..name}", "a web dns b");
        check("{.numbers[1:3]}", "2 3");
        check("{.numbers[::2]}", "1 3");
        check("{.numbers[-2:]}", "3 4");
        check("{.numbers[0,2]}", "1 3");
        check("{.items[*]['n','ok']}", "1 2.5 true false");
        check("{.numbers}", "[1,2,3,4]");
        check("{.items[0].metadata.labels}", r#"{"app":"x","k8s.io/y":"z"}"#);
        check("{.nothing.at.all}", "");
        check("{.empty}", "");
        check("{.text}", "<&>");
        check("{.numbers[9]}", "error: array index out of bounds: index 9, length 4");
    }

    #[test]
    fn ranges_and_text() {
        check("{range .items[*]}{.metadata.name}{\"\\t\"}{.n}{\"\\n\"}{end}", "a\t1\nb\t2.5\n");
        check("{range .items[*]}[{range .ports[*]}{.name},{end}]{end}", "[web,dns,][]");
        check("a{'b'}c", "abc");
        check("{.kind} {.items[0].n}", "List 1");
    }

    #[test]
    fn filters() {
        check("{.items[?(@.metadata.name==\"b\")].n}", "2.5");
        check("{.items[?(@.n>1)].metadata.name}", "b");
        check("{.items[?(@.n<=1)].metadata.name}", "a");
        check("{.items[?(@.ok==true)].metadata.name}", "a");
        check("{.items[?(@.metadata.name!='a')].metadata.name}", "b");
        check("{.items[?(@.metadata.labels)].metadata.name}", "a");
        check("{.items[*].ports[?(@.name=='dns')].port}", "53");
        check("{.numbers[?(@>2)]}", "3 4");
    }

    #[test]
    fn broken_templates_say_so() {
        let check = |template: &str, expected: &str| {
            assert_eq!(
                Template::parse(template).map(|_| ()),
                Err(format!("error parsing jsonpath {template}, {expected}"))
            );
        };
        check("{.a", "unclosed action");
        check("{.a[0}", "unterminated array");
        check("{range .a[*]}{.b}", "unexpected end of template: range without end");
        check("{end}", "not in range, nothing to end");
        check("{'a}", "unterminated quoted string");
        check("{.a[?(@.b}", "unterminated filter");
        for character in [")", "=", "!", "<", ">", ","] {
            check(&format!("{{.a{character}}}"), &format!("unrecognized character in action: \"{character}\""));
        }
    }

    #[test]
    fn work_has_an_end() {
        let too_much = "error: the template comes across more than 20000000 values";
        check(&format!("{{{}}}", "..".repeat(200)), too_much);
        check(&format!("{}{}", "{range .numbers[*]}".repeat(13), "{end}".repeat(13)), "");
        let ranges = |levels: usize| format!("{}{}", "{range $.numbers[*]}".repeat(levels), "{end}".repeat(levels));
        check(&ranges(90), too_much);
        let too_deep = "more than 100 ranges and filters inside one another";
        for template in [ranges(5_000), format!("{{.a{}", "[?(@".repeat(5_000))] {
            let error = Template::parse(&template).expect_err("too deep");
            assert!(error.ends_with(too_deep), "{}", &error[error.len() - 200..]);
        }
    }

    #[test]
    fn a_relaxed_path_needs_no_braces() {
        for path in ["metadata.name", ".metadata.name", "{.metadata.name}"] {
            let found = Template::relaxed(path).unwrap().find(&json!({"metadata": {"name": "x"}}));
            assert_eq!(found.unwrap(), [json!("x")]);
        }
        assert!(Template::relaxed("{.a}{.b}").is_err());
    }
}
