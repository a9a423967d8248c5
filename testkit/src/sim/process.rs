//! Programs of a simulated world, which can die or stand still by themselves.

use std::{fmt, io, time::Duration};

use super::{
    handle::SimHandle,
    ids::{ConnId, ProcessId, Side},
    life::Process,
    task::Task,
    world::{Event, World},
};

/// A program of a simulated world: what runs on its [`handle`](Self::handle), with all tasks, timers,
/// listeners and connections, dies or stands still together. To start it again, start another one.
///
/// ```
/// use iscsi_client::runtime::Runtime;
/// use iscsi_testkit::sim::SimRuntime;
///
/// let sim = SimRuntime::new(7);
/// let program = sim.handle().process();
/// program.handle().spawn(Box::pin(std::future::pending()));
/// program.kill();
/// assert!(!program.is_alive());
/// ```
#[derive(Clone)]
pub struct SimProcess {
    handle: SimHandle,
}

impl SimHandle {
    /// A new program in this world.
    #[must_use]
    pub fn process(&self) -> SimProcess {
        let process = self.shared.with(|world| {
            world.processes.push(Process::default());
            world.processes.len() as ProcessId - 1
        });
        let shared = self.shared.clone();
        SimProcess {
            handle: Self { shared, process },
        }
    }
}

impl SimProcess {
    /// The runtime of whatever belongs to this program.
    #[must_use]
    pub fn handle(&self) -> SimHandle {
        self.handle.clone()
    }

    /// Whether it was neither killed nor lost its power.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        let process = self.handle.process;
        !self.handle.shared.with(|world| world.is_dead(process))
    }

    /// Ends the program as SIGKILL does. None of its tasks runs again: they are dropped, and nothing
    /// that their destructors begin has any effect. Its kernel closes the connections: with a reset
    /// where data lay unread, of which the seed decides how much of what was under way still arrives;
    /// else in good order, and with a reset for data that comes later. Listeners close too. A program
    /// that is dead stays as it is.
    ///
    /// May be called from a task of the program, which then is dropped when its poll returns.
    pub fn kill(&self) {
        self.end(World::close_as_kernel);
    }

    /// Ends the program as SIGKILL does where the connections that it has made linger for no time
    /// (`SO_LINGER` with 0, as those of the client's adapters): each is reset, and what its kernel has not
    /// sent never is. What else it has ends as with [`kill`](Self::kill).
    pub fn kill_with_reset(&self) {
        self.end(|world, id, side| match side {
            Side::Initiator => {
                world.abort(id, side);
                world.forget_end(id, side);
            }
            Side::Target => world.close_as_kernel(id, side),
        });
    }

    /// Ends the program and its host at once: its connections fall silent, and what it has not sent yet
    /// is lost. A program that is dead stays as it is.
    pub fn lose_power(&self) {
        self.end(|world, id, side| {
            world.lose(id, [true; 2]);
            world.forget_end(id, side);
        });
    }

    fn end(&self, close: impl Fn(&mut World, ConnId, Side)) {
        let shared = &self.handle.shared;
        let tasks = shared.with(|world| world.kill(self.handle.process, close));
        // Never under the lock: destructors may do anything. Their process is dead by now.
        drop(tasks);
    }

    /// Lets none of its tasks run, for `duration` or until [`resume`](Self::resume), as SIGSTOP or a
    /// scheduler with something better to do: its kernel goes on, and receives until the buffers are
    /// full. A later call takes the place of an earlier one.
    pub fn suspend(&self, duration: Option<Duration>) {
        let id = self.handle.process;
        self.handle.shared.with(|world| {
            let until = duration.map(|duration| {
                let nanos = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
                world.now.saturating_add(nanos)
            });
            let Some(process) = world.processes.get_mut(id as usize) else {
                return;
            };
            if process.is_dead {
                return;
            }
            process.is_suspended = true;
            process.suspension += 1;
            let suspension = process.suspension;
            world.net.counts.suspended += 1;
            world.trace.fold(u64::from(id));
            if let Some(until) = until {
                world.schedule(until, Event::Resume(id, suspension));
            }
        });
    }

    /// Lets it go on.
    pub fn resume(&self) {
        let id = self.handle.process;
        self.handle.shared.with(|world| world.resume(id, None));
    }
}

impl fmt::Debug for SimProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimProcess")
            .field("process", &self.handle.process)
            .finish_non_exhaustive()
    }
}

impl World {
    pub(super) fn is_dead(&self, process: ProcessId) -> bool {
        let process = self.processes.get(process as usize);
        process.is_some_and(|process| process.is_dead)
    }

    /// Ends the suspension `which`, or whatever suspension there is.
    pub(super) fn resume(&mut self, id: ProcessId, which: Option<u64>) {
        let Some(process) = self.processes.get_mut(id as usize) else {
            return;
        };
        if which.is_some_and(|which| which != process.suspension) {
            return;
        }
        process.is_suspended = false;
        for task in process.waiting.drain(..) {
            self.ready.push(task);
        }
    }

    fn kill(&mut self, id: ProcessId, close: impl Fn(&mut Self, ConnId, Side)) -> Vec<Task> {
        let Some(process) = self.processes.get_mut(id as usize) else {
            return Vec::new();
        };
        if std::mem::replace(&mut process.is_dead, true) {
            return Vec::new();
        }
        process.is_suspended = false;
        process.waiting.clear();
        self.net.counts.killed += 1;
        self.trace.fold(u64::from(id));
        self.abandon_dials(id);
        self.close_listeners(id);
        for side in Side::BOTH {
            for conn in self.net.conns.keys(|conn| conn.owners[side as usize] == id) {
                close(self, conn, side);
            }
        }
        let tasks = self.tasks.keys(|task| task.process == id);
        tasks
            .into_iter()
            .filter_map(|task| self.tasks.remove(task))
            .collect()
    }

    fn abandon_dials(&mut self, process: ProcessId) {
        for dial in self.net.dials.keys(|dial| dial.process == process) {
            // A connection that was made is among those that are closed.
            self.net.dials.remove(dial);
        }
    }

    fn close_listeners(&mut self, process: ProcessId) {
        let mut orphans = Vec::new();
        self.net.listeners.retain(|_, listener| {
            let stays = listener.process != process;
            if !stays {
                orphans.extend(listener.backlog.drain(..));
            }
            stays
        });
        // Linux resets what nobody has accepted.
        for conn in orphans {
            self.abort(conn, Side::Target);
            self.forget_end(conn, Side::Target);
        }
    }

    /// What a kernel does about the connections of a process that ended.
    fn close_as_kernel(&mut self, id: ConnId, side: Side) {
        let now = self.now;
        let Some(conn) = self.net.conns.get_mut(id) else {
            return;
        };
        let end = &mut conn.ends[side as usize];
        if end.reader_gone {
            return;
        }
        let is_unread = end.chunks.iter().any(|chunk| chunk.at <= now);
        let arrives = end.chunks.iter().map(|chunk| chunk.at).max();
        if is_unread {
            self.abort(id, side);
        } else {
            self.finish(id, side);
            if let Some(at) = arrives.filter(|at| *at < u64::MAX) {
                // What comes after the end finds nobody.
                self.schedule(at, Event::Unwelcome(id, side));
            }
        }
        if let Some(conn) = self.net.conns.get_mut(id) {
            conn.fail(side, io::ErrorKind::NotConnected, &mut self.wakes);
        }
        self.forget_end(id, side);
    }
}
