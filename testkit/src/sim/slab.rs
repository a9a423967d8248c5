//! Numbered places that are used again.

/// A place, and which of its tenants is meant: a key never finds a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    index: u32,
    tenant: u32,
}

impl Key {
    /// Finds nothing in any slab.
    pub(super) const NONE: Self = Self {
        index: u32::MAX,
        tenant: 0,
    };

    /// For the trace.
    pub(super) const fn word(self) -> u64 {
        (self.tenant as u64) << 32 | self.index as u64
    }
}

#[derive(Debug)]
struct Place<T> {
    tenant: u32,
    value: Option<T>,
}

/// Values behind keys: found, put in and taken out in constant time, and always in the same order for
/// the same calls.
#[derive(Debug)]
pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Puts in what `make` makes of its key.
    pub(super) fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                tenant: 0,
                value: None,
            });
            self.places.len() as u32 - 1
        });
        let place = &mut self.places[index as usize];
        let key = Key {
            index,
            tenant: place.tenant,
        };
        place.value = Some(make(key));
        key
    }

    pub(super) fn insert(&mut self, value: T) -> Key {
        self.insert_with(|_| value)
    }

    pub(super) fn get(&self, key: Key) -> Option<&T> {
        let place = self.places.get(key.index as usize)?;
        place.value.as_ref().filter(|_| place.tenant == key.tenant)
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        place.value.as_mut().filter(|_| place.tenant == key.tenant)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        let place = self.places.get_mut(key.index as usize)?;
        if place.tenant != key.tenant {
            return None;
        }
        let value = place.value.take()?;
        place.tenant = place.tenant.wrapping_add(1);
        self.free.push(key.index);
        Some(value)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        (0..).zip(&self.places).filter_map(|(index, place)| {
            let key = Key {
                index,
                tenant: place.tenant,
            };
            Some((key, place.value.as_ref()?))
        })
    }

    /// The keys of the values that `wanted` chooses, in the order of their places.
    pub(super) fn keys(&self, wanted: impl Fn(&T) -> bool) -> Vec<Key> {
        let chosen = self.iter().filter(|(_, value)| wanted(value));
        chosen.map(|(key, _)| key).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_finds_its_own_tenant_and_no_other() {
        let mut slab = Slab::default();
        let (a, b) = (slab.insert('a'), slab.insert('b'));
        assert_eq!((slab.get(a), slab.get(b)), (Some(&'a'), Some(&'b')));
        assert_eq!(slab.remove(a), Some('a'));
        let c = slab.insert('c');
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.get(c), Some(&'c'));
        assert_eq!(slab.get(Key::NONE), None);
        assert_eq!(slab.keys(|_| true), [c, b]);
        assert_eq!(slab.len(), 2);
    }
}
