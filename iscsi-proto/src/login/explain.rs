//! Advice in plain words.

use crate::{
    error::{DecodeError, Error, PeerIncompatible, PeerMisbehaved, TimedOut},
    ids::LoginStatus,
};

/// One line of advice for whoever has to repair a login that failed with `error`.
///
/// The text is fixed and holds nothing that a target sent.
#[must_use]
pub const fn explain(error: &Error) -> &'static str {
    match error {
        Error::LoginRejected(status) => explain_status(*status),
        Error::PeerIncompatible(why) => explain_incompatible(*why),
        Error::PeerMisbehaved(why) => explain_misbehaved(*why),
        Error::TimedOut(TimedOut::Login) => {
            "the target accepted the connection but did not finish the login in time; it may be \
             overloaded, or something else listens on that port"
        }
        Error::Closed => {
            "the target hung up during login; its log says why: often an initiator name or address \
             that is not on its access list"
        }
        Error::Decode(DecodeError::Address) => {
            "the target redirected the login without a usable address; check its portal settings"
        }
        Error::Decode(_) => {
            "the answer is not iSCSI; check that the address and the port are those of an iSCSI \
             portal"
        }
        Error::ApiMisuse(_) => "a programming error of the caller, not of the target",
        _ => "the connection failed during login; try again",
    }
}

const fn explain_status(status: LoginStatus) -> &'static str {
    match (status.class, status.detail) {
        (1, _) => "the target redirected the login in a way that this initiator does not know",
        (2, 1) => {
            "wrong CHAP name or secret, or only one side has CHAP enabled; compare both sides, and \
             offer MD5 alone to an old target"
        }
        (2, 2) => {
            "this initiator name may not use the target; add it to the access list of the target"
        }
        (2, 3) => {
            "no target of that name at this portal; check the IQN letter by letter, and ask the \
             portal by discovery which names it has"
        }
        (2, 4) => "the target was removed for good; remove it from the configuration",
        (2, 5) => "the target speaks another version of iSCSI",
        (2, 6) => {
            "the target has too many sessions or connections; close unused ones or raise its limit"
        }
        (2, 7) => "the target misses a parameter in the login; this is a fault of the initiator",
        (2, 8) => "the target does not let this connection join the session; log in afresh",
        (2, 9) => {
            "the portal does not serve this type of session; discovery and data may have different \
             portals"
        }
        (2, 10) => "the target has forgotten the session; log in afresh",
        (2, 11) => "the target takes the login for malformed; this is a fault of the initiator",
        (2, _) => {
            "the target refuses the login and blames the initiator; its log says why. With CHAP, \
             offer MD5 alone to an old target"
        }
        (3, 1) => "the target is not ready, perhaps still starting or failing over; try again soon",
        (3, 2) => "the target is out of resources; try again later or reduce its load",
        (3, _) => "the target has an internal problem; try again, and look into its log",
        _ => "the target refuses the login with a status that the standard does not define",
    }
}

const fn explain_incompatible(why: PeerIncompatible) -> &'static str {
    match why {
        PeerIncompatible::NoCommonAuthMethod => {
            "the target refuses CHAP, or each of the offered algorithms; enable CHAP on the target, \
             and offer MD5 alone to an old one"
        }
        PeerIncompatible::AuthenticationSkipped => {
            "credentials are configured but the target did not ask for them; enable CHAP on the \
             target, or allow logins without it on purpose"
        }
        PeerIncompatible::CredentialsRequired => {
            "the target wants CHAP; configure a name and a secret"
        }
        PeerIncompatible::DigestRefused => {
            "a digest is required here and the target has none; enable CRC32C on the target, or \
             prefer the digest instead of requiring it"
        }
        PeerIncompatible::KeyRefused => "the target refuses a parameter that no session can lack",
        PeerIncompatible::Version => "the target speaks another version of iSCSI",
    }
}

const fn explain_misbehaved(why: PeerMisbehaved) -> &'static str {
    match why {
        PeerMisbehaved::Chap => {
            "the target's CHAP challenge is malformed or out of order; update the target"
        }
        PeerMisbehaved::WeakChallenge => {
            "the target's CHAP challenge is too short to be safe; do not trust it, update it"
        }
        PeerMisbehaved::ChapReflection => {
            "the target returned our own CHAP challenge; somebody may be in between"
        }
        PeerMisbehaved::Stalled(_) => {
            "the target keeps the login going without an end; update or restart the target"
        }
        _ => "the target breaks the login protocol; update it, or report this with a capture",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_has_advice_that_names_the_remedy() {
        let status = |class, detail| Error::LoginRejected(LoginStatus { class, detail });
        assert!(explain(&status(2, 3)).contains("IQN"));
        assert!(explain(&status(2, 1)).contains("secret"));
        for class in 0..=255 {
            for detail in 0..=255 {
                let advice = explain(&status(class, detail));
                assert!(
                    !advice.is_empty() && !advice.contains("  "),
                    "{class} {detail}"
                );
            }
        }
    }
}
