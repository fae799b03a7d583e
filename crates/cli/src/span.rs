//! Durations as people write them.

use std::time::Duration;

/// The longest that fits into a frame: about 49 days.
const MAX: Duration = Duration::from_millis(u32::MAX as u64);

/// `500ms`, `5s`, `1.5s`, `1m`, `2h`; from 1 ms to about 49 days.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        "" => return Err("there is no unit; it looks like 500ms, 5s or 1m".to_owned()),
        other => return Err(format!("{other:?} is no unit; there are ms, s, m and h")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{number:?} is no number"))?;
    let span = Duration::try_from_secs_f64(number * seconds).map_err(|error| error.to_string())?;
    if span < Duration::from_millis(1) {
        return Err("it is shorter than 1ms".to_owned());
    }
    if span > MAX {
        return Err("it is longer than 49 days".to_owned());
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_duration() {
        for (text, ms) in [("1ms", 1), ("500ms", 500), ("5s", 5_000), ("1.5s", 1_500), ("1m", 60_000)] {
            assert_eq!(parse(text).unwrap(), Duration::from_millis(ms), "{text}");
        }
        assert_eq!(parse("2h").unwrap(), Duration::from_secs(7_200));
    }

    #[test]
    fn what_is_none() {
        for bad in
            ["", "5", "s", "-5s", "5 s", "5d", "0s", "0.1ms", "1.2.3s", "9999h", "1e3s", "nans", "infs"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
