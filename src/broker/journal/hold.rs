//! What is for a client and has to wait for the journal.

use std::collections::VecDeque;

use super::Durability;
use crate::broker::record::Sequence;
use crate::broker::{Broker, SessionKey, ToClient};
use crate::clock::Instant;
use crate::mqtt::{Delivery, Packet};

/// When something may leave: when this holds for this record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) struct Until {
    pub(in crate::broker) record: Sequence,
    pub(in crate::broker) durability: Durability,
}

/// Whether something that comes later may leave earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::broker) enum Passing {
    /// Messages may, but what waits itself may not: acknowledgements stay in order.
    Messages,
    /// Nothing may: clients want their CONNACK first, and a SUBACK before its retained messages.
    Nothing,
}

/// What waits for one connection, in order.
#[derive(Debug, Default)]
pub(in crate::broker) struct Held {
    items: VecDeque<HeldItem>,
    /// How many of them nothing may pass.
    barriers: usize,
}

#[derive(Debug)]
struct HeldItem {
    item: ToClient,
    reason: Reason,
}

/// Rooms for what waits that are kept for the next who has to wait: a busy client waits for each commit.
const SPARE: usize = 256;

/// Items that such a room has place for at the most.
const SPARE_ITEMS: usize = 256;

/// Why something is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    /// It waits for this, if it is not true yet, and for what came before.
    Waits { until: Option<Until>, passing: Passing },
    /// It came behind what nothing may pass, and waits for nothing else.
    Behind,
}

impl Held {
    /// Whether its client waits for its CONNACK.
    pub(in crate::broker) fn is_unanswered(&self) -> bool {
        let is_connack = |item: &ToClient| matches!(item, ToClient::Send(packet) if matches!(**packet, Packet::ConnAck(_)));
        self.items.front().is_some_and(|held| is_connack(&held.item))
    }

    /// How many there are.
    pub(in crate::broker) fn len(&self) -> usize {
        self.items.len()
    }

    /// What has to be true before the last of them leaves: the most that any of them waits for.
    pub(in crate::broker) fn owes(&self) -> Durability {
        let owed = self.items.iter().map(|held| match held.reason {
            Reason::Waits { until: Some(until), .. } => until.durability,
            Reason::Waits { until: None, .. } | Reason::Behind => Durability::Memory,
        });
        owed.max().unwrap_or(Durability::Memory)
    }

    // Inlined, as what calls it: an item that is put together in its place is not copied there.
    #[inline]
    fn push(&mut self, item: ToClient, until: Option<Until>, passing: Passing) {
        self.barriers += usize::from(passing == Passing::Nothing);
        self.items.push_back(HeldItem { item, reason: Reason::Waits { until, passing } });
    }

    fn push_behind(&mut self, item: ToClient) {
        self.items.push_back(HeldItem { item, reason: Reason::Behind });
    }

    /// Moves to the outbox what nothing holds any more.
    fn release(&mut self, outbox: &mut Vec<ToClient>, is_over: impl Fn(Until) -> bool) {
        let barriers = self.barriers;
        outbox.reserve(self.items.len());
        while let Some(item) = self.pop(&is_over) {
            outbox.push(item);
        }
        if self.barriers == 0 && barriers > 0 {
            // What comes from here on passes those that wait: what came before it must have left.
            let items = std::mem::take(&mut self.items);
            let (free, waiting): (Vec<_>, _) =
                items.into_iter().partition(|held| held.reason == Reason::Behind);
            outbox.extend(free.into_iter().map(|held| held.item));
            self.items = waiting.into();
        }
    }

    /// Takes the first item, if nothing holds it.
    fn pop(&mut self, is_over: impl FnOnce(Until) -> bool) -> Option<ToClient> {
        if let Reason::Waits { until, passing } = self.items.front()?.reason {
            if !until.is_none_or(is_over) {
                return None;
            }
            self.barriers -= usize::from(passing == Passing::Nothing);
        }
        self.items.pop_front().map(|first| first.item)
    }
}

impl super::Journal {
    /// What waited for a connection waits no longer: there is none.
    pub(in crate::broker) fn let_go(&mut self, held: Option<&Held>) {
        self.held -= held.map_or(0, |held| held.items.len());
    }

    /// What something waited in can be used again.
    fn spare(&mut self, held: Box<Held>) {
        if self.spare.len() < SPARE && held.items.capacity() <= SPARE_ITEMS {
            self.spare.push(held);
        }
    }
}

impl Broker {
    /// Hands something over to the session's connection, if it has one; behind what nothing may pass.
    pub(in crate::broker) fn send(&mut self, key: SessionKey, item: ToClient) {
        let Some(attachment) = self.sessions.get_mut(key).and_then(|session| session.attachment.as_mut())
        else {
            return;
        };
        // The end of the connection is the end of waiting, too: what is held now is never sent.
        let ends = matches!(item, ToClient::Close { .. });
        if let Some(held) = attachment.held.as_mut().filter(|held| held.barriers > 0 && !ends) {
            self.journal.held += 1;
            return held.push_behind(item);
        }
        if attachment.outbox.is_empty() {
            self.dirty.push_back(key);
        }
        attachment.outbox.push(item);
    }

    /// Hands something over that promises what has just been written down, once that is kept, and not before what
    /// waits already.
    #[inline]
    pub(in crate::broker) fn send_kept(&mut self, key: SessionKey, item: ToClient, passing: Passing) {
        if !self.journal.is_open() {
            return self.send(key, item);
        }
        let durability = self.journal.durability;
        let until = self.journal.awaited().map(|record| Until { record, durability });
        self.send_after(key, item, until, passing);
    }

    /// Hands over the CONNACK for a session about which nothing has been written now, once it is kept that it is there.
    pub(in crate::broker) fn send_unwritten(&mut self, key: SessionKey, item: ToClient, session: Sequence) {
        let until = Until { record: session, durability: self.journal.durability };
        self.send_after(key, item, Some(until), Passing::Nothing);
    }

    /// Hands a delivery over, once what it waits for is true.
    pub(in crate::broker) fn deliver(&mut self, key: SessionKey, delivery: Delivery, until: Option<Until>) {
        let Some(attachment) = self.sessions.get_mut(key).and_then(|session| session.attachment.as_mut())
        else {
            return;
        };
        let bytes = delivery.handed_over_bytes();
        attachment.outstanding += bytes;
        self.outstanding.handed_over(bytes);
        self.counters.deliveries += 1;
        if until.is_some() || attachment.held.is_some() {
            return match until {
                None => self.send(key, ToClient::Deliver(delivery)),
                until => self.send_after(key, ToClient::Deliver(delivery), until, Passing::Messages),
            };
        }
        if attachment.outbox.is_empty() {
            self.dirty.push_back(key);
        }
        attachment.outbox.push(ToClient::Deliver(delivery));
    }

    /// What is being handled rests on something being there no more. That may be another client's doing, of which this
    /// one's answer would be the first word that anybody hears: it waits until that is kept, as if it were its own.
    pub(in crate::broker) fn rest_on_absence(&mut self, now: Instant) {
        let journal = &mut self.journal;
        let Some(gone) = journal.gone.filter(|gone| !journal.is_kept(*gone, journal.durability)) else {
            return;
        };
        if journal.batch.is_empty() {
            // It is on its way, and perhaps nobody waits for it so far: with another record that can be said.
            journal.say_alive(now);
        }
        journal.mark = journal.mark.min(gone);
    }

    #[inline]
    fn send_after(&mut self, key: SessionKey, item: ToClient, until: Option<Until>, passing: Passing) {
        let until = until.filter(|until| !self.journal.is_kept(until.record, until.durability));
        let Some(attachment) = self.sessions.get_mut(key).and_then(|session| session.attachment.as_mut())
        else {
            return;
        };
        if until.is_none() && attachment.held.is_none() {
            return self.send(key, item);
        }
        if attachment.held.is_none() {
            self.journal.holding.push(key);
        }
        let journal = &mut self.journal;
        attachment
            .held
            .get_or_insert_with(|| journal.spare.pop().unwrap_or_default())
            .push(item, until, passing);
        self.journal.held += 1;
        if let Some(until) = until {
            self.journal.wait_for(until.durability);
        }
    }

    /// The journal is written and synced as far as these records: what waited for that leaves.
    pub(in crate::broker) fn kept(&mut self, written: Sequence, synced: Sequence) {
        self.journal.written = self.journal.written.max(written);
        self.journal.synced = self.journal.synced.max(synced);
        let holding = std::mem::take(&mut self.journal.holding);
        for key in holding {
            let Some(attachment) = self.sessions.get_mut(key).and_then(|session| session.attachment.as_mut())
            else {
                continue;
            };
            let Some(held) = &mut attachment.held else { continue };
            let was_empty = attachment.outbox.is_empty();
            let (journal, before) = (&self.journal, held.items.len());
            held.release(&mut attachment.outbox, |until| journal.is_kept(until.record, until.durability));
            self.journal.held -= before - held.items.len();
            if held.items.is_empty() {
                if let Some(held) = attachment.held.take() {
                    self.journal.spare(held);
                }
            } else {
                self.journal.holding.push(key);
            }
            if was_empty && !attachment.outbox.is_empty() {
                self.dirty.push_back(key);
            }
        }
        self.messages.make_room(self.journal.written);
    }
}
