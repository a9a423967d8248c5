//! How the two sides convince each other of who they are.

use alloc::sync::Arc;

use crate::login::secret::Secret;

/// How the target may convince itself of who we are.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Authentication {
    /// `AuthMethod=None`.
    #[default]
    None,
    /// `AuthMethod=CHAP`: the target challenges us, and we the target if the credentials say so.
    Chap(ChapCredentials),
}

impl Authentication {
    /// Whether both would prove the same to a target, and ask the same of it.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::None, Self::None) => true,
            (Self::Chap(one), Self::Chap(two)) => {
                let target = match (&one.target, &two.target) {
                    (None, None) => true,
                    (Some(one), Some(two)) => {
                        one.name == two.name && one.secret.is_same(&two.secret)
                    }
                    (None | Some(_), _) => false,
                };
                target && one.name == two.name && one.secret.is_same(&two.secret)
            }
            (Self::None | Self::Chap(_), _) => false,
        }
    }
}

/// A CHAP algorithm (RFC 7143 section 12.1.3 and the IANA registry "PPP Authentication Algorithms").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ChapAlgorithm {
    /// Number 5, which the standard demands of every implementation; most targets know nothing else.
    /// Broken as a hash, though what is known against it does not recover a secret of 96 random bits.
    Md5,
    /// Number 6.
    Sha1,
    /// Number 7.
    Sha256,
    /// Number 8.
    Sha3_256,
}

impl ChapAlgorithm {
    /// All of them, the strongest first.
    pub const ALL: &'static [Self] = &[Self::Sha3_256, Self::Sha256, Self::Sha1, Self::Md5];
    /// All but MD5, for hosts where it is not allowed.
    pub const WITHOUT_MD5: &'static [Self] = &[Self::Sha3_256, Self::Sha256, Self::Sha1];

    /// The number in CHAP_A.
    #[must_use]
    pub const fn number(self) -> u8 {
        match self {
            Self::Md5 => 5,
            Self::Sha1 => 6,
            Self::Sha256 => 7,
            Self::Sha3_256 => 8,
        }
    }

    /// The length of a response in bytes. Our own challenges are as long.
    #[must_use]
    pub const fn digest_len(self) -> usize {
        match self {
            Self::Md5 => 16,
            Self::Sha1 => 20,
            Self::Sha256 | Self::Sha3_256 => 32,
        }
    }
}

/// Why credentials cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CredentialError {
    /// The name is empty, longer than 255 bytes, or holds a control character.
    #[error("CHAP name must have 1 to 255 bytes and no control characters")]
    Name,
    /// The secret is empty or longer than 255 bytes.
    #[error("CHAP secret must have 1 to 255 bytes")]
    Secret,
    /// The secret is shorter than 96 bits (section 9.2.1).
    #[error("CHAP secret is shorter than 12 bytes: set a longer one here and at the target")]
    WeakSecret,
    /// Both directions have the same secret, which section 9.2.1 forbids: whoever listens could
    /// answer our challenge with an answer that it got from us.
    #[error("the two directions of mutual CHAP must have different secrets: change one of them")]
    SameSecret,
}

/// The least secret that section 9.2.1 wants where the network is not encrypted: 96 bits.
const MIN_SECRET_LEN: usize = 12;

fn check_name(name: &str) -> Result<Arc<str>, CredentialError> {
    if name.is_empty() || name.len() > 255 || name.chars().any(char::is_control) {
        return Err(CredentialError::Name);
    }
    Ok(name.into())
}

fn check_secret(secret: &Secret, weak: bool) -> Result<(), CredentialError> {
    if secret.is_empty() || secret.len() > 255 {
        return Err(CredentialError::Secret);
    }
    if !weak && secret.len() < MIN_SECRET_LEN {
        return Err(CredentialError::WeakSecret);
    }
    Ok(())
}

/// Our name and secret for CHAP, and with mutual CHAP the target's.
#[derive(Clone, Debug)]
pub struct ChapCredentials {
    pub(super) name: Arc<str>,
    pub(super) secret: Secret,
    pub(super) target: Option<TargetCredentials>,
}

impl ChapCredentials {
    /// The least secret that section 9.2.1 wants where the network is not encrypted: 96 bits.
    pub const MIN_SECRET_LEN: usize = MIN_SECRET_LEN;

    /// A name of 1 to 255 bytes and a secret of 12 to 255 bytes.
    pub fn new(name: &str, secret: Secret) -> Result<Self, CredentialError> {
        check_secret(&secret, false)?;
        Self::with_weak_secret(name, secret)
    }

    /// As [`new`](Self::new), but takes a secret that a listener can guess offline. For targets that
    /// were set up so and cannot be changed.
    pub fn with_weak_secret(name: &str, secret: Secret) -> Result<Self, CredentialError> {
        let name = check_name(name)?;
        check_secret(&secret, true)?;
        Ok(Self {
            name,
            secret,
            target: None,
        })
    }

    /// Mutual CHAP: the target must prove that it knows its own secret, else the login fails.
    ///
    /// # Errors
    ///
    /// [`CredentialError::SameSecret`] if it is the secret that we have.
    pub fn with_target(mut self, target: TargetCredentials) -> Result<Self, CredentialError> {
        if self.secret.is_same(&target.secret) {
            return Err(CredentialError::SameSecret);
        }
        self.target = Some(target);
        Ok(self)
    }

    /// The name that is sent as CHAP_N.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the target must prove itself as well.
    #[must_use]
    pub const fn is_mutual(&self) -> bool {
        self.target.is_some()
    }
}

/// What the target must know in mutual CHAP.
#[derive(Clone, Debug)]
pub struct TargetCredentials {
    pub(super) name: Option<Arc<str>>,
    pub(super) secret: Secret,
}

impl TargetCredentials {
    /// A secret of 12 to 255 bytes, under whatever name the target gives: what proves it is the
    /// secret.
    pub fn new(secret: Secret) -> Result<Self, CredentialError> {
        check_secret(&secret, false)?;
        Ok(Self { name: None, secret })
    }

    /// As [`new`](Self::new), but takes a secret that a listener can guess offline.
    pub fn with_weak_secret(secret: Secret) -> Result<Self, CredentialError> {
        check_secret(&secret, true)?;
        Ok(Self { name: None, secret })
    }

    /// The target must give exactly this name, of 1 to 255 bytes, as well.
    pub fn with_name(mut self, name: &str) -> Result<Self, CredentialError> {
        self.name = Some(check_name(name)?);
        Ok(self)
    }

    /// The name that the target must give, if any.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    #[test]
    fn what_cannot_be_used_is_refused_with_the_reason() {
        let secret = |n: usize| Secret::new(&alloc::vec![b's'; n]);
        let long = "n".repeat(256);
        for (name, length, why) in [
            ("", 12, CredentialError::Name),
            ("a\nb", 12, CredentialError::Name),
            (long.as_str(), 12, CredentialError::Name),
            ("a", 0, CredentialError::Secret),
            ("a", 256, CredentialError::Secret),
            ("a", 11, CredentialError::WeakSecret),
        ] {
            let error = ChapCredentials::new(name, secret(length)).unwrap_err();
            assert_eq!(error, why, "{name:.10} {length}");
        }
        assert!(ChapCredentials::with_weak_secret("a", secret(1)).is_ok());
        let target = |n| TargetCredentials::new(secret(n));
        assert_eq!(target(11).unwrap_err(), CredentialError::WeakSecret);
        assert_eq!(target(256).unwrap_err(), CredentialError::Secret);
        assert_eq!(
            target(12).unwrap().with_name("").unwrap_err(),
            CredentialError::Name
        );
        let ours = ChapCredentials::new("a", secret(12)).unwrap();
        let same = ours.clone().with_target(target(12).unwrap());
        assert_eq!(same.unwrap_err(), CredentialError::SameSecret);
        let mutual = ours.with_target(target(13).unwrap()).unwrap();
        assert!(mutual.is_mutual());
        let text = format!("{mutual:?}");
        assert!(text.contains("redacted") && !text.contains("sss"), "{text}");
    }

    #[test]
    fn the_longest_that_is_allowed_is_taken() {
        let secret = |n: usize| Secret::new(&alloc::vec![b's'; n]);
        let name = "n".repeat(255);
        let ours = ChapCredentials::new(&name, secret(255)).unwrap();
        assert_eq!(ours.name(), name);
        let target = TargetCredentials::new(secret(12)).unwrap();
        assert_eq!(target.name(), None);
        let named = target.with_name(&name).unwrap();
        assert_eq!(named.name(), Some(&*name));
    }

    /// A shared session is given only to whom it would have been opened for.
    #[test]
    fn whatever_differs_makes_another_authentication() {
        let secret = |byte: u8| Secret::new(&[byte; 16]);
        let one = |name, byte| ChapCredentials::new(name, secret(byte)).unwrap();
        let target = |byte, name: Option<&str>| {
            let target = TargetCredentials::new(secret(byte)).unwrap();
            match name {
                Some(name) => target.with_name(name).unwrap(),
                None => target,
            }
        };
        let mutual = |byte, name| one("a", 1).with_target(target(byte, name)).unwrap();
        let all = [
            Authentication::None,
            Authentication::Chap(one("a", 1)),
            Authentication::Chap(one("b", 1)),
            Authentication::Chap(one("a", 2)),
            Authentication::Chap(mutual(3, None)),
            Authentication::Chap(mutual(4, None)),
            Authentication::Chap(mutual(3, Some("t"))),
            Authentication::Chap(mutual(3, Some("u"))),
            Authentication::Chap(mutual(4, Some("u"))),
        ];
        for (i, left) in all.iter().enumerate() {
            for (j, right) in all.iter().enumerate() {
                assert_eq!(left.is_same(right), i == j, "{left:?} {right:?}");
            }
        }
    }
}
