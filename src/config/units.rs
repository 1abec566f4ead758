//! Sizes and times as they are written on a command line.

use std::fmt;
use std::time::Duration;

/// A number of bytes: `65536`, `64KiB`, `16MiB`, `1GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct ByteSize(pub(super) usize);

const SIZE_UNITS: [(&str, usize); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];

impl ByteSize {
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = SIZE_UNITS
            .iter()
            .find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes)))
            .unwrap_or((text, 1));
        parse_digits(number)?.checked_mul(unit).map(Self)
    }

    /// The same where 32 bits hold it, or what they hold at most.
    pub(super) fn saturating_u32(self) -> u32 {
        u32::try_from(self.0).unwrap_or(u32::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIZE_UNITS.iter().find(|(_, bytes)| self.0 != 0 && self.0.is_multiple_of(*bytes)) {
            Some((unit, bytes)) => write!(f, "{}{unit}", self.0 / bytes),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Reads a size of at least `MIN` and at most `MAX` bytes.
pub(super) fn size<const MIN: usize, const MAX: usize>(text: &str) -> Result<ByteSize, String> {
    let size = ByteSize::parse(text)
        .ok_or("expected a number of bytes, plain or followed by KiB, MiB or GiB, such as 65536 or 64KiB")?;
    if size.0 < MIN {
        return Err(format!("expected at least {}", ByteSize(MIN)));
    }
    if size.0 > MAX {
        return Err(format!("expected at most {}", ByteSize(MAX)));
    }
    Ok(size)
}

/// The largest packet that MQTT can say: one byte, four of length, and 268,435,455.
const MAX_PACKET: usize = 268_435_460;

/// The smallest bound on the first packet: less would keep out clients that do nothing special.
const MIN_FIRST_PACKET: usize = 64;

#[cfg(target_pointer_width = "64")]
const MAX_U32: usize = 0xFFFF_FFFF;
#[cfg(not(target_pointer_width = "64"))]
const MAX_U32: usize = usize::MAX;

/// Reads a bound on packets, as MQTT 5.0 can announce it (section 3.2.2.3.6). CONNECT is not under it.
pub(super) fn packet_size(text: &str) -> Result<ByteSize, String> {
    size::<1, MAX_U32>(text)
}

/// Reads a bound on the first packet of a client.
pub(super) fn first_packet_size(text: &str) -> Result<ByteSize, String> {
    size::<MIN_FIRST_PACKET, MAX_PACKET>(text)
}

/// Reads a number of bytes in a second.
pub(super) fn byte_rate(text: &str) -> Result<ByteSize, String> {
    size::<1, { usize::MAX }>(text)
}

/// A time: `90` or `90s`, `1m30s`, `2h`, `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct TimeSpan(pub(super) Duration);

const TIME_UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];

impl TimeSpan {
    fn parse(text: &str) -> Option<Self> {
        if let Some(seconds) = parse_digits(text) {
            return Some(Self(Duration::from_secs(u64::try_from(seconds).ok()?)));
        }
        let mut total: u64 = 0;
        let mut rest = text;
        let mut units = TIME_UNITS.iter();
        while !rest.is_empty() {
            let (number, behind) = rest.split_at(rest.find(|character: char| !character.is_ascii_digit())?);
            let written = behind.chars().next()?;
            // Each unit once at most, the larger before the smaller.
            let (_, seconds) = units.find(|(unit, _)| *unit == written)?;
            let number = u64::try_from(parse_digits(number)?).ok()?;
            total = total.checked_add(number.checked_mul(*seconds)?)?;
            rest = behind.strip_prefix(written)?;
        }
        (!text.is_empty()).then_some(Self(Duration::from_secs(total)))
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_secs();
        if rest == 0 {
            return f.write_str("0s");
        }
        for (unit, seconds) in TIME_UNITS {
            if rest >= seconds {
                write!(f, "{}{unit}", rest / seconds)?;
                rest %= seconds;
            }
        }
        Ok(())
    }
}

const TIME_EXPECTED: &str =
    "expected a number of seconds, or days, hours, minutes and seconds, such as 90, 1m30s or 7d";

/// Reads a time.
pub(super) fn time(text: &str) -> Result<TimeSpan, String> {
    TimeSpan::parse(text).ok_or_else(|| TIME_EXPECTED.to_owned())
}

/// Reads a time that is not zero.
pub(super) fn time_above_zero(text: &str) -> Result<TimeSpan, String> {
    match time(text)? {
        TimeSpan(Duration::ZERO) => Err("expected a time above zero".to_owned()),
        time => Ok(time),
    }
}

/// Digits and nothing else: no sign, no space.
fn parse_digits(text: &str) -> Option<usize> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written() {
        for (text, bytes, written) in [
            ("0", 0, "0"),
            ("1", 1, "1"),
            ("65536", 65_536, "64KiB"),
            ("65537", 65_537, "65537"),
            ("64KiB", 65_536, "64KiB"),
            ("1024MiB", 1 << 30, "1GiB"),
            ("3GiB", 3 << 30, "3GiB"),
        ] {
            let size = size::<0, { usize::MAX }>(text).unwrap();
            assert_eq!((size.0, size.to_string().as_str()), (bytes, written), "{text}");
        }
        for text in
            ["", "KiB", "-1", "+1", "1.5MiB", "1 KiB", "1kb", "1K", "99999999999999999999", "99999999999GiB"]
        {
            assert!(size::<0, { usize::MAX }>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_bounds() {
        assert_eq!(size::<10, 20>("9"), Err("expected at least 10".to_owned()));
        assert_eq!(size::<10, 20>("10"), Ok(ByteSize(10)));
        assert_eq!(size::<10, 20>("20"), Ok(ByteSize(20)));
        assert_eq!(size::<10, 20>("1KiB"), Err("expected at most 20".to_owned()));
    }

    #[test]
    fn times_are_read_and_written() {
        for (text, seconds, written) in [
            ("0", 0, "0s"),
            ("10", 10, "10s"),
            ("10s", 10, "10s"),
            ("90", 90, "1m30s"),
            ("1m30s", 90, "1m30s"),
            ("2h", 7_200, "2h"),
            ("7d", 604_800, "7d"),
            ("1d2h3m4s", 93_784, "1d2h3m4s"),
            ("100m", 6_000, "1h40m"),
        ] {
            let span = time(text).unwrap();
            assert_eq!((span.0.as_secs(), span.to_string().as_str()), (seconds, written), "{text}");
        }
        for text in [
            "",
            "s",
            "10ms",
            "1s1m",
            "1m1m",
            "-1",
            "1.5s",
            "1m 3s",
            "5x",
            "99999999999999999999",
            "999999999999999999d",
        ] {
            assert_eq!(time(text), Err(TIME_EXPECTED.to_owned()), "{text}");
        }
        assert!(time_above_zero("0s").is_err());
        assert!(time_above_zero("1").is_ok());
    }
}
