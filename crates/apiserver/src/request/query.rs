//! The parameters after the question mark, read the way Kubernetes reads them.

use backstay_api::Status;

/// All parameters in order; a name may occur more than once.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Reads `a=b&c=d`. Escapes that make no sense stay as they are.
    pub fn parse(text: &str) -> Self {
        let pairs = text.split('&').filter(|pair| !pair.is_empty());
        Self(pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (form(k), form(v))).collect())
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first value of a parameter, or the empty string.
    pub fn text(&self, name: &str) -> &str {
        self.get(name).unwrap_or_default()
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// A flag: absent, `false` (in any case) and `0` are false, all else is true, also the empty text.
    pub fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    pub fn optional_flag(&self, name: &str) -> Option<bool> {
        self.get(name).map(|value| value != "0" && !value.eq_ignore_ascii_case("false"))
    }

    /// A whole number.
    ///
    /// # Errors
    /// `BadRequest` in Go's words.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Status> {
        self.get(name).map(parse_int).transpose()
    }
}

fn parse_int(text: &str) -> Result<i64, Status> {
    text.parse().map_err(|error: std::num::ParseIntError| {
        let out_of_range =
            matches!(error.kind(), std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow);
        let why = if out_of_range { "value out of range" } else { "invalid syntax" };
        Status::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
    })
}

/// Undoes form encoding: `+` is a space, `%41` is `A`.
fn form(text: &str) -> String {
    percent(&text.replace('+', " "))
}

/// Undoes percent encoding; what is not UTF-8 afterwards is replaced.
pub fn percent(text: &str) -> String {
    if !text.contains('%') {
        return text.to_string();
    }
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match (bytes[at], bytes.get(at + 1).and_then(hex), bytes.get(at + 2).and_then(hex)) {
            (b'%', Some(high), Some(low)) => {
                out.push(high << 4 | low);
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: &u8) -> Option<u8> {
    char::from(*digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_and_numbers_are_read_as_kubernetes_does() {
        let query = Query::parse("a&b=false&c=0&d=maybe&e=FALSE&n=12&x=1x&s=a%3Db%2Cc+d&s=2&p=%zz");
        let flags: Vec<bool> = ["a", "b", "c", "d", "e", "none"].map(|name| query.flag(name)).into();
        assert_eq!(flags, [true, false, false, true, false, false]);
        assert_eq!(query.int("n"), Ok(Some(12)));
        assert_eq!(query.int("none"), Ok(None));
        assert_eq!(query.int("x").unwrap_err().message(), "strconv.ParseInt: parsing \"1x\": invalid syntax");
        assert_eq!(query.all("s").collect::<Vec<_>>(), ["a=b,c d", "2"]);
        assert_eq!(query.text("p"), "%zz");
    }
}
