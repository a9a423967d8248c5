//! A volatile cache, and a unit that changes its size or its identity.

use std::sync::Arc;

use iscsi_testkit::target::{Crash, TargetCore};

use crate::{
    reads::core,
    script::{Direct, Direction, Script, config, rw10},
};

const BLOCKS: u32 = 64;

fn volatile() -> (Arc<TargetCore>, Script<Direct>) {
    let mut config = config();
    config.luns[0].volatile = true;
    config.luns[0].fua = true;
    let core = core(config);
    let script = Script::direct(&core).logged_in(&[]);
    (core, script)
}

fn write(script: &mut Script<Direct>, block: u32, flags: u8, byte: u8) {
    let mut cdb = rw10(0x2a, block, 1);
    cdb[1] = flags;
    script.command(0, &cdb, 512, Direction::Write, &[byte; 512]);
    assert_eq!(script.status().0, 0);
}

fn count(core: &TargetCore, byte: u8) -> usize {
    let holds = |block: &u32| {
        let mut bytes = [0; 512];
        core.peek(0, u64::from(*block) * 512, &mut bytes);
        bytes == [byte; 512]
    };
    (0..BLOCKS).filter(holds).count()
}

fn lose_power(core: &TargetCore) {
    let mut crash = Crash::default();
    crash.loses_power = true;
    core.crash(crash);
}

#[test]
fn a_loss_of_power_forgets_some_of_what_was_not_flushed() {
    let (core, mut script) = volatile();
    (0..BLOCKS).for_each(|block| write(&mut script, block, 0, 7));
    script.command(
        0,
        &[0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        0,
        Direction::None,
        &[],
    );
    assert_eq!(script.status().0, 0);
    (0..BLOCKS).for_each(|block| write(&mut script, block, 0, 8));
    lose_power(&core);
    let (new, old) = (count(&core, 8), count(&core, 7));
    assert!(new > 0 && old > 0, "{new} and {old}");
    assert_eq!(new + old, BLOCKS as usize, "what was flushed is there");
}

#[test]
fn what_was_written_with_fua_is_durable() {
    let (core, mut script) = volatile();
    (0..BLOCKS).for_each(|block| write(&mut script, block, 0x08, 7));
    lose_power(&core);
    assert_eq!(count(&core, 7), BLOCKS as usize);
}

#[test]
fn a_crash_that_keeps_power_keeps_the_cache() {
    let (core, mut script) = volatile();
    (0..BLOCKS).for_each(|block| write(&mut script, block, 0, 7));
    core.crash(Crash::default());
    assert_eq!(count(&core, 7), BLOCKS as usize);
}

#[test]
fn a_unit_that_was_resized_says_so() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    core.resize(0, 1 << 20);
    let capacity = |script: &mut Script<Direct>| {
        let cdb = [0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        script.command(0, &cdb, 8, Direction::Read, &[]);
        script.data().0
    };
    script.command(0, &[0], 0, Direction::None, &[]);
    let (status, sense) = script.status();
    assert_eq!((status, sense[2], sense[12], sense[13]), (2, 6, 0x2a, 9));
    assert_eq!(capacity(&mut script)[..4], 2047_u32.to_be_bytes());
    script.command(0, &rw10(0x28, 2048, 1), 512, Direction::Read, &[]);
    assert_eq!(script.status().1[12], 0x21, "beyond the end");
}

#[test]
fn another_unit_behind_the_same_number_says_so() {
    let core = core(config());
    let mut script = Script::direct(&core).logged_in(&[]);
    let mut naa = config().luns[0].naa;
    naa[15] = 0x77;
    core.remap(0, naa, "ANOTHER");
    script.command(0, &[0], 0, Direction::None, &[]);
    let (status, sense) = script.status();
    assert_eq!((status, sense[2], sense[12], sense[13]), (2, 6, 0x3f, 3));
    let page = |script: &mut Script<Direct>, page: u8| {
        script.command(0, &[0x12, 1, page, 0, 255, 0], 255, Direction::Read, &[]);
        script.data().0
    };
    assert_eq!(page(&mut script, 0x80)[4..], *b"ANOTHER");
    assert_eq!(page(&mut script, 0x83)[8..24], naa);
}
