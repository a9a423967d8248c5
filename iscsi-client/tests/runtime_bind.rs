//! Binding of connections to addresses and devices, under each runtime adapter.

#![cfg(all(any(feature = "tokio", feature = "smol"), target_os = "linux"))]

mod support;

use std::{
    io::{self, ErrorKind},
    net::{Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use iscsi_client::{
    bind::{Bind, BindError},
    runtime::{Dial, Runtime, Transport},
};
use support::on_each_runtime;

/// Connects from `bind` to a listener on `listen`; returns the address that the listener saw.
async fn dial(
    runtime: &Arc<dyn Runtime>,
    listen: &str,
    bind: &str,
) -> io::Result<(Box<dyn Transport>, SocketAddr)> {
    let listener = TcpListener::bind(listen)?;
    let mut dial = Dial::new(listener.local_addr()?);
    dial.bind = bind.parse().expect("a bind");
    let transport = runtime.connect(&dial).await?;
    Ok((transport, listener.accept()?.1))
}

/// The typed error in what a connect returned.
fn bind_error(error: &io::Error) -> Option<&BindError> {
    error.get_ref()?.downcast_ref()
}

#[test]
fn the_peer_sees_the_source_address() {
    on_each_runtime(async |runtime| {
        let (transport, seen) = dial(&runtime, "127.0.0.1:0", "127.0.0.2").await.unwrap();
        assert_eq!(seen.ip().to_string(), "127.0.0.2");
        assert_eq!(transport.local_addr(), Some(seen));
        assert_eq!(transport.bind_warning(), None);
    });
}

#[test]
fn a_device_is_bound_by_name() {
    on_each_runtime(async |runtime| {
        let (transport, seen) = dial(&runtime, "127.0.0.1:0", "lo").await.unwrap();
        assert_eq!(transport.local_addr(), Some(seen));
    });
}

#[test]
fn an_unknown_device_is_a_typed_error() {
    on_each_runtime(async |runtime| {
        let error = dial(&runtime, "127.0.0.1:0", "no-such-nic0").await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        let device = "no-such-nic0".into();
        assert_eq!(
            bind_error(&error),
            Some(&BindError::UnknownDevice { device })
        );
    });
}

/// To the kernel an empty name means "no device", and it cuts long names short.
#[test]
fn a_name_that_no_device_can_have_is_never_ignored() {
    on_each_runtime(async |runtime| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        for name in ["", "lo\0", "a-name-of-17-byte"] {
            let mut dial = Dial::new(listener.local_addr().unwrap());
            dial.bind = Bind::Device(name.into());
            let error = runtime.connect(&dial).await.unwrap_err();
            let device = name.into();
            assert_eq!(
                bind_error(&error),
                Some(&BindError::UnknownDevice { device })
            );
        }
    });
}

#[test]
fn an_address_of_another_host_is_a_typed_error() {
    on_each_runtime(async |runtime| {
        // Reserved for documentation (RFC 5737), so nobody's.
        let error = dial(&runtime, "127.0.0.1:0", "203.0.113.77").await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
        assert!(error.to_string().contains("`ip address`"), "{error}");
        let address = "203.0.113.77".parse().unwrap();
        assert_eq!(
            bind_error(&error),
            Some(&BindError::AddressNotLocal { address })
        );
    });
}

#[test]
fn ipv4_and_ipv6_do_not_mix() {
    on_each_runtime(async |runtime| {
        let error = dial(&runtime, "127.0.0.1:0", "::1").await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn two_binds_through_one_device_can_be_told() {
    let device = |text: &str| text.parse::<Bind>().unwrap().device();
    assert_eq!(device("127.0.0.2").as_deref(), Some("lo"));
    assert_eq!(device("127.0.0.2"), device("127.0.0.3"));
    assert_eq!(device("lo"), device("127.0.0.1"));
    assert_eq!(device("any"), None);
    assert_eq!(device("203.0.113.77"), None);
}

/// Link-local ones included, which are easily lost: the kernel's own list is the oracle.
#[test]
fn every_ipv6_address_of_this_host_has_its_device() {
    let list = std::fs::read_to_string("/proc/net/if_inet6").unwrap_or_default();
    let addresses: Vec<(Ipv6Addr, &str)> = list
        .lines()
        .map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let address = u128::from_str_radix(fields[0], 16).unwrap();
            (Ipv6Addr::from_bits(address), fields[5])
        })
        .collect();
    for (address, device) in &addresses {
        let found = Bind::Address((*address).into()).device();
        let unique = addresses.iter().filter(|(a, _)| a == address).count() == 1;
        assert_eq!(found.as_deref(), unique.then_some(*device), "{address}");
    }
}

#[test]
fn a_zone_is_a_device_name_or_a_number() {
    assert_eq!(iscsi_client::bind::scope_id("lo").unwrap(), 1);
    assert_eq!(iscsi_client::bind::scope_id("7").unwrap(), 7);
    let unknown = iscsi_client::bind::scope_id("no-such-nic0").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::NotFound);
}

/// Runs the named test of this file again, in a network namespace of its own that `setup` has
/// furnished. False, with a word to whoever reads it, where that is not permitted.
fn in_a_namespace(test: &str, setup: &str) -> bool {
    let me = std::env::current_exe().unwrap();
    let script = format!("set -e; {setup}; exec \"$0\" --exact {test} --nocapture");
    let output = std::process::Command::new("unshare")
        .args(["--net", "--map-root-user", "sh", "-c", &script])
        .arg(me)
        .env(INSIDE, "1")
        .output();
    let output = match output {
        Ok(output) if output.status.success() => return true,
        Ok(output) => output,
        Err(error) => {
            eprintln!("SKIPPED {test}: no unshare(1): {error}");
            return false;
        }
    };
    let text = String::from_utf8_lossy(&output.stderr);
    let ran = String::from_utf8_lossy(&output.stdout).contains("running 1 test");
    assert!(!ran, "{test} failed in its namespace: {text}");
    eprintln!("SKIPPED {test}: no namespace of its own: {text}");
    false
}

const INSIDE: &str = "ISCSI_TEST_INSIDE_A_NAMESPACE";

fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

#[test]
fn a_nic_is_found_by_its_hardware_address_under_whatever_name() {
    if !is_inside() {
        in_a_namespace(
            "a_nic_is_found_by_its_hardware_address_under_whatever_name",
            "ip link set lo up
             ip link add nic0 address 02:00:00:00:00:01 type veth peer name far0
             ip link add nic1 address 02:00:00:00:00:02 type veth peer name far1
             ip link add bridge1 address 02:00:00:00:00:02 type bridge",
        );
        return;
    }
    let rename = |from: &str, to: &str| {
        let args = ["link", "set", from, "name", to];
        let renamed = std::process::Command::new("ip").args(args).status();
        assert!(renamed.unwrap().success());
    };
    let device = |text: &str| text.parse::<Bind>().unwrap().device();
    assert_eq!(device("02-00-00-00-00-01").as_deref(), Some("nic0"));
    rename("nic0", "nic7");
    assert_eq!(device("02:00:00:00:00:01").as_deref(), Some("nic7"));
    assert_eq!(device("02:00:00:00:00:02"), None, "two have it");
    // The loopback is the one device through which something answers here; its address is zero.
    assert_eq!(device("00:00:00:00:00:00").as_deref(), Some("lo"));
    on_each_runtime(async |runtime| {
        let bind = "00:00:00:00:00:00";
        let (transport, seen) = dial(&runtime, "127.0.0.1:0", bind).await.unwrap();
        assert_eq!(transport.local_addr(), Some(seen));
        assert_eq!(transport.bind_warning(), None);

        let error = dial(&runtime, "127.0.0.1:0", "02:00:00:00:00:02").await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        let Some(BindError::AmbiguousMac { devices, .. }) = bind_error(&error) else {
            panic!("{error}")
        };
        assert_eq!(&**devices, "bridge1, nic1");

        let error = dial(&runtime, "127.0.0.1:0", "02:00:00:00:00:03").await;
        let error = error.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound);
        assert!(error.to_string().contains("02:00:00:00:00:03"), "{error}");
    });
}

/// Both ends are in one namespace, which is enough to see that the zone reaches the kernel.
#[test]
fn link_local_portals_are_reached_through_their_zone_and_their_bind() {
    if !is_inside() {
        in_a_namespace(
            "link_local_portals_are_reached_through_their_zone_and_their_bind",
            "ip link set lo up
             ip link add nic0 type veth peer name far0
             ip link set nic0 up
             ip link set far0 up
             ip address add fe80::7/64 dev nic0 nodad",
        );
        return;
    }
    let scope = iscsi_client::bind::scope_id("nic0").unwrap();
    assert!(scope > 1);
    on_each_runtime(async |runtime| {
        let local = std::net::SocketAddrV6::new("fe80::7".parse().unwrap(), 0, 0, scope);
        let listener = TcpListener::bind(local).unwrap();
        for bind in ["any", "fe80::7"] {
            let mut dial = Dial::new(listener.local_addr().unwrap());
            dial.bind = bind.parse().unwrap();
            let transport = runtime.connect(&dial).await.unwrap();
            let (_, seen) = listener.accept().unwrap();
            let SocketAddr::V6(seen) = seen else {
                panic!("{seen}")
            };
            assert_eq!(seen.scope_id(), scope, "{bind}");
            assert_eq!(transport.local_addr(), Some(seen.into()));
        }
    });
}
