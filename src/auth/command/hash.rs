//! Entries for new users.

use std::fmt;
use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::num::NonZeroU32;

use super::{Answer, CommandError};
use crate::auth::password_hash::{HashAlgorithm, PasswordHash};
use crate::auth::scram::ScramKeys;

/// An entry that is wanted for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hash {
    /// The name of the user.
    pub user: String,
    /// How its password is kept.
    pub method: HashMethod,
    /// How often a function is applied, where the method lets that be chosen.
    pub iterations: Option<NonZeroU32>,
}

/// How a password is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashMethod {
    /// As a hash made with argon2id.
    Argon2id,
    /// As a hash made with PBKDF2 and SHA-256.
    Pbkdf2Sha256,
    /// As a hash made with PBKDF2 and SHA-512.
    Pbkdf2Sha512,
    /// As keys for SCRAM-SHA-256, with which MQTT 5.0 clients can prove that they know it without telling it.
    ScramSha256,
}

/// What OWASP recommends.
const PBKDF2_SHA256: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
const PBKDF2_SHA512: NonZeroU32 = NonZeroU32::new(210_000).unwrap();
/// Clients have to do this work with each login; RFC 7677 wants no fewer than 4,096 and recommends 15,000.
const SCRAM: NonZeroU32 = NonZeroU32::new(15_000).unwrap();
/// What MQTT lets a password have, in bytes.
const LONGEST_PASSWORD: u64 = 65_535;

impl Hash {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Answer, CommandError> {
        let stdin = io::stdin();
        let password = if stdin.is_terminal() { ask_twice()? } else { first_line(&mut stdin.lock())? };
        let mut salt = [0; 16];
        getrandom::fill(&mut salt).map_err(io::Error::other)?;
        writeln!(out, "{}", self.entry(&password, &salt)?)?;
        Ok(Answer::Yes)
    }

    /// The line that goes into `authentication`.
    fn entry(&self, password: &[u8], salt: &[u8]) -> Result<String, CommandError> {
        let algorithm = match self.method {
            HashMethod::Argon2id if self.iterations.is_some() => {
                return Err(CommandError::Question(
                    "--iterations does not apply to argon2id, which is the default: expected --method with another"
                        .to_owned(),
                ));
            }
            HashMethod::Argon2id => HashAlgorithm::ARGON2ID,
            HashMethod::Pbkdf2Sha256 => {
                HashAlgorithm::Pbkdf2Sha256 { iterations: self.iterations.unwrap_or(PBKDF2_SHA256) }
            }
            HashMethod::Pbkdf2Sha512 => {
                HashAlgorithm::Pbkdf2Sha512 { iterations: self.iterations.unwrap_or(PBKDF2_SHA512) }
            }
            HashMethod::ScramSha256 => {
                let keys = ScramKeys::of(password, salt, self.iterations.unwrap_or(SCRAM));
                let name = Quoted(&self.user);
                return Ok(format!("{{ name: {name}, method: \"scram_sha_256\", {} }},", keys.entry()));
            }
        };
        let hash = algorithm
            .check()
            .map_err(CommandError::Question)
            .map(|algorithm| PasswordHash::of(password, salt, algorithm))?
            .ok_or_else(|| io::Error::other("the password could not be hashed"))?;
        Ok(format!("{{ name: {}, method: \"password_hash\", hash: \"{hash}\" }},", Quoted(&self.user)))
    }
}

/// Has somebody type a password, unseen.
fn ask_twice() -> Result<Vec<u8>, CommandError> {
    let password = rpassword::prompt_password("Password: ")?;
    if password != rpassword::prompt_password("The same once more: ")? {
        return Err(CommandError::Question("the two passwords differ".to_owned()));
    }
    check(password.into_bytes())
}

fn first_line(input: &mut dyn BufRead) -> Result<Vec<u8>, CommandError> {
    let mut line = Vec::new();
    input.take(LONGEST_PASSWORD + 2).read_until(b'\n', &mut line)?;
    if line.pop_if(|byte| *byte == b'\n').is_some() {
        line.pop_if(|byte| *byte == b'\r');
    }
    check(line)
}

fn check(password: Vec<u8>) -> Result<Vec<u8>, CommandError> {
    if password.is_empty() {
        Err(CommandError::Question("an empty password, expected at least one character".to_owned()))
    } else if u64::try_from(password.len()).is_ok_and(|len| len > LONGEST_PASSWORD) {
        Err(CommandError::Question(format!(
            "a longer password than MQTT allows, which is {LONGEST_PASSWORD} bytes"
        )))
    } else {
        Ok(password)
    }
}

/// A string as JSON writes it.
struct Quoted<'s>(&'s str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;

        f.write_char('"')?;
        for character in self.0.chars() {
            match character {
                '"' | '\\' => write!(f, "\\{character}")?,
                control if control.is_control() => write!(f, "\\u{:04x}", u32::from(control))?,
                other => f.write_char(other)?,
            }
        }
        f.write_char('"')
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::auth::file::AuthFile;
    use crate::mqtt::packet::Password;

    #[test]
    fn an_entry_can_stand_in_a_file() {
        let user = "a \"quoted\" \\ name\n\u{85} with ümlaut";
        let iterations = NonZeroU32::new(3);
        for (method, iterations) in [
            (HashMethod::Argon2id, None),
            (HashMethod::Pbkdf2Sha256, iterations),
            (HashMethod::Pbkdf2Sha512, iterations),
        ] {
            let hash = Hash { user: user.to_owned(), method, iterations };
            let entry = hash.entry(b"\xFFsecret", b"sixteen bytes...").unwrap();
            let text = format!("{{ authentication: [{entry}], authorization: [] }}");
            let file = AuthFile::parse(text.as_bytes(), Path::new("auth.json")).unwrap();
            let (found, verifier) = file.accounts.password_of(user);
            assert_eq!(found.map(|name| &**name), Some(user), "{entry}");
            assert!(verifier.verifies(&Password(b"\xFFsecret".as_slice().into())), "{entry}");
            assert!(!verifier.verifies(&Password(b"secret".as_slice().into())), "{entry}");
        }
    }

    #[test]
    fn an_entry_for_scram_can_stand_in_a_file() {
        let (user, iterations) = ("u".to_owned(), NonZeroU32::new(4_096));
        let hash = Hash { user, method: HashMethod::ScramSha256, iterations };
        let salt = b"sixteen bytes...";
        let entry = hash.entry(b"pencil", salt).unwrap();
        let text = format!("{{ authentication: [{entry}], authorization: [] }}");
        let file = AuthFile::parse(text.as_bytes(), Path::new("auth.json")).unwrap();
        assert_eq!(file.warnings, [""; 0]);
        let keys = file.accounts.scram_keys_of("u", &[0; 32]).unwrap();
        assert!(keys == ScramKeys::of(b"pencil", salt, iterations.unwrap()), "{entry}");
    }

    #[test]
    fn what_would_not_be_taken_from_a_file_is_not_made() {
        let hash = |method, iterations| Hash {
            user: "u".to_owned(),
            method,
            iterations: NonZeroU32::new(iterations),
        };
        for (hash, expected) in [
            (hash(HashMethod::Argon2id, 7), "--iterations does not apply to argon2id"),
            (hash(HashMethod::Pbkdf2Sha256, 10_000_001), "a hash that takes 10000001 iterations"),
        ] {
            let error = hash.entry(b"x", b"salt").unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_password_is_the_first_line() {
        for (input, expected) in [
            ("a b\n", "a b"),
            ("a\r\nb\n", "a"),
            ("a", "a"),
            ("a\r", "a\r"),
            (" \n", " "),
            ("\ta\n\n", "\ta"),
        ] {
            assert_eq!(first_line(&mut input.as_bytes()).unwrap(), expected.as_bytes());
        }
        for input in ["", "\n", "\r\n"] {
            first_line(&mut input.as_bytes()).unwrap_err();
        }
        let long = "x".repeat(65_535);
        assert_eq!(first_line(&mut format!("{long}\n").as_bytes()).unwrap(), long.as_bytes());
        first_line(&mut format!("{long}x\n").as_bytes()).unwrap_err();
    }
}
