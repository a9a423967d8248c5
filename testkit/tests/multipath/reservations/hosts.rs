//! Two hosts.

use super::*;

#[test]
fn two_hosts_fence_each_other_and_the_last_word_counts() {
    for (seed, keys) in both() {
        let story = Story::new(seed);
        let name = "iqn.2026-01.example:second".parse().unwrap();
        let second = Initiator::builder(name, Arc::new(story.world.sim.handle())).build();
        let theirs: RegistrationKeys = match keys {
            RegistrationKeys::One(_) => THEIRS.into(),
            _ => PathKeys::new(0x4d50, 2).unwrap().into(),
        };
        story.world.sim.block_on(async {
            let builder = story.world.builder(config().build().unwrap());
            let two = builder.connect_spawned(&second).await.unwrap();
            let one = &story.device;
            one.register(keys).await.unwrap();
            two.register(theirs).await.unwrap();
            one.reserve(WRITERS).await.unwrap();
            let write = async |device: &MultipathDevice| {
                let block = Bytes::from(stamp(5, 5));
                device.write_bytes(0, block).await
            };
            write(&two).await.expect("both are registered");
            for _ in 0..3 {
                preempt_all(&two, keys, one).await;
                conflict(write(one).await);
                while one.snapshot().registration != Registration::Lost {
                    story.world.sim.sleep(MS).await;
                }
                write(&two).await.unwrap();
                // The first one is let in again, and takes its turn.
                one.register(keys).await.unwrap();
                write(one).await.unwrap();
                preempt_all(one, theirs, &two).await;
                conflict(write(&two).await);
                while two.snapshot().registration != Registration::Lost {
                    story.world.sim.sleep(MS).await;
                }
                write(one).await.unwrap();
                two.register(theirs).await.unwrap();
            }
            two.close().await;
        });
        story.end();
    }
}

async fn preempt_all(by: &MultipathDevice, keys: RegistrationKeys, whom: &MultipathDevice) {
    let victims: Vec<_> = match keys {
        RegistrationKeys::One(key) => vec![key],
        _ => whom
            .snapshot()
            .paths()
            .filter_map(|path| path.key)
            .collect(),
    };
    for (at, victim) in victims.into_iter().enumerate() {
        match by.preempt_and_abort(victim, WRITERS).await {
            Ok(()) => {}
            // It has noticed the first one, and has taken back the second itself.
            Err(error) if at > 0 => conflict(Err(error.unit().unwrap().clone())),
            Err(error) => panic!("{error}"),
        }
    }
}
