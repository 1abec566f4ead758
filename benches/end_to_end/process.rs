//! The broker that is measured, as a process, and what Linux says about it.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{PATIENCE, float};

/// A broker: one that is there, or ours, which is killed when this is dropped.
pub(crate) struct Broker {
    pub(crate) address: SocketAddr,
    process: u32,
    started: Option<(Child, PathBuf)>,
}

impl Broker {
    pub(crate) fn at(port: u16, process: u32) -> Self {
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), process, started: None }
    }

    pub(crate) fn start(pin: bool) -> Self {
        let directory = std::env::temp_dir().join(format!("mqtt-broker-bench-{}", std::process::id()));
        // One that was cut off may have left it behind.
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory).unwrap();
        let ports = directory.join("ports");
        let binary = env!("CARGO_BIN_EXE_mqtt-broker");
        let mut command = if pin {
            let mut command = Command::new("taskset");
            command.args(["--cpu-list", "0", binary]);
            command
        } else {
            Command::new(binary)
        };
        let child = command
            .args(["--bind", "127.0.0.1", "--tcp-port", "0", "--log-level", "error", "--ports-file"])
            .arg(&ports)
            .current_dir(&directory)
            .stdin(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let began = Instant::now();
        let text = loop {
            match fs::read_to_string(&ports) {
                Ok(text) => break text,
                Err(_) if began.elapsed() < PATIENCE => thread::sleep(Duration::from_millis(5)),
                Err(error) => panic!("the broker does not listen: {error}"),
            }
        };
        let address = text.split_whitespace().find_map(|word| word.parse().ok()).expect("it listens on TCP");
        Self { address, process: child.id(), started: Some((child, directory)) }
    }

    /// Resident memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.memory("VmRSS:")
    }

    /// The most that was resident at any time.
    pub(crate) fn peak_bytes(&self) -> u64 {
        self.memory("VmHWM:")
    }

    fn memory(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process)).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1_024
    }

    /// How often its threads have gone to sleep, and so been woken.
    pub(crate) fn switches(&self) -> u64 {
        let threads = fs::read_dir(format!("/proc/{}/task", self.process)).unwrap();
        let statuses =
            threads.map(|thread| fs::read_to_string(thread.unwrap().path().join("status")).unwrap());
        statuses
            .filter_map(|status| {
                let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
                line.trim().parse::<u64>().ok()
            })
            .sum()
    }

    /// From now on.
    pub(crate) fn watch(&self) -> Watch {
        Watch {
            process: self.process,
            began: Instant::now(),
            broker: cpu_time(&self.process.to_string()),
            own: cpu_time("self"),
            all: busy_time(),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some((child, directory)) = &mut self.started {
            // It may have ended by itself, with a word about why.
            let _ = child.kill();
            let _ = child.wait();
            let _ = fs::remove_dir_all(directory);
        }
    }
}

/// What processors did for a while.
pub(crate) struct Watch {
    process: u32,
    began: Instant,
    broker: f64,
    own: f64,
    all: f64,
}

/// Seconds; those of processors count each of them.
pub(crate) struct Spent {
    pub(crate) elapsed: f64,
    /// By the broker, in the kernel and outside.
    pub(crate) broker: f64,
    /// By this program.
    pub(crate) own: f64,
    /// By everybody else, and by the kernel for nobody in particular.
    pub(crate) foreign: f64,
}

impl Watch {
    pub(crate) fn spent(&self) -> Spent {
        let broker = cpu_time(&self.process.to_string()) - self.broker;
        let own = cpu_time("self") - self.own;
        let foreign = (busy_time() - self.all - broker - own).max(0.0);
        Spent { elapsed: self.began.elapsed().as_secs_f64(), broker, own, foreign }
    }
}

/// The processor time of a process; Linux counts it in hundredths of a second.
fn cpu_time(process: &str) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Behind the name of the program, which may hold anything, come the state and then numbers.
    let (_, numbers) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        numbers.split_whitespace().skip(11).take(2).map(|word| word.parse::<u64>().unwrap()).sum();
    float(ticks) / 100.0
}

/// The time of all processors that they were not idle.
fn busy_time() -> f64 {
    let stat = fs::read_to_string("/proc/stat").unwrap();
    let all: Vec<u64> =
        stat.lines().next().unwrap().split_whitespace().skip(1).map(|word| word.parse().unwrap()).collect();
    // user, nice, system, idle, waiting, and interrupts of both kinds.
    float(all[0] + all[1] + all[2] + all[5] + all[6]) / 100.0
}
