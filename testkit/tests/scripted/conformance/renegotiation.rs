//! MaxRecvDataSegmentLength that is declared anew in full feature phase (RFC 7143 sections 6.4 and 13.12).

use iscsi_client::error::{ErrorKind, Outcome};
use iscsi_proto::{TargetTransferTag, pdu::TextRequest};
use iscsi_testkit::scripted::Say;

use super::{
    data_out::{bytes_of_sequence, hear_sequence},
    talk::{
        bytes_of, expect_error, expect_good, fence, hear_command, logged_in, pattern, quiet,
        say_good, start,
    },
};
use crate::support::{World, read, rows, write};

rows! {
    c41_the_targets_new_limit_holds_from_its_declaration_on;
    c42_our_new_limit_holds_once_it_is_agreed_on;
}

/// Section 6.4: the length that the target declares in a text negotiation holds once that is complete, be it longer
/// or shorter.
async fn c41_the_targets_new_limit_holds_from_its_declaration_on(world: &World) {
    let keys = [
        ("ImmediateData", "No"),
        ("MaxRecvDataSegmentLength", "8192"),
    ];
    let (mut peer, session) = logged_in(world, quiet(), &keys).await;
    // Never longer than at first, which is what the judge holds the initiator to.
    for longest in [8192, 512, 4096, 1000] {
        let renegotiating = session.renegotiate(65_536);
        let (text, data) = peer.hear_pdu::<TextRequest>().await.unwrap();
        assert!(text.is_final);
        assert_eq!(text.ttt, TargetTransferTag::RESERVED);
        assert_eq!(data, b"MaxRecvDataSegmentLength=65536\0");
        let answer = format!("MaxRecvDataSegmentLength={longest}\0");
        peer.say(Say::text(text.itt), answer.into_bytes())
            .await
            .unwrap();
        assert_eq!(renegotiating.await.unwrap().transmit, longest);
        let bytes = pattern(16_384);
        let execute = start(&session, write(0, bytes.clone()));
        let command = hear_command(&mut peer).await;
        peer.say(Say::r2t(&command, 1, 0, 0, 16_384), [])
            .await
            .unwrap();
        let tag = TargetTransferTag(1);
        let sequence = hear_sequence(&mut peer, &command, tag, (0, 16_384), longest).await;
        assert_eq!(bytes_of_sequence(&sequence), bytes);
        say_good(&mut peer, command.itt).await;
        expect_good(execute, 16_384).await;
    }
}

/// Section 6.4: until the negotiation is complete the target may go by the longer of the two; then it is the new
/// one that is held to. Where the target has rejected it, the old one stays.
async fn c42_our_new_limit_holds_once_it_is_agreed_on(world: &World) {
    for (number, agreed) in [true, false].into_iter().enumerate() {
        let world = world.case(number).await;
        let mut options = quiet();
        let offer = options.offer.with_max_recv_data_segment_length(4096);
        options.offer = offer.unwrap();
        let (mut peer, session) = logged_in(&world, options, &[]).await;
        let renegotiating = session.renegotiate(512);
        let (text, _) = peer.hear_pdu::<TextRequest>().await.unwrap();
        let execute = start(&session, read(0, 8));
        let command = hear_command(&mut peer).await;
        let data = Say::last_data_in(&command, 0, 0);
        peer.say(data, pattern(4096)).await.unwrap();
        assert_eq!(bytes_of(&expect_good(execute, 4096).await), pattern(4096));
        let answer: &[u8] = match agreed {
            true => b"",
            false => b"MaxRecvDataSegmentLength=Reject\0",
        };
        peer.say(Say::text(text.itt), answer).await.unwrap();
        let receive = renegotiating.await.unwrap().receive;
        assert_eq!(receive, if agreed { 512 } else { 4096 });
        fence(&session, &mut peer).await;

        let execute = start(&session, read(0, 32));
        let command = hear_command(&mut peer).await;
        let bytes = pattern(8192);
        let longest = receive as usize;
        let data = Say::data_in(&command, 0, 0);
        peer.say(data, &bytes[..longest]).await.unwrap();
        let data = Say::data_in(&command, 1, receive);
        peer.say(data, vec![1; longest + 1]).await.unwrap();
        let error = expect_error(execute).await;
        assert_eq!(error.kind(), ErrorKind::Protocol);
        assert_eq!(error.outcome(), Outcome::Unknown);
        assert!(peer.hear().await.is_err());
    }
}
