//! CHAP challenges of all logins under way.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iscsi_proto::PeerMisbehaved;

/// Our challenges in flight. A target that is sent one of them must not get an answer to it from us in
/// another login (RFC 7143 section 9.2.1).
#[derive(Debug, Default)]
pub(crate) struct Challenges(Mutex<Vec<Vec<u8>>>);

/// One of them, until the login is over.
#[derive(Debug)]
pub(crate) struct InFlight {
    all: Arc<Challenges>,
    ours: Option<Vec<u8>>,
}

impl Challenges {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// To be called when the target's challenge is known and before anything is answered.
    pub(crate) fn enter(
        self: &Arc<Self>,
        ours: Option<&[u8]>,
        theirs: &[u8],
    ) -> Result<InFlight, PeerMisbehaved> {
        let mut challenges = self.lock();
        if challenges.iter().any(|challenge| challenge == theirs) {
            return Err(PeerMisbehaved::ChapReflection);
        }
        challenges.extend(ours.map(<[u8]>::to_vec));
        Ok(InFlight {
            all: Arc::clone(self),
            ours: ours.map(<[u8]>::to_vec),
        })
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        if let Some(ours) = &self.ours {
            let mut challenges = self.all.lock();
            if let Some(at) = challenges.iter().position(|challenge| challenge == ours) {
                challenges.swap_remove(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_of_ours_is_refused_for_as_long_as_its_login_lasts() {
        let all = Arc::new(Challenges::default());
        let first = all.enter(Some(b"ours"), b"theirs").unwrap();
        let reflected = all.enter(Some(b"other"), b"ours").unwrap_err();
        assert_eq!(reflected, PeerMisbehaved::ChapReflection);
        let one_way = all.enter(None, b"theirs").unwrap();
        drop(first);
        assert!(all.enter(None, b"ours").is_ok());
        drop(one_way);
        assert!(all.lock().is_empty());
    }
}
