//! SCSI commands: reads, writes, and the questions that a logical unit is asked when it is opened.

use super::{NO_TAG, Settings, Target, Write, put, put_len};

const BLOCK: u32 = 512;
const BLOCKS: u64 = 1 << 31;
/// F and S of a Data-In.
const FINAL_WITH_STATUS: u8 = 0x81;
/// U: less than was expected.
const UNDERFLOW: u8 = 0x02;
const CHECK_CONDITION: u8 = 2;

impl Target {
    pub(super) fn command(&mut self) {
        self.count_command();
        let [operation, evpd, page] = [32, 33, 34].map(|at| self.header[at]);
        match operation {
            0x28 | 0x88 => self.read(),
            0x2a | 0x8a => self.write(),
            // TEST UNIT READY, SYNCHRONIZE CACHE (10) and (16).
            0x00 | 0x35 | 0x91 => self.respond(0),
            0x12 => match (evpd & 1, page) {
                (0, _) => self.tell(inquiry()),
                (_, 0x00) => self.tell(vec![0, 0, 0, 2, 0x00, 0x83]),
                (_, 0x83) => self.tell(identification()),
                _ => self.refuse(),
            },
            0x9e => self.tell(capacity()),
            _ => self.refuse(),
        }
    }

    fn read(&mut self) {
        let expected = self.u32_at(20);
        let (mut offset, mut data_sn) = (0, 0);
        while offset < expected {
            let len = (expected - offset).min(Settings::SEGMENT);
            let last = offset + len == expected;
            let mut header = if last {
                self.status(0x25)
            } else {
                self.reply(0x25)
            };
            // F only at the end of the burst, which is that of the command: no more is read at once.
            header[1] = if last { FINAL_WITH_STATUS } else { 0 };
            put(&mut header, 20, NO_TAG);
            put(&mut header, 36, data_sn);
            put(&mut header, 40, offset);
            self.send_zeros(&mut header, len);
            offset += len;
            data_sn += 1;
        }
    }

    fn write(&mut self) {
        let write = Write {
            itt: self.u32_at(16),
            expected: self.u32_at(20),
            received: self.segment_len(),
            r2ts: 0,
        };
        // Without F more comes unasked.
        let unsolicited = self.header[1] & 0x80 == 0;
        if unsolicited {
            self.writes.push(write);
        } else {
            self.go_on(write);
        }
    }

    pub(super) fn data_out(&mut self) {
        let itt = self.u32_at(16);
        let Some(at) = self.writes.iter().position(|write| write.itt == itt) else {
            self.confused = Some(0x05);
            return;
        };
        self.writes[at].received += self.segment_len();
        if self.header[1] & 0x80 != 0 {
            let write = self.writes.swap_remove(at);
            self.go_on(write);
        }
    }

    /// The end of a sequence of data: asks for more, or is done.
    fn go_on(&mut self, mut write: Write) {
        if write.received >= write.expected {
            let mut header = self.status(0x21);
            put(&mut header, 36, write.r2ts);
            self.send(&header);
            return;
        }
        let mut header = self.reply(0x31);
        header[8..16].fill(0);
        put(&mut header, 20, write.r2ts);
        put(&mut header, 36, write.r2ts);
        put(&mut header, 40, write.received);
        let left = write.expected - write.received;
        put(&mut header, 44, left.min(Settings::BURST));
        write.r2ts += 1;
        self.writes.push(write);
        self.send(&header);
    }

    fn respond(&mut self, status: u8) {
        let mut header = self.status(0x21);
        header[3] = status;
        self.send(&header);
    }

    /// ILLEGAL REQUEST, INVALID COMMAND OPERATION CODE.
    fn refuse(&mut self) {
        let sense = [0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0];
        let mut data = vec![0, sense.len() as u8];
        data.extend(sense);
        let expected = self.u32_at(20);
        let mut header = self.status(0x21);
        header[3] = CHECK_CONDITION;
        if expected > 0 {
            header[1] |= UNDERFLOW;
            put(&mut header, 44, expected);
        }
        self.send_bytes(&mut header, data);
    }

    /// The answer to a question, with GOOD.
    fn tell(&mut self, mut data: Vec<u8>) {
        let expected = self.u32_at(20);
        data.truncate(expected as usize);
        let mut header = self.status(0x25);
        header[1] = FINAL_WITH_STATUS;
        let short = expected - data.len() as u32;
        if short > 0 {
            header[1] |= UNDERFLOW;
            put(&mut header, 44, short);
        }
        put(&mut header, 20, NO_TAG);
        put_len(&mut header, data.len() as u32);
        self.send_bytes(&mut header, data);
    }
}

fn inquiry() -> Vec<u8> {
    let mut data = vec![0; 8];
    data[2] = 0x06;
    data[3] = 0x02;
    data[4] = 31;
    data[7] = 0x02;
    data.extend(b"EXAMPLE ");
    data.extend(b"Counted disk    ");
    data.extend(b"1   ");
    data
}

/// One NAA designator of the logical unit.
fn identification() -> Vec<u8> {
    let mut data = vec![0, 0x83, 0, 20, 0x01, 0x03, 0, 16];
    data.extend([0x60; 16]);
    data
}

fn capacity() -> Vec<u8> {
    let mut data = (BLOCKS - 1).to_be_bytes().to_vec();
    data.extend(BLOCK.to_be_bytes());
    data.resize(32, 0);
    data
}
