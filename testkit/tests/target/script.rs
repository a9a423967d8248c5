//! A scripted initiator: it sends exactly what a test says, right or wrong.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::Duration,
};

use iscsi_proto::{
    InitiatorTaskTag, Instant, Isid, LoginStatus, TargetTransferTag, Tsih, digest,
    ids::Cid,
    pdu::{
        Bhs, DataOut, LoginRequest, LoginResponse, Pdu, ScsiCommand, Stage, TaskAttribute, pad_len,
    },
    scsi::Lun,
    serial::{CmdSn, DataSn, StatSn},
    text::codec::{Pairs, TextBuf},
};
use iscsi_testkit::target::{LunConfig, TargetConfig, TargetConnection, TargetCore, TcpTarget};

pub(crate) const TARGET: &str = "iqn.2026-01.example:disk";
pub(crate) const INITIATOR: &str = "iqn.2026-01.example:host";
pub(crate) const SIZE: u64 = 1 << 40;

pub(crate) fn config() -> TargetConfig {
    TargetConfig::new(TARGET)
        .with_portal("127.0.0.1:0".parse().unwrap(), 1)
        .with_portal("127.0.0.2:0".parse().unwrap(), 2)
        .with_lun(LunConfig::new(0, SIZE))
        .with_lun(LunConfig::new(1, 1 << 20).with_block_size(4096))
}

/// A connection to a [`TargetCore`] without any socket.
pub(crate) struct Direct(TargetConnection, pub(crate) Instant);

impl Read for Direct {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let bytes = self.0.poll_transmit(self.1);
        let len = bytes.len().min(buf.len());
        buf[..len].copy_from_slice(&bytes[..len]);
        self.0.transmitted(len);
        match len {
            0 if !self.0.is_closed() => Err(io::ErrorKind::WouldBlock.into()),
            len => Ok(len),
        }
    }
}

impl Write for Direct {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        let room = self.0.input();
        let len = buf.len().min(room.len());
        room[..len].copy_from_slice(&buf[..len]);
        self.0.handle_input(self.1, len);
        Ok(len)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) struct Script<S> {
    pub(crate) stream: S,
    pub(crate) cmd_sn: CmdSn,
    pub(crate) stat_sn: StatSn,
    pub(crate) isid: Isid,
    pub(crate) digests: (bool, bool),
    next_itt: u32,
}

impl Script<Direct> {
    pub(crate) fn direct(core: &Arc<TargetCore>) -> Self {
        Self::direct_through(core, 0)
    }

    pub(crate) fn direct_through(core: &Arc<TargetCore>, portal: usize) -> Self {
        Self::new(Direct(
            TargetConnection::new(core, portal, Arc::new(|| ())),
            Instant::ZERO,
        ))
    }
}

impl Script<TcpStream> {
    pub(crate) fn tcp(target: &TcpTarget, portal: usize) -> Self {
        let stream = TcpStream::connect(target.portal(portal)).unwrap();
        // Long enough for a busy machine; only tests of silence wait for it, and shorten it.
        stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        Self::new(stream)
    }

    /// Whether nothing comes for a while.
    pub(crate) fn is_silent(&mut self) -> bool {
        self.stream
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let silent = match self.receive() {
            Err(error) => {
                matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                )
            }
            Ok(_) => false,
        };
        self.stream
            .set_read_timeout(Some(Duration::from_secs(20)))
            .unwrap();
        silent
    }
}

impl<S: Read + Write> Script<S> {
    pub(crate) fn new(stream: S) -> Self {
        let isid = Isid([0x80, 0, 0, 1, 0, 1]);
        let (cmd_sn, stat_sn) = (CmdSn(u32::MAX - 1), StatSn(0));
        Self {
            stream,
            cmd_sn,
            stat_sn,
            isid,
            digests: (false, false),
            next_itt: 100,
        }
    }

    pub(crate) fn send(&mut self, bhs: &Bhs, data: &[u8]) {
        let mut bytes = bhs.as_bytes().to_vec();
        if self.digests.0 {
            bytes.extend(digest::to_wire(digest::crc32c(0, bhs.as_bytes())));
        }
        let mut padded = data.to_vec();
        padded.resize(data.len() + pad_len(data.len()), 0);
        bytes.extend(&padded);
        if self.digests.1 && !data.is_empty() {
            bytes.extend(digest::to_wire(digest::crc32c(0, &padded)));
        }
        self.stream.write_all(&bytes).unwrap();
    }

    pub(crate) fn receive(&mut self) -> io::Result<(Pdu, Vec<u8>)> {
        let mut header = [0; Bhs::LEN];
        self.stream.read_exact(&mut header)?;
        let bhs = Bhs::from(header);
        if self.digests.0 {
            self.check_digest(&header)?;
        }
        let len = bhs.data_segment_length() as usize;
        let mut data = vec![0; len + pad_len(len)];
        self.stream.read_exact(&mut data)?;
        if self.digests.1 && len > 0 {
            let padded = data.clone();
            self.check_digest(&padded)?;
        }
        data.truncate(len);
        let pdu = Pdu::parse(&bhs).unwrap();
        let stat_sn = match &pdu {
            Pdu::LoginResponse(p) => Some(p.stat_sn),
            Pdu::ScsiResponse(p) => Some(p.stat_sn),
            Pdu::DataIn(p) => p.status.map(|_| p.stat_sn),
            Pdu::NopIn(p) if p.itt != InitiatorTaskTag::RESERVED => Some(p.stat_sn),
            Pdu::TextResponse(p) => Some(p.stat_sn),
            Pdu::TaskManagementResponse(p) => Some(p.stat_sn),
            Pdu::LogoutResponse(p) => Some(p.stat_sn),
            Pdu::Reject(p) => Some(p.stat_sn),
            Pdu::AsyncMessage(p) => Some(p.stat_sn),
            _ => None,
        };
        if let Some(found) = stat_sn {
            let first = matches!(&pdu, Pdu::LoginResponse(_)) && self.stat_sn == StatSn(0);
            assert!(
                first || found == self.stat_sn,
                "{pdu}: expected StatSN {}",
                self.stat_sn
            );
            self.stat_sn = found.next();
        }
        Ok((pdu, data))
    }

    fn check_digest(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut found = [0; 4];
        self.stream.read_exact(&mut found)?;
        assert_eq!(found, digest::to_wire(digest::crc32c(0, bytes)));
        Ok(())
    }

    /// One login request and its answer.
    pub(crate) fn login_step(
        &mut self,
        stages: (Stage, Option<Stage>),
        keys: &[(&str, &str)],
    ) -> (LoginStatus, Option<Stage>, Vec<(String, String)>) {
        let (response, data) = self.login_piece(stages, keys);
        let pairs = Pairs::new(&data).map(Result::unwrap);
        let pairs = pairs
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .collect();
        (
            response.status,
            response.transit.then_some(response.nsg),
            pairs,
        )
    }

    /// One request and its response, whose text may go on in the next one.
    pub(crate) fn login_piece(
        &mut self,
        (csg, nsg): (Stage, Option<Stage>),
        keys: &[(&str, &str)],
    ) -> (LoginResponse, Vec<u8>) {
        let mut text = TextBuf::new();
        for (key, value) in keys {
            text.push(key, value);
        }
        let request = LoginRequest {
            transit: nsg.is_some(),
            cont: false,
            csg,
            nsg: nsg.unwrap_or(csg),
            version_max: 0,
            version_min: 0,
            data_segment_length: text.len() as u32,
            isid: self.isid,
            tsih: Tsih(0),
            itt: InitiatorTaskTag(1),
            cid: Cid(0),
            cmd_sn: self.cmd_sn,
            exp_stat_sn: self.stat_sn,
        };
        self.send(&request.emit(), text.as_bytes());
        let (pdu, data) = self.receive().unwrap();
        let Pdu::LoginResponse(response) = pdu else {
            panic!("{pdu}")
        };
        (response, data)
    }

    /// A login straight into full feature phase, with `extra` operational keys.
    pub(crate) fn login(&mut self, extra: &[(&str, &str)]) -> LoginStatus {
        let mut keys = vec![("InitiatorName", INITIATOR), ("TargetName", TARGET)];
        keys.extend([
            ("SessionType", "Normal"),
            ("MaxRecvDataSegmentLength", "65536"),
        ]);
        keys.extend(extra);
        let stages = (Stage::OperationalNegotiation, Some(Stage::FullFeature));
        let (status, next, answers) = self.login_step(stages, &keys);
        assert_eq!(next.is_some(), status == LoginStatus::SUCCESS);
        let chose = |key| answers.iter().any(|(k, v)| k == key && v == "CRC32C");
        self.digests = (chose("HeaderDigest"), chose("DataDigest"));
        status
    }

    pub(crate) fn logged_in(mut self, extra: &[(&str, &str)]) -> Self {
        assert_eq!(self.login(extra), LoginStatus::SUCCESS);
        for lun in [0, 1] {
            // Takes the unit attention.
            self.command(lun, &[0], 0, Direction::None, &[]);
            let (status, sense) = self.status();
            assert_eq!((status, sense[2], sense[12]), (2, 6, 0x29));
        }
        self
    }

    pub(crate) fn itt(&mut self) -> InitiatorTaskTag {
        self.next_itt += 1;
        InitiatorTaskTag(self.next_itt)
    }

    /// Takes the next CmdSN.
    pub(crate) fn cmd_sn(&mut self) -> CmdSn {
        let next = self.cmd_sn.next();
        std::mem::replace(&mut self.cmd_sn, next)
    }

    pub(crate) fn scsi(
        &mut self,
        lun: u16,
        cdb: &[u8],
        len: u32,
        direction: Direction,
    ) -> ScsiCommand {
        let mut padded = [0; 16];
        padded[..cdb.len()].copy_from_slice(cdb);
        ScsiCommand {
            immediate: false,
            is_final: true,
            read: direction == Direction::Read,
            write: direction == Direction::Write,
            attribute: TaskAttribute::Simple,
            priority: 0,
            total_ahs_length: 0,
            data_segment_length: 0,
            lun: Lun::new(lun),
            itt: self.itt(),
            expected_data_transfer_length: len,
            cmd_sn: self.cmd_sn(),
            exp_stat_sn: self.stat_sn,
            cdb: padded,
        }
    }

    /// Sends a command with `data` as immediate data.
    pub(crate) fn command(
        &mut self,
        lun: u16,
        cdb: &[u8],
        len: u32,
        direction: Direction,
        data: &[u8],
    ) -> InitiatorTaskTag {
        let mut command = self.scsi(lun, cdb, len, direction);
        command.data_segment_length = data.len() as u32;
        self.send(&command.emit(), data);
        command.itt
    }

    /// SCSI Response: status byte and sense data.
    pub(crate) fn status(&mut self) -> (u8, Vec<u8>) {
        let (pdu, data) = self.receive().unwrap();
        let Pdu::ScsiResponse(response) = pdu else {
            panic!("{pdu}")
        };
        (
            response.status.to_byte(),
            data.get(2..).unwrap_or_default().to_vec(),
        )
    }

    /// All Data-In of one read, and its status.
    pub(crate) fn data(&mut self) -> (Vec<u8>, u8) {
        let mut all = Vec::new();
        let mut data_sn = DataSn(0);
        loop {
            match self.receive().unwrap() {
                (Pdu::DataIn(pdu), data) => {
                    assert_eq!(
                        (pdu.data_sn, pdu.buffer_offset as usize),
                        (data_sn, all.len())
                    );
                    data_sn = data_sn.next();
                    all.extend(data);
                    if let Some(status) = pdu.status {
                        assert!(pdu.is_final);
                        return (all, status.to_byte());
                    }
                }
                (Pdu::ScsiResponse(pdu), _) => return (all, pdu.status.to_byte()),
                (pdu, _) => panic!("{pdu}"),
            }
        }
    }

    pub(crate) fn read_blocks(&mut self, lba: u32, blocks: u16) -> Vec<u8> {
        self.command(
            0,
            &rw10(0x28, lba, blocks),
            u32::from(blocks) * 512,
            Direction::Read,
            &[],
        );
        let (data, status) = self.data();
        assert_eq!(status, 0);
        data
    }

    pub(crate) fn data_out(
        &mut self,
        itt: InitiatorTaskTag,
        (ttt, data_sn, offset): (TargetTransferTag, u32, u32),
        data: &[u8],
        is_final: bool,
    ) {
        let pdu = DataOut {
            is_final,
            lun: Lun::ZERO,
            itt,
            ttt,
            exp_stat_sn: self.stat_sn,
            data_sn: DataSn(data_sn),
            buffer_offset: offset,
            data_segment_length: data.len() as u32,
        };
        self.send(&pdu.emit(), data);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Direction {
    None,
    Read,
    Write,
}

pub(crate) fn rw10(opcode: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let ([a, b, c, d], [e, f]) = (lba.to_be_bytes(), blocks.to_be_bytes());
    [opcode, 0, a, b, c, d, 0, e, f, 0]
}
