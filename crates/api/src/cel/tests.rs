use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::*;
use crate::cel::value::{Key, Map};

/// What comes of an expression over `self`, of which nothing is known: a value, `error: ...`, or why it is none.
fn outcome(text: &str, this: &Json) -> String {
    let variables = [("self", Type::Dyn)];
    let program = match Program::compile(text, &variables) {
        Ok(program) => program,
        Err(why) => return why.lines().next().unwrap_or_default().to_string(),
    };
    let (value, _) = program.evaluate(vec![("self", Value::of(this, None))], 1_000_000);
    match value {
        Ok(value) => shown(&value),
        Err(Fault::Error(why)) => format!("error: {why}"),
        Err(Fault::Cost) => "too expensive".into(),
    }
}

/// A value as one would write it.
fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Uint(value) => format!("{value}u"),
        Value::Double(value) => format!("{value:?}"),
        Value::String(text) => format!("{text:?}"),
        Value::Bytes(bytes) => format!("b{bytes:?}"),
        Value::Timestamp(time) => time.to_string(),
        Value::Duration(nanos) => format!("{nanos}ns"),
        Value::List(list) => format!("[{}]", list.iter().map(|item| shown(&item)).collect::<Vec<_>>().join(", ")),
        Value::Map(map) => {
            let entries = map.iter().map(|(key, value)| format!("{}: {}", shown(&key), shown(&value)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        Value::Optional(None) => "none".into(),
        Value::Optional(Some(value)) => format!("some({})", shown(value)),
        Value::Type(name) => name.to_string(),
        Value::Quantity(quantity) => quantity.to_string(),
        Value::Ip(address) => address.to_string(),
        Value::Cidr(cidr) => cidr.to_string(),
        other => other.type_name().into(),
    }
}

#[track_caller]
fn check(rows: &[(&str, &str)]) {
    let this = json!({"a": 1, "list": [3, 1, 2], "names": ["x", "y"], "map": {"k": "v", "l": "w"}, "none": null,
        "text": "héllo", "double": 1.5, "yes": true});
    for (text, expected) in rows {
        assert_eq!(outcome(text, &this), *expected, "{text}");
    }
}

#[test]
fn literals() {
    check(&[
        ("-9223372036854775808", "-9223372036854775808"),
        ("9223372036854775808", "ERROR: <input>:1:1: invalid int literal"),
        ("0x1F", "31"),
        ("-0x10", "-16"),
        ("18446744073709551615u", "18446744073709551615u"),
        ("1.5e3", "1500.0"),
        (".5", "0.5"),
        ("1e-2", "0.01"),
        ("-1.5", "-1.5"),
        (r#"'a"b' + "c'd""#, r#""a\"bc'd""#),
        (r"'\n\t\x41\u00e9\U0001F600\101\\\''", r#""\n\tAé😀A\\'""#),
        (r"r'\d+\\'", r#""\\d+\\\\""#),
        ("'''a\n'b'''", r#""a\n'b""#),
        (r"b'\xff\101a'", "b[255, 65, 97]"),
        ("b'é'", "b[195, 169]"),
        (r"br'\x'", "b[92, 120]"),
        (r"'\z'", "ERROR: <input>:1:2: Syntax error: invalid escape sequence"),
        ("'open", "ERROR: <input>:1:1: Syntax error: token recognition error at: unterminated string"),
        ("true || false // and so on", "true"),
        ("null", "null"),
        ("[1, 2,]", "[1, 2]"),
        ("{'a': 1, 'b': 2}", r#"{"a": 1, "b": 2}"#),
        ("{1: true, 2u: false}[2]", "ERROR: <input>:1:11: expected type 'int' but found 'uint'"),
        ("{'a': 1, 'a': 2}", "error: insert failed: key a already exists"),
    ]);
}

#[test]
fn arithmetic_stays_in_its_range() {
    check(&[
        ("1 + 2 * 3 - 4 / 2 % 3", "5"),
        ("(1 + 2) * 3", "9"),
        ("7 / -2", "-3"),
        ("-7 % 3", "-1"),
        ("9223372036854775807 + 1", "error: integer overflow"),
        ("-9223372036854775808 - 1", "error: integer overflow"),
        ("9223372036854775807 * 2", "error: integer overflow"),
        ("-(-9223372036854775808)", "error: integer overflow"),
        ("-9223372036854775808 / -1", "error: integer overflow"),
        ("1u - 2u", "error: unsigned integer overflow"),
        ("1 / 0", "error: division by zero"),
        ("1 % 0", "error: modulus by zero"),
        ("1.0 / 0.0", "inf"),
        ("1 + 1.0", "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, double)'"),
        ("self.a + 1.0", "error: no such overload"),
        ("'a' + 'b'", "\"ab\""),
        ("[1] + [2]", "[1, 2]"),
        ("--1", "1"),
        ("!!true", "true"),
        ("!false && true", "true"),
    ]);
}

#[test]
fn values_of_different_types_are_compared() {
    check(&[
        ("self.a == 1.0", "true"),
        ("dyn(1) == 1u", "true"),
        ("dyn(1) == 'a'", "false"),
        ("1 == true", "ERROR: <input>:1:3: found no matching overload for '_==_' applied to '(int, bool)'"),
        ("1 < 1.5", "true"),
        ("2u > 1", "true"),
        ("9223372036854775807 < 9223372036854775808.0", "true"),
        ("dyn(0.0) / 0.0 == dyn(0.0) / 0.0", "false"),
        ("'a' < 'b'", "true"),
        ("false < true", "true"),
        ("[1, 2] == [1, 2]", "true"),
        ("{'a': 1} == {'a': 1}", "true"),
        ("self.map == {'k': 'v', 'l': 'w'}", "true"),
        ("self.none == null", "true"),
        ("1 in [1, 2]", "true"),
        ("'k' in self.map", "true"),
        ("1 in self.list", "true"),
        ("4 in self.list", "false"),
    ]);
}

#[test]
fn an_error_counts_only_where_it_decides() {
    check(&[
        ("false && 1 / 0 > 1", "false"),
        ("1 / 0 > 1 && false", "false"),
        ("1 / 0 > 1 || true", "true"),
        ("true && 1 / 0 > 1", "error: division by zero"),
        ("1 / 0 > 1 || false", "error: division by zero"),
        ("true ? 1 : 1 / 0", "1"),
        ("false ? 1 / 0 : 2", "2"),
        ("1 < 2 ? 'a' : 2 > 1 ? 'b' : 'c'", "\"a\""),
        ("[1, 0].all(x, 1 / x > 5)", "false"),
        ("[0, 1].exists(x, 1 / x == 1)", "true"),
        ("[0, 2].exists(x, 1 / x == 1)", "error: division by zero"),
        (
            "true ? 1 : 'a'",
            "ERROR: <input>:1:6: found no matching overload for '_?_:_' applied to '(bool, int, string)'",
        ),
        ("1 && true", "ERROR: <input>:1:3: found no matching overload for '_&&_' applied to '(int, bool)'"),
    ]);
}

#[test]
fn fields_and_indices() {
    check(&[
        ("self.map.k", "\"v\""),
        ("self.map['l']", "\"w\""),
        ("self.map.x", "error: no such key: x"),
        ("self.list[1]", "1"),
        ("self.list[3]", "error: index out of bounds: 3"),
        ("self.list[-1]", "error: index out of bounds: -1"),
        ("self.list[dyn(1.0)]", "1"),
        ("has(self.map.k) && !has(self.map.x)", "true"),
        ("has(self)", "ERROR: <input>:1:4: invalid argument to has() macro"),
        ("self.?map.?x", "none"),
        ("self.?map.?x.orValue('d')", "\"d\""),
        ("self.?map.k.hasValue()", "true"),
        ("self.list[?5].or(optional.of(7)).value()", "7"),
        ("self.?map.k.optMap(x, x + '!')", "some(\"v!\")"),
        ("optional.none().value()", "error: optional.none() dereference"),
        ("[?self.?a, ?self.?b]", "[1]"),
        ("{?'a': self.?a, ?'b': self.?b}", "{\"a\": 1}"),
        ("optional.ofNonZeroValue('')", "none"),
        ("other", "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')"),
        ("namespace", "ERROR: <input>:1:1: Syntax error: reserved identifier: namespace"),
        ("1.a", "ERROR: <input>:1:2: type 'int' does not support field selection"),
        ("type(1) == int && type('') == string && type([]) == list", "true"),
    ]);
}

#[test]
fn macros() {
    check(&[
        ("self.list.all(x, x > 0)", "true"),
        ("self.list.exists(x, x == 2)", "true"),
        ("self.list.exists_one(x, x > 1)", "false"),
        ("self.list.filter(x, x > 1)", "[3, 2]"),
        ("self.list.map(x, x * 2)", "[6, 2, 4]"),
        ("self.list.map(x, x > 1, x * 2)", "[6, 4]"),
        ("self.map.all(k, k.size() == 1)", "true"),
        ("self.map.map(k, self.map[k])", "[\"v\", \"w\"]"),
        ("self.list.all(i, x, i >= 0 && x > 0)", "true"),
        ("self.map.exists(k, v, k == 'l' && v == 'w')", "true"),
        ("self.map.existsOne(k, v, v == 'w')", "true"),
        ("self.map.transformList(k, v, k + v)", "[\"kv\", \"lw\"]"),
        ("self.map.transformMap(k, v, k != 'k', v + '!')", "{\"l\": \"w!\"}"),
        ("self.map.transformMapEntry(k, v, {v: k})", "{\"v\": \"k\", \"w\": \"l\"}"),
        ("self.list.sortBy(x, -x)", "[3, 2, 1]"),
        ("[1, 2].all(x, [3].all(y, x < y))", "true"),
        ("[1].map(x, [2].map(x, x))", "[[2]]"),
        ("[1].all(x, x)", "ERROR: <input>:1:12: expected type 'bool' but found 'int'"),
        ("[1].all(1, true)", "ERROR: <input>:1:8: argument must be a simple name"),
        (
            "true.all(x, x)",
            "ERROR: <input>:1:1: expression of type 'bool' cannot be range of a comprehension (must be list, map, or dynamic)",
        ),
    ]);
}

#[test]
fn strings() {
    check(&[
        ("self.text.size()", "5"),
        ("size('é')", "1"),
        ("self.text.contains('él') && self.text.startsWith('h') && self.text.endsWith('lo')", "true"),
        ("'abc'.matches('^[a-c]+$')", "true"),
        ("'abc'.matches('b')", "true"),
        ("'abc'.matches('[')", "ERROR: <input>:1:15: invalid matches argument: ["),
        ("self.text.matches(self.names[0])", "false"),
        ("'a1b22'.find('[0-9]+')", "\"1\""),
        ("'a1b22'.find('z')", "\"\""),
        ("'a1b22'.findAll('[0-9]+')", "[\"1\", \"22\"]"),
        ("'a1b22'.findAll('[0-9]+', 1)", "[\"1\"]"),
        ("self.text.charAt(1)", "\"é\""),
        ("'abc'.charAt(3)", "\"\""),
        ("self.text.indexOf('l')", "2"),
        ("self.text.indexOf('l', 3)", "3"),
        ("self.text.lastIndexOf('l')", "3"),
        ("self.text.lastIndexOf('l', 2)", "2"),
        ("'abc'.indexOf('z')", "-1"),
        ("self.names.join('-') + ['a', 'b'].join()", "\"x-yab\""),
        ("'aB'.lowerAscii() + 'aB'.upperAscii()", "\"abAB\""),
        ("'a-b-c'.replace('-', '+') + 'a-b-c'.replace('-', '+', 1)", "\"a+b+ca+b-c\""),
        ("'a,b,c'.split(',')", "[\"a\", \"b\", \"c\"]"),
        ("'a,b,c'.split(',', 2)", "[\"a\", \"b,c\"]"),
        ("'abc'.split('')", "[\"a\", \"b\", \"c\"]"),
        ("self.text.substring(1, 3) + self.text.substring(3)", "\"éllo\""),
        ("'abc'.substring(2, 1)", "error: invalid substring range"),
        ("' a '.trim()", "\"a\""),
        ("strings.quote('a\"b')", "\"\\\"a\\\\\\\"b\\\"\""),
        ("'%s is %d, %.2f, %x, %b%%'.format(['a', 3, 1.5, 255, 5])", "\"a is 3, 1.50, ff, 101%\""),
        ("'%s'.format([[1, 'a', {'k': 2.0}]])", "\"[1, a, {k: 2}]\""),
        ("[1, 'a'].size()", "ERROR: <input>:1:5: expected type 'int' but found 'string'"),
        ("'%s %s'.format([self.list, self.map])", "\"[3, 1, 2] {k: v, l: w}\""),
        ("'%s'.format([])", "error: index out of range for the arguments of format"),
        ("'%e'.format([1234.5])", "\"1.234500e+03\""),
    ]);
}

#[test]
fn conversions() {
    check(&[
        ("int('12') + int(3.9) + int(4u)", "19"),
        ("int('x')", "error: type conversion error from 'string' to 'int'"),
        ("int(1e30)", "error: integer overflow"),
        ("uint(-1)", "error: unsigned integer overflow"),
        ("double('1.5') + double(1)", "2.5"),
        ("string(1) + string(1.5) + string(true) + string(2u)", "\"11.5true2\""),
        ("string(1000000.0)", "\"1e+06\""),
        ("string(0.00001)", "\"1e-05\""),
        ("string(b'ab')", "\"ab\""),
        ("string(b'\\xff')", "error: invalid UTF-8 in bytes, cannot convert to string"),
        ("bytes('é')", "b[195, 169]"),
        ("bool('true') && !bool('F')", "true"),
        ("string(duration('90s')) + string(duration('1.5s'))", "\"90s1.5s\""),
        ("string(timestamp('2026-01-02T03:04:05.5+01:00'))", "\"2026-01-02T02:04:05.5Z\""),
    ]);
}

#[test]
fn times() {
    check(&[
        ("duration('1h30m') == duration('90m')", "true"),
        ("duration('1h30m').getMinutes()", "90"),
        ("duration('-1.5h')", "-5400000000000ns"),
        ("duration('1x')", "error: time: invalid duration \"1x\""),
        ("timestamp('2026-01-02T03:04:05Z').getFullYear()", "2026"),
        ("timestamp('2026-01-02T03:04:05Z').getMonth()", "0"),
        ("timestamp('2026-01-02T03:04:05Z').getDate()", "2"),
        ("timestamp('2026-01-02T03:04:05Z').getDayOfMonth()", "1"),
        ("timestamp('2026-01-02T03:04:05Z').getDayOfWeek()", "5"),
        ("timestamp('2026-01-02T03:04:05Z').getHours('-04:00')", "23"),
        ("timestamp('2026-01-02T03:04:05Z') + duration('1m')", "2026-01-02T03:05:05Z"),
        ("timestamp('2026-01-02T03:04:05Z') - timestamp('2026-01-02T03:04:00Z')", "5000000000ns"),
        ("timestamp('2026-01-02T03:04:05Z') > timestamp('2025-01-02T03:04:05Z')", "true"),
        ("timestamp('9999-12-30T00:00:00Z') + duration('48h')", "error: timestamp overflow"),
        ("duration('2562047h') + duration('2562047h')", "error: duration overflow"),
    ]);
}

#[test]
fn lists_and_sets() {
    check(&[
        ("[1, 2, 2].isSorted() && !self.list.isSorted()", "true"),
        ("[1, 2].sum()", "3"),
        ("[1.5, 2.0].sum()", "3.5"),
        ("self.list.min() + self.list.max()", "4"),
        ("self.list.filter(x, x > 5).min()", "error: min called on empty list"),
        ("self.list.indexOf(1)", "1"),
        ("[1, 2, 1].lastIndexOf(1)", "2"),
        ("[1, 2, 3].slice(1, 2)", "[2]"),
        ("[1].slice(1, 3)", "error: cannot slice(1, 3), list is length 1"),
        ("[[1], [2]].flatten()", "[1, 2]"),
        ("[1, 2, 1].distinct()", "[1, 2]"),
        ("self.list.sort().reverse()", "[3, 2, 1]"),
        ("self.list.first().value() + self.list.last().value()", "5"),
        ("lists.range(3)", "[0, 1, 2]"),
        ("sets.contains([1, 2], [2]) && sets.intersects([1, 2], [2, 3])", "true"),
        ("sets.equivalent([1, 2], [2, 1, 1])", "true"),
    ]);
}

#[test]
fn what_kubernetes_adds() {
    check(&[
        ("url('https://u@example.com:80/a%20b?x=1&x=2&y=a+b').getHost()", "\"example.com:80\""),
        ("url('https://[::1]:80/a').getHostname() + url('https://[::1]:80/a').getPort()", "\"::180\""),
        ("url('https://example.com/a%20b?x=1').getEscapedPath()", "\"/a%20b\""),
        ("url('https://e.com/?x=1&x=2&y=a+b').getQuery()", r#"{"x": ["1", "2"], "y": ["a b"]}"#),
        ("url('/path').getScheme()", "\"\""),
        ("isURL('example.com') || isURL('http://a b')", "false"),
        ("ip('10.0.0.1').family() + ip('::1').family()", "10"),
        ("isIP('::ffff:1.2.3.4') || isIP('1.2.3')", "false"),
        ("ip.isCanonical('::1') && !ip.isCanonical('::0001')", "true"),
        ("ip('127.0.0.1').isLoopback() && ip('1.1.1.1').isGlobalUnicast()", "true"),
        ("cidr('10.0.0.0/8').containsIP('10.1.2.3')", "true"),
        ("cidr('10.0.0.0/8').containsCIDR(cidr('10.1.0.0/16'))", "true"),
        ("cidr('10.0.0.0/8').containsCIDR('0.0.0.0/0')", "false"),
        ("cidr('10.1.2.3/8').masked()", "10.0.0.0/8"),
        ("cidr('::/0').prefixLength()", "0"),
        ("string(cidr('10.1.2.3/8').ip())", "\"10.1.2.3\""),
        ("isCIDR('10.0.0.0/33')", "false"),
        ("quantity('1Gi').isGreaterThan(quantity('1G'))", "true"),
        ("quantity('500m').add(quantity('1')).compareTo(quantity('1.5'))", "0"),
        ("quantity('2').sub(1).asInteger()", "1"),
        ("quantity('1.5').isInteger()", "false"),
        ("quantity('1.5').asApproximateFloat()", "1.5"),
        ("quantity('-1').sign()", "-1"),
        ("isQuantity('1x')", "false"),
        ("format.dns1123Label().validate('a-b')", "none"),
        ("format.dns1123Label().validate('A').hasValue()", "true"),
        ("format.named('uuid').value().validate('x')", "some([\"does not match the format uuid\"])"),
        ("format.named('other')", "none"),
        ("semver('1.2.3').major() + semver('1.2.3').patch()", "4"),
        ("semver('1.0.0-rc.1').isLessThan(semver('1.0.0'))", "true"),
        ("semver('1.0.0-2').compareTo(semver('1.0.0-10'))", "-1"),
        ("isSemver('v1.0') || isSemver('01.0.0')", "false"),
        ("isSemver('v1.0', true)", "true"),
    ]);
}

#[test]
fn problems_are_shown_where_they_are() {
    #[track_caller]
    fn check(text: &str, expected: &str) {
        let object = Object { name: "thing".into(), fields: BTreeMap::from([("size".into(), Type::Int)]) };
        let this = Type::Object(Arc::new(object));
        assert_eq!(Program::compile(text, &[("self", this)]).unwrap_err(), expected);
    }
    check("self.foo > 1", "ERROR: <input>:1:5: undefined field 'foo'\n | self.foo > 1\n | ....^");
    check(
        "self.size > 1 &&\n  self.size.matches(1)",
        "ERROR: <input>:2:20: found no matching overload for 'matches' applied to 'int.(int)'\n |   \
         self.size.matches(1)\n | ...................^",
    );
    check(
        "self.size.foo() || bar(1)",
        "ERROR: <input>:1:14: undeclared reference to 'foo' (in container '')\n | self.size.foo() || bar(1)\n | \
         .............^\nERROR: <input>:1:23: undeclared reference to 'bar' (in container '')\n | self.size.foo() || \
         bar(1)\n | ......................^",
    );
    check(
        "self + 1",
        "ERROR: <input>:1:6: found no matching overload for '_+_' applied to '(thing, int)'\n | self + 1\n | .....^",
    );
    check(
        "self.size >",
        "ERROR: <input>:1:12: Syntax error: mismatched input '<EOF>' expecting an expression\n | self.size >\n | \
         ...........^",
    );
}

#[test]
fn nothing_runs_for_long() {
    let big: Vec<u32> = (0..2000).collect();
    let this = json!({"big": big, "text": "a".repeat(100_000)});
    for text in [
        "self.big.all(x, self.big.all(y, x + y >= 0))",
        "self.big.map(x, self.text).join().size() > 0",
        "lists.range(100000000).size() > 0",
        "self.text.replace('', self.text).size() > 0",
        "self.big.map(x, self.big).flatten().size() > 0",
        "self.big.exists(x, self.text.matches('(a|b)*c' + string(x)))",
    ] {
        assert_eq!(outcome(text, &this), "too expensive", "{text}");
    }
    assert_eq!(outcome("false && self.big.all(x, self.big.all(y, true))", &this), "false");
}

#[test]
fn deep_expressions_are_refused() {
    for text in [
        format!("{}1{}", "(".repeat(10_000), ")".repeat(10_000)),
        format!("self{}", ".a".repeat(10_000)),
        format!("1{}", " + 1".repeat(10_000)),
        format!("{}1", "true ? 1 : ".repeat(10_000)),
        format!("{}1{}", "[".repeat(10_000), "]".repeat(10_000)),
    ] {
        let found = outcome(&text, &json!({}));
        assert!(found.contains("expression recursion limit exceeded"), "{found}");
    }
    for (open, close) in [("[", "]"), ("(", ")"), ("[1].map(x, ", ")"), ("true ? ", " : 1"), ("size([", "])")] {
        let text = format!("{}1{}", open.repeat(45), close.repeat(45));
        let found = outcome(&text, &json!({}));
        assert!(!found.contains("ERROR") || open == "true ? ", "{found}");
    }
    let many = format!("true{}", " && true".repeat(10_000));
    assert_eq!(outcome(&many, &json!({})), "true");
}

#[test]
fn keys_of_maps_are_found_by_any_number() {
    let map = BTreeMap::from([(Key::Int(1), Value::Bool(true))]);
    let map = Map::Made(std::rc::Rc::new(map));
    assert!(map.get(&Value::Uint(1)).is_some() && map.get(&Value::Double(1.0)).is_some());
    assert!(map.get(&Value::Double(1.5)).is_none());
}
