//! Users, groups and permissions of this host, as they are written on a command line.

#[cfg(unix)]
use nix::errno::Errno;
#[cfg(unix)]
use nix::unistd::{Group, User};

/// Reads permissions: an octal number of three digits, or of four with a zero in front.
pub(super) fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix('0').filter(|rest| rest.len() == 3).unwrap_or(text);
    let is_mode = digits.len() == 3 && digits.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
    let mode = is_mode.then(|| u32::from_str_radix(digits, 8).ok()).flatten();
    mode.ok_or_else(|| "expected permissions as three octal digits, such as 0660".to_owned())
}

/// Reads a user: its number, or a name that the host knows.
pub(super) fn user(text: &str) -> Result<u32, String> {
    #[cfg(unix)]
    return find(text, || User::from_name(text).map(|user| user.map(|user| user.uid.as_raw())));
    #[cfg(not(unix))]
    return number(text);
}

/// Reads a group: its number, or a name that the host knows.
pub(super) fn group(text: &str) -> Result<u32, String> {
    #[cfg(unix)]
    return find(text, || Group::from_name(text).map(|group| group.map(|group| group.gid.as_raw())));
    #[cfg(not(unix))]
    return number(text);
}

fn number(text: &str) -> Result<u32, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = is_number.then(|| text.parse().ok()).flatten();
    number.ok_or_else(|| "expected a number, or a name that this host knows".to_owned())
}

#[cfg(unix)]
fn find(text: &str, look_up: impl FnOnce() -> Result<Option<u32>, Errno>) -> Result<u32, String> {
    let unknown = match number(text) {
        Ok(number) => return Ok(number),
        Err(unknown) => unknown,
    };
    match look_up() {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(unknown),
        Err(error) => Err(format!("the host cannot look it up: {}", error.desc())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_octal() {
        assert_eq!((mode("0660"), mode("600"), mode("0777")), (Ok(0o660), Ok(0o600), Ok(0o777)));
        for text in ["", "0", "66", "0668", "1660", "00660", "+660", "rw-rw----"] {
            assert!(mode(text).is_err(), "{text}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn users_and_groups_have_names_or_numbers() {
        assert_eq!((user("root"), user("0"), user("4711")), (Ok(0), Ok(0), Ok(4_711)));
        assert_eq!((group("0"), group("4711")), (Ok(0), Ok(4_711)));
        for text in ["", "-1", "no such name", "4294967296"] {
            assert!(user(text).is_err() && group(text).is_err(), "{text}");
        }
    }
}
