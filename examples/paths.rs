//! From the command line to logical units.

use std::{path::Path, sync::Arc, time::Duration};

use iscsi_client::{
    bind::Bind,
    error::{Error, LoginError},
    initiator::{Initiator, InitiatorBuilder, SessionTarget},
    isid::SessionSlot,
    logical_unit::LogicalUnit,
    runtime::Runtime,
    session::SessionOptions,
    url::TargetUrl,
};
use iscsi_proto::{
    login::{Authentication, ChapCredentials, Secret},
    name::IscsiName,
};
use mpio::{
    ConnectError, MultipathBuilder, MultipathDevice, Path as _, PathFailure, core::PathAttributes,
};

use crate::{args::LoginArgs, deadlines::DeadlineArgs, failure::Failure, runtime::sleep};

/// Where a LUN is found, and through which NICs.
#[derive(Clone, Debug)]
pub struct Places {
    /// One URL per portal.
    pub urls: Vec<TargetUrl>,
    /// The NICs; with none the routing table decides.
    pub nics: Vec<Bind>,
    /// The first NIC with the first portal and so on, instead of each with each.
    pub paired: bool,
    /// How long to wait for any of it.
    pub deadlines: DeadlineArgs,
}

/// Reads URLs. Not left to the argument parser, whose messages repeat the text, secrets and all.
///
/// # Errors
///
/// What is wrong with which of them.
pub fn parse_urls(texts: &[String]) -> Result<Vec<TargetUrl>, Failure> {
    parse_urls_of("--url", texts)
}

/// The same of another argument than `--url`.
///
/// # Errors
///
/// What is wrong with which of them.
pub fn parse_urls_of(argument: &str, texts: &[String]) -> Result<Vec<TargetUrl>, Failure> {
    let parse = |(text, number): (&String, usize)| {
        text.parse()
            .map_err(|error| Failure::usage(format_args!("{argument} number {number}: {error}")))
    };
    texts.iter().zip(1..).map(parse).collect()
}

/// The initiator that `login` and the URLs describe. `tool` is part of its default name.
///
/// # Errors
///
/// If a name or a secret cannot be used.
pub fn initiator(
    tool: &str,
    login: &LoginArgs,
    urls: &[TargetUrl],
    options: SessionOptions,
    runtime: Arc<dyn Runtime>,
) -> Result<Initiator, Failure> {
    Ok(initiator_builder(tool, login, urls, options, runtime)?.build())
}

/// The same, for more to be said of it.
///
/// # Errors
///
/// As [`initiator`].
pub fn initiator_builder(
    tool: &str,
    login: &LoginArgs,
    urls: &[TargetUrl],
    options: SessionOptions,
    runtime: Arc<dyn Runtime>,
) -> Result<InitiatorBuilder, Failure> {
    let name = initiator_name(tool, login.initiator_name.as_deref())?;
    let mut authentication = Authentication::None;
    for url in urls {
        authentication = url.authentication().map_err(Failure::usage)?;
        if matches!(authentication, Authentication::Chap(_)) {
            break;
        }
    }
    if let (Some(user), Some(file)) = (&login.chap_user, &login.chap_secret_file) {
        authentication = Authentication::Chap(credentials(user, file)?);
    }
    let builder = Initiator::builder(name, runtime).options(options);
    Ok(match authentication {
        Authentication::Chap(credentials) => builder.credentials(credentials),
        _ => builder,
    })
}

fn initiator_name(tool: &str, given: Option<&str>) -> Result<IscsiName, Failure> {
    let text = given.map_or_else(
        || format!("iqn.2026-01.example.iscsi-mpio:{tool}-{:016x}", machine()),
        Into::into,
    );
    text.parse()
        .map_err(|error| Failure::usage(format_args!("--initiator-name: {error}")))
}

/// A number that differs between machines and stays the same on one. Not the machine id itself,
/// which is not to be shown around (machine-id(5)): its hash, by FNV-1a.
fn machine() -> u64 {
    let id = ["/etc/machine-id", "/etc/hostname"]
        .iter()
        .find_map(|file| std::fs::read(file).ok())
        .unwrap_or_default();
    let bytes = b"iscsi-mpio examples ".iter().chain(&id);
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn credentials(user: &str, file: &Path) -> Result<ChapCredentials, Failure> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| {
        Failure::new(format_args!(
            "cannot read {shown}: {error}; check --chap-secret-file"
        ))
    })?;
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = Secret::new(secret.strip_suffix(b"\r").unwrap_or(secret));
    ChapCredentials::new(user, secret).map_err(|error| {
        Failure::new(format_args!(
            "{error}: change --chap-user or the content of {shown}"
        ))
    })
}

/// Opens all paths and joins them into one device.
///
/// # Errors
///
/// If not one path can be opened, or two lead to different logical units.
pub async fn open_device(
    initiator: &Initiator,
    places: &Places,
) -> Result<MultipathDevice, Failure> {
    let first = places
        .urls
        .first()
        .ok_or_else(|| Failure::usage("give at least one --url"))?;
    let same = |url: &&TargetUrl| url.target == first.target && url.lun == first.lun;
    let mut builder = MultipathBuilder::new(first.target.clone())
        .lun(first.lun)
        .config(places.deadlines.device_config()?)
        .unit_options(places.deadlines.unit_options());
    for url in places.urls.iter().filter(same) {
        builder = builder.portal(url.portal.clone());
    }
    for nic in &places.nics {
        builder = builder.bind(nic.clone());
    }
    if places.paired {
        builder = builder.paired();
    }
    let device = builder
        .connect_spawned(initiator)
        .await
        .map_err(connect_failure)?;
    let others = places.urls.iter().filter(|url| !same(url));
    for (number, url) in (1..).zip(others) {
        if let Err(failure) = join(initiator, &device, number, url, places).await {
            device.close().await;
            return Err(failure);
        }
    }
    Ok(device)
}

/// How long [`settle`] waits.
const SETTLE: Duration = Duration::from_secs(3);

/// Waits until every path of the device has answered what is asked after a login, but not for long: what is shown before
/// that is what a path with access would look like.
pub async fn settle(device: &MultipathDevice, runtime: &dyn Runtime) {
    let end = runtime.now() + SETTLE;
    while runtime.now() < end && device.snapshot().paths().any(|path| path.is_being_asked) {
        sleep(runtime, Duration::from_millis(5)).await;
    }
}

/// Adds the paths to a URL of another target: an array may have a target per port. Whether it is the
/// same logical unit is for the device to say.
async fn join(
    initiator: &Initiator,
    device: &MultipathDevice,
    number: u16,
    url: &TargetUrl,
    places: &Places,
) -> Result<(), Failure> {
    let anywhere = [Bind::Any];
    let nics = if places.nics.is_empty() {
        &anywhere[..]
    } else {
        &places.nics
    };
    for (bind, nic) in (0..).zip(nics) {
        let slot = SessionSlot {
            bind,
            portal: 0,
            number,
        };
        let unit = open_unit(initiator, url, nic.clone(), slot, places.deadlines).await?;
        let attributes = PathAttributes::new(unit.name());
        device.add_path(attributes, unit).map_err(Failure::new)?;
    }
    Ok(())
}

/// Opens one path by itself, to be used beside others.
///
/// # Errors
///
/// If the login fails, or there is no such logical unit.
pub async fn open_unit(
    initiator: &Initiator,
    url: &TargetUrl,
    nic: Bind,
    slot: SessionSlot,
    deadlines: DeadlineArgs,
) -> Result<LogicalUnit, Failure> {
    let to = SessionTarget::new(url.target.clone(), url.portal.clone())
        .with_bind(nic)
        .with_slot(slot);
    let to = match url.authentication().map_err(Failure::usage)? {
        Authentication::None => to,
        own => to.with_authentication(own),
    };
    let session = initiator.connect_spawned(&to).await?;
    let options = deadlines.unit_options().fail_fast();
    let unit = LogicalUnit::open_with(session.clone(), url.lun, options).await;
    match unit {
        Ok(unit) => Ok(unit),
        Err(error) => {
            session.close().await;
            let (lun, portal) = (url.lun, &url.portal);
            Err(Failure::new(format_args!(
                "LUN {lun} at {portal}: {error:#}"
            )))
        }
    }
}

fn connect_failure(error: ConnectError) -> Failure {
    let ConnectError::NoPath(failures) = &error else {
        return Failure::new(error);
    };
    let text = |failure: &PathFailure| format!("{}: {}", failure.path, because(&failure.error));
    let texts: Vec<String> = failures.iter().map(text).collect();
    Failure::new(format_args!(
        "no path could be opened: {}",
        texts.join("; ")
    ))
}

/// A login knows better what to do than the kind of error that it becomes for a caller.
fn because(error: &Error) -> String {
    let login = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    login.map_or_else(
        || format!("{error:#}"),
        |login: &LoginError| format!("{login}. {}", login.advice()),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_that_cannot_be_read_is_named_by_number_and_its_secret_is_not_shown() {
        let good = "iscsi://10.0.0.1/iqn.2026-01.example:disk/0".to_owned();
        assert_eq!(parse_urls(std::slice::from_ref(&good)).unwrap().len(), 1);
        let bad = "iscsi://me%sesame-street-12@10.0.0.1/disk/0".to_owned();
        let failure = parse_urls(&[good, bad]).unwrap_err().to_string();
        assert!(failure.starts_with("--url number 2: "), "{failure}");
        assert!(!failure.contains("sesame"), "{failure}");
    }

    #[test]
    fn the_default_name_is_valid_and_stays() {
        let name = initiator_name("tool", None).unwrap();
        assert_eq!(initiator_name("tool", None).unwrap(), name);
        assert_ne!(initiator_name("other", None).unwrap(), name);
        assert!(initiator_name("tool", Some("disk")).is_err());
    }
}
