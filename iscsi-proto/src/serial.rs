//! Serial numbers (RFC 7143 section 4.2.2.1, compared as RFC 1982 says).
//!
//! They wrap, so they have no `Ord`: two numbers 2^31 apart are not ordered at all, and a sorted
//! collection of them would be nonsense.

macro_rules! serial_number {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub struct $name(pub u32);

        impl $name {
            /// The number after this one.
            #[must_use]
            pub const fn next(self) -> Self {
                Self(self.0.wrapping_add(1))
            }

            /// The number `n` after this one.
            #[must_use]
            pub const fn plus(self, n: u32) -> Self {
                Self(self.0.wrapping_add(n))
            }

            /// How far `later` is ahead of `self`, modulo 2^32.
            #[must_use]
            pub const fn distance_to(self, later: Self) -> u32 {
                later.0.wrapping_sub(self.0)
            }

            /// Whether `self` comes strictly before `other` (RFC 1982). False both ways for equal
            /// numbers and for numbers exactly 2^31 apart.
            #[must_use]
            pub const fn precedes(self, other: Self) -> bool {
                // 2^31 is the one distance that is negative in both directions.
                (other.0.wrapping_sub(self.0) as i32) > 0
            }

            /// Whether `self` equals `other` or comes before it.
            #[must_use]
            pub const fn precedes_or_equals(self, other: Self) -> bool {
                (other.0.wrapping_sub(self.0) as i32) >= 0
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

serial_number! {
    /// CmdSN, ExpCmdSN and MaxCmdSN: commands of a session.
    CmdSn
}
serial_number! {
    /// StatSN and ExpStatSN: responses of a connection.
    StatSn
}
serial_number! {
    /// DataSN and ExpDataSN: data PDUs of a command or of a solicited sequence.
    DataSn
}
serial_number! {
    /// R2TSN: R2Ts of a command.
    R2tSn
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_survives_the_wrap() {
        let last = CmdSn(u32::MAX);
        assert!(last.precedes(CmdSn(0)));
        assert!(!CmdSn(0).precedes(last));
        assert_eq!(last.next(), CmdSn(0));
        assert_eq!(last.distance_to(CmdSn(4)), 5);
    }

    #[test]
    fn numbers_half_the_ring_apart_have_no_order() {
        let (a, b) = (StatSn(7), StatSn(7 + (1 << 31)));
        assert!(!a.precedes(b) && !b.precedes(a));
        assert!(a.precedes_or_equals(a) && !a.precedes_or_equals(b) && !b.precedes_or_equals(a));
        for ahead in [1, 2, (1 << 31) - 1] {
            assert!(a.precedes(a.plus(ahead)) && !a.plus(ahead).precedes(a));
            assert!(a.precedes_or_equals(a.plus(ahead)) && !a.plus(ahead).precedes_or_equals(a));
        }
    }
}
