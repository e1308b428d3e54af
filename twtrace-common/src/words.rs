//! Enums that cross the border as numbers and are shown as words.

/// Declares an enum whose discriminants cross the border, with its names in all output.
macro_rules! words {
    ($(#[$about:meta])* $name:ident, $count:ident { $($(#[$doc:meta])* $variant:ident = $value:literal, $text:literal;)* }) => {
        $(#[$about])*
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant = $value,)*
        }

        impl $name {
            /// All of them, in the order of their discriminants.
            pub const ALL: [Self; $count] = [$(Self::$variant),*];

            /// The name in all output.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)*
                }
            }

            /// The one with this discriminant.
            #[must_use]
            pub const fn from_u8(value: u8) -> Option<Self> {
                if (value as usize) < Self::ALL.len() {
                    Some(Self::ALL[value as usize])
                } else {
                    None
                }
            }
        }

        /// How many there are.
        pub const $count: usize = [$($value),*].len();
    };
}
pub(crate) use words;
