//! One connection of the initiator, and the test's end of it.

use std::{
    fmt,
    future::poll_fn,
    io::{IoSlice, IoSliceMut},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use iscsi_client::runtime::{Runtime, Transport};
use iscsi_proto::{
    pdu::{LogoutResponseCode, Pdu},
    serial::{CmdSn, StatSn},
};

use super::{
    behind::Behind,
    end::End,
    frame::{Digests, Frame},
    judge::{Complaints, Judge},
    numbers::{Numbers, consumes_stat_sn, field, is_plain_data},
    say::Say,
    terms::LoginTerms,
};

/// The target's end of a connection.
///
/// Nothing here is cancel safe: a script goes on where it stopped, or ends. Dropping a peer closes the
/// connection in good order.
pub struct Peer {
    transport: Box<dyn Transport>,
    runtime: Arc<dyn Runtime>,
    digests: Digests,
    input: Vec<u8>,
    pub(super) numbers: Numbers,
    /// How many commands the initiator may have under way, as [`say`](Self::say) tells it. While the strict
    /// target is behind this connection the window is that one's.
    pub window: u32,
    pub(super) judge: Judge,
    pub(super) terms: LoginTerms,
    pub(super) behind: Option<Behind>,
}

impl Peer {
    /// The connection behind `transport`, which the test answers by itself. The first StatSN is 1, the window
    /// 32 commands. What is wrong with what the initiator says goes to `complaints`.
    #[must_use]
    pub fn new(
        transport: Box<dyn Transport>,
        runtime: Arc<dyn Runtime>,
        complaints: &Complaints,
    ) -> Self {
        Self {
            transport,
            runtime,
            digests: Digests::default(),
            input: Vec::new(),
            numbers: Numbers {
                stat_sn: StatSn(1),
                exp_cmd_sn: CmdSn(0),
                max_cmd_sn: CmdSn(0),
            },
            window: 32,
            judge: Judge::new(complaints.clone()),
            terms: LoginTerms::default(),
            behind: None,
        }
    }

    /// These bytes came before everything else: whoever accepted the connection has read them.
    pub fn heard_already(&mut self, bytes: &[u8]) {
        self.input.splice(..0, bytes.iter().copied());
    }

    /// The digests in use: from the first PDU of the full feature phase on, those that the login agreed on.
    #[must_use]
    pub const fn digests(&self) -> Digests {
        self.digests
    }

    /// Uses others.
    pub const fn set_digests(&mut self, digests: Digests) {
        self.digests = digests;
    }

    /// The StatSN of the next status.
    #[must_use]
    pub const fn stat_sn(&self) -> StatSn {
        self.numbers.stat_sn
    }

    /// Goes on from another StatSN.
    pub const fn set_stat_sn(&mut self, stat_sn: StatSn) {
        self.numbers.stat_sn = stat_sn;
    }

    /// The CmdSN that the next command has to carry.
    #[must_use]
    pub const fn exp_cmd_sn(&self) -> CmdSn {
        self.numbers.exp_cmd_sn
    }

    /// The next PDU of the initiator.
    ///
    /// # Errors
    ///
    /// There is none.
    pub async fn hear(&mut self) -> Result<Frame, End> {
        loop {
            if let Some(frame) = self.heard()? {
                return Ok(frame);
            }
            self.receive().await?;
        }
    }

    /// The same, as what it is expected to be.
    ///
    /// # Errors
    ///
    /// There is none.
    ///
    /// # Panics
    ///
    /// If it is another PDU: with what was expected and what came.
    pub async fn hear_pdu<T>(&mut self) -> Result<(T, Vec<u8>), End>
    where
        T: TryFrom<Pdu>,
    {
        let frame = self.hear().await?;
        let expected = std::any::type_name::<T>().rsplit("::").next();
        let pdu = frame.pdu().expect("the judge would have complained");
        match T::try_from(pdu) {
            Ok(found) => Ok((found, frame.data)),
            Err(_) => panic!("{} was expected, not {pdu}", expected.unwrap_or_default()),
        }
    }

    /// Hears everything until the initiator closes the connection or resets it. A logout is granted; nothing
    /// else is answered.
    pub async fn hear_the_end(&mut self) -> End {
        loop {
            let heard = match self.hear().await {
                Ok(frame) => frame.pdu(),
                Err(end) => return end,
            };
            if let Ok(Pdu::LogoutRequest(request)) = heard {
                let granted = Say::logout(request.itt, LogoutResponseCode::Closed);
                if let Err(end) = self.say(granted, []).await {
                    return end;
                }
            }
        }
    }

    /// A PDU that has come in whole.
    pub(super) fn heard(&mut self) -> Result<Option<Frame>, End> {
        let Some((frame, len)) = Frame::split(&self.input, self.digests)? else {
            return Ok(None);
        };
        self.input.drain(..len);
        self.judge.hear(&frame);
        if self.behind.is_none() {
            if let Some(next) = self.judge.cmd_sn {
                self.numbers.exp_cmd_sn = next;
            }
        }
        Ok(Some(frame))
    }

    /// Reads more.
    async fn receive(&mut self) -> Result<(), End> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    pub(super) fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), End>> {
        let mut room = [0; 16 * 1024];
        let bufs = &mut [IoSliceMut::new(&mut room)];
        match self.transport.poll_read_vectored(cx, bufs) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Ok(0)) => Poll::Ready(Err(End::Closed)),
            Poll::Ready(Ok(len)) => {
                self.input.extend_from_slice(&room[..len]);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error.into())),
        }
    }

    /// Sends a PDU with the next numbers: StatSN if it is one that carries a status, ExpCmdSN as it was heard,
    /// MaxCmdSN after the window.
    ///
    /// # Errors
    ///
    /// Of the connection.
    pub async fn say(&mut self, pdu: impl Into<Pdu>, data: impl Into<Vec<u8>>) -> Result<(), End> {
        let mut frame = Frame::new(pdu, data);
        self.number(&mut frame);
        self.say_as_it_is(&frame).await
    }

    /// Fills in the numbers that [`say`](Self::say) would say.
    pub fn number(&mut self, frame: &mut Frame) {
        if self.behind.is_none() {
            let window = self.window.wrapping_sub(1);
            self.numbers.max_cmd_sn = self.numbers.exp_cmd_sn.plus(window);
        }
        let numbers = self.numbers;
        if !is_plain_data(frame) {
            frame.set_field(field::STAT_SN, numbers.stat_sn.0);
        }
        frame.set_field(field::EXP_CMD_SN, numbers.exp_cmd_sn.0);
        frame.set_field(field::MAX_CMD_SN, numbers.max_cmd_sn.0);
    }

    /// Sends a PDU with the numbers that it has. The next status gets the StatSN after its own.
    ///
    /// # Errors
    ///
    /// Of the connection.
    pub async fn say_as_it_is(&mut self, frame: &Frame) -> Result<(), End> {
        if consumes_stat_sn(frame) {
            if let Some(behind) = &mut self.behind {
                behind.inserted(1);
            }
        }
        self.send(frame).await
    }

    /// Sends a PDU, whoever made it.
    pub(super) async fn send(&mut self, frame: &Frame) -> Result<(), End> {
        let bytes = frame.to_bytes(self.digests);
        self.note(frame);
        self.bytes(&bytes).await
    }

    /// What a PDU that goes out means for what follows.
    fn note(&mut self, frame: &Frame) {
        if consumes_stat_sn(frame) {
            self.numbers.stat_sn = StatSn(frame.field(field::STAT_SN)).next();
        }
        let max_cmd_sn = CmdSn(frame.field(field::MAX_CMD_SN));
        self.judge.next_stat_sn = self.numbers.stat_sn;
        self.judge.widen(max_cmd_sn);
        self.judge.say(frame);
        if let Some(digests) = self.terms.note(frame) {
            self.digests = digests;
        }
        self.judge.max_segment = self.terms.max_segment;
    }

    /// Sends bytes, whatever they are.
    ///
    /// # Errors
    ///
    /// Of the connection.
    pub async fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), End> {
        while !bytes.is_empty() {
            let write = |cx: &mut Context<'_>| {
                self.transport
                    .poll_write_vectored(cx, &[IoSlice::new(bytes)])
            };
            let len = poll_fn(write).await?;
            bytes = &bytes[len..];
        }
        Ok(())
    }

    /// This PDU has gone out as [bytes](Self::bytes), whole and right: it counts for what follows.
    pub fn wrote(&mut self, frame: &Frame) {
        self.note(frame);
    }

    /// Waits, in the world's time.
    pub async fn sleep(&self, time: Duration) {
        let mut timer = self.runtime.new_timer(self.runtime.now() + time);
        poll_fn(|cx| timer.as_mut().poll(cx)).await;
    }

    /// The world.
    #[must_use]
    pub const fn runtime(&self) -> &Arc<dyn Runtime> {
        &self.runtime
    }

    /// Sends a FIN; the initiator is still heard.
    ///
    /// # Errors
    ///
    /// Of the connection.
    pub async fn finish(&mut self) -> Result<(), End> {
        Ok(poll_fn(|cx| self.transport.poll_close(cx)).await?)
    }

    /// Resets the connection.
    pub fn reset(&mut self) {
        self.transport.abort();
    }
}

impl fmt::Debug for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Peer")
            .field("numbers", &self.numbers)
            .field("digests", &self.digests)
            .field("relayed", &self.behind.is_some())
            .finish_non_exhaustive()
    }
}
