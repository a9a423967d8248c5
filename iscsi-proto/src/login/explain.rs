//! Advice in plain words.

use crate::{
    error::{DecodeError, Error, PeerIncompatible, PeerMisbehaved, TimedOut},
    ids::LoginStatus,
};

/// What to do about a login that failed with `error`: one or two sentences for whoever has to repair
/// it, with a full stop at the end. [`LoginStatus::retry`] and
/// [`Error::consequence`](crate::Error::consequence) say the same to a program.
///
/// The text is fixed and holds nothing that a target sent.
#[must_use]
pub const fn explain(error: &Error) -> &'static str {
    match error {
        Error::LoginRejected(status) => explain_status(*status),
        Error::PeerIncompatible(why) => explain_incompatible(*why),
        Error::PeerMisbehaved(why) => explain_misbehaved(*why),
        Error::TimedOut(TimedOut::Login) => {
            "The target accepted the connection but did not finish the login in time. Check that an \
             iSCSI target listens there and is not overloaded."
        }
        Error::Closed => {
            "The target hung up during login. Its log says why: often an initiator name or address \
             that is not on its access list."
        }
        Error::Decode(DecodeError::Address) => {
            "The target redirected the login without a usable address. Check its portal settings."
        }
        Error::Decode(_) => {
            "The answer is not iSCSI. Check that the address and the port are those of an iSCSI portal."
        }
        Error::ApiMisuse(_) => "Correct the session's configuration; the target is not at fault.",
        _ => "The connection failed during login. Try again.",
    }
}

const fn explain_status(status: LoginStatus) -> &'static str {
    match (status.class, status.detail) {
        (1, 1 | 2) => {
            "The target is at another portal, and the redirection was not followed. Log in there, or \
             allow redirections."
        }
        (1, _) => {
            "The target redirects the login in a way that no standard defines. Update the target."
        }
        (2, 1) => {
            "Check the CHAP user name and secret on both sides, and that both have CHAP enabled. Offer \
             MD5 alone to an old target."
        }
        (2, 2) => "Add this initiator's name to the access list of the target.",
        (2, 3) => {
            "Check the target's name letter by letter; discovery lists the names that the portal has."
        }
        (2, 4) => "The target was removed for good. Remove it from the configuration.",
        (2, 5) => "The target speaks another version of iSCSI. Update the older of the two sides.",
        (2, 6) => {
            "The target has too many sessions or connections. Close unused ones, or raise its limit."
        }
        (2, 7) => {
            "The target misses a parameter in the login, which is a fault of the initiator. Report it \
             with a capture."
        }
        (2, 8) => {
            "The target does not let this connection join the session. Log in to a session of its own."
        }
        (2, 9) => {
            "The portal does not serve this type of session. Discovery and data may have different \
             portals."
        }
        (2, 10) => "The target has forgotten the session. Log in afresh.",
        (2, 11) => {
            "The target takes the login for malformed, which is a fault of the initiator or of the \
             target. Report it with a capture."
        }
        (2, _) => {
            "The target refuses the login and blames the initiator. Its log says why; with CHAP, offer \
             MD5 alone to an old target."
        }
        (3, 1) => {
            "The target is not ready, perhaps starting or failing over. Wait, then try again."
        }
        (3, 2) => "The target is out of resources. Wait, then try again, or reduce its load.",
        (3, _) => "The target has an internal problem. Wait, then try again, and see its log.",
        _ => "The target refuses the login with a status that no standard defines. See its log.",
    }
}

const fn explain_incompatible(why: PeerIncompatible) -> &'static str {
    match why {
        PeerIncompatible::NoCommonAuthMethod => {
            "Allow an authentication method and CHAP algorithm that the target offers: it refuses CHAP, \
             or each of the offered algorithms."
        }
        PeerIncompatible::AuthenticationSkipped => {
            "Turn on CHAP at the target, or remove the credentials here: the target did not ask for \
             them."
        }
        PeerIncompatible::CredentialsRequired => "Configure a CHAP user name and secret.",
        PeerIncompatible::DigestRefused => {
            "Make the digests optional here, or turn on CRC32C at the target."
        }
        PeerIncompatible::KeyRefused => {
            "The target refuses a parameter that no session can lack. Update the target."
        }
        PeerIncompatible::Version => {
            "The target speaks another version of iSCSI. Update the older of the two sides."
        }
        PeerIncompatible::TargetNotAuthentic => {
            "Check the target's own CHAP name and secret on both sides. If they are right, somebody else \
             answers at this address."
        }
        PeerIncompatible::TargetProofMissing => {
            "Turn on mutual CHAP at the target, with a secret of its own, or remove the target's \
             credentials here."
        }
        PeerIncompatible::PortalGroup { .. } => {
            "The target's portal groups were changed, or another portal answers at this address. \
             Discover the target again."
        }
    }
}

const fn explain_misbehaved(why: PeerMisbehaved) -> &'static str {
    match why {
        PeerMisbehaved::Chap => {
            "The target's part of CHAP is malformed or out of order. Update the target."
        }
        PeerMisbehaved::WeakChallenge => {
            "The target's CHAP challenge is too short to be safe. Do not trust it, and update it."
        }
        PeerMisbehaved::ChapReflection => {
            "The target returned a CHAP challenge of our own. Do not trust it: somebody may be in \
             between."
        }
        PeerMisbehaved::Stalled(_) => {
            "The target keeps the login going without an end. Update or restart the target."
        }
        _ => "The target breaks the login protocol. Update it, or report this with a capture.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{error::ApiMisuse, ids::LoginRetry};

    /// Else somebody repairs what is not broken.
    fn assert_all_differ(errors: &[Error]) {
        for (index, error) in errors.iter().enumerate() {
            for other in &errors[..index] {
                assert_ne!(explain(error), explain(other), "{error:?} {other:?}");
            }
        }
    }

    #[test]
    fn each_status_has_advice_of_its_own() {
        let of_class = |class, details: &[u8]| -> Vec<Error> {
            let status = |detail: &u8| LoginStatus {
                class,
                detail: *detail,
            };
            let details = details.iter().map(status);
            details.map(Error::LoginRejected).collect()
        };
        let mut all = of_class(1, &[1, 200]);
        all.extend(of_class(2, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
        all.extend(of_class(3, &[0, 1, 2]));
        all.extend(of_class(9, &[0]));
        assert_all_differ(&all);
    }

    #[test]
    fn each_fault_has_advice_of_its_own() {
        assert_all_differ(&[
            PeerIncompatible::NoCommonAuthMethod.into(),
            PeerIncompatible::AuthenticationSkipped.into(),
            PeerIncompatible::CredentialsRequired.into(),
            PeerIncompatible::DigestRefused.into(),
            PeerIncompatible::KeyRefused.into(),
            PeerIncompatible::Version.into(),
            PeerIncompatible::TargetNotAuthentic.into(),
            PeerIncompatible::TargetProofMissing.into(),
            PeerMisbehaved::Chap.into(),
            PeerMisbehaved::WeakChallenge.into(),
            PeerMisbehaved::ChapReflection.into(),
            PeerMisbehaved::Stalled(32).into(),
            PeerMisbehaved::Phase.into(),
            Error::TimedOut(TimedOut::Login),
            Error::TimedOut(TimedOut::Nop),
            Error::Closed,
            DecodeError::Address.into(),
            DecodeError::Opcode(0x3e).into(),
            ApiMisuse::OutOfRange.into(),
        ]);
    }

    #[test]
    fn every_refusal_has_advice_that_names_the_remedy() {
        let status = |class, detail| Error::LoginRejected(LoginStatus { class, detail });
        assert!(explain(&status(2, 3)).contains("name"));
        assert!(explain(&status(2, 1)).contains("secret"));
        for class in 0..=255 {
            for detail in 0..=255 {
                let advice = explain(&status(class, detail));
                assert!(
                    advice.ends_with('.') && !advice.contains("  "),
                    "{class} {detail}"
                );
                // What is said to people agrees with what is said to programs.
                let wait = advice.contains("Wait") || advice.contains("Close unused");
                let later = LoginStatus { class, detail }.retry() == LoginRetry::Later;
                assert_eq!(wait || (class, detail) == (2, 3), later, "{advice}");
            }
        }
    }
}
