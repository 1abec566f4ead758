//! Which test shows which statement: the tables, the citations in the sources, and docs/conformance.md, which is
//! made of both.
//!
//! A test cites in a line of its doc comment that begins with "Keeps" and has nothing but identifiers: for MQTT 5.0
//! as `[MQTT-…]`, for MQTT 3.1.1 as `[MQTT3-…]`. A test that runs for both versions cites both. Comments in src/ may
//! use the first form for either version; they are checked but show nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{self, Write as _};
use std::fs;
use std::path::{Path, PathBuf};

/// A version of the standard whose statements are numbered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standard {
    V5,
    V311,
}

impl Standard {
    const fn name(self) -> &'static str {
        match self {
            Self::V5 => "MQTT 5.0",
            Self::V311 => "MQTT 3.1.1",
        }
    }

    const fn table(self) -> &'static str {
        match self {
            Self::V5 => include_str!("mqtt-5.0.txt"),
            Self::V311 => include_str!("mqtt-3.1.1.txt"),
        }
    }
}

/// A statement's identifier, as a citation has it within its brackets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Citation {
    standard: Standard,
    number: String,
}

impl fmt::Display for Citation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = match self.standard {
            Standard::V5 => "MQTT",
            Standard::V311 => "MQTT3",
        };
        write!(formatter, "[{prefix}-{}]", self.number)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Binds {
    Server,
    Client,
    Both,
}

impl Binds {
    const fn name(self) -> &'static str {
        match self {
            Self::Server => "server",
            Self::Client => "client",
            Self::Both => "both",
        }
    }
}

/// A line of a table.
#[derive(Debug)]
struct Statement {
    citation: Citation,
    binds: Binds,
    /// A paraphrase: the standard's own words are the standard's.
    says: &'static str,
    /// Why no test can show that the server keeps it.
    beyond_tests: Option<&'static str>,
}

impl Statement {
    fn needs_a_test(&self) -> bool {
        self.binds != Binds::Client && self.beyond_tests.is_none()
    }

    /// The section it stands in, such as 3.1.
    fn section(&self) -> &str {
        let dots = self.citation.number.match_indices(['.', '-']);
        let end = dots.map(|(at, _)| at).nth(1);
        &self.citation.number[..end.unwrap()]
    }
}

fn statements(standard: Standard) -> Vec<Statement> {
    let lines = standard.table().lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| statement(standard, line)).collect()
}

fn statement(standard: Standard, line: &'static str) -> Statement {
    let mut columns = line.split(" | ");
    let mut column = || columns.next().unwrap_or_else(|| panic!("a column is missing: {line}"));
    let number = column().to_owned();
    let binds = match column() {
        "server" => Binds::Server,
        "client" => Binds::Client,
        "both" => Binds::Both,
        other => panic!("{other} is neither server, client nor both: {line}"),
    };
    let says = column();
    let statement =
        Statement { citation: Citation { standard, number }, binds, says, beyond_tests: columns.next() };
    assert_eq!(columns.next(), None, "a column too many: {line}");
    statement
}

/// A test that cites.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Test {
    /// Relative to the repository.
    file: String,
    name: String,
}

/// What the sources say.
#[derive(Debug, Default)]
struct Sources {
    /// The tests by what they cite.
    tests: BTreeMap<Citation, BTreeSet<Test>>,
    /// Every citation in tests/ and where it stands.
    in_tests: Vec<(Citation, String)>,
    /// Every citation in src/ and where it stands.
    in_src: Vec<(Citation, String)>,
    /// Lines that look like citations of a test but are none.
    misplaced: Vec<String>,
}

impl Sources {
    fn read() -> Self {
        let mut sources = Self::default();
        for file in rust_files(&root().join("tests")) {
            sources.read_tests(&relative(&file), &fs::read_to_string(&file).unwrap());
        }
        for file in rust_files(&root().join("src")) {
            let name = relative(&file);
            let text = fs::read_to_string(&file).unwrap();
            for (number, line) in text.lines().enumerate() {
                let place = format!("{name}:{}", number + 1);
                let found = citations(comment(line));
                sources.in_src.extend(found.into_iter().map(|citation| (citation, place.clone())));
            }
        }
        sources
    }

    fn read_tests(&mut self, file: &str, text: &str) {
        let mut kept: Vec<Citation> = Vec::new();
        let mut is_test = false;
        for (number, line) in text.lines().enumerate() {
            let place = format!("{file}:{}", number + 1);
            let line = line.trim_start();
            let found = citations(comment(line));
            self.in_tests.extend(found.iter().map(|citation| (citation.clone(), place.clone())));
            if line.starts_with("/// Keeps [") {
                if !is_only_citations(line) {
                    self.misplaced.push(format!("{place}: {line}"));
                }
                kept.extend(found);
            } else if line == "#[test]" {
                is_test = true;
            } else if !line.starts_with("//") && !line.starts_with("#[") {
                match line.strip_prefix("fn ").and_then(|rest| rest.split_once('(')) {
                    Some((name, _)) if is_test => self.add_test(file, name, &kept),
                    _ if !kept.is_empty() => self.misplaced.push(format!("{place}: {line}")),
                    _ => {}
                }
                kept.clear();
                is_test = false;
            }
        }
    }

    fn add_test(&mut self, file: &str, name: &str, kept: &[Citation]) {
        for citation in kept {
            self.tests
                .entry(citation.clone())
                .or_default()
                .insert(Test { file: file.to_owned(), name: name.to_owned() });
        }
    }
}

/// The citations in a text. What stands in such brackets without beginning with a digit is none.
fn citations(text: &str) -> Vec<Citation> {
    let mut found = Vec::new();
    for (prefix, standard) in [("[MQTT-", Standard::V5), ("[MQTT3-", Standard::V311)] {
        for piece in text.split(prefix).skip(1) {
            if let Some((number, _)) = piece.split_once(']')
                && number.starts_with(|first: char| first.is_ascii_digit())
            {
                // In documentation the brackets may be escaped.
                let number = number.trim_end_matches('\\').to_owned();
                found.push(Citation { standard, number });
            }
        }
    }
    found
}

fn is_only_citations(line: &str) -> bool {
    let Some(list) = line.strip_prefix("/// Keeps ").and_then(|rest| rest.strip_suffix('.')) else {
        return false;
    };
    list.split(' ').all(|word| citations(word).first().is_some_and(|citation| citation.to_string() == word))
}

/// What stands behind // in a line.
fn comment(line: &str) -> &str {
    line.find("//").map_or("", |at| &line[at..])
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn relative(file: &Path) -> String {
    let path = file.strip_prefix(root()).unwrap().components();
    let parts: Vec<_> = path.map(|part| part.as_os_str().to_str().unwrap()).collect();
    parts.join("/")
}

fn rust_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn document(sources: &Sources) -> String {
    let mut text = String::from(OPENING);
    for standard in [Standard::V5, Standard::V311] {
        let all = statements(standard);
        let count = |wanted: &dyn Fn(&Statement) -> bool| all.iter().filter(|one| wanted(one)).count();
        let shown = |one: &Statement| one.binds != Binds::Client && sources.tests.contains_key(&one.citation);
        writeln!(
            text,
            "| {} | {} | {} | {} | {} |",
            standard.name(),
            all.len(),
            count(&|one| one.binds != Binds::Client),
            count(&shown),
            count(&|one| one.beyond_tests.is_some() && one.binds != Binds::Client),
        )
        .unwrap();
    }
    for standard in [Standard::V5, Standard::V311] {
        writeln!(text, "\n## {}", standard.name()).unwrap();
        let mut section = String::new();
        for statement in statements(standard) {
            if statement.section() != section {
                statement.section().clone_into(&mut section);
                let title = title(standard, &section);
                writeln!(text, "\n### {section} {title}\n\n{COLUMNS}").unwrap();
            }
            text.push_str(&row(&statement, sources));
        }
    }
    text
}

fn row(statement: &Statement, sources: &Sources) -> String {
    let tests = sources.tests.get(&statement.citation);
    let last = match (tests, statement.beyond_tests) {
        (Some(tests), _) => tests.iter().map(link).collect::<Vec<_>>().join("<br>"),
        (None, Some(reason)) => format!("none: {reason}"),
        (None, None) if statement.binds == Binds::Client => String::from("none: binds the client alone"),
        (None, None) => String::from("**missing**"),
    };
    let Statement { citation, binds, says, .. } = statement;
    format!("| {} | {} | {says} | {last} |\n", citation.number, binds.name())
}

fn link(test: &Test) -> String {
    format!("[{}](../{})", test.name, test.file)
}

fn title(standard: Standard, section: &str) -> &'static str {
    match (section, standard) {
        ("1.5", _) => "Data representation",
        ("2.1", Standard::V5) | ("2.2", Standard::V311) => "Fixed header",
        ("2.2", Standard::V5) | ("2.3", Standard::V311) => "Variable header",
        ("3.1", _) => "CONNECT",
        ("3.2", _) => "CONNACK",
        ("3.3", _) => "PUBLISH",
        ("3.4", _) => "PUBACK",
        ("3.5", _) => "PUBREC",
        ("3.6", _) => "PUBREL",
        ("3.7", _) => "PUBCOMP",
        ("3.8", _) => "SUBSCRIBE",
        ("3.9", _) => "SUBACK",
        ("3.10", _) => "UNSUBSCRIBE",
        ("3.11", _) => "UNSUBACK",
        ("3.12", _) => "PINGREQ",
        ("3.14", _) => "DISCONNECT",
        ("3.15", _) => "AUTH",
        ("4.1", _) => "Session state",
        ("4.2", _) => "Network connections",
        ("4.3", _) => "Quality of Service levels",
        ("4.4", _) => "Message delivery retry",
        ("4.5", _) => "Message receipt",
        ("4.6", _) => "Message ordering",
        ("4.7", _) => "Topic Names and Topic Filters",
        ("4.8", Standard::V5) => "Subscriptions",
        ("4.8" | "4.13", _) => "Handling errors",
        ("4.9", _) => "Flow control",
        ("4.12", _) => "Enhanced authentication",
        ("6.0", _) => "WebSocket as a network transport",
        ("7.0", _) => "Conformance",
        ("7.1", _) => "Conformance targets",
        _ => panic!("section {section} has no title"),
    }
}

const OPENING: &str = "\
# Conformance

Every normative statement of MQTT 5.0 and MQTT 3.1.1, whom it binds, and the tests that show that the server keeps it.
This page is made of the tables and the tests in tests/conformance/ by `UPDATE_SNAPSHOTS=1 cargo test --test
conformance`; without that variable the same command fails where the page, the tables and the tests do not agree, or
where a statement that binds the server has no test.

The statements are paraphrased; what they say exactly is in the OASIS standards. The table of MQTT 5.0 has been compared
with the text of 7 March 2019, number by number. The text of MQTT 3.1.1 (29 October 2014) was not at hand: its table
is put together from a list of a draft and from single statements that several projects quote.
Where these differ, the following was chosen:

- 5.0: 4.2-1 is so numbered in the body of the text, 4.2.0-1 in its appendix.
- 3.1.1: 1.5.3-1 to 1.5.3-3 are 1.4.0-1 to 1.4.0-3 in the draft; 3.8.3-4 is printed as 3-8.3-4, and a few others with a
  dot where the hyphen belongs.

Statements that bind only the client have tests where the standard says how a server reacts to a client that breaks
them. MQTT 3.1 numbers no statements; most tests of 3.1.1 run for it too.

| Standard | Statements | Bind the server | With tests | Beyond tests |
| --- | --- | --- | --- | --- |
";

const COLUMNS: &str = "| Statement | Binds | In our words | Tests |\n| --- | --- | --- | --- |";

#[test]
fn the_tables_have_as_many_statements_as_the_standards() {
    for (standard, expected) in [(Standard::V5, 251), (Standard::V311, 141)] {
        let statements = statements(standard);
        let numbers: BTreeSet<_> = statements.iter().map(|one| &one.citation.number).collect();
        assert_eq!(numbers.len(), statements.len(), "{} has one twice", standard.name());
        assert_eq!(statements.len(), expected, "{}", standard.name());
    }
}

#[test]
fn every_citation_names_a_statement_that_exists() {
    let known: BTreeSet<_> =
        [Standard::V5, Standard::V311].into_iter().flat_map(statements).map(|one| one.citation).collect();
    let sources = Sources::read();
    let in_either = |citation: &Citation| {
        let standard = Standard::V311;
        let number = citation.number.clone();
        known.contains(citation) || known.contains(&Citation { standard, number })
    };
    let in_tests = sources.in_tests.iter().filter(|(citation, _)| !known.contains(citation));
    let in_src = sources.in_src.iter().filter(|(citation, _)| !in_either(citation));
    let unknown: Vec<_> =
        in_tests.chain(in_src).map(|(citation, place)| format!("{place}: {citation}")).collect();
    assert!(unknown.is_empty(), "no such statements:\n{}", unknown.join("\n"));
    let misplaced = sources.misplaced;
    assert!(misplaced.is_empty(), "not above a test, or not only citations:\n{}", misplaced.join("\n"));
}

#[test]
fn every_statement_that_binds_the_server_has_a_test() {
    let sources = Sources::read();
    let mut missing = Vec::new();
    let mut needless = Vec::new();
    for statement in [Standard::V5, Standard::V311].into_iter().flat_map(statements) {
        let tests = sources.tests.get(&statement.citation);
        let line = format!("{} {}", statement.citation, statement.says);
        if statement.needs_a_test() && tests.is_none() {
            missing.push(line);
        } else if statement.beyond_tests.is_some() && tests.is_some() {
            needless.push(line);
        }
    }
    assert!(missing.is_empty(), "{} without a test:\n{}", missing.len(), missing.join("\n"));
    assert!(needless.is_empty(), "tested, although said to be beyond tests:\n{}", needless.join("\n"));
}

#[test]
fn the_document_is_up_to_date() {
    let path = root().join("docs/conformance.md");
    let wanted = document(&Sources::read());
    if std::env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &wanted).unwrap();
    }
    let found = fs::read_to_string(&path).unwrap_or_default();
    let differing = wanted.lines().zip(found.lines()).find(|(wanted, found)| wanted != found);
    assert!(
        wanted == found,
        "run with UPDATE_SNAPSHOTS=1 to rewrite docs/conformance.md; first difference: {differing:?}"
    );
}

#[test]
fn only_well_formed_lines_count_as_citations() {
    let mut sources = Sources::default();
    let keeps = "/// Keeps";
    let text = format!(
        "{keeps} [MQTT-1.5.4-1] [MQTT3-1.5.3-1].\n#[test]\nfn counts() {{}}\n\
         {keeps} [MQTT-1.5.4-2].\nfn is_no_test() {{}}\n\
         {keeps} [MQTT-1.5.4-3] and more.\n#[test]\nfn says_more() {{}}\n"
    );
    sources.read_tests("tests/some.rs", &text);
    assert_eq!(sources.misplaced.len(), 2, "{:?}", sources.misplaced);
    let cited: Vec<String> = sources.tests.keys().map(ToString::to_string).collect();
    assert_eq!(cited, ["[MQTT-1.5.4-1]", "[MQTT-1.5.4-3]", "[MQTT3-1.5.3-1]"]);
}
