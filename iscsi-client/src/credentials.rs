//! Where credentials come from when they change.

use std::{error::Error as StdError, fmt};

use async_trait::async_trait;
use iscsi_proto::{login::Authentication, name::IscsiName, portal::Portal};

use crate::error::LoginError;

/// Gives the credentials of each login, so that secrets can be rotated, or fetched from where they
/// are kept, without a new session.
///
/// It is asked before each login to a portal, redirections included, and so also before each re-login
/// of a session that was lost; once a connection could be made, so not while nobody answers there. One that does
/// not answer at its first poll keeps no connection waiting: that is closed, and another one made when the answer
/// is there. What it gives replaces every other setting of credentials.
///
/// ```
/// use iscsi_client::credentials::{CredentialFailure, CredentialProvider, CredentialRequest};
/// use iscsi_proto::login::{Authentication, ChapCredentials, Secret};
///
/// #[derive(Debug)]
/// struct FromFile(std::path::PathBuf);
///
/// #[async_trait::async_trait]
/// impl CredentialProvider for FromFile {
///     async fn credentials(
///         &self,
///         request: &CredentialRequest,
///     ) -> Result<Authentication, CredentialFailure> {
///         if request.target.is_none() {
///             return Ok(Authentication::None); // discovery is open to all here
///         }
///         let secret = std::fs::read(&self.0)?;
///         Ok(Authentication::Chap(ChapCredentials::new("host-7", Secret::new(&secret))?))
///     }
/// }
/// ```
#[async_trait]
pub trait CredentialProvider: fmt::Debug + Send + Sync {
    /// The credentials of the login that `request` describes.
    ///
    /// An answer that takes longer than the login may
    /// ([`LoginLimits::timeout`](iscsi_proto::login::LoginLimits::timeout)) fails the attempt.
    ///
    /// # Errors
    ///
    /// Whatever went wrong: the login fails with
    /// [`LoginFailure::Credentials`](crate::error::LoginFailure::Credentials), and a session tries
    /// again later. The text ends up in logs, so it must hold no secret.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped when the login is.
    async fn credentials(
        &self,
        request: &CredentialRequest,
    ) -> Result<Authentication, CredentialFailure>;
}

/// Why there are no credentials.
pub type CredentialFailure = Box<dyn StdError + Send + Sync>;

/// The login that credentials are wanted for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct CredentialRequest {
    /// With which target; `None` for discovery.
    pub target: Option<IscsiName>,
    /// At which portal.
    pub portal: Portal,
    /// Which attempt in a row this is, from 1: one more than logins failed for their credentials since the last
    /// success. Those that failed for another reason, such as a portal that does not answer, are none.
    pub attempt: u32,
    /// Why the attempt before failed. After "authentication failure", a provider with a cache may
    /// want to look for a newer secret.
    pub last_failure: Option<LoginError>,
}
