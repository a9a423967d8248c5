//! SendTargets discovery (RFC 7143 appendix C).

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::Poll,
};

use iscsi_proto::{
    Error as CoreError, Isid,
    login::LoginConfig,
    portal::Portal,
    text::send_targets::{self, Discovered},
};

use crate::{
    bind::Bind,
    error::{LoginError, LoginFailure},
    initiator::Initiator,
    session::{Driver, Session},
};

impl Initiator {
    /// Asks a portal which targets it knows and where they listen, in a session of its own that is
    /// closed again. A target without portals in the answer listens on the portal that was asked.
    ///
    /// # Errors
    ///
    /// [`LoginError`] for the login as well as for the exchange after it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the connection.
    pub async fn discover(&self, portal: &Portal, bind: &Bind) -> Result<Discovered, LoginError> {
        let mut isid = [0; 6];
        self.runtime().fill_random(&mut isid);
        // Type "random" (section 11.12.5). A fixed one would make two discoveries end each other.
        isid[0] = 0x80;
        let login = LoginConfig::discovery(self.name().clone(), Isid(isid))
            .with_authentication(self.authentication().clone());
        let (session, driver) = self
            .open(login, portal.clone(), bind.clone(), None, None)
            .await?;
        let answer = ask(session, driver).await;
        let fail = |failure| LoginError::new(portal.clone(), failure);
        let text = answer.map_err(|error| fail(LoginFailure::Discovery(error)))?;
        send_targets::parse(&text).map_err(|e| fail(LoginFailure::Protocol(CoreError::Decode(e))))
    }
}

/// Polls the driver itself instead of spawning it: nothing then outlives the call.
async fn ask(session: Session, driver: Driver) -> Result<Vec<u8>, crate::error::Error> {
    let mut driver = pin!(driver);
    let answer = {
        let mut text = pin!(session.text(b"SendTargets=All\0".to_vec()));
        poll_fn(|cx| {
            // The driver never ends before the answer: ending it would answer with an error.
            let driven = driver.as_mut().poll(cx);
            match text.as_mut().poll(cx) {
                Poll::Pending if driven.is_ready() => {
                    let closed = crate::error::ErrorKind::Closed;
                    Poll::Ready(Err(crate::error::Error::not_executed(closed)))
                }
                polled => polled,
            }
        })
        .await
    };
    drop(session);
    finish(driver).await;
    answer
}

/// Lets the driver log out; it has a deadline of its own.
async fn finish(driver: Pin<&mut Driver>) {
    driver.await;
}
