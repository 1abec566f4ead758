//! A directory in memory that does to files what bad disks, full disks and losses of power do to them.
//!
//! What is written is in a cache at first, as in an operating system. [`FaultyDirectory::lose_power`] keeps what was
//! synced, and of the rest whatever the seed says: any subset of the sectors, some of them torn; names of files that
//! were made, and files that were removed, one way or the other. Operations fail as [`Faults`] say. A failed sync may
//! drop what was not on the disk yet without anybody being told again, as some systems do.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{io, mem};

use self::splitmix::SplitMix;
use super::directory::{Access, Directory, File, length};

#[path = "../mqtt/codec/splitmix.rs"]
#[allow(
    dead_code,
    clippy::duplicate_mod,
    reason = "tests elsewhere use the rest, and none of it outside of tests"
)]
mod splitmix;

/// Bytes that a disk writes whole or, in a bad case, half.
const SECTOR: usize = 512;

/// Bytes of the file system that a file takes at a time where it is torn by pages.
const PAGE: usize = 4096;

/// How often operations fail: in so many of a thousand cases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Faults {
    /// A write fails, perhaps after a part of it.
    pub write: u32,
    /// A write takes less than it was given.
    pub short_write: u32,
    /// A write, or making room, finds the disk full.
    pub full: u32,
    /// A sync fails. Some of what it was to make durable is lost, and no later sync says so.
    pub sync: u32,
    /// Making, opening, removing or cutting a file fails, or making names durable.
    pub name: u32,
}

impl Faults {
    /// All goes well.
    pub const NONE: Self = Self { write: 0, short_write: 0, full: 0, sync: 0, name: 0 };
}

/// The directory. Clones are the same directory.
#[derive(Debug, Clone)]
pub struct FaultyDirectory(Arc<Mutex<World>>);

/// An open file of it.
#[derive(Debug, Clone)]
pub struct FaultyFile {
    world: Arc<Mutex<World>>,
    id: u64,
}

#[derive(Debug)]
struct World {
    random: SplitMix,
    faults: Faults,
    /// Operations until the one that fails for certain, if one does.
    countdown: Option<u64>,
    operations: u64,
    capacity: u64,
    next_id: u64,
    files: BTreeMap<u64, Content>,
    /// The names that can be seen.
    names: BTreeMap<String, u64>,
    /// The names that are on the disk.
    durable: BTreeMap<String, u64>,
    /// Files that cannot be opened, and why.
    closed: BTreeMap<String, io::ErrorKind>,
}

#[derive(Debug, Clone, Default)]
struct Content {
    /// What is read.
    cache: Vec<u8>,
    /// What is on the disk.
    disk: Vec<u8>,
    /// Sectors of the cache that the next sync writes.
    dirty: BTreeSet<usize>,
    /// Sectors that can no longer be read, until they are written again.
    bad: BTreeSet<usize>,
    /// Whether the next sync writes the length.
    resized: bool,
}

impl FaultyDirectory {
    /// An empty directory on a disk that holds so many bytes.
    pub fn new(seed: u64, capacity: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            random: SplitMix::new(seed),
            faults: Faults::NONE,
            countdown: None,
            operations: 0,
            capacity,
            next_id: 0,
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            closed: BTreeMap::new(),
        })))
    }

    /// From now on, operations fail so often, and none for certain.
    pub fn set_faults(&self, faults: Faults) {
        let mut world = self.world();
        world.faults = faults;
        world.countdown = None;
    }

    /// The operation that comes `count` operations after the next one fails.
    pub fn fail_after(&self, count: u64) {
        self.world().countdown = Some(count);
    }

    /// How many operations there have been that could have failed.
    pub fn operations(&self) -> u64 {
        self.world().operations
    }

    /// From now on the disk holds so many bytes.
    pub fn set_capacity(&self, capacity: u64) {
        self.world().capacity = capacity;
    }

    /// What is found when the power is back. Files that are open are of no use after that.
    #[must_use]
    pub fn lose_power(&self) -> Self {
        let mut world = self.world();
        let World { random, files, names, durable, .. } = &mut *world;
        // A file has the name that it has now, or that it had when names were last made durable, or none.
        let mut found = BTreeMap::new();
        for (now, before) in changes(names, durable) {
            if let Some((name, id)) = if random.flag() { now } else { before } {
                found.insert(name, id);
            }
        }
        let mut kept = BTreeMap::new();
        for id in found.values() {
            if let Some(content) = files.get(id) {
                kept.insert(*id, content.after_power_loss(random));
            }
        }
        let seed = random.next();
        let lost = Self::new(seed, world.capacity);
        {
            let mut other = lost.world();
            other.next_id = world.next_id;
            other.files = kept;
            other.names.clone_from(&found);
            other.durable = found;
        }
        lost
    }

    /// Changes what is in a file, as no operation does.
    pub fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world();
        if let Some(content) = world.names.get(name).copied().and_then(|id| world.files.get_mut(&id)) {
            change(&mut content.cache);
            content.disk.clone_from(&content.cache);
            content.dirty.clear();
        }
    }

    /// The sector with this byte of a file can no longer be read.
    pub fn spoil(&self, name: &str, at: usize) {
        let mut world = self.world();
        if let Some(content) = world.names.get(name).copied().and_then(|id| world.files.get_mut(&id)) {
            content.bad.insert(at / SECTOR);
        }
    }

    /// A file cannot be opened from now on, and this is said to be why.
    pub fn close(&self, name: &str, why: io::ErrorKind) {
        self.world().closed.insert(name.to_owned(), why);
    }

    /// Everything that can be seen: files by name, with what is in them.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let world = self.world();
        let content = |id| world.files.get(id).map(|content| content.cache.clone()).unwrap_or_default();
        world.names.iter().map(|(name, id)| (name.clone(), content(id))).collect()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        lock(&self.0)
    }
}

/// Under which name each file can be seen, and under which it is on the disk.
fn changes(names: &BTreeMap<String, u64>, durable: &BTreeMap<String, u64>) -> Vec<(Named, Named)> {
    let by_id = |names: &BTreeMap<String, u64>| -> BTreeMap<u64, String> {
        names.iter().map(|(name, id)| (*id, name.clone())).collect()
    };
    let (now, before) = (by_id(names), by_id(durable));
    let ids: BTreeSet<u64> = now.keys().chain(before.keys()).copied().collect();
    let of = |names: &BTreeMap<u64, String>, id: u64| Some((names.get(&id)?.clone(), id));
    ids.into_iter().map(|id| (of(&now, id), of(&before, id))).collect()
}

/// The name of a file, and the file.
type Named = Option<(String, u64)>;

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

impl World {
    /// Whether an operation fails that does so this often.
    fn fails(&mut self, rate: u32) -> bool {
        self.operations += 1;
        let due = self.countdown == Some(0);
        self.countdown = self.countdown.and_then(|count| count.checked_sub(1));
        due || self.happens(rate)
    }

    fn happens(&mut self, rate: u32) -> bool {
        rate > 0 && self.random.next() % 1_000 < u64::from(rate)
    }

    fn may(&mut self) -> io::Result<()> {
        if self.fails(self.faults.name) { Err(failure()) } else { Ok(()) }
    }

    fn used(&self) -> u64 {
        self.names
            .values()
            .filter_map(|id| self.files.get(id))
            .map(|content| length(content.cache.len()))
            .sum()
    }

    fn content(&mut self, id: u64) -> io::Result<&mut Content> {
        self.files.get_mut(&id).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// What a disk says that does not do what it has to.
fn failure() -> io::Error {
    io::Error::other("input/output error")
}

fn full() -> io::Error {
    io::Error::new(io::ErrorKind::StorageFull, "no space left on device")
}

impl Content {
    fn write(&mut self, bytes: &[u8], offset: usize) {
        let end = offset + bytes.len();
        if self.cache.len() < end {
            // What lies between is zero, whatever a longer file had there once.
            self.dirty.extend(self.cache.len() / SECTOR..end.div_ceil(SECTOR));
            self.cache.resize(end, 0);
            self.resized = true;
        }
        if let Some(place) = self.cache.get_mut(offset..end) {
            place.copy_from_slice(bytes);
        }
        if !bytes.is_empty() {
            self.dirty.extend(offset / SECTOR..=(end - 1) / SECTOR);
            self.bad.retain(|sector| !(offset / SECTOR..=(end - 1) / SECTOR).contains(sector));
        }
    }

    fn resize(&mut self, len: usize) {
        self.cache.resize(len, 0);
        self.resized = true;
        self.dirty.retain(|sector| sector * SECTOR < len);
        // What is cut off a sector is cut off on the disk, once that is written.
        if !len.is_multiple_of(SECTOR) {
            self.dirty.insert(len / SECTOR);
        }
    }

    fn sync(&mut self) {
        if mem::take(&mut self.resized) {
            self.disk.resize(self.cache.len(), 0);
        }
        for sector in mem::take(&mut self.dirty) {
            let start = sector * SECTOR;
            let end = (start + SECTOR).min(self.disk.len()).min(self.cache.len());
            if let (Some(to), Some(from)) = (self.disk.get_mut(start..end), self.cache.get(start..end)) {
                to.copy_from_slice(from);
            }
        }
    }

    /// Writes some sectors to the disk, and forgets about the others.
    fn fail_to_sync(&mut self, random: &mut SplitMix) {
        let kept = random.flag();
        // Lengths are not forgotten: they are in the journal of the file system.
        *self = Self { cache: self.cache.clone(), resized: true, ..self.after_power_loss(random) };
        // A system that tells the truth keeps what it could not write, and tries again.
        if kept {
            self.dirty = (0..self.cache.len().div_ceil(SECTOR)).collect();
        }
    }

    /// What is on the disk, if of the cache only some of it ever reached the disk.
    fn after_power_loss(&self, random: &mut SplitMix) -> Self {
        let mut disk = self.disk.clone();
        if self.resized && random.flag() {
            disk.resize(self.cache.len(), 0);
        } else if self.resized && self.cache.len() > disk.len() && random.flag() {
            // It has grown, but not so far.
            let more = random.below(self.cache.len() - disk.len() + 1);
            disk.resize(disk.len() + more, 0);
        }
        // Whole pages, or single sectors, or nothing at all.
        let (group, often) = (if random.flag() { PAGE / SECTOR } else { 1 }, random.below(5));
        let mut last = None;
        for sector in &self.dirty {
            let drawn = match last {
                Some((page, drawn)) if page == sector / group => drawn,
                _ => random.below(4) < often,
            };
            last = Some((sector / group, drawn));
            if drawn {
                self.reach_disk(*sector, &mut disk, random);
            }
        }
        Self { cache: disk.clone(), disk, dirty: BTreeSet::new(), bad: self.bad.clone(), resized: false }
    }

    fn reach_disk(&self, sector: usize, disk: &mut [u8], random: &mut SplitMix) {
        let start = sector * SECTOR;
        let mut end = (start + SECTOR).min(disk.len()).min(self.cache.len());
        if random.below(16) == 0 {
            // Torn: the disk lost power while it wrote it.
            end = end.min(start + random.below(SECTOR));
        }
        if let (Some(to), Some(from)) = (disk.get_mut(start..end), self.cache.get(start..end)) {
            to.copy_from_slice(from);
        }
    }
}

impl Directory for FaultyDirectory {
    type File = FaultyFile;

    fn path_of(&self, name: &str) -> PathBuf {
        PathBuf::from(name)
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.world().names.keys().filter(|name| !name.contains('/')).cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<FaultyFile> {
        let mut world = self.world();
        world.may()?;
        if world.names.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let id = world.next_id;
        world.next_id += 1;
        world.files.insert(id, Content::default());
        world.names.insert(name.to_owned(), id);
        Ok(FaultyFile { world: Arc::clone(&self.0), id })
    }

    fn open(&self, name: &str, access: Access) -> io::Result<FaultyFile> {
        let mut world = self.world();
        if let Some(why) = world.closed.get(name) {
            return Err((*why).into());
        }
        // No fault keeps a file from being opened to be read: what is lost by that is another matter.
        if access == Access::Write {
            world.may()?;
        }
        let id = *world.names.get(name).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        Ok(FaultyFile { world: Arc::clone(&self.0), id })
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        world.may()?;
        world.names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut world = self.world();
        world.may()?;
        let id = world.names.remove(from).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        world.names.insert(to.to_owned(), id);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world();
        world.may()?;
        world.durable = world.names.clone();
        Ok(())
    }

    fn free_space(&self) -> io::Result<Option<u64>> {
        let world = self.world();
        Ok(Some(world.capacity.saturating_sub(world.used())))
    }
}

impl File for FaultyFile {
    fn len(&self) -> io::Result<u64> {
        Ok(length(lock(&self.world).content(self.id)?.cache.len()))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut world = lock(&self.world);
        let content = world.content(self.id)?;
        let there =
            usize::try_from(offset).ok().and_then(|offset| content.cache.get(offset..)).unwrap_or_default();
        let mut count = 0;
        for (to, from) in buffer.iter_mut().zip(there) {
            *to = *from;
            count += 1;
        }
        let read = usize::try_from(offset).map_or(0..0, |offset| offset..offset.saturating_add(count));
        if content.bad.iter().any(|sector| sector * SECTOR < read.end && read.start < (sector + 1) * SECTOR) {
            return Err(failure());
        }
        Ok(count)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let mut world = lock(&self.world);
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let faults = world.faults;
        let some = world.random.below(bytes.len().max(1));
        let part = bytes.get(..some).unwrap_or_default();
        if world.fails(faults.write) {
            world.content(self.id)?.write(part, offset);
            return Err(failure());
        }
        let grows = offset.saturating_add(bytes.len()).saturating_sub(world.content(self.id)?.cache.len());
        if world.happens(faults.full) || world.used().saturating_add(length(grows)) > world.capacity {
            return Err(full());
        }
        if world.happens(faults.short_write) && some > 0 {
            world.content(self.id)?.write(part, offset);
            return Ok(some);
        }
        world.content(self.id)?.write(bytes, offset);
        Ok(bytes.len())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut world = lock(&self.world);
        let rate = world.faults.sync;
        let fails = world.fails(rate);
        let World { random, files, .. } = &mut *world;
        let content = files.get_mut(&self.id).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        if fails {
            content.fail_to_sync(random);
            return Err(failure());
        }
        content.sync();
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut world = lock(&self.world);
        world.may()?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        world.content(self.id)?.resize(len);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut world = lock(&self.world);
        let rate = world.faults.full;
        let there = length(world.content(self.id)?.cache.len());
        let needed = len.saturating_sub(there);
        if world.fails(rate) || world.used().saturating_add(needed) > world.capacity {
            return Err(full());
        }
        Ok(())
    }
}
