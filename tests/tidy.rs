//! What no compiler checks: who imports whom, how long a file may grow, and what must not be left lying about.
//!
//! `docs/architecture.md` has the same table of imports, with the reasons.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the library, and those of ours that it may name. It may always name itself.
const IMPORTS: &[(&str, &[&str])] = &[
    ("mqtt", &["clock"]),
    ("clock", &[]),
    ("files", &[]),
    ("transport", &["files", "mqtt"]),
    ("connection", &["mqtt", "clock"]),
    ("broker", &["mqtt", "clock"]),
    ("auth", &["mqtt", "broker", "files"]),
    ("telemetry", &["broker"]),
    ("storage", &["mqtt", "clock", "broker"]),
    ("actor", &["mqtt", "clock", "broker", "connection", "auth", "transport", "storage", "telemetry"]),
    ("config", &["mqtt", "broker", "connection", "auth", "transport", "telemetry", "storage", "server"]),
    (
        "server",
        &["mqtt", "clock", "broker", "connection", "auth", "transport", "storage", "telemetry", "actor"],
    ),
    ("main", &["auth", "telemetry", "transport", "storage", "config", "server"]),
    ("lib", &["broker", "connection"]),
];

/// Lines that a file may have without a reason.
const LENGTH: usize = 700;

/// Files that are longer, and why they are not two: `("src/…", "reason")`.
const LONG_FILES: &[(&str, &str)] = &[];

#[test]
fn modules_import_only_what_their_level_allows() {
    let mut wrong = Vec::new();
    for file in files("src", &["rs"]) {
        let module = module_of(&file.path);
        let Some((_, allowed)) = IMPORTS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{}: the module {module} is not in the table", file.path));
            continue;
        };
        for (number, line) in file.code() {
            for root in ["crate::", "mqtt_broker::"] {
                for named in names_after(line, root) {
                    if named != module && !allowed.contains(&named.as_str()) {
                        wrong.push(format!("{}:{number}: {module} must not name {named}", file.path));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_import_table_has_no_cycle_and_no_strangers() {
    let modules: BTreeSet<String> = files("src", &["rs"]).iter().map(|file| module_of(&file.path)).collect();
    let listed: BTreeSet<String> = IMPORTS.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(modules, listed, "the table has a row for each module there is");
    // Modules are taken off the table when all that they import has been; in a cycle nobody can be the first.
    let mut placed = BTreeSet::from(["lib"]);
    loop {
        let before = placed.len();
        for (name, allowed) in IMPORTS {
            if allowed.iter().all(|import| placed.contains(import)) {
                placed.insert(*name);
            }
        }
        if placed.len() == before {
            break;
        }
    }
    assert_eq!(placed.len(), IMPORTS.len(), "only these can be put in order: {placed:?}");
}

#[test]
fn long_files_have_a_reason() {
    let mut wrong = Vec::new();
    let mut long = BTreeSet::new();
    for file in sources() {
        let lines = file.text.lines().count();
        if lines > LENGTH {
            long.insert(file.path.clone());
            if !LONG_FILES.iter().any(|(path, _)| *path == file.path) {
                wrong.push(format!("{}: {lines} lines, and no reason why", file.path));
            }
        }
    }
    for (path, _) in LONG_FILES {
        if !long.contains(*path) {
            wrong.push(format!("{path}: has a reason to be long, and is not, or is not there"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> =
        sources().into_iter().filter(|file| !file.text.starts_with("//!")).map(|file| file.path).collect();
    // Targets for the fuzzer begin with an attribute; a module of tests is described where it belongs.
    let silent: Vec<&String> =
        silent.iter().filter(|path| !path.starts_with("fuzz/") && !path.ends_with("/tests.rs")).collect();
    assert!(silent.is_empty(), "no `//!` at the top: {silent:?}");
}

#[test]
fn nothing_is_left_for_later() {
    let marks = ["TO|DO", "FIX|ME", "XX|X", "unimple|mented!", "to|do!", "dbg|!("].map(joined);
    check_lines(&everything(), |line| {
        marks.iter().find(|mark| has_word(line, mark)).map(|mark| format!("{mark} is left"))
    });
}

#[test]
fn no_file_knows_the_machine_it_was_written_on() {
    let marks = ["/ho|me/", "/ro|ot/", "/wo|rk/", "/Us|ers/", "/t|mp/"].map(joined);
    check_lines(&everything(), |line| {
        marks
            .iter()
            .find(|mark| line.contains(mark.as_str()))
            .map(|mark| format!("{mark} is a path of one machine"))
    });
}

#[test]
fn statements_of_the_standard_are_cited_in_one_form() {
    check_lines(&sources(), |line| {
        line.split("[MQTT").skip(1).find_map(|rest| {
            // A bracket is escaped where rustdoc would take it for a link.
            let id = rest.split(']').next()?.trim_end_matches('\\');
            // Words in brackets, and texts that are made into citations, are not meant.
            let numbers = id.trim_start_matches(['3', '5']);
            let cites = numbers.contains(|letter: char| letter.is_ascii_digit()) && !id.contains([' ', '"']);
            (cites && !is_statement(id)).then(|| format!("[MQTT{id}] is not of the form [MQTT-3.1.4-3]"))
        })
    });
}

/// Whether this is what may follow `[MQTT`: `-3.1.4-3`, or `3-3.1.4-3` for a statement of 3.1.1 whose id 5.0 gave to
/// another.
fn is_statement(id: &str) -> bool {
    let id = id.strip_prefix('3').unwrap_or(id);
    let Some((section, number)) = id.strip_prefix('-').and_then(|id| id.split_once('-')) else {
        return false;
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    section.split('.').count() >= 2 && section.split('.').all(is_number) && is_number(number)
}

#[test]
fn the_form_of_a_citation_is_known() {
    for right in ["-3.1.4-3", "3-3.1.4-3", "-1.5.4-1", "-4.13.2-1"] {
        assert!(is_statement(right), "{right}");
    }
    for wrong in ["-3.1.4", "3.1.4-3", "-3.1.4-", "-3.1.x-1", "", "-"] {
        assert!(!is_statement(wrong), "{wrong}");
    }
}

#[test]
fn the_readme_lists_the_options_there_are() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let (help, readme) = (read("src/config/help.txt"), read("README.md"));
    let rows = readme.lines().filter(|line| line.starts_with("| `--"));
    let listed: BTreeSet<&str> = rows.flat_map(|row| options_in(row.split('|').nth(1).unwrap())).collect();
    let there: BTreeSet<&str> =
        help.lines().filter(|line| line.trim_start().starts_with('-')).flat_map(options_in).collect();
    assert!(there.contains("--tcp-port"), "the help is read wrongly");
    assert_eq!(listed, there);
}

/// The long options that are named in a line.
fn options_in(line: &str) -> impl Iterator<Item = &str> {
    let is_part = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    line.split(move |letter| !is_part(letter)).filter(|word| word.starts_with("--"))
}

#[test]
fn links_between_files_lead_somewhere() {
    let mut wrong = Vec::new();
    for file in files("", &["md"]) {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(&file.path);
        let directory = directory.parent().unwrap();
        for (number, line) in file.lines() {
            for target in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let path = target.split('#').next().unwrap();
                if !target.contains("://") && !path.is_empty() && !directory.join(path).exists() {
                    wrong.push(format!("{}:{number}: {target} is not there", file.path));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A file of the project.
#[derive(Debug)]
struct File {
    /// From the top of the project, with `/`.
    path: String,
    text: String,
}

impl File {
    /// Its lines without comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.lines().filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    fn lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines())
    }
}

#[track_caller]
fn check_lines(files: &[File], wrong: impl Fn(&str) -> Option<String>) {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in file.lines() {
            if let Some(complaint) = wrong(line) {
                found.push(format!("{}:{number}: {complaint}", file.path));
            }
        }
    }
    assert!(!files.is_empty() && found.is_empty(), "{}", found.join("\n"));
}

/// All Rust.
fn sources() -> Vec<File> {
    ["src", "tests", "benches", "fuzz"].iter().flat_map(|directory| files(directory, &["rs"])).collect()
}

/// All that is written by hand.
fn everything() -> Vec<File> {
    let kinds = ["rs", "toml", "md", "yml", "py", "js", "json", "sh", "run", "txt"];
    let mut files = files("", &kinds);
    files.retain(|file| !file.path.ends_with("package-lock.json"));
    files
}

fn files(directory: &str, kinds: &[&str]) -> Vec<File> {
    let mut found = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), kinds, &mut found);
    found.sort_by(|one, other| one.path.cmp(&other.path));
    found
}

/// Reads all files below a directory, but for those that are built, fetched or found by a fuzzer.
fn walk(directory: &Path, kinds: &[&str], found: &mut Vec<File>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            let foreign = ["target", "node_modules", ".venv", ".git", "corpus", "artifacts", "coverage"];
            if !foreign.contains(&name.as_str()) {
                walk(&path, kinds, found);
            }
        } else if kinds.contains(&name.rsplit('.').next().unwrap_or_default()) {
            found.push(File { text: fs::read_to_string(&path).unwrap(), path: below_top(&path) });
        }
    }
}

fn below_top(path: &Path) -> String {
    let path: PathBuf = path.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap().into();
    path.to_string_lossy().replace('\\', "/")
}

/// The module at the top of the library to which a file below `src/` belongs.
fn module_of(path: &str) -> String {
    let path = path.strip_prefix("src/").unwrap();
    path.split('/').next().unwrap().trim_end_matches(".rs").to_owned()
}

/// The modules that are named behind `root` in a line, as in `crate::mqtt::QoS` or `crate::{clock, mqtt}`.
fn names_after(line: &str, root: &str) -> Vec<String> {
    let name = |text: &str| -> String {
        text.chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '_').collect()
    };
    let mut names = Vec::new();
    for (at, _) in line.match_indices(root) {
        // `other_crate::` is not meant, nor is a text.
        if line[..at]
            .ends_with(|letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '"')
        {
            continue;
        }
        let rest = &line[at + root.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            names.extend(list.split(',').map(|item| name(item.trim_start())));
        } else {
            names.push(name(rest));
        }
    }
    names.retain(|name| name.starts_with(|letter: char| letter.is_ascii_lowercase()));
    names
}

#[test]
fn imports_are_read_in_all_their_forms() {
    assert_eq!(names_after("use crate::mqtt::QoS;", "crate::"), ["mqtt"]);
    assert_eq!(names_after("use crate::{clock, mqtt::QoS};", "crate::"), ["clock", "mqtt"]);
    assert_eq!(names_after("let x: crate::auth::A = crate::broker::b();", "crate::"), ["auth", "broker"]);
    assert!(names_after("use other_crate::mqtt;", "crate::").is_empty());
}

/// Words that must not be found are written with a bar in them, so that they are not found here.
fn joined(word: &str) -> String {
    word.replace('|', "")
}

/// Whether a line has this word, and not only as a part of a longer one.
fn has_word(line: &str, word: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    line.match_indices(word)
        .any(|(at, _)| !line[..at].ends_with(is_letter) && !line[at + word.len()..].starts_with(is_letter))
}
