//! What is known of a value before there is one.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Anything: known when there is a value.
    Dyn,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    String,
    Bytes,
    Timestamp,
    Duration,
    List(Arc<Type>),
    Map(Arc<Type>, Arc<Type>),
    Optional(Arc<Type>),
    Object(Arc<Object>),
    /// The type of a type.
    Type,
    /// A type of Kubernetes' own, which only its functions can look into.
    Opaque(&'static str),
    /// A parameter of a signature.
    Param(char),
}

/// A value with fields of its own types.
#[derive(Debug, PartialEq)]
pub struct Object {
    pub name: String,
    /// By the names that expressions use.
    pub fields: BTreeMap<String, Type>,
}

pub const QUANTITY: &str = "kubernetes.Quantity";
pub const URL: &str = "kubernetes.URL";
pub const IP: &str = "net.IP";
pub const CIDR: &str = "net.CIDR";
pub const FORMAT: &str = "kubernetes.NamedFormat";
pub const SEMVER: &str = "kubernetes.Semver";

impl Type {
    pub fn list(of: Type) -> Self {
        Type::List(Arc::new(of))
    }

    pub fn map(key: Type, value: Type) -> Self {
        Type::Map(Arc::new(key), Arc::new(value))
    }

    pub fn optional(of: Type) -> Self {
        Type::Optional(Arc::new(of))
    }

    /// Reads the type of a signature: `list<T>`, `map<K, V>`, `string`. Unknown names are a mistake in the table of
    /// functions, which a test goes through.
    pub fn read(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some((outer, inner)) = text.strip_suffix('>').and_then(|text| text.split_once('<')) {
            let mut inner = split(inner).into_iter().map(Self::read);
            return match outer {
                "list" => Some(Self::list(inner.next()??)),
                "map" => Some(Self::map(inner.next()??, inner.next()??)),
                "optional" => Some(Self::optional(inner.next()??)),
                _ => None,
            };
        }
        Some(match text {
            "dyn" => Type::Dyn,
            "null" => Type::Null,
            "bool" => Type::Bool,
            "int" => Type::Int,
            "uint" => Type::Uint,
            "double" => Type::Double,
            "string" => Type::String,
            "bytes" => Type::Bytes,
            "timestamp" => Type::Timestamp,
            "duration" => Type::Duration,
            "type" => Type::Type,
            "quantity" => Type::Opaque(QUANTITY),
            "url" => Type::Opaque(URL),
            "ip" => Type::Opaque(IP),
            "cidr" => Type::Opaque(CIDR),
            "format" => Type::Opaque(FORMAT),
            "semver" => Type::Opaque(SEMVER),
            _ => {
                let mut letters = text.chars();
                let letter = letters.next().filter(char::is_ascii_uppercase)?;
                letters.next().is_none().then_some(Type::Param(letter))?
            }
        })
    }

    /// Whether a value of the other type may stand where this one is wanted. Parameters are bound to what they meet.
    pub fn accepts(&self, other: &Type, bound: &mut BTreeMap<char, Type>) -> bool {
        match (self, other) {
            (Type::Param(name), other) => match bound.get(name).cloned() {
                None | Some(Type::Null | Type::Dyn) => {
                    bound.insert(*name, other.clone());
                    true
                }
                Some(known) => known.accepts(other, bound),
            },
            (Type::Dyn, _) | (_, Type::Dyn) => true,
            (Type::List(this), Type::List(other)) | (Type::Optional(this), Type::Optional(other)) => {
                this.accepts(other, bound)
            }
            (Type::Map(key, value), Type::Map(other_key, other_value)) => {
                key.accepts(other_key, bound) && value.accepts(other_value, bound)
            }
            (Type::Object(_) | Type::Opaque(_) | Type::Timestamp | Type::Duration | Type::Optional(_), Type::Null) => {
                true
            }
            (this, other) => this == other,
        }
    }

    /// With parameters replaced by what they are bound to.
    pub fn resolve(&self, bound: &BTreeMap<char, Type>) -> Type {
        match self {
            Type::Param(name) => bound.get(name).cloned().unwrap_or(Type::Dyn),
            Type::List(of) => Type::list(of.resolve(bound)),
            Type::Optional(of) => Type::optional(of.resolve(bound)),
            Type::Map(key, value) => Type::map(key.resolve(bound), value.resolve(bound)),
            other => other.clone(),
        }
    }

    /// The type of what is one or the other; `None` if they have none in common.
    pub fn join(&self, other: &Type) -> Option<Type> {
        let mut bound = BTreeMap::new();
        if *self == Type::Dyn || *other == Type::Dyn {
            Some(Type::Dyn)
        } else if self.accepts(other, &mut bound) {
            Some(self.clone())
        } else {
            other.accepts(self, &mut bound).then(|| other.clone())
        }
    }
}

/// Splits at the commas that stand in no brackets.
pub fn split(text: &str) -> Vec<&str> {
    let (mut parts, mut start, mut depth) = (Vec::new(), 0, 0);
    for (at, c) in text.char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|part| !part.is_empty());
    parts
}

/// As messages of CEL name types.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Dyn => f.write_str("dyn"),
            Type::Null => f.write_str("null"),
            Type::Bool => f.write_str("bool"),
            Type::Int => f.write_str("int"),
            Type::Uint => f.write_str("uint"),
            Type::Double => f.write_str("double"),
            Type::String => f.write_str("string"),
            Type::Bytes => f.write_str("bytes"),
            Type::Timestamp => f.write_str("timestamp"),
            Type::Duration => f.write_str("duration"),
            Type::List(of) => write!(f, "list({of})"),
            Type::Map(key, value) => write!(f, "map({key}, {value})"),
            Type::Optional(of) => write!(f, "optional_type({of})"),
            Type::Object(object) => f.write_str(&object.name),
            Type::Type => f.write_str("type"),
            Type::Opaque(name) => f.write_str(name),
            Type::Param(name) => write!(f, "{name}"),
        }
    }
}
