//! Finds out from which commit the program is built, for `--version`.

use std::env;
use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-env=MQTT_BROKER_COMMIT={}", commit().unwrap_or_else(|| "unknown".to_owned()));
}

/// The commit, in short; `None` outside a checkout of this very package.
fn commit() -> Option<String> {
    let root = env::var("CARGO_MANIFEST_DIR").ok()?;
    if !Path::new(&root).join(".git").exists() {
        return None;
    }
    watch(&root);
    git(&root, &["rev-parse", "--short=7", "HEAD"])
}

/// Has this run again where another commit is checked out, and never otherwise.
fn watch(root: &str) {
    // HEAD says which branch it is, the branch's own file, or the file of packed branches, says which commit.
    let branch = git(root, &["symbolic-ref", "--quiet", "HEAD"]);
    for name in ["HEAD", "packed-refs"].into_iter().chain(branch.as_deref()) {
        // Cargo takes a file that is not there for one that has changed, each time.
        if let Some(file) = git(root, &["rev-parse", "--git-path", name])
            && Path::new(root).join(&file).exists()
        {
            println!("cargo::rerun-if-changed={file}");
        }
    }
}

fn git(root: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").arg("-C").arg(root).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
