//! `iscsi://` URLs: what is read, what is refused, and that no secret gets out.

use iscsi_client::url::{TargetUrl, UrlError};
use iscsi_proto::{
    login::{Authentication, CredentialError},
    name::NameError,
    portal::Host,
    scsi::lun::Lun,
    text::DigestOffer,
};

const IQN: &str = "iqn.2026-01.com.example:disk";

fn parse(text: &str) -> Result<TargetUrl, UrlError> {
    text.replace("IQN", IQN).parse()
}

#[test]
fn the_plain_form_has_host_target_and_lun() {
    let url = parse("iscsi://san.example.com/IQN/7").unwrap();
    assert_eq!(url.portal.host, Host::Name("san.example.com".into()));
    assert_eq!(url.portal.port, 3260);
    assert_eq!(url.target.as_str(), IQN);
    assert_eq!(url.lun, Lun::new(7));
    assert!(url.user.is_none() && url.secret.is_none());
    assert!(matches!(url.authentication(), Ok(Authentication::None)));
}

#[test]
fn what_display_wrote_parses_to_the_same_text() {
    for (text, shown) in [
        ("iscsi://10.0.0.1/IQN/0", "iscsi://10.0.0.1:3260/IQN/0"),
        (
            "iscsi://10.0.0.1:860,2/IQN/0",
            "iscsi://10.0.0.1:860,2/IQN/0",
        ),
        (
            "iscsi://[2001:DB8::1]/IQN/0",
            "iscsi://[2001:db8::1]:3260/IQN/0",
        ),
        (
            "iscsi://[fe80::1%eth0]:1/IQN/0",
            "iscsi://[fe80::1%25eth0]:1/IQN/0",
        ),
        (
            "iscsi://[fe80::1%25eth0]:1/IQN/0",
            "iscsi://[fe80::1%25eth0]:1/IQN/0",
        ),
        (
            "iscsi://[fe80::1%25]:1/IQN/0",
            "iscsi://[fe80::1%2525]:1/IQN/0",
        ),
        (
            "iscsi://[fe80::1%v@if2]:1/IQN/0",
            "iscsi://[fe80::1%25v@if2]:1/IQN/0",
        ),
        (
            "iscsi://me@h/IQN/0x4005000000000000",
            "iscsi://me@h:3260/IQN/0x4005000000000000",
        ),
        ("iscsi://me%pw@h/IQN/0", "iscsi://me@h:3260/IQN/0"),
        ("iscsi://me:pw@h/IQN/0", "iscsi://me@h:3260/IQN/0"),
        (
            "iscsi://iqn.2026-01.com.me:x%pw@h/IQN/0",
            "iscsi://iqn.2026-01.com.me:x%@h:3260/IQN/0",
        ),
        ("iscsi://me%pw@[::1]:1/IQN/0", "iscsi://me@[::1]:1/IQN/0"),
        (
            "iscsi://me%pw@h/IQN/0?header_digest=CRC32C&target_user=you&target_password=pw2&data_digest=none,crc32c",
            "iscsi://me@h:3260/IQN/0?target_user=you&header_digest=crc32c&data_digest=none,crc32c",
        ),
    ] {
        let url = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        let shown = shown.replace("IQN", IQN);
        assert_eq!(url.to_string(), shown);
        assert_eq!(parse(&shown).unwrap().to_string(), shown);
    }
}

#[test]
fn a_secret_is_taken_literally_up_to_the_last_at_sign() {
    for (text, user, len) in [
        ("iscsi://me%a@b%41:c@h/IQN/0", "me", 8),
        ("iscsi://me:a%b@h/IQN/0", "me:a", 1),
        ("iscsi://me%a[b]@[::1]/IQN/0", "me", 4),
    ] {
        let url = parse(text).unwrap();
        assert_eq!(url.user.as_deref(), Some(user), "{text}");
        assert_eq!(url.secret.unwrap().len(), len, "{text}");
    }
}

/// libiscsi takes everything before it for a user name.
#[test]
fn an_at_sign_in_the_path_is_not_the_end_of_credentials() {
    for text in [
        "iscsi://10.0.0.1/iqn.2026-01.com.example:a@10.6.6.6/0",
        "iscsi://10.0.0.1/iqn.2026-01.com.example:a%40b/0",
    ] {
        assert!(
            matches!(parse(text), Err(UrlError::Target(NameError::Character(_)))),
            "{text}"
        );
    }
}

#[test]
fn the_target_may_be_percent_encoded() {
    let url = parse("iscsi://h/iqn.2026-01.com.example%3Adisk/0").unwrap();
    assert_eq!(url.target.as_str(), IQN);
}

#[test]
fn what_is_no_url_is_refused_with_the_part_that_is_wrong() {
    for (text, why) in [
        ("", UrlError::Scheme),
        ("iser://h/IQN/0", UrlError::Scheme),
        ("iscsi:///IQN/0", UrlError::Portal),
        ("iscsi://h:0/IQN/0", UrlError::Portal),
        ("iscsi://fe80::1/IQN/0", UrlError::Portal),
        ("iscsi://[fe80::1/IQN/0", UrlError::Portal),
        ("iscsi://me%pa/ss@h/IQN/0", UrlError::Portal),
        ("iscsi://me%pw@@/IQN/0", UrlError::Portal),
        ("iscsi://h", UrlError::Path),
        ("iscsi://h/IQN", UrlError::Path),
        ("iscsi://h/IQN/", UrlError::Path),
        ("iscsi://h/IQN/0/", UrlError::Path),
        ("iscsi://h//0", UrlError::Path),
        ("iscsi://h/%ff/0", UrlError::Path),
        ("iscsi://h/disk/0", UrlError::Target(NameError::Type)),
        ("iscsi://h/IQN/+1", UrlError::Lun),
        ("iscsi://h/IQN/65536", UrlError::Lun),
        ("iscsi://h/IQN/0#x", UrlError::Lun),
        ("iscsi://h/IQN/0?", UrlError::Parameter),
        ("iscsi://h/IQN/0?header_digest", UrlError::Parameter),
        ("iscsi://h/IQN/0?header_digest=md5", UrlError::Parameter),
        (
            "iscsi://h/IQN/0?data_digest=none&data_digest=none",
            UrlError::Parameter,
        ),
        (
            "iscsi://me%pw@h/IQN/0?target_pasword=x",
            UrlError::Parameter,
        ),
        ("iscsi://%pw@h/IQN/0", UrlError::Credentials),
        ("iscsi://@h/IQN/0", UrlError::Credentials),
        (
            "iscsi://h/IQN/0?target_user=a&target_password=b",
            UrlError::Credentials,
        ),
        (
            "iscsi://me%pw@h/IQN/0?target_password=b",
            UrlError::Credentials,
        ),
    ] {
        assert_eq!(parse(text).err(), Some(why), "{text}");
    }
}

#[test]
fn no_secret_is_shown_anywhere() {
    let url =
        parse("iscsi://me%hunter2hunter2@h/IQN/0?target_user=you&target_password=sesame-open")
            .unwrap();
    for shown in [url.to_string(), format!("{url:?}"), format!("{url:#?}")] {
        assert!(
            !shown.contains("hunter2") && !shown.contains("sesame"),
            "{shown}"
        );
    }
    for broken in [
        "iscsi://me%hunter2?x@h/IQN/0",
        "iscsi://me%hunter2/x@h/IQN/0",
    ] {
        let error = parse(broken).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[test]
fn credentials_and_digests_reach_the_session_target() {
    let url = parse("iscsi://me%a-long-secret@h/IQN/0?header_digest=crc32c").unwrap();
    assert_eq!(url.header_digest, Some(DigestOffer::RequireCrc32c));
    let target = url.session_target(Default::default()).unwrap();
    assert_eq!(target.portal, url.portal);
    let Some(Authentication::Chap(credentials)) = target.authentication else {
        panic!("no credentials");
    };
    assert_eq!(credentials.name(), "me");
    let plain = parse("iscsi://h/IQN/0").unwrap();
    let target = plain.session_target(Default::default()).unwrap();
    assert!(target.authentication.is_none(), "the initiator's stay");
}

#[test]
fn authentication_that_was_asked_for_is_never_left_out() {
    let failed = |text| parse(text).unwrap().authentication().err();
    assert_eq!(failed("iscsi://me@h/IQN/0"), Some(UrlError::Incomplete));
    assert!(matches!(
        failed("iscsi://me%short@h/IQN/0"),
        Some(UrlError::Chap(_))
    ));
    let target = |parameters: &str| {
        let url = format!("iscsi://me%a-long-secret@h/IQN/0?{parameters}");
        parse(&url).unwrap().authentication()
    };
    assert_eq!(
        target("target_user=you&target_password=b").err(),
        Some(UrlError::Chap(CredentialError::WeakSecret))
    );
    assert_eq!(
        target("target_user=you&target_password=a-long-secret").err(),
        Some(UrlError::Chap(CredentialError::SameSecret))
    );
    assert_eq!(target("target_user=you").err(), Some(UrlError::Incomplete));
    let mutual = target("target_user=you&target_password=another-secret").unwrap();
    assert!(matches!(mutual, Authentication::Chap(chap) if chap.is_mutual()));
}
