//! What is refused, warned of and taken.

use super::*;

/// The file must be refused, with `expected` behind its name.
#[track_caller]
fn check_error(text: &str, expected: &str) {
    match AuthFile::parse(text.as_bytes(), Path::new("auth.json")) {
        Ok(_) => panic!("accepted: {text}"),
        Err(error) => assert_eq!(error.to_string(), format!("auth.json:{expected}")),
    }
}

#[test]
fn what_is_not_json5_is_told_with_its_place() {
    check_error("", "1:1: the file ends, expected {");
    check_error("// nothing\n", "2:1: the file ends, expected {");
    check_error("[]", "1:1: expected an object: {");
    check_error(
        "{\n  authentication: [\n",
        "2:19: the file ends within the object or list that begins here, expected its closing bracket",
    );
    check_error("{ authentication: [] authorization: [] }", "1:22: expected , between values");
    check_error("{ authentication [] }", "1:18: expected : after a key");
    check_error("{ authentication: 'x' }", "1:19: expected a list: [");
    check_error(
        "{ authentication: [], authorization: [] } x",
        "1:43: more text after the object, expected the end of the file",
    );
    check_error("{ authentication: [{ name: 5 }] }", "1:28: expected a string in quotes");
    check_error(
        "{ authentication: [{ name: 'x\n' }] }",
        "1:30: the line ends within a string, expected its closing quote",
    );
    check_error(
        "{ /* authentication: [] }",
        "1:1: the file ends before a comment that begins in here, expected */",
    );
    check_error("{ # authentication: [] }", "1:3: not a key, expected a name or a quoted string");
    let text = b"{\n 'ab\xC3'";
    let error = AuthFile::parse(text, Path::new("f")).map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "f:2:5: a byte that is not UTF-8, expected a text in UTF-8");
}

#[test]
fn keys_that_have_no_meaning_and_keys_that_are_missing_are_errors() {
    check_error(
        "{ authentication: [], authorization: [],\n  groups: [] }",
        "2:3: unknown field `groups`, expected one of `authentication`, `group`, `authorization`, `jwt`",
    );
    check_error("{ authorization: [] }", "1:1: missing field `authentication`");
    check_error("{ authentication: [] }", "1:1: missing field `authorization`");
    check_error(
        "{ authentication: [], authorization: [], authorization: [] }",
        "1:1: duplicate field `authorization`",
    );
    check_error(&users("{ name: 'a' }"), "1:20: missing field `method`");
    check_error(
        &users("{ name: 'a', method: 'md5' }"),
        "1:41: unknown variant `md5`, expected one of `sha256`, `plain_password`, `password_hash`, `scram_sha_256`, `client_cert`, \
         `anonymous`, `unauthenticated`",
    );
    check_error(
        "{ authentication: [], authorization: [{ topic: 'a', allow: { publish: [] } }] }",
        "1:62: unknown field `publish`, expected one of `sub`, `pub`, `receive`",
    );
}

#[test]
fn users_are_checked() {
    check_error(
        &users("{ name: '', method: 'anonymous' }"),
        "1:28: an empty user name, expected at least one character",
    );
    check_error(
        &users("{ name: '@a', method: 'anonymous' }"),
        r#"1:28: the user name "@a" begins with @, expected that of group names only"#,
    );
    check_error(
        &users("{ name: 'a', method: 'anonymous' },\n{ name: 'a', method: 'client_cert' }"),
        r#"2:9: the user "a" is declared twice, expected each user once (the other is in line 1)"#,
    );
    for method in ["anonymous", "unauthenticated"] {
        check_error(
            &users(&format!("\n{{ name: 'a', method: '{method}' }},\n{{ name: 'b', method: '{method}' }}")),
            &format!(
                "3:22: a second user of method {method:?}, expected one at most (the other is in line 2)"
            ),
        );
    }
    check_error(
        &users("{ name: 'a', method: 'sha256' }"),
        r#"1:20: the user "a" of method "sha256" has no `digest`, expected one"#,
    );
    check_error(
        &users("{ name: 'a', method: 'sha256', digest: 'abc' }"),
        "1:59: not a digest, expected the 64 hexadecimal digits of a SHA-256",
    );
    check_error(
        &users("{ name: 'a', method: 'plain_password' }"),
        r#"1:20: the user "a" of method "plain_password" has no `password`, expected one"#,
    );
    check_error(
        &users("{ name: 'a', method: 'password_hash' }"),
        r#"1:20: the user "a" of method "password_hash" has no `hash`, expected one"#,
    );
    check_error(
        &users("{ name: 'a', method: 'password_hash', hash: '$7$10000001$AAAA$AAAAAAAAAAAAAAAAAAAAAAAA' }"),
        "1:64: a hash that takes 10000001 iterations, expected at most 10000000",
    );
}

#[test]
fn groups_and_rules_are_checked() {
    let file = |groups: &str, rules: &str| {
        format!(
            "{{ authentication: [{{ name: 'a', method: 'anonymous' }}],\ngroup: [{groups}],\nauthorization: [{rules}] }}"
        )
    };
    for name in ["", "g", "@"] {
        check_error(
            &file(&format!("{{ name: '{name}' }}"), ""),
            &format!("2:17: the group name {name:?}, expected @ and at least one character"),
        );
    }
    check_error(
        &file("{ name: '@any' }", ""),
        "2:17: the group @any always holds everybody, expected another name",
    );
    check_error(
        &file("{ name: '@g' },\n{ name: '@g' }", ""),
        "3:9: the group @g is declared twice, expected each group once (the other is in line 2)",
    );
    for member in ["b", "@g"] {
        check_error(
            &file(&format!("{{ name: '@g', members: ['a', '{member}'] }}"), ""),
            &format!("2:38: {member:?} is a member of @g, expected a user of `authentication`"),
        );
    }
    check_error(
        &file("", "{ topic: 'a/#/b' }"),
        r#"3:26: "a/#/b" is not a topic filter, expected one: '#' must be the whole of the last level"#,
    );
    check_error(&file("", "{ topic: '' }"), r#"3:26: "" is not a topic filter, expected one: it is empty"#);
    check_error(
        &file("", "{ topic: '$share/g/a' }"),
        r#"3:26: "$share/g/a" names a share, expected the topic filter that stands behind it"#,
    );
    check_error(
        &file("", "{ topic: 'a', allow: { sub: ['a', 'b'] } }"),
        r#"3:51: "b" is not declared, expected a user of `authentication`"#,
    );
    check_error(
        &file("", "{ topic: 'a', deny: { pub: ['@g'] } }"),
        r#"3:45: "@g" is not declared, expected a group of `group`, or @any"#,
    );
}

#[test]
fn what_is_unwise_is_warned_of() {
    let text = users(&format!(
        "{{ name: 'a', method: 'sha256', digest: '{DIGEST}' }},
         {{ name: 'b', method: 'sha256', digest: '{DIGEST}', salt: '' }},
         {{ name: 'c', method: 'client_cert', password: 'x', salt: 'y' }}"
    ));
    let file =
        AuthFile::parse(text.as_bytes(), Path::new("auth.json")).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(
        file.warnings,
        [
            r#"not used by the method of user "c": password, salt"#,
            "passwords without a salt are easily guessed from their digests: a, b",
        ]
    );
}

#[test]
fn the_examples_of_the_manual_are_auth_files() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manual = fs::read_to_string(root.join("docs/authentication.md")).unwrap();
    let examples: Vec<_> =
        manual.split("```json5\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(examples.len(), 2);
    for example in examples {
        // The keys that it names are there.
        let file = AuthFile::parse(example.as_bytes(), &root.join("tests/keys/auth.json"));
        assert_eq!(file.unwrap_or_else(|error| panic!("{error}")).warnings, [""; 0]);
    }
}

/// What the fuzzer begins with, and each of it cut short and with each byte changed, ends with an answer.
#[test]
fn whatever_stands_in_a_file_is_answered() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/auth_file");
    let mut seen = 0;
    for entry in fs::read_dir(corpus).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        for place in (0..bytes.len()).step_by(7) {
            let mut bent = bytes.clone();
            bent[place] ^= 0x15;
            for text in [&bytes[..place], &bent] {
                if let Err(error) = command::check(text, Path::new("/nowhere/auth.json")) {
                    assert!(!error.to_string().is_empty());
                }
                seen += 1;
            }
        }
    }
    assert!(seen > 1_000, "{seen}");
}
