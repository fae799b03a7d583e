//! The four services: what they fail with, what they say to each other, and their handlers.

mod inventory;
mod order;
mod points;
mod user;
pub(crate) mod wire;

pub(crate) use inventory::inventory;
pub(crate) use order::{Books, order};
pub(crate) use points::points;
pub(crate) use user::user;

use towpath::fault_codes;

fault_codes! {
    /// What the user service fails with.
    pub(crate) enum UserFault {
        /// Nobody has this id.
        NoSuchUser = "USR-E-001", "no such user";
        /// Nothing was done; it will pass.
        Busy = "USR-W-201", "the user service is busy", transient;
    }
}

fault_codes! {
    /// What the inventory service fails with.
    pub(crate) enum InventoryFault {
        /// There are fewer units than asked for.
        Short = "INV-E-003", "not enough stock";
        /// The run that this belongs to was compensated before this came.
        TakenBack = "INV-E-004", "the order's bookings were taken back";
        /// The same line of the same run was booked with another article or quantity.
        Conflict = "INV-E-005", "the line was booked otherwise";
        /// Nothing was done; it will pass.
        Busy = "INV-W-201", "the inventory service is busy", transient;
    }
}

fault_codes! {
    /// What the points service fails with.
    pub(crate) enum PointsFault {
        /// The order was withdrawn before its points came.
        TakenBack = "PTS-E-004", "the order's points were taken back";
        /// Nothing was done; it will pass.
        Busy = "PTS-W-201", "the points service is busy", transient;
    }
}

fault_codes! {
    /// What the order service fails with.
    pub(crate) enum OrderFault {
        /// A line has a quantity of zero or less.
        BadQuantity = "ORD-E-003", "every line's quantity must be positive";
        /// The user service does not know who orders.
        UnknownCustomer = "ORD-E-101", "unknown customer";
        /// The inventory refused a line; the others are put back.
        DeductFailed = "ORD-E-102", "failed to deduct inventory";
        /// The order was withdrawn.
        Withdrawn = "ORD-E-104", "the order was withdrawn";
        /// Nothing was done; it will pass.
        Busy = "ORD-W-201", "the order service is busy", transient;
        /// Another service could not be had. Nothing is lost: the same order may be sent again.
        Unreached = "ORD-W-202", "a service that the order needs could not be had", transient;
    }
}
