//! Our initiator and our target, with something between them that changes PDUs.

mod middlebox;
mod store;

use std::time::Duration;

use iscsi_proto::{
    Isid, Lun,
    login::LoginConfig,
    pdu::Residual,
    scsi::{cdb::Cdb, status::ScsiStatus},
    session::{Command, DataLength, Event, Execution, Response, TaskError},
    text::{DigestOffer, OperationalOffer},
};
use iscsi_testkit::{
    pair::{Pair, PairConfig},
    target::{Limits, LunConfig, TargetConfig},
};

use self::{
    middlebox::{Change, Middlebox},
    store::Expected,
};
use crate::{Script, memory::Meter};

const BLOCK: usize = 512;
/// Blocks of a slot; each command is about one slot.
const SLOT: u64 = 32;
const SLOTS: u64 = 4;
/// Everything is decided long before: commands have three seconds, their aborts five, pings ten.
const LONG: Duration = Duration::from_secs(120);
const CAP: usize = 16 << 20;

fn target(script: &mut Script<'_>) -> TargetConfig {
    let kind = script.byte();
    let mut limits = Limits::default();
    limits.initial_r2t = Script::bit(kind, 0);
    limits.immediate_data = Script::bit(kind, 1);
    limits.status_in_data = Script::bit(kind, 2);
    limits.ping_every = u32::from(kind >> 3 & 3);
    limits.max_recv_data_segment_length = 1024;
    limits.max_burst_length = 4096;
    limits.first_burst_length = 2048;
    limits.max_outstanding_r2t = u16::from(kind >> 5 & 1) + 1;
    limits.queue_depth = 8;
    let mut config = TargetConfig::new("iqn.2026-01.example:disk")
        .with_portal("127.0.0.1:3260".parse().expect("an address"), 1)
        .with_lun(LunConfig::new(0, SLOTS * SLOT * BLOCK as u64).with_seed(store::SEED))
        .with_limits(limits);
    config.unit_attention = false;
    config
}

/// Both digests, so that nothing changes unseen.
fn log_in(script: &mut Script<'_>) -> Pair {
    let target = target(script);
    let name = |text: &str| text.parse().expect("a name");
    let login = LoginConfig::normal(
        name("iqn.2026-01.example:host"),
        name(&target.name),
        Isid([2; 6]),
    );
    let offer = OperationalOffer::default()
        .with_header_digest(DigestOffer::RequireCrc32c)
        .with_data_digest(DigestOffer::RequireCrc32c)
        .with_max_recv_data_segment_length(1536)
        .expect("in range");
    let seed = script.byte().into();
    let cut = script.pick(&[1 << 16, 700, 61]);
    let mut config = PairConfig::new(seed).with_cut(cut);
    config.session.max_tasks = 16;
    config.session.scratch = 4096;
    Pair::log_in(config, target, login.with_offer(offer)).expect("nobody is between them yet")
}

/// A command that is under way.
struct Flight {
    itt: iscsi_proto::InitiatorTaskTag,
    lba: u64,
    /// What is written; of a read, nothing.
    written: Option<Vec<u8>>,
}

struct Talk {
    pair: Pair,
    expected: Expected,
    flights: Vec<Flight>,
    /// Nothing was changed on the way.
    untouched: bool,
    /// What was changed was made to look right.
    lies: bool,
    over: bool,
}

impl Talk {
    fn submit(&mut self, script: &mut Script<'_>, slot: u64) {
        let kind = script.byte();
        let blocks = u64::from(kind >> 2 & 15) + 1;
        let lba = slot * SLOT + u64::from(script.byte()) % (SLOT - blocks + 1);
        let len = blocks as usize * BLOCK;
        let (cdb, data, memory, written) = if Script::bit(kind, 0) {
            let bytes = self.expected.fresh(len);
            let cdb = Cdb::write16(lba, blocks as u32, false);
            (cdb, DataLength::Out(len as u32), bytes.clone(), Some(bytes))
        } else {
            let cdb = Cdb::read16(lba, blocks as u32, false);
            (cdb, DataLength::In(len as u32), vec![0xee; len], None)
        };
        let mut command = Command::new(Lun::new(0), cdb, data);
        command.deadline = Some(self.pair.now().saturating_add(Duration::from_secs(3)));
        if let Ok(itt) = self.pair.submit(&command, memory) {
            self.flights.push(Flight { itt, lba, written });
        }
    }

    /// Lets all that is under way come to its end.
    fn finish(&mut self) {
        let until = self.pair.now().saturating_add(LONG);
        while !self.flights.is_empty() {
            match self.pair.drive(until) {
                Ok(Some(event)) => self.hear(event),
                Ok(None) => panic!("{} commands never end", self.flights.len()),
                Err(error) => {
                    assert!(!self.untouched, "{error}");
                    self.over = true;
                    while let Some(event) = self.pair.session.poll_event() {
                        self.hear(event);
                    }
                    assert!(
                        self.flights.is_empty(),
                        "commands that outlive their connection"
                    );
                }
            }
        }
    }

    fn hear(&mut self, event: Event) {
        let Event::CommandDone { itt, result } = event else {
            return;
        };
        let at = self.flights.iter().position(|flight| flight.itt == itt);
        let flight = self
            .flights
            .swap_remove(at.expect("one end for each command"));
        let memory = self.pair.take_memory(itt).expect("it was there until now");
        self.judge(&flight, &memory, &result);
    }

    fn judge(&mut self, flight: &Flight, memory: &[u8], result: &Result<Response, TaskError>) {
        let good = matches!(result, Ok(response) if response.status == ScsiStatus::Good
            && response.residual == Residual::None);
        assert!(
            good || !self.untouched,
            "{result:?}, and nobody was between them"
        );
        match &flight.written {
            None if good && !self.lies => self.expected.read(flight.lba, memory),
            None => {}
            Some(bytes) if good => self.expected.wrote(flight.lba, bytes),
            Some(bytes) => {
                let never =
                    matches!(result, Err(error) if error.execution == Execution::NotExecuted);
                if !never {
                    self.expected.may_write(flight.lba, bytes);
                }
            }
        }
    }
}

/// A configuration, changes, and commands. Oracles: each command ends exactly once and in bounded time,
/// whatever was changed; if nothing was, all succeed and the strict target has nothing against us; if
/// changes were not made to look right (digests included), what a read gets is what was written, and
/// what a write was told is what the medium has.
///
/// # Panics
///
/// Where they do not hold.
pub fn pair(input: &[u8]) {
    #[cfg(fuzzing)]
    iscsi_proto::digest::keep();
    let mut script = Script::new(input);
    let meter = Meter::start();
    let mut pair = log_in(&mut script);
    let changes: Vec<_> = (0..script.byte() % 6)
        .map(|_| Change::draw(&mut script))
        .collect();
    let lies = changes.iter().any(Change::is_lie);
    let untouched = changes.is_empty();
    let mut middlebox = Middlebox::new(changes);
    pair.set_middlebox(move |towards, bytes| middlebox.pass(towards, &bytes));
    let mut talk = Talk {
        pair,
        expected: Expected::new(SLOTS * SLOT),
        flights: Vec::new(),
        untouched,
        lies,
        over: false,
    };
    for _ in 0..8 {
        if script.is_over() || talk.over {
            break;
        }
        let which = script.byte();
        for slot in (0..SLOTS).filter(|slot| Script::bit(which, *slot as u8)) {
            talk.submit(&mut script, slot);
        }
        talk.finish();
        meter.holds_at_most(CAP);
    }
    if !lies {
        let mut content = vec![0; (SLOTS * SLOT) as usize * BLOCK];
        talk.pair.target().peek(0, 0, &mut content);
        talk.expected.read(0, &content);
    }
    if untouched {
        assert_eq!(talk.pair.target().violations(), []);
    }
}
