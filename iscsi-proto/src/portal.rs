//! Portals: where a target listens.
