//! The messages that the journal holds: each once, however many queues it is in.
//!
//! As many of them as a bound allows are in memory, too, the latest; others are read again when they are needed. A
//! million of those that are not take some tens of megabytes: what only some have is in tables beside theirs.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::live;
use super::recent::{Recent, Slot};
use crate::broker::memory::KEPT_MESSAGE;
use crate::broker::record::{Number, Sequence};
use crate::broker::session::SessionKey;
use crate::clock::Instant;
use crate::mqtt::Message;

/// All messages that the journal holds and somebody needs.
#[derive(Debug)]
pub(in crate::broker) struct KeptMessages {
    /// The latest, and their bodies.
    recent: Recent,
    /// All others.
    messages: Shards,
    /// Those of the others that are in memory.
    bodies: HashMap<Number, Arc<Message>, FixedState>,
    /// When those expire that do.
    expiries: HashMap<Number, Instant, FixedState>,
    /// Who waits for those that are being read.
    waiting: HashMap<Number, Vec<SessionKey>, FixedState>,
    /// Those of the others that are in memory, but for the retained ones, in the order in which they came there.
    cached: VecDeque<Number>,
    cached_bytes: usize,
    /// How many bytes may be in memory.
    cache_bytes: usize,
    live_bytes: u64,
    /// What the records of retained messages have for who published them.
    publisher_bytes: u64,
    /// What is to be read.
    wanted: Vec<(Number, Sequence)>,
    /// Who was waiting for a message that nobody needs any more.
    bereft: Vec<SessionKey>,
}

#[derive(Debug)]
pub(super) struct KeptMessage {
    /// The record that holds it.
    home: Sequence,
    /// How many need it: places in queues, and the retained store.
    references: u32,
    /// Its footprint, and in the highest bit whether it is retained.
    footprint: u32,
}

impl KeptMessage {
    const RETAINED: u32 = 1 << 31;

    const fn new(home: Sequence, footprint: u32) -> Self {
        let footprint = if footprint < Self::RETAINED { footprint } else { Self::RETAINED - 1 };
        Self { home, references: 0, footprint }
    }

    const fn footprint(&self) -> u32 {
        self.footprint & !Self::RETAINED
    }

    const fn is_retained(&self) -> bool {
        self.footprint & Self::RETAINED != 0
    }

    const fn set_retained(&mut self, is_retained: bool) {
        self.footprint = self.footprint() | if is_retained { Self::RETAINED } else { 0 };
    }

    /// Its bytes in the journal, without its targets and its publisher.
    fn record(&self) -> u64 {
        live::message(self.footprint())
    }
}

/// Messages by number, in so many tables that one of them can grow without anybody waiting for it, and without room for
/// all twice.
#[derive(Debug)]
struct Shards {
    tables: [HashMap<Number, KeptMessage, FixedState>; Self::COUNT],
    len: usize,
}

impl Shards {
    const COUNT: usize = 64;

    fn new(seed: u64) -> Self {
        Self { tables: std::array::from_fn(|_| HashMap::with_hasher(FixedState::with_seed(seed))), len: 0 }
    }

    fn index(number: Number) -> usize {
        usize::try_from(number.0 % crate::broker::count(Self::COUNT)).unwrap_or_default()
    }

    fn get(&self, number: Number) -> Option<&KeptMessage> {
        self.tables.get(Self::index(number))?.get(&number)
    }

    fn get_mut(&mut self, number: Number) -> Option<&mut KeptMessage> {
        self.tables.get_mut(Self::index(number))?.get_mut(&number)
    }

    fn insert(&mut self, number: Number, message: KeptMessage) {
        if let Some(table) = self.tables.get_mut(Self::index(number)) {
            self.len += usize::from(table.insert(number, message).is_none());
        }
    }

    fn remove(&mut self, number: Number) -> Option<KeptMessage> {
        let message = self.tables.get_mut(Self::index(number))?.remove(&number)?;
        self.len -= 1;
        Some(message)
    }
}

/// Messages that are taken out of memory at a time, so that nobody waits for thousands.
const REMOVED_AT_A_TIME: usize = 2_000;

/// Messages in memory for which the journal need not be asked, at the least.
const CACHE_BYTES: usize = 64 << 20;

impl KeptMessages {
    pub(in crate::broker) fn new(seed: u64) -> Self {
        Self {
            recent: Recent::default(),
            messages: Shards::new(seed),
            bodies: HashMap::with_hasher(FixedState::with_seed(seed)),
            expiries: HashMap::with_hasher(FixedState::with_seed(seed)),
            waiting: HashMap::with_hasher(FixedState::with_seed(seed)),
            cached: VecDeque::new(),
            cached_bytes: 0,
            cache_bytes: CACHE_BYTES,
            live_bytes: 0,
            publisher_bytes: 0,
            wanted: Vec::new(),
            bereft: Vec::new(),
        }
    }

    pub(in crate::broker) const fn set_cache_bytes(&mut self, bytes: usize) {
        self.cache_bytes = bytes;
    }

    pub(in crate::broker) fn len(&self) -> usize {
        self.recent.len() + self.messages.len
    }

    /// The bytes that it takes to know of them, without those that are in memory.
    pub(in crate::broker) fn table_bytes(&self) -> usize {
        self.len() * KEPT_MESSAGE
            + self.recent.bytes()
            + (self.expiries.len() + self.waiting.len()) * KEPT_MESSAGE
    }

    pub(in crate::broker) const fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    /// Bytes of the records that hold them, without their targets.
    pub(in crate::broker) const fn live_bytes(&self) -> u64 {
        self.live_bytes + self.publisher_bytes
    }

    /// Takes up a message that is written down in this record, and has so many places in queues. It may have none yet.
    pub(in crate::broker) fn insert(
        &mut self,
        number: Number,
        message: &Arc<Message>,
        home: Sequence,
        references: u32,
    ) {
        let footprint = u32::try_from(message.footprint()).unwrap_or(u32::MAX);
        let kept = KeptMessage { references, ..KeptMessage::new(home, footprint) };
        self.live_bytes += kept.record();
        self.cached_bytes += bytes(footprint);
        if let Some(at) = message.expires_at {
            self.expiries.insert(number, at);
        }
        while !self.recent.reaches(number) {
            self.move_oldest();
        }
        if let Err(old) = self.recent.insert(number, Slot { message: kept, body: Some(Arc::clone(message)) })
        {
            self.move_to_tables(number, old);
        }
    }

    /// Moves the oldest of the latest messages to the others. Whether there is one.
    fn move_oldest(&mut self) -> bool {
        let Some((number, slot)) = self.recent.pop_oldest() else { return false };
        self.move_to_tables(number, slot);
        true
    }

    fn move_to_tables(&mut self, number: Number, slot: Slot) {
        if let Some(body) = slot.body {
            self.bodies.insert(number, body);
            if !slot.message.is_retained() {
                self.cached.push_back(number);
            }
        }
        self.messages.insert(number, slot.message);
    }

    fn get(&self, number: Number) -> Option<&KeptMessage> {
        match self.recent.get(number) {
            Some(slot) => Some(&slot.message),
            None => self.messages.get(number),
        }
    }

    fn get_mut(&mut self, number: Number) -> Option<&mut KeptMessage> {
        match self.recent.get_mut(number) {
            Some(slot) => Some(&mut slot.message),
            None => self.messages.get_mut(number),
        }
    }

    /// Takes up a message that is not in memory, or its new home.
    pub(in crate::broker) fn insert_unread(
        &mut self,
        number: Number,
        home: Sequence,
        footprint: u32,
        expires_at: Option<Instant>,
    ) {
        if self.contains(number) {
            self.set_home(number, home);
        } else {
            let kept = KeptMessage::new(home, footprint);
            self.live_bytes += kept.record();
            if let Some(at) = expires_at {
                self.expiries.insert(number, at);
            }
            self.messages.insert(number, kept);
        }
    }

    pub(in crate::broker) fn contains(&self, number: Number) -> bool {
        self.get(number).is_some()
    }

    /// The record that holds a message.
    pub(in crate::broker) fn home(&self, number: Number) -> Option<Sequence> {
        self.get(number).map(|message| message.home)
    }

    pub(in crate::broker) fn set_home(&mut self, number: Number, home: Sequence) {
        if let Some(message) = self.get_mut(number) {
            message.home = home;
        }
    }

    pub(in crate::broker) fn footprint(&self, number: Number) -> u32 {
        self.get(number).map_or(0, KeptMessage::footprint)
    }

    pub(in crate::broker) fn expires_at(&self, number: Number) -> Option<Instant> {
        self.expiries.get(&number).copied()
    }

    /// The message, if it is in memory.
    pub(in crate::broker) fn body(&self, number: Number) -> Option<&Arc<Message>> {
        match self.recent.get(number) {
            Some(slot) => slot.body.as_ref(),
            None => self.bodies.get(&number),
        }
    }

    pub(in crate::broker) fn is_retained(&self, number: Number) -> bool {
        self.get(number).is_some_and(KeptMessage::is_retained)
    }

    /// One more needs the message.
    pub(in crate::broker) fn refer(&mut self, number: Number) {
        if let Some(message) = self.get_mut(number) {
            message.references += 1;
        }
    }

    /// One fewer needs the message; if nobody does, it is forgotten.
    pub(in crate::broker) fn release(&mut self, number: Number) {
        let Some(message) = self.get_mut(number) else { return };
        message.references = message.references.saturating_sub(1);
        if message.references == 0 {
            self.forget(number);
        }
    }

    /// Forgets all messages that nobody needs.
    #[expect(clippy::disallowed_methods, reason = "the order in which they are looked at does not matter")]
    pub(in crate::broker) fn forget_all_unneeded(&mut self) {
        // What has just been read has not been in use.
        while self.move_oldest() {}
        let (mut live_bytes, mut len) = (0, 0);
        for table in &mut self.messages.tables {
            table.retain(|_, message| message.references > 0);
            table.shrink_to_fit();
            live_bytes += table.values().map(KeptMessage::record).sum::<u64>();
            len += table.len();
        }
        (self.live_bytes, self.messages.len) = (live_bytes, len);
        let messages = &self.messages;
        self.expiries.retain(|number, _| messages.get(*number).is_some());
    }

    fn forget(&mut self, number: Number) {
        let (message, has_body) = if let Some(slot) = self.recent.remove(number) {
            (slot.message, slot.body.is_some())
        } else if let Some(message) = self.messages.remove(number) {
            (message, self.bodies.remove(&number).is_some())
        } else {
            return;
        };
        self.live_bytes -= message.record();
        if !self.waiting.is_empty() {
            self.bereft.extend(self.waiting.remove(&number).unwrap_or_default());
        }
        if !self.expiries.is_empty() {
            self.expiries.remove(&number);
        }
        if has_body && !message.is_retained() {
            self.cached_bytes -= bytes(message.footprint());
        }
        // Numbers of what has gone are passed over when the cache is looked through; they must not pile up.
        if self.cached.len() > 64 && self.cached.len() > 2 * self.bodies.len() {
            let bodies = &self.bodies;
            self.cached.retain(|number| bodies.contains_key(number));
        }
    }

    /// The message is the retained one of its topic, where it stays in memory; its record has so many bytes for who
    /// published it.
    pub(in crate::broker) fn retained(&mut self, number: Number, publisher_bytes: u64) {
        let has_body = self.body(number).is_some();
        let Some(message) = self.get_mut(number) else { return };
        message.references += 1;
        message.set_retained(true);
        let footprint = message.footprint();
        if has_body {
            self.cached_bytes -= bytes(footprint);
        }
        self.publisher_bytes += publisher_bytes;
    }

    /// The message is no longer retained, of which that was said with so many bytes.
    pub(in crate::broker) fn no_longer_retained(&mut self, number: Number, publisher_bytes: u64) {
        let has_body = self.body(number).is_some();
        let Some(message) = self.get_mut(number) else { return };
        message.set_retained(false);
        let footprint = message.footprint();
        self.publisher_bytes -= publisher_bytes;
        if has_body {
            self.cached_bytes += bytes(footprint);
            if self.bodies.contains_key(&number) {
                self.cached.push_back(number);
            }
        }
        self.release(number);
    }

    /// The message has been read. Who waited for it.
    pub(in crate::broker) fn set_body(&mut self, number: Number, body: Arc<Message>) -> Vec<SessionKey> {
        if let Some(slot) = self.recent.get_mut(number) {
            if slot.body.is_none() {
                slot.body = Some(body);
                if !slot.message.is_retained() {
                    self.cached_bytes += bytes(slot.message.footprint());
                }
            }
        } else {
            let Some(message) = self.messages.get(number) else { return Vec::new() };
            if let Entry::Vacant(place) = self.bodies.entry(number) {
                place.insert(body);
                if !message.is_retained() {
                    self.cached_bytes += bytes(message.footprint());
                    self.cached.push_back(number);
                }
            }
        }
        self.waiting.remove(&number).unwrap_or_default()
    }

    /// The message cannot be read. Who waited for it.
    pub(in crate::broker) fn give_up(&mut self, number: Number) -> Vec<SessionKey> {
        self.waiting.remove(&number).unwrap_or_default()
    }

    /// Has a message read; `session` wants to be told.
    pub(in crate::broker) fn want(&mut self, number: Number, session: Option<SessionKey>) {
        let Some(message) = self.get(number) else { return };
        if self.body(number).is_some() {
            return;
        }
        let home = message.home;
        let waiting = self.waiting.entry(number).or_insert_with(|| {
            self.wanted.push((number, home));
            Vec::new()
        });
        if let Some(session) = session
            && waiting.last() != Some(&session)
        {
            waiting.push(session);
        }
    }

    /// A message that was wanted is in another place now: it is read there.
    pub(in crate::broker) fn want_again(&mut self, number: Number) {
        if let Some(message) = self.get(number)
            && self.body(number).is_none()
        {
            self.wanted.push((number, message.home));
        }
    }

    /// Who was waiting for a message that is not going to come: it gave way to another.
    pub(in crate::broker) fn take_bereft(&mut self) -> Vec<SessionKey> {
        std::mem::take(&mut self.bereft)
    }

    /// What is to be read next, and where it is.
    pub(in crate::broker) fn take_wanted(&mut self) -> Vec<(Number, Sequence)> {
        std::mem::take(&mut self.wanted)
    }

    /// Takes the oldest messages out of memory while there are too many bytes of them, as far as the journal has them:
    /// all before `written`.
    pub(in crate::broker) fn make_room(&mut self, written: Sequence) {
        for _ in 0..REMOVED_AT_A_TIME {
            if self.cached_bytes <= self.cache_bytes {
                return;
            }
            let Some(&number) = self.cached.front() else {
                if self.recent.oldest().is_some_and(|slot| slot.message.home < written) && self.move_oldest()
                {
                    continue;
                }
                return;
            };
            if let Some(message) = self.messages.get(number)
                && !message.is_retained()
                && self.bodies.contains_key(&number)
            {
                if message.home >= written {
                    return;
                }
                self.bodies.remove(&number);
                self.cached_bytes -= bytes(message.footprint());
            }
            self.cached.pop_front();
        }
    }

    /// Panics if the books do not add up: for tests.
    pub(in crate::broker) fn assert_adds_up(
        &self,
        references: &std::collections::BTreeMap<Number, u32>,
        publisher_bytes: u64,
    ) {
        assert_eq!(self.publisher_bytes, publisher_bytes, "bytes for publishers add up");
        let len: usize = self.messages.tables.iter().map(HashMap::len).sum();
        assert_eq!(self.messages.len, len, "messages are counted");
        assert_eq!(self.recent.len(), self.recent.iter().count(), "the latest messages are counted");
        assert_eq!(self.len(), references.len(), "no message is kept that nobody needs");
        let (mut live, mut cached) = (0, 0);
        for (number, references) in references {
            let Some(message) = self.get(*number) else {
                panic!("message {number:?} is needed and not kept");
            };
            assert_eq!(message.references, *references, "references to {number:?} add up");
            live += message.record();
            if self.body(*number).is_some() && !message.is_retained() {
                cached += bytes(message.footprint());
            }
        }
        assert_eq!((self.live_bytes, self.cached_bytes), (live, cached), "bytes of kept messages add up");
    }
}

fn bytes(footprint: u32) -> usize {
    usize::try_from(footprint).unwrap_or(usize::MAX)
}
