//! The program that the README shows, from after this line on.

use std::{env, error::Error, fs, process::ExitCode, sync::Arc};

use iscsi_client::{device::BlockDeviceExt, initiator::Initiator, runtime::TokioRuntime};
use iscsi_proto::login::{ChapCredentials, Secret};
use mpio::MultipathBuilder;

fn main() -> ExitCode {
    let done = tokio::runtime::Runtime::new()
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(run()));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = env::args().skip(1).collect();
    let [portal, target, lun, nic1, nic2, user, secret_file] = &args[..] else {
        return Err("give PORTAL TARGET LUN NIC NIC CHAP-USER CHAP-SECRET-FILE".into());
    };
    let secret = Secret::new(fs::read(secret_file)?.trim_ascii_end());

    let runtime = Arc::new(TokioRuntime::current()?);
    let initiator = Initiator::builder("iqn.2024-01.com.example:first-program".parse()?, runtime)
        .credentials(ChapCredentials::new(user, secret)?)
        .build();
    let disk = MultipathBuilder::new(target.parse()?)
        .portal(portal.parse()?)
        .lun(lun.parse()?)
        .bind(nic1.parse()?)
        .bind(nic2.parse()?)
        .connect_spawned(&initiator)
        .await?;
    print!("{}", disk.topology());

    // Whole blocks are written, at multiples of their size; offsets are in bytes.
    let block = vec![0x5a; disk.info().block_size as usize];
    disk.write_at(0, &block).await?;
    let read = disk.read_bytes(0, block.len()).await?;
    println!("as it was written: {}", read == block);

    // Logs out. A program that just ends leaves it to the target to notice.
    disk.close().await;
    initiator.close().await;
    Ok(())
}
