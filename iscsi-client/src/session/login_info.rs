//! What a login came to.

use std::net::SocketAddr;

use iscsi_proto::{
    TargetPortalGroupTag, Tsih,
    login::{ChapAlgorithm, LoggedIn},
    portal::Portal,
    text::Parameters,
};

/// What the last successful login of a session came to; see
/// [`Session::login`](super::Session::login).
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LoginInfo {
    /// The portal that took the login, after redirections.
    pub portal: Portal,
    /// Its address.
    pub address: SocketAddr,
    /// What was agreed; with it the target's alias and portal group, where it told them.
    pub parameters: Parameters,
    /// The target's handle of the session.
    pub tsih: Tsih,
    /// With which algorithm we proved ourselves; `None` if the target did not ask.
    pub chap: Option<ChapAlgorithm>,
    /// Whether the target proved itself (mutual CHAP).
    pub target_authenticated: bool,
}

impl LoginInfo {
    pub(super) fn new(logged_in: &LoggedIn, portal: &Portal, address: SocketAddr) -> Self {
        Self {
            portal: portal.clone(),
            address,
            parameters: logged_in.parameters().clone(),
            tsih: logged_in.tsih(),
            chap: logged_in.chap_algorithm(),
            target_authenticated: logged_in.is_target_authenticated(),
        }
    }

    /// The portal group that the target named.
    #[must_use]
    pub const fn portal_group(&self) -> Option<TargetPortalGroupTag> {
        self.parameters.target_portal_group_tag
    }

    /// The portal group that discovery named, if the target named another one, or none, since.
    pub(super) fn other_group_than(&self) -> Option<TargetPortalGroupTag> {
        self.portal
            .tpgt
            .filter(|expected| self.portal_group() != Some(*expected))
    }
}
