//! Password hashes that take time on purpose: argon2id, PBKDF2, and the forms that Mosquitto writes.

use std::num::NonZeroU32;

use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use sha2::{Digest, Sha256, Sha512};
use subtle::ConstantTimeEq;

/// What a password is compared with, and how.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct PasswordHash {
    algorithm: HashAlgorithm,
    salt: Box<[u8]>,
    hash: Box<[u8]>,
}

/// A way to hash passwords, with what it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HashAlgorithm {
    /// Argon2id, version 1.3 (RFC 9106).
    Argon2id {
        /// KiB.
        memory: u32,
        /// How often the memory is gone through.
        passes: u32,
        lanes: u32,
    },
    /// PBKDF2 with HMAC-SHA-256 (RFC 8018).
    Pbkdf2Sha256 { iterations: NonZeroU32 },
    /// PBKDF2 with HMAC-SHA-512.
    Pbkdf2Sha512 { iterations: NonZeroU32 },
    /// SHA-512 over password and salt: what Mosquitto wrote before 2.0. Costs nothing, and so do guesses.
    SaltedSha512,
}

/// The most memory that one hash may take, in KiB: 1 GiB.
const MEMORY: u32 = 1 << 20;
/// The most that one argon2 hash may do: 4 GiB written, which takes some seconds.
const MEMORY_TIMES_PASSES: u64 = 4 << 20;
/// The most iterations of PBKDF2: some seconds.
const ITERATIONS: u32 = 10_000_000;
const LANES: u32 = 64;
/// Bytes of salts and hashes.
const SALT: std::ops::RangeInclusive<usize> = 1..=1_024;
const HASH: std::ops::RangeInclusive<usize> = 16..=128;

/// Base64 as it comes: with or without padding.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

impl HashAlgorithm {
    /// What new entries get: the first recommendation of OWASP for argon2id.
    pub(super) const ARGON2ID: Self = Self::Argon2id { memory: 19_456, passes: 2, lanes: 1 };

    /// The hash of `password`. `None` if the parameters are none that the algorithm knows.
    ///
    /// It computes: not for the threads of the runtime.
    fn hash(self, password: &[u8], salt: &[u8], len: usize) -> Option<Vec<u8>> {
        let mut hash = vec![0; len];
        match self {
            Self::Argon2id { memory, passes, lanes } => {
                let params = Params::new(memory, passes, lanes, Some(len)).ok()?;
                let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
                argon2.hash_password_into(password, salt, &mut hash).ok()?;
            }
            Self::Pbkdf2Sha256 { iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha256>(password, salt, iterations.get(), &mut hash);
            }
            Self::Pbkdf2Sha512 { iterations } => {
                pbkdf2::pbkdf2_hmac::<Sha512>(password, salt, iterations.get(), &mut hash);
            }
            Self::SaltedSha512 => {
                hash = Sha512::new().chain_update(password).chain_update(salt).finalize().to_vec();
            }
        }
        Some(hash)
    }

    /// Whether it takes neither too long nor too much memory; if not, what is too much.
    pub(super) fn check(self) -> Result<Self, String> {
        match self {
            Self::Argon2id { memory, passes, lanes } => {
                if memory > MEMORY {
                    return Err(format!(
                        "a hash that takes {memory} KiB of memory, expected at most {MEMORY} KiB"
                    ));
                }
                if u64::from(memory) * u64::from(passes) > MEMORY_TIMES_PASSES {
                    return Err(format!(
                        "a hash that takes {passes} passes over {memory} KiB, expected at most \
                         {MEMORY_TIMES_PASSES} KiB in all passes together"
                    ));
                }
                if lanes > LANES {
                    return Err(format!("a hash of {lanes} lanes, expected at most {LANES}"));
                }
            }
            Self::Pbkdf2Sha256 { iterations } | Self::Pbkdf2Sha512 { iterations } => {
                if iterations.get() > ITERATIONS {
                    return Err(format!(
                        "a hash that takes {iterations} iterations, expected at most {ITERATIONS}"
                    ));
                }
            }
            Self::SaltedSha512 => {}
        }
        Ok(self)
    }

    /// Roughly what it costs, to compare it with others: blocks that are hashed.
    fn cost(self) -> u64 {
        match self {
            Self::Argon2id { memory, passes, .. } => u64::from(memory) * u64::from(passes) * 4,
            Self::Pbkdf2Sha256 { iterations } | Self::Pbkdf2Sha512 { iterations } => {
                u64::from(iterations.get()) * 2
            }
            Self::SaltedSha512 => 1,
        }
    }
}

impl PasswordHash {
    /// Reads a hash as it is written: a PHC string of argon2id, pbkdf2-sha256 or pbkdf2-sha512, or the `$7$` and
    /// `$6$` forms of Mosquitto. The error says what is wrong, and what was expected.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected $argon2id$v=19$m=…,t=…,p=…$salt$hash, $pbkdf2-sha256$i=…$salt$hash, \
                                $pbkdf2-sha512$i=…$salt$hash, $7$iterations$salt$hash or $6$salt$hash";
        let parts: Vec<&str> = text.split('$').collect();
        let (algorithm, salt, hash) = match parts.as_slice() {
            ["", "argon2id", "v=19", parameters, salt, hash] => (argon2id(parameters)?, salt, hash),
            ["", "argon2id", version, ..] if *version != "v=19" => {
                return Err(format!("argon2id of another version than 19, {EXPECTED}"));
            }
            ["", "pbkdf2-sha256", parameters, salt, hash] => {
                (HashAlgorithm::Pbkdf2Sha256 { iterations: pbkdf2_iterations(parameters)? }, salt, hash)
            }
            ["", "pbkdf2-sha512", parameters, salt, hash] => {
                (HashAlgorithm::Pbkdf2Sha512 { iterations: pbkdf2_iterations(parameters)? }, salt, hash)
            }
            ["", "7", count, salt, hash] => {
                (HashAlgorithm::Pbkdf2Sha512 { iterations: iterations(count)? }, salt, hash)
            }
            ["", "6", salt, hash] => (HashAlgorithm::SaltedSha512, salt, hash),
            _ => return Err(format!("not a password hash, {EXPECTED}")),
        };
        let salt = decode(salt, "salt", SALT)?;
        let hash =
            decode(hash, "hash", if algorithm == HashAlgorithm::SaltedSha512 { 64..=64 } else { HASH })?;
        if let HashAlgorithm::Argon2id { memory, passes, lanes } = algorithm {
            Params::new(memory, passes, lanes, Some(hash.len()))
                .map_err(|error| format!("parameters that argon2id does not know: {error}"))?;
            if salt.len() < argon2::MIN_SALT_LEN {
                return Err(format!(
                    "a salt of {} bytes, expected at least {} for argon2id",
                    salt.len(),
                    argon2::MIN_SALT_LEN
                ));
            }
        }
        Ok(Self { algorithm: algorithm.check()?, salt: salt.into(), hash: hash.into() })
    }

    /// The hash of a password that is known. `None` if the parameters are none that the algorithm knows.
    pub(super) fn of(password: &[u8], salt: &[u8], algorithm: HashAlgorithm) -> Option<Self> {
        let len = match algorithm {
            HashAlgorithm::Argon2id { .. } | HashAlgorithm::Pbkdf2Sha256 { .. } => 32,
            HashAlgorithm::Pbkdf2Sha512 { .. } | HashAlgorithm::SaltedSha512 => 64,
        };
        let hash = algorithm.hash(password, salt, len)?;
        Some(Self { algorithm, salt: salt.into(), hash: hash.into() })
    }

    /// Whether `password` is the right one. How long this takes does not depend on how right it is.
    ///
    /// It computes, possibly for seconds: not for the threads of the runtime.
    pub(super) fn verifies(&self, password: &[u8]) -> bool {
        self.algorithm
            .hash(password, &self.salt, self.hash.len())
            .is_some_and(|hash| hash.ct_eq(&self.hash).into())
    }

    /// The same cost, and no password that satisfies it.
    pub(super) fn decoy(&self) -> Self {
        // To find a password for this hash would be to invert the function.
        Self { hash: vec![0; self.hash.len()].into(), ..self.clone() }
    }

    /// Memory that verifying takes, in KiB.
    pub(super) fn memory(&self) -> u32 {
        match self.algorithm {
            HashAlgorithm::Argon2id { memory, .. } => memory,
            HashAlgorithm::Pbkdf2Sha256 { .. }
            | HashAlgorithm::Pbkdf2Sha512 { .. }
            | HashAlgorithm::SaltedSha512 => 0,
        }
    }

    /// Roughly what verifying costs, to compare it with others.
    pub(super) fn cost(&self) -> u64 {
        self.algorithm.cost()
    }
}

impl std::fmt::Display for PasswordHash {
    /// As [`PasswordHash::parse`] reads it.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (salt, hash) = (STANDARD_NO_PAD.encode(&self.salt), STANDARD_NO_PAD.encode(&self.hash));
        match self.algorithm {
            HashAlgorithm::Argon2id { memory, passes, lanes } => {
                write!(f, "$argon2id$v=19$m={memory},t={passes},p={lanes}${salt}${hash}")
            }
            HashAlgorithm::Pbkdf2Sha256 { iterations } => {
                write!(f, "$pbkdf2-sha256$i={iterations},l={}${salt}${hash}", self.hash.len())
            }
            HashAlgorithm::Pbkdf2Sha512 { iterations } => {
                write!(f, "$pbkdf2-sha512$i={iterations},l={}${salt}${hash}", self.hash.len())
            }
            HashAlgorithm::SaltedSha512 => {
                write!(f, "$6${}${}", STANDARD.encode(&self.salt), STANDARD.encode(&self.hash))
            }
        }
    }
}

fn argon2id(parameters: &str) -> Result<HashAlgorithm, String> {
    let wrong = || format!("the parameters {parameters:?}, expected m=…,t=…,p=…, each a number");
    let mut numbers = parameters.split(',').zip(["m=", "t=", "p="]).map(|(parameter, key)| {
        parameter.strip_prefix(key).and_then(|number| number.parse::<u32>().ok()).ok_or_else(wrong)
    });
    let mut next = || numbers.next().unwrap_or_else(|| Err(wrong()));
    let (memory, passes, lanes) = (next()?, next()?, next()?);
    if parameters.split(',').count() > 3 {
        return Err(wrong());
    }
    Ok(HashAlgorithm::Argon2id { memory, passes, lanes })
}

fn pbkdf2_iterations(parameters: &str) -> Result<NonZeroU32, String> {
    // The length that may follow is that of the hash.
    let count = parameters.split(',').next().and_then(|first| first.strip_prefix("i="));
    count.map_or_else(|| Err(format!("the parameters {parameters:?}, expected i=…, a number")), iterations)
}

fn iterations(text: &str) -> Result<NonZeroU32, String> {
    text.parse().map_err(|_| format!("{text:?} iterations, expected a number from 1 to {ITERATIONS}"))
}

fn decode(text: &str, what: &str, lens: std::ops::RangeInclusive<usize>) -> Result<Vec<u8>, String> {
    let bytes = LENIENT.decode(text).map_err(|_| format!("a {what} that is not base64, expected base64"))?;
    if !lens.contains(&bytes.len()) {
        let (from, to) = (lens.start(), lens.end());
        return Err(format!("a {what} of {} bytes, expected {from} to {to}", bytes.len()));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with the tools of others: libargon2's `argon2`, Python's hashlib.
    const KNOWN: &[(&str, &str)] = &[
        (
            "password",
            "$pbkdf2-sha256$i=1000,l=32$AAECAwQFBgcICQoLDA0ODw$JeuGrMduQwGPGLmo+Qwv7UYtHHmeg9SK49fGkEamC2c",
        ),
        (
            "password",
            "$pbkdf2-sha512$i=1000$AAECAwQFBgcICQoLDA0ODw$x05AgND7tB/uWGjA/2D9dayuJjghWYfl/1T46uIRM5ta0a9uOHvBLdOnC7blqQEIFBxfCONToumEQ5pDM8Qtbg",
        ),
        (
            "password",
            "$7$101$AAECAwQFBgcICQoL$DEO14ViPofBJRJpN8uZINnuFUWj8eUeWhlyZ2QOQ+5LgiM0kGXMwv2HwhIvlBQTsHkd+uve2/GFOr/KZ8Y/8Hw==",
        ),
        (
            "password",
            "$6$AAECAwQFBgcICQoL$b4be9ENqb54sNj+csQTvm3qRtt6r5BJ4pdELhfw3543YRDKXy8YjBxqSsJubpfDSNaXeWIFnCuo6UMHsY83J5w==",
        ),
        ("password", "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4"),
    ];

    #[test]
    fn hashes_that_others_made_are_verified() {
        for (password, text) in KNOWN {
            let hash = PasswordHash::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert!(hash.verifies(password.as_bytes()), "{text}");
            for wrong in ["", "Password", "password ", "\u{0}"] {
                assert!(!hash.verifies(wrong.as_bytes()), "{wrong:?} {text}");
            }
            assert!(!hash.decoy().verifies(password.as_bytes()));
            assert_eq!(hash.decoy().cost(), hash.cost());
        }
    }

    #[test]
    fn what_is_made_can_be_read() {
        let iterations = NonZeroU32::new(7).unwrap();
        for algorithm in [
            HashAlgorithm::Argon2id { memory: 64, passes: 1, lanes: 2 },
            HashAlgorithm::Pbkdf2Sha256 { iterations },
            HashAlgorithm::Pbkdf2Sha512 { iterations },
            HashAlgorithm::SaltedSha512,
        ] {
            let made = PasswordHash::of(b"\xFF password", b"a salt of some bytes", algorithm).unwrap();
            let read = PasswordHash::parse(&made.to_string()).unwrap();
            assert!(read == made, "{made}");
            assert!(read.verifies(b"\xFF password") && !read.verifies(b"password"), "{made}");
        }
    }

    #[test]
    fn what_would_take_too_long_or_too_much_memory_is_refused() {
        const SALT_AND_HASH: &str = "c2FsdHNhbHQ$AAAAAAAAAAAAAAAAAAAAAAAAAAA";
        for (head, expected) in [
            ("$argon2id$v=19$m=1048577,t=1,p=1", "a hash that takes 1048577 KiB of memory, expected at most"),
            ("$argon2id$v=19$m=1048576,t=5,p=1", "a hash that takes 5 passes over 1048576 KiB, expected"),
            ("$argon2id$v=19$m=4294967295,t=4294967295,p=1", "a hash that takes 4294967295 KiB"),
            ("$argon2id$v=19$m=65536,t=1,p=65", "a hash of 65 lanes, expected at most 64"),
            ("$argon2id$v=19$m=1,t=1,p=1", "parameters that argon2id does not know"),
            ("$argon2id$v=19$m=64,t=0,p=1", "parameters that argon2id does not know"),
            ("$argon2id$v=16$m=64,t=1,p=1", "argon2id of another version than 19, expected"),
            ("$argon2id$v=19$m=64,t=1", "the parameters \"m=64,t=1\", expected m=…,t=…,p=…"),
            ("$argon2id$v=19$m=64,t=1,p=1,x=1", "the parameters \"m=64,t=1,p=1,x=1\", expected"),
            ("$pbkdf2-sha256$i=10000001", "a hash that takes 10000001 iterations, expected at most 10000000"),
            ("$pbkdf2-sha512$i=0", "\"0\" iterations, expected a number from 1"),
            ("$pbkdf2-sha512$7", "the parameters \"7\", expected i=…"),
            ("$7$-1", "\"-1\" iterations, expected a number"),
            ("$argon2d$v=19$m=64,t=1,p=1", "not a password hash, expected"),
            ("x$7$1", "not a password hash, expected"),
        ] {
            let text = format!("{head}${SALT_AND_HASH}");
            let error = PasswordHash::parse(&text).err().unwrap_or_default();
            assert!(error.starts_with(expected), "{text}: {error}");
        }
    }

    #[test]
    fn salts_and_hashes_are_base64_of_a_sensible_length() {
        for (text, expected) in [
            ("$6$$", "a salt of 0 bytes, expected 1 to 1024"),
            ("$6$!$", "a salt that is not base64, expected base64"),
            ("$6$AAAA$AAAA", "a hash of 3 bytes, expected 64 to 64"),
            ("$7$1$AAAA$AAAA", "a hash of 3 bytes, expected 16 to 128"),
            (
                "$argon2id$v=19$m=64,t=1,p=1$AAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAA",
                "a salt of 3 bytes, expected at least 8 for argon2id",
            ),
        ] {
            assert_eq!(PasswordHash::parse(text).err().as_deref(), Some(expected), "{text}");
        }
    }
}
