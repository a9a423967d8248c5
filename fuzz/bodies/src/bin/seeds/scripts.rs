//! Inputs of the structured targets: the bytes are choices, in the order in which the body asks for them.

use crate::Seed;

/// Two bytes where a choice is among more than 256.
fn wide(n: u16) -> [u8; 2] {
    n.to_be_bytes()
}

/// `session`: a read (true) or write of 37 times `len` bytes is submitted and sent.
fn submitted(read: bool, len: u8) -> Vec<u8> {
    let kind = if read { 0b101 } else { 0b011 };
    [&[0, 0, kind, len, 76][..], &wide(1199)].concat()
}

/// `session`: a PDU of the target; kinds are those of `World::say`. `broken`: places and bits of the header.
fn said(kind: u8, choices: &[u8], broken: &[(u8, u8)]) -> Vec<u8> {
    let mut bytes = vec![96, kind, 2];
    bytes.extend_from_slice(choices);
    bytes.push(if broken.is_empty() {
        0
    } else {
        200 + broken.len() as u8
    });
    broken.iter().for_each(|(at, by)| bytes.extend([*at, *by]));
    // Once, in one piece.
    bytes.extend([0, 255]);
    bytes
}

const DATA_IN: (u8, &[u8]) = (0, &[0, 0, 1, 7]);
const RESPONSE: (u8, &[u8]) = (4, &[0, 16]);
const R2T: (u8, &[u8]) = (6, &[0, 0]);
/// A ping of the target, the answers to ours, functions, text and logout, messages, Rejects.
const OTHERS: [(u8, &[u8]); 7] = [
    (8, &[1, 0, 16, 1]),
    (9, &[0, 0]),
    (10, &[0, 0]),
    (11, &[0, 0, 2, 0]),
    (12, &[0, 0, 0, 0]),
    (13, &[1, 0, 1, 2, 3, 0]),
    (14, &[9, 0, 0]),
];

fn sessions() -> Vec<Vec<u8>> {
    let mut scripts = Vec::new();
    let mut add =
        |terms: u8, parts: &[Vec<u8>]| scripts.push([&[terms, 0][..], &parts.concat()].concat());
    let honest = |(kind, choices): (u8, &[u8])| said(kind, choices, &[]);
    let send = [&[76][..], &wide(1199)].concat();
    for terms in [8, 11, 4, 12, 0] {
        add(terms, &[submitted(true, 60), honest(DATA_IN)]);
        add(
            terms,
            &[
                submitted(true, 200),
                honest(DATA_IN),
                honest(DATA_IN),
                honest(RESPONSE),
            ],
        );
        add(
            terms,
            &[
                submitted(false, 200),
                honest(R2T),
                send.clone(),
                honest(R2T),
                send.clone(),
                honest(RESPONSE),
            ],
        );
    }
    // Each field of a header in turn: the rows about serial numbers, tags, offsets, lengths and flags.
    for at in 0..48 {
        for by in [0x01, 0x80, 0xff] {
            add(
                8,
                &[
                    submitted(true, 60),
                    said(DATA_IN.0, DATA_IN.1, &[(at, by)]),
                    honest(RESPONSE),
                ],
            );
            add(
                8,
                &[
                    submitted(true, 60),
                    honest(DATA_IN),
                    said(RESPONSE.0, RESPONSE.1, &[(at, by)]),
                ],
            );
            add(
                8,
                &[
                    submitted(false, 200),
                    said(R2T.0, R2T.1, &[(at, by)]),
                    send.clone(),
                    honest(RESPONSE),
                ],
            );
        }
    }
    // A ping, a text, functions and a logout of ours, and whatever may answer.
    for call in [
        &[0, 10, 1][..],
        &[0, 11, 0, 16, 65],
        &[0, 12, 0, 0],
        &[0, 13, 0, 3],
        &[0, 14, 1],
        &[0, 15, 0],
    ] {
        for other in OTHERS {
            add(
                8,
                &[
                    submitted(true, 60),
                    call.to_vec(),
                    send.clone(),
                    honest(other),
                    honest(DATA_IN),
                ],
            );
        }
    }
    // More commands than the window has room for, and then an answer that opens it.
    let many: Vec<_> = (0..7).map(|_| submitted(true, 60)).collect();
    add(8, &[many.concat(), honest(DATA_IN), send.clone()]);
    // What is abandoned, late, or lasts.
    add(
        8,
        &[
            submitted(true, 60),
            vec![0, 8, 0],
            send.clone(),
            honest(DATA_IN),
            honest(OTHERS[2]),
        ],
    );
    add(
        8,
        &[
            submitted(false, 200),
            vec![0, 8, 0],
            send,
            honest(OTHERS[2]),
        ],
    );
    add(
        8,
        &[
            submitted(true, 60),
            vec![56, 255],
            vec![56, 255],
            honest(DATA_IN),
        ],
    );
    scripts
}

/// `chap`: policy, then rounds of a stage byte and the parts of the text.
fn chaps() -> Vec<Vec<u8>> {
    let challenge = [&[255, 2, 0, 10, 4 << 3][..], &[9; 16]].concat();
    let mut scripts = Vec::new();
    for policy in 0..8 {
        for proof in 0..8 {
            let method = [255, 1, 0];
            let prove = [255, 4, proof, 0];
            scripts.push(
                [
                    &[policy][..],
                    &method,
                    &challenge,
                    &prove,
                    &[255, 0],
                    &[255, 0],
                ]
                .concat(),
            );
        }
        // Nothing is asked; another stage at once.
        scripts.push(vec![policy, 255, 1, 2, 255, 0]);
        scripts.push(vec![policy, 33, 1, 2, 255, 0]);
    }
    scripts
}

fn negotiations() -> Vec<Vec<u8>> {
    (0..=255_u8)
        .step_by(5)
        .map(|fill| {
            (0..70)
                .map(|at| fill.wrapping_mul(at).wrapping_add(at))
                .collect()
        })
        .collect()
}

/// `discovery`: answers that go on, or do not.
fn discoveries() -> Vec<Vec<u8>> {
    let part = |kind: u8| vec![1, kind, 2, 0, 7, 1, 9, 1];
    let last = vec![1, 4 << 3, 1, 0, 8];
    vec![
        last.clone(),
        [part(4 << 3 | 1), part(4 << 3 | 3), last.clone()].concat(),
        [vec![1, 4 << 3 | 5, 1, 0, 7, 1, 100], last].concat(),
        vec![1, 1, 0, 0, 0, 0, 0],
        vec![0, 255, 255, 1, 3 << 3, 0],
    ]
}

/// `pair`: configuration, seed, cuts, changes, then rounds of commands in the four slots.
fn pairs() -> Vec<Vec<u8>> {
    let rounds = [
        &[15, 61, 0, 60, 0, 61, 3, 60, 5][..],
        &[15, 60, 0, 61, 1, 60, 2, 61, 3],
    ]
    .concat();
    let mut scripts = Vec::new();
    for limits in [0b110, 0b011, 0b100, 0b111, 0b1_0110] {
        scripts.push([&[limits, 1, 0, 0][..], &rounds].concat());
        for how in 0..16_u8 {
            for number in [0, 1, 3, 5] {
                let change = [how, number, 0, 40, 1, 3, 2, 9];
                scripts.push([&[limits, 1, 0, 1][..], &change, &rounds].concat());
            }
        }
    }
    scripts
}

fn walks() -> Vec<Vec<u8>> {
    let fill = |seed: u32| {
        let mut state = seed;
        let step = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        std::iter::repeat_with(step).take(600).collect()
    };
    (1..24).map(fill).collect()
}

fn digests() -> Vec<Vec<u8>> {
    let long = |kind: u8| {
        (0..120_u8)
            .map(move |at| if at == 0 { kind } else { at.wrapping_mul(37) })
            .collect()
    };
    (0..8).map(long).collect()
}

pub(crate) fn seeds() -> Vec<Seed> {
    let each = |target, inputs: Vec<Vec<u8>>| inputs.into_iter().map(move |input| (target, input));
    each("session", sessions())
        .chain(each("chap", chaps()))
        .chain(each("negotiate", negotiations()))
        .chain(each("discovery", discoveries()))
        .chain(each("pair", pairs()))
        .chain(each("multipath", walks()))
        .chain(each("digests", digests()))
        .collect()
}
