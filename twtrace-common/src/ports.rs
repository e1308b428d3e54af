//! Words for calls that got no port.

use crate::words::words;

words! {
    /// Which call.
    Call, CALLS {
        /// `connect()`: `inet_hash_connect` or `inet6_hash_connect` returned -EADDRNOTAVAIL.
        Connect = 0, "connect";
        /// `bind()`: `inet_csk_get_port` refused.
        Bind = 1, "bind";
    }
}
