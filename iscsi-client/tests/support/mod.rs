//! Every behaviour of a runtime adapter is tested under each adapter that is compiled in.

use std::{future::Future, sync::Arc};

use iscsi_client::runtime::Runtime;

/// Runs `body` under tokio and under smol, as far as their features are on.
pub(crate) fn on_each_runtime<F: Future<Output = ()>>(body: impl Fn(Arc<dyn Runtime>) -> F) {
    #[cfg(feature = "tokio")]
    {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let runtime = iscsi_client::runtime::TokioRuntime::current().unwrap();
            body(Arc::new(runtime)).await;
        });
    }
    #[cfg(feature = "smol")]
    {
        let spawn = |task| smol::spawn(task).detach();
        let runtime = iscsi_client::runtime::SmolRuntime::new(spawn);
        smol::block_on(body(Arc::new(runtime)));
    }
}
