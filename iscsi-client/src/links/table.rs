//! Devices by index, and who listens by name.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::Waker,
};

use super::LinkState;

/// Who is told when the carrier of its device comes or goes.
pub(crate) trait LinkListener: fmt::Debug + Send + Sync {
    /// Those who are to be woken once everybody was told go to `wakers`.
    fn link_changed(&self, device: &Arc<str>, has_carrier: bool, wakers: &mut Vec<Waker>);
}

#[derive(Debug, Default)]
pub(super) struct Table(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    links: BTreeMap<u32, (Arc<str>, bool)>,
    names: BTreeMap<Arc<str>, Name>,
    /// Carriers that were lost so far, of all names.
    losses: u64,
    next_id: u64,
}

/// What there is of one name. While a device is renamed there may be two of one name for a moment.
#[derive(Debug, Default)]
struct Name {
    devices: usize,
    /// How many of them have a carrier.
    carriers: usize,
    /// Which loss the last one of this name was.
    lost: u64,
    /// Who listens, by its number.
    listeners: BTreeMap<u64, Weak<dyn LinkListener>>,
}

/// Whom to tell, and what.
type News = Vec<(Arc<str>, bool, Weak<dyn LinkListener>)>;

impl Name {
    fn is_unused(&self) -> bool {
        self.devices == 0 && self.listeners.is_empty()
    }
}

/// A change that is being made. It costs what it changes: the names that it touches are looked at, and those who
/// listen to them are told.
pub(super) struct Change<'a> {
    inner: &'a mut Inner,
    /// Names that it touched, and whether there was a carrier before.
    touched: BTreeMap<Arc<str>, bool>,
}

impl Change<'_> {
    pub(super) fn set(&mut self, index: u32, device: Arc<str>, has_carrier: bool) {
        let same = |(name, carrier): &(Arc<str>, bool)| *name == device && *carrier == has_carrier;
        if self.inner.links.get(&index).is_some_and(same) {
            return;
        }
        self.remove(index);
        let name = self.touch(&device);
        name.devices += 1;
        name.carriers += usize::from(has_carrier);
        self.inner.links.insert(index, (device, has_carrier));
    }

    pub(super) fn remove(&mut self, index: u32) {
        if let Some((device, had_carrier)) = self.inner.links.remove(&index) {
            let name = self.touch(&device);
            name.devices -= 1;
            name.carriers -= usize::from(had_carrier);
        }
    }

    fn touch(&mut self, device: &Arc<str>) -> &mut Name {
        let name = self.inner.names.entry(Arc::clone(device)).or_default();
        let had_carrier = name.carriers > 0;
        self.touched
            .entry(Arc::clone(device))
            .or_insert(had_carrier);
        name
    }

    /// Who is to hear of it.
    fn news(self) -> News {
        let mut news = News::new();
        for (device, had_carrier) in self.touched {
            let Some(name) = self.inner.names.get_mut(&device) else {
                continue;
            };
            let has_carrier = name.carriers > 0;
            if had_carrier && !has_carrier {
                self.inner.losses += 1;
                name.lost = self.inner.losses;
            }
            if has_carrier != had_carrier {
                let listeners = name.listeners.values();
                news.extend(listeners.map(|one| (Arc::clone(&device), has_carrier, one.clone())));
            }
            if name.is_unused() {
                self.inner.names.remove(&device);
            }
        }
        news
    }
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
        let mut inner = self.table.lock();
        let Some(name) = inner.names.get_mut(&self.device) else {
            return;
        };
        let listener = name.listeners.remove(&self.id);
        if name.is_unused() {
            inner.names.remove(&self.device);
        }
        drop(inner);
        // It may be the last of a session.
        drop(listener);
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
        let name = inner.names.entry(Arc::clone(&device)).or_default();
        name.listeners.insert(id, listener);
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
        let inner = self.lock();
        let name = inner.names.get(device)?;
        (name.devices > 0).then_some(name.carriers > 0)
    }

    pub(super) fn losses(&self) -> u64 {
        self.lock().losses
    }

    pub(super) fn is_lost_since(&self, device: &str, losses: u64) -> bool {
        let inner = self.lock();
        let name = inner.names.get(device);
        name.is_some_and(|name| name.carriers == 0 && name.lost > losses)
    }

    /// Changes what is known, and tells whom it concerns. Only a carrier that was seen can be lost: to begin
    /// with nothing is known, and a session that has logged in knows better.
    pub(super) fn change(&self, change: impl FnOnce(&mut Change<'_>)) {
        let mut inner = self.lock();
        let mut changed = Change {
            inner: &mut inner,
            touched: BTreeMap::new(),
        };
        change(&mut changed);
        let news = changed.news();
        drop(inner);
        tell(news);
    }

    /// Nothing is known any more.
    pub(super) fn end(&self) {
        let mut inner = self.lock();
        inner.links.clear();
        let mut news = News::new();
        inner.names.retain(|device, name| {
            if name.carriers == 0 {
                let listeners = name.listeners.values();
                news.extend(listeners.map(|one| (Arc::clone(device), true, one.clone())));
            }
            (name.devices, name.carriers, name.lost) = (0, 0, 0);
            !name.is_unused()
        });
        drop(inner);
        tell(news);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics under this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All are told before anybody is woken: who looks at one of several sessions of a device sees the same
/// of the others.
fn tell(news: News) {
    let mut wakers = Vec::new();
    for (device, has_carrier, listener) in news {
        if let Some(listener) = listener.upgrade() {
            listener.link_changed(&device, has_carrier, &mut wakers);
        }
    }
    wakers.into_iter().for_each(Waker::wake);
}

#[cfg(test)]
mod tests {
    use std::mem;

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
    fn of_two_devices_of_one_name_one_with_a_carrier_will_do() {
        let (links, mut feed) = LinkMonitor::new();
        feed.set(link(3, "eth1", true));
        let (heard, _subscription) = listen(&links, "eth1");
        feed.set(link(4, "eth1", false));
        feed.set(link(3, "eth0", true));
        assert_eq!(heard.take(), [("eth1".into(), false)]);
        assert_eq!(links.has_carrier("eth0"), Some(true));
        feed.set(link(4, "eth1", true));
        assert_eq!(heard.take(), [("eth1".into(), true)]);
        // Renamed and back in one: nothing that anybody would have to hear of.
        links.0.change(|links| {
            links.set(4, "eth2".into(), true);
            links.set(4, "eth1".into(), true);
        });
        assert_eq!(heard.take(), []);
    }

    /// A host with thousands of virtual devices tells of each of them; and of containers that come and go.
    #[test]
    fn a_change_looks_at_what_it_changes_and_leaves_nothing_behind() {
        let (links, mut feed) = LinkMonitor::new();
        let listening: Vec<_> = (0..500)
            .map(|n| listen(&links, &format!("eth{n}")))
            .collect();
        for index in 0..10_000 {
            feed.set(link(index, &format!("eth{index}"), true));
            let touched = links.0.lock().names.len();
            assert_eq!(touched, 500.max(index as usize + 1));
        }
        for (heard, _) in &listening {
            assert_eq!(heard.take().len(), 1);
        }
        feed.retain(|index| index < 10);
        let told = |(heard, _): &(Arc<Heard>, _)| heard.take().len();
        assert_eq!(listening.iter().map(told).sum::<usize>(), 490);
        assert_eq!(links.0.lock().names.len(), 500);
        drop(listening);
        assert_eq!(links.0.lock().names.len(), 10);
        feed.retain(|_| false);
        assert!(links.0.lock().names.is_empty());
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
