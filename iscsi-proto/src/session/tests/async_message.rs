//! What a target says on its own account.

use super::*;
use crate::pdu::{AsyncEvent, AsyncMessage};

fn message(h: &mut Harness, event: AsyncEvent, parameter2: u16) -> Bhs {
    AsyncMessage {
        lun: Lun::ZERO,
        stat_sn: h.next_stat_sn(),
        exp_cmd_sn: CmdSn(CMD_SN),
        max_cmd_sn: CmdSn(h.max_cmd_sn),
        event,
        vcode: 0,
        parameter1: 0,
        parameter2,
        parameter3: 1,
        data_segment_length: 0,
    }
    .emit()
}

/// Row H11 for section 11.9.1: Parameter2 is Time2Wait where a target drops, and reserved where it
/// asks for a logout.
#[test]
fn only_the_announcement_of_a_drop_says_how_long_to_stay_away() {
    for (event, seconds) in [
        (AsyncEvent::LogoutRequested, 0),
        (AsyncEvent::ConnectionDrop, 9),
        (AsyncEvent::SessionDrop, 9),
    ] {
        let mut h = Harness::new();
        let message = message(&mut h, event, 9);
        let wait = Duration::from_secs(seconds);
        assert_eq!(
            h.feed(message, &[]),
            Err(Error::DropRequested { wait }),
            "{event:?}"
        );
    }
}
