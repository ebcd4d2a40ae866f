//! Processor time and memory, as /proc tells them (proc(5)).

use std::fs;
use std::io;
use std::path::Path;
use std::time::Instant;

/// Ticks a second of /proc, which does not depend on the kernel's own.
const TICKS: f64 = 100.0;

/// What is watched beside the reader's own process.
#[derive(Clone, Copy, Default)]
pub struct Watch {
    /// A process.
    pub process: Option<u32>,
    /// A core.
    pub core: Option<usize>,
}

/// A core's time, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Core {
    /// Programs, the kernel, interrupts hard and soft.
    pub busy: f64,
    /// The same and idle time; what the hypervisor took away is in neither.
    pub all: f64,
}

/// Seconds of processor time, since some moment or between two.
#[derive(Clone, Copy)]
pub struct Usage {
    /// Seconds of the clock on the wall.
    pub at: f64,
    /// The watched process, user and system.
    pub process: Option<f64>,
    /// The watched core.
    pub core: Option<Core>,
    /// The reader itself.
    pub own: f64,
}

impl Usage {
    /// Reads it now.
    pub fn read(watch: &Watch) -> io::Result<Self> {
        static START: std::sync::LazyLock<Instant> = std::sync::LazyLock::new(Instant::now);
        let at = START.elapsed().as_secs_f64();
        let process = watch.process.map(process_seconds).transpose()?;
        let core = watch.core.map(core_seconds).transpose()?;
        Ok(Self { at, process, core, own: process_seconds(std::process::id())? })
    }

    /// What was used since `before`.
    pub fn since(&self, before: &Self) -> Self {
        let core = self.core.zip(before.core);
        Self {
            at: self.at - before.at,
            process: self.process.zip(before.process).map(|(now, then)| now - then),
            core: core.map(|(now, then)| Core { busy: now.busy - then.busy, all: now.all - then.all }),
            own: self.own - before.own,
        }
    }
}

/// A process' user and system time, all its threads together.
pub fn process_seconds(process: u32) -> io::Result<f64> {
    let text = fs::read_to_string(format!("/proc/{process}/stat"))?;
    of_process(&text).ok_or_else(|| unreadable("stat"))
}

fn of_process(stat: &str) -> Option<f64> {
    // The program's name may hold anything, a closing bracket too.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<f64>().ok();
    Some((ticks(11)? + ticks(12)?) / TICKS)
}

/// A core's time since the machine started.
pub fn core_seconds(core: usize) -> io::Result<Core> {
    of_core(&fs::read_to_string("/proc/stat")?, core).ok_or_else(|| unreadable("/proc/stat"))
}

fn of_core(stat: &str, core: usize) -> Option<Core> {
    let name = format!("cpu{core}");
    let line = stat.lines().find(|line| line.split_whitespace().next() == Some(name.as_str()))?;
    // user nice system idle iowait irq softirq; guests' are among user and nice.
    let ticks: Vec<f64> = line.split_whitespace().skip(1).take(7).filter_map(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)? + ticks.get(4)?;
    let all: f64 = ticks.iter().sum();
    Some(Core { busy: (all - idle) / TICKS, all: all / TICKS })
}

/// Resident memory of a process in octets.
pub fn resident(process: u32) -> io::Result<f64> {
    kilobytes(Path::new(&format!("/proc/{process}/status")), "VmRSS:")
}

/// What the kernel holds in slabs and in pages of its own, in octets.
pub fn kernel_memory() -> io::Result<f64> {
    let file = Path::new("/proc/meminfo");
    Ok(kilobytes(file, "Slab:")? + kilobytes(file, "VmallocUsed:")?)
}

fn kilobytes(file: &Path, key: &str) -> io::Result<f64> {
    let text = fs::read_to_string(file)?;
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
    number.map(|kilobytes| kilobytes * 1024.0).ok_or_else(|| unreadable(key))
}

fn unreadable(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} is not as expected"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_a_strange_name_is_read() {
        let stat = "12 (a) (b) R 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        assert_eq!(of_process(stat), Some(2.0));
        assert_eq!(of_process("12 (a) R 1"), None);
        assert!(process_seconds(std::process::id()).unwrap() >= 0.0);
    }

    #[test]
    fn a_core_is_busy_with_all_but_idling() {
        let stat = "cpu  9 9 9 9\ncpu1 100 0 50 800 30 5 15 5 40 0\ncpu10 1 1 1 1 1 1 1 1";
        assert_eq!(of_core(stat, 1), Some(Core { busy: 1.7, all: 10.0 }));
        assert_eq!(of_core(stat, 2), None);
    }

    #[test]
    fn memory_is_read() {
        assert!(resident(std::process::id()).unwrap() > 0.0);
        assert!(kernel_memory().unwrap() > 0.0);
    }
}
