//! Kubernetes quantities: `100m`, `1.5Gi`, `12e6`. Exact, up to 38 significant digits.
//!
//! A quantity remembers how it was written where Kubernetes does: text that is nearly canonical (`+1`, `1e0`) is kept,
//! anything else is brought into canonical form. Source: `k8s.io/apimachinery/pkg/api/resource`.

use std::cmp::Ordering;
use std::fmt;

use thiserror::Error;

/// Why a text is not a quantity, in Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum QuantityError {
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    #[error("unable to parse numeric part of quantity")]
    Numeric,
    #[error("unable to parse quantity's suffix")]
    Suffix,
}

/// How a quantity likes to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Notation {
    /// `12e6`
    DecimalExponent,
    /// `12M`
    DecimalSi,
    /// `12Mi`
    BinarySi,
}

/// `mantissa * 10^exponent`. Two quantities are equal if their values are, however they are written.
#[derive(Clone, Debug)]
pub struct Quantity {
    mantissa: i128,
    exponent: i32,
    notation: Notation,
    /// The text it was read from, where that is to be kept.
    written: Option<String>,
}

/// The smallest step Kubernetes keeps is a billionth; what lies below is rounded up.
const EXPONENT_MIN: i32 = -9;

const DECIMAL_SUFFIXES: [(&str, i32); 10] =
    [("n", -9), ("u", -6), ("m", -3), ("", 0), ("k", 3), ("M", 6), ("G", 9), ("T", 12), ("P", 15), ("E", 18)];

const BINARY_SUFFIXES: [(&str, u32); 6] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40), ("Pi", 50), ("Ei", 60)];

/// The canonical text of a quantity, as Go would write it back.
///
/// # Errors
/// If the text is not a quantity.
pub fn canonical(text: &str) -> Result<String, QuantityError> {
    Quantity::parse(text).map(|quantity| quantity.to_string())
}

impl Quantity {
    pub const ZERO: Quantity = Quantity { mantissa: 0, exponent: 0, notation: Notation::DecimalSi, written: None };

    /// # Errors
    /// See [`QuantityError`]; also `Numeric` for more than 38 significant digits.
    pub fn parse(text: &str) -> Result<Self, QuantityError> {
        let parts = Parts::split(text)?;
        let suffix = Suffix::parse(parts.suffix).ok_or(QuantityError::Suffix)?;
        let digits = [parts.integer, parts.fraction].concat();
        let magnitude: i128 = digits.parse().map_err(|_| QuantityError::Numeric)?;
        let places = i32::try_from(parts.fraction.len()).map_err(|_| QuantityError::Numeric)?;
        let mut quantity = match suffix {
            Suffix::Decimal { exponent, notation } => {
                Self { mantissa: magnitude, exponent: exponent.saturating_sub(places), notation, written: None }
            }
            Suffix::Binary { power } => Self::binary(magnitude, places, power)?,
        };
        quantity.round_up(EXPONENT_MIN);
        if parts.negative {
            quantity.mantissa = -quantity.mantissa;
        }
        if suffix.keeps_text(&digits, places) {
            quantity.written = Some(text.to_string());
        }
        Ok(quantity)
    }

    /// An integer amount, written in decimal.
    pub fn from_int(value: i64) -> Self {
        Self { mantissa: value.into(), ..Self::ZERO }
    }

    /// `magnitude * 10^-places * 2^power`, at most `i64::MAX`, as Kubernetes caps binary amounts.
    fn binary(magnitude: i128, places: i32, power: u32) -> Result<Self, QuantityError> {
        let mantissa = magnitude.checked_mul(1 << power).ok_or(QuantityError::Numeric)?;
        let mut quantity = Self { mantissa, exponent: -places, notation: Notation::BinarySi, written: None };
        if quantity > Self::from_int(i64::MAX) {
            (quantity.mantissa, quantity.exponent) = (i64::MAX.into(), 0);
        }
        if quantity.mantissa > 0 && quantity < Self::from_int(1) {
            quantity.notation = Notation::DecimalSi;
        }
        Ok(quantity)
    }

    pub fn is_zero(&self) -> bool {
        self.mantissa == 0
    }

    pub fn is_negative(&self) -> bool {
        self.mantissa < 0
    }

    /// Rounds away from zero to thousandths, as Kubernetes does with all resource amounts.
    pub fn round_up_to_milli(&mut self) {
        self.round_up(-3);
    }

    /// The value rounded up to an integer; saturates at the ends of `i64`.
    pub fn to_int(&self) -> i64 {
        self.scaled(0)
    }

    /// The value in thousandths, rounded up; saturates at the ends of `i64`.
    pub fn to_milli(&self) -> i64 {
        self.scaled(-3)
    }

    /// The nearest double.
    pub fn to_f64(&self) -> f64 {
        format!("{}e{}", self.mantissa, self.exponent).parse().unwrap_or(f64::NAN)
    }

    /// Whether the value is a whole number.
    pub fn is_integer(&self) -> bool {
        self.normal().1 >= 0
    }

    /// The sum; saturates if it would have more than 38 digits. Keeps this quantity's notation unless it is zero.
    pub fn add(&self, other: &Quantity) -> Quantity {
        let notation = if self.is_zero() { other.notation } else { self.notation };
        let ((left, left_exponent), (right, right_exponent)) = (self.normal(), other.normal());
        let exponent = left_exponent.min(right_exponent);
        let sum = shift(left, left_exponent.saturating_sub(exponent))
            .zip(shift(right, right_exponent.saturating_sub(exponent)))
            .and_then(|(left, right)| left.checked_add(right));
        match sum {
            Some(mantissa) => Quantity { mantissa, exponent, notation, written: None },
            // They differ by so many digits that the smaller does not show.
            None => if left_exponent > right_exponent { self } else { other }.clone(),
        }
    }

    /// The difference; see [`Quantity::add`].
    pub fn sub(&self, other: &Quantity) -> Quantity {
        self.add(&Quantity { mantissa: -other.mantissa, written: None, ..other.clone() })
    }

    fn scaled(&self, exponent: i32) -> i64 {
        let mut rounded = Self { written: None, ..self.clone() };
        rounded.round_up(exponent);
        let limit = if rounded.is_negative() { i64::MIN } else { i64::MAX };
        shift(rounded.mantissa, rounded.exponent - exponent)
            .and_then(|value| i64::try_from(value).ok())
            .unwrap_or(if rounded.is_zero() { 0 } else { limit })
    }

    /// Rounds away from zero to a multiple of `10^exponent`.
    fn round_up(&mut self, exponent: i32) {
        if self.exponent >= exponent {
            return;
        }
        self.written = None;
        let sign = self.mantissa.signum();
        self.mantissa = match shift(1, exponent.saturating_sub(self.exponent)) {
            Some(step) => sign * self.mantissa.unsigned_abs().div_ceil(step.unsigned_abs()) as i128,
            None => sign,
        };
        self.exponent = exponent;
    }

    /// Mantissa and exponent without trailing zeros in the mantissa.
    fn normal(&self) -> (i128, i32) {
        let (mut mantissa, mut exponent) = (self.mantissa, self.exponent);
        if mantissa == 0 {
            return (0, 0);
        }
        while mantissa % 10 == 0 {
            mantissa /= 10;
            exponent = exponent.saturating_add(1);
        }
        (mantissa, exponent)
    }

    /// The integer value, if it is one and fits.
    fn integer(&self) -> Option<i128> {
        let (mantissa, exponent) = self.normal();
        if exponent < 0 { None } else { shift(mantissa, exponent) }
    }

    /// `None` where binary notation would lose something or look odd.
    fn binary_text(&self) -> Option<String> {
        let mut value = self.integer().filter(|value| value.abs() >= 1024)?;
        let mut suffix = "";
        for (name, _) in BINARY_SUFFIXES {
            if value % 1024 != 0 {
                break;
            }
            (value, suffix) = (value / 1024, name);
        }
        Some(format!("{value}{suffix}"))
    }

    fn decimal_text(&self) -> String {
        let (mantissa, exponent) = self.normal();
        let extra = exponent.rem_euclid(3);
        let (digits, exponent) = (format!("{mantissa}{}", "0".repeat(extra as usize)), exponent - extra);
        let suffix = DECIMAL_SUFFIXES.iter().find(|(_, power)| *power == exponent);
        match suffix {
            _ if exponent == 0 => digits,
            Some((name, _)) if self.notation != Notation::DecimalExponent => format!("{digits}{name}"),
            _ => format!("{digits}e{exponent}"),
        }
    }
}

impl fmt::Display for Quantity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(written) = &self.written {
            return f.write_str(written);
        }
        if self.is_zero() {
            return f.write_str("0");
        }
        let binary = if self.notation == Notation::BinarySi { self.binary_text() } else { None };
        f.write_str(&binary.unwrap_or_else(|| self.decimal_text()))
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let (left, right) = (self.normal(), other.normal());
        let signs = left.0.signum().cmp(&right.0.signum());
        if signs != Ordering::Equal {
            return signs;
        }
        let exponent = left.1.min(right.1);
        let magnitude = |(mantissa, own): (i128, i32)| shift(mantissa, own.saturating_sub(exponent));
        match (magnitude(left), magnitude(right)) {
            (Some(left), Some(right)) => left.cmp(&right),
            // What does not fit when brought to the same exponent is the larger one in magnitude.
            (left_fits, _) if left_fits.is_none() != (left.0 < 0) => Ordering::Greater,
            _ => Ordering::Less,
        }
    }
}

/// `value * 10^places` for `places >= 0`, if it fits.
fn shift(value: i128, places: i32) -> Option<i128> {
    if value == 0 {
        return Some(0);
    }
    10_i128.checked_pow(places.unsigned_abs())?.checked_mul(value)
}

/// The pieces of a quantity's text.
struct Parts<'a> {
    negative: bool,
    /// Without leading zeros; `0` if nothing is left.
    integer: &'a str,
    fraction: &'a str,
    suffix: &'a str,
}

impl<'a> Parts<'a> {
    fn split(text: &'a str) -> Result<Self, QuantityError> {
        if text.is_empty() {
            return Err(QuantityError::Format);
        }
        let negative = text.starts_with('-');
        let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
        let (integer, rest) = digits(unsigned.trim_start_matches('0'));
        let integer = if integer.is_empty() { "0" } else { integer };
        let (fraction, suffix) = rest.strip_prefix('.').map_or(("", rest), digits);
        let after_letters = suffix.trim_start_matches(|c| "eEinumkKMGTP".contains(c));
        let after_sign = after_letters.strip_prefix(['+', '-']).unwrap_or(after_letters);
        if !digits(after_sign).1.is_empty() {
            return Err(QuantityError::Format);
        }
        Ok(Self { negative, integer, fraction, suffix })
    }
}

/// Leading digits, and the rest.
fn digits(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.split_at(end)
}

#[derive(Clone, Copy)]
enum Suffix {
    Decimal { exponent: i32, notation: Notation },
    Binary { power: u32 },
}

impl Suffix {
    fn parse(text: &str) -> Option<Self> {
        if let Some((_, exponent)) = DECIMAL_SUFFIXES.iter().find(|(name, _)| *name == text) {
            return Some(Self::Decimal { exponent: *exponent, notation: Notation::DecimalSi });
        }
        if let Some((_, power)) = BINARY_SUFFIXES.iter().find(|(name, _)| *name == text) {
            return Some(Self::Binary { power: *power });
        }
        let exponent = text.strip_prefix(['e', 'E'])?.parse().ok()?;
        Some(Self::Decimal { exponent, notation: Notation::DecimalExponent })
    }

    /// Whether Kubernetes takes the text for canonical and keeps it. Its test is a quick one, so that some texts that
    /// are not canonical (`+1`, `1.234`) stay; amounts too long for its quick path are always written anew.
    fn keeps_text(self, digits: &str, places: i32) -> bool {
        match self {
            Self::Decimal { exponent, .. } => {
                let scale = exponent.saturating_sub(places);
                digits.len() <= 18
                    && scale >= EXPONENT_MIN
                    && scale % 3 == 0
                    && !digits.ends_with("000")
                    && !digits.starts_with('0')
            }
            Self::Binary { power } => {
                let fits = digits.len() as u32 + power * 3 / 10 < 15;
                places == 0 && fits && digits.parse::<u64>().is_ok_and(|value| value % 8 != 0)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_quantities_back_as_kubernetes_does() {
        #[track_caller]
        fn check(text: &str, expected: &str) {
            assert_eq!(canonical(text).map_err(|error| error.to_string()).as_deref(), Ok(expected), "of {text}");
        }
        for kept in ["0", "1", "100m", "1Gi", "1536Mi", "+1", "1e0", "129e6", "1.234", "1E", "-5", "2000000Ki", "+3Mi"]
        {
            check(kept, kept);
        }
        check("0.5", "500m");
        check("1000m", "1");
        check("1.5Gi", "1536Mi");
        check("1024Mi", "1Gi");
        check("1000Ki", "1000Ki");
        check("0.5Gi", "512Mi");
        check("0.25Gi", "256Mi");
        check("1.5G", "1500M");
        check("2.0", "2");
        check("1000000u", "1");
        check("100k", "100k");
        check("00", "0");
        check("0.0", "0");
        check("0Mi", "0");
        check("1e21", "1e21");
        check("1000E", "1e21");
        check("10e4", "100e3");
        check("0.00000000001", "1n");
        check("-0.00000000001", "-1n");
        check("12345678901n", "12345678901n");
        check("0.1Ki", "102400m");
        check("1Ki", "1Ki");
        check("512", "512");
        check("9999999999Ei", "9223372036854775807");
        check("1e100", "10e99");
        check("-1Gi", "-1Gi");
        check("1.5e3", "1500");
        check(".5", "500m");
        check("123456789012345678901", "123456789012345678901");
    }

    #[test]
    fn refuses_what_is_no_quantity() {
        #[track_caller]
        fn check(text: &str, expected: QuantityError) {
            assert_eq!(canonical(text), Err(expected), "of {text}");
        }
        check("", QuantityError::Format);
        check("abc", QuantityError::Format);
        check("1 Gi", QuantityError::Format);
        check("1.2.3", QuantityError::Format);
        check("1Gii", QuantityError::Suffix);
        check("1K", QuantityError::Suffix);
        check("1e", QuantityError::Suffix);
        check("1mi", QuantityError::Suffix);
        check("1e99999999999", QuantityError::Suffix);
    }

    #[test]
    fn rounds_compares_and_adds() {
        let parse = |text| Quantity::parse(text).unwrap();
        let milli = |text| {
            let mut quantity = parse(text);
            quantity.round_up_to_milli();
            quantity.to_string()
        };
        assert_eq!([milli("0.0005"), milli("12345678901n"), milli("100u")], ["1m", "12346m", "1m"]);
        assert_eq!([milli("+1"), milli("-1n"), milli("1e100")], ["+1", "-1m", "10e99"]);

        assert_eq!(parse("1Gi"), parse("1073741824"));
        assert!(parse("1e2147483647") > parse("1Ei") && parse("-1e2147483647") < parse("-1"));
        assert!(parse("999m") < parse("1") && parse("-1") < parse("0") && parse("1Ki") > parse("1k"));
        assert!(parse("0") < parse("1n") && parse("0") == parse("0e30"));

        let sum = |left, right| parse(left).add(&parse(right)).to_string();
        assert_eq!([sum("100m", "1"), sum("512Mi", "0.5Gi"), sum("0", "1Gi")], ["1100m", "1Gi", "1Gi"]);
        assert_eq!(parse("1").sub(&parse("1m")).to_string(), "999m");
        assert_eq!(sum("1e2147483647", "1"), "10e2147483646");

        assert_eq!((parse("1500m").to_int(), parse("0.0001").to_milli(), parse("1e30").to_int()), (2, 1, i64::MAX));
        assert!(parse("1.5Ki").is_integer() && !parse("100m").is_integer());
    }
}
