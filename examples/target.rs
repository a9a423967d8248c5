//! Serves the testkit's target on TCP until it is interrupted, for other initiators to try: the
//! tools of libiscsi, qemu-img, open-iscsi.
//!
//! ```text
//! cargo run --release --example target -- --listen 127.0.0.1:3260 --lun 1g --lun 64m,4096
//! iscsi-ls -s iscsi://127.0.0.1:3260
//! ```

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use iscsi_examples::{
    args,
    failure::{Failure, parse_args, say},
};
use iscsi_testkit::target::{ChapConfig, LunConfig, TargetConfig, TcpTarget};

/// Serves a target whose LUNs hold computed content; what is written lies over that, in memory, and
/// is gone when the program ends.
#[derive(Debug, Parser)]
#[command(name = "target", version)]
struct Args {
    /// Where to listen; several are portals of one group
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:3260")]
    listen: Vec<SocketAddr>,
    /// The iSCSI name
    #[arg(
        long,
        value_name = "IQN",
        default_value = "iqn.2026-01.example.iscsi-mpio:target"
    )]
    name: String,
    /// A logical unit: size, block size if not 512, and `thin` for a thin provisioned one; several are
    /// numbered from 0
    #[arg(long, value_name = "BYTES[,BLOCK][,thin]", default_value = "1g", value_parser = unit)]
    lun: Vec<Unit>,
    /// Who may log in: user name, and a file with the secret; one line break at its end does not count
    #[arg(long, value_name = "USER:FILE", value_parser = credentials)]
    chap: Option<(String, PathBuf)>,
    /// Prints what initiators did against RFC 7143
    #[arg(long)]
    judge: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unit {
    size: u64,
    block: u32,
    thin: bool,
}

fn unit(text: &str) -> Result<Unit, String> {
    let mut words = text.split(',');
    let size = args::some_bytes(words.next().unwrap_or_default())?;
    let (mut block, mut thin) = (512, false);
    for word in words {
        if word == "thin" {
            thin = true;
            continue;
        }
        block = args::some_bytes(word)?;
    }
    let block = u32::try_from(block)
        .ok()
        .filter(|block| block.is_power_of_two() && (512..=4096).contains(block))
        .ok_or("the block size is a power of two from 512 to 4096")?;
    if size % u64::from(block) != 0 {
        return Err(format!(
            "the size must be a multiple of the block size, {block}"
        ));
    }
    Ok(Unit { size, block, thin })
}

fn credentials(text: &str) -> Result<(String, PathBuf), String> {
    text.split_once(':')
        .filter(|(user, file)| !user.is_empty() && !file.is_empty())
        .map(|(user, file)| (user.to_owned(), file.into()))
        .ok_or_else(|| "give a user name, a colon and a file, such as alice:/etc/secret".into())
}

fn secret(file: &Path) -> Result<Vec<u8>, Failure> {
    let shown = file.display();
    let bytes = std::fs::read(file).map_err(|error| {
        Failure::new(format_args!("cannot read {shown}: {error}; check --chap"))
    })?;
    let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
    let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
    if secret.is_empty() {
        return Err(Failure::new(format_args!(
            "{shown} holds no secret; check --chap"
        )));
    }
    Ok(secret.to_vec())
}

fn config(args: &Args) -> Result<TargetConfig, Failure> {
    let mut config = TargetConfig::new(&args.name);
    for address in &args.listen {
        config = config.with_portal(*address, 1);
    }
    if args.lun.len() > 256 {
        return Err(Failure::usage("give at most 256 logical units"));
    }
    for (unit, number) in args.lun.iter().zip(0..) {
        let lun = LunConfig::new(number, unit.size).with_block_size(unit.block);
        config = config.with_lun(if unit.thin {
            lun.with_thin_provisioning()
        } else {
            lun
        });
    }
    if let Some((user, file)) = &args.chap {
        config = config.with_chap(ChapConfig::new(user, &secret(file)?));
    }
    Ok(config)
}

fn introduce(target: &TcpTarget, args: &Args) -> Result<(), Failure> {
    let user = args.chap.as_ref();
    let user = user.map_or(String::new(), |(user, _)| format!("{user}%SECRET@"));
    say(format_args!("target {}", args.name))?;
    for (unit, number) in args.lun.iter().zip(0..) {
        let Unit { size, block, .. } = unit;
        say(format_args!(
            "lun {number}: {size} bytes, blocks of {block}"
        ))?;
    }
    for index in 0..args.listen.len() {
        say(format_args!("portal {},1", target.portal(index)))?;
    }
    let portal = target.portal(0);
    say(format_args!("try: iscsi-ls -s iscsi://{user}{portal}"))?;
    say(format_args!(
        "     qemu-img info iscsi://{user}{portal}/{}/0",
        args.name
    ))?;
    say("interrupt it to stop")
}

fn run(args: &Args) -> Result<(), Failure> {
    let target = TcpTarget::start(config(args)?).map_err(|error| {
        Failure::new(format_args!(
            "cannot listen: {error}; give --listen an address of this machine and a free port"
        ))
    })?;
    introduce(&target, args)?;
    let mut told = BTreeMap::new();
    loop {
        // The target works on threads of its own; this one only reads their notes.
        std::thread::park_timeout(Duration::from_secs(1));
        if !args.judge {
            continue;
        }
        let mut count = BTreeMap::new();
        for (portal, violation) in target.core().violations() {
            *count
                .entry((portal, violation.to_string()))
                .or_insert(0_u32) += 1;
        }
        for (key, times) in &count {
            if told.get(key) != Some(times) {
                say(format_args!("portal {}: {} ({times} times)", key.0, key.1))?;
            }
        }
        told = count;
    }
}

fn main() -> ExitCode {
    match parse_args::<Args>().and_then(|args| run(&args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
