//! Names and addresses: what is taken is a fixed point, and keeps the limits of the RFC.

use iscsi_client::url::TargetUrl;
use iscsi_proto::{IscsiName, Portal, portal::Host};

/// Takes any bytes for an iSCSI name, a TargetAddress and a URL.
///
/// # Panics
///
/// Where something was taken that its own text does not stand for, or that is not as RFC 7143 has it.
pub fn names(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    if let Ok(name) = text.parse::<IscsiName>() {
        let shown = name.to_string();
        assert!(shown.eq_ignore_ascii_case(text));
        assert!(shown.len() <= IscsiName::MAX_LEN);
        assert!(
            ["iqn.", "eui.", "naa."]
                .iter()
                .any(|kind| shown.starts_with(kind))
        );
        // Also as part of a file name or a log line.
        assert!(!shown.contains(|c: char| c == '/' || c.is_control() || c.is_whitespace()));
        assert_eq!(shown.parse(), Ok(name));
    }
    if let Ok(portal) = text.parse::<Portal>() {
        let shown = portal.to_string();
        assert!(!shown.contains(|c: char| c.is_control() || c.is_whitespace()));
        assert_ne!(portal.port, 0);
        if let Host::Name(host) = &portal.host {
            assert!((1..=253).contains(&host.len()), "{host}");
        }
        assert_eq!(shown.parse(), Ok(portal));
    }
    if let Ok(url) = text.parse::<TargetUrl>() {
        let shown = url.to_string();
        let again: TargetUrl = shown.parse().expect("its own text");
        assert_eq!(again.to_string(), shown);
    }
}
