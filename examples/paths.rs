//! From the command line to sessions and devices.

use std::{path::Path, sync::Arc};

use iscsi_client::{
    initiator::{Initiator, InitiatorBuilder},
    runtime::Runtime,
    session::{Session, SessionOptions},
    url::TargetUrl,
};
use iscsi_proto::login::{Authentication, ChapCredentials, Secret};
use mpio::{ConnectError, MultipathDevice};

use crate::{args::LoginArgs, failure::Failure};

/// An initiator of the name that was asked for, or of one that this machine keeps over restarts.
///
/// # Errors
///
/// If the name or the credentials cannot be used.
pub fn initiator(
    login: &LoginArgs,
    url: Option<&TargetUrl>,
    options: SessionOptions,
    runtime: Arc<dyn Runtime>,
) -> Result<Initiator, Failure> {
    let name = match &login.initiator_name {
        Some(name) => name.clone(),
        None => format!("iqn.2026-11.org.example.iscsi-mpio:{}", machine()),
    };
    let name = name
        .parse()
        .map_err(|error| Failure::usage(format_args!("--initiator-name {name}: {error}")))?;
    let builder = Initiator::builder(name, runtime).options(options);
    Ok(with_credentials(builder, login, url)?.build())
}

fn with_credentials(
    builder: InitiatorBuilder,
    login: &LoginArgs,
    url: Option<&TargetUrl>,
) -> Result<InitiatorBuilder, Failure> {
    if let (Some(user), Some(file)) = (&login.chap_user, &login.chap_secret_file) {
        let secret = secret(file)?;
        let credentials = ChapCredentials::new(user, secret)
            .map_err(|error| Failure::usage(format_args!("--chap-secret-file: {error}")))?;
        return Ok(builder.credentials(credentials));
    }
    let authentication = url.map(TargetUrl::authentication).transpose();
    match authentication.map_err(|error| Failure::usage(format_args!("--url: {error}")))? {
        Some(Authentication::Chap(credentials)) => Ok(builder.credentials(credentials)),
        _ => Ok(builder),
    }
}

/// The content of a file without one line break at its end. It is never printed.
fn secret(file: &Path) -> Result<Secret, Failure> {
    let path = file.display();
    let content = std::fs::read(file).map_err(|error| {
        Failure::usage(format_args!(
            "cannot read {path}: {error}; check --chap-secret-file"
        ))
    })?;
    let content = content.strip_suffix(b"\n").unwrap_or(&content);
    let content = content.strip_suffix(b"\r").unwrap_or(content);
    Ok(Secret::new(content))
}

/// Something that is this machine's and stays: two machines of one name would end each other's
/// sessions.
fn machine() -> String {
    let id = std::fs::read_to_string("/etc/machine-id")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .unwrap_or_default();
    let id: String = id
        .trim()
        .to_ascii_lowercase()
        .chars()
        .filter(|c| c.is_ascii_alphanumeric() || *c == '-')
        .collect();
    if id.is_empty() { "host".into() } else { id }
}

/// The sessions of a device's paths, in the order of its snapshot.
#[must_use]
pub fn sessions(device: &MultipathDevice) -> Vec<Session> {
    let snapshot = device.snapshot();
    let units = snapshot.paths().filter_map(|path| device.path(path.id));
    units.map(|unit| unit.session().clone()).collect()
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::new(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_secret_file_is_named_and_no_secret_is_shown() {
        let failure = secret(Path::new("/nonexistent/secret")).unwrap_err();
        assert!(failure.to_string().contains("/nonexistent/secret"));
        let dir = std::env::temp_dir().join(format!("iscsi-secret-{}", std::process::id()));
        std::fs::write(&dir, "twelve bytes and more\r\n").unwrap();
        let secret = secret(&dir).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(secret.len(), 21);
        assert!(!format!("{secret:?}").contains("twelve"));
    }

    #[test]
    fn the_name_of_this_machine_can_be_part_of_an_iscsi_name() {
        let name = format!("iqn.2026-11.org.example.iscsi-mpio:{}", machine());
        assert!(name.parse::<iscsi_proto::IscsiName>().is_ok(), "{name}");
    }
}
