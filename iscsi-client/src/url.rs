//! `iscsi://` URLs, as the C library and QEMU write them.

use std::{borrow::Cow, fmt, str::FromStr, sync::Arc};

use iscsi_proto::{
    login::{Authentication, ChapCredentials, CredentialError, Secret, TargetCredentials},
    name::{IscsiName, NameError},
    portal::Portal,
    scsi::lun::Lun,
    text::DigestOffer,
};
use percent_encoding::percent_decode_str;

use crate::{initiator::SessionTarget, session::SessionOptions};

/// One logical unit, and how to get at it:
///
/// ```text
/// iscsi://[user[%secret]@]host[:port]/target/lun[?key=value[&key=value..]]
/// ```
///
/// There is no standard for this; the syntax is libiscsi's, so that the URLs of QEMU and of the
/// `iscsi-*` tools work here.
///
/// * `host` is a name, an IPv4 address, or an IPv6 address in brackets, with a zone if need be:
///   `[fe80::1%25eth0]` (RFC 6874) or plainly `[fe80::1%eth0]`.
/// * `target` may be percent-encoded. User names and secrets are taken **literally**, since `%` is
///   what stands between them (a `:` does if there is no `%`). So they cannot hold every character;
///   set the fields for those that do not fit.
/// * `lun` is a decimal number, or `0x` and 16 digits for other addressing methods.
/// * Keys: `target_user` and `target_password` (the target proves itself as well);
///   `header_digest` and `data_digest` (`none`, `crc32c`, `none,crc32c`, `crc32c,none`).
///
/// What is not understood is an error. A misspelt `target_password` that were skipped would turn
/// off an authentication that the user asked for.
///
/// [`Display`](fmt::Display) writes the URL without any secret, so it can go into logs; what it
/// wrote parses again. `Debug` shows no secret either. Error values hold nothing of the text.
///
/// ```
/// use iscsi_client::url::TargetUrl;
///
/// let url: TargetUrl = "iscsi://me%a-long-secret@10.0.0.1/iqn.2026-01.com.example:disk/1".parse()?;
/// assert_eq!(url.target.as_str(), "iqn.2026-01.com.example:disk");
/// assert_eq!(url.to_string(), "iscsi://me@10.0.0.1:3260/iqn.2026-01.com.example:disk/1");
/// # Ok::<(), iscsi_client::url::UrlError>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TargetUrl {
    /// Where the target listens.
    pub portal: Portal,
    /// Its name.
    pub target: IscsiName,
    /// The logical unit.
    pub lun: Lun,
    /// Our CHAP name.
    pub user: Option<Arc<str>>,
    /// Our CHAP secret.
    pub secret: Option<Secret>,
    /// The CHAP name that the target must answer with.
    pub target_user: Option<Arc<str>>,
    /// The target's CHAP secret.
    pub target_secret: Option<Secret>,
    /// Which header digests to offer, if the URL says.
    pub header_digest: Option<DigestOffer>,
    /// Which data digests to offer, if the URL says.
    pub data_digest: Option<DigestOffer>,
}

/// Why a text is not a [`TargetUrl`], or a `TargetUrl` cannot be used.
///
/// Nothing of the text is kept here: a misplaced `/` or `?` makes any part of it a piece of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UrlError {
    /// It does not begin with `iscsi://`.
    #[error("an iSCSI URL begins with iscsi://")]
    Scheme,
    /// The part before the first `/` is no portal.
    #[error(
        "between iscsi:// and the next / belongs [user[%secret]@]host[:port]; IPv6 addresses take \
         brackets, and secrets with / or ? in them cannot be part of a URL"
    )]
    Portal,
    /// There is no `/target/lun`, or more than that.
    #[error("behind the host belongs /target/lun")]
    Path,
    /// The target is not an iSCSI name.
    #[error("in the URL: {0}")]
    Target(#[from] NameError),
    /// The logical unit is not a number that can be one.
    #[error("the logical unit is a decimal number up to 65535, or 0x and 16 hexadecimal digits")]
    Lun,
    /// A parameter is unknown, has no value, or is given twice.
    #[error(
        "behind the ? belong, once each, target_user=, target_password=, header_digest=, \
         data_digest= (none, crc32c, none,crc32c or crc32c,none), joined by &"
    )]
    Parameter,
    /// A secret without a name, or the target's credentials without our own.
    #[error(
        "a CHAP secret needs a name, and the target authenticates itself only to an initiator \
         that does so, too"
    )]
    Credentials,
    /// A name has no secret (or the reverse), where both are needed now.
    #[error("CHAP takes a name and a secret; one of them is missing")]
    Incomplete,
    /// The credentials are outside of what CHAP takes.
    #[error("in the URL: {0}")]
    Chap(#[from] CredentialError),
}

impl TargetUrl {
    /// A logical unit that needs no credentials.
    #[must_use]
    pub const fn new(portal: Portal, target: IscsiName, lun: Lun) -> Self {
        Self {
            portal,
            target,
            lun,
            user: None,
            secret: None,
            target_user: None,
            target_secret: None,
            header_digest: None,
            data_digest: None,
        }
    }

    /// How to log in.
    ///
    /// # Errors
    ///
    /// [`UrlError::Incomplete`] for a name without a secret; [`UrlError::Chap`] for a secret shorter
    /// than 12 bytes, and for one that is the same in both directions.
    pub fn authentication(&self) -> Result<Authentication, UrlError> {
        let target = match (&self.target_user, &self.target_secret) {
            (None, None) => None,
            (Some(user), Some(secret)) => {
                Some(TargetCredentials::new(secret.clone())?.with_name(user)?)
            }
            _ => return Err(UrlError::Incomplete),
        };
        match (&self.user, &self.secret) {
            (None, None) if target.is_none() => Ok(Authentication::None),
            (Some(user), Some(secret)) => {
                let mut credentials = ChapCredentials::new(user, secret.clone())?;
                if let Some(target) = target {
                    credentials = credentials.with_target(target)?;
                }
                Ok(Authentication::Chap(credentials))
            }
            _ => Err(UrlError::Incomplete),
        }
    }

    /// What to hand to [`Initiator::connect`](crate::initiator::Initiator::connect): `options`,
    /// with the digests of the URL where it names any. Credentials in the URL replace those of the
    /// initiator; without any, the initiator's stay.
    ///
    /// # Errors
    ///
    /// As for [`authentication`](Self::authentication).
    pub fn session_target(&self, mut options: SessionOptions) -> Result<SessionTarget, UrlError> {
        if let Some(digest) = self.header_digest {
            options.offer = options.offer.with_header_digest(digest);
        }
        if let Some(digest) = self.data_digest {
            options.offer = options.offer.with_data_digest(digest);
        }
        let target = SessionTarget::new(self.target.clone(), self.portal.clone());
        let target = target.with_options(options);
        Ok(match self.authentication()? {
            Authentication::None => target,
            authentication => target.with_authentication(authentication),
        })
    }
}

const SCHEME: &str = "iscsi://";

/// Splits `[user[%secret]@]host[:port]` before the host.
///
/// The last `@` counts, as no host has one but a secret may; except that the name of a zone may
/// (`veth0@if2`), so brackets are looked for first.
fn split_authority(authority: &str) -> (Option<&str>, &str) {
    if authority.starts_with('[') {
        return (None, authority);
    }
    let at = authority.rfind("@[").or_else(|| authority.rfind('@'));
    match at.and_then(|at| authority.split_at_checked(at)) {
        Some((user, host)) => (Some(user), host.strip_prefix('@').unwrap_or(host)),
        None => (None, authority),
    }
}

/// `%25` before a zone is how RFC 6874 writes the `%`.
fn parse_portal(host: &str) -> Result<Portal, UrlError> {
    let plain = match host.split_once("%25") {
        Some((address, zone)) if address.starts_with('[') && !zone.starts_with(']') => {
            Cow::Owned(format!("{address}%{zone}"))
        }
        _ => Cow::Borrowed(host),
    };
    plain.parse().map_err(|_| UrlError::Portal)
}

fn parse_digest(value: &str) -> Result<DigestOffer, UrlError> {
    Ok(match value.to_ascii_lowercase().as_str() {
        "none" => DigestOffer::None,
        "crc32c" => DigestOffer::RequireCrc32c,
        "none,crc32c" => DigestOffer::PreferNone,
        "crc32c,none" => DigestOffer::PreferCrc32c,
        _ => return Err(UrlError::Parameter),
    })
}

fn set_once<T>(field: &mut Option<T>, value: T) -> Result<(), UrlError> {
    match field.replace(value) {
        None => Ok(()),
        Some(_) => Err(UrlError::Parameter),
    }
}

impl TargetUrl {
    fn set_credentials(&mut self, text: &str) -> Result<(), UrlError> {
        let (user, secret) = text
            .split_once('%')
            .or_else(|| text.split_once(':'))
            .unwrap_or((text, ""));
        if user.is_empty() {
            return Err(UrlError::Credentials);
        }
        self.user = Some(user.into());
        self.secret = (!secret.is_empty()).then(|| Secret::new(secret.as_bytes()));
        Ok(())
    }

    fn set_parameter(&mut self, parameter: &str) -> Result<(), UrlError> {
        match parameter.split_once('=') {
            None | Some((_, "")) => Err(UrlError::Parameter),
            Some(("target_user", name)) => set_once(&mut self.target_user, name.into()),
            Some(("target_password", secret)) => {
                set_once(&mut self.target_secret, Secret::new(secret.as_bytes()))
            }
            Some(("header_digest", value)) => {
                set_once(&mut self.header_digest, parse_digest(value)?)
            }
            Some(("data_digest", value)) => set_once(&mut self.data_digest, parse_digest(value)?),
            Some(_) => Err(UrlError::Parameter),
        }
    }
}

impl FromStr for TargetUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let rest = text.strip_prefix(SCHEME).ok_or(UrlError::Scheme)?;
        let (rest, query) = match rest.split_once('?') {
            Some((rest, query)) => (rest, Some(query)),
            None => (rest, None),
        };
        // An `@` further right belongs to the target or the LUN, which will not like it. To take it
        // for the end of credentials would send what stands before it to some other host.
        let (authority, path) = match rest.split_once('/') {
            Some((authority, path)) => (authority, Some(path)),
            None => (rest, None),
        };
        let (credentials, host) = split_authority(authority);
        let portal = parse_portal(host)?;
        let (target, lun) = path
            .and_then(|path| path.split_once('/'))
            .filter(|(target, lun)| !target.is_empty() && !lun.is_empty() && !lun.contains('/'))
            .ok_or(UrlError::Path)?;
        let target = percent_decode_str(target)
            .decode_utf8()
            .map_err(|_| UrlError::Path)?;
        let lun = lun.parse().map_err(|_| UrlError::Lun)?;
        let mut url = Self::new(portal, target.parse()?, lun);
        if let Some(credentials) = credentials {
            url.set_credentials(credentials)?;
        }
        for parameter in query.into_iter().flat_map(|query| query.split('&')) {
            url.set_parameter(parameter)?;
        }
        let mutual = url.target_user.is_some() || url.target_secret.is_some();
        if mutual && (url.user.is_none() || url.target_user.is_none()) {
            return Err(UrlError::Credentials);
        }
        Ok(url)
    }
}

/// The names of a digest offer, as in the login key.
fn digest_name(offer: DigestOffer) -> String {
    offer.list().join(",").to_ascii_lowercase()
}

impl fmt::Display for TargetUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SCHEME)?;
        if let Some(user) = &self.user {
            // Without the `%`, what stands behind a `:` would be read as the secret.
            let end = if user.contains(':') { "%@" } else { "@" };
            write!(f, "{user}{end}")?;
        }
        let portal = self.portal.to_string().replacen('%', "%25", 1);
        write!(f, "{portal}/{}/{}", self.target, self.lun)?;
        let mut separator = '?';
        let mut parameter = |key: &str, value: Option<&str>| match value {
            None => Ok(()),
            Some(value) => {
                write!(f, "{separator}{key}={value}")?;
                separator = '&';
                Ok(())
            }
        };
        let header_digest = self.header_digest.map(digest_name);
        let data_digest = self.data_digest.map(digest_name);
        parameter("target_user", self.target_user.as_deref())?;
        parameter("header_digest", header_digest.as_deref())?;
        parameter("data_digest", data_digest.as_deref())
    }
}
