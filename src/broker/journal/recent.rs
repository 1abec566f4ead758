//! The messages that were kept last, found by counting.
//!
//! Most messages are acknowledged soon after they came, so most of what is asked of [`KeptMessages`] is about the
//! latest. Their numbers follow one another: a ring has them without a hash, and they never see the tables of those
//! that stay.
//!
//! [`KeptMessages`]: super::messages::KeptMessages

use std::collections::VecDeque;
use std::sync::Arc;

use super::messages::KeptMessage;
use crate::broker::record::Number;
use crate::mqtt::Message;

/// A message, and if it is in memory its body.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) message: KeptMessage,
    pub(super) body: Option<Arc<Message>>,
}

/// Messages whose numbers are not far apart.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// The number of the first slot.
    first: u64,
    /// One for each number from there on, those included that are not a message's or no longer needed. The first is
    /// never empty.
    slots: VecDeque<Option<Slot>>,
    /// How many messages there are.
    len: usize,
}

impl Recent {
    /// How many numbers it spans at the most.
    pub(super) const SPAN: usize = 131_072;

    pub(super) const fn len(&self) -> usize {
        self.len
    }

    fn index(&self, number: Number) -> Option<usize> {
        usize::try_from(number.0.checked_sub(self.first)?).ok()
    }

    pub(super) fn get(&self, number: Number) -> Option<&Slot> {
        self.slots.get(self.index(number)?)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: Number) -> Option<&mut Slot> {
        let index = self.index(number)?;
        self.slots.get_mut(index)?.as_mut()
    }

    /// Whether there is a place for this number, or has to be made by taking out the [oldest](Self::pop_oldest).
    pub(super) fn reaches(&self, number: Number) -> bool {
        self.slots.is_empty() || self.index(number).is_none_or(|index| index < Self::SPAN)
    }

    /// Takes up a message, which the ring must [reach](Self::reaches). Gives it back if it is older than all others.
    pub(super) fn insert(&mut self, number: Number, slot: Slot) -> Result<(), Slot> {
        if self.slots.is_empty() {
            self.first = number.0;
        }
        let Some(index) = self.index(number).filter(|index| *index < Self::SPAN) else { return Err(slot) };
        if index >= self.slots.len() {
            self.slots.resize_with(index + 1, || None);
        }
        if let Some(place) = self.slots.get_mut(index) {
            self.len += usize::from(place.is_none());
            *place = Some(slot);
        }
        Ok(())
    }

    pub(super) fn remove(&mut self, number: Number) -> Option<Slot> {
        let index = self.index(number)?;
        let slot = self.slots.get_mut(index)?.take()?;
        self.len -= 1;
        self.drop_empty();
        Some(slot)
    }

    /// Takes out the oldest message.
    pub(super) fn pop_oldest(&mut self) -> Option<(Number, Slot)> {
        let slot = self.slots.pop_front()??;
        self.len -= 1;
        let number = Number(self.first);
        self.first += 1;
        self.drop_empty();
        Some((number, slot))
    }

    /// The oldest message.
    pub(super) fn oldest(&self) -> Option<&Slot> {
        self.slots.front()?.as_ref()
    }

    /// All messages, from the oldest on.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Number, &Slot)> {
        (self.first..).zip(&self.slots).filter_map(|(number, slot)| Some((Number(number), slot.as_ref()?)))
    }

    /// The bytes that it takes beyond those of its messages.
    pub(super) fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Option<Slot>>()
    }

    /// Keeps the first slot from being empty.
    fn drop_empty(&mut self) {
        while let Some(None) = self.slots.front() {
            self.slots.pop_front();
            self.first += 1;
        }
    }
}
