//! iSCSI names (RFC 7143 section 4.2.7).
