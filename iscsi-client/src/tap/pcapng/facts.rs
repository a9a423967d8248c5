//! What a login came to, as a comment.

use std::fmt::Write;

use iscsi_proto::{
    login::LoggedIn,
    text::{Digest, SessionType},
};

/// The negotiated facts, one line, by the names of RFC 7143 section 13.
pub(super) fn negotiated(logged_in: &LoggedIn) -> String {
    let p = logged_in.parameters();
    let digest = |digest| match digest {
        Digest::None => "None",
        Digest::Crc32c => "CRC32C",
    };
    let yes = |on| if on { "Yes" } else { "No" };
    let kind = match logged_in.session_type() {
        SessionType::Discovery => "Discovery",
        _ => "Normal",
    };
    let mut text = format!(
        "full feature phase: SessionType={kind} ISID={} TSIH={} CID={} authenticated={}",
        logged_in.isid(),
        logged_in.tsih(),
        logged_in.cid(),
        yes(logged_in.is_authenticated()),
    );
    let mut add = |fact: std::fmt::Arguments<'_>| {
        // Writing to a String cannot fail.
        let _ = text.write_fmt(fact);
    };
    if let Some(target) = logged_in.target_name() {
        add(format_args!(" TargetName={target}"));
    }
    if let Some(tag) = p.target_portal_group_tag {
        add(format_args!(" TargetPortalGroupTag={tag}"));
    }
    add(format_args!(
        " HeaderDigest={} DataDigest={} MaxRecvDataSegmentLength={} (the target's: {})",
        digest(p.header_digest),
        digest(p.data_digest),
        p.max_recv_data_segment_length,
        p.max_xmit_data_segment_length,
    ));
    add(format_args!(
        " InitialR2T={} ImmediateData={} MaxBurstLength={} FirstBurstLength={} MaxOutstandingR2T={}",
        yes(p.initial_r2t),
        yes(p.immediate_data),
        p.max_burst_length,
        p.first_burst_length,
        p.max_outstanding_r2t,
    ));
    add(format_args!(
        " DefaultTime2Wait={} DefaultTime2Retain={} ErrorRecoveryLevel={}",
        p.default_time2wait, p.default_time2retain, p.error_recovery_level,
    ));
    text
}
