//! Kubernetes quantities and Go durations, as far as comparing and converting them needs.

use std::str::FromStr;
use std::time::Duration;

/// A resource quantity such as `100m`, `1.5`, `64Mi` or `1e3`
/// (`apimachinery/pkg/api/resource/quantity.go`), held exactly in billionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Quantity(i128);

const NANOS: i128 = 1_000_000_000;

/// Not a quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a quantity such as `100m` or `64Mi`")]
pub struct NotAQuantity(String);

impl Quantity {
    /// Its value where it is a whole number that is not negative.
    #[must_use]
    pub fn whole(self) -> Option<u64> {
        (self.0 % NANOS == 0)
            .then(|| u64::try_from(self.0 / NANOS).ok())
            .flatten()
    }

    /// The sum; saturates.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl FromStr for Quantity {
    type Err = NotAQuantity;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text)
            .map(Self)
            .ok_or_else(|| NotAQuantity(crate::text::excerpt(text, 40)))
    }
}

fn parse(text: &str) -> Option<i128> {
    let (sign, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let end = unsigned
        .find(|character: char| !character.is_ascii_digit() && character != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') || whole.len() > 18 {
        return None;
    }
    let multiplier = multiplier(suffix)?;
    let whole: i128 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    // What is below a billionth rounds up, away from zero, as in the API server.
    let (kept, lost) = fraction.split_at(fraction.len().min(18));
    let digits: i128 = if kept.is_empty() {
        0
    } else {
        kept.parse().ok()?
    };
    let scale = 10_i128.checked_pow(u32::try_from(kept.len()).ok()?)?;
    let up = i128::from(lost.bytes().any(|digit| digit != b'0'));
    let (over, under) = multiplier;
    let numerator = whole
        .checked_mul(scale)?
        .checked_add(digits)?
        .checked_mul(over)?
        .checked_add(up)?;
    let denominator = scale.checked_mul(under)?;
    let nanos = numerator.checked_mul(NANOS)?;
    Some(sign * (nanos / denominator + i128::from(nanos % denominator != 0)))
}

/// The suffix as a fraction.
fn multiplier(suffix: &str) -> Option<(i128, i128)> {
    Some(match suffix {
        "" => (1, 1),
        "n" => (1, NANOS),
        "u" => (1, 1_000_000),
        "m" => (1, 1_000),
        "k" => (1_000, 1),
        "M" => (1_000_000, 1),
        "G" => (NANOS, 1),
        "T" => (1_000 * NANOS, 1),
        "P" => (1_000_000 * NANOS, 1),
        "E" => (NANOS * NANOS, 1),
        "Ki" => (1 << 10, 1),
        "Mi" => (1 << 20, 1),
        "Gi" => (1 << 30, 1),
        "Ti" => (1 << 40, 1),
        "Pi" => (1 << 50, 1),
        "Ei" => (1 << 60, 1),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            let power = 10_i128.checked_pow(exponent.unsigned_abs().min(30))?;
            if exponent < 0 { (1, power) } else { (power, 1) }
        }
    })
}

/// A Go duration without a sign: `300ms`, `1h2m3.5s` (`time.ParseDuration`); `None` for anything else.
#[must_use]
pub fn duration(text: &str) -> Option<Duration> {
    if text == "0" {
        return Some(Duration::ZERO);
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let end = rest.find(|character: char| !character.is_ascii_digit() && character != '.')?;
        let (number, tail) = rest.split_at(end);
        let unit_end = tail
            .find(|character: char| character.is_ascii_digit() || character == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_end);
        let unit = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        let part = Duration::try_from_secs_f64(number.parse::<f64>().ok()? * unit).ok()?;
        total = total.checked_add(part)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantity(text: &str) -> Quantity {
        text.parse().unwrap()
    }

    #[test]
    fn notations_of_one_amount_are_equal() {
        for same in [
            ["1", "1000m"],
            ["0.1", "100m"],
            ["1Ki", "1024"],
            ["1e3", "1k"],
            ["1.5Gi", "1536Mi"],
            ["1E", "1e18"],
            [".5", "500m"],
            ["5.", "5"],
        ] {
            assert_eq!(quantity(same[0]), quantity(same[1]));
        }
        assert!(quantity("100m") < quantity("0.2"));
        assert!(quantity("-1") < quantity("0"));
        assert_eq!(quantity("64Mi").whole(), Some(67_108_864));
        assert_eq!(quantity("1.5").whole(), None);
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in [
            "",
            ".",
            "x",
            "1 Mi",
            "1mi",
            "1.2.3",
            "--1",
            "1ee3",
            "9999999999999999999999",
            "1e99",
            "Mi",
        ] {
            assert!(text.parse::<Quantity>().is_err(), "{text}");
        }
    }

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(duration("300ms"), Some(Duration::from_millis(300)));
        for text in ["", "5", "s", "1d", "-1s", "1s2", "1..5s", "1e400s"] {
            assert_eq!(duration(text), None, "{text}");
        }
    }
}
