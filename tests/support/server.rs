//! The broker as users run it: a process with arguments and files.

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::client::Client;
use super::connect::{connect, will};
use super::packet::publish;
use super::wire::Version;

/// How long is waited for what must come, before the test fails: long enough for a machine that is busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Where a broker writes on which addresses it listens.
const PORTS_FILE: &str = "ports";

/// How often something is looked at that cannot be waited for.
const POLL: Duration = Duration::from_millis(2);

/// A broker to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    directory: Arc<Directory>,
    arguments: Vec<String>,
    listeners: Listeners,
    /// Sockets that listen already, with their names.
    #[cfg(unix)]
    sockets: Vec<(String, std::os::fd::OwnedFd)>,
    /// What its shell sets up before it.
    #[cfg(unix)]
    shell: String,
}

/// Which listeners a broker is given beside those in its arguments.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Listeners {
    Loopback,
    AsTold,
}

impl Setup {
    /// A broker without options of its own.
    pub(crate) fn new() -> Self {
        Self {
            directory: Arc::new(Directory::new()),
            arguments: Vec::new(),
            listeners: Listeners::Loopback,
            #[cfg(unix)]
            sockets: Vec::new(),
            #[cfg(unix)]
            shell: String::new(),
        }
    }

    /// Adds an argument.
    pub(crate) fn option(mut self, argument: impl Into<String>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Adds arguments.
    pub(crate) fn options(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Puts a file into the directory in which the broker will run, such as auth.json.
    pub(crate) fn file(self, name: &str, text: &str) -> Self {
        std::fs::write(self.path(name), text).unwrap();
        self
    }

    /// No listener but those in the arguments; otherwise there is one on a free port of 127.0.0.1.
    pub(crate) fn listeners_as_told(mut self) -> Self {
        self.listeners = Listeners::AsTold;
        self
    }

    /// Passes this socket on to the broker, as systemd does; two at most.
    #[cfg(unix)]
    pub(crate) fn socket(mut self, name: &str, socket: impl Into<std::os::fd::OwnedFd>) -> Self {
        self.sockets.push((name.to_owned(), socket.into()));
        self
    }

    /// Starts the broker from a shell, after these commands.
    #[cfg(unix)]
    pub(crate) fn shell(mut self, commands: &str) -> Self {
        commands.clone_into(&mut self.shell);
        self
    }

    /// A path in the directory of the broker.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path.join(name)
    }

    /// Starts the broker and waits until it listens.
    pub(crate) fn start(self) -> Broker {
        let mut broker = self.launch();
        broker.wait_until_it_listens();
        broker
    }

    /// Starts the broker and does not wait: until [`Broker::wait_until_it_listens`] it has no address.
    pub(crate) fn launch(self) -> Broker {
        let mut command = self.command();
        command.arg("--ports-file").arg(self.path(PORTS_FILE));
        if self.listeners == Listeners::Loopback {
            command.args(["--bind", "127.0.0.1", "--tcp-port", "0"]);
        }
        // One that ran there before has left it.
        let _ = std::fs::remove_file(self.path(PORTS_FILE));
        let mut child = command.args(&self.arguments).spawn().expect("the binary can be run");
        let log = Log::read(child.stderr.take().unwrap());
        let Self { directory, arguments, listeners, .. } = self;
        Broker { child, log, addresses: Vec::new(), directory, arguments, listeners }
    }

    /// Runs the broker, which must end by itself.
    pub(crate) fn run(self) -> Finished {
        let mut command = self.command();
        command.args(&self.arguments).stdout(Stdio::piped());
        let mut child = command.spawn().expect("the binary can be run");
        let log = Log::read(child.stderr.take().unwrap());
        let mut stdout = child.stdout.take().unwrap();
        let reader = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let Some(status) = wait(&mut child, PATIENCE) else {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the broker runs although it should have ended; it said:\n{}", log.text());
        };
        log.wait_for_end();
        Finished {
            code: status.code(),
            stdout: reader.join().unwrap().expect("its answers are UTF-8"),
            stderr: log.text(),
            directory: self.directory,
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mqtt-broker"));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        #[cfg(unix)]
        if !self.sockets.is_empty() {
            command = self.activation();
        } else if !self.shell.is_empty() {
            command = Command::new("sh");
            command.arg("-c").arg(format!("{}; exec \"$0\" \"$@\"", self.shell));
            command.arg(env!("CARGO_BIN_EXE_mqtt-broker")).stdin(Stdio::null()).stdout(Stdio::null());
        }
        command.current_dir(&self.directory.path).env_clear().stderr(Stdio::piped());
        command
    }

    /// A shell that becomes the broker: the sockets come to it as its input and output, and go on from number 3.
    #[cfg(unix)]
    fn activation(&self) -> Command {
        let [input, output] = [0, 1].map(|index| match self.sockets.get(index) {
            Some((_, socket)) => Stdio::from(socket.try_clone().unwrap()),
            None => Stdio::null(),
        });
        let names: Vec<&str> = self.sockets.iter().map(|(name, _)| name.as_str()).collect();
        let script = format!(
            "export LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={}; exec \"$0\" \"$@\" 3<&0 4<&1 </dev/null >/dev/null",
            names.len(),
            names.join(":"),
        );
        let mut command = Command::new("sh");
        command.arg("-c").arg(script).arg(env!("CARGO_BIN_EXE_mqtt-broker")).stdin(input).stdout(output);
        command
    }
}

/// Runs the broker with these arguments, in an empty directory; it must end by itself.
pub(crate) fn run(arguments: &[&str]) -> Finished {
    Setup::new().options(arguments).run()
}

/// What a broker that has ended left behind.
#[derive(Debug)]
pub(crate) struct Finished {
    /// Its exit code; `None` where a signal ended it.
    pub(crate) code: Option<i32>,
    /// What it wrote to its standard output.
    pub(crate) stdout: String,
    /// What it wrote to its standard error.
    pub(crate) stderr: String,
    directory: Arc<Directory>,
}

impl Finished {
    /// A file in the directory in which it ran.
    pub(crate) fn file(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path.join(name)).unwrap()
    }
}

/// A broker that runs. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    log: Log,
    addresses: Vec<SocketAddr>,
    directory: Arc<Directory>,
    arguments: Vec<String>,
    listeners: Listeners,
}

impl Broker {
    /// Starts a broker with these arguments on a free port of 127.0.0.1, and waits until it listens.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        Setup::new().options(arguments).start()
    }

    /// Where it listens: the first of its addresses.
    pub(crate) fn address(&self) -> SocketAddr {
        *self.addresses.first().expect("it listens on TCP")
    }

    /// All TCP addresses on which it listens.
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// A path in the directory in which it runs.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path.join(name)
    }

    /// Its process identifier.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Replaces a file in its directory.
    pub(crate) fn write_file(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    /// Sends it a signal, named as in "TERM".
    pub(crate) fn signal(&self, name: &str) {
        let status =
            Command::new("sh").arg("-c").arg(format!("kill -{name} {}", self.pid())).status().unwrap();
        assert!(status.success(), "kill -{name} failed");
    }

    /// Waits until it ends by itself, and says how.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait(&mut self.child, PATIENCE).unwrap_or_else(|| panic!("it runs on; it said:\n{}", self.log.text()))
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What it has written to its standard error.
    pub(crate) fn log(&self) -> String {
        self.log.text()
    }

    /// How many lines it has logged: where [`Broker::wait_for_log`] may begin to look.
    pub(crate) fn log_length(&self) -> usize {
        self.log.lines.0.lock().unwrap().text.len()
    }

    /// Waits for a line in its log that contains `text`, from the `from`th line on, and returns it.
    pub(crate) fn wait_for_log(&self, from: usize, text: &str) -> String {
        self.log.wait_for(from, text)
    }

    /// Reloads what can be reloaded, and waits until it says that it has, or has not.
    pub(crate) fn reload(&self) {
        let from = self.log_length();
        self.signal("HUP");
        self.wait_for_log(from, "reload");
    }

    /// Lets so many seconds pass as the broker counts them: until a will with that delay is published. Who waits for it
    /// does so with MQTT 3.1.1, which no keep-alive of the server concerns.
    pub(crate) fn let_pass(&self, seconds: u32) {
        let mut watcher = Client::connect(self, connect().version(Version::V311));
        let topic = format!("passed/{}", watcher.local_address().port());
        watcher.subscribe(&topic, 0);
        let delayed = connect().session_expiry(seconds + 60).will(will(&topic).delay(seconds));
        Client::connect(self, delayed).cut();
        watcher.expect(publish(&topic));
    }

    /// The value of a counter.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let from = self.log_length();
        self.signal("USR1");
        let line = self.wait_for_log(from, "counters ");
        let prefix = format!("{name}=");
        let mut values = line.split_whitespace().filter_map(|word| word.strip_prefix(prefix.as_str()));
        let value = values.next().unwrap_or_else(|| panic!("no counter {name} in: {line}"));
        assert_eq!(values.next(), None, "counter {name} is told twice in: {line}");
        value.parse().unwrap_or_else(|_| panic!("counter {name} is not a number in: {line}"))
    }

    /// Its resident memory in bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn resident_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
    }

    /// Waits until it listens.
    pub(crate) fn wait_until_it_listens(&mut self) {
        self.addresses = self.wait_for_ports();
    }

    /// Ends it at once, as a loss of power would, but that what it has written is still there.
    pub(crate) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// The same broker to be started once more, with its arguments and in its directory.
    pub(crate) fn again(&self) -> Setup {
        Setup {
            directory: Arc::clone(&self.directory),
            arguments: self.arguments.clone(),
            listeners: self.listeners,
            #[cfg(unix)]
            sockets: Vec::new(),
            #[cfg(unix)]
            shell: String::new(),
        }
    }

    fn wait_for_ports(&mut self) -> Vec<SocketAddr> {
        let file = self.path(PORTS_FILE);
        let start = Instant::now();
        loop {
            // It is there as a whole or not at all: it is renamed into place.
            if let Ok(text) = std::fs::read_to_string(&file) {
                return text.split([' ', '\n', '=', '\t']).filter_map(|word| word.parse().ok()).collect();
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                self.log.wait_for_end();
                panic!("the broker ended with {status}; it said:\n{}", self.log.text());
            }
            assert!(start.elapsed() < PATIENCE, "no ports file; it said:\n{}", self.log.text());
            thread::sleep(POLL);
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            self.log.wait_for_end();
            eprintln!("--- the broker's log ---\n{}", self.log.text());
        }
    }
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        if start.elapsed() > patience {
            return None;
        }
        thread::sleep(POLL);
    }
}

/// What a broker writes to its standard error, read by a thread.
#[derive(Debug)]
struct Log {
    lines: Arc<(Mutex<Lines>, Condvar)>,
}

#[derive(Debug, Default)]
struct Lines {
    text: Vec<String>,
    ended: bool,
}

impl Log {
    fn read(source: impl Read + Send + 'static) -> Self {
        let lines = Arc::new((Mutex::new(Lines::default()), Condvar::new()));
        let shared = Arc::clone(&lines);
        thread::spawn(move || {
            for line in BufReader::new(source).lines() {
                let Ok(line) = line else { break };
                shared.0.lock().unwrap().text.push(line);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap().ended = true;
            shared.1.notify_all();
        });
        Self { lines }
    }

    fn text(&self) -> String {
        self.lines.0.lock().unwrap().text.join("\n")
    }

    fn wait_for_end(&self) {
        let lines = self.lines.0.lock().unwrap();
        drop(self.lines.1.wait_timeout_while(lines, PATIENCE, |lines| !lines.ended).unwrap());
    }

    fn wait_for(&self, from: usize, text: &str) -> String {
        let find = |lines: &Lines| lines.text.iter().skip(from).find(|line| line.contains(text)).cloned();
        let lines = self.lines.0.lock().unwrap();
        let waiting = |lines: &mut Lines| !lines.ended && find(lines).is_none();
        let (lines, _) = self.lines.1.wait_timeout_while(lines, PATIENCE, waiting).unwrap();
        let found = find(&lines);
        // Not to be held by a panic: the log is printed on the way out.
        drop(lines);
        found.unwrap_or_else(|| panic!("no {text:?} in the log:\n{}", self.text()))
    }
}

/// A directory of its own for each broker, removed at the end.
#[derive(Debug)]
struct Directory {
    path: PathBuf,
}

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Not below the target directory: the path of a Unix socket must be short.
        let path = std::env::temp_dir().join(format!("mqtt-broker-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self { path }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // Nothing depends on it.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
