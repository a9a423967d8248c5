//! A new size on request.

use std::sync::Arc;

use futures_util::future::join_all;
use iscsi_client::{device::DeviceInfo, error::Error};

use super::{
    MultipathDevice,
    info::{self, Size},
    shared::{Member, State},
};
use crate::path::Path;

/// Why a device keeps the size that it has.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ResizeError {
    /// A unit that has grown on one controller and not yet on the other is as small as before.
    #[error("the paths tell different sizes: {}: rescan the unit on the target", listed(.sizes))]
    PathsDisagree {
        /// The paths in use, by name, and how many bytes each tells.
        sizes: Vec<(Arc<str>, u64)>,
    },
    /// A path in use could not be asked.
    #[error("{path} cannot be asked for its size: {source}: try again, or take it out of use")]
    NotAsked {
        /// The path.
        path: Arc<str>,
        /// Why.
        source: Error,
    },
    /// No path is in use that could be asked.
    #[error("no path is in use: try again when one is")]
    NoPath,
    /// The device is closed.
    #[error("the device is closed")]
    Closed,
}

fn listed(sizes: &[(Arc<str>, u64)]) -> String {
    let one = |(path, size): &(Arc<str>, u64)| format!("{path} {size} bytes");
    sizes.iter().map(one).collect::<Vec<_>>().join(", ")
}

impl<P: Path> MultipathDevice<P> {
    /// Has each path in use read its size anew, and takes that size if they agree, a smaller one too (`resize map`).
    /// What lies beyond a smaller size is lost to the caller at once: requests there fail as
    /// [`OutOfRange`](iscsi_client::error::ErrorKind::OutOfRange).
    ///
    /// # Errors
    ///
    /// [`ResizeError`]; the device has the size that it had.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: the size is taken as a whole or not at all.
    pub async fn resize(&self) -> Result<Arc<DeviceInfo>, ResizeError> {
        let asked = self.shared().look(|state| {
            let in_use = info::in_use(state).map(|member| (member.id, Arc::clone(&member.path)));
            in_use.collect::<Vec<_>>()
        });
        let answers = asked.iter().map(|(_, path)| path.refresh());
        let answers = join_all(answers).await;
        self.shared().act(|state, now| {
            if state.core.is_closing() {
                return Err(ResizeError::Closed);
            }
            for ((id, path), answer) in asked.iter().zip(answers) {
                // One that was lost meanwhile has no say.
                let is_in_use = info::in_use(state).any(|member| member.id == *id);
                if let Err(source) = answer {
                    if is_in_use {
                        let path = path.name();
                        return Err(ResizeError::NotAsked { path, source });
                    }
                }
            }
            agreed(state)?;
            info::update(state, now, Size::AsTold);
            Ok(Arc::clone(&state.info))
        })
    }
}

/// Whether the paths in use tell one size.
fn agreed<P: Path>(state: &State<P>) -> Result<(), ResizeError> {
    let told = |member: &Member<P>| (member.path.name(), member.path.info().size);
    let sizes: Vec<_> = info::in_use(state).map(told).collect();
    let Some((_, first)) = sizes.first() else {
        return Err(ResizeError::NoPath);
    };
    match sizes.iter().all(|(_, size)| size == first) {
        true => Ok(()),
        false => Err(ResizeError::PathsDisagree { sizes }),
    }
}
