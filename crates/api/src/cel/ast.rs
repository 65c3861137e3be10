//! The tree of an expression, as the parser makes it: macros are nodes of their own.

use super::functions::Overload;

/// Deeper trees are refused: everything that walks a tree does so by recursion. Rules that people write have a tenth of
/// this.
pub const HEIGHT_MAX: u16 = 100;

#[derive(Debug)]
pub struct Expr {
    pub kind: Kind,
    /// Where it stands in the text, in bytes: for an operator or a call, where its sign stands.
    pub at: usize,
    pub height: u16,
}

#[derive(Debug)]
pub enum Kind {
    Literal(Literal),
    Ident(String),
    Select {
        of: Box<Expr>,
        field: String,
        optional: bool,
    },
    /// `has(of.field)`.
    Has {
        of: Box<Expr>,
        field: String,
    },
    Index {
        of: Box<Expr>,
        index: Box<Expr>,
        optional: bool,
    },
    /// The target of a member function is the first argument.
    Call {
        function: Function,
        args: Vec<Expr>,
    },
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Conditional(Box<[Expr; 3]>),
    List(Vec<Element>),
    Map(Vec<Entry>),
    Loop(Box<Loop>),
    /// `target.optMap(variable, body)`, or with `flat` `target.optFlatMap(variable, body)`.
    IfPresent {
        target: Box<Expr>,
        variable: String,
        body: Box<Expr>,
        flat: bool,
    },
}

#[derive(Debug)]
pub struct Function {
    pub name: String,
    pub member: bool,
    /// All that have the name; empty if nothing has.
    pub overloads: &'static [Overload],
}

#[derive(Clone, Debug, PartialEq)]
pub enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    String(String),
    Bytes(Vec<u8>),
}

#[derive(Debug)]
pub struct Element {
    pub value: Expr,
    /// `[?value]`: left out if the optional value is none.
    pub optional: bool,
}

#[derive(Debug)]
pub struct Entry {
    pub key: Expr,
    pub value: Expr,
    pub optional: bool,
}

/// A macro that looks at every element of a list or every entry of a map.
#[derive(Debug)]
pub struct Loop {
    pub what: LoopKind,
    pub range: Expr,
    /// The variable for the index or key, in the macros that have two.
    pub first: Option<String>,
    /// The variable for the element; in macros with one variable over a map, for the key.
    pub last: String,
    pub filter: Option<Expr>,
    pub body: Expr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoopKind {
    All,
    Exists,
    ExistsOne,
    /// `map`, and `transformList`.
    Map,
    Filter,
    /// `transformMap`.
    TransformMap,
    /// `transformMapEntry`.
    TransformMapEntry,
    /// `sortBy`: sorted by what the body gives.
    SortBy,
}

impl Expr {
    /// `None` if the tree would be too high.
    pub fn new(kind: Kind, at: usize) -> Option<Self> {
        let mut height = 0;
        kind.each(&mut |child: &Expr| height = height.max(child.height));
        (height < HEIGHT_MAX).then_some(Self { kind, at, height: height + 1 })
    }

    /// Whether the expression speaks of a variable of this name, wherever.
    pub fn mentions(&self, name: &str) -> bool {
        if matches!(&self.kind, Kind::Ident(ident) if ident == name) {
            return true;
        }
        let mut found = false;
        self.kind.each(&mut |child| found = found || child.mentions(name));
        found
    }
}

impl Kind {
    /// Calls `look` with every child.
    pub fn each<'a>(&'a self, look: &mut dyn FnMut(&'a Expr)) {
        match self {
            Kind::Literal(_) | Kind::Ident(_) => {}
            Kind::Select { of, .. } | Kind::Has { of, .. } => look(of),
            Kind::Index { of, index, .. } => [of, index].into_iter().for_each(|child| look(child)),
            Kind::Call { args, .. } | Kind::And(args) | Kind::Or(args) => args.iter().for_each(look),
            Kind::Conditional(parts) => parts.iter().for_each(look),
            Kind::List(elements) => elements.iter().for_each(|element| look(&element.value)),
            Kind::Map(entries) => entries.iter().for_each(|entry| {
                look(&entry.key);
                look(&entry.value);
            }),
            Kind::Loop(each) => {
                look(&each.range);
                each.filter.iter().for_each(&mut *look);
                look(&each.body);
            }
            Kind::IfPresent { target, body, .. } => [target, body].into_iter().for_each(|child| look(child)),
        }
    }
}
