//! `-o custom-columns=NAME:.metadata.name,...`: columns of the user's own.

use backstay_api::json_path::Template;
use serde_json::Value;

/// Headers and the path of each column.
#[derive(Clone, Debug)]
pub struct Columns(Vec<(String, Template)>);

impl Columns {
    /// # Errors
    /// In kubectl's words.
    pub fn parse(spec: &str) -> Result<Self, String> {
        if spec.is_empty() {
            return Err("custom-columns format specified but no custom columns given".into());
        }
        let column = |part: &str| {
            let (header, path) = part
                .split_once(':')
                .filter(|(_, path)| !path.is_empty())
                .ok_or_else(|| format!("unexpected custom-columns spec: {part}, expected <header>:<json-path-expr>"))?;
            Ok((header.to_string(), Template::relaxed(path)?))
        };
        spec.split(',').map(column).collect::<Result<_, String>>().map(Self)
    }

    pub fn header(&self) -> String {
        let headers: Vec<&str> = self.0.iter().map(|(header, _)| header.as_str()).collect();
        headers.join("\t")
    }

    pub fn row(&self, object: &Value) -> Result<String, String> {
        let cell = |(_, path): &(String, Template)| {
            let found: Vec<String> = path.find(object)?.iter().map(backstay_rollout::go::plain).collect();
            Ok(if found.is_empty() { "<none>".to_string() } else { found.join(",") })
        };
        let cells: Vec<String> = self.0.iter().map(cell).collect::<Result<_, String>>()?;
        Ok(cells.join("\t"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_column_has_its_path() {
        let columns = Columns::parse("NAME:.metadata.name,IMG:{.c[*].image},NO:.x").unwrap();
        assert_eq!(columns.header(), "NAME\tIMG\tNO");
        let object = json!({"metadata": {"name": "a"}, "c": [{"image": "i"}, {"image": "j"}]});
        assert_eq!(columns.row(&object).unwrap(), "a\ti,j\t<none>");
        let error = Columns::parse("NAME").err().unwrap();
        assert_eq!(error, "unexpected custom-columns spec: NAME, expected <header>:<json-path-expr>");
    }
}
