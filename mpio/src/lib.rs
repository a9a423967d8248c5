//! Multipath I/O.
