//! From rows to the table of columns, and to the walk over those of the schema.

use super::{Of, Shown};

/// Makes the table, and from the same rows the walk over the schema's columns: a loop over
/// function pointers would cost JSON as much again as the writing itself.
macro_rules! columns {
    ($($key:ident {
        header: $header:literal,
        width: $width:literal,
        align: $align:expr,
        $(unit: $unit:literal,)?
        doc: $doc:literal,
        of: $of:expr,
        shown: $shown:expr,
        get: $get:expr,
    })*) => {
        /// All columns, those of the JSON schema in its order first.
        pub static COLUMNS: &[Column] = &[$(Column {
            key: stringify!($key),
            header: $header,
            width: $width,
            align: $align,
            unit: concat!($($unit)?),
            doc: $doc,
            of: $of,
            shown: $shown,
            get: $get,
        }),*];

        /// Shows what the schema has for one kind of event: which columns, is known when compiled.
        #[inline(always)]
        pub(super) fn walk<const EVENT: u8>(report: &Report, show: &mut (impl Show + ?Sized)) {
            $(if const { in_schema($shown, $of, EVENT) } {
                let get: fn(&Report) -> Value<'_> = $get;
                let before = Before {
                    value: concat!(",\"", stringify!($key), "\":"),
                    quoted: concat!(",\"", stringify!($key), "\":\""),
                };
                show.show(before, get(report));
            })*
        }
    };
}

pub(super) const fn in_schema(shown: Shown, of: Of, event: u8) -> bool {
    shown.in_data() && of.overlaps(Of(event))
}

pub(super) use columns;
