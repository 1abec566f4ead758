use std::fs;
use std::path::PathBuf;

use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

use super::*;

/// Claims as they are written.
#[derive(Clone, Serialize)]
struct Written {
    sub: &'static str,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nbf: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<Vec<&'static str>>,
    groups: Vec<&'static str>,
    may_publish: Vec<&'static str>,
    may_subscribe: &'static str,
    number: u32,
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

fn claims() -> Written {
    Written {
        sub: "u1",
        exp: now() + 1_000,
        nbf: None,
        iss: None,
        aud: None,
        groups: vec!["g", "@h"],
        may_publish: vec!["a/#", "b"],
        may_subscribe: "c/+",
        number: 7,
    }
}

fn keys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys")
}

#[expect(clippy::wildcard_enum_match_arm, reason = "no others are verified")]
fn key(algorithm: Algorithm) -> EncodingKey {
    let pem = |name| fs::read(keys().join(name)).unwrap();
    match algorithm {
        Algorithm::HS256 => EncodingKey::from_secret(pem("secret").strip_suffix(b"\n").unwrap()),
        Algorithm::RS256 => EncodingKey::from_rsa_pem(&pem("rsa.pem")).unwrap(),
        Algorithm::ES256 => EncodingKey::from_ec_pem(&pem("ec.pem")).unwrap(),
        Algorithm::EdDSA => EncodingKey::from_ed_pem(&pem("ed.pem")).unwrap(),
        _ => panic!("{algorithm:?}"),
    }
}

fn token(algorithm: Algorithm, kid: Option<&str>, claims: &Written) -> Vec<u8> {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(algorithm) };
    jsonwebtoken::encode(&header, claims, &key(algorithm)).unwrap().into_bytes()
}

fn build(section: &str) -> Result<TokenVerifier, Fault> {
    TokenVerifier::build(&json5::from_str(section).unwrap(), &keys())
}

fn verifier(section: &str) -> TokenVerifier {
    build(section).unwrap_or_else(|fault| panic!("{section}: {fault:?}"))
}

fn verify(verifier: &TokenVerifier, token: &[u8]) -> Result<Bearer, String> {
    verifier.verify(token, SystemTime::now())
}

const SECRET_KEY: &str = "key_file: 'secret', algorithm: 'HS256'";
const KINDS: [(Algorithm, &str, &str); 4] = [
    (Algorithm::HS256, "secret", "hs"),
    (Algorithm::RS256, "rsa.pub.pem", "rsa"),
    (Algorithm::ES256, "ec.pub.pem", "ec"),
    (Algorithm::EdDSA, "ed.pub.pem", "ed"),
];

#[test]
fn tokens_of_each_algorithm_are_verified_with_their_key_and_no_other() {
    let set = verifier("{ jwks_file: 'jwks.json' }");
    for (algorithm, file, kid) in KINDS {
        let single = verifier(&format!("{{ key_file: '{file}', algorithm: '{algorithm:?}' }}"));
        let good = token(algorithm, None, &claims());
        for verifier in [&single, &set] {
            assert_eq!(&*verify(verifier, &good).unwrap().user, "u1");
        }
        verify(&set, &token(algorithm, Some(kid), &claims())).unwrap();
        verify(&set, &token(algorithm, Some("other"), &claims())).unwrap_err();
        for (other, ..) in KINDS.iter().filter(|(other, ..)| *other != algorithm) {
            verify(&single, &token(*other, None, &claims())).unwrap_err();
            verify(&set, &token(*other, Some(kid), &claims())).unwrap_err();
        }
        // One bit of the payload, and the signature cut off.
        let mut bent = good.clone();
        bent[good.len() / 2] ^= 1;
        verify(&single, &bent).unwrap_err();
        let end = good.iter().rposition(|byte| *byte == b'.').unwrap();
        verify(&single, &good[..=end]).unwrap_err();
    }
}

#[test]
fn keys_of_a_set_that_are_for_something_else_are_passed_over() {
    let set = verifier("{ jwks_file: 'provider.json' }");
    verify(&set, &token(Algorithm::RS256, Some("rsa"), &claims())).unwrap();
    // The same key under names under which it is not for signatures, or not for these.
    for other in ["encryption", "wrapping", "long"] {
        verify(&set, &token(Algorithm::RS256, Some(other), &claims())).unwrap_err();
    }
    assert_eq!(set.keys().count(), 1);
    let Err(fault) = build("{ jwks_file: 'unfit.json' }") else { panic!("there is no key for signatures") };
    assert!(format!("{fault:?}").contains("none of its 2 keys"), "{fault:?}");
}

#[test]
fn a_token_that_demands_what_is_not_known_is_refused() {
    // RFC 7515 section 4.1.11.
    let verifier = verifier(&format!("{{ {SECRET_KEY} }}"));
    for crit in [Some(vec!["b64".to_owned()]), Some(Vec::new()), None] {
        let is_refused = crit.is_some();
        let header = Header { crit, ..Header::new(Algorithm::HS256) };
        let token = jsonwebtoken::encode(&header, &claims(), &key(Algorithm::HS256)).unwrap();
        assert_eq!(verify(&verifier, token.as_bytes()).is_err(), is_refused);
    }
}

#[test]
fn a_public_key_is_never_taken_for_a_secret_and_no_signature_is_none() {
    let public = fs::read(keys().join("rsa.pub.pem")).unwrap();
    let forged =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims(), &EncodingKey::from_secret(&public))
            .unwrap();
    let rsa = verifier("{ key_file: 'rsa.pub.pem', algorithm: 'RS256' }");
    verify(&rsa, forged.as_bytes()).unwrap_err();
    // {"alg":"none"}.{"sub":"u1","exp":9999999999}.
    verify(&rsa, b"eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1MSIsImV4cCI6OTk5OTk5OTk5OX0.").unwrap_err();
}

#[test]
fn times_are_kept_with_some_leeway() {
    let verifier = verifier(&format!("{{ {SECRET_KEY}, leeway: 10 }}"));
    let verify = |claims| verify(&verifier, &token(Algorithm::HS256, None, &claims));
    let lifetime = verify(claims()).unwrap().lifetime;
    assert!(lifetime > Duration::from_secs(1_000) && lifetime <= Duration::from_secs(1_011), "{lifetime:?}");
    verify(Written { exp: now() - 5, ..claims() }).unwrap();
    assert!(verify(Written { exp: now() - 15, ..claims() }).unwrap_err().contains("Expired"));
    verify(Written { nbf: Some(now() + 5), ..claims() }).unwrap();
    verify(Written { nbf: Some(now() + 20), ..claims() }).unwrap_err();
    assert_eq!(
        verify(Written { exp: 99_999_999_999, ..claims() }).ok().map(|bearer| bearer.lifetime),
        Some(LONGEST_LIFETIME)
    );
}

#[test]
fn issuer_and_audience_have_to_be_there_where_they_are_asked_for() {
    let strict = verifier(&format!("{{ {SECRET_KEY}, issuer: 'i', audience: 'a' }}"));
    let lax = verifier(&format!("{{ {SECRET_KEY} }}"));
    let good = Written { iss: Some("i"), aud: Some(vec!["x", "a"]), ..claims() };
    for (claims, is_good) in [
        (good.clone(), true),
        (Written { iss: None, ..good.clone() }, false),
        (Written { iss: Some("j"), ..good.clone() }, false),
        (Written { aud: None, ..good.clone() }, false),
        (Written { aud: Some(vec!["x"]), ..good }, false),
    ] {
        let token = token(Algorithm::HS256, None, &claims);
        assert_eq!(verify(&strict, &token).is_ok(), is_good);
        verify(&lax, &token).unwrap();
    }
}

#[test]
fn claims_say_who_it_is_and_what_it_may_do() {
    let verify = |names: &str, claims: &Written| {
        let verifier = verifier(&format!("{{ {SECRET_KEY}, claims: {{ {names} }} }}"));
        verify(&verifier, &token(Algorithm::HS256, None, claims))
    };
    let filter = |text| TopicFilter::parse(text).unwrap();
    let bearer = verify("groups: 'groups', pub: 'may_publish', sub: 'may_subscribe'", &claims()).unwrap();
    let expected = Grants {
        key: bearer.grants.key,
        groups: [Arc::from("@g"), Arc::from("@h")].into(),
        publish: vec![filter("a/#"), filter("b")],
        subscribe: vec![filter("c/+")],
        receive: None,
    };
    assert_eq!(bearer.grants, expected);
    let plain = verify("", &claims()).unwrap().grants;
    assert_eq!(plain, Grants { key: plain.key, ..Grants::default() });
    assert_ne!(plain.key, bearer.grants.key, "what is read out of tokens is part of the key's name");
    assert_eq!(&*verify("user: 'may_subscribe'", &claims()).unwrap().user, "c/+");
    let receive = verify("receive: 'may_publish'", &claims()).unwrap().grants.receive;
    assert_eq!(receive, Some(vec![filter("a/#"), filter("b")]));

    for names in ["user: 'none'", "user: 'groups'", "groups: 'number'", "pub: 'number'"] {
        verify(names, &claims()).unwrap_err();
    }
    for wrong in ["a/#/b", "$share/g/a", ""] {
        verify("pub: 'may_publish'", &Written { may_publish: vec![wrong], ..claims() }).unwrap_err();
    }
    for sub in ["", "@any"] {
        verify("", &Written { sub, ..claims() }).unwrap_err();
    }
    verify("pub: 'may_publish'", &Written { may_publish: vec!["a"; 257], ..claims() }).unwrap_err();
}

#[test]
fn sections_are_checked() {
    for section in [
        "{}",
        "{ key_file: 'secret' }",
        "{ key_file: 'secret', jwks_file: 'jwks.json', algorithm: 'HS256' }",
        "{ jwks_file: 'jwks.json', algorithm: 'HS256' }",
        "{ key_file: 'gone', algorithm: 'HS256' }",
        "{ key_file: 'rsa.pub.pem', algorithm: 'ES256' }",
        "{ key_file: 'secret', algorithm: 'RS256' }",
        "{ jwks_file: 'secret' }",
        "{ key_file: 'secret', algorithm: 'HS256', leeway: 3601 }",
    ] {
        assert!(build(section).is_err(), "{section}");
    }
}

#[test]
fn what_is_no_token_is_told_from_a_token() {
    assert!(looks_like_token(&token(Algorithm::HS256, None, &claims())));
    // Behind the brace of the header there may be a quotation mark, a space, or the end of a line.
    for header in ["eyJhbGciOiJIUzI1NiJ9", "eyAiYWxnIjogIkhTMjU2IiB9", "ewogICJhbGciOiAiSFMyNTYiCn0"] {
        assert!(looks_like_token(format!("{header}.b.c").as_bytes()), "{header}");
    }
    for other in ["", "a.b.c", "ey.b", "ey.b.", "ey.b.c.d", "ey.b c.d", "mypassword"] {
        assert!(!looks_like_token(other.as_bytes()), "{other}");
    }
}
