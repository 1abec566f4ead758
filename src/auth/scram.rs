//! SCRAM-SHA-256 (RFC 5802, RFC 7677), the server's side. Pure: bytes in, bytes out.
//!
//! The client proves that it knows the password without telling it, and the server proves that it knows the user. What
//! is stored is of no use for logging in elsewhere or here.

use std::num::NonZeroU32;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The name of the method.
pub(super) const METHOD: &str = "SCRAM-SHA-256";

type Key = [u8; 32];

/// What is kept of a user's password.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct ScramKeys {
    salt: Box<[u8]>,
    iterations: NonZeroU32,
    stored: Key,
    server: Key,
}

/// An exchange of which the server's first message has been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScramExchange {
    /// The name that the client gave.
    user: String,
    /// `None`: there is no such user, and the exchange goes on only to hide that.
    keys: Option<ScramKeys>,
    nonce: String,
    /// What the client said about channel binding; to be repeated in base64.
    gs2_header: String,
    client_first_bare: String,
    server_first: String,
}

/// Why an exchange failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ScramError {
    /// The message is none of SCRAM's.
    #[error("the authentication data is not a message of SCRAM-SHA-256")]
    Malformed,
    /// The client wants the exchange bound to the channel, or wants to act for somebody else.
    #[error("neither channel binding nor an authorization identity is supported")]
    Unsupported,
    /// The client does not know the password.
    #[error("the user name and the password are not those of a user")]
    WrongProof,
}

impl std::fmt::Debug for ScramKeys {
    /// Tells no keys.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ScramKeys").field("iterations", &self.iterations).finish_non_exhaustive()
    }
}

impl ScramKeys {
    /// Keys as they are written: `stored_key` and `server_key` have 32 bytes.
    pub(super) fn new(salt: Vec<u8>, iterations: NonZeroU32, stored: Key, server: Key) -> Self {
        Self { salt: salt.into(), iterations, stored, server }
    }

    /// The keys for a password that is known. It computes: not for the threads of the runtime.
    pub(super) fn of(password: &[u8], salt: &[u8], iterations: NonZeroU32) -> Self {
        let salted = pbkdf2::pbkdf2_hmac_array::<Sha256, 32>(password, salt, iterations.get());
        let client = hmac(&salted, b"Client Key");
        let stored = Sha256::digest(client).into();
        Self { salt: salt.into(), iterations, stored, server: hmac(&salted, b"Server Key") }
    }

    /// Keys that no password has, always the same for a name, for clients that must not find out that there is no
    /// user of this name.
    pub(super) fn made_up(name: &str, iterations: NonZeroU32, secret: &Key) -> Self {
        let salt = hmac(secret, name.as_bytes()).into_iter().take(16).collect();
        Self::new(salt, iterations, [0; 32], [0; 32])
    }

    pub(super) fn iterations(&self) -> NonZeroU32 {
        self.iterations
    }

    /// As keys of an entry in an auth file.
    pub(super) fn entry(&self) -> String {
        format!(
            "salt: \"{}\", iterations: {}, stored_key: \"{}\", server_key: \"{}\"",
            STANDARD.encode(&self.salt),
            self.iterations,
            STANDARD.encode(self.stored),
            STANDARD.encode(self.server)
        )
    }
}

impl ScramExchange {
    /// Takes the client's first message. `keys_of` has the keys of a user, and those that are shown where there is
    /// none; `server_nonce` is printable and never used twice. Returns the server's first message too.
    pub(super) fn begin(
        client_first: &[u8],
        server_nonce: &str,
        keys_of: impl FnOnce(&str) -> Result<ScramKeys, ScramKeys>,
    ) -> Result<(Self, String), ScramError> {
        let text = std::str::from_utf8(client_first).map_err(|_| ScramError::Malformed)?;
        let mut parts = text.splitn(3, ',');
        let mut next = || parts.next().ok_or(ScramError::Malformed);
        let (binding, authorization, bare) = (next()?, next()?, next()?);
        match binding {
            "n" | "y" if authorization.is_empty() => {}
            "n" | "y" if authorization.starts_with("a=") => return Err(ScramError::Unsupported),
            _ if binding.starts_with("p=") => return Err(ScramError::Unsupported),
            _ => return Err(ScramError::Malformed),
        }
        let mut attributes = bare.split(',');
        // A mandatory extension would come first: there is none that we know.
        let user = attributes.next().and_then(|first| first.strip_prefix("n=")).and_then(unescape);
        let nonce = attributes.next().and_then(|second| second.strip_prefix("r="));
        let (Some(user), Some(nonce)) = (user, nonce.filter(|nonce| is_printable(nonce))) else {
            return Err(ScramError::Malformed);
        };
        let (keys, shown) = match keys_of(&user) {
            Ok(keys) => (Some(keys.clone()), keys),
            Err(made_up) => (None, made_up),
        };
        let nonce = format!("{nonce}{server_nonce}");
        let server_first = format!("r={nonce},s={},i={}", STANDARD.encode(&shown.salt), shown.iterations);
        let exchange = Self {
            user,
            keys,
            nonce,
            gs2_header: format!("{binding},{authorization},"),
            client_first_bare: bare.to_owned(),
            server_first: server_first.clone(),
        };
        Ok((exchange, server_first))
    }

    /// The name that the client gave.
    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// Takes the client's final message. Returns the server's, if the client has shown that it is the user.
    pub(super) fn finish(self, client_final: &[u8]) -> Result<String, ScramError> {
        let text = std::str::from_utf8(client_final).map_err(|_| ScramError::Malformed)?;
        let (without_proof, proof) = text.rsplit_once(",p=").ok_or(ScramError::Malformed)?;
        let mut attributes = without_proof.split(',');
        let binding = attributes.next().and_then(|first| first.strip_prefix("c="));
        let nonce = attributes.next().and_then(|second| second.strip_prefix("r="));
        let proof: Option<Key> = STANDARD.decode(proof).ok().and_then(|proof| proof.try_into().ok());
        let (Some(binding), Some(nonce), Some(proof)) = (binding, nonce, proof) else {
            return Err(ScramError::Malformed);
        };
        if binding != STANDARD.encode(&self.gs2_header) || nonce != self.nonce {
            return Err(ScramError::WrongProof);
        }
        let message = format!("{},{},{without_proof}", self.client_first_bare, self.server_first);
        let keys = self.keys.ok_or(ScramError::WrongProof)?;
        let signature = hmac(&keys.stored, message.as_bytes());
        let mut client = proof;
        for (byte, signature) in client.iter_mut().zip(signature) {
            *byte ^= signature;
        }
        let stored: Key = Sha256::digest(client).into();
        if !bool::from(stored.ct_eq(&keys.stored)) {
            return Err(ScramError::WrongProof);
        }
        Ok(format!("v={}", STANDARD.encode(hmac(&keys.server, message.as_bytes()))))
    }
}

fn hmac(key: &[u8], message: &[u8]) -> Key {
    // HMAC takes keys of any length: the error is for other functions.
    match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac.chain_update(message).finalize().into_bytes().into(),
        Err(_) => [0; 32],
    }
}

fn is_printable(nonce: &str) -> bool {
    !nonce.is_empty() && nonce.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// A name in which `=2C` stands for a comma and `=3D` for an equals sign.
fn unescape(text: &str) -> Option<String> {
    let mut parts = text.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (escaped, rest) = part.split_at_checked(2)?;
        name.push(match escaped {
            "2C" => ',',
            "3D" => '=',
            _ => return None,
        });
        name.push_str(rest);
    }
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT_FIRST: &str = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const SERVER_NONCE: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const SERVER_FIRST: &str =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
    const CLIENT_FINAL: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
    const SERVER_FINAL: &str = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

    fn keys() -> ScramKeys {
        let salt = STANDARD.decode("W22ZaJ0SNY7soEsUEjb6gQ==").unwrap();
        ScramKeys::of(b"pencil", &salt, NonZeroU32::new(4_096).unwrap())
    }

    fn begin(first: &str) -> Result<(ScramExchange, String), ScramError> {
        ScramExchange::begin(first.as_bytes(), SERVER_NONCE, |user| {
            if user == "user" { Ok(keys()) } else { Err(keys()) }
        })
    }

    #[test]
    fn the_example_of_rfc_7677() {
        let (exchange, server_first) = begin(CLIENT_FIRST).unwrap();
        assert_eq!(server_first, SERVER_FIRST);
        assert_eq!(exchange.user(), "user");
        assert_eq!(exchange.finish(CLIENT_FINAL.as_bytes()).unwrap(), SERVER_FINAL);
    }

    #[test]
    fn a_user_that_is_not_there_is_asked_for_a_proof_that_is_never_right() {
        let (exchange, server_first) = begin(&CLIENT_FIRST.replace("user", "other")).unwrap();
        assert_eq!(server_first, SERVER_FIRST);
        assert_eq!(exchange.finish(CLIENT_FINAL.as_bytes()), Err(ScramError::WrongProof));
        let secret = [7; 32];
        let made_up = |name| ScramKeys::made_up(name, NonZeroU32::MIN, &secret);
        assert_eq!(made_up("a"), made_up("a"));
        assert_ne!(made_up("a").salt, made_up("b").salt);
        assert_eq!(made_up("a").salt.len(), 16);
    }

    #[test]
    fn what_is_changed_on_the_way_is_refused() {
        for (from, to, expected) in [
            ("dHzb", "dHza", ScramError::WrongProof),
            ("biws", "eSws", ScramError::WrongProof),
            ("$k0,", "$k1,", ScramError::WrongProof),
            ("dVQ=", "dV==", ScramError::Malformed),
            (",p=", ",q=", ScramError::Malformed),
            ("c=", "x=", ScramError::Malformed),
        ] {
            let (exchange, _) = begin(CLIENT_FIRST).unwrap();
            assert_eq!(exchange.finish(CLIENT_FINAL.replace(from, to).as_bytes()), Err(expected), "{from}");
        }
        let (exchange, _) = begin(CLIENT_FIRST).unwrap();
        assert_eq!(exchange.finish(b"\xFF"), Err(ScramError::Malformed));
    }

    #[test]
    fn first_messages_are_checked() {
        for (first, expected) in [
            ("", ScramError::Malformed),
            ("n,,", ScramError::Malformed),
            ("n,,n=user", ScramError::Malformed),
            ("n,,n=user,r=", ScramError::Malformed),
            ("n,,n=user,r=a b", ScramError::Malformed),
            ("n,,n=,r=a", ScramError::Malformed),
            ("n,,n=a=2,r=a", ScramError::Malformed),
            ("n,,n=a=2F,r=a", ScramError::Malformed),
            ("n,,m=x,n=user,r=a", ScramError::Malformed),
            ("x,,n=user,r=a", ScramError::Malformed),
            ("n,x,n=user,r=a", ScramError::Malformed),
            ("n,a=other,n=user,r=a", ScramError::Unsupported),
            ("p=tls-unique,,n=user,r=a", ScramError::Unsupported),
        ] {
            assert_eq!(begin(first).map(|_| ()), Err(expected), "{first}");
        }
        for (first, user) in [("y,,n=user,r=a", "user"), ("n,,n=a=2Cb=3D,r=a,x=y", "a,b=")] {
            assert_eq!(begin(first).unwrap().0.user(), user);
        }
    }
}
