//! Numbered places that are used again. A key tells the place from its next use, so that an old
//! key finds nothing.

/// Names one use of one place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key {
    pub(super) index: u32,
    generation: u32,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

/// Values by key; taking and giving back a place costs the same however many there are.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    /// Places that were looked at so far: what something costs, whatever the machine.
    #[cfg(all(test, not(empire_loom)))]
    looks: std::cell::Cell<u64>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab {
            slots: Vec::new(),
            free: Vec::new(),
            #[cfg(all(test, not(empire_loom)))]
            looks: std::cell::Cell::default(),
        }
    }
}

#[cfg(all(test, not(empire_loom)))]
impl<T> Slab<T> {
    /// Bytes that one place takes, its share of the list of free ones included.
    pub(super) const PLACE_BYTES: usize = size_of::<Slot<T>>() + size_of::<u32>();

    /// Bytes that are reserved, in use or not.
    pub(super) fn bytes(&self) -> usize {
        self.slots.capacity() * size_of::<Slot<T>>() + self.free.capacity() * size_of::<u32>()
    }

    pub(super) fn looks(&self) -> u64 {
        self.looks.get()
    }
}

impl<T> Slab<T> {
    fn slot(&self, index: u32) -> Option<&Slot<T>> {
        #[cfg(all(test, not(empire_loom)))]
        self.looks.set(self.looks.get() + 1);
        self.slots.get(index as usize)
    }

    fn slot_mut(&mut self, index: u32) -> Option<&mut Slot<T>> {
        #[cfg(all(test, not(empire_loom)))]
        self.looks.set(self.looks.get() + 1);
        self.slots.get_mut(index as usize)
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Places that there are, in use or not.
    pub(super) fn places(&self) -> u32 {
        u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index as usize];
            slot.value = Some(value);
            return Key { index, generation: slot.generation };
        }
        // Four billion things at once do not fit into memory.
        let index = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        self.slots.push(Slot { generation: 0, value: Some(value) });
        Key { index, generation: 0 }
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let slot = self.slot_mut(key.index)?;
        if slot.generation != key.generation {
            return None;
        }
        let value = slot.value.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        self.slot(key.index).filter(|slot| slot.generation == key.generation)?.value.as_ref()
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slot_mut(key.index)?;
        if slot.generation == key.generation { slot.value.as_mut() } else { None }
    }

    /// The key of a place that is in use.
    pub(super) fn key_at(&self, index: u32) -> Option<Key> {
        let slot = self.slot(index)?;
        slot.value.as_ref().map(|_| Key { index, generation: slot.generation })
    }

    pub(super) fn at(&self, index: u32) -> Option<&T> {
        self.slot(index)?.value.as_ref()
    }

    pub(super) fn at_mut(&mut self, index: u32) -> Option<&mut T> {
        self.slot_mut(index)?.value.as_mut()
    }
}
