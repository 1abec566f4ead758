//! How many instructions the core takes for what it does most: the same figure on a busy machine and on a quiet one.
//!
//! `cargo bench --no-default-features --bench instructions` counts them with valgrind's callgrind and compares with
//! `benches/instructions.txt`: it fails where one differs by more than 3 %. `-- --write` writes the file anew, for a
//! commit that says why. Counts depend on the compiler and the C library: where these are not those of the file,
//! differences are told and nothing fails.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a measurement that cannot go on ends, and its result is what it prints"
)]

#[path = "support/scenarios.rs"]
mod scenarios;
#[path = "support/stage.rs"]
mod stage;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};

use scenarios::SCENARIOS;

/// Thousandths by which a count may differ from the one that is written down.
const TOLERANCE: u64 = 30;

const INTRODUCTION: &str = "\
# Instructions of the core for one operation each: see `benches/instructions.rs`. Written by
#     cargo bench --no-default-features --bench instructions -- --write
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--scenario", name] => run(name),
        ["--bench"] => return compare(),
        ["--write", "--bench"] => fs::write(record(), written(&toolchain(), &count_all())).unwrap(),
        // `cargo test --benches` runs this too, without that argument.
        _ => println!("nothing is counted but by `cargo bench`, alone or with `-- --write`"),
    }
    ExitCode::SUCCESS
}

/// Does what is counted, once to fill what is kept from time to time, and once to be counted.
fn run(name: &str) {
    let (_, prepare) = SCENARIOS.iter().find(|(there, _)| *there == name).expect("a scenario");
    let mut operation = prepare();
    operation();
    println!("{}", counted_section(&mut *operation));
}

/// What callgrind looks for, by this name.
#[inline(never)]
fn counted_section(operation: &mut dyn FnMut() -> u64) -> u64 {
    operation()
}

/// Compares what is counted now with what is written down.
fn compare() -> ExitCode {
    let text = fs::read_to_string(record()).unwrap_or_default();
    let (recorded_with, recorded) = read(&text);
    let (toolchain, counts) = (toolchain(), count_all());
    let is_comparable = recorded_with == toolchain;
    let mut differ = recorded.keys().any(|name| !counts.contains_key(name));
    println!("{:<34} {:>12} {:>12}", "scenario", "recorded", "now");
    for (name, now) in &counts {
        let before = recorded.get(name).copied().unwrap_or_default();
        let differs = now.abs_diff(before) * 1_000 > before * TOLERANCE;
        differ |= differs;
        let mark = if differs { "  differs" } else { "" };
        println!("{name:<34} {:>12} {:>12}{mark}", tenths(before), tenths(*now));
    }
    if !is_comparable {
        println!("not compared: recorded with {recorded_with}, this is {toolchain}");
    } else if differ {
        eprintln!("counts differ by more than 3 %: if they should, write them down with `-- --write`");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Tenths of an instruction for each operation, by scenario.
fn count_all() -> BTreeMap<String, u64> {
    SCENARIOS.iter().map(|(name, _)| ((*name).to_owned(), count(name))).collect()
}

fn count(name: &str) -> u64 {
    let out = std::env::temp_dir().join(format!("mqtt-broker-callgrind-{}", std::process::id()));
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_section*"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(std::env::current_exe().unwrap())
        .args(["--scenario", name])
        .stderr(Stdio::piped())
        .output()
        .expect("valgrind is installed");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let operations: u64 = String::from_utf8(output.stdout).unwrap().trim().parse().unwrap();
    let profile = fs::read_to_string(&out).unwrap();
    fs::remove_file(&out).unwrap();
    let instructions = profile.lines().find_map(|line| line.strip_prefix("totals: ")).expect("a total");
    let instructions: u64 = instructions.trim().parse().unwrap();
    assert!(instructions > 0, "{name}: callgrind has not seen the section");
    instructions * 10 / operations
}

/// All that counts depend on, but for the code and `Cargo.lock`.
fn toolchain() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        text.unwrap_or_default()
    };
    [
        said("rustc", &["--version"]),
        std::env::consts::ARCH.to_owned(),
        said("getconf", &["GNU_LIBC_VERSION"]),
        // The C library copies memory in other ways on other processors, of which valgrind passes on what it knows.
        vector_instructions().to_owned(),
        said("valgrind", &["--version"]),
    ]
    .join(", ")
}

fn vector_instructions() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        return "avx2";
    }
    "plain"
}

fn record() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "benches", "instructions.txt"].iter().collect()
}

fn written(toolchain: &str, counts: &BTreeMap<String, u64>) -> String {
    let mut text = format!("{INTRODUCTION}toolchain: {toolchain}\n");
    for (name, count) in counts {
        writeln!(text, "{name:<34} {:>12}", tenths(*count)).unwrap();
    }
    text
}

fn read(text: &str) -> (String, BTreeMap<String, u64>) {
    let mut toolchain = String::new();
    let mut counts = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        if let Some(rest) = line.strip_prefix("toolchain: ") {
            rest.clone_into(&mut toolchain);
        } else if let Some((name, count)) = line.rsplit_once(' ') {
            counts.insert(name.trim().to_owned(), count.replace('.', "").parse().unwrap());
        }
    }
    (toolchain, counts)
}

fn tenths(count: u64) -> String {
    format!("{}.{}", count / 10, count % 10)
}
