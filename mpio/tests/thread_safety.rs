//! What may go to other threads, checked by the compiler.

use iscsi_client::{
    blocking::BlockingDevice,
    buf::{Completion, ReadBuf, WriteBuf},
    error::{Error, LoginError},
    initiator::Initiator,
    logical_unit::LogicalUnit,
    session::{Driver, Execute, Session},
};
use mpio::{
    ConnectError, MultipathBuilder, MultipathDevice, MultipathDriver,
    inventory::{
        Filter, Inventory, InventoryBuilder, InventoryDriver, InventoryEvents, InventorySnapshot,
    },
};

fn shared<T: Send + Sync + Unpin + 'static>() {}
fn moved<T: Send + Unpin + 'static>() {}

#[test]
fn handles_are_shared_and_futures_are_moved() {
    shared::<Initiator>();
    shared::<Session>();
    shared::<LogicalUnit>();
    shared::<MultipathDevice>();
    shared::<MultipathBuilder>();
    shared::<Error>();
    shared::<LoginError>();
    shared::<ConnectError>();
    moved::<Driver>();
    moved::<MultipathDriver>();
    shared::<Inventory>();
    shared::<InventoryBuilder>();
    shared::<InventoryEvents>();
    shared::<InventorySnapshot>();
    shared::<Filter>();
    moved::<InventoryDriver>();
    moved::<Execute>();
    moved::<Completion<ReadBuf>>();
    moved::<WriteBuf>();
    shared::<BlockingDevice>();
}
