//! Whether a password is the right one.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::password_hash::PasswordHash;
use crate::mqtt::packet::connect::Password;

/// What a password is compared with. The password itself is not kept.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Verifier {
    /// SHA-256 over salt and password.
    Sha256 { salt: Box<str>, digest: [u8; 32] },
    /// A hash that takes time.
    Slow(Box<PasswordHash>),
}

impl Verifier {
    /// For the password whose SHA-256, after `salt`, has this hexadecimal `digest`; `None` if it has not 64 digits.
    pub(super) fn from_digest(salt: &str, digest: &str) -> Option<Self> {
        Some(Self::Sha256 { salt: salt.into(), digest: parse_hexadecimal(digest)? })
    }

    /// For a password that is known.
    pub(super) fn from_password(password: &str) -> Self {
        Self::Sha256 { salt: "".into(), digest: hash("", password.as_bytes()) }
    }

    /// For no password at all; verifying takes as long as elsewhere.
    pub(super) fn refusing() -> Self {
        Self::Sha256 { salt: "0123456789abcdef".into(), digest: [0; 32] }
    }

    /// For no password at all; verifying takes as long as here.
    pub(super) fn decoy(&self) -> Self {
        match self {
            Self::Sha256 { .. } => Self::refusing(),
            Self::Slow(hash) => Self::Slow(Box::new(hash.decoy())),
        }
    }

    /// Whether `password` is the right one. The time this takes does not depend on how right it is.
    ///
    /// It computes: not for the threads of the runtime.
    pub(super) fn verifies(&self, password: &Password) -> bool {
        match self {
            Self::Sha256 { salt, digest } => hash(salt, &password.0).ct_eq(digest).into(),
            Self::Slow(hash) => hash.verifies(&password.0),
        }
    }

    /// Memory that verifying takes, in KiB.
    pub(super) fn memory(&self) -> u32 {
        match self {
            Self::Sha256 { .. } => 0,
            Self::Slow(hash) => hash.memory(),
        }
    }

    /// Roughly what verifying costs, to compare it with others.
    pub(super) fn cost(&self) -> u64 {
        match self {
            Self::Sha256 { .. } => 1,
            Self::Slow(hash) => hash.cost(),
        }
    }
}

fn hash(salt: &str, password: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(salt).chain_update(password).finalize().into()
}

fn parse_hexadecimal(text: &str) -> Option<[u8; 32]> {
    let nibble = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut bytes = [0; 32];
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    if pairs.len() != bytes.len() {
        return None;
    }
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = nibble(*high)? << 4 | nibble(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const DIGEST: &str = "38ea2e5e88fcd692fe177c6cada15e9b2db6e70bee0a0d6678c8d3b2a9aae2ad";

    fn password(bytes: &'static [u8]) -> Password {
        Password(Bytes::from_static(bytes))
    }

    #[test]
    fn the_salt_stands_before_the_password_and_the_case_of_the_digest_is_free() {
        for digest in [DIGEST.to_owned(), DIGEST.to_uppercase()] {
            let verifier = Verifier::from_digest("salt", &digest).unwrap();
            assert!(verifier.verifies(&password(b"mypassword")));
            assert!(!verifier.verifies(&password(b"mypassword ")));
            assert!(!verifier.verifies(&password(b"")));
            assert!(!verifier.verifies(&password(b"\xFF\xFE")));
        }
        let otherwise_salted = Verifier::from_digest("Salt", DIGEST).unwrap();
        assert!(!otherwise_salted.verifies(&password(b"mypassword")));
    }

    #[test]
    fn a_plain_password_is_compared_whole() {
        let verifier = Verifier::from_password("pässword");
        assert!(verifier.verifies(&password("pässword".as_bytes())));
        assert!(!verifier.verifies(&password(b"p")));
    }

    #[test]
    fn nothing_satisfies_the_refusing_verifier() {
        assert!(!Verifier::refusing().verifies(&password(b"")));
    }

    #[test]
    fn a_digest_has_64_hexadecimal_digits() {
        let short = DIGEST.split_at(62).0;
        for wrong in [
            "",
            short,
            &format!("{short}a"),
            &format!("{short}zz"),
            &format!("{DIGEST}00"),
            &format!("{short}é"),
        ] {
            assert!(Verifier::from_digest("", wrong).is_none(), "{wrong}");
        }
    }
}
