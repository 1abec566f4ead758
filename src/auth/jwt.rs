//! JSON web tokens (RFC 7519) in the place of a password: who signed them is asked for who the client is, until when,
//! and what it may do.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyOperations, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::file::{ClaimNames, Fault, JwtSection, SignatureAlgorithm};
use super::locate::Step::Key;
use crate::broker::permissions::{Grants, TokenKey};
use crate::files;
use crate::mqtt::TopicFilter;

/// The name of the method.
pub(super) const METHOD: &str = "JWT";

/// Keys of one file.
const KEYS: usize = 100;
/// Bytes of a key file.
const KEY_FILE: usize = 1 << 20;
/// Bytes of a secret: as many as the hash has (RFC 7518 section 3.2).
const SECRET: usize = 32;
/// Seconds by which clocks may differ.
const LEEWAY: u64 = 30;
const LONGEST_LEEWAY: u64 = 3_600;
/// As good as for ever: what is longer could not be told by all clocks.
const LONGEST_LIFETIME: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Topic filters and groups that one token may list.
const LISTED: usize = 256;

/// Verifies tokens.
pub(super) struct TokenVerifier {
    keys: Vec<VerificationKey>,
    issuer: Option<String>,
    audience: Option<String>,
    leeway: Duration,
    claims: ClaimNames,
}

struct VerificationKey {
    name: TokenKey,
    id: Option<String>,
    /// The only one for which the key is used: the token does not choose.
    algorithm: Algorithm,
    key: DecodingKey,
}

/// What a token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Bearer {
    pub(super) user: Arc<str>,
    /// How long the token is valid, from now on.
    pub(super) lifetime: Duration,
    pub(super) grants: Grants,
}

#[derive(Deserialize)]
struct Claims {
    exp: f64,
    #[serde(flatten)]
    others: HashMap<String, Claim>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Claim {
    Text(String),
    List(Vec<String>),
    Other(IgnoredAny),
}

impl TokenVerifier {
    /// As the section says. Key files are named from `directory` on.
    pub(super) fn build(section: &JwtSection, directory: &Path) -> Result<Self, Fault> {
        let at = |key, message| Fault::at(&[Key("jwt"), Key(key)], message);
        let name = |key: &dyn Fn(&mut DefaultHasher)| name_of(section, key);
        let keys = match (&section.key_file, &section.jwks_file, section.algorithm) {
            (Some(file), None, Some(algorithm)) => {
                let bytes = read(&directory.join(file)).map_err(|message| at("key_file", message))?;
                let (algorithm, key) =
                    single_key(&bytes, algorithm).map_err(|message| at("key_file", message))?;
                let name = name(&|hasher| (&bytes, format!("{algorithm:?}")).hash(hasher));
                vec![VerificationKey { name, id: None, algorithm, key }]
            }
            (Some(_), None, None) => {
                let message = "no `algorithm`, expected the one for which the key is".to_owned();
                return Err(Fault::at(&[Key("jwt")], message));
            }
            (None, Some(_), Some(_)) => {
                let message =
                    "an algorithm beside a `jwks_file`, expected none: each key there has its own".to_owned();
                return Err(at("algorithm", message));
            }
            (None, Some(file), None) => read(&directory.join(file))
                .and_then(|bytes| key_set(&bytes, &|jwk| name(&|hasher| jwk.hash(hasher))))
                .map_err(|message| at("jwks_file", message))?,
            (Some(_), Some(_), _) | (None, None, _) => {
                let message = "expected either a `key_file` or a `jwks_file`".to_owned();
                return Err(Fault::at(&[Key("jwt")], message));
            }
        };
        let leeway = section.leeway.unwrap_or(LEEWAY);
        if leeway > LONGEST_LEEWAY {
            return Err(at("leeway", format!("{leeway} seconds, expected at most {LONGEST_LEEWAY}")));
        }
        Ok(Self {
            keys,
            issuer: section.issuer.clone(),
            audience: section.audience.clone(),
            leeway: Duration::from_secs(leeway),
            claims: section.claims.clone(),
        })
    }

    /// What the token says, if it is valid at `now`. The error says why not, for the log only.
    ///
    /// It computes: not for the threads of the runtime.
    pub(super) fn verify(&self, token: &[u8], now: SystemTime) -> Result<Bearer, String> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| error.to_string())?;
        if header.crit.is_some() {
            return Err("its header demands that extensions are known, of which none is".to_owned());
        }
        let mut why = "it is signed with none of the keys".to_owned();
        for key in &self.keys {
            let is_meant = match (&header.kid, &key.id) {
                (Some(one), Some(other)) => one == other,
                (None, _) | (_, None) => true,
            };
            if !is_meant || header.alg != key.algorithm {
                continue;
            }
            match jsonwebtoken::decode::<Claims>(token, &key.key, &self.validation(key.algorithm)) {
                Ok(token) => return self.bearer(key.name, token.claims, now),
                Err(error) => why = error.to_string(),
            }
        }
        Err(why)
    }

    /// With what tokens are verified.
    pub(super) fn keys(&self) -> impl Iterator<Item = TokenKey> {
        self.keys.iter().map(|key| key.name)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.leeway = self.leeway.as_secs();
        validation.validate_nbf = true;
        let mut required = vec!["exp"];
        if let Some(issuer) = &self.issuer {
            validation.set_issuer(&[issuer]);
            required.push("iss");
        }
        match &self.audience {
            Some(audience) => {
                validation.set_audience(&[audience]);
                required.push("aud");
            }
            None => validation.validate_aud = false,
        }
        validation.set_required_spec_claims(&required);
        validation
    }

    fn bearer(&self, key: TokenKey, claims: Claims, now: SystemTime) -> Result<Bearer, String> {
        let Claims { exp, others } = claims;
        let ends =
            Duration::try_from_secs_f64(exp).map_err(|error| error.to_string())?.saturating_add(self.leeway);
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let lifetime = ends.checked_sub(now).ok_or("it has expired")?.min(LONGEST_LIFETIME);
        let user = match others.get(&self.claims.user) {
            Some(Claim::Text(user)) if !user.is_empty() && !user.starts_with('@') => Arc::from(user.as_str()),
            Some(_) | None => {
                return Err(format!("the claim {:?} is not the name of a user", self.claims.user));
            }
        };
        let filters = |name| filters(listed(&others, name)?);
        let grants = Grants {
            key,
            groups: listed(&others, self.claims.groups.as_ref())?
                .unwrap_or_default()
                .iter()
                .map(|group| Arc::from(format!("@{}", group.strip_prefix('@').unwrap_or(group))))
                .collect::<BTreeSet<Arc<str>>>(),
            publish: filters(self.claims.publish.as_ref())?.unwrap_or_default(),
            subscribe: filters(self.claims.subscribe.as_ref())?.unwrap_or_default(),
            receive: filters(self.claims.receive.as_ref())?,
        };
        Ok(Bearer { user, lifetime, grants })
    }
}

/// The same for as long as the key and all that is read out of tokens with its help are the same: whoever came with a
/// token that it verified would come in as the same user, with the same grants, now.
fn name_of(section: &JwtSection, key: &dyn Fn(&mut DefaultHasher)) -> TokenKey {
    let mut hasher = DefaultHasher::new();
    key(&mut hasher);
    (&section.issuer, &section.audience, &section.claims).hash(&mut hasher);
    TokenKey(hasher.finish())
}

/// Whether it has the form of a signed token: three parts of base64url, the first of them an object.
pub(super) fn looks_like_token(bytes: &[u8]) -> bool {
    let is_base64url = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    let mut parts = bytes.split(|byte| *byte == b'.');
    let all = parts.by_ref().take(3).filter(|part| !part.is_empty() && part.iter().all(is_base64url)).count();
    // A brace, and behind it a quotation mark or a space, or the end of a line.
    let is_object = bytes.starts_with(b"ey") || bytes.starts_with(b"ew");
    all == 3 && parts.next().is_none() && is_object
}

/// What is signed: all but the signature. What is not of the form of a token is all of it.
pub(super) fn signed_part(token: &[u8]) -> &[u8] {
    let end = token.iter().rposition(|byte| *byte == b'.').unwrap_or(token.len());
    token.get(..end).unwrap_or(token)
}

/// What the claim of this name lists; `None` if there is no such claim.
fn listed(claims: &HashMap<String, Claim>, name: Option<&String>) -> Result<Option<Vec<String>>, String> {
    let Some((name, claim)) = name.and_then(|name| Some((name, claims.get(name)?))) else { return Ok(None) };
    match claim {
        Claim::List(list) if list.len() <= LISTED => Ok(Some(list.clone())),
        Claim::List(list) => {
            Err(format!("the claim {name:?} lists {} values, at most {LISTED} are taken", list.len()))
        }
        Claim::Text(one) => Ok(Some(vec![one.clone()])),
        Claim::Other(_) => Err(format!("the claim {name:?} is neither a string nor a list of strings")),
    }
}

fn filters(texts: Option<Vec<String>>) -> Result<Option<Vec<TopicFilter>>, String> {
    let parse = |text: &String| {
        if text == "$share" || text.starts_with("$share/") {
            return Err(format!("{text:?} names a share"));
        }
        TopicFilter::parse(text).map_err(|error| format!("{text:?}: {error}"))
    };
    texts.map(|texts| texts.iter().map(parse).collect()).transpose()
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let problem = |error| format!("{} cannot be read: {error}", path.display());
    let (_, bytes) = files::read(path).map_err(problem)?;
    if bytes.len() > KEY_FILE {
        return Err(format!("{} has more than {KEY_FILE} bytes", path.display()));
    }
    Ok(bytes)
}

fn single_key(bytes: &[u8], algorithm: SignatureAlgorithm) -> Result<(Algorithm, DecodingKey), String> {
    let (algorithm, key) = match algorithm {
        SignatureAlgorithm::Hs256 => {
            let secret = bytes.strip_suffix(b"\n").unwrap_or(bytes);
            return Ok((Algorithm::HS256, DecodingKey::from_secret(long_enough(secret)?)));
        }
        SignatureAlgorithm::Rs256 => (Algorithm::RS256, DecodingKey::from_rsa_pem(bytes)),
        SignatureAlgorithm::Es256 => (Algorithm::ES256, DecodingKey::from_ec_pem(bytes)),
        SignatureAlgorithm::EdDsa => (Algorithm::EdDSA, DecodingKey::from_ed_pem(bytes)),
    };
    key.map(|key| (algorithm, key))
        .map_err(|error| format!("not a public key for {algorithm:?} in PEM, expected one: {error}"))
}

fn long_enough(secret: &[u8]) -> Result<&[u8], String> {
    if secret.len() < SECRET {
        return Err(format!("a secret of {} bytes, expected at least {SECRET}", secret.len()));
    }
    Ok(secret)
}

fn key_set(bytes: &[u8], name: &dyn Fn(&Jwk) -> TokenKey) -> Result<Vec<VerificationKey>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("not a key set: {error}"))?;
    let set: JwkSet = json5::from_str(text).map_err(|error| format!("not a key set: {error}"))?;
    if set.keys.is_empty() || set.keys.len() > KEYS {
        return Err(format!("a set of {} keys, expected 1 to {KEYS}", set.keys.len()));
    }
    let keys = set.keys.iter().zip(1..).filter_map(|(jwk, number)| {
        let key = key_of_set(jwk, name(jwk)).transpose()?;
        Some(key.map_err(|why| format!("key {number}: {why}")))
    });
    let keys: Vec<_> = keys.collect::<Result<_, _>>()?;
    if keys.is_empty() {
        let count = set.keys.len();
        return Err(format!("none of its {count} keys is for signatures with HS256, RS256, ES256 or EdDSA"));
    }
    Ok(keys)
}

/// `None` if it is for something else: what publishes its keys has others beside them (RFC 7517 section 5).
fn key_of_set(jwk: &Jwk, name: TokenKey) -> Result<Option<VerificationKey>, String> {
    let common = &jwk.common;
    let is_for_signatures = common.public_key_use.as_ref().is_none_or(|it| *it == PublicKeyUse::Signature)
        && common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
    if !is_for_signatures {
        return Ok(None);
    }
    #[expect(clippy::wildcard_enum_match_arm, reason = "the crate may come to know more kinds of keys")]
    let algorithm = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => Algorithm::RS256,
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => Algorithm::ES256,
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => Algorithm::EdDSA,
        AlgorithmParameters::OctetKey(_) => Algorithm::HS256,
        _ => return Ok(None),
    };
    if common.key_algorithm.is_some_and(|named| named.to_string() != format!("{algorithm:?}")) {
        return Ok(None);
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    if algorithm == Algorithm::HS256 {
        long_enough(key.try_get_as_bytes().map_err(|error| error.to_string())?)?;
    }
    Ok(Some(VerificationKey { name, id: common.key_id.clone(), algorithm, key }))
}

#[cfg(test)]
mod tests;
