//! Answers to SendTargets that are too long, or no answers (RFC 7143 sections 4.2.7, 11.11 and appendix C).

use std::time::Duration;

use futures_util::future::join;
use iscsi_client::{
    discovery::Discovery,
    error::{Error, ErrorKind, LoginError, LoginFailure},
    session::SessionOptions,
};
use iscsi_proto::{
    DecodeError, Error as ProtoError, PeerMisbehaved, TargetTransferTag,
    error::TimedOut,
    name::NameError,
    pdu::{TextRequest, TextResponse},
    text::send_targets::{Discovered, SkipReason},
};
use iscsi_testkit::scripted::{Peer, Say};

use super::reaction::{cause, hears_the_end};
use crate::support::{World, rows};

rows! {
    h36_an_answer_without_an_end;
    h36_as_many_targets_and_portals_as_are_kept;
    h37_a_name_that_is_none;
    h38_addresses_and_names_in_disorder;
    h39_flags_that_contradict_the_tag;
    h39_an_answer_that_makes_no_progress;
}

/// Asks for all targets; `script` gets the connection when the question has come.
async fn asks(
    world: &World,
    options: SessionOptions,
    script: impl AsyncFnOnce(&mut Peer, TextRequest),
) -> Result<Discovered, LoginError> {
    let target = async {
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        let (request, text) = peer.hear_pdu::<TextRequest>().await.unwrap();
        assert_eq!(text, b"SendTargets=All\0");
        script(&mut peer, request).await;
    };
    let initiator = world.initiator();
    let discovery = Discovery::new(world.portal().into()).with_options(options);
    let asking = initiator.discover_with(&discovery);
    let (found, ()) = join(asking, target).await;
    found
}

/// The whole answer, in one PDU; then the initiator closes in good order.
async fn answers(world: &World, text: &[u8]) -> Result<Discovered, LoginError> {
    let script = async |peer: &mut Peer, request: TextRequest| {
        peer.say(Say::text(request.itt), text).await.unwrap();
        peer.hear_the_end().await;
    };
    asks(world, SessionOptions::default(), script).await
}

/// What ended the exchange.
#[track_caller]
fn failed(found: Result<Discovered, LoginError>) -> Error {
    match found.unwrap_err().failure() {
        LoginFailure::Discovery(error) => error.clone(),
        other => panic!("{other:?}"),
    }
}

/// The part of an answer that goes on, with a tag to go on by.
fn more(request: &TextRequest, ttt: u32) -> TextResponse {
    let mut response = Say::text(request.itt);
    response.is_final = false;
    response.ttt = TargetTransferTag(ttt);
    response
}

/// Names without end, over as many continuations as it takes: the text is not gathered past its cap.
async fn h36_an_answer_without_an_end(world: &World) {
    for (number, (cap, part, cont)) in [
        (1 << 20, 200_000, true),
        (1 << 20, 200_000, false),
        (50_000, 4096, true),
    ]
    .into_iter()
    .enumerate()
    {
        let world = world.case(number).await;
        let mut options = SessionOptions::default();
        options.core.max_text = cap;
        let name = |number: usize| format!("TargetName=iqn.2026-01.example:{number}\0");
        let mut names = (0..).map(name);
        let mut sent = 0;
        let script = async |peer: &mut Peer, mut request: TextRequest| {
            loop {
                let mut text = String::new();
                while text.len() < part {
                    text += &names.next().unwrap();
                }
                sent += text.len();
                let mut response = more(&request, 7);
                response.cont = cont;
                peer.say(response, text).await.unwrap();
                if sent > cap {
                    break;
                }
                let (next, text) = peer.hear_pdu::<TextRequest>().await.unwrap();
                assert!(text.is_empty() && next.ttt == TargetTransferTag(7));
                assert_eq!(next.itt, request.itt);
                request = next;
            }
            hears_the_end(peer).await;
        };
        let error = failed(asks(&world, options, script).await);
        assert_eq!(error.kind(), ErrorKind::Protocol);
        let (length, limit) = (sent as u32, cap as u32);
        let expected = DecodeError::TextTooLong { length, limit };
        assert_eq!(cause(&error), expected.into());
    }
}

/// 4096 targets, 64 portals of each, and no one more; what is left out is told.
async fn h36_as_many_targets_and_portals_as_are_kept(world: &World) {
    let targets = |count: usize| {
        let name = |number| format!("TargetName=iqn.2026-01.example:{number}\0");
        (0..count).map(name).collect::<String>().into_bytes()
    };
    let found = answers(world, &targets(4096)).await.unwrap();
    assert_eq!((found.targets.len(), found.dropped), (4096, 0));
    let found = answers(world, &targets(5000)).await.unwrap();
    assert_eq!((found.targets.len(), found.beyond), (4096, 5000 - 4096));
    assert_eq!(found.skipped[0].reason, SkipReason::TooManyTargets);

    let mut text = targets(1);
    for port in 1..=1000 {
        text.extend(format!("TargetAddress=10.0.0.1:{port},1\0").into_bytes());
    }
    let found = answers(world, &text).await.unwrap();
    assert_eq!(found.targets[0].portals.len(), 64);
    assert_eq!((found.dropped, found.skipped.len()), (1000 - 64, 64));
    let too_many = |skipped: &iscsi_proto::text::send_targets::Skipped| skipped.reason;
    assert!(
        found
            .skipped
            .iter()
            .map(too_many)
            .all(|reason| reason == SkipReason::TooMany)
    );
}

/// Section 4.2.7.1: such a name is left out with its addresses, and those beside it are kept. What is told of it
/// can be printed.
async fn h37_a_name_that_is_none(world: &World) {
    let long = |len: usize| format!("iqn.2026-01.e:{}", "n".repeat(len - 14));
    for (name, why) in [
        ("iqn.2026-01.example:a\nb", NameError::Character(21)),
        ("iqn.2026-01.example:\x1b[2J", NameError::Character(20)),
        ("iqn.2026-01.example:../../etc", NameError::Character(22)),
        ("../iqn.2026-01.example:a", NameError::Character(2)),
        ("iqn.2026-01.example:a b", NameError::Character(21)),
        ("iqn.2026-01.example:a,1", NameError::Character(21)),
        ("iqn.2026-01.example:\u{e9}", NameError::Character(20)),
        ("iqn.2026-13.example:a", NameError::Iqn),
        ("iqn.example:a", NameError::Iqn),
        ("eui.0123", NameError::Digits),
        ("naa.xyz", NameError::Digits),
        ("", NameError::Type),
        ("disk", NameError::Type),
        ("rfc.2026-01.example:a", NameError::Type),
        (long(224).as_str(), NameError::TooLong(224)),
        (long(240).as_str(), NameError::TooLong(240)),
    ] {
        let text = format!(
            "TargetName=iqn.2026-01.example:good\0TargetAddress=10.0.0.1:3260,1\0TargetName={name}\0\
             TargetAddress=10.0.0.2:3260,1\0TargetName=iqn.2026-01.example:last\0"
        );
        let found = answers(world, text.as_bytes()).await.unwrap();
        let names: Vec<&str> = found
            .targets
            .iter()
            .map(|found| found.name.as_str())
            .collect();
        assert_eq!(
            names,
            ["iqn.2026-01.example:good", "iqn.2026-01.example:last"]
        );
        assert_eq!(found.targets[0].portals.len(), 1, "{name:?}");
        assert!(found.targets[1].portals.is_empty());
        let reasons: Vec<SkipReason> = found.skipped.iter().map(|left| left.reason).collect();
        assert_eq!(
            reasons,
            [SkipReason::Name(why), SkipReason::Nameless],
            "{name:?}"
        );
        for skipped in &found.skipped {
            assert!(skipped.text.len() <= 128 && !skipped.text.contains(char::is_control));
        }
    }
    // A NUL within is the end of a pair, behind which there is none.
    let error = answers(world, b"TargetName=iqn.2026-01.example:a\0b\0").await;
    let malformed = ProtoError::Decode(DecodeError::Text { offset: 33 });
    let error = error.unwrap_err();
    assert!(matches!(error.failure(), LoginFailure::Protocol(error) if *error == malformed));
    // The longest name, and one whose normal form is lower case.
    let text = format!(
        "TargetName={}\0TargetName=IQN.2026-01.Example:A\0",
        long(223)
    );
    let found = answers(world, text.as_bytes()).await.unwrap();
    assert_eq!((found.targets.len(), found.dropped), (2, 0));
    assert_eq!(found.targets[1].name.as_str(), "iqn.2026-01.example:a");
}

/// Appendix C: an address belongs to the name before it. A target that is named twice is one, and a key that has
/// no business here none.
async fn h38_addresses_and_names_in_disorder(world: &World) {
    for text in [
        &b"TargetAddress=10.0.0.1:3260,1\0"[..],
        b"TargetAddress=10.0.0.1:3260,1\0TargetName=iqn.2026-01.example:a\0",
        b"X-colour=red\0TargetAddress=10.0.0.1:3260,1\0",
    ] {
        let error = answers(world, text).await.unwrap_err();
        let malformed = matches!(
            error.failure(),
            LoginFailure::Protocol(ProtoError::Decode(DecodeError::Text { .. }))
        );
        assert!(malformed, "{error:?}");
    }
    let text = b"X-colour=red\0TargetName=iqn.2026-01.example:a\0TargetAddress=10.0.0.1:3260,1\0\
        TargetName=iqn.2026-01.example:b\0MaxBurstLength=512\0TargetAddress=10.0.0.2:3260,1\0\
        TargetName=IQN.2026-01.example:A\0TargetAddress=10.0.0.1:3260,1\0TargetAddress=10.0.0.3:3260,2\0";
    let found = answers(world, text).await.unwrap();
    let portals: Vec<usize> = found.targets.iter().map(|one| one.portals.len()).collect();
    assert_eq!((portals, found.dropped), (vec![2, 1], 0));
    let nothing = answers(world, b"").await.unwrap();
    assert!(nothing.targets.is_empty() && nothing.dropped == 0);
}

/// Sections 11.10.4 and 11.11.1: what goes on has a tag, and does not end in the middle of a text. The tag of the
/// last part is not looked at.
async fn h39_flags_that_contradict_the_tag(world: &World) {
    for (number, (is_final, cont)) in [(false, false), (false, true), (true, true)]
        .into_iter()
        .enumerate()
    {
        let world = world.case(number).await;
        let script = async |peer: &mut Peer, request: TextRequest| {
            let mut response = Say::text(request.itt);
            (response.is_final, response.cont) = (is_final, cont);
            let text = *b"TargetName=iqn.2026-01.example:a\0";
            peer.say(response, text).await.unwrap();
            hears_the_end(peer).await;
        };
        let error = failed(asks(&world, SessionOptions::default(), script).await);
        assert_eq!(cause(&error), PeerMisbehaved::Flags.into());
    }
    for ttt in [0, 7, 0xffff_fffe] {
        let script = async |peer: &mut Peer, request: TextRequest| {
            let mut response = more(&request, ttt);
            response.is_final = true;
            let text = *b"TargetName=iqn.2026-01.example:a\0";
            peer.say(response, text).await.unwrap();
            peer.hear_the_end().await;
        };
        let found = asks(world, SessionOptions::default(), script).await;
        assert_eq!(found.unwrap().targets.len(), 1, "{ttt:#x}");
    }
}

/// An empty part asks for the next one, and one byte each time for very many of them: the first is not gone
/// along with, the second ends with the time that an exchange has.
async fn h39_an_answer_that_makes_no_progress(world: &World) {
    let here = world.case(0).await;
    let script = async |peer: &mut Peer, request: TextRequest| {
        peer.say(more(&request, 7), []).await.unwrap();
        hears_the_end(peer).await;
    };
    let error = failed(asks(&here, SessionOptions::default(), script).await);
    assert_eq!(cause(&error), PeerMisbehaved::Stalled(1).into());

    let here = world.case(1).await;
    let (pause, patience) = match here.is_simulated() {
        true => (Duration::from_secs(1), Duration::from_secs(15)),
        // Over TCP the wait is real.
        false => (Duration::from_millis(10), Duration::from_millis(100)),
    };
    let mut options = SessionOptions::default();
    options.core.text_timeout = patience;
    let script = async |peer: &mut Peer, mut request: TextRequest| {
        loop {
            peer.sleep(pause).await;
            let said = peer.say(more(&request, 7), *b"x").await;
            let (Ok(()), Ok((next, _))) = (said, peer.hear_pdu::<TextRequest>().await) else {
                break;
            };
            request = next;
        }
    };
    let error = failed(asks(&here, options, script).await);
    assert_eq!(cause(&error), TimedOut::Text.into());
}
