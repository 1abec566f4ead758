//! MQTT.js in a page of a headless Chromium, as `tests/run` installs both.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::mqttjs;
use crate::process::{PATIENCE, Program, can_run};
use crate::scenario::Scenario;
use crate::support::Version;
use crate::version_name;

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/mqttjs/page.html");
const SCENARIOS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/mqttjs/scenarios.js");
const MODULE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/node_modules/mqtt/dist/mqtt.esm.js");

pub(crate) fn missing() -> Option<String> {
    if can_run("chromium", "--version") {
        mqttjs::missing_module()
    } else {
        Some("chromium is not installed".to_owned())
    }
}

/// Plays a scenario on a page, and returns what it says that it has seen.
pub(crate) fn play(scenario: Scenario, version: Version, url: &str) -> Vec<String> {
    let (sender, seen) = channel();
    let pages = serve(sender);
    let profile = Profile::new();
    let page =
        format!("http://{pages}/?scenario={}&version={}&url={url}", scenario.name(), version_name(version));
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // The authority of the tests is not the system's.
        .arg("--ignore-certificate-errors")
        .arg(format!("--user-data-dir={}", profile.0.display()))
        .arg(page)
        .stderr(Stdio::null());
    let chromium = Program::start(&mut command);
    let text = seen.recv_timeout(PATIENCE).expect("the page says what it has seen");
    drop(chromium);
    text.lines().map(str::to_owned).collect()
}

/// Serves the page and its scripts, on a port of its own, and hands on what is posted.
fn serve(seen: Sender<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // It ends with the test binary.
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let seen = seen.clone();
            // A browser opens connections that it may never use.
            thread::spawn(move || answer(stream, &seen));
        }
    });
    address
}

fn answer(mut stream: TcpStream, seen: &Sender<String>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut request = String::new();
    reader.read_line(&mut request).ok()?;
    let mut body_len = 0;
    loop {
        let mut field = String::new();
        reader.read_line(&mut field).ok()?;
        match field.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                body_len = value.parse().ok()?;
            }
            Some(_) => {}
            None => break,
        }
    }
    let target = request.split(' ').nth(1)?;
    let (kind, content) = match target.split('?').next()? {
        "/" => ("text/html", std::fs::read(PAGE).unwrap()),
        "/scenarios.js" => ("text/javascript", std::fs::read(SCENARIOS).unwrap()),
        "/mqtt.esm.js" => ("text/javascript", std::fs::read(MODULE).unwrap()),
        "/seen" => {
            let mut body = vec![0; body_len];
            reader.read_exact(&mut body).ok()?;
            // Nobody may be left to listen.
            let _ = seen.send(String::from_utf8(body).ok()?);
            ("text/plain", Vec::new())
        }
        _ => ("text/plain", Vec::new()),
    };
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        content.len()
    );
    stream.write_all(&[head.as_bytes(), &content].concat()).ok()
}

/// A directory for a browser's own files, removed at the end.
struct Profile(PathBuf);

impl Profile {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self(std::env::temp_dir().join(format!("mqtt-broker-chromium-{}-{number}", std::process::id())))
    }
}

impl Drop for Profile {
    fn drop(&mut self) {
        // The browser's other processes write to it until they notice that it has ended.
        let start = Instant::now();
        while std::fs::remove_dir_all(&self.0).is_err() && self.0.exists() && start.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
    }
}
