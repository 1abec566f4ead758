//! What must hold of any bytes in the place of a token.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, EncodingKey, crypto};
use mqtt_broker::auth::command::TokenReader;
use mqtt_broker::broker::Grants;

const SECRET: &[u8] = include_bytes!("../../tests/keys/secret");

/// Before all tokens end that can be written down sensibly: what is fuzzed must not depend on the day.
const NOW: u64 = 1_700_000_000;

/// The broker's side, with a secret, and with a set of keys of each kind.
pub(crate) struct Readers([TokenReader; 2]);

impl Readers {
    pub(crate) fn open() -> Self {
        Self(["secret", "set"].map(|name| {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(super::TOKENS).join(name);
            TokenReader::open(&file.with_extension("json")).unwrap().unwrap()
        }))
    }

    /// Panics unless it holds: the bytes are refused, or are a token of somebody with a name, in groups that are named
    /// as groups are; and never are they taken if somebody else has signed them. The first byte says what the others
    /// are: a whole token, the claims of one that is signed, or its header and, behind a line feed, its claims.
    ///
    /// Returns how many have taken the token.
    pub(crate) fn check(&self, bytes: &[u8]) -> usize {
        let Some((&kind, rest)) = bytes.split_first() else { return 0 };
        let (header, claims) = match kind % 3 {
            0 => return self.check_token(rest),
            1 => (&br#"{"alg":"HS256"}"#[..], rest),
            _ => {
                let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
                let (header, claims) = rest.split_at(line);
                (header, claims.get(1..).unwrap_or_default())
            }
        };
        let token = sign(header, claims, SECRET.trim_ascii_end());
        let forged = sign(header, claims, b"fedcba9876543210fedcba9876543210");
        assert!(self.0.iter().all(|reader| read(reader, forged.as_bytes()).is_err()), "{forged}");
        self.check_token(token.as_bytes())
    }

    fn check_token(&self, token: &[u8]) -> usize {
        self.0.iter().filter_map(|reader| read(reader, token).ok()).map(|bearer| check(&bearer)).count()
    }
}

fn read(reader: &TokenReader, token: &[u8]) -> Result<(Arc<str>, Grants), String> {
    reader.read(token, SystemTime::UNIX_EPOCH + Duration::from_secs(NOW))
}

fn check((user, grants): &(Arc<str>, Grants)) {
    assert!(!user.is_empty() && !user.starts_with('@'), "{user:?}");
    assert!(grants.groups.iter().all(|group| group.starts_with('@')), "{grants:?}");
    let filters = grants.publish.iter().chain(&grants.subscribe).chain(grants.receive.iter().flatten());
    for filter in filters {
        assert!(!filter.as_str().starts_with("$share/"), "{filter:?}");
    }
}

fn sign(header: &[u8], claims: &[u8], secret: &[u8]) -> String {
    let message = format!("{}.{}", base64url(header), base64url(claims));
    let key = EncodingKey::from_secret(secret);
    let signature = crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

/// Base64 for URLs, without padding.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0, |bits, byte| bits << 8 | usize::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..=chunk.len() {
            text.push(char::from(DIGITS[bits >> (18 - 6 * digit) & 63]));
        }
    }
    text
}
