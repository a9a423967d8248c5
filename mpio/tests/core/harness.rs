//! A shell without I/O: the test says what the paths do, and when.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use mpio::core::{
    Action, Admission, AttemptId, Config, DownReason, Event, Execution, Failure, FenceStepId,
    IdentityCheck, IoClass, IoId, Multipath, NetworkProgress, Outcome, PathAttributes, PathId,
    ProbeKind, ProbeReport, ProbeResult, Retry, Scope, SubmitError, Verdict,
};

pub(crate) const MS: Duration = Duration::from_millis(1);
pub(crate) const S: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Preemption {
    pub(crate) step: FenceStepId,
    pub(crate) dead: PathId,
    pub(crate) via: PathId,
    pub(crate) own: u64,
    pub(crate) victim: u64,
}

pub(crate) struct Harness {
    pub(crate) core: Multipath,
    pub(crate) now: Instant,
    start: Instant,
    /// Whether I/O goes by `admit` and `complete`, and what a shell that does so has its timer armed for.
    pub(crate) short_way: bool,
    armed: Option<Instant>,
    /// Dispatched and not ended, in the order of dispatch.
    pub(crate) flying: Vec<(IoId, AttemptId, PathId)>,
    pub(crate) recalled: Vec<AttemptId>,
    /// Of these, those that are not to be aborted.
    pub(crate) detached: Vec<AttemptId>,
    pub(crate) probes: Vec<(PathId, ProbeKind)>,
    /// What the platform says of a path.
    pub(crate) progress: Box<dyn FnMut(PathId, Instant) -> Option<NetworkProgress>>,
    /// When it was asked.
    pub(crate) progress_asked: Vec<(Instant, PathId)>,
    /// Paths through which the unit is asked for its port groups.
    pub(crate) reports: Vec<PathId>,
    /// Groups that are to become active, and through which path.
    pub(crate) activations: Vec<(PathId, u16)>,
    pub(crate) fences: Vec<PathId>,
    /// Rungs to be carried out: whose nexus through which path.
    pub(crate) reinstatements: Vec<(FenceStepId, PathId, PathId)>,
    /// Preemptions: whose commands through which path, and with which keys.
    pub(crate) preemptions: Vec<Preemption>,
    /// Paths that are to be registered.
    pub(crate) to_register: Vec<PathId>,
    /// And resets, through which path.
    pub(crate) resets: Vec<(FenceStepId, PathId)>,
    /// When each was asked for, and after how many ends of attempts.
    pub(crate) asked: HashMap<FenceStepId, (Instant, usize)>,
    pub(crate) ends: usize,
    pub(crate) closes: Vec<PathId>,
    pub(crate) finished: HashMap<IoId, Verdict>,
    pub(crate) events: Vec<Event>,
}

/// The end of an attempt whose connection was lost after it was sent.
pub(crate) const LOST: Outcome = failed(Scope::Path, Execution::Unknown, false, Retry::OtherPath);
/// The end of an attempt that was never sent.
pub(crate) const UNSENT: Outcome = Outcome::Failed(Failure {
    scope: Scope::Path,
    execution: Execution::NotExecuted,
    dead: true,
    unsent: true,
    retry: Retry::OtherPath,
});
/// The end of an attempt that was taken back.
pub(crate) const TAKEN_BACK: Outcome =
    failed(Scope::Request, Execution::Unknown, false, Retry::Never);

pub(crate) const fn failed(
    scope: Scope,
    execution: Execution,
    dead: bool,
    retry: Retry,
) -> Outcome {
    Outcome::Failed(Failure {
        scope,
        execution,
        dead,
        unsent: false,
        retry,
    })
}

impl Harness {
    pub(crate) fn new(config: Config) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "any start serves for virtual time"
        )]
        let now = Instant::now();
        Self {
            core: Multipath::new(now, config, 7),
            now,
            start: now,
            short_way: true,
            armed: None,
            flying: Vec::new(),
            recalled: Vec::new(),
            detached: Vec::new(),
            probes: Vec::new(),
            progress: Box::new(|_, _| None),
            progress_asked: Vec::new(),
            reports: Vec::new(),
            activations: Vec::new(),
            fences: Vec::new(),
            reinstatements: Vec::new(),
            preemptions: Vec::new(),
            to_register: Vec::new(),
            resets: Vec::new(),
            asked: HashMap::new(),
            ends: 0,
            closes: Vec::new(),
            finished: HashMap::new(),
            events: Vec::new(),
        }
    }

    /// A device whose paths are up, its events so far forgotten.
    pub(crate) fn with_paths<const N: usize>(config: Config) -> (Self, [PathId; N]) {
        let mut harness = Self::new(config);
        let paths = std::array::from_fn(|index| harness.add(&format!("path{index}"), 1));
        for path in paths {
            harness.up(path);
        }
        harness.events.clear();
        (harness, paths)
    }

    pub(crate) fn add(&mut self, name: &str, priority: u32) -> PathId {
        self.add_with(PathAttributes::new(name).with_priority(priority))
    }

    pub(crate) fn add_with(&mut self, attributes: PathAttributes) -> PathId {
        let path = self.core.add_path(self.now, attributes);
        self.drain();
        path
    }

    pub(crate) fn up(&mut self, path: PathId) {
        self.core
            .handle_path_up(self.now, path, IdentityCheck::Verified);
        self.drain();
    }

    /// The connection is lost; what is in flight ends as `with`.
    pub(crate) fn down(&mut self, path: PathId, with: Outcome) {
        self.core
            .handle_path_down(self.now, path, DownReason::ConnectionLost);
        self.drain();
        for (_, attempt, _) in self.on(path) {
            self.end(attempt, with);
        }
    }

    pub(crate) fn read(&mut self, range: std::ops::Range<u64>) -> IoId {
        self.submit(IoClass::read(range))
    }

    pub(crate) fn write(&mut self, range: std::ops::Range<u64>) -> IoId {
        self.submit(IoClass::write(range))
    }

    pub(crate) fn submit(&mut self, class: IoClass) -> IoId {
        self.try_submit(class).expect("accepted")
    }

    pub(crate) fn try_submit(&mut self, class: IoClass) -> Result<IoId, SubmitError> {
        if !self.short_way {
            let io = self.core.submit(self.now, class)?;
            self.drain();
            return Ok(io);
        }
        match self.core.admit(self.now, class)? {
            Admission::Go { io, attempt, path } => {
                self.fly(io, attempt, path);
                self.follow_up();
                Ok(io)
            }
            Admission::Wait(io) => {
                self.drain();
                Ok(io)
            }
        }
    }

    /// What a shell has to do after the short way, and that it is enough.
    fn follow_up(&mut self) {
        let sooner = self.core.take_sooner();
        let due = self.core.poll_timeout();
        if self.core.has_output() {
            self.drain();
        } else {
            self.armed = self.armed.into_iter().chain(sooner).min();
            let armed = self.armed;
            assert!(
                due.is_none_or(|due| armed.is_some_and(|armed| armed <= due)),
                "the shell would oversleep: {armed:?} {due:?}"
            );
        }
    }

    fn fly(&mut self, io: IoId, attempt: AttemptId, path: PathId) {
        assert!(self.flight(io).is_none(), "{io} is in flight already");
        assert!(!self.finished.contains_key(&io), "{io} is finished");
        self.flying.push((io, attempt, path));
    }

    fn finish(&mut self, io: IoId, verdict: Verdict) {
        assert!(self.flight(io).is_none(), "{io} finished in flight");
        let before = self.finished.insert(io, verdict);
        assert_eq!(before, None, "{io} finished twice");
    }

    pub(crate) fn end(&mut self, attempt: AttemptId, outcome: Outcome) {
        self.ends += 1;
        let flown = self.flying.iter().find(|f| f.1 == attempt).copied();
        self.flying.retain(|&(_, other, _)| other != attempt);
        match flown {
            Some((io, _, _)) if self.short_way && outcome == Outcome::Success => {
                self.core.complete(self.now, attempt);
                self.finish(io, Verdict::Success);
                self.follow_up();
            }
            _ => {
                self.core.handle_outcome(self.now, attempt, outcome);
                self.drain();
            }
        }
    }

    /// The I/O's attempt ends.
    pub(crate) fn end_io(&mut self, io: IoId, outcome: Outcome) {
        let (_, attempt, _) = self.flight(io).expect("in flight");
        self.end(attempt, outcome);
    }

    pub(crate) fn answer(&mut self, path: PathId, kind: ProbeKind, result: ProbeResult) {
        self.probes.retain(|&probe| probe != (path, kind));
        self.core
            .handle_probe(self.now, path, ProbeReport { kind, result });
        self.drain();
    }

    pub(crate) fn flight(&self, io: IoId) -> Option<(IoId, AttemptId, PathId)> {
        self.flying
            .iter()
            .copied()
            .find(|&(other, _, _)| other == io)
    }

    pub(crate) fn path_of(&self, io: IoId) -> Option<PathId> {
        self.flight(io).map(|(_, _, path)| path)
    }

    pub(crate) fn on(&self, path: PathId) -> Vec<(IoId, AttemptId, PathId)> {
        let on = self.flying.iter().copied();
        on.filter(|&(_, _, other)| other == path).collect()
    }

    pub(crate) fn verdict(&self, io: IoId) -> Option<Verdict> {
        self.finished.get(&io).copied()
    }

    /// Lets time pass, stopping at each timer. TURs are answered at once unless a path is in `dumb`.
    pub(crate) fn pass(&mut self, time: Duration, dumb: &[PathId]) {
        let end = self.now + time;
        let mut steps = 0;
        while let Some(at) = self.core.poll_timeout().filter(|&at| at <= end) {
            steps += 1;
            assert!(steps < 10_000, "timers that do not get done");
            self.now = self.now.max(at);
            self.core.handle_timeout(self.now);
            self.drain();
            for (path, kind) in std::mem::take(&mut self.probes) {
                if dumb.contains(&path) {
                    self.probes.push((path, kind));
                } else {
                    self.answer(path, kind, ProbeResult::Ready);
                }
            }
        }
        self.now = end;
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    pub(crate) fn saw(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| wanted(event)).count()
    }

    pub(crate) fn drain(&mut self) {
        while let Some(action) = self.core.poll_action() {
            match action {
                Action::Dispatch { io, attempt, path } => self.fly(io, attempt, path),
                Action::Recall { attempt } => {
                    assert!(self.flying.iter().any(|&(_, other, _)| other == attempt));
                    assert!(!self.recalled.contains(&attempt), "recalled twice");
                    self.recalled.push(attempt);
                }
                Action::Detach { attempt } => {
                    assert!(self.flying.iter().any(|&(_, other, _)| other == attempt));
                    assert!(!self.recalled.contains(&attempt), "taken back twice");
                    self.recalled.push(attempt);
                    self.detached.push(attempt);
                }
                Action::Probe { path, kind } => self.probes.push((path, kind)),
                Action::AskProgress { path } => {
                    self.progress_asked.push((self.now, path));
                    let progress = (self.progress)(path, self.now);
                    self.core.handle_progress(self.now, path, progress);
                }
                Action::ReportPortGroups { path } => self.reports.push(path),
                Action::Activate { path, group } => self.activations.push((path, group)),
                Action::Fence { path } => self.fences.push(path),
                Action::Reinstate { step, dead, via } => {
                    self.asked.insert(step, (self.now, self.ends));
                    self.reinstatements.push((step, dead, via));
                }
                Action::Register { path } => self.to_register.push(path),
                Action::Preempt {
                    step,
                    dead,
                    via,
                    own,
                    victim,
                } => {
                    self.asked.insert(step, (self.now, self.ends));
                    self.preemptions.push(Preemption {
                        step,
                        dead,
                        via,
                        own,
                        victim,
                    });
                }
                Action::ResetUnit { step, via } => {
                    self.asked.insert(step, (self.now, self.ends));
                    self.resets.push((step, via));
                }
                Action::Close { path } => self.closes.push(path),
                Action::Finish { io, verdict } => self.finish(io, verdict),
                other => panic!("an action that this test does not know: {other:?}"),
            }
        }
        while let Some(event) = self.core.poll_event() {
            self.events.push(event);
        }
        self.armed = self.core.poll_timeout();
    }
}
