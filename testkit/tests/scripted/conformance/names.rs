//! iSCSI names (RFC 7143 section 4.2.7).

use futures_util::future::join;
use iscsi_client::{
    bind::Bind,
    initiator::{Initiator, SessionTarget},
};
use iscsi_proto::{
    IscsiName, Portal, name::NameError, pdu::TextRequest, text::send_targets::SkipReason,
};
use iscsi_testkit::scripted::Say;

use super::steps::{say_good, text};
use crate::support::{TARGET, World, rows, test_unit_ready};

rows! {
    c88_names_are_normal_and_short;
    c88_names_of_targets_are_judged_too;
}

/// Sections 4.2.7.1 and 4.2.7.2: names are compared in their normal form, which is that of small letters, so they are
/// sent in it; 223 bytes at most; iqn., eui. or naa.
async fn c88_names_are_normal_and_short(world: &World) {
    let longest = format!("iqn.2001-04.com.example:{}", "x".repeat(199));
    assert_eq!(longest.len(), 223);
    let names = [
        (
            "IQN.2001-04.Com.Example:Storage.DISK2",
            "iqn.2001-04.com.example:storage.disk2",
        ),
        ("eui.02004567A425678D", "eui.02004567a425678d"),
        ("naa.52004567BA64678D", "naa.52004567ba64678d"),
        (
            "NAA.62004567BA64678D0123456789ABCDEF",
            "naa.62004567ba64678d0123456789abcdef",
        ),
        (longest.as_str(), longest.as_str()),
    ];
    for (number, (name, normal)) in names.into_iter().enumerate() {
        let world = world.case(number).await;
        let script = async {
            let mut peer = world.accept().await;
            let exchanges = peer.log_in(&[]).await.unwrap();
            assert_eq!(exchanges[0].value("InitiatorName"), Some(normal));
            assert_eq!(exchanges[0].value("TargetName"), Some(normal));
            say_good(&mut peer).await;
        };
        let name: IscsiName = name.parse().unwrap();
        let initiator = Initiator::builder(name.clone(), world.runtime.clone()).build();
        let client = async {
            let to = SessionTarget::new(name, world.portal().into());
            let session = initiator.connect_spawned(&to).await.unwrap();
            session.execute(test_unit_ready()).await.result.unwrap();
        };
        join(script, client).await;
    }
    for (name, why) in BAD {
        assert_eq!(name.parse::<IscsiName>(), Err(why), "{name:?}");
    }
    let longer = longest + "x";
    assert_eq!(longer.parse::<IscsiName>(), Err(NameError::TooLong(224)));
}

const BAD: [(&str, NameError); 14] = [
    ("disk", NameError::Type),
    ("xyz.2001-04.com.example", NameError::Type),
    ("iqn2001-04.com.example", NameError::Type),
    ("iqn.2001-04", NameError::Iqn),
    ("iqn.2001-04.", NameError::Iqn),
    ("iqn.2001-00.com.example", NameError::Iqn),
    ("iqn.2001-13.com.example", NameError::Iqn),
    ("iqn.20o1-04.com.example", NameError::Iqn),
    ("iqn.2001-04.com.example:a b", NameError::Character(25)),
    ("iqn.2001-04.com.example:a/b", NameError::Character(25)),
    ("iqn.2001-04.com.example:a\u{7}", NameError::Character(25)),
    ("eui.02004567A425678", NameError::Digits),
    ("eui.02004567A425678DD", NameError::Digits),
    ("naa.52004567BA64678G", NameError::Digits),
];

/// What a target tells of names is read by the same rules: one that is none is left out and told, the others stay.
async fn c88_names_of_targets_are_judged_too(world: &World) {
    let script = async {
        let mut peer = world.accept().await;
        peer.log_in(&[]).await.unwrap();
        let (request, _) = peer.hear_pdu::<TextRequest>().await.unwrap();
        let mut keys = vec![("TargetName", "IQN.2026-01.Example:DISK")];
        keys.extend(BAD.iter().map(|(name, _)| ("TargetName", *name)));
        keys.push(("TargetName", "eui.02004567A425678D"));
        peer.say(Say::text(request.itt), text(&keys)).await.unwrap();
        peer.hear_the_end().await;
    };
    let initiator = world.initiator();
    let portal = Portal::from(world.portal());
    let (_, found) = join(script, initiator.discover(&portal, &Bind::Any)).await;
    let found = found.unwrap();
    let names: Vec<_> = found
        .targets
        .iter()
        .map(|target| target.name.as_str())
        .collect();
    assert_eq!(names, [TARGET, "eui.02004567a425678d"]);
    let reasons: Vec<_> = found.skipped.iter().map(|skipped| skipped.reason).collect();
    assert_eq!(reasons, BAD.map(|(_, why)| SkipReason::Name(why)));
}
