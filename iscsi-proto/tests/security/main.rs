//! Security rules that the protocol keeps by itself: K-18 of `docs/threat-model.md`. Others are tested with the real client,
//! in `testkit/tests/scripted/security` and `iscsi-client/tests/security`.

mod stack;
