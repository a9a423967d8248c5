//! What a unit has to tell the nexuses of its paths, which it does when a command comes.

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;

use crate::{core::ProbeKind, path::Path};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Sends a TEST UNIT READY over each path. What comes of it is told in other ways.
pub(super) async fn find_attentions<P: Path>(paths: impl IntoIterator<Item = Arc<P>>) {
    let probe = async |path: Arc<P>| path.probe(ProbeKind::Tur, TIMEOUT).await;
    join_all(paths.into_iter().map(probe)).await;
}
