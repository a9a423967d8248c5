//! What all connections of a target share.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU16, AtomicU32, AtomicU64, Ordering},
    },
    time::Duration,
};

use iscsi_proto::{
    Instant,
    ids::{Isid, LoginStatus},
    text::codec::Pairs,
};

use super::{
    Violation,
    answer::{Answer, Answers},
    back_end::{BackEnd, Crash, HeldId, Reinstatement, WriteHold},
    config::{Redirect, TargetConfig},
    hardship::Hardship,
    ledger::Ledger,
    lun::LogicalUnit,
    on_demand::OnDemand,
    reservations::{Notice, Refusal, Reservations},
    roster::Roster,
    scsi::{
        End, Purpose,
        alua::{Alua, PortState},
    },
};
use crate::sim::Rng;

/// More violations than anybody reads; a broken initiator must not fill the memory.
const MAX_VIOLATIONS: usize = 1000;

/// More logins than a test looks at.
const MAX_ATTEMPTS: usize = 1000;

/// CDBs that are remembered.
const MAX_EXTENDED_CDBS: usize = 1000;

/// The service action of PERSISTENT RESERVE OUT that also ends the tasks of whom it unregisters.
const PREEMPT_AND_ABORT: u8 = 0x05;

/// RESERVATION CONFLICT.
pub(super) const RESERVATION_CONFLICT: u8 = 0x18;

/// Enough for tests of long texts, and no leak in one that runs for hours.
const MAX_LOGIN_ANSWERS: usize = 4096;

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a portal has done so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counters {
    /// Connections accepted.
    pub connections: u64,
    /// Logins that reached full feature phase.
    pub logins: u64,
    /// Logins refused.
    pub login_failures: u64,
    /// SCSI commands received.
    pub commands: u64,
    /// PDUs received.
    pub pdus_in: u64,
    /// PDUs sent.
    pub pdus_out: u64,
    /// Bytes received, headers and all.
    pub bytes_in: u64,
    /// Bytes sent, headers and all.
    pub bytes_out: u64,
}

/// A login as it began: the first Login Request of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoginAttempt {
    /// When it was received: in a simulation since the world began, over TCP since the target did.
    pub at: Duration,
    /// The portal's index.
    pub portal: usize,
    /// The name in the request; empty if there is none.
    pub initiator: String,
    /// The session of that initiator that it is for.
    pub isid: Isid,
}

/// One counter per field of [`Counters`], in its order.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Connections,
    Logins,
    LoginFailures,
    Commands,
    PdusIn,
    PdusOut,
    BytesIn,
    BytesOut,
}

/// A portal's counters and the faults that concern the protocol, not the network.
#[derive(Debug)]
pub(super) struct Portal {
    pub(super) address: SocketAddr,
    pub(super) tpgt: u16,
    counters: [AtomicU64; 8],
    /// Class and detail; 0 refuses nothing.
    login_refusal: AtomicU16,
    redirect: Mutex<Option<Redirect>>,
    delay_nanos: AtomicU64,
    pub(super) on_demand: OnDemand,
}

impl Portal {
    pub(super) fn count(&self, what: Count, by: u64) {
        self.counters[what as usize].fetch_add(by, Ordering::Relaxed);
    }

    pub(super) fn login_refusal(&self) -> Option<LoginStatus> {
        let [class, detail] = self.login_refusal.load(Ordering::Acquire).to_be_bytes();
        (class != 0).then_some(LoginStatus { class, detail })
    }

    pub(super) fn redirect(&self) -> Option<Redirect> {
        lock(&self.redirect).clone()
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_nanos(self.delay_nanos.load(Ordering::Relaxed))
    }
}

/// Initiator name, ISID and target portal group: the two ends of an I_T nexus.
pub(super) type Nexus = (String, Isid, u16);

/// Makes the server drop a connection; called when another login takes its session over.
pub type Closer = Arc<dyn Fn() + Send + Sync>;

/// A session; with one connection each, which is all this target grants.
pub(super) struct Session {
    pub(super) tsih: u16,
    pub(super) nexus: Nexus,
    /// Whether its tasks may still take effect. Held while a write lands, so that a reinstatement
    /// waits for that write and no later one lands.
    alive: Mutex<bool>,
    closer: Closer,
    /// When it logged in.
    pub(super) since: Duration,
    /// Units where its nexus was registered while it was there.
    registered: Mutex<Vec<u16>>,
    attentions: Mutex<Vec<(u16, u8, u8)>>,
    has_attention: AtomicBool,
}

impl Session {
    /// The next unit attention of `lun`: additional sense code and qualifier.
    pub(super) fn take_attention(&self, lun: u16) -> Option<(u8, u8)> {
        if !self.has_attention.load(Ordering::Acquire) {
            return None;
        }
        let mut attentions = lock(&self.attentions);
        let index = attentions.iter().position(|(number, ..)| *number == lun)?;
        let (_, asc, ascq) = attentions.remove(index);
        self.has_attention
            .store(!attentions.is_empty(), Ordering::Release);
        Some((asc, ascq))
    }

    /// The same, and it stays.
    pub(super) fn next_attention(&self, lun: u16) -> Option<(u8, u8)> {
        let attentions = lock(&self.attentions);
        let next = attentions.iter().find(|(number, ..)| *number == lun)?;
        Some((next.1, next.2))
    }

    /// Clears a unit attention of all units.
    pub(super) fn forget_attention(&self, asc: u8, ascq: u8) {
        let mut attentions = lock(&self.attentions);
        attentions.retain(|(_, code, qualifier)| (*code, *qualifier) != (asc, ascq));
        self.has_attention
            .store(!attentions.is_empty(), Ordering::Release);
    }

    /// One that is pending already is not queued again (SAM-5 section 5.14.1).
    pub(super) fn add_attention(&self, lun: u16, asc: u8, ascq: u8) {
        let mut attentions = lock(&self.attentions);
        if !attentions.contains(&(lun, asc, ascq)) {
            attentions.push((lun, asc, ascq));
        }
        drop(attentions);
        self.has_attention.store(true, Ordering::Release);
    }

    /// Does what concerns the medium alone.
    fn carry_out(
        &self,
        lun: &LogicalUnit,
        purpose: Purpose,
        data: &[u8],
        generation: u32,
    ) -> Option<End> {
        let alive = lock(&self.alive);
        if !*alive {
            return None;
        }
        purpose.carry_out(lun, data, (&self.nexus, generation))
    }

    /// Has the back end do what concerns the medium alone at `due`. `None` if its tasks take no effect any more:
    /// whoever ended them has settled by then what the back end had of them.
    pub(super) fn hand_over(
        &self,
        to: &BackEnd,
        due: Instant,
        lun: &Arc<LogicalUnit>,
        generation: u32,
        work: (Purpose, Vec<u8>),
    ) -> Option<HeldId> {
        let alive = lock(&self.alive);
        (*alive).then(|| to.take(due, &self.nexus, lun, generation, work))
    }

    /// None of its tasks takes effect any more, and its connection is closed.
    pub(super) fn end_and_close(&self) {
        self.end();
        (self.closer)();
    }

    fn end(&self) -> bool {
        std::mem::replace(&mut *lock(&self.alive), false)
    }
}

/// The state of a target: logical units, sessions, counters, violations. Shared by every connection.
pub struct TargetCore {
    pub(super) config: TargetConfig,
    pub(super) portals: Vec<Portal>,
    pub(super) luns: Vec<Arc<LogicalUnit>>,
    pub(super) sessions: Mutex<BTreeMap<Nexus, Arc<Session>>>,
    /// Nexuses that had a session before: they find another unit attention than new ones.
    pub(super) known: Mutex<std::collections::BTreeSet<Nexus>>,
    violations: Mutex<Vec<(usize, Violation)>>,
    attempts: Mutex<Vec<LoginAttempt>>,
    login_answers: Mutex<Vec<(String, String)>>,
    /// An initiator's CHAP challenge that is to be reflected.
    pub(super) to_reflect: Mutex<Option<Vec<u8>>>,
    pub(super) answers: Answers,
    extended_cdbs: Mutex<Vec<Vec<u8>>>,
    pub(super) alua: Alua,
    pub(super) back_end: BackEnd,
    pub(super) hardship: Hardship,
    /// Writes of nexuses that were not registered since their login.
    unregistered_writes: AtomicU64,
    pub(super) ledger: Ledger,
    pub(super) roster: Roster,
    writes: AtomicU64,
    next_tsih: AtomicU16,
    next_seed: AtomicU32,
}

impl TargetCore {
    /// A target with the portals of `config` at these `addresses` (the real ones, without port 0).
    ///
    /// For servers of one's own; [`TcpTarget`](super::TcpTarget) and [`SimTarget`](super::SimTarget)
    /// make theirs.
    #[must_use]
    pub fn new(config: TargetConfig, addresses: &[SocketAddr]) -> Arc<Self> {
        let portal = |(portal, address): (&super::PortalConfig, &SocketAddr)| Portal {
            address: *address,
            tpgt: portal.tpgt,
            counters: Default::default(),
            login_refusal: AtomicU16::new(0),
            redirect: Mutex::default(),
            delay_nanos: AtomicU64::new(0),
            on_demand: OnDemand::default(),
        };
        Arc::new(Self {
            portals: config.portals.iter().zip(addresses).map(portal).collect(),
            luns: config
                .luns
                .iter()
                .cloned()
                .map(LogicalUnit::new)
                .map(Arc::new)
                .collect(),
            sessions: Mutex::default(),
            known: Mutex::default(),
            violations: Mutex::default(),
            attempts: Mutex::default(),
            login_answers: Mutex::default(),
            to_reflect: Mutex::default(),
            answers: Answers::default(),
            extended_cdbs: Mutex::default(),
            alua: Alua::new(config.alua.as_ref(), &config.portals),
            back_end: BackEnd::default(),
            hardship: Hardship::default(),
            unregistered_writes: AtomicU64::new(0),
            ledger: Ledger::default(),
            roster: Roster::default(),
            writes: AtomicU64::new(0),
            next_tsih: AtomicU16::new(1),
            next_seed: AtomicU32::new(0),
            config,
        })
    }

    /// The configuration that it was started with.
    #[must_use]
    pub const fn config(&self) -> &TargetConfig {
        &self.config
    }

    /// The address of portal `index`, in the order of the configuration.
    ///
    /// # Panics
    ///
    /// When there is no such portal; so do all methods that take an index.
    #[must_use]
    pub fn portal(&self, index: usize) -> SocketAddr {
        self.portals[index].address
    }

    /// What portal `index` has done so far.
    #[must_use]
    pub fn counters(&self, index: usize) -> Counters {
        let count =
            |what: Count| self.portals[index].counters[what as usize].load(Ordering::Relaxed);
        Counters {
            connections: count(Count::Connections),
            logins: count(Count::Logins),
            login_failures: count(Count::LoginFailures),
            commands: count(Count::Commands),
            pdus_in: count(Count::PdusIn),
            pdus_out: count(Count::PdusOut),
            bytes_in: count(Count::BytesIn),
            bytes_out: count(Count::BytesOut),
        }
    }

    /// What initiators did wrong so far: the portal's index and the rule.
    #[must_use]
    pub fn violations(&self) -> Vec<(usize, Violation)> {
        lock(&self.violations).clone()
    }

    /// The logins that began so far, whatever became of them; the first thousand are kept.
    #[must_use]
    pub fn login_attempts(&self) -> Vec<LoginAttempt> {
        lock(&self.attempts).clone()
    }

    /// Sessions in full feature phase.
    #[must_use]
    pub fn sessions(&self) -> usize {
        lock(&self.sessions).len()
    }

    /// Refuses every login through portal `index` with this status; `None` ends that.
    pub fn refuse_logins(&self, index: usize, status: Option<LoginStatus>) {
        let value = status.map_or(0, |s| u16::from_be_bytes([s.class, s.detail]));
        self.portals[index]
            .login_refusal
            .store(value, Ordering::Release);
    }

    /// Sends every login through portal `index` elsewhere; `None` ends that.
    pub fn redirect_logins(&self, index: usize, redirect: Option<Redirect>) {
        *lock(&self.portals[index].redirect) = redirect;
    }

    /// What initiators answered to the keys that the target announced
    /// ([`LoginConduct::announce`](super::LoginConduct::announce)), in their order.
    #[must_use]
    pub fn login_answers(&self) -> Vec<(String, String)> {
        lock(&self.login_answers).clone()
    }

    pub(super) fn note_login_answer(&self, name: &str, value: &str) {
        let mut answers = lock(&self.login_answers);
        if answers.len() < MAX_LOGIN_ANSWERS {
            answers.push((name.into(), value.into()));
        }
    }

    /// Lets every SCSI command that comes through portal `index` from now on take at least `delay`.
    pub fn set_delay(&self, index: usize, delay: Duration) {
        let nanos = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        self.portals[index]
            .delay_nanos
            .store(nanos, Ordering::Relaxed);
    }

    /// Lets the back end keep writes for a while before it does them, over all portals: what is kept
    /// outlives its connection.
    pub fn hold_writes(&self, hold: WriteHold) {
        self.back_end.set_hold(hold);
    }

    /// What reinstating a nexus does about what the back end keeps.
    pub fn set_reinstatement(&self, what: Reinstatement) {
        self.back_end.set_reinstatement(what);
    }

    /// Writes that were done after their connection had ended.
    #[must_use]
    pub fn late_writes(&self) -> u64 {
        self.back_end.late()
    }

    /// Does what the back end keeps of connections that are gone, as far as it is due, and says when the
    /// next of it is. For servers of one's own, which also have to look whenever a connection has ended.
    pub fn run_back_end(&self, now: Instant) -> Option<Instant> {
        self.back_end.run(now)
    }

    /// How long the back end keeps the write that has come now.
    pub(super) fn hold_next(&self) -> Duration {
        let count = self.writes.fetch_add(1, Ordering::Relaxed);
        self.back_end
            .hold(Rng::new(self.config.seed ^ count.rotate_left(20)).next_u64())
    }

    /// The target dies and is there again: every session ends, its connections are closed, and every
    /// nexus finds 29/00 after its next login. Registrations and reservations are gone (they persist
    /// through a loss of power only with APTPL, which this target lacks). What the network shows of it
    /// (a portal that refuses until the target is up again) is the network's to do.
    pub fn crash(&self, crash: Crash) {
        let sessions = std::mem::take(&mut *lock(&self.sessions));
        if crash.keeps_back_end && !crash.loses_power {
            self.back_end.orphan_those(|_| true);
        } else {
            self.back_end.forget_those(|_| true);
        }
        lock(&self.known).clear();
        for lun in &self.luns {
            lun.reservations(|reservations| *reservations = Reservations::default());
            self.note_registry(lun, None);
            if crash.loses_power {
                let count = self.writes.fetch_add(1, Ordering::Relaxed);
                lun.lose_power(&mut Rng::new(self.config.seed ^ count.rotate_left(20)));
            }
        }
        for session in sessions.into_values() {
            session.end_and_close();
        }
    }

    /// Changes the size of LUN `number`, in bytes and of whole blocks; every nexus finds a unit
    /// attention (2A/09, CAPACITY DATA HAS CHANGED). What lies beyond a smaller size is there again
    /// when the unit grows.
    ///
    /// # Panics
    ///
    /// When there is no such LUN, or the size is not a positive multiple of its block size.
    pub fn resize(&self, number: u16, size: u64) {
        self.lun(number)
            .expect("a LUN of the configuration")
            .resize(size);
        self.raise_attention(number, 0x2a, 0x09);
    }

    /// Puts another unit behind LUN `number`: one with this NAA identifier and serial number, on the
    /// same medium. Every nexus finds a unit attention (3F/03, INQUIRY DATA HAS CHANGED).
    ///
    /// # Panics
    ///
    /// When there is no such LUN.
    pub fn remap(&self, number: u16, naa: [u8; 16], serial: &str) {
        self.lun(number)
            .expect("a LUN of the configuration")
            .set_identity(naa, serial);
        self.raise_attention(number, 0x3f, 0x03);
    }

    /// Answers the next `times` commands to LUN `number` that begin with the bytes `cdb` with
    /// `answer`, in place of carrying them out; 0 times ends that. Unit attentions come first.
    pub fn answer(&self, number: u16, cdb: &[u8], answer: Answer, times: u32) {
        self.answers.prepare(number, cdb, answer, times);
    }

    /// Establishes a unit attention of LUN `number` for every nexus: each of them finds it once.
    pub fn raise_attention(&self, number: u16, asc: u8, ascq: u8) {
        for session in lock(&self.sessions).values() {
            session.add_attention(number, asc, ascq);
        }
    }

    /// Puts target port group `tpgt` into a state, as a target does by itself: every nexus finds a
    /// unit attention (2A/06) on every LUN. Without effect where there is no such
    /// group, or no asymmetric access.
    pub fn set_port_state(&self, tpgt: u16, state: PortState) {
        if self.alua.set(tpgt, state) {
            for lun in &self.luns {
                self.raise_attention(lun.config.number, 0x2a, 0x06);
            }
        }
    }

    /// Ends all registrations of LUN `number`, and its reservation, as a CLEAR does that another host sends:
    /// every nexus that was registered finds a unit attention (2A/03, RESERVATIONS PREEMPTED).
    ///
    /// # Panics
    ///
    /// When there is no such LUN.
    pub fn clear_registrations(&self, number: u16) {
        let lun = self.lun(number).expect("a LUN of the configuration");
        let notices = lun.reservations(Reservations::clear_all);
        self.note_registry(lun, None);
        self.notify(number, notices);
    }

    /// Forgets registrations of LUN `number`, and the reservation if its holder is among them: those through portal
    /// group `tpgt`, or all. No nexus is told, as by a controller that was replaced.
    ///
    /// # Panics
    ///
    /// If there is no such LUN.
    pub fn forget_registrations(&self, number: u16, tpgt: Option<u16>) {
        let lun = self.lun(number).expect("a LUN of the configuration");
        lun.reservations(|reservations| reservations.forget(tpgt));
        self.note_registry(lun, None);
    }

    fn notify(&self, number: u16, notices: Vec<Notice>) {
        let sessions = lock(&self.sessions);
        for (nexus, asc, ascq) in notices {
            if let Some(session) = sessions.get(&nexus) {
                session.add_attention(number, asc, ascq);
            }
        }
    }

    /// Writes that came from an I_T nexus that had not been registered (SPC-4 section 5.12.7) at any time since
    /// its login. Nobody has to be, unless all are meant to be.
    #[must_use]
    pub fn unregistered_writes(&self) -> u64 {
        self.unregistered_writes.load(Ordering::Relaxed)
    }

    /// A write has come.
    pub(super) fn note_write(&self, by: &Session, lun: &LogicalUnit) {
        let number = lun.config.number;
        let mut registered = lock(&by.registered);
        if registered.contains(&number) {
            return;
        }
        if lun.reservations(|r| r.is_registered(&by.nexus)) {
            registered.push(number);
        } else {
            self.unregistered_writes.fetch_add(1, Ordering::Relaxed);
            self.note_keyless(by, lun);
        }
    }

    /// Does with `data` what its command wants; `None` if the session has ended or the unit was reset
    /// since `generation`.
    pub(super) fn carry_out(
        &self,
        by: &Arc<Session>,
        lun: &LogicalUnit,
        purpose: Purpose,
        data: &[u8],
        generation: u32,
    ) -> Option<End> {
        match purpose {
            Purpose::PortGroups => self.set_port_groups(by, data),
            Purpose::Reserve { action, scope_type } => {
                self.reserve(by, lun, (action, scope_type), data)
            }
            _ => by.carry_out(lun, purpose, data, generation),
        }
    }

    /// PERSISTENT RESERVE OUT: whoever loses by it is told.
    fn reserve(
        &self,
        by: &Arc<Session>,
        lun: &LogicalUnit,
        (action, scope_type): (u8, u8),
        list: &[u8],
    ) -> Option<End> {
        let alive = lock(&by.alive);
        if !*alive {
            return None;
        }
        let changed = lun.reservations(|r| {
            let mut gone = r.registrants();
            let notices = r.change(&by.nexus, action, scope_type, list)?;
            let left = r.registrants();
            gone.retain(|nexus| action == PREEMPT_AND_ABORT && !left.contains(nexus));
            Ok((gone, notices))
        });
        let changed = changed.map(|(gone, notices)| {
            gone.into_iter().for_each(|nexus| lun.abort_tasks_of(nexus));
            notices
        });
        let notices = match changed {
            Ok(notices) => notices,
            Err(Refusal::Conflict) => return Some(End::Status(RESERVATION_CONFLICT)),
            Err(Refusal::Check(sense)) => return Some(End::Check(sense)),
        };
        self.note_registry(lun, Some(&by.nexus.0));
        let number = lun.config.number;
        let mut registered = lock(&by.registered);
        if !registered.contains(&number) && lun.reservations(|r| r.is_registered(&by.nexus)) {
            registered.push(number);
        }
        drop(registered);
        self.notify(number, notices);
        Some(End::Good)
    }

    /// SET TARGET PORT GROUPS: every nexus but the one that asked is told. `None` if that has ended.
    fn set_port_groups(&self, by: &Arc<Session>, list: &[u8]) -> Option<End> {
        let alive = lock(&by.alive);
        if !*alive {
            return None;
        }
        if let Err(sense) = self.alua.apply(list) {
            return Some(End::Check(sense));
        }
        for session in lock(&self.sessions).values() {
            if !Arc::ptr_eq(session, by) {
                for lun in &self.luns {
                    session.add_attention(lun.config.number, 0x2a, 0x06);
                }
            }
        }
        Some(End::Good)
    }

    /// The state of target port group `tpgt`, optimized where nothing else was said; `None` without
    /// such a group.
    #[must_use]
    pub fn port_state(&self, tpgt: u16) -> Option<PortState> {
        self.alua.state(tpgt)
    }

    /// Reads the medium of LUN `number` past the protocol, as a test's own look at the disk.
    ///
    /// # Panics
    ///
    /// When there is no such LUN, or the range is not on it.
    pub fn peek(&self, number: u16, offset: u64, buf: &mut [u8]) {
        let lun = self.lun(number).expect("a LUN of the configuration");
        assert!(
            offset + buf.len() as u64 <= lun.size(),
            "beyond the end of the LUN"
        );
        lun.read(offset, buf);
    }

    pub(super) fn lun(&self, number: u16) -> Option<&Arc<LogicalUnit>> {
        self.luns.iter().find(|lun| lun.config.number == number)
    }

    pub(super) fn violation(&self, portal: usize, violation: Violation) {
        if self.hardship.excuses(&violation) {
            return;
        }
        let mut violations = lock(&self.violations);
        if violations.len() < MAX_VIOLATIONS {
            violations.push((portal, violation));
        }
    }

    pub(super) fn login_began(&self, portal: usize, now: Instant, isid: Isid, text: &[u8]) {
        self.ledger.tell_time(now);
        let mut attempts = lock(&self.attempts);
        if attempts.len() < MAX_ATTEMPTS {
            let at = now.saturating_duration_since(Instant::ZERO);
            let mut pairs = Pairs::new(text).map_while(Result::ok);
            let name = pairs.find(|(key, _)| *key == "InitiatorName");
            attempts.push(LoginAttempt {
                at,
                portal,
                initiator: name.map_or_else(String::new, |(_, name)| name.into()),
                isid,
            });
        }
    }

    /// A number that differs for every connection, and is the same in every run of a simulation.
    pub(super) fn connection_seed(&self) -> u64 {
        let count = self.next_seed.fetch_add(1, Ordering::Relaxed);
        self.config.seed.rotate_left(32) ^ u64::from(count)
    }

    /// A session for `nexus`, in place of the one it may have (section 6.3.5): that one's tasks take no
    /// effect any more once this returns, and its connection is closed.
    pub(super) fn open_session(&self, nexus: Nexus, closer: Closer) -> Arc<Session> {
        let new = Arc::new(Session {
            tsih: self.next_tsih.fetch_add(1, Ordering::Relaxed).max(1),
            nexus: nexus.clone(),
            alive: Mutex::new(true),
            closer,
            since: self.ledger.clock(),
            registered: Mutex::default(),
            attentions: Mutex::default(),
            has_attention: AtomicBool::new(false),
        });
        let old = lock(&self.sessions).insert(nexus.clone(), Arc::clone(&new));
        if let Some(old) = old {
            // Its tasks go on where nobody minds them; they end up with the back end.
            if self.back_end.reinstatement() != Reinstatement::Ignores {
                old.end();
            }
            (old.closer)();
        }
        self.back_end.reinstated(&nexus);
        let first = lock(&self.known).insert(nexus);
        if self.config.unit_attention {
            for lun in &self.luns {
                // POWER ON, RESET, OR BUS DEVICE RESET OCCURRED; I_T NEXUS LOSS OCCURRED.
                new.add_attention(lun.config.number, 0x29, if first { 0x00 } else { 0x07 });
            }
        }
        new
    }

    pub(super) fn has_session(&self, tsih: u16) -> bool {
        lock(&self.sessions)
            .values()
            .any(|session| session.tsih == tsih)
    }

    pub(super) fn close_session(&self, session: &Arc<Session>) {
        session.end();
        let mut sessions = lock(&self.sessions);
        if sessions
            .get(&session.nexus)
            .is_some_and(|current| Arc::ptr_eq(current, session))
        {
            sessions.remove(&session.nexus);
        }
    }

    /// Aborts every task of the unit, and tells every nexus with this additional sense code and
    /// qualifier. A reset excepts nobody, not even the one that asked (SAM-5 sections 5.14 and 6.3.3);
    /// who has commands cleared knows it.
    pub(super) fn reset_unit(&self, lun: &LogicalUnit, by: &Arc<Session>, (asc, ascq): (u8, u8)) {
        lun.reset();
        let was_reset = asc == 0x29;
        for session in lock(&self.sessions)
            .values()
            .filter(|session| was_reset || !Arc::ptr_eq(session, by))
        {
            session.add_attention(lun.config.number, asc, ascq);
        }
    }

    /// Closes the connections of all sessions but this one, as a cold reset does.
    pub(super) fn drop_others(&self, by: &Arc<Session>) {
        let others: Vec<_> = lock(&self.sessions)
            .values()
            .filter(|other| !Arc::ptr_eq(other, by))
            .cloned()
            .collect();
        for session in others {
            session.end();
            (session.closer)();
        }
    }

    /// Remembers a CDB of more than 16 bytes, for a test to look at.
    pub(super) fn note_extended_cdb(&self, begin: &[u8; 16], rest: &[u8]) {
        let mut cdbs = lock(&self.extended_cdbs);
        if cdbs.len() < MAX_EXTENDED_CDBS {
            cdbs.push([begin, rest].concat());
        }
    }

    /// The CDBs of more than 16 bytes that came so far, the first thousand of them.
    #[must_use]
    pub fn extended_cdbs(&self) -> Vec<Vec<u8>> {
        lock(&self.extended_cdbs).clone()
    }
}

impl fmt::Debug for TargetCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.config.name;
        f.debug_struct("TargetCore")
            .field("name", name)
            .finish_non_exhaustive()
    }
}
