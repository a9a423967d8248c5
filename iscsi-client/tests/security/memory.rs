//! What is left of a secret in the memory of the process.

#![cfg(target_os = "linux")]

use std::{
    fs::{self, File},
    hint::black_box,
    ops::Range,
    os::unix::fs::FileExt,
};

use iscsi_proto::login::{Authentication, ChapCredentials, Secret, TargetCredentials};

const LEN: usize = 40;

/// What is looked for: allocators write to the beginning of what is given back, glibc two words. That would hide that
/// nothing else did.
const TAIL: Range<usize> = 16..LEN;

/// Made of nothing that lies in memory: whoever looks for it must not find himself.
fn byte(at: usize, salt: u8) -> u8 {
    (at as u8).wrapping_mul(73).wrapping_add(salt) ^ 0xa5
}

/// How often the tail of it is in memory that this process can write to, stacks included.
fn copies(salt: u8) -> usize {
    let memory = File::open("/proc/self/mem").unwrap();
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let mut chunk = vec![0; 1 << 16];
    let own = chunk.as_ptr().addr();
    let own = own..own + chunk.len();
    let mut found = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let from = u64::from_str_radix(from, 16).unwrap();
        let to = u64::from_str_radix(to, 16).unwrap();
        let mut at = from;
        while at < to {
            // A mapping may have gone, or be one that cannot be read this way ([vvar]).
            let Ok(len) = memory.read_at(&mut chunk, at) else {
                break;
            };
            let len = len.min(usize::try_from(to - at).unwrap());
            if len < TAIL.len() {
                break;
            }
            found += (0..=len - TAIL.len())
                .filter(|offset| !own.contains(&(at as usize + offset)))
                .filter(|offset| {
                    let mut bytes = TAIL.zip(&chunk[*offset..]);
                    bytes.all(|(i, found)| *found == byte(i, salt))
                })
                .count();
            // What lies across two chunks is in the next one.
            at += (len - TAIL.len() + 1) as u64;
        }
    }
    // What was read would be found where this buffer was.
    chunk.fill(0);
    black_box(&chunk);
    found
}

fn secret(salt: u8) -> Secret {
    let mut plain = Vec::with_capacity(LEN);
    for at in 0..LEN {
        plain.push(black_box(byte(at, salt)));
    }
    let secret = Secret::new(&plain);
    plain.fill(0);
    black_box(&plain);
    secret
}

/// One copy, however many hold it; none when the last of them is gone.
#[test]
fn k01_a_secret_is_overwritten_when_the_last_holder_drops_it() {
    // A hundred steps of 73 apart, so that neither has a part of the other.
    let (ours, theirs) = (17, 149);
    let held = secret(ours);
    assert_eq!(copies(ours), 1, "it is there");
    let clone = held.clone();
    assert_eq!(copies(ours), 1, "a clone is no copy");
    let target = TargetCredentials::new(secret(theirs)).unwrap();
    let credentials = ChapCredentials::new("user", held).unwrap();
    let credentials = credentials.with_target(target).unwrap();
    let all = Authentication::Chap(credentials);
    let more = vec![all.clone(), all.clone()];
    assert_eq!((copies(ours), copies(theirs)), (1, 1));
    drop(more);
    drop(clone);
    assert_eq!((copies(ours), copies(theirs)), (1, 1));
    drop(all);
    assert_eq!((copies(ours), copies(theirs)), (0, 0));
}
