//! Devices by index, and who listens by name.

use std::{
    collections::BTreeMap,
    fmt, mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
};

use super::LinkState;

/// Who is told when the carrier of its device comes or goes.
pub(crate) trait LinkListener: fmt::Debug + Send + Sync {
    /// Those who are to be woken once everybody was told go to `wakers`.
    fn link_changed(&self, device: &Arc<str>, has_carrier: bool, wakers: &mut Vec<Waker>);
}

type Links = BTreeMap<u32, (Arc<str>, bool)>;

#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    links: Links,
    listeners: Vec<Entry>,
    next_id: u64,
}

#[derive(Clone, Debug)]
struct Entry {
    id: u64,
    device: Arc<str>,
    listener: Weak<dyn LinkListener>,
}

/// A listener's place; given up when dropped.
#[derive(Debug)]
pub(crate) struct Subscription {
    table: Arc<Table>,
    id: u64,
    device: Arc<str>,
}

impl Subscription {
    pub(crate) fn device(&self) -> &Arc<str> {
        &self.device
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.table.lock().listeners.retain(|e| e.id != self.id);
    }
}

impl Table {
    pub(super) fn subscribe(
        this: &Arc<Self>,
        device: Arc<str>,
        listener: Weak<dyn LinkListener>,
    ) -> Subscription {
        let mut inner = this.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        inner.listeners.push(Entry {
            id,
            device: Arc::clone(&device),
            listener,
        });
        drop(inner);
        Subscription {
            table: Arc::clone(this),
            id,
            device,
        }
    }

    pub(super) fn links(&self) -> Vec<LinkState> {
        let inner = self.lock();
        let link = |(index, (name, has_carrier)): (&u32, &(Arc<str>, bool))| LinkState {
            index: *index,
            name: Arc::clone(name),
            has_carrier: *has_carrier,
        };
        inner.links.iter().map(link).collect()
    }

    pub(super) fn has_carrier(&self, device: &str) -> Option<bool> {
        carrier(&self.lock().links, device)
    }

    /// Changes what is known, and tells whom it concerns. Only a carrier that was seen can be lost: to begin
    /// with nothing is known, and a session that has logged in knows better.
    pub(super) fn change(&self, change: impl FnOnce(&mut Links)) {
        let mut inner = self.lock();
        let before = inner.links.clone();
        change(&mut inner.links);
        if inner.links == before {
            return;
        }
        let now = |entry: &Entry| {
            let had = carrier(&before, &entry.device) == Some(true);
            let has = carrier(&inner.links, &entry.device) == Some(true);
            (had != has).then(|| (entry.clone(), has))
        };
        let told = inner.listeners.iter().filter_map(now).collect();
        drop(inner);
        tell(told);
    }

    /// Nothing is known any more.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        let links = mem::take(&mut inner.links);
        let lost = |entry: &&Entry| carrier(&links, &entry.device) != Some(true);
        let listeners = inner.listeners.iter().filter(lost);
        let told = listeners.map(|entry| (entry.clone(), true)).collect();
        drop(inner);
        tell(told);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Of all devices of this name: while one is renamed there may be two for a moment.
fn carrier(links: &Links, device: &str) -> Option<bool> {
    let named = links.values().filter(|(name, _)| &**name == device);
    named.map(|(_, carrier)| *carrier).max()
}

/// All are told before anybody is woken: who looks at one of several sessions of a device sees the same
/// of the others.
fn tell(told: Vec<(Entry, bool)>) {
    let mut wakers = Vec::new();
    for (entry, has_carrier) in told {
        if let Some(listener) = entry.listener.upgrade() {
            listener.link_changed(&entry.device, has_carrier, &mut wakers);
        }
    }
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use super::{super::LinkMonitor, *};

    #[derive(Debug, Default)]
    struct Heard(Mutex<Vec<(Arc<str>, bool)>>);

    impl Heard {
        fn take(&self) -> Vec<(Arc<str>, bool)> {
            mem::take(&mut *self.0.lock().unwrap())
        }
    }

    impl LinkListener for Heard {
        fn link_changed(&self, device: &Arc<str>, has_carrier: bool, _: &mut Vec<Waker>) {
            self.0.lock().unwrap().push((device.clone(), has_carrier));
        }
    }

    fn listen(links: &LinkMonitor, device: &str) -> (Arc<Heard>, Subscription) {
        let heard = Arc::new(Heard::default());
        let weak = Arc::downgrade(&heard) as Weak<dyn LinkListener>;
        let subscription = links.subscribe(device.into(), weak);
        (heard, subscription)
    }

    fn link(index: u32, name: &str, has_carrier: bool) -> LinkState {
        LinkState {
            index,
            name: name.into(),
            has_carrier,
        }
    }

    #[test]
    fn a_listener_hears_of_its_device_and_only_of_changes() {
        let (links, mut feed) = LinkMonitor::new();
        let (heard, subscription) = listen(&links, "eth1");
        feed.set(link(2, "eth0", true));
        feed.set(link(3, "eth1", true));
        assert_eq!(heard.take(), [("eth1".into(), true)]);
        feed.set(link(2, "eth0", false));
        feed.set(link(3, "eth1", true));
        assert_eq!(heard.take(), []);
        feed.set(link(3, "eth1", false));
        feed.set(link(3, "eth1", false));
        assert_eq!(heard.take(), [("eth1".into(), false)]);
        assert_eq!(links.has_carrier("eth1"), Some(false));
        drop(subscription);
        feed.set(link(3, "eth1", true));
        assert_eq!(heard.take(), []);
    }

    #[test]
    fn a_device_that_goes_and_comes_back_with_another_index_is_known_by_its_name() {
        let (links, mut feed) = LinkMonitor::new();
        feed.set(link(3, "eth1", true));
        let (heard, _subscription) = listen(&links, "eth1");
        feed.remove(3);
        assert_eq!(heard.take(), [("eth1".into(), false)]);
        assert_eq!(links.has_carrier("eth1"), None);
        feed.set(link(9, "eth1", true));
        assert_eq!(heard.take(), [("eth1".into(), true)]);
        // Its name is taken by another one, and then it has a new one.
        feed.set(link(9, "eth7", true));
        assert_eq!(heard.take(), [("eth1".into(), false)]);
        feed.set(link(4, "eth1", true));
        assert_eq!(heard.take(), [("eth1".into(), true)]);
    }

    #[test]
    fn what_was_not_seen_to_be_there_cannot_be_lost() {
        let (links, mut feed) = LinkMonitor::new();
        let (heard, _subscription) = listen(&links, "eth1");
        feed.set(link(3, "eth1", false));
        assert_eq!(heard.take(), []);
    }

    #[test]
    fn after_a_resync_only_what_is_different_is_told() {
        let (links, mut feed) = LinkMonitor::new();
        feed.set(link(3, "eth1", true));
        feed.set(link(4, "eth2", true));
        let (first, _kept) = listen(&links, "eth1");
        let (second, _kept_too) = listen(&links, "eth2");
        feed.retain(|index| index == 3);
        assert_eq!((first.take(), second.take().len()), (vec![], 1));
        assert_eq!(links.links(), [link(3, "eth1", true)]);
    }

    #[test]
    fn without_a_feed_nobody_is_kept_without_a_carrier() {
        let (links, mut feed) = LinkMonitor::new();
        feed.set(link(3, "eth1", true));
        feed.set(link(4, "eth2", true));
        let (first, _kept) = listen(&links, "eth1");
        let (second, _kept_too) = listen(&links, "eth2");
        feed.set(link(3, "eth1", false));
        first.take();
        drop(feed);
        assert_eq!(first.take(), [("eth1".into(), true)]);
        assert_eq!(second.take(), []);
        assert_eq!(links.links(), []);
    }
}
