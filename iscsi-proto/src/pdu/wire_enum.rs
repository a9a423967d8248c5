//! The one shape of all code fields: named values, and `Unknown` for the rest.

/// An enum of the codes of a header field of at most one byte.
///
/// A value that the standard does not define is kept, never an error and never another value's
/// name: whether it matters is for the reader of the PDU to say.
macro_rules! wire_enum {
    (
        $(#[$doc:meta])*
        $name:ident, $what:literal {
            $( $(#[$variant_doc:meta])* $variant:ident = $value:literal, $text:literal; )+
        }
    ) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $name {
            $( $(#[$variant_doc])* $variant, )+
            /// Any other value, as received. Putting a named value in here makes something that
            /// reads back as the name.
            Unknown(u8),
        }

        impl $name {
            /// The meaning of this value on the wire.
            #[must_use]
            pub const fn from_byte(byte: u8) -> Self {
                match byte {
                    $( $value => Self::$variant, )+
                    other => Self::Unknown(other),
                }
            }

            /// The value on the wire.
            #[must_use]
            pub const fn to_byte(self) -> u8 {
                match self {
                    $( Self::$variant => $value, )+
                    Self::Unknown(byte) => byte,
                }
            }
        }

        impl core::fmt::Display for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                match self {
                    $( Self::$variant => f.write_str($text), )+
                    Self::Unknown(byte) => write!(f, concat!($what, " {:#04x}"), byte),
                }
            }
        }
    };
}
