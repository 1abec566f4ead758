//! A broker, its data directory and its clients; and how the broker is killed again and again.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use crate::arb::Choices;
use crate::model::{Model, Promise};
use crate::mourner::Mourner;
use crate::publisher::{Publisher, Work};
use crate::subscriber::{Fidelity, Habits, Interest, Presence, Subscriber};
use crate::support::{Broker, Client, Packet, Publish, Setup, Version, connect, pingreq, suback, subscribe};

/// How the broker is run.
#[derive(Debug, Clone)]
struct Settings {
    durability: &'static str,
    disk_max: Option<&'static str>,
    strategy: &'static str,
}

impl Settings {
    fn draw(choices: &mut Choices<'_>) -> Self {
        Self {
            durability: choices.among(&["fsync", "os", "fsync", "os", "memory"]),
            // So little that room has to be made all the time.
            disk_max: choices.among(&[None, Some("16MiB"), Some("24MiB")]),
            strategy: choices.among(&["round-robin", "least-inflight", "sticky", "random"]),
        }
    }

    /// How many bytes messages may have.
    fn lengths(&self) -> [usize; 4] {
        if self.disk_max.is_some() { [100, 2_000, 10_000, 40_000] } else { [10, 100, 500, 2_000] }
    }

    fn promise(&self) -> Promise {
        if self.durability == "memory" { Promise::Nothing } else { Promise::Kept }
    }
}

/// What was done, and how it went.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Account {
    /// How often the broker was killed while it served.
    pub(crate) kills: usize,
    /// How often it was killed while it started.
    pub(crate) early_kills: usize,
    /// How often it was asked to stop.
    pub(crate) stops: usize,
    /// Messages that were sent.
    pub(crate) sent: usize,
    /// Messages that were acknowledged.
    pub(crate) acknowledged: usize,
    /// Messages that were received.
    pub(crate) received: usize,
    /// Questions for retained messages.
    pub(crate) probes: usize,
    /// The longest start, until all listeners stood.
    pub(crate) longest_start: Duration,
}

impl Account {
    pub(crate) fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.early_kills += other.early_kills;
        self.stops += other.stops;
        self.sent += other.sent;
        self.acknowledged += other.acknowledged;
        self.received += other.received;
        self.probes += other.probes;
        self.longest_start = self.longest_start.max(other.longest_start);
    }
}

/// One data directory and what is done to it.
#[derive(Debug)]
pub(crate) struct Rig {
    // Ended before its directory is looked at.
    broker: Option<Broker>,
    directory: DataDirectory,
    settings: Settings,
    choices: Choices<'static>,
    model: Model,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
    mourners: Vec<Mourner>,
    account: Account,
}

/// How long nobody may have anything to do while something is waited for. A client that takes one message at a time,
/// with a sync for each packet, may have a lot to do.
const SILENCE: Duration = Duration::from_secs(10);

impl Rig {
    /// Draws everything from this seed.
    pub(crate) fn new(seed: u64) -> Self {
        let mut choices = Choices::from_seed(seed);
        let settings = Settings::draw(&mut choices);
        let mut model = Model::new(settings.promise());
        let publishers =
            (0..4).map(|index| Publisher::new(index, settings.lengths(), &mut choices)).collect();
        let subscribers = subscribers(&mut model, &mut choices);
        Self {
            broker: None,
            directory: DataDirectory::new(seed),
            settings,
            choices,
            model,
            publishers,
            subscribers,
            mourners: (0..2).map(Mourner::new).collect(),
            account: Account::default(),
        }
    }

    /// Kills the broker so often, and settles the account.
    pub(crate) fn run(mut self, kills: usize) -> Account {
        eprintln!("{:?}", self.settings);
        self.start();
        self.wait_until("all are subscribed", |rig| rig.subscribers.iter().all(Subscriber::is_ready));
        while self.account.kills + self.account.early_kills < kills {
            let served = match self.choices.below(8) {
                0 => self.choices.within(0..=10),
                1..=5 => self.choices.within(10..=150),
                _ => self.choices.within(100..=400),
            };
            self.serve(Duration::from_millis(served));
            self.end();
            self.kill_early(kills);
            self.start();
            if self.choices.chance(1, 3) {
                self.probe();
            }
        }
        self.serve(Duration::from_millis(50));
        self.settle();
        (self.account.sent, self.account.acknowledged, self.account.received) = self.model.totals();
        self.account
    }

    fn setup(&self) -> Setup {
        let path = self.directory.path.to_str().unwrap();
        let mut setup = Setup::new().options(&["--data-dir", path, "--durability", self.settings.durability]);
        if let Some(most) = self.settings.disk_max {
            setup = setup.options(&["--disk-max", most]);
        }
        setup = setup.options(&["--shared-subscription-strategy", self.settings.strategy]);
        // Nothing is to be dropped but by a fault.
        setup.options(&["--max-queued-messages=1000000", "--max-queued-bytes=1GiB"])
    }

    fn start(&mut self) {
        let started = Instant::now();
        self.broker = Some(self.setup().start());
        self.account.longest_start = self.account.longest_start.max(started.elapsed());
    }

    /// Kills brokers that have hardly been started.
    fn kill_early(&mut self, kills: usize) {
        while self.account.kills + self.account.early_kills < kills && self.choices.chance(1, 4) {
            let mut broker = self.setup().launch();
            thread::sleep(Duration::from_millis(self.choices.within(0..=60)));
            broker.kill();
            self.account.early_kills += 1;
            self.directory.copy();
        }
    }

    /// Has clients do what they do.
    fn serve(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if !self.step(Work::GoesOn) {
                thread::sleep(Duration::from_micros(200));
            }
        }
    }

    fn step(&mut self, work: Work) -> bool {
        let address = self.broker.as_ref().unwrap().address();
        let (model, choices) = (&mut self.model, &mut self.choices);
        let mut is_busy = false;
        for publisher in &mut self.publishers {
            is_busy |= publisher.step(address, work, model, choices);
        }
        for subscriber in &mut self.subscribers {
            is_busy |= subscriber.step(address, work, model, choices);
        }
        for mourner in self.mourners.iter_mut().filter(|_| work == Work::GoesOn) {
            is_busy |= mourner.step(address, model, choices);
        }
        is_busy
    }

    /// Ends the broker, mostly by force. Of what it has sent its clients have read something, or read it now, or never
    /// do.
    fn end(&mut self) {
        let mut broker = self.broker.take().unwrap();
        let is_asked = self.choices.chance(1, 12);
        if is_asked {
            broker.signal("TERM");
            self.account.stops += 1;
        } else {
            broker.kill();
            self.account.kills += 1;
        }
        let (promise, model) = (self.model.promise(), &mut self.model);
        for publisher in &mut self.publishers {
            if self.choices.chance(1, 2) {
                publisher.read_the_rest(model);
            }
            publisher.killed(promise);
        }
        for subscriber in &mut self.subscribers {
            if self.choices.chance(1, 2) {
                subscriber.read_the_rest(model);
            }
            subscriber.killed(promise);
        }
        for mourner in &mut self.mourners {
            if self.choices.chance(1, 2) {
                mourner.read_the_rest(model);
            }
            mourner.killed(promise);
        }
        if is_asked {
            assert_eq!(broker.wait().code(), Some(0));
        }
        if promise == Promise::Nothing {
            // What has been promised no longer counts, but order does.
            expect_none(&model.disorder());
        }
        model.killed();
        self.directory.copy();
    }

    /// Asks for all retained messages.
    fn probe(&mut self) {
        self.account.probes += 1;
        let mut client = Client::connect(self.broker.as_ref().unwrap(), connect());
        client.send(subscribe("r/#", 0));
        client.expect(suback(1, &[0]));
        client.send(pingreq());
        let mut found: Vec<Publish> = Vec::new();
        loop {
            match client.receive() {
                Packet::Publish(publish) if publish.retain => found.push(publish),
                // It has just been published.
                Packet::Publish(_) => {}
                Packet::PingResp => break,
                other => panic!("expected retained messages, received {other:?}"),
            }
        }
        client.disconnect();
        for publisher in &self.publishers {
            for topic in publisher.retained_topics() {
                let here: Vec<&Publish> = found.iter().filter(|publish| publish.topic() == topic).collect();
                assert!(here.len() <= 1, "{topic} has several retained messages: {here:?}");
                let here = here.first().copied();
                let history = || self.model.retained_history(&topic);
                let is_right = self.model.may_be_retained(&topic, here);
                assert!(is_right, "{topic} has {here:?} after\n{}", history());
            }
        }
    }

    /// All come back, receive what there is, and acknowledge it; then nothing is missing.
    fn settle(&mut self) {
        self.mourners.iter_mut().for_each(Mourner::go);
        self.wait_until("all is delivered", |rig| {
            rig.publishers.iter().all(Publisher::is_settled) && rig.model.missing().is_empty()
        });
        let promise = self.model.promise();
        let start = Instant::now();
        loop {
            self.subscribers.iter_mut().for_each(Subscriber::ping);
            self.wait_until("all have answered", |rig| rig.subscribers.iter().all(Subscriber::has_answer));
            if self.subscribers.iter().all(|subscriber| subscriber.is_settled(promise)) {
                break;
            }
            assert!(start.elapsed() < SILENCE, "it goes on and on: {:#?}", self.subscribers);
        }
        self.probe();
        expect_none(&self.model.disorder());
    }

    fn wait_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let mut quiet_since = Instant::now();
        loop {
            let is_busy = self.step(Work::IsEnding);
            if !is_busy && is_so(self) {
                return;
            }
            if is_busy {
                quiet_since = Instant::now();
            } else if quiet_since.elapsed() > SILENCE {
                expect_none(&self.model.missing());
                panic!("not in time: {what}\n{:#?}\n{:#?}", self.publishers, self.subscribers);
            }
            if !is_busy {
                thread::sleep(Duration::from_millis(1));
            }
        }
    }
}

fn expect_none(faults: &[String]) {
    let shown: Vec<&str> = faults.iter().take(20).map(String::as_str).collect();
    assert!(faults.is_empty(), "{} faults, among them:\n{}", faults.len(), shown.join("\n"));
}

/// Subscribers of all kinds.
fn subscribers(model: &mut Model, choices: &mut Choices<'_>) -> Vec<Subscriber> {
    const CHANGING: &[&str] = &["t/#", "t/+", "t/0", "t/1", "r/#"];
    let kinds = [
        ("witness", Presence::Always, Interest::Fixed("t/#", 2), Fidelity::Stays),
        ("visitor", Presence::Changing, Interest::Fixed("t/#", 2), Fidelity::Stays),
        ("stranger", Presence::Rare, Interest::Fixed("t/+", 1), Fidelity::Stays),
        ("heir", Presence::Changing, Interest::Fixed("w/#", 2), Fidelity::Stays),
        ("curious", Presence::Changing, Interest::Changing(CHANGING), Fidelity::Stays),
        ("fickle", Presence::Changing, Interest::Changing(CHANGING), Fidelity::Ends),
        ("archivist", Presence::Changing, Interest::Fixed("r/#", 2), Fidelity::Stays),
        ("member-a1", Presence::Changing, Interest::Fixed("$share/a/s/a/#", 1), Fidelity::Stays),
        ("member-a2", Presence::Changing, Interest::Fixed("$share/a/s/a/#", 1), Fidelity::Ends),
        ("member-b1", Presence::Changing, Interest::Fixed("$share/b/s/b/#", 2), Fidelity::Stays),
        ("member-b2", Presence::Rare, Interest::Fixed("$share/b/s/b/#", 2), Fidelity::Stays),
    ];
    let subscriber = |(name, presence, interest, fidelity): (&str, _, _, _)| {
        let version = choices.among(&[Version::V5, Version::V311]);
        // With MQTT 3.1.1 a session is clean or stays, and never one after the other.
        let version = if fidelity == Fidelity::Ends { Version::V5 } else { version };
        let receive_maximum = choices.among(&[None, Some(1), Some(3), Some(10)]);
        let receive_maximum = receive_maximum.filter(|_| version.is_v5());
        let is_prompt = choices.chance(1, 3);
        let habits = Habits { presence, interest, fidelity, is_prompt, version, receive_maximum };
        Subscriber::new(name.to_owned(), habits, model)
    };
    kinds.into_iter().map(subscriber).collect()
}

/// A data directory, on a disk and not in memory. Where a test fails, it stays as it was before the last start.
#[derive(Debug)]
struct DataDirectory {
    path: PathBuf,
    /// What it was like when the broker was killed last.
    before: PathBuf,
}

impl DataDirectory {
    fn new(seed: u64) -> Self {
        let top = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let name = format!("crash-{seed}-{}", std::process::id());
        let (path, before) = (top.join(&name), top.join(format!("{name}-before")));
        std::fs::create_dir_all(&path).unwrap();
        Self { path, before }
    }

    fn copy(&self) {
        let _ = std::fs::remove_dir_all(&self.before);
        std::fs::create_dir_all(&self.before).unwrap();
        for entry in std::fs::read_dir(&self.path).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), self.before.join(entry.file_name())).unwrap();
            }
        }
    }
}

impl Drop for DataDirectory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
        if thread::panicking() {
            eprintln!("the data directory before the last start: {}", self.before.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.before);
        }
    }
}
